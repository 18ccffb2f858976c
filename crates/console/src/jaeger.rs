//! Jaeger's query interface over the store: the JSON that Kiali, Grafana and Jaeger's own pages ask for (`/api/*`), and the
//! OTLP answers of `/api/v3/*`.
//!
//! The former was taken out of Jaeger itself after 2.20, and is what its clients still call. Nothing is written here.

pub mod elsewhere;
pub mod grpc;
mod model;
pub(crate) mod query;
mod seen;
mod traces;
mod v3;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::access::sight::Sight;
use crate::store::Error;
use crate::store::spans::Operation;
pub use query::{Invalid, Pairs};
pub use traces::Traces;

/// The routes, for who sees everything.
pub fn routes(traces: impl Into<Traces>) -> Router {
    routes_seen(traces, Sight::All)
}

/// The routes over what somebody sees. Those of `/api/v3` are only there for who sees everything.
pub fn routes_seen(traces: impl Into<Traces>, sight: Sight) -> Router {
    let traces = traces.into();
    let third = if sight.is_all() { v3::routes().with_state(traces.clone()) } else { Router::new() };
    Router::new()
        .route("/api/services", get(services))
        .route("/api/services/{service}/operations", get(operation_names))
        .route("/api/operations", get(operations))
        .route("/api/traces", get(search))
        .route("/api/traces/{id}", get(trace))
        .route("/api/dependencies", get(dependencies))
        .route("/api/metrics/{kind}", get(no_metrics))
        .with_state(View { traces, sight })
        .merge(third)
}

/// Traces, and what somebody sees of them.
#[derive(Debug, Clone)]
struct View {
    traces: Traces,
    sight: Sight,
}

type Shared = State<View>;

/// An answer that is none.
#[derive(Debug)]
enum Refused {
    Invalid(Invalid),
    Store(Error),
    NoTrace(String),
}

impl From<Invalid> for Refused {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Refused {
    fn told(&self) -> (StatusCode, String) {
        match self {
            Self::Invalid(why) => (StatusCode::BAD_REQUEST, why.to_string()),
            Self::Store(why @ Error::Elsewhere(_)) => (StatusCode::BAD_GATEWAY, why.to_string()),
            Self::Store(why) => (StatusCode::INTERNAL_SERVER_ERROR, why.to_string()),
            Self::NoTrace(_) => (StatusCode::NOT_FOUND, "trace not found".to_owned()),
        }
    }
}

impl axum::response::IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, message) = self.told();
        let mut error = json!({"code": status.as_u16(), "msg": message});
        if let (Self::NoTrace(id), Some(object)) = (self, error.as_object_mut()) {
            object.insert("traceID".to_owned(), id.into());
        }
        (status, Json(json!({"data": null, "total": 0, "limit": 0, "offset": 0, "errors": [error]}))).into_response()
    }
}

fn data(of: impl Into<Value>) -> Json<Value> {
    let of = of.into();
    let total = of.as_array().map_or(0, Vec::len);
    Json(json!({"data": of, "total": total, "limit": 0, "offset": 0, "errors": null}))
}

async fn services(State(view): Shared) -> Result<Json<Value>, Refused> {
    let names = view.traces.services().await?;
    let seen = names.iter().filter(|name| seen::sees_service(&view.sight, name));
    Ok(data(seen.map(|name| Value::from(&**name)).collect::<Vec<_>>()))
}

impl View {
    async fn operations(&self, service: String) -> Result<Vec<Operation>, Error> {
        if !seen::sees_service(&self.sight, &service) {
            return Ok(Vec::new());
        }
        self.traces.operations(service).await
    }
}

async fn operation_names(State(view): Shared, Path(service): Path<String>) -> Result<Json<Value>, Refused> {
    let mut names: Vec<String> = view.operations(service).await?.into_iter().map(|operation| operation.name).collect();
    names.dedup();
    Ok(data(names))
}

async fn operations(State(view): Shared, Query(pairs): Query<Pairs>) -> Result<Json<Value>, Refused> {
    let (service, kind) = query::operations(&pairs)?;
    let operations = view.operations(service).await?;
    let wanted = operations.into_iter().filter(|o| kind.as_ref().is_none_or(|kind| model::kind(o.kind) == kind));
    let one = |o: Operation| json!({"name": o.name, "spanKind": model::kind(o.kind)});
    Ok(data(wanted.map(one).collect::<Vec<_>>()))
}

async fn search(State(view): Shared, Query(pairs): Query<Pairs>) -> Result<Json<Value>, Refused> {
    let wanted = query::traces(&pairs, now_micros())?;
    // Nobody finds out by searching what spans say that they are not shown.
    if matches!(&wanted, query::Wanted::Search(search) if !seen::sees_service(&view.sight, &search.service)) {
        return Ok(data(Vec::<Value>::new()));
    }
    let found = view.traces.find(wanted).await?;
    let seen = found.into_iter().map(|spans| seen::of_trace(&view.sight, spans));
    let some = seen.filter(|(spans, _)| !spans.is_empty());
    Ok(data(some.map(|(spans, hidden)| model::trace(&spans, hidden)).collect::<Vec<_>>()))
}

async fn trace(State(view): Shared, Path(text): Path<String>) -> Result<Json<Value>, Refused> {
    let (spans, hidden) = seen::of_trace(&view.sight, view.traces.trace(query::trace_id(&text)?).await?);
    if spans.is_empty() {
        return Err(Refused::NoTrace(text));
    }
    Ok(data(vec![model::trace(&spans, hidden)]))
}

async fn dependencies(State(view): Shared, Query(pairs): Query<Pairs>) -> Result<Json<Value>, Refused> {
    let (start, end, service) = query::dependencies(&pairs, now_micros())?;
    let calls = view.traces.calls(start, end).await?;
    let sees = |service: &String| seen::sees_service(&view.sight, service);
    let wanted = calls
        .into_iter()
        .filter(|((parent, child), _)| sees(parent) && sees(child))
        .filter(|((parent, child), _)| service.as_ref().is_none_or(|service| service == parent || service == child));
    let one = |((parent, child), count)| json!({"parent": parent, "child": child, "callCount": count});
    Ok(data(wanted.map(one).collect::<Vec<_>>()))
}

/// Latencies, calls and errors of Jaeger's monitoring page come from metrics, which have an interface of their own.
async fn no_metrics() -> Response {
    let message = "metrics are asked for at /api/v1/query";
    let body = json!({"data": null, "total": 0, "limit": 0, "offset": 0, "errors": [{"code": 501, "msg": message}]});
    (StatusCode::NOT_IMPLEMENTED, Json(body)).into_response()
}

/// Reads the store aside from the threads that serve.
pub(crate) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(read).await {
        Ok(answer) => answer,
        Err(ended) => Err(Error::Record(format!("reading it ended early: {ended}"))),
    }
}

fn now_micros() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
