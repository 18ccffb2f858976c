//! What the pages of the console ask (`/console/api/*`); `ui/API.md` is the contract.
//!
//! Everything but [`apply`] and [`delete`] reads. Numbers are those of the store, names those of the cluster, both as they were at the time that is asked for.

mod affects;
pub mod apply;
mod config;
pub mod delete;
mod difference;
mod drawings;
pub(crate) mod effect;
mod examples;
mod explain;
mod findings;
mod graph;
mod health;
mod info;
mod lists;
mod logs;
mod mend;
mod mesh;
pub(crate) mod stream;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde_json::json;

pub use drawings::Drawings;
pub use stream::Common;

use crate::access::Refusal;
use crate::graph::Source;
use crate::store::{Error, Millis};

/// The routes.
pub fn routes(source: Source) -> Router {
    let common = Common::new(source.clone());
    routes_with(source, common)
}

/// The routes over what somebody sees of a source, with what is there once for everybody.
pub fn routes_with(source: Source, common: Common) -> Router {
    Router::new()
        .route("/console/api/info", get(info::info))
        .route("/console/api/graph", get(graph::graph))
        .route("/console/api/stream", get(stream::stream))
        .route("/console/api/changes", get(config::changes))
        .route("/console/api/workloads", get(lists::workloads))
        .route("/console/api/services", get(lists::services))
        .route("/console/api/applications", get(lists::applications))
        .route("/console/api/config", get(config::list))
        .route("/console/api/config/{namespace}/{kind}/{name}", get(config::object))
        .route("/console/api/validate", post(findings::check))
        .route("/console/api/logs", get(logs::logs))
        .route("/console/api/explain", post(explain::explain))
        .route("/console/api/effect", post(effect::effect))
        .route("/console/api/mesh", get(mesh::mesh))
        .layer(Extension(Arc::clone(&common.health)))
        .layer(Extension(common))
        .with_state(Arc::new(source))
}

type Shared = axum::extract::State<Arc<Source>>;
type Pairs = axum::extract::Query<Vec<(String, String)>>;

/// Why there is no answer, for a person.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refused {
    fn bad(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "badRequest", message: message.into() }
    }

    fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, code: "notFound", message: message.into() }
    }
}

impl From<Refused> for Refusal {
    fn from(Refused { status, code, message }: Refused) -> Self {
        Self::new(status, code, message, "")
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Elsewhere(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::File { .. } | Error::Record(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, code: "unavailable", message: error.to_string() }
    }
}

impl axum::response::IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"code": self.code, "message": self.message, "hint": ""}))).into_response()
    }
}

/// The value of a parameter; `None`: it is missing or empty.
fn parameter<'p>(pairs: &'p [(String, String)], name: &str) -> Option<&'p str> {
    pairs.iter().find(|(found, value)| found == name && !value.is_empty()).map(|(_, value)| value.as_str())
}

/// A whole number among the parameters.
fn number(pairs: &[(String, String)], name: &str) -> Result<Option<i64>, Refused> {
    let Some(text) = parameter(pairs, name) else { return Ok(None) };
    // Pages count in seconds with a fraction.
    let read = text.parse::<f64>().ok().filter(|number| number.abs() < 1e15);
    #[expect(clippy::cast_possible_truncation, reason = "checked to be within")]
    let whole = read.map(|number| number.floor() as i64);
    whole.map(Some).ok_or_else(|| Refused::bad(format!("{name} cannot be {text:?}; it is a number")))
}

pub(crate) fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
