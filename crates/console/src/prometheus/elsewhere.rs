//! A Prometheus that lies elsewhere, in place of the metrics that are kept here: what it answers, and its interface handed on.
//!
//! It is asked over its HTTP API (`/api/v1`), within limits of time and size. Only questions are handed on: nothing there is
//! written, deleted or shut down.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, get, on};
use serde::Deserialize;
use serde_json::json;
use varka_promql::labels::{Label, Labels};

use crate::client::{Question, Url, encode};
use crate::rates::LastSeen;
use crate::store::metrics::Sample;
use crate::store::{Error, Millis};

/// An answer takes at most so long,
const WITHIN: Duration = Duration::from_secs(30);
/// and is at most so big.
const LARGEST: usize = 64 << 20;
/// A form that is handed on is at most so big.
const LONGEST_FORM: usize = 1 << 20;
/// When things last had traffic is asked for again after this.
const REFRESH: Duration = Duration::from_secs(60);

/// The Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    url: Url,
    seen: RwLock<Arc<LastSeen>>,
}

/// A series and its samples, in order.
pub(crate) type Sampled = (Labels, Vec<Sample>);

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    #[serde(default)]
    value: Option<(f64, String)>,
}

impl Prometheus {
    /// Where it is. It is asked nothing yet.
    pub fn new(url: Url) -> Self {
        Self { url, seen: RwLock::default() }
    }

    fn error(&self, why: impl std::fmt::Display) -> Error {
        Error::Elsewhere(format!("the Prometheus at {}: {why}", self.url))
    }

    /// What a query is at a time: of a range, every sample in it.
    pub(crate) async fn query(&self, query: &str, at: Millis) -> Result<Vec<Sampled>, Error> {
        let time = format!("{}.{:03}", at.div_euclid(1000), at.rem_euclid(1000));
        let form = Some(encode([("query", query), ("time", &time)]));
        let question =
            Question { path: "/api/v1/query", form, within: WITHIN, largest: LARGEST, ..Question::default() };
        let answer = self.url.ask(&question).await?;
        let read: Result<Answer, _> = serde_json::from_slice(&answer.body);
        match read {
            Ok(Answer { data: Some(data), .. }) => Ok(data.result.into_iter().map(sampled).collect()),
            Ok(Answer { error: Some(error), .. }) => Err(self.error(error)),
            Ok(_) => Err(self.error(format!("it answers {} without data", answer.status))),
            Err(e) => {
                Err(self.error(format!("it answers {} and nothing that Prometheus would say: {e}", answer.status)))
            }
        }
    }

    /// When workloads and services last had traffic, as it was known a moment ago.
    pub fn last_seen(&self) -> Arc<LastSeen> {
        Arc::clone(&self.seen.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Learns anew when workloads and services last had traffic.
    ///
    /// # Errors
    /// It does not say.
    pub async fn refresh(&self, now: Millis) -> Result<(), Error> {
        let seen = Arc::new(LastSeen::fetch(self, now).await?);
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = seen;
        Ok(())
    }

    /// Keeps that up to date until the program ends.
    pub async fn follow(&self) {
        let mut ticks = tokio::time::interval(REFRESH);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(problem) = self.refresh(super::now()).await {
                tracing::warn!(%problem, "when things last had traffic is not known");
            }
        }
    }
}

fn sampled(of: Series) -> Sampled {
    let label = |(name, value): (String, String)| Label { name: name.into(), value: value.into() };
    let sample = |(at, value): (f64, String)| {
        #[expect(clippy::cast_possible_truncation, reason = "what is no time is before or after every window")]
        let at = (at * 1000.0).round() as i64;
        Some(Sample { at, value: value.parse().ok()? })
    };
    let samples = of.values.into_iter().chain(of.value).filter_map(sample).collect();
    (Labels::from_labels(of.metric.into_iter().map(label).collect()), samples)
}

/// The routes of Prometheus' interface that ask, handed on.
pub fn routes(prometheus: Arc<Prometheus>) -> Router {
    let both = || on(MethodFilter::GET.or(MethodFilter::POST), hand_on);
    Router::new()
        .route("/api/v1/query", both())
        .route("/api/v1/query_range", both())
        .route("/api/v1/series", both())
        .route("/api/v1/labels", both())
        .route("/api/v1/query_exemplars", both())
        .route("/api/v1/label/{name}/values", get(hand_on))
        .route("/api/v1/metadata", get(hand_on))
        .route("/api/v1/rules", get(hand_on))
        .route("/api/v1/alerts", get(hand_on))
        .route("/api/v1/status/buildinfo", get(hand_on))
        .route("/api/v1/status/config", get(hand_on))
        .route("/api/v1/status/runtimeinfo", get(hand_on))
        .route("/api/v1/status/flags", get(hand_on))
        .route("/-/healthy", get(hand_on))
        .route("/-/ready", get(hand_on))
        .with_state(prometheus)
}

async fn hand_on(State(prometheus): State<Arc<Prometheus>>, request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let form = if request.method() == Method::POST {
        let body = axum::body::to_bytes(request.into_body(), LONGEST_FORM).await;
        match body.ok().and_then(|body| String::from_utf8(body.into()).ok()) {
            Some(form) => Some(form),
            None => {
                let why = format!("the form is no text of at most {LONGEST_FORM} bytes");
                return refused(StatusCode::BAD_REQUEST, "bad_data", &why);
            }
        }
    } else {
        None
    };
    let question = Question { path: &path, form, within: WITHIN, largest: LARGEST, ..Question::default() };
    match prometheus.url.ask(&question).await {
        Ok(answer) => {
            let kind = answer.kind.unwrap_or(header::HeaderValue::from_static("application/json"));
            (answer.status, [(header::CONTENT_TYPE, kind)], answer.body).into_response()
        }
        Err(problem) => refused(StatusCode::BAD_GATEWAY, "unavailable", &prometheus.error(problem).to_string()),
    }
}

fn refused(status: StatusCode, kind: &str, why: &str) -> Response {
    (status, axum::Json(json!({"status": "error", "errorType": kind, "error": why}))).into_response()
}

#[cfg(test)]
mod tests;
