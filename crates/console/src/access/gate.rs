//! The gate before everything that is asked: who is let in, and what of the cluster their answers are made of.
//!
//! Who may see some namespaces is answered by the same handlers as everybody, over a source that holds nothing else, so that none of them
//! can forget to leave something out.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Extensions, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use tower::ServiceExt as _;

use super::callers::{Caller, may};
use super::sight::Sight;
use super::{Access, Refusal, Told};
use crate::api::stream::Lasts;
use crate::api::stream::count::Client;
use crate::graph::Source;

/// Seconds after which who listens has to show anew that they may.
const LASTS: u64 = 300;
const INFO: &str = "/console/api/info";
const STREAM: &str = "/console/api/stream";
const LOGS: [&str; 2] = ["/console/api/logs", STREAM];

/// Routes over a source.
pub type Routes = Arc<dyn Fn(Source) -> Router + Send + Sync>;

#[derive(Clone)]
struct Gate {
    access: Arc<Access>,
    source: Source,
    routes: Routes,
}

/// The routes, behind the gate.
pub fn guard(access: Arc<Access>, source: Source, routes: Routes) -> Router {
    let all = routes(source.clone());
    all.layer(from_fn_with_state(Gate { access, source, routes }, pass))
}

async fn pass(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let (is_info, is_stream) = (path == INFO, path == STREAM);
    let headers = request.headers().clone();
    let is_asked = gate.access.is_closed() || is_info || is_stream;
    let known = if is_asked { gate.access.caller(&headers).await } else { Ok(None) };
    let caller = match known {
        Ok(caller) => caller,
        // The page asks for this to know how to sign in.
        Err(refusal) if is_info && refusal.status == StatusCode::UNAUTHORIZED => None,
        // Everybody may listen; who it is is asked to count their streams.
        Err(_) if is_stream && !gate.access.is_closed() => None,
        Err(refusal) => return refusal.into_response(),
    };
    let told = Told(gate.access.told(caller.as_deref()));
    let lasts = gate.access.is_closed().then_some(Lasts(LASTS));
    let sight = match (gate.access.is_closed(), &caller) {
        (false, _) => Sight::All,
        (true, None) if is_info => Sight::nothing(),
        (true, None) => return Refusal::nobody("Looking at this").into_response(),
        (true, Some(caller)) => {
            if let Err(refusal) = may_ask(caller, request.uri().clone()).await {
                return refusal.into_response();
            }
            caller.sight.clone()
        }
    };
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| Client::at(peer.0));
    let client = caller.as_ref().map(|caller| Client::User(caller.user.clone())).or(peer);
    if !sight.is_all() {
        // What the router found in the path would be found twice.
        *request.extensions_mut() = Extensions::new();
    }
    request.extensions_mut().insert(told);
    lasts.map(|lasts| request.extensions_mut().insert(lasts));
    client.map(|client| request.extensions_mut().insert(client));
    if sight.is_all() {
        return next.run(request).await;
    }
    let limited = Source { world: gate.source.world.seen_by(sight), ..gate.source.clone() };
    (gate.routes)(limited).oneshot(request).await.into_response()
}

/// What seeing namespaces is not enough for.
async fn may_ask(caller: &Caller, uri: Uri) -> Result<(), Refusal> {
    let path = uri.path();
    let query: Vec<(String, String)> =
        axum::extract::Query::try_from_uri(&uri).map(|axum::extract::Query(pairs)| pairs).unwrap_or_default();
    let value = |name: &str| query.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
    let lines = path == LOGS[0] || path == LOGS[1] && value("topics").split(',').any(|topic| topic == "logs");
    let namespace = value("namespace");
    if lines && !may(&caller.client, "get", "pods", "log", namespace, "").await? {
        let place = if namespace.is_empty() { "in every namespace".to_owned() } else { format!("in {namespace}") };
        return Err(Refusal::forbidden(
            StatusCode::FORBIDDEN,
            format!("{} may not get pods/log {place}, which reading lines of containers needs.", caller.user),
            "Ask for a Role with the verb get on pods/log there.",
        ));
    }
    // These interfaces tell of whole traces, which go through many namespaces.
    let whole = path.starts_with("/api/v3/") || path.starts_with("/jaeger.");
    if whole && !caller.sight.is_all() {
        return Err(Refusal::forbidden(
            StatusCode::FORBIDDEN,
            format!("{} may not get every namespace, which this interface of traces needs.", caller.user),
            "Ask for a ClusterRole with the verb get on namespaces.",
        ));
    }
    Ok(())
}
