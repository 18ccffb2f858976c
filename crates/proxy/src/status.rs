//! Readiness, metrics and the application's probes, for the kubelet and Prometheus (15021, 15020, 15090).
//!
//! The kubelet asks us instead of the application, because under STRICT it could not reach it: it has no certificate. We ask
//! the application from 127.0.0.6, which interception leaves alone.

pub(crate) mod probe;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::bootstrap::Engine;
use crate::in_flight::InFlight;
use crate::own_server::{OwnAnswer, OwnRequest, listen, serve};
use crate::state::{Lifecycle, State};
use crate::{Error, admin_server, envoy};

/// The application's metrics are waited for so long.
const SCRAPE: Duration = Duration::from_secs(5);

/// Opens and serves all of the proxy's own ports, for as long as it runs.
pub(crate) async fn run(state: &Arc<State>) -> Result<(), Error> {
    let ports = state.bootstrap.ports;
    let open = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let admin = match state.bootstrap.engine {
        Engine::Varka => Some(listen(SocketAddr::from((Ipv4Addr::LOCALHOST, ports.admin))).await?),
        // It has one of its own.
        Engine::Envoy(_) => None,
    };
    let (readiness, readiness_at) = listen(open(ports.readiness)).await?;
    let (status, status_at) = listen(open(ports.status)).await?;
    let (metrics, metrics_at) = listen(open(ports.metrics)).await?;
    if let Some((_, address)) = &admin {
        state.bound(&"admin".into(), *address);
    }
    for (name, address) in [("readiness", readiness_at), ("status", status_at), ("metrics", metrics_at)] {
        state.bound(&name.into(), address);
    }
    let with = |state: &Arc<State>| Arc::clone(state);
    let (a, b, c, d) = (with(state), with(state), with(state), with(state));
    let administration = async {
        if let Some((listener, _)) = admin {
            serve(listener, move |r| admin_server::handle(Arc::clone(&a), r)).await;
        }
    };
    tokio::join!(
        administration,
        serve(readiness, move |r| ready(Arc::clone(&b), r)),
        serve(status, move |r| answer(Arc::clone(&c), r)),
        serve(metrics, move |r| only_metrics(Arc::clone(&d), r)),
    );
    Ok(())
}

fn path(request: &OwnRequest) -> &str {
    request.head.path.as_str().split('?').next().unwrap_or_default()
}

/// 15021.
async fn ready(state: Arc<State>, request: OwnRequest) -> OwnAnswer {
    match path(&request) {
        "/healthz/ready" => readiness(&state),
        _ => OwnAnswer::text(404, ""),
    }
}

fn readiness(state: &State) -> OwnAnswer {
    match state.lifecycle() {
        Lifecycle::Ready => OwnAnswer::text(200, ""),
        Lifecycle::Starting => OwnAnswer::text(503, waiting_for(state)),
        Lifecycle::Draining | Lifecycle::Stopped => OwnAnswer::text(503, "draining\n"),
    }
}

/// What a proxy that has just started still lacks.
fn waiting_for(state: &State) -> String {
    let sync = state.sync.load();
    match (state.secrets.workload_uri(), &*state.certificate_problem.load()) {
        (None, Some(problem)) => format!("no certificate yet: {problem}\n"),
        (None, None) => "no certificate yet: it has been asked for\n".to_owned(),
        (Some(_), _) if sync.connected => format!("no configuration yet: {} has not sent it all\n", sync.source),
        (Some(_), _) => format!("no configuration yet: no stream to {}\n", sync.source),
    }
}

/// 15090.
async fn only_metrics(state: Arc<State>, request: OwnRequest) -> OwnAnswer {
    match path(&request) {
        "/stats/prometheus" => metrics(&state).await,
        _ => OwnAnswer::text(404, ""),
    }
}

/// 15020.
async fn answer(state: Arc<State>, request: OwnRequest) -> OwnAnswer {
    match path(&request) {
        "/healthz/ready" => readiness(&state),
        "/stats/prometheus" | "/metrics" => merged_metrics(&state).await,
        "/quitquitquit" => quit(&state, &request),
        path if path.starts_with("/app-health/") => match state.bootstrap.app_probers.get(path) {
            Some(prober) => {
                let _asked = InFlight::probe(&state);
                probe::probe(&state, prober, &request.head.headers).await
            }
            None => OwnAnswer::text(404, format!("no probe is registered for {path}\n")),
        },
        _ => OwnAnswer::text(404, ""),
    }
}

/// Ends the proxy, for jobs that are done. Only the pod itself may ask.
fn quit(state: &State, request: &OwnRequest) -> OwnAnswer {
    if !request.peer.ip().is_loopback() {
        return OwnAnswer::text(403, "only from within the pod\n");
    }
    if request.head.method != Method::POST {
        return OwnAnswer::text(405, "use POST\n");
    }
    state.advance(Lifecycle::Draining);
    OwnAnswer::text(200, "OK")
}

async fn metrics(state: &State) -> OwnAnswer {
    match state.bootstrap.engine {
        Engine::Varka => admin_server::metrics(state),
        Engine::Envoy(_) => envoy::metrics(state).await,
    }
}

/// The same with the application's, where these are to be merged.
async fn merged_metrics(state: &State) -> OwnAnswer {
    let mut answer = metrics(state).await;
    if let Some(app) = &state.bootstrap.app_metrics {
        match app.port.parse::<u16>() {
            Ok(port) => match tokio::time::timeout(SCRAPE, probe::get(state, port, &app.path)).await {
                Ok(Some((200, body))) => {
                    answer.body = [&answer.body[..], b"\n", &body].concat().into();
                }
                Ok(Some((status, _))) => tracing::warn!("the application's metrics on port {port} answer {status}"),
                Ok(None) | Err(_) => tracing::warn!("the application's metrics on port {port} cannot be read"),
            },
            Err(_) => {
                tracing::warn!("prometheus.io/port {:?} is no port; the application's metrics are left out", app.port)
            }
        }
    }
    answer
}
