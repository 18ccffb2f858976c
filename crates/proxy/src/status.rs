//! Readiness, metrics and the application's probes, for the kubelet and Prometheus (15021, 15020, 15090).
//!
//! The kubelet asks us instead of the application, because under STRICT it could not reach it: it has no certificate. We ask
//! the application from 127.0.0.6, which interception leaves alone.

pub(crate) mod probe;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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
        "/stats/prometheus" => metrics(&state, &request).await,
        _ => OwnAnswer::text(404, ""),
    }
}

/// 15020.
async fn answer(state: Arc<State>, request: OwnRequest) -> OwnAnswer {
    match path(&request) {
        "/healthz/ready" => readiness(&state),
        "/stats/prometheus" | "/metrics" => merged_metrics(&state, &request).await,
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

async fn metrics(state: &State, request: &OwnRequest) -> OwnAnswer {
    // Asked before anything is read: what is the last is complete.
    let last = state.readers.note(request);
    let mut answer = match state.bootstrap.engine {
        Engine::Varka => admin_server::metrics(state),
        Engine::Envoy(_) => envoy::metrics(state).await,
    };
    if answer.status == 200 {
        answer.body = [begun(state).as_bytes(), &answer.body[..]].concat().into();
    }
    OwnAnswer { last, ..answer }
}

/// When this process began, under the name that Istio's agent says it by: counters were zero then, which a reader cannot see
/// from the counters where these have passed their former values by the time that it asks again.
fn begun(state: &State) -> String {
    let since = state.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    format!("# TYPE istio_agent_process_start_time_seconds gauge\nistio_agent_process_start_time_seconds {since:.3}\n")
}

/// The same with the application's, where these are to be merged.
async fn merged_metrics(state: &State, request: &OwnRequest) -> OwnAnswer {
    let mut answer = metrics(state, request).await;
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
