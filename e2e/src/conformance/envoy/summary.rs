//! What is compared of a case's observations, in the form of the table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::case::Case;
use super::client::Failure;
use super::observe::Observation;

/// Headers that say nothing about behaviour.
const DROPPED: [&str; 3] = ["date", "x-app-instance", "keep-alive"];
/// The cluster of all pods of the service: which of them answers is chance.
const SERVICE: &str = "outbound|8080||was-service.blog-system.svc.cluster.local";

#[expect(clippy::expect_used, reason = "a constant")]
static COOKIE: LazyLock<Regex> = LazyLock::new(|| Regex::new("=\"[0-9a-f]{16}\"").expect("a pattern"));
#[expect(clippy::expect_used, reason = "a constant")]
static HASH: LazyLock<Regex> = LazyLock::new(|| Regex::new("Hash=[0-9a-f]{64}").expect("a pattern"));

/// Sums up a case. Names that begin with `_` are for people.
pub(super) fn summarise(case: &Case, all: &[Observation]) -> Value {
    let statuses: BTreeSet<_> = all.iter().filter_map(|o| o.parts.status).collect();
    let instances: Vec<Option<&str>> = all.iter().map(|o| upstream(o, "instance")).collect();
    let Some(kind) = case.kind.as_deref() else {
        return match all {
            [single] => one(case, single),
            several => json!({"list": several.iter().map(|o| one(case, o)).collect::<Vec<_>>()}),
        };
    };
    match kind {
        "rr" => {
            let distinct = |window: &[Option<&str>]| window.iter().collect::<BTreeSet<_>>().len() == case.hosts;
            json!({"kind": kind, "strict_round_robin": instances.windows(case.hosts.max(1)).all(distinct), "statuses": statuses})
        }
        "sticky" => {
            let distinct = instances.iter().collect::<BTreeSet<_>>().len();
            json!({"kind": kind, "all_same_instance": distinct == 1, "statuses": statuses})
        }
        "map" => json!({"kind": kind, "instances": instances, "statuses": statuses}),
        "dist" => distribution(case, all),
        "hist" => histogram(case, all),
        "outlier" => outlier(all),
        "conns" => {
            let mut counts = BTreeMap::new();
            for local in all.iter().filter_map(|o| o.out.first()?.get("local")) {
                *counts.entry(local).or_insert(0) += 1;
            }
            json!({
                "kind": kind, "requests": all.len(), "statuses": statuses,
                "max_requests_on_one_upstream_connection": counts.values().max(),
            })
        }
        "mirror-dist" => {
            let mirrored = all.iter().flat_map(|o| &o.seen).filter(|s| s.version == "v2").count();
            let share = fraction(mirrored, all.len());
            let within = (share - case.fraction).abs() <= case.tol;
            json!({"kind": kind, "fraction": case.fraction, "tol": case.tol, "within": within, "_mirrored": mirrored})
        }
        unknown => json!({"kind": format!("{unknown} is not known")}),
    }
}

fn upstream<'o>(observation: &'o Observation, key: &str) -> Option<&'o str> {
    observation.parts.upstream.as_ref()?.get(key)?.as_str()
}

fn fraction(part: usize, whole: usize) -> f64 {
    let float = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    float(part) / float(whole.max(1))
}

fn distribution(case: &Case, all: &[Observation]) -> Value {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for o in all {
        let key = match case.key.as_str() {
            "status" => o.parts.status.map(|s| s.to_string()),
            key => upstream(o, key).map(str::to_owned),
        };
        *counts.entry(key.unwrap_or_else(|| "None".to_owned())).or_default() += 1;
    }
    let near = |(name, wanted): (&String, &Value)| {
        let share = fraction(counts.get(name).copied().unwrap_or_default(), all.len());
        wanted.as_f64().is_some_and(|wanted| (share - wanted).abs() <= case.tol)
    };
    let within = case.fractions.iter().all(near) && counts.keys().all(|k| case.fractions.contains_key(k));
    json!({"kind": "dist", "fractions": case.fractions, "tol": case.tol, "n": all.len(), "within": within, "_counts": counts})
}

fn flags(o: &Observation) -> Option<&str> {
    o.out.first().or(o.inbound.first())?.get("flags")
}

fn histogram(case: &Case, all: &[Observation]) -> Value {
    let mut counts: BTreeMap<String, (Value, usize)> = BTreeMap::new();
    for o in all {
        let body = if o.parts.upstream.is_some() { Some("APP") } else { o.parts.body.as_deref() };
        let key = json!([o.parts.status, flags(o), body]);
        counts.entry(key.to_string()).or_insert((key, 0)).1 += 1;
    }
    let rows = counts.into_values().map(|(mut key, n)| {
        key.as_array_mut().into_iter().for_each(|k| k.push(n.into()));
        key
    });
    let example = all.iter().find(|o| o.parts.status == Some(503)).map(|o| {
        let whole = one(case, o);
        let field = |name: &str| (name.to_owned(), whole.get(name).cloned().unwrap_or_default());
        Value::Object(["status", "headers", "body", "out", "in"].into_iter().map(field).collect())
    });
    json!({"kind": "hist", "histogram": rows.collect::<Vec<_>>(), "overflow_example": example})
}

fn outlier(all: &[Observation]) -> Value {
    let out_flags = |o: &Observation| o.out.first().and_then(|l| l.get("flags")).map(str::to_owned);
    let mut counts: BTreeMap<(Option<u16>, Option<String>), usize> = BTreeMap::new();
    let mut per_instance: BTreeMap<String, usize> = BTreeMap::new();
    for o in all {
        *counts.entry((o.parts.status, out_flags(o))).or_default() += 1;
        let status = o.parts.status.map_or_else(|| "None".to_owned(), |s| s.to_string());
        *per_instance.entry(format!("{} {status}", upstream(o, "instance").unwrap_or("-"))).or_default() += 1;
    }
    let bad = |o: &&Observation| {
        o.parts.status != Some(200) && upstream(o, "instance").is_some_and(|i| o.request.steering.contains(i))
    };
    let rows: Vec<_> = counts.into_iter().map(|((status, flags), n)| json!([status, flags, n])).collect();
    let refused = all.iter().find(|o| out_flags(o).as_deref() == Some("UH"));
    json!({
        "kind": "outlier", "count_by_status_flags": rows, "_per_instance": per_instance,
        "failures_of_bad_host": all.iter().filter(bad).count(),
        "tail_all_ok": all.iter().rev().take(10).all(|o| o.parts.status == Some(200)),
        "uh_body": refused.and_then(|o| o.parts.body.as_deref()),
    })
}

/// One request.
fn one(case: &Case, o: &Observation) -> Value {
    let mut s = Map::new();
    let mut put = |name: &str, value: Value| drop(s.insert(name.to_owned(), value));
    put("status", o.parts.status.into());
    put("end", end(o));
    if let Some(alpn) = &o.answer.alpn {
        put("alpn", alpn.as_str().into());
    }
    if o.parts.status.is_some() {
        put("headers", response_headers(o));
    }
    if let Some(body) = &o.parts.body {
        put("body", body.as_str().into());
    }
    if o.parts.partial {
        put("partial", true.into());
    }
    let cluster = o.out.first().and_then(|l| l.get("cluster")).unwrap_or_default();
    if let Some(seen) = &o.parts.upstream {
        put("upstream", upstream_request(seen, cluster));
    }
    if matches!(case.client.as_str(), "web" | "other") {
        put("out", o.out.first().map_or(Value::Null, |l| l.compared()));
    }
    let mut lines: Vec<Value> = o.inbound.iter().map(|l| l.compared()).collect();
    put("in_count", lines.len().into());
    if case.applog {
        super::compare::sort(&mut lines);
        let row = |seen: &super::app::Seen| {
            json!([seen.version, seen.header("host"), seen.path, seen.header("x-envoy-attempt-count")])
        };
        put("applog", o.seen.iter().map(row).collect());
    }
    lines.dedup();
    put("in", lines.into());
    if let Some(least) = case.min_ms {
        put("min_ms_ok", (o.answer.took.as_secs_f64() * 1000.0 >= least).into());
    }
    Value::Object(s)
}

/// Closed without a byte of an answer: reset, end and broken TLS race with each other, so they count as one.
pub(super) fn end(o: &Observation) -> Value {
    let nothing = o.parts.status.is_none() && !o.parts.partial;
    match (o.answer.end, o.answer.failure) {
        (Some("eof"), _) | (_, Some(Failure::Closed)) if nothing => "closed-without-response".into(),
        (_, Some(Failure::Timeout)) => "client-timeout".into(),
        (end, _) => end.into(),
    }
}

fn response_headers(o: &Observation) -> Value {
    let mut list = Vec::new();
    for (name, value) in &o.parts.headers {
        let name = name.to_ascii_lowercase();
        if DROPPED.contains(&name.as_str()) || (o.parts.upstream.is_some() && name == "content-length") {
            continue;
        }
        let value = match name.as_str() {
            "x-envoy-upstream-service-time" => "<ms>".into(),
            "set-cookie" => COOKIE.replace_all(value, "=\"<hex16>\""),
            _ => value.as_str().into(),
        };
        list.push(json!([name, value]));
    }
    list.into()
}

/// Which pod of a cluster of several answers is chance: version and instance stay only where the route decides them.
fn upstream_request(seen: &Value, cluster: &str) -> Value {
    let header = |pair: &Value| {
        let text = |n: usize| pair.get(n).and_then(Value::as_str).unwrap_or_default();
        let name = text(0).to_ascii_lowercase();
        let value = match name.as_str() {
            "x-request-id" => "<id>".into(),
            "x-forwarded-client-cert" => HASH.replace_all(text(1), "Hash=<hash>"),
            _ => text(1).into(),
        };
        json!([name, value])
    };
    let of_any_pod = cluster == SERVICE || cluster.starts_with("outbound|8080|all|");
    let of_some_pod = of_any_pod || (cluster.starts_with("outbound|8080|") && cluster.contains("was-service"));
    let field = |(name, value): (&String, &Value)| match name.as_str() {
        "version" if of_any_pod => None,
        "instance" if of_some_pod => None,
        "headers" => Some((name.clone(), value.as_array().into_iter().flatten().map(header).collect())),
        _ => Some((name.clone(), value.clone())),
    };
    Value::Object(seen.as_object().into_iter().flatten().filter_map(field).collect())
}
