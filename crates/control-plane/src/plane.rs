//! Putting the parts together: ports first, then the root certificate, then everything that stands on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tracing::{info, warn};
use varka_api::istio::MeshConfig;
use varka_identity::Authority;
use varka_proto::istio::certificate::IstioCertificateServiceServer;

use crate::authn::Authenticator;
use crate::ca::service::CertificateService;
use crate::inject::Options;
use crate::listen::OwnCertificate;
use crate::metrics::Metrics;
use crate::monitor::Monitor;
use crate::watch::{MeshSource, Published};
use crate::webhook::server::Webhooks;
use crate::xds::connected::Connected;
use crate::xds::development::Development;
use crate::xds::serve::Discovery;
use crate::{
    Config, Error, ca, events, gateway_deployment, gateway_status, ingress_status, listen, monitor, webhook, xds,
};

/// Proxies connected at once.
const MAX_PROXIES: usize = 16 * 1024;
/// Streams of one proxy: discovery, certificates, and some air.
const MAX_STREAMS: u32 = 32;
/// A silent proxy is asked whether it is there, and let go if it does not answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// Longest wait between attempts to reach the API server at the start.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A control plane whose ports are open.
pub struct ControlPlane {
    config: Config,
    xds: TcpListener,
    webhook: TcpListener,
    monitoring: TcpListener,
}

/// Where a control plane listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Configuration and certificates.
    pub xds: SocketAddr,
    /// Webhooks.
    pub webhook: SocketAddr,
    /// Readiness, metrics, `/debug/syncz`.
    pub monitoring: SocketAddr,
}

impl ControlPlane {
    /// Opens the ports.
    ///
    /// # Errors
    /// [`Error::Bind`] if one cannot be had.
    pub async fn bind(config: Config) -> Result<Self, Error> {
        let xds = listen::bind("configuration and certificates", config.xds_address).await?;
        let webhook = listen::bind("webhooks", config.webhook_address).await?;
        let monitoring = listen::bind("monitoring", config.monitoring_address).await?;
        Ok(Self { config, xds, webhook, monitoring })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// [`Error::Bind`] if the kernel does not tell.
    pub fn addresses(&self) -> Result<Addresses, Error> {
        let tell = |what, listener: &TcpListener, address| {
            listener.local_addr().map_err(|source| Error::Bind { what, address, source })
        };
        Ok(Addresses {
            xds: tell("configuration and certificates", &self.xds, self.config.xds_address)?,
            webhook: tell("webhooks", &self.webhook, self.config.webhook_address)?,
            monitoring: tell("monitoring", &self.monitoring, self.config.monitoring_address)?,
        })
    }

    /// Runs until `shutdown`.
    ///
    /// # Errors
    /// What cannot be tried again: a root certificate that cannot be used, or a part that broke.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        let metrics = Arc::<Metrics>::default();
        let connected = Arc::new(Connected::new(Arc::clone(&metrics)));
        let monitor =
            Monitor { metrics: Arc::clone(&metrics), connected: Arc::clone(&connected), ready: AtomicBool::new(false) };
        let monitor = Arc::new(monitor);
        tasks.spawn(forever(monitor::serve(self.monitoring, Arc::clone(&monitor))));
        tokio::pin!(shutdown);
        let authority = tokio::select! {
            () = &mut shutdown => return Ok(()),
            authority = root(&self.config) => Arc::new(authority?),
        };
        metrics.set_root_expiry(authority.facts().not_after);
        let parts = Parts { config: self.config, authority, metrics, connected, monitor };
        parts.start(&mut tasks, self.xds, self.webhook)?;
        tokio::select! {
            () = &mut shutdown => Ok(()),
            // Every part runs for ever, so the first that ends has failed.
            Some(ended) = tasks.join_next() => ended?,
            else => Ok(()),
        }
    }
}

/// What the parts share.
struct Parts {
    config: Config,
    authority: Arc<Authority>,
    metrics: Arc<Metrics>,
    connected: Arc<Connected>,
    monitor: Arc<Monitor>,
}

impl Parts {
    fn start(
        self,
        tasks: &mut JoinSet<Result<(), Error>>,
        xds: TcpListener,
        webhook: TcpListener,
    ) -> Result<(), Error> {
        let Self { config, authority, metrics, connected, monitor } = self;
        let client = config.client.clone();
        let own = Arc::new(OwnCertificate::issue(Arc::clone(&authority), own_names(&config))?);
        let bundle = authority.bundle()?;
        let mesh_tls = listen::mesh_tls(Arc::clone(&own), &bundle)?;
        let webhook_tls = listen::webhook_tls(Arc::clone(&own))?;
        let authenticator = Arc::new(Authenticator::new(client.clone(), &config.trust_domain, bundle));
        let options = Arc::new(ArcSwap::from_pointee(injection_options(&config)));
        let published = watch::Sender::new(Arc::new(Published::empty()));
        let (findings, found) = mpsc::channel(events::QUEUE);

        let discovery = Discovery {
            published: published.subscribe(),
            authenticator: Arc::clone(&authenticator),
            development: Arc::new(Development::new(Arc::clone(&authority))),
            connected: Arc::clone(&connected),
            metrics: Arc::clone(&metrics),
            findings: findings.clone(),
        };
        let certificates = CertificateService::new(Arc::clone(&authority), authenticator, Arc::clone(&metrics));
        tasks.spawn(serve_grpc(xds, mesh_tls, certificates, discovery));
        let webhooks =
            Webhooks { options: Arc::clone(&options), published: published.subscribe(), metrics: Arc::clone(&metrics) };
        tasks.spawn(forever(webhook::server::serve(webhook, webhook_tls, Arc::new(webhooks))));
        tasks.spawn(forever(own.keep()));
        tasks.spawn(forever(ca::publish::run(client.clone(), authority.root_pem().to_owned())));
        tasks.spawn(forever(events::run(client.clone(), found)));
        tasks.spawn(forever(ready_once_listed(published.subscribe(), monitor)));
        if config.register_webhooks {
            let root_pem = authority.root_pem().to_owned();
            tasks.spawn(forever(webhook::register::run(client.clone(), config.root_namespace.clone(), root_pem)));
        }
        for gateway in config.ingress_gateways.clone() {
            tasks.spawn(forever(ingress_status::run(client.clone(), gateway, Arc::clone(&connected))));
        }
        tasks.spawn(forever(gateway_status::run(client.clone(), published.subscribe())));
        let service_type = config.gateway_service_type.clone();
        tasks.spawn(forever(gateway_deployment::run(client.clone(), published.subscribe(), service_type)));
        let source =
            MeshSource { root_namespace: config.root_namespace.clone(), trust_domain: config.trust_domain.clone() };
        let on_mesh = Box::new(move |_: &MeshConfig, raw: &Map<String, Value>| {
            let mut next = injection_options(&config);
            follow_mesh(&mut next, raw);
            options.store(Arc::new(next));
        });
        tasks.spawn(forever(crate::watch::run(client, source, on_mesh, metrics, findings, published)));
        Ok(())
    }
}

/// The root certificate, as soon as the API server gives or takes it.
async fn root(config: &Config) -> Result<Authority, Error> {
    let mut wait = Duration::from_millis(100);
    loop {
        match ca::root::load_or_create(&config.client, &config.root_namespace, &config.trust_domain).await {
            Err(Error::Api { what, source }) => warn!(error = %source, "{what}; trying again"),
            decided => return decided,
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

fn own_names(config: &Config) -> Vec<String> {
    let service = format!("istiod.{}", config.root_namespace);
    vec![format!("{service}.svc"), format!("{service}.svc.{}", config.cluster_domain), service, "localhost".to_owned()]
}

fn injection_options(config: &Config) -> Options {
    let mut options = Options::new(&config.trust_domain, &config.cluster_domain, &config.root_namespace);
    options.image.clone_from(&config.proxy_image);
    options
}

/// What the mesh's configuration says about injection.
fn follow_mesh(options: &mut Options, mesh: &Map<String, Value>) {
    if let Some(config) = mesh.get("defaultConfig").and_then(Value::as_object) {
        options.proxy_config.clone_from(config);
    }
    if let Some(merge) = mesh.get("enablePrometheusMerge").and_then(Value::as_bool) {
        options.prometheus_merge = merge;
    }
}

async fn ready_once_listed(mut published: watch::Receiver<Arc<Published>>, monitor: Arc<Monitor>) {
    if published.wait_for(|published| published.number > 0).await.is_ok() {
        monitor.ready.store(true, Ordering::Release);
        info!("ready");
    }
    std::future::pending().await
}

/// A part that ends only by being dropped.
async fn forever(part: impl Future<Output = ()>) -> Result<(), Error> {
    part.await;
    Ok(())
}

async fn serve_grpc(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    certificates: CertificateService,
    discovery: Discovery,
) -> Result<(), Error> {
    let (into, accepted) = mpsc::channel(64);
    let accepting = listen::accept(listener, tls, MAX_PROXIES, into);
    let serving = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .max_concurrent_streams(Some(MAX_STREAMS))
        .add_service(IstioCertificateServiceServer::new(certificates))
        .add_service(xds::serve::server(discovery))
        .serve_with_incoming(ReceiverStream::new(accepted));
    tokio::select! {
        () = accepting => Ok(()),
        served = serving => Ok(served?),
    }
}

/// Opens the ports and runs until `shutdown`.
///
/// # Errors
/// See [`Error`].
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    ControlPlane::bind(config).await?.run(shutdown).await
}
