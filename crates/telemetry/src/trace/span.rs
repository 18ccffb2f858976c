//! One span: a request as one proxy saw it, with Envoy's tags; and spans as Zipkin's JSON of version 2.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{Context, Tags};

/// Which side of a call a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// The caller's.
    Client,
    /// The server's.
    Server,
}

/// A request as one proxy saw it.
#[derive(Debug, Clone)]
pub struct Span<'a> {
    /// Its place in the trace.
    pub context: Context,
    /// W3C's `tracestate`; empty: none.
    pub trace_state: Cow<'a, str>,
    /// Side.
    pub kind: SpanKind,
    /// `was-service.blog-system.svc.cluster.local:8080/*`.
    pub name: Cow<'a, str>,
    /// When it began.
    pub start: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// What is told of it.
    pub tags: Tags,
    /// It failed.
    pub error: bool,
}

impl Span<'_> {
    /// Nanoseconds since 1970 at which it began and ended.
    pub fn nanos(&self) -> (u64, u64) {
        let start = self.start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        (nanos(start), nanos(start.saturating_add(self.duration)))
    }
}

/// Zipkin's JSON of version 2. `service` and `address` say whose spans they are.
pub fn zipkin_json(spans: &[Span<'_>], service: &str, address: IpAddr) -> String {
    let version = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    let endpoint = json!({"serviceName": service, version: address.to_string(), "port": 0});
    let one = |span: &Span<'_>| {
        let (start, end) = span.nanos();
        let tags: serde_json::Map<String, Value> =
            span.tags.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
        let mut out = json!({
            "traceId": span.context.trace.to_string(),
            "id": span.context.span.to_string(),
            "name": span.name,
            "kind": match span.kind { SpanKind::Client => "CLIENT", SpanKind::Server => "SERVER" },
            "timestamp": start / 1000,
            // Zipkin takes a duration of zero for none.
            "duration": ((end - start) / 1000).max(1),
            "localEndpoint": endpoint,
            "tags": tags,
        });
        if let (Some(parent), Some(object)) = (span.context.parent, out.as_object_mut()) {
            object.insert("parentId".to_owned(), parent.to_string().into());
        }
        out
    };
    Value::Array(spans.iter().map(one).collect()).to_string()
}
