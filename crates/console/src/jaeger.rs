//! Jaeger's query interface over the store: the JSON that Kiali, Grafana and Jaeger's own pages ask for (`/api/*`), and the
//! OTLP answers of `/api/v3/*`.
//!
//! The former was taken out of Jaeger itself after 2.20, and is what its clients still call. Nothing is written here.

pub mod elsewhere;
pub mod grpc;
mod model;
pub(crate) mod query;
mod traces;
mod v3;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::store::Error;
pub use query::{Invalid, Pairs};
pub use traces::Traces;

/// The routes.
pub fn routes(traces: impl Into<Traces>) -> Router {
    Router::new()
        .route("/api/services", get(services))
        .route("/api/services/{service}/operations", get(operation_names))
        .route("/api/operations", get(operations))
        .route("/api/traces", get(search))
        .route("/api/traces/{id}", get(trace))
        .route("/api/dependencies", get(dependencies))
        .route("/api/metrics/{kind}", get(no_metrics))
        .merge(v3::routes())
        .with_state(traces.into())
}

type Shared = State<Traces>;

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

impl axum::response::IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, message, trace) = match self {
            Self::Invalid(why) => (StatusCode::BAD_REQUEST, why.to_string(), None),
            Self::Store(why @ Error::Elsewhere(_)) => (StatusCode::BAD_GATEWAY, why.to_string(), None),
            Self::Store(why) => (StatusCode::INTERNAL_SERVER_ERROR, why.to_string(), None),
            Self::NoTrace(id) => (StatusCode::NOT_FOUND, "trace not found".to_owned(), Some(id)),
        };
        let mut error = json!({"code": status.as_u16(), "msg": message});
        if let (Some(id), Some(object)) = (trace, error.as_object_mut()) {
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

async fn services(State(traces): Shared) -> Result<Json<Value>, Refused> {
    let names = traces.services().await?;
    Ok(data(names.iter().map(|name| Value::from(&**name)).collect::<Vec<_>>()))
}

async fn operation_names(State(traces): Shared, Path(service): Path<String>) -> Result<Json<Value>, Refused> {
    let mut names: Vec<String> =
        traces.operations(service).await?.into_iter().map(|operation| operation.name).collect();
    names.dedup();
    Ok(data(names))
}

async fn operations(State(traces): Shared, Query(pairs): Query<Pairs>) -> Result<Json<Value>, Refused> {
    let (service, kind) = query::operations(&pairs)?;
    let operations = traces.operations(service).await?;
    let wanted = operations.into_iter().filter(|o| kind.as_ref().is_none_or(|kind| model::kind(o.kind) == kind));
    let one = |o: crate::store::spans::Operation| json!({"name": o.name, "spanKind": model::kind(o.kind)});
    Ok(data(wanted.map(one).collect::<Vec<_>>()))
}

async fn search(State(traces): Shared, Query(pairs): Query<Pairs>) -> Result<Json<Value>, Refused> {
    let found = traces.find(query::traces(&pairs, now_micros())?).await?;
    Ok(data(found.iter().map(|spans| model::trace(spans)).collect::<Vec<_>>()))
}

async fn trace(State(traces): Shared, Path(text): Path<String>) -> Result<Json<Value>, Refused> {
    let spans = traces.trace(query::trace_id(&text)?).await?;
    if spans.is_empty() {
        return Err(Refused::NoTrace(text));
    }
    Ok(data(vec![model::trace(&spans)]))
}

async fn dependencies(State(traces): Shared, Query(pairs): Query<Pairs>) -> Result<Json<Value>, Refused> {
    let (start, end, service) = query::dependencies(&pairs, now_micros())?;
    let calls = traces.calls(start, end).await?;
    let wanted = calls
        .into_iter()
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
