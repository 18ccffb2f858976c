//! Spans as OTLP's messages (`opentelemetry.proto.trace.v1`), written at once: a span is packed when its request ends, and a report puts
//! packed spans together.

use prost::Message as _;
use varka_proto::otlp::{KeyValue, Resource};
use varka_telemetry::text::Line;
use varka_telemetry::trace::{Span, SpanKind};

const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const ERROR: u8 = 2;

/// What fields begin with: their number, and how they are written (0: a number, 1: eight bytes, 2: as many bytes as the length says).
mod field {
    const fn number(number: u8) -> u8 {
        number << 3
    }

    const fn eight(number: u8) -> u8 {
        number << 3 | 1
    }

    const fn bytes(number: u8) -> u8 {
        number << 3 | 2
    }

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

/// What stands before so many bytes of packed spans in a report of them. `service`: whose they are.
pub(super) fn report(packed: usize, service: &str) -> Vec<u8> {
    let resource = Resource { attributes: vec![KeyValue::text("service.name", service)] }.encode_to_vec();
    let mut report = Line::with_room(resource.len() + 32);
    begin(&mut report, field::RESOURCE_SPANS, delimited(resource.len()) + delimited(packed));
    bytes(&mut report, field::RESOURCE, &resource);
    begin(&mut report, field::SCOPE_SPANS, packed);
    report.as_bytes().to_vec()
}

/// Packs a span behind others. `message`: room for one of them.
pub(super) fn pack(packed: &mut Vec<u8>, message: &mut Line, span: &Span<'_>) {
    message.clear();
    bytes(message, field::TRACE_ID, &span.context.trace.0.to_be_bytes());
    bytes(message, field::SPAN_ID, &span.context.span.0.to_be_bytes());
    if !span.trace_state.is_empty() {
        bytes(message, field::TRACE_STATE, span.trace_state.as_bytes());
    }
    if let Some(parent) = span.context.parent {
        bytes(message, field::PARENT_SPAN_ID, &parent.0.to_be_bytes());
    }
    bytes(message, field::NAME, span.name.as_bytes());
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
    packed.push(field::SPANS);
    varint(message.len(), |byte| packed.push(byte));
    packed.extend_from_slice(message.as_bytes());
}

/// Length of a field with so many bytes in it.
fn delimited(length: usize) -> usize {
    1 + prost::length_delimiter_len(length) + length
}

fn begin(out: &mut Line, field: u8, length: usize) {
    out.block([field]);
    varint(length, |byte| out.block([byte]));
}

/// Seven bits in each byte, the least first; the eighth says that there are more.
fn varint(mut value: usize, mut write: impl FnMut(u8)) {
    while value >= 0x80 {
        write(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    write(value.to_le_bytes()[0]);
}

fn bytes(out: &mut Line, field: u8, value: &[u8]) {
    begin(out, field, value.len());
    out.push(value);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use prost::Message as _;
    use varka_proto::otlp::{ExportTraceServiceRequest, KeyValue, Span as Message, Status};
    use varka_telemetry::trace::{Context, Forms, Span, SpanKind, Tags};

    use super::{Line, pack, report};

    fn span(kind: SpanKind, value: &str, error: bool) -> Span<'static> {
        let forms = Forms { w3c: true, b3_single: false, b3_multi: false };
        let context = Context::root(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad_6b71_6920_3331, true, forms);
        let mut tags = Tags::default();
        tags.add("http.url", value);
        tags.add("empty", "");
        Span {
            context: if error { context.child(5, true) } else { context },
            trace_state: if error { "a=b".into() } else { "".into() },
            kind,
            name: "was-service:8080/*".into(),
            start: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_764_000_000_123_456_789),
            duration: Duration::from_micros(1500),
            tags,
            error,
        }
    }

    #[test]
    fn what_is_packed_is_read_as_it_was() {
        let long = "x".repeat(70_000);
        let spans = [span(SpanKind::Client, &long, false), span(SpanKind::Server, "돛", true)];
        let (mut packed, mut message) = (Vec::new(), Line::default());
        spans.iter().for_each(|span| pack(&mut packed, &mut message, span));
        let whole = [report(packed.len(), "was.blog-system"), packed].concat();
        let read = ExportTraceServiceRequest::decode(&*whole).unwrap();
        let [resource_spans] = read.resource_spans.as_slice() else { panic!("{read:?}") };
        let resource = resource_spans.resource.as_ref().unwrap();
        assert_eq!(resource.attributes, [KeyValue::text("service.name", "was.blog-system")]);
        let [scope] = resource_spans.scope_spans.as_slice() else { panic!("{read:?}") };
        let wanted = |span: &Span<'_>| Message {
            trace_id: span.context.trace.0.to_be_bytes().to_vec(),
            span_id: span.context.span.0.to_be_bytes().to_vec(),
            parent_span_id: span.context.parent.map(|parent| parent.0.to_be_bytes().to_vec()).unwrap_or_default(),
            trace_state: span.trace_state.to_string(),
            name: span.name.to_string(),
            kind: if matches!(span.kind, SpanKind::Server) { 2 } else { 3 },
            start_time_unix_nano: 1_764_000_000_123_456_789,
            end_time_unix_nano: 1_764_000_000_124_956_789,
            attributes: span.tags.iter().map(|(key, value)| KeyValue::text(key, value)).collect(),
            status: span.error.then(|| Status { code: 2, ..Status::default() }),
            ..Message::default()
        };
        assert_eq!(scope.spans, spans.iter().map(wanted).collect::<Vec<_>>());
    }
}
