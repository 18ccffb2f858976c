//! A Jaeger or a Tempo that lies elsewhere, in place of the spans that are kept here.
//!
//! Jaeger is asked in version 3 of its interface, Tempo for its search and its traces; both answer in OTLP. What is answered is
//! bounded in time and size, and never half of it is shown for the whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use prost::Message as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use varka_proto::otlp::{ExportTraceServiceRequest as TracesData, ResourceSpans};

use super::model;
use crate::client::{Question, Url, encode};
use crate::store::Error;
use crate::store::spans::{Found, Operation, Search, sort, tell_apart};

/// An answer takes at most so long,
const WITHIN: Duration = Duration::from_secs(30);
/// and is at most so big.
const LARGEST: usize = 64 << 20;
const PROTOBUF: &str = "application/protobuf";
const JSON: &str = "application/json";

/// Whose interface it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Jaeger's `/api/v3`.
    Jaeger,
    /// Tempo's `/api/search` and `/api/traces`.
    Tempo,
}

/// The store.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    url: Url,
    kind: Kind,
}

#[derive(Deserialize)]
struct Services {
    #[serde(default)]
    services: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    name: String,
    #[serde(default)]
    span_kind: String,
}

#[derive(Deserialize)]
struct Operations {
    #[serde(default)]
    operations: Vec<Named>,
}

#[derive(Deserialize)]
struct Wrapped {
    result: TracesData,
}

#[derive(Deserialize)]
struct Dependencies {
    #[serde(default)]
    data: Vec<Dependency>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    parent: String,
    child: String,
    call_count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TagValues<V> {
    #[serde(default = "Vec::new")]
    tag_values: Vec<V>,
}

#[derive(Deserialize)]
struct TagValue {
    value: String,
}

#[derive(Deserialize)]
struct Searched {
    #[serde(default)]
    traces: Vec<Hit>,
}

/// What is found in the interface before version 3.
#[derive(Deserialize)]
struct Hits {
    data: Option<Vec<Hit>>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "traceID")]
    id: String,
}

impl Elsewhere {
    /// Where it is. It is asked nothing yet.
    pub fn new(url: Url, kind: Kind) -> Self {
        Self { url, kind }
    }

    fn error(&self, why: impl std::fmt::Display) -> Error {
        let name = match self.kind {
            Kind::Jaeger => "Jaeger",
            Kind::Tempo => "Tempo",
        };
        Error::Elsewhere(format!("the {name} at {}: {why}", self.url))
    }

    /// `None`: there is nothing of that name.
    async fn ask(&self, path: &str, accept: &'static str) -> Result<Option<Bytes>, Error> {
        let question = Question { path, accept, within: WITHIN, largest: LARGEST, ..Question::default() };
        let answer = self.url.ask(&question).await?;
        match answer.status {
            StatusCode::OK => Ok(Some(answer.body)),
            StatusCode::NOT_FOUND => Ok(None),
            status => {
                let said = String::from_utf8_lossy(&answer.body);
                Err(self.error(format!("it answers {status}: {}", said.chars().take(300).collect::<String>().trim())))
            }
        }
    }

    async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        let Some(body) = self.ask(path, JSON).await? else { return Ok(None) };
        if body.trim_ascii_start().starts_with(b"<") {
            let why = format!("it answers {path} with a page: is its interface at that URL, or below another path?");
            return Err(self.error(why));
        }
        let read = serde_json::from_slice(&body);
        read.map(Some).map_err(|e| self.error(format!("its answer to {path} cannot be read: {e}")))
    }

    /// What has to be there, whatever is stored.
    async fn known<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.json(path).await?.ok_or_else(|| self.error(format!("it has no {path}: is it of another version?")))
    }

    /// Names of every service, sorted.
    pub(super) async fn services(&self) -> Result<Vec<Arc<str>>, Error> {
        let mut names = match self.kind {
            Kind::Jaeger => self.known::<Services>("/api/v3/services").await?.services,
            Kind::Tempo => self.known::<TagValues<String>>("/api/search/tag/service.name/values").await?.tag_values,
        };
        names.sort();
        Ok(names.into_iter().map(Arc::from).collect())
    }

    /// Operations of a service, sorted. Tempo does not say of which kind they are.
    pub(super) async fn operations(&self, service: &str) -> Result<Vec<Operation>, Error> {
        let mut all: Vec<Operation> = match self.kind {
            Kind::Jaeger => {
                let path = format!("/api/v3/operations?{}", encode([("service", service)]));
                let found: Operations = self.known(&path).await?;
                let one = |of: Named| Operation { kind: model::kind_of(&of.span_kind), name: of.name };
                found.operations.into_iter().map(one).collect()
            }
            Kind::Tempo => {
                let query = format!("{{resource.service.name={}}}", quoted(service));
                let path = format!("/api/v2/search/tag/name/values?{}", encode([("q", query.as_str())]));
                let found: TagValues<TagValue> = self.known(&path).await?;
                found.tag_values.into_iter().map(|of| Operation { name: of.value, kind: 0 }).collect()
            }
        };
        all.sort();
        all.dedup();
        Ok(all)
    }

    /// The spans of a trace by their start; empty: there is none.
    pub(super) async fn trace(&self, id: u128) -> Result<Vec<Found>, Error> {
        let data = match self.kind {
            Kind::Jaeger => self.json::<Wrapped>(&format!("/api/v3/traces/{id:032x}")).await?.map(|of| of.result),
            Kind::Tempo => match self.ask(&format!("/api/traces/{id:032x}"), PROTOBUF).await? {
                // Its message has other names and the same numbers.
                Some(body) => {
                    Some(TracesData::decode(body).map_err(|e| self.error(format!("no trace of Tempo's: {e}")))?)
                }
                None => None,
            },
        };
        let mut spans = sorted(data.unwrap_or_default().resource_spans);
        if self.kind == Kind::Tempo {
            tell_apart(&mut spans);
        }
        Ok(spans)
    }

    /// Which traces are meant by a search, the newest first.
    pub(super) async fn search(&self, search: &Search) -> Result<Vec<u128>, Error> {
        match self.kind {
            Kind::Jaeger => {
                let traces = self.found_by_jaeger(search).await?;
                Ok(traces.iter().filter_map(|spans| trace_of(spans)).collect())
            }
            Kind::Tempo => self.found_by_tempo(search).await,
        }
    }

    /// The traces that are meant by a search, the newest first.
    pub(super) async fn find(&self, search: &Search) -> Result<Vec<Vec<Found>>, Error> {
        match self.kind {
            Kind::Jaeger => self.found_by_jaeger(search).await,
            Kind::Tempo => {
                let mut traces = Vec::new();
                for id in self.found_by_tempo(search).await? {
                    traces.push(self.trace(id).await?);
                }
                traces.retain(|spans| !spans.is_empty());
                Ok(traces)
            }
        }
    }

    async fn found_by_tempo(&self, search: &Search) -> Result<Vec<u128>, Error> {
        let found: Searched = self.known(&format!("/api/search?{}", in_tempos_words(search))).await?;
        found.traces.iter().take(search.limit).map(|hit| self.id_of(hit)).collect()
    }

    fn id_of(&self, hit: &Hit) -> Result<u128, Error> {
        u128::from_str_radix(&hit.id, 16).map_err(|_| self.error(format!("{:?} is no trace id", hit.id)))
    }

    /// Versions before 2.19 look for tags in the interface before version 3 alone, and those after 2.20 have it no more.
    async fn found_by_jaeger(&self, search: &Search) -> Result<Vec<Vec<Found>>, Error> {
        let mut traces = self.found_in_version_3(search).await?;
        let meant = |found: &Found| found.service() == search.service && search.takes(found);
        if search.tags.is_empty() || traces.iter().all(|spans| spans.iter().any(meant)) {
            return Ok(traces);
        }
        let path = format!("/api/traces?{}", in_jaegers_former_words(search));
        let Some(found) = self.json::<Hits>(&path).await? else { return Ok(traces) };
        let wanted = found.data.unwrap_or_default();
        let wanted: Vec<u128> = wanted.iter().map(|hit| self.id_of(hit)).collect::<Result<_, _>>()?;
        traces.retain(|spans| trace_of(spans).is_some_and(|id| wanted.contains(&id)));
        for id in wanted {
            if !traces.iter().any(|spans| trace_of(spans) == Some(id)) {
                traces.push(self.trace(id).await?);
            }
        }
        traces.retain(|spans| !spans.is_empty());
        Ok(newest(traces, search.limit))
    }

    async fn found_in_version_3(&self, search: &Search) -> Result<Vec<Vec<Found>>, Error> {
        let found: Option<Wrapped> = self.json(&format!("/api/v3/traces?{}", in_jaegers_words(search))).await?;
        let mut by_trace: BTreeMap<Vec<u8>, Vec<Found>> = BTreeMap::new();
        for span in sorted(found.map(|of| of.result).unwrap_or_default().resource_spans) {
            by_trace.entry(span.span.trace_id.clone()).or_default().push(span);
        }
        Ok(newest(by_trace.into_values().collect(), search.limit))
    }

    /// Who called whom how often; `None`: it does not count that.
    pub(super) async fn calls(&self, start: u64, end: u64) -> Result<Option<BTreeMap<(String, String), u64>>, Error> {
        if self.kind == Kind::Tempo {
            return Ok(None);
        }
        let (end, back) = ((end / 1000).to_string(), (end.saturating_sub(start) / 1000).to_string());
        let path = format!("/api/dependencies?{}", encode([("endTs", end.as_str()), ("lookback", &back)]));
        let found: Dependencies = self.known(&path).await?;
        // Some of its stores count what a service does within itself as calls.
        let between = found.data.into_iter().filter(|of| of.parent != of.child);
        Ok(Some(between.map(|of| ((of.parent, of.child), of.call_count)).collect()))
    }
}

fn trace_of(spans: &[Found]) -> Option<u128> {
    spans.first()?.span.trace_id.as_slice().try_into().ok().map(u128::from_be_bytes)
}

/// So many traces, the newest first.
fn newest(mut traces: Vec<Vec<Found>>, limit: usize) -> Vec<Vec<Found>> {
    traces.sort_by_key(|spans| std::cmp::Reverse(spans.first().map(|found| found.span.start_time_unix_nano)));
    traces.truncate(limit);
    traces
}

/// Spans with where they come from, by their start. What has no ids is none.
fn sorted(from: Vec<ResourceSpans>) -> Vec<Found> {
    let mut all = Vec::new();
    for of in from {
        let resource = of.resource.unwrap_or_default();
        for scoped in of.scope_spans {
            let found = |span| Found { resource: resource.clone(), scope: scoped.scope.clone(), span };
            all.extend(scoped.spans.into_iter().map(found));
        }
    }
    all.retain(|found| found.span.trace_id.len() == 16 && found.span.span_id.len() == 8);
    sort(&mut all);
    all
}

fn in_jaegers_words(search: &Search) -> String {
    let time = |micros: u64| {
        let at = jiff::Timestamp::from_microsecond(i64::try_from(micros).unwrap_or(i64::MAX));
        at.unwrap_or(jiff::Timestamp::MAX).to_string()
    };
    let depth = search.limit.to_string();
    // The end is not within.
    let (start, end) = (time(search.start), time(search.end.saturating_add(1)));
    let (tags, shortest, longest) = (tags(search), micros(search.duration_min), micros(search.duration_max));
    let all = [
        ("query.service_name", search.service.as_str()),
        ("query.operation_name", &search.operation),
        ("query.attributes", &tags),
        ("query.start_time_min", &start),
        ("query.start_time_max", &end),
        ("query.duration_min", &shortest),
        ("query.duration_max", &longest),
        // The first is what versions before 2.20 call it.
        ("query.num_traces", &depth),
        ("query.search_depth", &depth),
    ];
    encode(all.into_iter().filter(|(_, value)| !value.is_empty()))
}

fn in_jaegers_former_words(search: &Search) -> String {
    // Microseconds; Go's times are nanoseconds in 63 bits.
    const LAST: u64 = (i64::MAX / 1000).cast_unsigned();
    let (start, end) = (search.start.min(LAST).to_string(), search.end.min(LAST).to_string());
    let (tags, shortest, longest) = (tags(search), micros(search.duration_min), micros(search.duration_max));
    let limit = search.limit.to_string();
    let all = [
        ("service", search.service.as_str()),
        ("operation", &search.operation),
        ("tags", &tags),
        ("start", &start),
        ("end", &end),
        ("minDuration", &shortest),
        ("maxDuration", &longest),
        ("limit", &limit),
    ];
    encode(all.into_iter().filter(|(_, value)| !value.is_empty()))
}

/// As an object of JSON; empty: none is looked for.
fn tags(search: &Search) -> String {
    if search.tags.is_empty() {
        return String::new();
    }
    let one = |(key, value): &(String, String)| (key.clone(), value.as_str().into());
    serde_json::Value::Object(search.tags.iter().map(one).collect()).to_string()
}

/// As Go writes a duration; empty: none is said.
fn micros(of: Option<u64>) -> String {
    of.map(|micros| format!("{micros}us")).unwrap_or_default()
}

/// In logfmt and in TraceQL a text may be quoted as in JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Tempo's durations are of traces, not of spans.
fn in_tempos_words(search: &Search) -> String {
    let mut tags = Vec::new();
    let named = [("service.name", &search.service), ("name", &search.operation)];
    for (key, value) in named.into_iter().chain(search.tags.iter().map(|(key, value)| (key.as_str(), value))) {
        if !value.is_empty() {
            tags.push(format!("{key}={}", quoted(value)));
        }
    }
    let tags = tags.join(" ");
    // In whole seconds; the end is not within.
    let (start, end) = ((search.start / 1_000_000).to_string(), (search.end / 1_000_000 + 1).to_string());
    let (shortest, longest, limit) =
        (micros(search.duration_min), micros(search.duration_max), search.limit.to_string());
    let all = [
        ("tags", tags.as_str()),
        ("start", &start),
        ("end", &end),
        ("minDuration", &shortest),
        ("maxDuration", &longest),
        ("limit", &limit),
    ];
    encode(all.into_iter().filter(|(_, value)| !value.is_empty()))
}

#[cfg(test)]
mod tests;
