//! Version 3 of the interface: the same questions, answered in OTLP.

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use varka_proto::jaeger::api_v3::{ServiceSummary, TraceSummary};
use varka_proto::otlp::{ResourceSpans, ScopeSpans};

use super::query::{self, Invalid, Pairs, Wanted};
use super::{Refused, Traces, model};
use crate::store::spans::{Found, Search};

const DEFAULT_DEPTH: usize = 100;
const MAX_DEPTH: usize = 1_500;

pub(super) fn routes() -> Router<Traces> {
    Router::new()
        .route("/api/v3/services", get(services))
        .route("/api/v3/operations", get(operations))
        .route("/api/v3/traces", get(search))
        .route("/api/v3/traces/{id}", get(trace))
        .route("/api/v3/trace-summaries", get(summaries))
}

/// An answer that is none, in the form of this version.
struct Problem(Refused);

impl<E: Into<Refused>> From<E> for Problem {
    fn from(problem: E) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, message) = self.0.told();
        (status, Json(json!({"error": {"httpCode": status.as_u16(), "message": message}}))).into_response()
    }
}

async fn services(State(traces): State<Traces>) -> Result<Json<Value>, Problem> {
    let names: Vec<String> = traces.services().await?.iter().map(|name| name.to_string()).collect();
    Ok(Json(json!({"services": names})))
}

async fn operations(State(traces): State<Traces>, Query(pairs): Query<Pairs>) -> Result<Json<Value>, Problem> {
    let pairs = pairs.into_iter().map(|(name, value)| (camel(&name), value)).collect();
    let (service, kind) = query::operations(&pairs)?;
    let found = traces.operations(service).await?;
    let wanted = found.into_iter().filter(|o| kind.as_ref().is_none_or(|kind| model::kind(o.kind) == kind));
    let one = |o: crate::store::spans::Operation| json!({"name": o.name, "spanKind": model::kind(o.kind)});
    Ok(Json(json!({"operations": wanted.map(one).collect::<Vec<_>>()})))
}

async fn search(State(traces): State<Traces>, Query(pairs): Query<Pairs>) -> Result<Json<Value>, Problem> {
    let found = traces.find(Wanted::Search(wanted(&pairs)?)).await?;
    answer(found.iter().flatten(), || Refused::NoTrace(String::new()))
}

async fn trace(State(traces): State<Traces>, Path(text): Path<String>) -> Result<Json<Value>, Problem> {
    let spans = traces.trace(query::trace_id(&text)?).await?;
    answer(spans.iter(), || Refused::NoTrace(text))
}

async fn summaries(State(traces): State<Traces>, Query(pairs): Query<Pairs>) -> Result<Json<Value>, Problem> {
    let found = traces.find(Wanted::Search(wanted(&pairs)?)).await?;
    Ok(Json(json!({"summaries": found.iter().map(|spans| summary_json(&summary(spans))).collect::<Vec<_>>()})))
}

fn answer<'f>(
    spans: impl Iterator<Item = &'f Found>,
    nothing: impl FnOnce() -> Refused,
) -> Result<Json<Value>, Problem> {
    let all: Vec<ResourceSpans> = spans.map(resource_spans).collect();
    if all.is_empty() {
        return Err(nothing().into());
    }
    Ok(Json(json!({"result": {"resourceSpans": all}})))
}

/// A span with where it comes from.
pub(super) fn resource_spans(found: &Found) -> ResourceSpans {
    ResourceSpans {
        resource: Some(found.resource.clone()),
        scope_spans: vec![ScopeSpans { scope: found.scope.clone(), spans: vec![found.span.clone()] }],
    }
}

/// What a list of traces shows of one.
pub(super) fn summary(spans: &[Found]) -> TraceSummary {
    const ERROR: i32 = 2;
    let count = |of: usize| i32::try_from(of).unwrap_or(i32::MAX);
    let ids: std::collections::HashSet<&[u8]> = spans.iter().map(|found| found.span.span_id.as_slice()).collect();
    let below_none = |found: &&Found| !ids.contains(found.span.parent_span_id.as_slice());
    let root = spans.iter().find(below_none);
    let failed = |found: &&Found| found.span.status.as_ref().is_some_and(|status| status.code == ERROR);
    let orphan = |found: &&Found| !found.span.parent_span_id.is_empty() && below_none(found);
    let mut services: std::collections::BTreeMap<String, ServiceSummary> = std::collections::BTreeMap::new();
    for found in spans {
        let name = found.service();
        let of = services.entry(name.clone()).or_insert(ServiceSummary { name, ..ServiceSummary::default() });
        of.span_count += 1;
        of.error_span_count += i32::from(failed(&found));
    }
    TraceSummary {
        trace_id: spans.first().map(|found| model::trace_id(&found.span.trace_id)).unwrap_or_default(),
        root_service_name: root.map(Found::service).unwrap_or_default(),
        root_operation_name: root.map(|found| found.span.name.clone()).unwrap_or_default(),
        min_start_time_unix_nano: spans.iter().map(|found| found.span.start_time_unix_nano).min().unwrap_or_default(),
        max_end_time_unix_nano: spans.iter().map(|found| found.span.end_time_unix_nano).max().unwrap_or_default(),
        span_count: count(spans.len()),
        error_span_count: count(spans.iter().filter(failed).count()),
        orphan_span_count: count(spans.iter().filter(orphan).count()),
        services: services.into_values().collect(),
    }
}

fn summary_json(of: &TraceSummary) -> Value {
    let service = |of: &ServiceSummary| json!({"name": of.name, "spanCount": of.span_count, "errorSpanCount": of.error_span_count});
    json!({
        "traceId": of.trace_id,
        "rootServiceName": of.root_service_name,
        "rootOperationName": of.root_operation_name,
        "minStartTimeUnixNano": of.min_start_time_unix_nano.to_string(),
        "maxEndTimeUnixNano": of.max_end_time_unix_nano.to_string(),
        "spanCount": of.span_count,
        "errorSpanCount": of.error_span_count,
        "orphanSpanCount": of.orphan_span_count,
        "services": of.services.iter().map(service).collect::<Vec<_>>(),
    })
}

/// `query.serviceName` and the others, in camel or snake case.
fn wanted(pairs: &Pairs) -> Result<Search, Invalid> {
    let get = |wanted: &str| {
        let found =
            pairs.iter().find(|(name, _)| name.strip_prefix("query.").is_some_and(|name| camel(name) == wanted));
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    };
    let moment = |what: &'static str| {
        let text = get(what).ok_or_else(|| Invalid { what, why: "it is required".to_owned() })?;
        let at: jiff::Timestamp =
            text.parse().map_err(|e| Invalid { what, why: format!("{text:?} is no time of RFC 3339: {e}") })?;
        Ok::<u64, Invalid>(u64::try_from(at.as_microsecond()).unwrap_or(0))
    };
    let micros = |what: &'static str| get(what).map(|text| query::duration(what, text)).transpose();
    let depth = match get("searchDepth").or_else(|| get("numTraces")) {
        Some(text) => {
            text.parse().map_err(|_| Invalid { what: "searchDepth", why: format!("{text:?} is no whole number") })?
        }
        None => DEFAULT_DEPTH,
    };
    Ok(Search {
        service: get("serviceName").unwrap_or_default().to_owned(),
        operation: get("operationName").unwrap_or_default().to_owned(),
        tags: get("attributes").map_or(Ok(Vec::new()), |text| query::tag_object("attributes", text))?,
        start: moment("startTimeMin")?,
        end: moment("startTimeMax")?,
        duration_min: micros("durationMin")?,
        duration_max: micros("durationMax")?,
        limit: depth.clamp(1, MAX_DEPTH),
    })
}

fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |mut name, part| {
        let mut letters = part.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name.extend(letters);
        name
    })
}
