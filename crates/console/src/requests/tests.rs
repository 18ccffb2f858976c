use varka_proto::otlp::{KeyValue, Span};

use super::*;

/// A span of a proxy, with these tags more.
pub(crate) fn span(pod: &str, role: &str, ids: [u8; 3], kind: i32, tags: &[(&str, &str)]) -> Found {
    let node = format!("{role}~10.0.0.1~{pod}.blog-system~blog-system.svc.cluster.local");
    let base = [("component", "proxy"), ("node_id", node.as_str()), ("http.method", "GET"), ("user_agent", "-")];
    let attributes = base.iter().chain(tags).map(|(key, value)| KeyValue::text(*key, *value)).collect();
    let [trace, id, parent] = ids;
    let span = Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        parent_span_id: if parent == 0 { Vec::new() } else { vec![parent; 8] },
        kind,
        attributes,
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 1_020_000_000,
        ..Span::default()
    };
    Found { resource: varka_proto::otlp::Resource::default(), scope: None, span }
}

#[test]
fn a_span_of_a_proxy_tells_of_a_request() {
    let tags = [
        ("http.url", "http://was-service:8080/api/posts?page=2"),
        ("http.status_code", "403"),
        ("response_flags", "-"),
        ("upstream_cluster", "outbound|8080||was-service.blog-system.svc.cluster.local"),
        ("guid:x-request-id", "abc"),
        ("peer.address", "10.0.0.7"),
    ];
    let seen = seen(&span("web-1", "sidecar", [7, 1, 0], CLIENT, &tags)).unwrap();
    assert_eq!((seen.trace.len(), seen.request_id.as_str(), seen.duration), (32, "abc", 20_000));
    let hop = seen.hop;
    assert_eq!(
        (hop.namespace.as_str(), hop.pod.as_str(), hop.direction),
        ("blog-system", "web-1", Direction::Outbound)
    );
    assert_eq!((hop.authority.as_str(), hop.path.as_str()), ("was-service:8080", "/api/posts?page=2"));
    assert_eq!((hop.status, hop.peer.unwrap().to_string().as_str(), hop.user_agent.as_str()), (403, "10.0.0.7", ""));
}

#[test]
fn a_span_of_an_application_is_none_of_a_proxy() {
    let mut found = span("web-1", "sidecar", [7, 1, 0], SERVER, &[]);
    found.span.attributes.retain(|a| a.key != "component");
    assert_eq!(seen(&found), None);
    assert_eq!(seen(&span("web-1", "router", [7, 1, 0], SERVER, &[])).unwrap().hop.direction, Direction::Outbound);
}
