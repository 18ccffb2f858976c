use serde_json::json;

use super::read;

#[test]
fn spans_become_otlps() {
    let body = json!([
        {"traceId": "ab", "id": "a1", "parentId": "a0", "name": "get", "kind": "CLIENT", "timestamp": 5, "duration": 7,
         "localEndpoint": {"serviceName": "web", "ipv4": "10.0.0.1"}, "remoteEndpoint": {"serviceName": "was", "ipv4": "10.0.0.2", "port": 8080},
         "annotations": [{"timestamp": 6, "value": "sent"}], "tags": {"error": "true", "code": 503}},
        {"traceId": "xyz", "id": "1", "tags": {"otel.status_code": "OK", "otel.library.name": "lib", "otel.scope.version": "2"}},
    ]);
    let spans = read(body.to_string().as_bytes()).unwrap();
    assert_eq!(spans[0].resource.as_ref().unwrap().attributes[0].value.as_ref().unwrap().as_text(), Some("web"));
    let span = &spans[0].scope_spans[0].spans[0];
    assert_eq!(
        (span.trace_id[15], span.trace_id.len(), span.span_id.len(), span.parent_span_id[7]),
        (0xab, 16, 8, 0xa0)
    );
    assert_eq!((span.kind, span.start_time_unix_nano, span.end_time_unix_nano), (3, 5_000, 12_000));
    assert_eq!(span.events[0].name, "sent");
    assert_eq!(span.status.as_ref().unwrap().code, 2);
    let keys: Vec<_> = span.attributes.iter().map(|a| a.key.as_str()).collect();
    assert_eq!(keys, ["code", "net.host.ip", "peer.service", "net.peer.ip", "net.peer.port"]);
    assert!(spans[1].scope_spans[0].spans[0].trace_id.is_empty(), "which the store drops and counts");
    let scope = spans[1].scope_spans[0].scope.as_ref().unwrap();
    assert_eq!((scope.name.as_str(), scope.version.as_str()), ("lib", "2"));
    let other = &spans[1].scope_spans[0].spans[0];
    assert_eq!((other.status.as_ref().unwrap().code, other.kind, other.attributes.len()), (1, 0, 0));
    assert!(read(b"{}").is_err());
}
