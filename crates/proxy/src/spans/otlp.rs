//! Spans as OTLP's messages.

use prost::Message as _;
use varka_proto::otlp::{
    ExportTraceServiceRequest, KeyValue, Resource, ResourceSpans, ScopeSpans, Span as PbSpan, Status,
};
use varka_telemetry::trace::{Span, SpanKind};

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ERROR: i32 = 2;

/// A report of these spans. `service`: whose they are.
pub(super) fn encode(spans: &[Span], service: &str) -> Vec<u8> {
    let resource = Resource { attributes: vec![KeyValue::text("service.name", service)] };
    let scope = ScopeSpans { scope: None, spans: spans.iter().map(message).collect() };
    let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans: vec![scope] }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn message(span: &Span) -> PbSpan {
    let (start, end) = span.nanos();
    PbSpan {
        trace_id: span.context.trace.0.to_be_bytes().to_vec(),
        span_id: span.context.span.0.to_be_bytes().to_vec(),
        trace_state: span.trace_state.clone(),
        parent_span_id: span.context.parent.map(|p| p.0.to_be_bytes().to_vec()).unwrap_or_default(),
        name: span.name.clone(),
        kind: match span.kind {
            SpanKind::Server => SERVER,
            SpanKind::Client => CLIENT,
        },
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        attributes: span.tags.iter().map(|(key, value)| KeyValue::text(key.as_ref(), value.as_str())).collect(),
        status: span.error.then(|| Status { code: ERROR, ..Status::default() }),
        ..PbSpan::default()
    }
}
