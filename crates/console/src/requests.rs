//! Requests as proxies recorded them: what a span of a proxy says, in the mesh's words.

use varka_proto::otlp::{AnyValue, KeyValue, Value};

use crate::explain::{Direction, RecordedHop};
use crate::store::spans::Found;

const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// A request as one proxy saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When it began, in microseconds since 1970.
    pub at: u64,
    /// How long it took, in microseconds.
    pub duration: u64,
    /// Hexadecimal.
    pub trace: String,
    /// What it is called by in logs; empty: not known.
    pub request_id: String,
    /// gRPC's status; `None`: it is none, or ended without one.
    pub grpc_status: Option<u32>,
    /// It is gRPC.
    pub is_grpc: bool,
    /// All else.
    pub hop: RecordedHop,
}

/// `None`: it is no span of a proxy.
pub fn seen(found: &Found) -> Option<Seen> {
    let span = &found.span;
    let tag = |name: &str| text(&span.attributes, name);
    // What a database was asked is no request.
    if tag("component") != "proxy" || tag("http.method").is_empty() {
        return None;
    }
    let direction = match span.kind {
        CLIENT => Direction::Outbound,
        SERVER => Direction::Inbound,
        _ => return None,
    };
    let (namespace, pod, role) = node(tag("node_id"))?;
    let url = tag("http.url");
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    // A gateway's spans are those of a client, whatever their kind: nothing is behind it but what it calls.
    let direction = if role == "router" { Direction::Outbound } else { direction };
    Some(Seen {
        at: span.start_time_unix_nano / 1000,
        duration: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) / 1000,
        trace: hexadecimal(&span.trace_id),
        request_id: known(tag("guid:x-request-id")),
        grpc_status: tag("grpc.status_code").parse().ok(),
        is_grpc: !tag("grpc.path").is_empty(),
        hop: RecordedHop {
            id: span.span_id.clone(),
            parent: span.parent_span_id.clone(),
            namespace,
            pod,
            direction,
            method: tag("http.method").to_owned(),
            scheme: scheme.to_owned(),
            authority: authority.to_owned(),
            path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
            grpc: !tag("grpc.path").is_empty(),
            user_agent: known(tag("user_agent")),
            cluster: tag("upstream_cluster").to_owned(),
            status: tag("http.status_code").parse().unwrap_or(0),
            flags: tag("response_flags").to_owned(),
            peer: tag("peer.address").parse().ok(),
            dialled: None,
            details: String::new(),
            upstream: String::new(),
            server_name: String::new(),
        },
    })
}

/// Namespace, pod and role of `sidecar~10.0.0.1~web-1.blog-system~blog-system.svc.cluster.local`.
pub(crate) fn node(id: &str) -> Option<(String, String, &str)> {
    let mut parts = id.split('~');
    let role = parts.next()?;
    let (pod, namespace) = parts.nth(1)?.rsplit_once('.')?;
    Some((namespace.to_owned(), pod.to_owned(), role))
}

fn known(text: &str) -> String {
    if text == "-" { String::new() } else { text.to_owned() }
}

fn text<'a>(attributes: &'a [KeyValue], name: &str) -> &'a str {
    let found = attributes.iter().find(|attribute| attribute.key == name).and_then(|a| a.value.as_ref());
    match found {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => text,
        _ => "",
    }
}

/// Bytes as Jaeger writes the id of a trace.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests;
