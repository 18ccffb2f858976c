//! Prometheus' query interface (`/api/v1/*`) over the store.
//!
//! What a query may cost is bounded by [`varka_promql`]'s limits. Rules, alerts and exemplars there are none, and the answers say
//! so; nothing can be written or deleted here.

mod parameters;
mod storage;

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;
use varka_promql::answer::{InstantSample, QueryValue, Response as Answer, SampleValue};
use varka_promql::{Options, Times};

use crate::ingest::scrape::LONGEST;
use crate::store::Store;
use parameters::{Invalid, Pairs, Parameters};
use storage::Samples;

/// The routes.
pub fn routes(store: Store) -> Router {
    Router::new()
        .route("/api/v1/query", get(query).post(query))
        .route("/api/v1/query_range", get(query_range).post(query_range))
        .route("/api/v1/series", get(series).post(series))
        .route("/api/v1/labels", get(labels).post(labels))
        .route("/api/v1/label/{name}/values", get(label_values))
        .route("/api/v1/metadata", get(|| async { success(json!({})) }))
        .route("/api/v1/query_exemplars", get(|| async { success(json!([])) }))
        .route("/api/v1/rules", get(|| async { success(json!({"groups": []})) }))
        .route("/api/v1/alerts", get(|| async { success(json!({"alerts": []})) }))
        .route("/api/v1/status/buildinfo", get(build))
        .route("/api/v1/status/config", get(configuration))
        .route("/api/v1/status/runtimeinfo", get(runtime))
        .route("/api/v1/status/flags", get(|| async { success(json!({})) }))
        .route("/-/healthy", get(|| async { StatusCode::OK }))
        .route("/-/ready", get(|| async { StatusCode::OK }))
        .with_state(store)
}

fn success(data: impl Serialize) -> Response {
    Json(Answer::of(data)).into_response()
}

impl axum::response::IntoResponse for Invalid {
    fn into_response(self) -> Response {
        let body = json!({"status": "error", "errorType": "bad_data", "error": self.to_string()});
        (StatusCode::BAD_REQUEST, Json(body)).into_response()
    }
}

fn failed(error: &varka_promql::error::Error) -> Response {
    let status = match error.kind() {
        "bad_data" => StatusCode::BAD_REQUEST,
        "internal" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, Json(Answer::<()>::of_error(error))).into_response()
}

async fn query(State(store): State<Store>, Query(pairs): Query<Pairs>, headers: HeaderMap, body: String) -> Response {
    let parameters = Parameters::of(pairs, &headers, &body);
    let asked = || Ok::<_, Invalid>((parameters.required("query")?, parameters.time("time")?.unwrap_or_else(now)));
    match asked() {
        Ok((text, time)) => evaluate(store, text, Times::Instant(time)).await,
        Err(invalid) => invalid.into_response(),
    }
}

async fn query_range(
    State(store): State<Store>,
    Query(pairs): Query<Pairs>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let parameters = Parameters::of(pairs, &headers, &body);
    let asked = || {
        let times = Times::Range {
            start: parameters.required_time("start")?,
            end: parameters.required_time("end")?,
            step: parameters.step("step")?,
        };
        Ok::<_, Invalid>((parameters.required("query")?, times))
    };
    match asked() {
        Ok((text, times)) => evaluate(store, text, times).await,
        Err(invalid) => invalid.into_response(),
    }
}

/// The numbers of an instant query of our own, with their labels; one that cannot be evaluated has none.
pub(crate) fn instant(store: &Store, text: &str, at: crate::store::Millis) -> Vec<(varka_promql::Labels, f64)> {
    let answered = varka_promql::query(text, Times::Instant(at), &Samples(store.clone()), &Options::default());
    let samples = match answered.map(|answer| answer.value) {
        Ok(QueryValue::Vector(samples)) => samples,
        Ok(_) => return Vec::new(),
        Err(problem) => {
            tracing::warn!(%problem, text, "the console's own query cannot be evaluated");
            return Vec::new();
        }
    };
    let number = |sample: InstantSample| match sample.value {
        SampleValue::Float(value) if value.is_finite() => Some((sample.labels, value)),
        SampleValue::Float(_) | SampleValue::Histogram(_) => None,
    };
    samples.into_iter().filter_map(number).collect()
}

/// Evaluates aside from the threads that serve.
async fn evaluate(store: Store, text: String, times: Times) -> Response {
    let evaluated = tokio::task::spawn_blocking(move || {
        match varka_promql::query(&text, times, &Samples(store), &Options::default()) {
            Ok(answer) => {
                let annotations = answer.annotations;
                Json(Answer::of(answer.value).with(&annotations, &text)).into_response()
            }
            Err(error) => failed(&error),
        }
    });
    evaluated.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

async fn series(State(store): State<Store>, Query(pairs): Query<Pairs>, headers: HeaderMap, body: String) -> Response {
    let parameters = Parameters::of(pairs, &headers, &body);
    let matching = match parameters.matching() {
        Ok(matching) if matching.is_empty() => {
            return Invalid::new("match[]", "at least one series selector is needed").into_response();
        }
        Ok(matching) => matching,
        Err(invalid) => return invalid.into_response(),
    };
    let limit = match parameters.limit() {
        Ok(limit) => limit,
        Err(invalid) => return invalid.into_response(),
    };
    let found = storage::series(&store, &matching);
    success(found.iter().take(limit).collect::<Vec<_>>())
}

async fn labels(State(store): State<Store>, Query(pairs): Query<Pairs>, headers: HeaderMap, body: String) -> Response {
    let parameters = Parameters::of(pairs, &headers, &body);
    let asked = || Ok::<_, Invalid>((parameters.matching()?, parameters.limit()?));
    match asked() {
        Ok((matching, limit)) => {
            success(storage::label_names(&store, &matching).into_iter().take(limit).collect::<Vec<_>>())
        }
        Err(invalid) => invalid.into_response(),
    }
}

async fn label_values(State(store): State<Store>, Path(name): Path<String>, Query(pairs): Query<Pairs>) -> Response {
    let parameters = Parameters::of(pairs, &HeaderMap::new(), "");
    let asked = || Ok::<_, Invalid>((parameters.matching()?, parameters.limit()?));
    match asked() {
        Ok((matching, limit)) => {
            success(storage::label_values(&store, &name, &matching).into_iter().take(limit).collect::<Vec<Arc<str>>>())
        }
        Err(invalid) => invalid.into_response(),
    }
}

async fn build() -> Response {
    // Clients look at the version to know what they may ask; it is Prometheus' whose PromQL this is.
    success(json!({"version": "3.8.0", "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": "",
        "application": concat!("varka ", env!("CARGO_PKG_VERSION"))}))
}

/// Clients look here for the shortest window that means something: targets are asked at least so often.
async fn configuration() -> Response {
    let seconds = LONGEST.as_secs();
    success(json!({"yaml": format!("global:\n  scrape_interval: {seconds}s\n")}))
}

async fn runtime(State(store): State<Store>) -> Response {
    success(json!({"storageRetention": format!("{}h", store.limits().age.as_secs() / 3600)}))
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Whether a body holds parameters.
fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim() == "application/x-www-form-urlencoded"
}

#[cfg(test)]
mod tests;
