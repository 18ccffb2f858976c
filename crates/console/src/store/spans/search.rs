//! Which traces are meant by a search.

use std::collections::{BTreeMap, HashSet};

use redb::ReadTransaction;
use varka_proto::otlp::{AnyValue, KeyValue, Value};

use super::super::disk::{BY_SERVICE, SPANS};
use super::{Error, Found, Spans, Waiting, decode, told};

/// A search looks at so many spans at most.
const LOOKED_AT: usize = 200_000;

/// What a span of the trace has to have. Times are in microseconds, since 1970 where they are moments.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Search {
    /// Whose span it is; empty: anybody's.
    pub service: String,
    /// Its name; empty: any.
    pub operation: String,
    /// It has all of these, as attributes of itself, of its events or of where it comes from, or as Jaeger tells them beside
    /// attributes.
    pub tags: Vec<(String, String)>,
    /// It began no earlier,
    pub start: u64,
    /// and no later.
    pub end: u64,
    /// It took no less.
    pub duration_min: Option<u64>,
    /// It took no more.
    pub duration_max: Option<u64>,
    /// So many traces at most.
    pub limit: usize,
}

pub(super) fn run(spans: &Spans, search: &Search) -> Result<Vec<u128>, Error> {
    let services: Vec<u32> = if search.service.is_empty() {
        let names = spans.names.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        names.by_number.keys().copied().collect()
    } else {
        spans.known(&search.service).into_iter().collect()
    };
    // When the newest span of each trace that was found began.
    let mut newest: BTreeMap<u128, u64> = BTreeMap::new();
    let mut note = |trace, start| {
        let found = newest.entry(trace).or_insert(start);
        *found = start.max(*found);
    };
    for waiting in spans.unwritten().iter().filter(|waiting| services.contains(&waiting.service)) {
        if search.takes_time(waiting) && search.takes(&waiting.found) {
            note(waiting.key.0, waiting.start);
        }
    }
    for service in services {
        let found = spans.disk.read(|read| of_service(read, service, search))?;
        for (trace, start) in found? {
            note(trace, start);
        }
    }
    let mut traces: Vec<_> = newest.into_iter().collect();
    traces.sort_by_key(|(trace, start)| (std::cmp::Reverse(*start), *trace));
    Ok(traces.into_iter().map(|(trace, _)| trace).take(search.limit).collect())
}

type Traces = Vec<(u128, u64)>;

/// The newest traces of a service, from the file.
fn of_service(read: &ReadTransaction, service: u32, search: &Search) -> Result<Result<Traces, Error>, redb::Error> {
    let (by_service, spans) = (read.open_table(BY_SERVICE)?, read.open_table(SPANS)?);
    let range = (service, search.start, 0, 0)..=(service, search.end, u128::MAX, u64::MAX);
    let (mut seen, mut traces) = (HashSet::new(), Vec::new());
    for row in by_service.range(range)?.rev().take(LOOKED_AT) {
        let (key, duration) = row?;
        let (_, start, trace, id) = key.value();
        if traces.len() >= search.limit {
            break;
        }
        if seen.contains(&trace) || !search.takes_duration(duration.value()) {
            continue;
        }
        if search.needs_span() {
            let mut takes = false;
            for row in spans.range((trace, id, 0)..=(trace, id, u8::MAX))? {
                match decode(row?.1.value()) {
                    Ok(found) => takes |= search.takes(&found),
                    Err(problem) => return Ok(Err(problem)),
                }
            }
            if !takes {
                continue;
            }
        }
        seen.insert(trace);
        traces.push((trace, start));
    }
    Ok(Ok(traces))
}

impl Search {
    fn needs_span(&self) -> bool {
        !self.operation.is_empty() || !self.tags.is_empty()
    }

    fn takes_duration(&self, duration: u64) -> bool {
        self.duration_min.is_none_or(|min| duration >= min) && self.duration_max.is_none_or(|max| duration <= max)
    }

    fn takes_time(&self, waiting: &Waiting) -> bool {
        (self.start..=self.end).contains(&waiting.start) && self.takes_duration(waiting.duration)
    }

    /// Whether a span has the name and the tags.
    pub(crate) fn takes(&self, found: &Found) -> bool {
        let named = self.operation.is_empty() || self.operation == found.span.name;
        named && self.tags.iter().all(|(key, value)| has(found, key, value))
    }
}

fn has(found: &Found, key: &str, value: &str) -> bool {
    let of = |attributes: &[KeyValue]| {
        attributes.iter().any(|a| a.key == key && a.value.as_ref().is_some_and(|v| reads(v, value)))
    };
    let beside = || {
        let told = told::of_scope(found).into_iter().chain(told::of_span(found));
        !value.is_empty() && told.into_iter().any(|pair| pair == (key, value))
    };
    of(&found.span.attributes)
        || of(&found.resource.attributes)
        || found.span.events.iter().any(|event| of(&event.attributes) || key == "event" && event.name == value)
        || found.scope.as_ref().is_some_and(|scope| of(&scope.attributes))
        || found.span.links.iter().any(|link| of(&link.attributes))
        || key == "error" && value == "true" && told::failed(found)
        || beside()
}

/// Whether the value is written so.
fn reads(value: &AnyValue, text: &str) -> bool {
    match &value.value {
        Some(Value::StringValue(found)) => found == text,
        Some(Value::BoolValue(found)) => text.parse() == Ok(*found),
        Some(Value::IntValue(found)) => text.parse() == Ok(*found),
        Some(Value::DoubleValue(found)) => text.parse::<f64>().is_ok_and(|number| number == *found),
        Some(several @ (Value::ArrayValue(_) | Value::KvlistValue(_))) => {
            told::plain(several).to_string().as_str() == text
        }
        Some(Value::BytesValue(_)) | None => false,
    }
}
