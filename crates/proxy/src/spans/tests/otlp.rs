//! What is packed for a collector is read with its own messages.

use std::time::{Duration, SystemTime};

use prost::Message as _;
use varka_proto::otlp::{ExportTraceServiceRequest, KeyValue, Span as Message, Status};
use varka_telemetry::text::Buffer;
use varka_telemetry::trace::otlp::{pack, report};
use varka_telemetry::trace::{Context, Forms, Span, SpanKind, Tags};

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
    let (mut packed, mut message) = (Vec::new(), Buffer::default());
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
