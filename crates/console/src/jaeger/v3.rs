//! Version 3 of the interface: the same questions, answered in OTLP.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use varka_proto::otlp::{ResourceSpans, ScopeSpans};

use super::query::{self, Invalid, Pairs, Wanted};
use super::{Refused, Shared, blocking, find, model};
use crate::store::Store;
use crate::store::spans::{Found, Search};

const DEFAULT_DEPTH: usize = 100;
const MAX_DEPTH: usize = 1_500;

pub(super) fn routes() -> Router<Arc<Store>> {
    Router::new()
        .route("/api/v3/services", get(services))
        .route("/api/v3/operations", get(operations))
        .route("/api/v3/traces", get(search))
        .route("/api/v3/traces/{id}", get(trace))
        .route("/api/v3/trace-summaries", get(summaries))
}

async fn services(State(store): Shared) -> Json<Value> {
    let names: Vec<String> = store.spans().services().iter().map(|name| name.to_string()).collect();
    Json(json!({"services": names}))
}

async fn operations(State(store): Shared, Query(pairs): Query<Pairs>) -> Result<Json<Value>, Refused> {
    let pairs = pairs.into_iter().map(|(name, value)| (camel(&name), value)).collect();
    let (service, kind) = query::operations(&pairs)?;
    let found = blocking(move || store.spans().operations(&service)).await?;
    let wanted = found.into_iter().filter(|o| kind.as_ref().is_none_or(|kind| model::kind(o.kind) == kind));
    let one = |o: crate::store::spans::Operation| json!({"name": o.name, "spanKind": model::kind(o.kind)});
    Ok(Json(json!({"operations": wanted.map(one).collect::<Vec<_>>()})))
}

async fn search(State(store): Shared, Query(pairs): Query<Pairs>) -> Result<Json<Value>, Refused> {
    let wanted = Wanted::Search(wanted(&pairs)?);
    let traces = blocking(move || find(&store, &wanted)).await?;
    answer(traces.iter().flatten(), || Refused::NoTrace(String::new()))
}

async fn trace(State(store): Shared, Path(text): Path<String>) -> Result<Json<Value>, Refused> {
    let id = query::trace_id(&text)?;
    let spans = blocking(move || store.spans().trace(id)).await?;
    answer(spans.iter(), || Refused::NoTrace(text))
}

async fn summaries(State(store): Shared, Query(pairs): Query<Pairs>) -> Result<Json<Value>, Refused> {
    let wanted = Wanted::Search(wanted(&pairs)?);
    let traces = blocking(move || find(&store, &wanted)).await?;
    Ok(Json(json!({"summaries": traces.iter().map(|spans| summary(spans)).collect::<Vec<_>>()})))
}

fn answer<'f>(
    spans: impl Iterator<Item = &'f Found>,
    nothing: impl FnOnce() -> Refused,
) -> Result<Json<Value>, Refused> {
    let one = |found: &Found| ResourceSpans {
        resource: Some(found.resource.clone()),
        scope_spans: vec![ScopeSpans { scope: found.scope.clone(), spans: vec![found.span.clone()] }],
    };
    let resource_spans: Vec<ResourceSpans> = spans.map(one).collect();
    if resource_spans.is_empty() {
        return Err(nothing());
    }
    Ok(Json(json!({"result": {"resourceSpans": resource_spans}})))
}

/// What a list of traces shows of one.
pub(super) fn summary(spans: &[Found]) -> Value {
    const ERROR: i32 = 2;
    let ids: std::collections::HashSet<&[u8]> = spans.iter().map(|found| found.span.span_id.as_slice()).collect();
    let root = spans.iter().find(|found| !ids.contains(found.span.parent_span_id.as_slice()));
    let failed = |found: &&Found| found.span.status.as_ref().is_some_and(|status| status.code == ERROR);
    let mut services: std::collections::BTreeMap<String, (u64, u64)> = std::collections::BTreeMap::new();
    for found in spans {
        let counts = services.entry(found.service()).or_default();
        counts.0 += 1;
        counts.1 += u64::from(failed(&found));
    }
    let services: Vec<Value> = services
        .into_iter()
        .map(|(name, (count, errors))| json!({"name": name, "spanCount": count, "errorSpanCount": errors}))
        .collect();
    json!({
        "traceId": spans.first().map(|found| model::trace_id(&found.span.trace_id)),
        "rootServiceName": root.map(Found::service),
        "rootOperationName": root.map(|found| found.span.name.as_str()),
        "minStartTimeUnixNano": spans.iter().map(|found| found.span.start_time_unix_nano).min().map(|n| n.to_string()),
        "maxEndTimeUnixNano": spans.iter().map(|found| found.span.end_time_unix_nano).max().map(|n| n.to_string()),
        "spanCount": spans.len(),
        "errorSpanCount": spans.iter().filter(failed).count(),
        "services": services,
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
