//! Spans as OTLP's messages (`opentelemetry.proto.trace.v1`), written at once: a span is packed when its request ends, and a report puts
//! packed spans together.

use super::protobuf::{begin, bytes, delimited, eight, head, number, put};
use super::{Span, SpanKind, tags};
use crate::text::Buffer;

const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const ERROR: u8 = 2;

/// Fields of `Span`.
mod field {
    use super::{bytes, eight, number};

    pub(super) const TRACE_ID: u8 = bytes(1);
    pub(super) const SPAN_ID: u8 = bytes(2);
    pub(super) const TRACE_STATE: u8 = bytes(3);
    pub(super) const PARENT_SPAN_ID: u8 = bytes(4);
    pub(super) const NAME: u8 = bytes(5);
    pub(super) const KIND: u8 = number(6);
    pub(super) const START: u8 = eight(7);
    pub(super) const END: u8 = eight(8);
    pub(super) const STATUS: u8 = bytes(15);
    /// Of `Status`.
    pub(super) const CODE: u8 = number(3);
    /// Of `ScopeSpans`.
    pub(super) const SPANS: u8 = bytes(2);
    /// Of `ResourceSpans`.
    pub(super) const RESOURCE: u8 = bytes(1);
    pub(super) const SCOPE_SPANS: u8 = bytes(2);
    /// Of the request.
    pub(super) const RESOURCE_SPANS: u8 = bytes(1);
}

/// What stands before so many bytes of packed spans in an `ExportTraceServiceRequest` of them. `service`: whose they are.
pub fn report(packed: usize, service: &str) -> Vec<u8> {
    let resource = tags::of_resource("service.name", service);
    let mut report = Buffer::with_room(resource.len() + 32);
    begin(&mut report, field::RESOURCE_SPANS, delimited(resource.len()) + delimited(packed));
    put(&mut report, field::RESOURCE, resource.as_bytes());
    begin(&mut report, field::SCOPE_SPANS, packed);
    report.as_bytes().to_vec()
}

/// Packs a span behind others. `message`: room for one of them.
pub fn pack(packed: &mut Vec<u8>, message: &mut Buffer, span: &Span<'_>) {
    message.clear();
    put(message, field::TRACE_ID, &span.context.trace.0.to_be_bytes());
    put(message, field::SPAN_ID, &span.context.span.0.to_be_bytes());
    if !span.trace_state.is_empty() {
        put(message, field::TRACE_STATE, span.trace_state.as_bytes());
    }
    if let Some(parent) = span.context.parent {
        put(message, field::PARENT_SPAN_ID, &parent.0.to_be_bytes());
    }
    put(message, field::NAME, span.name.as_bytes());
    let kind = match span.kind {
        SpanKind::Server => SERVER,
        SpanKind::Client => CLIENT,
    };
    message.block([field::KIND, kind]);
    let (start, end) = span.nanos();
    for (field, nanos) in [(field::START, start), (field::END, end)] {
        message.block([field]);
        message.block(nanos.to_le_bytes());
    }
    message.push(span.tags.as_attributes());
    if span.error {
        message.block([field::STATUS, 2, field::CODE, ERROR]);
    }
    let (head, used) = head(field::SPANS, message.len());
    packed.extend_from_slice(head.get(..used).unwrap_or_default());
    packed.extend_from_slice(message.as_bytes());
}
