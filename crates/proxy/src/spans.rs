//! Spans of requests: whose they are, what they say, and how they get to a collector.
//!
//! A request gets its place in a trace when its client is known, passes it on to the endpoint, and leaves a span when it is over. Spans wait
//! in a bounded queue of the worker and go out in batches; a collector that is slow or gone costs spans, which are counted, and
//! never delays a request.

mod export;
mod reservoir;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use varka_engine::headers::protocol_name;
use varka_engine::ir::{CustomTagValue, Str, Tracing, TracingProvider, TrafficDirection};
use varka_engine::outcome::Outcome;
use varka_engine::sampling;
use varka_telemetry::trace::{Context, Forms, Said, Span, SpanKind, Tags};

use crate::accesslog::UpstreamRecord;
use crate::bootstrap::Bootstrap;
use crate::conn::Conn;
use crate::http::RequestHead;
use crate::state::State;

pub(crate) use export::Exporter;
pub(crate) use reservoir::Reservoir;

/// Tells the other side of a call how its span is called.
const DECORATOR: HeaderName = HeaderName::from_static("x-envoy-decorator-operation");
/// Longest path in `http.url`.
const MAX_PATH: usize = 256;
/// Longest name or tag that a peer decides.
const MAX_TEXT: usize = 1024;

/// A request's place in a trace.
#[derive(Debug)]
pub(crate) struct Traced {
    /// Our span's; `None`: the request goes on in the trace that it came in, which nobody records.
    context: Option<Context>,
    /// Name that the other side gave the span.
    name: Option<HeaderValue>,
    /// Name that the route gives it.
    pub operation: Option<Str>,
    server: bool,
}

/// The place of a request that has just come; with it the headers of the exchange of names are dealt with. `room`: whether one more trace may
/// begin.
pub(crate) fn begin(
    tracing: &Tracing,
    direction: TrafficDirection,
    headers: &mut HeaderMap,
    room: impl FnOnce() -> bool,
) -> Traced {
    let forms = match &tracing.provider {
        TracingProvider::OpenTelemetry { .. } => Forms { w3c: true, b3_single: false, b3_multi: false },
        TracingProvider::Zipkin { w3c, .. } => Forms { w3c: *w3c, b3_single: false, b3_multi: true },
    };
    let server = direction != TrafficDirection::Outbound;
    let said = Said::of(headers);
    let is_called = said.operation.is_some();
    if said.is_left_out() && !forms.b3_single && !forms.b3_multi {
        if is_called {
            headers.remove(DECORATOR);
        }
        return Traced { context: None, name: None, operation: None, server };
    }
    let caller = said.context();
    let decided = caller.map_or_else(|| said.decision(), |c| c.sampled);
    let sampled = decided.unwrap_or_else(|| sampling::decide(tracing, headers, rand::random(), room));
    let context = match caller {
        Some(caller) => caller.child(rand::random(), sampled).also_in(forms),
        None => {
            let long = !matches!(tracing.provider, TracingProvider::Zipkin { trace_id_128bit: false, .. });
            let trace = if long { rand::random() } else { u128::from(rand::random::<u64>()) };
            Context::root(trace, rand::random(), sampled, forms)
        }
    };
    // The client's sidecar says how it calls the request; no application is to see it.
    let name = is_called.then(|| headers.remove(DECORATOR)).flatten().filter(|_| server);
    Traced { context: Some(context), name, operation: None, server }
}

impl Traced {
    /// Writes the place into a request on its way to an endpoint. How a request is called matters to nobody where it leaves no span.
    pub(crate) fn tell_endpoint(&self, headers: &mut HeaderMap) {
        if let Some(context) = &self.context {
            context.inject(headers);
        }
        let operation = self.operation.as_ref().filter(|_| !self.server && self.is_sampled());
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
        let operation = self.operation.as_ref().filter(|_| self.server && self.name.is_none() && self.is_sampled());
        if let Some(value) = operation.and_then(|o| HeaderValue::from_str(o).ok()) {
            headers.insert(DECORATOR, value);
        }
    }

    /// Its place, if it may leave a span there.
    pub(crate) fn context(&self) -> Option<&Context> {
        self.context.as_ref()
    }

    /// The place of the span that it leaves, if it leaves one.
    pub(crate) fn recorded(&self) -> Option<Context> {
        self.context.filter(|context| context.sampled == Some(true))
    }

    fn is_sampled(&self) -> bool {
        self.recorded().is_some()
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

/// The span that a request leaves at its place. `tags`: room for them, empty.
pub(crate) fn span<'a>(
    context: Context,
    traced: &'a Traced,
    tracing: &Tracing,
    ended: &Ended<'a>,
    mut tags: Tags,
) -> Span<'a> {
    let status = ended.outcome.status;
    let grpc_failed = matches!(ended.grpc, Some(Some(code)) if code != 0);
    let told = Told::of(&ended.head.headers);
    write_tags(tracing, ended, &told, &mut tags);
    // 0: there was no answer at all.
    let error = status == 0 || status >= 500 || grpc_failed;
    if error {
        tags.add("error", "true");
    }
    for tag in &tracing.custom_tags {
        let (value, default) = match &tag.value {
            CustomTagValue::Literal(value) => (Some(Cow::Borrowed(&**value)), ""),
            CustomTagValue::Environment { name, default } => (std::env::var(&**name).ok().map(Cow::Owned), &**default),
            CustomTagValue::Header { name, default } => {
                (ended.head.headers.get(&**name).and_then(text_of).map(Cow::Borrowed), &**default)
            }
        };
        let value = value.or_else(|| (!default.is_empty()).then_some(Cow::Borrowed(default)));
        if let Some(value) = value {
            tags.add(&tag.name, &value);
        }
    }
    Span {
        context,
        trace_state: cut(told.trace_state.unwrap_or_default(), MAX_TEXT).into(),
        kind: if traced.server { SpanKind::Server } else { SpanKind::Client },
        name: name(traced, ended.head.authority.as_str()),
        start: ended.start,
        duration: ended.duration,
        tags,
        error,
    }
}

/// The other side's name for it, else the route's, else the direction and host.
fn name<'a>(traced: &'a Traced, host: &str) -> Cow<'a, str> {
    let said = traced.name.as_ref().and_then(|n| n.to_str().ok()).filter(|n| !n.is_empty());
    match (said.or(traced.operation.as_deref()), traced.server) {
        (Some(name), _) => cut(name, MAX_TEXT).into(),
        (None, true) => "ingress".into(),
        (None, false) => ["egress ", cut(host, MAX_TEXT)].concat().into(),
    }
}

/// Headers of a request that its span tells of, found in one look over all of them. Of one with several lines the first counts.
#[derive(Debug, Default)]
struct Told<'h> {
    request_id: Option<&'h str>,
    downstream_cluster: Option<&'h str>,
    user_agent: Option<&'h str>,
    original_path: Option<&'h str>,
    trace_state: Option<&'h str>,
}

impl<'h> Told<'h> {
    fn of(headers: &'h HeaderMap) -> Self {
        let mut told = Self::default();
        for (name, value) in headers {
            let place = match name.as_str() {
                "x-request-id" => &mut told.request_id,
                "x-envoy-downstream-service-cluster" => &mut told.downstream_cluster,
                "user-agent" => &mut told.user_agent,
                "x-envoy-original-path" => &mut told.original_path,
                "tracestate" => &mut told.trace_state,
                _ => continue,
            };
            if place.is_none() {
                *place = std::str::from_utf8(value.as_bytes()).ok();
            }
        }
        told
    }
}

fn or_none(text: Option<&str>) -> &str {
    text.map_or("-", |text| cut(text, MAX_TEXT))
}

/// A header's text, whatever its script; `None`: it is none.
fn text_of(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok().map(|text| cut(text, MAX_TEXT))
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
fn write_tags(tracing: &Tracing, e: &Ended<'_>, told: &Told<'_>, tags: &mut Tags) {
    let most = tracing.max_path_tag_length.and_then(|n| usize::try_from(n).ok()).unwrap_or(MAX_PATH);
    let path = cut(told.original_path.unwrap_or(e.head.path.as_str()), most);
    let authority = cut(e.head.authority.as_str(), MAX_TEXT);
    tags.add("node_id", e.conn.worker.state.own.node_id());
    tags.add("component", "proxy");
    tags.add("guid:x-request-id", or_none(told.request_id));
    tags.write("http.url", |out| {
        [e.head.scheme(), "://", authority, path].iter().for_each(|part| out.push(part.as_bytes()))
    });
    tags.add("http.method", e.head.method.as_str());
    tags.add("downstream_cluster", or_none(told.downstream_cluster));
    tags.add("user_agent", or_none(told.user_agent));
    tags.add("http.protocol", protocol_name(e.head.version));
    tags.write("peer.address", |out| out.ip(e.conn.seen.peer.ip()));
    tags.write("request_size", |out| out.number(e.bytes[0]));
    tags.write("response_size", |out| out.number(e.bytes[1]));
    tags.write("http.status_code", |out| out.number(e.outcome.status.into()));
    tags.write("response_flags", |out| e.outcome.flags.pieces(|piece| out.push(piece.as_bytes())));
    if let Some(cluster) = &e.upstream.cluster {
        tags.add("upstream_cluster", cluster);
        tags.add("upstream_cluster.name", cluster);
    }
    if let Some(status) = e.grpc {
        tags.add("grpc.path", cut(e.head.path.as_str(), most));
        tags.add("grpc.authority", authority);
        if let Some(status) = status {
            tags.write("grpc.status_code", |out| out.number(status.into()));
        }
    }
}

/// Whether one more trace may begin here; counted where it may not.
pub(crate) fn room(state: &State, provider: &TracingProvider, now: Instant) -> bool {
    let room = state.reservoir.take(now);
    if !room {
        export::counters(state, provider).traces_left_out.inc();
    }
    room
}

/// Whose spans they are: `was.blog-system`, as Istio calls the node's cluster.
fn service_name(provider: &TracingProvider, bootstrap: &Bootstrap, canonical: &str) -> String {
    match provider {
        TracingProvider::OpenTelemetry { service_name, .. } if !service_name.is_empty() => service_name.to_string(),
        _ => format!("{canonical}.{}", bootstrap.namespace),
    }
}
