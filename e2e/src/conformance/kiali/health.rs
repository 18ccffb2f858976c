//! Checks of Kiali's health: groups of a table, each with a form of its own.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use varka_telemetry::graph::facts::Replicas;
use varka_telemetry::graph::health::tolerance::{Compiled, calculate, of_edge, parse_annotation};
use varka_telemetry::graph::health::{ByCode, Config, Rate, Requests, Status, Tolerance, of_replicas};

use super::super::{Report, text};
use super::member;

type Check = fn(&Value) -> Result<(), String>;

const GROUPS: [(&str, Check); 9] = [
    ("calculator", calculator),
    ("edge", edge),
    ("workloadStatus", workload_status),
    ("merge", merge),
    ("priority", priority),
    ("errorRatio", error_ratio),
    ("totalRequestRate", total_request_rate),
    ("annotation", annotation),
    ("matchingRate", matching_rate),
];

/// Every check of every group.
pub(in super::super) fn run(table: &Value, _: &Path, report: &mut Report) {
    for (group, check) in GROUPS {
        for (place, row) in table.get(group).and_then(Value::as_array).into_iter().flatten().enumerate() {
            report.count(&format!("{group} {place} {}", text(row, "name")), check(row));
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(want: &T, got: &T) -> Result<(), String> {
    if want == got { Ok(()) } else { Err(format!("want {want:?}, got {got:?}")) }
}

/// A number within what the table allows.
fn near(row: &Value, want: &Value, got: f64) -> Result<(), String> {
    let want = want.as_f64().ok_or("a number is wanted")?;
    let delta = row.get("delta").and_then(Value::as_f64).unwrap_or_default();
    if (want - got).abs() <= delta { Ok(()) } else { Err(format!("want {want}, got {got}")) }
}

fn status(value: &Value) -> Option<Status> {
    Status::named(value.as_str()?)
}

#[expect(clippy::cast_possible_truncation, reason = "thresholds are single precision numbers in Kiali too")]
fn tolerances(list: &Value) -> Vec<Tolerance> {
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_f64).unwrap_or_default() as f32;
    let list = list.as_array().into_iter().flatten();
    list.map(|tolerance| Tolerance {
        code: text(tolerance, "code").to_owned(),
        protocol: text(tolerance, "protocol").to_owned(),
        direction: text(tolerance, "direction").to_owned(),
        degraded: number(tolerance, "degraded"),
        failure: number(tolerance, "failure"),
    })
    .collect()
}

fn config(row: &Value) -> Config {
    let rates = row.get("config").and_then(Value::as_array).into_iter().flatten();
    Config::new(
        rates
            .map(|rate| Rate {
                namespace: text(rate, "namespace").to_owned(),
                kind: text(rate, "kind").to_owned(),
                name: text(rate, "name").to_owned(),
                tolerances: tolerances(member(rate, "tolerance")),
            })
            .collect(),
    )
}

fn requests(value: &Value) -> Requests {
    let codes = |codes: &Value| -> BTreeMap<String, f64> {
        let codes = codes.as_object().into_iter().flatten();
        codes.filter_map(|(code, rate)| Some((code.clone(), rate.as_f64()?))).collect()
    };
    let direction = |key: &str| -> ByCode {
        let protocols = member(value, key).as_object().into_iter().flatten();
        protocols.map(|(protocol, of)| (protocol.clone(), codes(of))).collect()
    };
    Requests { inbound: direction("inbound"), outbound: direction("outbound") }
}

fn replicas(value: &Value) -> Option<Replicas> {
    let number = |key: &str| value.get(key).and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok()).unwrap_or(0);
    value.is_object().then(|| Replicas {
        desired: number("desiredReplicas"),
        current: number("currentReplicas"),
        available: number("availableReplicas"),
        synced_proxies: number("syncedProxies"),
    })
}

fn calculator(row: &Value) -> Result<(), String> {
    let health = member(row, "health");
    let annotations = member(row, "annotations").as_object().into_iter().flatten();
    let annotations = annotations.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect();
    let (namespace, name, kind) = (text(row, "namespace"), text(row, "entity"), text(row, "kind"));
    let tolerances = config(row).tolerances(namespace, name, kind, &annotations);
    let pods: Vec<Option<Replicas>> = match kind {
        "workload" => vec![replicas(member(health, "workloadStatus"))],
        "app" => member(health, "workloadStatuses").as_array().into_iter().flatten().map(replicas).collect(),
        _ => Vec::new(),
    };
    let pods = pods.iter().map(Option::as_ref);
    let calculated = calculate(&requests(member(health, "requests")), &tolerances, pods);
    let expect = member(row, "expect");
    let mut checked = false;
    if let Some(want) = expect.get("status") {
        same(&status(want), &Some(calculated.status))?;
        checked = true;
    }
    if let Some(want) = expect.get("errorRatio") {
        near(expect, want, calculated.error_ratio)?;
        checked = true;
    }
    if let Some(want) = expect.get("totalRequestRate") {
        near(expect, want, calculated.total_request_rate)?;
        checked = true;
    }
    if checked { Ok(()) } else { Err("nothing is expected".to_owned()) }
}

fn edge(row: &Value) -> Result<(), String> {
    let responses = member(row, "responses").as_object().into_iter().flatten();
    let codes: Vec<(&str, f64)> = responses
        .map(|(code, detail)| {
            let flags = member(detail, "flags").as_object().into_iter().flatten();
            (code.as_str(), flags.filter_map(|(_, rate)| rate.as_f64()).sum())
        })
        .collect();
    let tolerances: Vec<Compiled> = tolerances(member(row, "tolerances")).into_iter().map(Compiled::new).collect();
    let total = row.get("totalRequests").and_then(Value::as_f64).unwrap_or_default();
    let got = of_edge(text(row, "protocol"), None, total, &codes, &tolerances);
    same(&status(member(row, "expect")), &Some(got))
}

fn workload_status(row: &Value) -> Result<(), String> {
    let got = of_replicas(replicas(member(row, "workloadStatus")).as_ref());
    same(&status(member(row, "expect")), &Some(got))
}

fn merge(row: &Value) -> Result<(), String> {
    let of = |key: &str| status(member(row, key)).ok_or_else(|| format!("{key} is no status"));
    same(&of("expect")?, &of("s1")?.worse(of("s2")?))
}

/// What is no status is as good as none.
fn priority(row: &Value) -> Result<(), String> {
    let got = status(member(row, "status")).unwrap_or_default().priority();
    same(&row.get("expect").and_then(Value::as_u64), &Some(u64::from(got)))
}

fn error_ratio(row: &Value) -> Result<(), String> {
    let got = requests(member(row, "requests")).error_ratio();
    near(row, member(row, "expect"), got.unwrap_or(-1.0))
}

fn total_request_rate(row: &Value) -> Result<(), String> {
    near(row, member(row, "expect"), requests(member(row, "requests")).total())
}

fn annotation(row: &Value) -> Result<(), String> {
    let got = parse_annotation(text(row, "annotation"));
    let expect = member(row, "expect");
    same(&expect.get("count").and_then(Value::as_u64), &u64::try_from(got.len()).ok())?;
    for (place, want) in member(expect, "tolerances").as_object().into_iter().flatten() {
        let got = place.parse().ok().and_then(|place: usize| got.get(place)).ok_or("it has no such tolerance")?;
        let got = serde_json::to_value(got).map_err(|e| e.to_string())?;
        for (field, want) in want.as_object().into_iter().flatten() {
            same(want, member(&got, field))?;
        }
    }
    Ok(())
}

fn matching_rate(row: &Value) -> Result<(), String> {
    let config = config(row);
    let rate = config.rate(text(row, "namespace"), text(row, "entity"), text(row, "kind"));
    let rate = rate.ok_or("no rate fits")?;
    let expect = member(row, "expect");
    same(&text(expect, "rateNamespace"), &rate.namespace.as_str())?;
    if let Some(want) = expect.get("degraded") {
        let got = rate.tolerances.first().map(|tolerance| f64::from(tolerance.degraded));
        same(&want.as_f64(), &got)?;
    }
    Ok(())
}
