//! Kiali's own tests of its graph and its health.
//!
//! Graphs: what counters grew by goes in, the answer to the request must come out, text for text where the expected file is
//! written as such a file is. Health: each check of its tolerances by itself.

mod health;

use std::path::Path;

use serde_json::Value;
use varka_telemetry::graph::facts::{Facts, Namespace, Waypoint};
use varka_telemetry::graph::health::Config;
use varka_telemetry::graph::{DEFAULT_AGGREGATE, Durations, Input, Labels, Metrics, Series, build, kiali};

use super::{Report, cases, text};

pub(super) use health::run as health;

/// Every graph.
pub(super) fn run(table: &Value, directory: &Path, report: &mut Report) {
    for case in cases(table) {
        report.count(text(case, "name"), check(case, directory));
    }
}

fn check(case: &Value, directory: &Path) -> Result<(), String> {
    let expected = std::fs::read_to_string(directory.join(text(case, "expectedFile"))).map_err(|e| e.to_string())?;
    let expected = rewritten(expected, case);
    let want: Value = serde_json::from_str(&expected).map_err(|e| format!("the expected file is not JSON: {e}"))?;
    let facts = facts(case);
    let (request, now) = (member(case, "request"), case.get("now").and_then(Value::as_i64).unwrap_or_default());
    let query = query(text(request, "equivalentQuery"));
    let query = query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let options = kiali::request::parse(&path(member(request, "pathParams")), query, &facts, Config::default(), now)
        .map_err(|refused| refused.to_string())?;
    let metrics = metrics(case)?;
    let answer = kiali::render(&build(&Input { metrics: &metrics, facts: &facts }, &options));
    let got = serde_json::to_value(&answer).map_err(|e| e.to_string())?;
    if let Some(difference) = difference("", &want, &got) {
        return Err(difference);
    }
    // The same values; where the file is written as answers are, the same letters too.
    let written = serde_json::to_string_pretty(&want).map_err(|e| e.to_string())?;
    let letters = serde_json::to_string_pretty(&answer).map_err(|e| e.to_string())?;
    if written == expected && letters != expected {
        return Err("the same values, written otherwise".to_owned());
    }
    Ok(())
}

fn member<'v>(value: &'v Value, key: &str) -> &'v Value {
    value.get(key).unwrap_or(&Value::Null)
}

/// Hosts that the counters had to be given in another form.
fn rewritten(mut expected: String, case: &Value) -> String {
    let rewrites = case.get("countersRewrite").and_then(Value::as_object);
    for (from, to) in rewrites.into_iter().flatten() {
        if let Some(to) = to.as_str() {
            expected = expected.replace(&format!("\"{from}\""), &format!("\"{to}\""));
        }
    }
    expected
}

fn facts(case: &Value) -> Facts {
    let environment = member(case, "environment");
    let list = |key: &str| environment.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let own = |value: &Value, key: &str| text(value, key).to_owned();
    Facts {
        namespaces: list("namespaces")
            .iter()
            .map(|namespace| Namespace {
                cluster: own(namespace, "cluster"),
                name: own(namespace, "name"),
                ambient: namespace.get("isAmbient").and_then(Value::as_bool).unwrap_or(false),
                ..Namespace::default()
            })
            .collect(),
        waypoints: list("waypoints")
            .iter()
            .map(|waypoint| Waypoint {
                cluster: own(waypoint, "cluster"),
                namespace: own(waypoint, "namespace"),
                name: own(waypoint, "name"),
            })
            .collect(),
        ..Facts::default()
    }
}

fn path(parameters: &Value) -> kiali::request::Path<'_> {
    let aggregate = text(parameters, "aggregate");
    kiali::request::Path {
        namespace: text(parameters, "namespace"),
        workload: text(parameters, "workload"),
        service: text(parameters, "service"),
        app: text(parameters, "app"),
        version: text(parameters, "version"),
        aggregate: (!aggregate.is_empty()).then(|| (aggregate, text(parameters, "aggregateValue"))),
    }
}

/// Names and values of a query, decoded.
fn query(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let mut hex = || {
            let pair = [bytes.next()?, bytes.next()?];
            u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()
        };
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex().unwrap_or(b'%'),
            byte => byte,
        });
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The counters of a case, as far as they are in the scope of its queries.
fn metrics(case: &Value) -> Result<Metrics<'_>, String> {
    let mut metrics = Metrics::default();
    let (mut buckets, mut sums, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    let scope = case.pointer("/environment/queryScope").and_then(Value::as_object);
    let counters = case.get("counters").and_then(Value::as_array).ok_or("it has no counters")?;
    for counter in counters {
        let labels = counter.get("labels").and_then(Value::as_object).ok_or("a counter without labels")?;
        if scope.into_iter().flatten().any(|(name, value)| labels.get(name) != Some(value)) {
            continue;
        }
        let pairs = labels.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
        let rate = counter.get("ratePerSecond").and_then(Value::as_f64).ok_or("a counter without a rate")?;
        let series = Series { labels: Labels::from_pairs(pairs, DEFAULT_AGGREGATE), rate };
        let list = match text(counter, "metric") {
            "istio_requests_total" => &mut metrics.requests,
            "istio_request_messages_total" => &mut metrics.request_messages,
            "istio_response_messages_total" => &mut metrics.response_messages,
            "istio_tcp_sent_bytes_total" => &mut metrics.tcp_sent_bytes,
            "istio_tcp_received_bytes_total" => &mut metrics.tcp_received_bytes,
            "istio_request_duration_milliseconds_bucket" => &mut buckets,
            "istio_request_duration_milliseconds_sum" => &mut sums,
            "istio_request_duration_milliseconds_count" => &mut counts,
            "istio_request_bytes_sum" => &mut metrics.request_bytes,
            "istio_response_bytes_sum" => &mut metrics.response_bytes,
            other => return Err(format!("no graph is made of {other}")),
        };
        list.push(series);
    }
    metrics.durations = Durations::together(&buckets, &sums, &counts);
    Ok(metrics)
}

/// Where two values first differ, and how.
fn difference(at: &str, want: &Value, got: &Value) -> Option<String> {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            let missing = want.iter().find_map(|(key, want)| match got.get(key) {
                Some(got) => difference(&format!("{at}/{key}"), want, got),
                None => Some(format!("{at}/{key}: want {want}, got nothing")),
            });
            let added = || {
                let (key, got) = got.iter().find(|(key, _)| !want.contains_key(*key))?;
                Some(format!("{at}/{key}: want nothing, got {got}"))
            };
            missing.or_else(added)
        }
        (Value::Array(want), Value::Array(got)) => {
            let length = || {
                let (want, got) = (want.len(), got.len());
                (want != got).then(|| format!("{at}: want {want} elements, got {got}"))
            };
            let pairs = want.iter().zip(got).enumerate();
            pairs.into_iter().find_map(|(i, (w, g))| difference(&format!("{at}/{i}"), w, g)).or_else(length)
        }
        _ => (want != got).then(|| format!("{at}: want {want}, got {got}")),
    }
}
