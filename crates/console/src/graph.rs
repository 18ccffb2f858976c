//! What graphs are made from, and Kiali's interface that answers with them.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::runtime::Handle;
use varka_telemetry::graph::kiali::request::{Path as Node, Refused, parse};
use varka_telemetry::graph::{Facts, Graph, Input, Options, build, kiali};

use crate::api::Drawings;
use crate::jaeger::{Pairs, Traces, blocking};
use crate::prometheus::elsewhere::Prometheus;
use crate::rates::{LastSeen, Rates};
use crate::store::{Error, Millis, Store};
use crate::world::World;

/// What graphs are made from.
#[derive(Debug, Clone)]
pub struct Source {
    /// Numbers.
    pub store: Store,
    /// Names.
    pub world: World,
    /// What proxies call the cluster.
    pub cluster: String,
    /// Of its names.
    pub domain: String,
    /// Graphs that pages were shown.
    pub drawings: Drawings,
    /// Where numbers are in place of the store.
    pub prometheus: Option<Arc<Prometheus>>,
    /// Where traces are.
    pub traces: Traces,
}

impl Source {
    /// Facts as they are now.
    pub fn facts(&self) -> Facts {
        let seen = match &self.prometheus {
            None => Arc::new(LastSeen::read(&self.store)),
            Some(elsewhere) => elsewhere.last_seen(),
        };
        crate::facts::of(&self.world, &self.cluster, &self.domain, &*seen)
    }

    /// How fast counters grew in a window. To be called aside from the threads that serve: it waits.
    pub(crate) fn rates(&self, end: Millis, window: Millis, idle: bool) -> Result<Rates, Error> {
        match &self.prometheus {
            None => Rates::read(&self.store, end, window, idle),
            Some(elsewhere) => Handle::current().block_on(Rates::fetch(elsewhere, end, window, idle)),
        }
    }

    /// The graph that is asked for. To be called aside from the threads that serve: it waits.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn graph(&self, facts: &Facts, options: &Options) -> Result<Graph, Error> {
        let window = i64::try_from(options.duration).unwrap_or(i64::MAX / 1000).saturating_mul(1000);
        let end = options.query_time.saturating_mul(1000).saturating_add(999);
        let rates = self.rates(end, window, options.include_idle_edges)?;
        Ok(build(&Input { metrics: &rates.metrics(&options.aggregate), facts }, options))
    }
}

/// The routes of Kiali's interface that answer with graphs.
pub fn routes(source: Source) -> Router {
    Router::new()
        .route("/kiali/api/namespaces/graph", get(of_namespaces))
        .route("/kiali/api/namespaces/{namespace}/workloads/{workload}/graph", get(of_workload))
        .route("/kiali/api/namespaces/{namespace}/services/{service}/graph", get(of_service))
        .route("/kiali/api/namespaces/{namespace}/applications/{app}/graph", get(of_app))
        .route("/kiali/api/namespaces/{namespace}/applications/{app}/versions/{version}/graph", get(of_version))
        .route("/kiali/api/namespaces/{namespace}/aggregates/{label}/{value}/graph", get(of_class))
        .route("/kiali/api/namespaces/{namespace}/aggregates/{label}/{value}/{service}/graph", get(of_class_at))
        .with_state(Arc::new(source))
}

type Shared = State<Arc<Source>>;

async fn of_namespaces(state: Shared, query: Query<Pairs>) -> Response {
    in_kialis_form(state, query, Node::default()).await
}

async fn of_workload(
    state: Shared,
    Path((namespace, workload)): Path<(String, String)>,
    query: Query<Pairs>,
) -> Response {
    in_kialis_form(state, query, Node { namespace: &namespace, workload: &workload, ..Node::default() }).await
}

async fn of_service(
    state: Shared,
    Path((namespace, service)): Path<(String, String)>,
    query: Query<Pairs>,
) -> Response {
    in_kialis_form(state, query, Node { namespace: &namespace, service: &service, ..Node::default() }).await
}

async fn of_app(state: Shared, Path((namespace, app)): Path<(String, String)>, query: Query<Pairs>) -> Response {
    in_kialis_form(state, query, Node { namespace: &namespace, app: &app, ..Node::default() }).await
}

async fn of_version(
    state: Shared,
    Path((namespace, app, version)): Path<(String, String, String)>,
    query: Query<Pairs>,
) -> Response {
    in_kialis_form(state, query, Node { namespace: &namespace, app: &app, version: &version, ..Node::default() }).await
}

/// Requests that were classified alike: of a label's value,
async fn of_class(
    state: Shared,
    Path((namespace, label, value)): Path<(String, String, String)>,
    query: Query<Pairs>,
) -> Response {
    let node = Node { namespace: &namespace, aggregate: Some((&label, &value)), ..Node::default() };
    in_kialis_form(state, query, node).await
}

/// and of one service.
async fn of_class_at(
    state: Shared,
    Path((namespace, label, value, service)): Path<(String, String, String, String)>,
    query: Query<Pairs>,
) -> Response {
    let node = Node { namespace: &namespace, service: &service, aggregate: Some((&label, &value)), ..Node::default() };
    in_kialis_form(state, query, node).await
}

async fn in_kialis_form(State(source): Shared, Query(pairs): Query<Pairs>, node: Node<'_>) -> Response {
    match make(source, &pairs, &node).await {
        Ok(graph) => Json(kiali::render(&graph)).into_response(),
        Err(refused) => refused,
    }
}

async fn make(source: Arc<Source>, pairs: &Pairs, node: &Node<'_>) -> Result<Graph, Response> {
    let failed = |problem: Error| {
        (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": problem.to_string(), "code": 500}))).into_response()
    };
    let time = pairs.iter().find(|(name, _)| name == "queryTime").and_then(|(_, text)| text.parse::<Millis>().ok());
    let source = match time {
        // What is there is as it was.
        Some(time) => {
            let then =
                move || Ok(Source { world: source.world.at(time.saturating_mul(1000))?, ..Source::clone(&source) });
            Arc::new(blocking(then).await.map_err(failed)?)
        }
        None => source,
    };
    let facts = source.facts();
    let query = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let options = parse(node, query, &facts, Default::default(), now()).map_err(|refused| refuse(&refused))?;
    let made = blocking(move || source.graph(&facts, &options)).await;
    made.map_err(failed)
}

fn refuse(refused: &Refused) -> Response {
    let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::BAD_REQUEST);
    (status, Json(json!({"error": refused.to_string(), "code": refused.status()}))).into_response()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
