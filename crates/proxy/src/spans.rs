//! Spans of requests: whose they are, what they say, and how they get to a collector.
//!
//! A request gets its place in a trace when its client is known, passes it on to the endpoint, and leaves a span when it is over. Spans wait
//! in a bounded queue of the worker and go out in batches; a collector that is slow or gone costs spans, which are counted, and
//! never delays a request.

mod export;
mod otlp;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use varka_engine::ir::{CustomTagValue, Str, Tracing, TracingProvider, TrafficDirection};
use varka_engine::outcome::Outcome;
use varka_engine::sampling;
use varka_telemetry::trace::{Context, Forms, Span, SpanKind};

use crate::accesslog::UpstreamRecord;
use crate::bootstrap::Bootstrap;
use crate::conn::Conn;
use crate::http::RequestHead;

pub(crate) use export::Exporter;

/// Tells the other side of a call how its span is called.
const DECORATOR: HeaderName = HeaderName::from_static("x-envoy-decorator-operation");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Longest path in `http.url`.
const MAX_PATH: usize = 256;
/// Longest name or tag that a peer decides.
const MAX_TEXT: usize = 1024;

/// A request's place in a trace.
#[derive(Debug)]
pub(crate) struct Traced {
    /// Our span's.
    context: Context,
    /// Name that the other side gave the span.
    name: Option<HeaderValue>,
    /// Name that the route gives it.
    pub operation: Option<Str>,
    server: bool,
}

/// The place of a request that has just come; with it the headers of the exchange of names are dealt with.
pub(crate) fn begin(tracing: &Tracing, direction: TrafficDirection, headers: &mut HeaderMap) -> Traced {
    let forms = match &tracing.provider {
        TracingProvider::OpenTelemetry { .. } => Forms { w3c: true, b3_single: false, b3_multi: false },
        TracingProvider::Zipkin { w3c, .. } => Forms { w3c: *w3c, b3_single: false, b3_multi: true },
    };
    let caller = Context::extract(headers);
    let decided = caller.map_or_else(|| Context::decision(headers), |c| c.sampled);
    let sampled = decided.unwrap_or_else(|| sampling::decide(tracing, headers, rand::random()));
    let context = match caller {
        Some(caller) => caller.child(rand::random(), sampled).also_in(forms),
        None => {
            let long = !matches!(tracing.provider, TracingProvider::Zipkin { trace_id_128bit: false, .. });
            let trace = if long { rand::random() } else { u128::from(rand::random::<u64>()) };
            Context::root(trace, rand::random(), sampled, forms)
        }
    };
    let server = direction != TrafficDirection::Outbound;
    // The client's sidecar says how it calls the request; no application is to see it.
    let name = headers.remove(DECORATOR).filter(|_| server);
    Traced { context, name, operation: None, server }
}

impl Traced {
    /// Writes the place into a request on its way to an endpoint.
    pub(crate) fn tell_endpoint(&self, headers: &mut HeaderMap) {
        self.context.inject(headers);
        let operation = self.operation.as_ref().filter(|_| !self.server);
        if let Some(value) = operation.and_then(|o| HeaderValue::from_str(o).ok()) {
            headers.insert(DECORATOR, value);
        }
    }

    /// Takes from a response what the endpoint calls the request.
    pub(crate) fn hear_endpoint(&mut self, headers: &mut HeaderMap) {
        let name = headers.remove(DECORATOR);
        if !self.server {
            self.name = name.filter(|n| !n.is_empty()).or(self.name.take());
        }
    }

    /// Tells the client how we call its request, unless it has said itself.
    pub(crate) fn tell_client(&self, headers: &mut HeaderMap) {
        let operation = self.operation.as_ref().filter(|_| self.server && self.name.is_none());
        if let Some(value) = operation.and_then(|o| HeaderValue::from_str(o).ok()) {
            headers.insert(DECORATOR, value);
        }
    }

    /// Its place.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Whether it leaves a span.
    pub(crate) fn is_sampled(&self) -> bool {
        self.context.sampled == Some(true)
    }
}

/// A request that is over.
pub(crate) struct Ended<'a> {
    /// Its connection.
    pub conn: &'a Conn,
    /// Its head, as it was sent on.
    pub head: &'a RequestHead,
    /// Where it was sent.
    pub upstream: &'a UpstreamRecord,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// `grpc-status`, of a gRPC request.
    pub grpc: Option<Option<u32>>,
    /// When it began.
    pub start: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// Payload from and to the client.
    pub bytes: [u64; 2],
}

/// The span of a request.
pub(crate) fn span(traced: &Traced, tracing: &Tracing, ended: &Ended<'_>) -> Span {
    let status = ended.outcome.status;
    let grpc_failed = matches!(ended.grpc, Some(Some(code)) if code != 0);
    let mut tags = tags(tracing, ended);
    // 0: there was no answer at all.
    let error = status == 0 || status >= 500 || grpc_failed;
    if error {
        tags.push(("error".into(), "true".to_owned()));
    }
    tags.extend(tracing.custom_tags.iter().filter_map(|tag| {
        let value = match &tag.value {
            CustomTagValue::Literal(value) => Some(value.to_string()),
            CustomTagValue::Environment { name, default } => or(std::env::var(&**name).ok(), default),
            CustomTagValue::Header { name, default } => or(header(&ended.head.headers, name), default),
        };
        Some((Cow::Owned(tag.name.to_string()), value?))
    }));
    Span {
        context: traced.context,
        trace_state: header(&ended.head.headers, TRACESTATE.as_str()).unwrap_or_default(),
        kind: if traced.server { SpanKind::Server } else { SpanKind::Client },
        name: name(traced, ended.head.authority.as_str()),
        start: ended.start,
        duration: ended.duration,
        tags,
        error,
    }
}

fn or(value: Option<String>, default: &str) -> Option<String> {
    value.or_else(|| (!default.is_empty()).then(|| default.to_owned()))
}

/// The other side's name for it, else the route's, else the direction and host.
fn name(traced: &Traced, host: &str) -> String {
    let said = traced.name.as_ref().and_then(|n| n.to_str().ok()).filter(|n| !n.is_empty());
    match (said.or(traced.operation.as_deref()), traced.server) {
        (Some(name), _) => cut(name, MAX_TEXT).to_owned(),
        (None, true) => "ingress".to_owned(),
        (None, false) => format!("egress {}", cut(host, MAX_TEXT)),
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|v| v.to_str().ok()).map(|v| cut(v, MAX_TEXT).to_owned())
}

/// At most so many bytes, whole characters.
fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Envoy's tags.
fn tags(tracing: &Tracing, e: &Ended<'_>) -> Vec<(Cow<'static, str>, String)> {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let h = &e.head.headers;
    let most = tracing.max_path_tag_length.and_then(|n| usize::try_from(n).ok()).unwrap_or(MAX_PATH);
    let original = h.get("x-envoy-original-path").and_then(|v| v.to_str().ok());
    let path = cut(original.unwrap_or(e.head.path.as_str()), most);
    let authority = cut(e.head.authority.as_str(), MAX_TEXT);
    let bootstrap = &e.conn.worker.state.bootstrap;
    let mut tags: Vec<(Cow<'static, str>, String)> = vec![
        ("node_id".into(), bootstrap.node_id()),
        ("component".into(), "proxy".to_owned()),
        ("guid:x-request-id".into(), or_none(header(h, "x-request-id"))),
        ("http.url".into(), format!("{}://{authority}{path}", e.head.scheme())),
        ("http.method".into(), e.head.method.as_str().to_owned()),
        ("downstream_cluster".into(), or_none(header(h, "x-envoy-downstream-service-cluster"))),
        ("user_agent".into(), or_none(header(h, "user-agent"))),
        ("http.protocol".into(), format!("{:?}", e.head.version)),
        ("peer.address".into(), e.conn.seen.peer.ip().to_string()),
        ("request_size".into(), e.bytes[0].to_string()),
        ("response_size".into(), e.bytes[1].to_string()),
        ("http.status_code".into(), e.outcome.status.to_string()),
        ("response_flags".into(), e.outcome.flags.to_string()),
    ];
    if let Some(cluster) = &e.upstream.cluster {
        tags.push(("upstream_cluster".into(), cluster.to_string()));
        tags.push(("upstream_cluster.name".into(), cluster.to_string()));
    }
    if let Some(status) = e.grpc {
        tags.push(("grpc.path".into(), cut(e.head.path.as_str(), most).to_owned()));
        tags.push(("grpc.authority".into(), authority.to_owned()));
        if let Some(status) = status {
            tags.push(("grpc.status_code".into(), status.to_string()));
        }
    }
    tags
}

/// Whose spans they are: `was.blog-system`, as Istio calls the node's cluster.
fn service_name(provider: &TracingProvider, bootstrap: &Bootstrap, canonical: &str) -> String {
    match provider {
        TracingProvider::OpenTelemetry { service_name, .. } if !service_name.is_empty() => service_name.to_string(),
        _ => format!("{canonical}.{}", bootstrap.namespace),
    }
}
