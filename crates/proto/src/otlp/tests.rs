use prost::Message as _;
use serde_json::json;

use super::ExportTraceServiceRequest;

#[test]
fn the_json_form_is_read_and_written_as_otlp_says() {
    let text = json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "web"}}]},
        "scopeSpans": [{
            "scope": {"name": "by hand", "version": "1"},
            "spans": [{
                "traceId": "5b8efff798038103d269b633813fc60c",
                "spanId": "eee19b7ec3c1b174",
                "parentSpanId": "eee19b7ec3c1b173",
                "name": "GET /",
                "kind": 2,
                "startTimeUnixNano": "1544712660000000000",
                "endTimeUnixNano": "1544712661000000000",
                "attributes": [
                    {"key": "a", "value": {"intValue": "7"}},
                    {"key": "b", "value": {"doubleValue": 7.5}},
                    {"key": "c", "value": {"boolValue": true}},
                    {"key": "d", "value": {"bytesValue": "AQI="}},
                    {"key": "e", "value": {"arrayValue": {"values": [{"stringValue": "x"}, {}]}}},
                    {"key": "f", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"intValue": "1"}}]}}},
                    {"key": "g", "value": null},
                ],
                "events": [{"timeUnixNano": "1", "name": "e"}],
                "links": [{"traceId": "00000000000000000000000000000001", "spanId": "0000000000000002"}],
                "status": {"message": "no", "code": 2},
            }],
        }],
    }]});
    let read: ExportTraceServiceRequest = serde_json::from_value(text.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), text);
    let bytes = read.encode_to_vec();
    assert_eq!(ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap(), read);
}

#[test]
fn numbers_may_be_numbers_and_what_is_no_id_is_refused() {
    let of = |span: serde_json::Value| {
        serde_json::from_value::<ExportTraceServiceRequest>(
            json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}),
        )
    };
    let read = of(json!({"startTimeUnixNano": 5, "traceId": "AB01"})).unwrap();
    let span = &read.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!((span.start_time_unix_nano, span.trace_id.as_slice()), (5, &[0xab, 1][..]));
    for wrong in [json!({"traceId": "abc"}), json!({"spanId": "zz"}), json!({"endTimeUnixNano": "soon"})] {
        assert!(of(wrong.clone()).is_err(), "{wrong}");
    }
}
