//! Header operations of routes, and the rules about headers that only a proxy may set.
//!
//! Envoy applies the operations level by level, the most specific first: destination, route, virtual host, table. Within one
//! level everything is removed first, then what replaces, then what is added.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::facts::Request;
use crate::format::{self, Operator, Values, push};
use crate::ir::{HeaderAppend, HeaderMutation};
use crate::route::{Decided, RouteDecision};

mod sanitize;
#[cfg(test)]
mod tests;

pub use sanitize::sanitize_request;

/// Applies all request header operations of a decision. Returns the new authority if an operation sets `host`.
pub fn apply_request(
    decision: &RouteDecision<'_>,
    headers: &mut HeaderMap,
    values: &dyn Values,
) -> Option<HeaderValue> {
    let destination = match &decision.action {
        Decided::Forward(forward) => &*forward.destination.request_headers,
        Decided::Redirect { .. } | Decided::Direct(_) => &[],
    };
    let route = decision.route.map_or(&[][..], |route| &route.request_headers);
    let levels = [destination, route, &decision.virtual_host.request_headers, &decision.table.request_headers];
    levels.into_iter().fold(None, |authority, level| apply(level, headers, values).or(authority))
}

/// Applies all response header operations of a decision. They apply to redirects and direct responses too, not to answers
/// that the proxy makes before it has a route.
pub fn apply_response(decision: &RouteDecision<'_>, headers: &mut HeaderMap, values: &dyn Values) {
    let destination = match &decision.action {
        Decided::Forward(forward) => &*forward.destination.response_headers,
        Decided::Redirect { .. } | Decided::Direct(_) => &[],
    };
    let route = decision.route.map_or(&[][..], |route| &route.response_headers);
    for level in [destination, route, &decision.virtual_host.response_headers, &decision.table.response_headers] {
        apply(level, headers, values);
    }
}

/// Applies the operations of one level. Returns the new authority if one of them sets `host`.
pub fn apply(mutations: &[HeaderMutation], headers: &mut HeaderMap, values: &dyn Values) -> Option<HeaderValue> {
    if mutations.is_empty() {
        return None;
    }
    let mut overwrite: SmallVec<[(&HeaderName, HeaderValue); 4]> = SmallVec::new();
    let mut add: SmallVec<[(&HeaderName, HeaderValue); 4]> = SmallVec::new();
    let mut authority = None;
    for mutation in mutations {
        if let HeaderMutation::Remove(name) = mutation
            && name != http::header::HOST
        {
            headers.remove(name);
        }
    }
    for mutation in mutations {
        let HeaderMutation::Append { name, value, action } = mutation else { continue };
        let Some(value) = filled(value, values) else { continue };
        match action {
            _ if name == http::header::HOST => authority = Some(value),
            HeaderAppend::Append => add.push((name, value)),
            HeaderAppend::IfAbsent if headers.contains_key(name) => {}
            HeaderAppend::IfAbsent => add.push((name, value)),
            HeaderAppend::Overwrite => overwrite.push((name, value)),
        }
    }
    for (name, value) in overwrite {
        headers.insert(name, value);
    }
    for (name, value) in add {
        headers.append(name, value);
    }
    authority
}

/// The value with its operators filled in; `None` when nothing is left of it, and then the header is not sent.
fn filled(value: &HeaderValue, values: &dyn Values) -> Option<HeaderValue> {
    if memchr::memchr(b'%', value.as_bytes()).is_none() {
        return Some(value.clone());
    }
    let format = std::str::from_utf8(value.as_bytes()).ok()?;
    let mut out = String::new();
    format::header_value(format, values, &mut out);
    if out.is_empty() { None } else { HeaderValue::try_from(out).ok() }
}

/// Values of operators that are known from the request alone.
#[derive(Debug, Clone, Copy)]
pub struct RequestValues<'a> {
    /// The request, before its headers are changed.
    pub request: &'a Request<'a>,
    /// Name of the chosen route.
    pub route_name: &'a str,
    /// Name of the chosen cluster.
    pub cluster: &'a str,
}

impl Values for RequestValues<'_> {
    fn write(&self, operator: &Operator<'_>, out: &mut String) -> bool {
        let r = self.request;
        let c = r.connection;
        let mut some = |text: &str| !text.is_empty() && push(out, text);
        match operator.name {
            "PROTOCOL" => some(protocol_name(r.version)),
            "REQ" => {
                let (first, second) = operator.header_names();
                write_header(r, first, out) || second.is_some_and(|name| write_header(r, name, out))
            }
            "DOWNSTREAM_REMOTE_ADDRESS" => push(out, r.remote_address),
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => push(out, r.remote_address.ip()),
            "DOWNSTREAM_REMOTE_PORT" => push(out, r.remote_address.port()),
            "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => push(out, c.peer),
            "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => push(out, c.peer.ip()),
            "DOWNSTREAM_LOCAL_ADDRESS" => push(out, c.original_dst),
            "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => push(out, c.original_dst.ip()),
            "DOWNSTREAM_LOCAL_PORT" => push(out, c.original_dst.port()),
            "REQUESTED_SERVER_NAME" => some(c.sni.unwrap_or_default()),
            "DOWNSTREAM_PEER_URI_SAN" => some(c.peer_identity.and_then(|p| p.uri()).unwrap_or_default()),
            "DOWNSTREAM_PEER_SUBJECT" => some(c.peer_identity.map_or("", |p| &p.subject)),
            "DOWNSTREAM_PEER_FINGERPRINT_256" => some(c.peer_identity.map_or("", |p| &p.sha256)),
            "DOWNSTREAM_LOCAL_URI_SAN" => some(c.local_identity.unwrap_or_default()),
            "ROUTE_NAME" => some(self.route_name),
            "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => some(self.cluster),
            _ => false,
        }
    }
}

/// Appends the lines of a header or pseudo-header, joined by commas.
fn write_header(request: &Request<'_>, name: &str, out: &mut String) -> bool {
    let name = name.to_ascii_lowercase();
    let start = out.len();
    let found = request.any_line(&name, |line| {
        if out.len() > start {
            out.push(',');
        }
        out.push_str(&String::from_utf8_lossy(line));
        false
    });
    found.is_some()
}

/// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`, as access logs and headers have it.
pub fn protocol_name(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2",
        http::Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}
