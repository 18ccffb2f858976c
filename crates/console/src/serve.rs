//! The process: opens the store, follows the cluster, and serves each interface at the port where its clients look for it.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{any, get};
use axum::serve::ListenerExt as _;
use futures_util::FutureExt as _;
use kube::Client;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::access::host::{self, Names};
use crate::access::sight::Sight;
use crate::access::{Access, Mode, Refusal, Rules, gate, login};
use crate::api::apply::{self, Changer};
use crate::api::{delete, effect};
use crate::client::Url;
use crate::graph::Source;
use crate::ingest::{logs, receive, scrape};
use crate::jaeger::Traces;
use crate::jaeger::elsewhere::Elsewhere;
use crate::prometheus::elsewhere::Prometheus;
use crate::store::{self, Limits, Store};
use crate::world::World;
use crate::{api, graph, jaeger, pages, prometheus};

/// What was sent and is not taken for so long ends its connection.
const GONE: Duration = Duration::from_secs(60);

/// What the process is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the store is.
    pub directory: PathBuf,
    /// How much it keeps.
    pub limits: Limits,
    /// Where it listens.
    pub address: IpAddr,
    /// At which ports.
    pub ports: Ports,
    /// What proxies call the cluster.
    pub cluster: String,
    /// Of the cluster's names.
    pub domain: String,
    /// Where metrics are in place of the store; nothing is scraped then.
    pub prometheus: Option<Url>,
    /// Where traces are in place of the store; no spans are taken then.
    pub traces: Option<Elsewhere>,
    /// Who is let in.
    pub rules: Rules,
    /// Under which names it answers where nobody has to sign in.
    pub names: Names,
}

/// A port for each interface; 0: any that is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Everything that is asked.
    pub console: u16,
    /// Jaeger's queries,
    pub jaeger: u16,
    /// and those over gRPC.
    pub jaeger_grpc: u16,
    /// Spans by OTLP over gRPC,
    pub otlp_grpc: u16,
    /// over HTTP,
    pub otlp_http: u16,
    /// and by Zipkin.
    pub zipkin: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { console: 20001, jaeger: 16686, jaeger_grpc: 16685, otlp_grpc: 4317, otlp_http: 4318, zipkin: 9411 }
    }
}

/// Why the process cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The API server cannot be spoken to.
    #[error("the API server cannot be spoken to: {0}")]
    Cluster(#[from] kube::Error),
    /// Somebody else listens there.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// A server ended.
    #[error("the server of {0} ended: {1}")]
    Serve(SocketAddr, io::Error),
}

/// Runs until `shutdown`; what was taken in is written before it returns.
///
/// # Errors
/// The store cannot be opened, or a port is not to be had.
pub async fn run(cluster: kube::Config, config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let client = Client::try_from(cluster.clone())?;
    let store = Store::open(&config.directory, config.limits)?;
    let world = World::recording(store.clone());
    let elsewhere = config.prometheus.map(|url| Arc::new(Prometheus::new(url)));
    let traces = config.traces.map_or_else(|| Traces::Kept(store.clone()), Traces::Elsewhere);
    let source = Source {
        prometheus: elsewhere.clone(),
        traces: traces.clone(),
        store: store.clone(),
        world: world.clone(),
        cluster: config.cluster.clone(),
        domain: config.domain.clone(),
        drawings: api::Drawings::default(),
    };
    let access = Arc::new(Access::new(&cluster, world.clone(), config.rules.clone()));
    let common = api::Common::new(source.clone());
    let foretell = effect::foretell(source.clone());
    let names = Arc::new(config.names);
    let named = |routes: Router| match config.rules.mode {
        Mode::Anonymous => host::guard(&names, routes),
        Mode::Token | Mode::Oidc(_) => routes,
    };
    let pages = Router::new()
        .merge(gate::guard(Arc::clone(&access), source.clone(), {
            let traces = traces.clone();
            Arc::new(move |source| asked(source, traces.clone(), common.clone()))
        }))
        .merge(login::routes(Arc::clone(&access)))
        .merge(apply::routes(of_token(&access), config.rules.read_only, Arc::clone(&foretell)))
        .merge(delete::routes(of_token(&access), config.rules.read_only, foretell))
        .merge(pages::routes());
    // How it does is told to whoever asks, by whatever name.
    let console = named(pages)
        .route("/healthz", get(|| async { StatusCode::OK }))
        .route("/kiali/healthz", get(|| async { StatusCode::OK }));
    let of_traces = |routes: fn(Traces, Sight) -> Router| {
        let traces = traces.clone();
        let seen = move |source: Source| routes(traces.clone(), source.world.sight().clone());
        named(gate::guard(Arc::clone(&access), source.clone(), Arc::new(seen)))
    };
    let ports = config.ports;
    let mut routers = vec![
        (ports.console, console),
        (ports.jaeger, of_traces(jaeger::routes_seen)),
        // The gate lets nobody there who does not see everything.
        (ports.jaeger_grpc, of_traces(|traces, _| jaeger::grpc::routes(traces))),
    ];
    if matches!(traces, Traces::Kept(_)) {
        let receive = receive::routes(store.clone());
        routers.extend([ports.otlp_grpc, ports.otlp_http, ports.zipkin].map(|port| (port, receive.clone())));
    }
    let mut servers = JoinSet::new();
    for (port, router) in routers {
        let address = SocketAddr::new(config.address, port);
        let listener = TcpListener::bind(address).await.map_err(|e| Error::Listen(address, e))?;
        servers.spawn(async move {
            let ended = listen(listener, router).await;
            Error::Serve(address, ended.err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()))
        });
    }
    tracing::info!(address = %config.address, ports = ?config.ports, store = %config.directory.display(), "serving");
    tokio::select! {
        () = shutdown => Ok(()),
        Some(Ok(ended)) = servers.join_next() => Err(ended),
        () = world.clone().run(client.clone()) => Ok(()),
        () = logs::run(client.clone(), world, store.clone()) => Ok(()),
        () = measure(client, store.clone(), elsewhere) => Ok(()),
    }
}

/// Serves routes, which learn who asks. Who neither takes an answer nor is heard of is not waited for.
async fn listen(listener: TcpListener, routes: Router) -> io::Result<()> {
    let listener = listener.tap_io(|connection| {
        if let Err(problem) = SockRef::from(&*connection).set_tcp_user_timeout(Some(GONE)) {
            tracing::debug!(%problem, "a client that is gone is noticed late");
        }
    });
    axum::serve(listener, routes.into_make_service_with_connect_info::<SocketAddr>()).await
}

/// Fetches metrics, or what is to be known of those that lie elsewhere.
async fn measure(client: Client, store: Store, elsewhere: Option<Arc<Prometheus>>) {
    match elsewhere {
        Some(elsewhere) => elsewhere.follow().await,
        None => {
            let ended = scrape::run(client, store).await;
            tracing::error!(problem = ?ended.err(), "pods are not followed any more");
        }
    }
}

/// Everything that is asked, over what somebody may see.
fn asked(source: Source, traces: Traces, common: api::Common) -> Router {
    let sight = source.world.sight().clone();
    let metrics = match &source.prometheus {
        None => prometheus::routes(source.store.clone(), sight),
        Some(elsewhere) if sight.is_all() => prometheus::elsewhere::routes(Arc::clone(elsewhere)),
        Some(_) => Router::new().route("/api/v1/{*path}", any(|| async { hidden() })),
    };
    let traces = jaeger::routes_seen(traces, source.world.sight().clone());
    api::routes_with(source.clone(), common).merge(graph::routes(source)).merge(traces).merge(metrics)
}

/// Of a Prometheus that knows nothing of who may see what, nothing is passed on to who may not see everything.
fn hidden() -> Refusal {
    Refusal::forbidden(
        StatusCode::FORBIDDEN,
        "What lies in another Prometheus is shown only to who may get every namespace.".to_owned(),
        "Ask for a ClusterRole with the verb get on namespaces.",
    )
}

/// Who changes something is whom the API server knows by the token that came along.
fn of_token(access: &Arc<Access>) -> apply::Who {
    let access = Arc::clone(access);
    Arc::new(move |headers: HeaderMap| {
        let access = Arc::clone(&access);
        async move {
            let caller = access.caller(&headers).await?.ok_or_else(|| Refusal::nobody("Changing something"))?;
            let sight = if access.is_closed() { caller.sight.clone() } else { Sight::All };
            Ok(Changer { user: caller.user.clone(), client: caller.client.clone(), sight })
        }
        .boxed()
    })
}

#[cfg(test)]
mod tests;
