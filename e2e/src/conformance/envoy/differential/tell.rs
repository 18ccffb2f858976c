//! What is compared of a case: everything that does not differ by nature.
//!
//! Left out are times, and what is drawn at random: ports of the proxies' own connections, request ids that nobody gave,
//! hashes of certificates.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::super::app::Seen;
use super::super::case::{Case, Protocol};
use super::super::log::Line;
use super::super::observe::Observation;
use super::super::{compare, summary};

/// Fields of a log line that say when, and how long.
const TIMES: [&str; 3] = ["time", "duration", "upstream_time"];
/// Ports from here on are given by the kernel.
const FIRST_OF_KERNEL: u16 = 32768;

#[expect(clippy::expect_used, reason = "a constant")]
static HASH: LazyLock<Regex> = LazyLock::new(|| Regex::new("Hash=[0-9a-f]{64}").expect("a pattern"));
#[expect(clippy::expect_used, reason = "a constant")]
static ID: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").expect("a pattern"));
/// An application that says first which it is.
#[expect(clippy::expect_used, reason = "a constant")]
static INSTANCE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\d+\.\d+\.\d+\.\d+").expect("a pattern"));
#[expect(clippy::expect_used, reason = "a constant")]
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(\d+\.\d+\.\d+\.\d+):(\d+)").expect("a pattern"));

/// What is compared.
pub(super) fn tell(case: &Case, all: &[Observation]) -> Value {
    if case.kind.is_some() {
        return summary::summarise(case, all);
    }
    match all {
        [single] => one(case, single),
        several => json!({"list": several.iter().map(|o| one(case, o)).collect::<Vec<_>>()}),
    }
}

fn one(case: &Case, o: &Observation) -> Value {
    let told = Told { case, id: &o.request.id };
    let mut seen: Vec<Value> = o.seen.iter().map(|s| told.seen(s)).collect();
    let mut inbound: Vec<Value> = o.inbound.iter().map(|l| told.line(l)).collect();
    for list in [&mut seen, &mut inbound] {
        compare::sort(list);
    }
    let body = match (&o.parts.upstream, case.protocol) {
        _ if case.protocol == Protocol::Tcp && case.any_endpoint => {
            told.text(&INSTANCE.replace(&o.answer.raw, "<any>"))
        }
        _ if case.protocol == Protocol::Tcp => told.text(&o.answer.raw),
        // It is compared as what the application saw.
        (Some(_), _) => "<what the application saw>".to_owned(),
        (None, _) => told.text(o.parts.body.as_deref().unwrap_or_default()),
    };
    let is_tcp = case.protocol == Protocol::Tcp;
    json!({
        "status": if is_tcp { None } else { o.parts.status },
        "end": summary::end(o),
        "ended": o.answer.ended,
        "interim": o.answer.interim,
        "alpn": o.answer.alpn,
        "headers": if is_tcp { Vec::new() } else { told.headers(&o.parts.headers) },
        "body": body,
        "trailers": told.headers(&o.answer.trailers),
        "out": o.out.iter().map(|l| told.line(l)).collect::<Vec<_>>(),
        "in": inbound,
        "attempts": o.seen.len(),
        "seen": seen,
        "slow": case.min_ms.map(|least| o.answer.took.as_secs_f64() * 1000.0 >= least),
    })
}

struct Told<'c> {
    case: &'c Case,
    id: &'c str,
}

impl Told<'_> {
    fn text(&self, text: &str) -> String {
        let text = text.replace(self.id, "<id>");
        let text = HASH.replace_all(&text, "Hash=<hash>");
        ID.replace_all(&text, "<uuid>").into_owned()
    }

    fn address(text: &str) -> String {
        let masked = ADDRESS.replace_all(text, |found: &regex::Captures<'_>| {
            let part = |n| found.get(n).map_or("", |m| m.as_str());
            match part(2).parse::<u16>() {
                Ok(port) if port < FIRST_OF_KERNEL => format!("{}:{port}", part(1)),
                _ => format!("{}:<port>", part(1)),
            }
        });
        masked.into_owned()
    }

    fn headers(&self, headers: &[(String, String)]) -> Vec<Value> {
        let told = |(name, value): &(String, String)| {
            // What is left of the time for a second attempt is not the same twice.
            let again = headers.iter().any(|(n, v)| n.eq_ignore_ascii_case("x-envoy-attempt-count") && v != "1");
            let value = match name.to_ascii_lowercase().as_str() {
                "date" => return None,
                "x-envoy-expected-rq-timeout-ms" | "grpc-timeout" if again => "<ms>".to_owned(),
                "x-envoy-upstream-service-time" => "<ms>".to_owned(),
                "x-app-instance" if self.case.any_endpoint => "<any>".to_owned(),
                _ => self.text(value),
            };
            Some(json!([name, value]))
        };
        headers.iter().filter_map(told).collect()
    }

    fn seen(&self, seen: &Seen) -> Value {
        json!({
            "instance": if self.case.any_endpoint { "<any>" } else { &seen.instance },
            "method": seen.method,
            "path": self.text(&seen.path),
            "headers": self.headers(&seen.headers),
            "body": self.text(&seen.body),
            "trailers": self.headers(&seen.trailers),
        })
    }

    fn line(&self, line: &Line) -> Value {
        let told = |(name, value): (&str, &str)| {
            if TIMES.contains(&name) {
                return None;
            }
            let value = match name {
                "host" | "downstream_local" if self.case.any_endpoint => "<any>".to_owned(),
                _ => Self::address(&self.text(value)),
            };
            Some((name.to_owned(), value.into()))
        };
        Value::Object(line.fields().filter_map(told).collect::<Map<_, _>>())
    }
}
