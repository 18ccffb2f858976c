//! Lines of containers.

use std::collections::{HashMap, HashSet};

use axum::Json;
use axum::extract::{Query, State};
use serde_json::{Value, json};

use super::{Pairs, Refused, Shared, now, number, parameter};
use crate::access_line;
use crate::jaeger::blocking;
use crate::requests::seen;
use crate::store::logs::{Line, Source};
use crate::store::{Error, Millis, Store};
use crate::world::World;

const DEFAULT_LIMIT: i64 = 500;
const MAX_LIMIT: i64 = 5_000;
/// A request whose trace is looked for took so long at most, in microseconds.
const LONGEST: u64 = 60_000_000;
/// Pods of a workload that are gone are looked for so long before the end of what is asked for, in microseconds.
const DEPARTED: u64 = 3_600_000_000;
/// So many spans are looked at for the traces of lines.
const SPANS: usize = 20_000;

/// Whose lines are wanted; empty: everybody's.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    namespace: String,
    workload: String,
    containers: Vec<String>,
    /// Pods of the workload that are there no more.
    departed: HashSet<(String, String)>,
}

impl Wanted {
    pub(super) fn read(pairs: &[(String, String)]) -> Self {
        let text = |name| parameter(pairs, name).unwrap_or_default().to_owned();
        let containers = text("containers").split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Self { namespace: text("namespace"), workload: text("workload"), containers, departed: HashSet::new() }
    }

    /// The same, with lines of pods that were there in a time.
    fn back_to(mut self, world: &World, start: Millis, end: Millis) -> Result<Self, Error> {
        if !self.workload.is_empty() {
            let all = crate::facts::departed(world, start, end)?.into_iter();
            let own = all.filter(|departed| departed.workload == self.workload);
            let text =
                |pod: &Value, path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
            self.departed =
                own.map(|of| (text(&of.pod, "/metadata/namespace"), text(&of.pod, "/metadata/name"))).collect();
        }
        Ok(self)
    }

    pub(super) fn takes(&self, world: &World, source: &Source) -> bool {
        let is_gone = || self.departed.contains(&(source.namespace.clone(), source.pod.clone()));
        let of_pod = || is_gone() || crate::facts::workload_of(world, &source.namespace, &source.pod) == self.workload;
        world.sight().sees(&source.namespace)
            && (self.namespace.is_empty() || self.namespace == source.namespace)
            && (self.containers.is_empty() || self.containers.contains(&source.container))
            && (self.workload.is_empty() || of_pod())
    }
}

pub(super) async fn logs(State(source): Shared, Query(pairs): Pairs) -> Result<Json<Value>, Refused> {
    let wanted = Wanted::read(&pairs);
    let limit = number(&pairs, "limit")?.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let micros = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000);
    let start = number(&pairs, "from")?.map_or(0, micros);
    let end = number(&pairs, "to")?.map_or_else(|| u64::try_from(now()).unwrap_or(0) * 1000, |to| micros(to) + 999_999);
    let found = blocking(move || {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let millis = |micros: u64| Millis::try_from(micros / 1000).unwrap_or(Millis::MAX);
        let wanted = wanted.back_to(&source.world, millis(start.max(end.saturating_sub(DEPARTED))), millis(end))?;
        let lines = source.store.logs().lines(|of| wanted.takes(&source.world, of), start, end, limit)?;
        let traces = Traces::of(&source.store, &lines)?;
        Ok(lines.iter().map(|one| with_trace(one, &traces)).collect())
    });
    Ok(Json(found.await?))
}

/// Traces of requests, by what the requests are called in logs.
#[derive(Debug, Default)]
pub(super) struct Traces(HashMap<String, String>);

impl Traces {
    /// Of the lines of access logs among these.
    pub(super) fn of(store: &Store, lines: &[Line]) -> Result<Self, Error> {
        let named = lines.iter().filter(|line| is_proxy(&line.source.container));
        let (Some(first), Some(last)) = (named.clone().map(|l| l.at).min(), named.map(|l| l.at).max()) else {
            return Ok(Self::default());
        };
        // A line is written when its request is over, after its span began.
        let spans = store.spans().recent(first.saturating_sub(LONGEST), last, SPANS)?;
        let traces = spans.iter().filter_map(seen).filter(|seen| !seen.request_id.is_empty());
        Ok(Self(traces.map(|seen| (seen.request_id, seen.trace)).collect()))
    }
}

/// A line with the trace of its request.
fn with_trace(of: &Line, traces: &Traces) -> Value {
    let mut shown = line(of);
    let read = access_line::read(&of.text).filter(|_| is_proxy(&of.source.container));
    let trace = read.and_then(|read| traces.0.get(&read.request_id));
    if let (Some(trace), Some(slot)) = (trace, shown.pointer_mut("/access/traceId")) {
        *slot = trace.as_str().into();
    }
    shown
}

/// Whether a container writes an access log: a sidecar, a gateway, the ingress.
fn is_proxy(container: &str) -> bool {
    matches!(container, "istio-proxy" | "controller")
}

/// In the pages' words, without its trace, which of a line that has just come may not have come yet.
pub(super) fn line(line: &Line) -> Value {
    let read = access_line::read(&line.text).filter(|_| is_proxy(&line.source.container));
    let access = read.map(|read| {
        json!({
            "method": read.method, "path": read.path, "code": read.code, "flags": read.flags, "details": read.details,
            "duration": read.duration, "host": read.host, "cluster": read.cluster, "upstream": read.upstream,
            "direction": read.direction(), "traceId": null,
        })
    });
    json!({
        "at": line.at, "pod": line.source.pod, "container": line.source.container, "text": line.text, "access": access,
    })
}
