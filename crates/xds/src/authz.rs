//! Messages of `envoy.service.auth.v3.Authorization/Check`: what a service is told of a request, and what its answer means.
//!
//! Bytes in and out; who sends them, and frames them for gRPC, is no affair of this module.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use prost::Message;
use varka_engine::ext_authz::{Allowed, Verdict};
use varka_engine::facts::Request;
use varka_engine::ir::{ExtAuthz, StringMatch};
use varka_engine::matcher;
use varka_proto::envoy::auth::{self as pb, attribute_context as context, check_response::HttpResponse};
use varka_proto::envoy::core::{self, header_value_option::HeaderAppendAction};
use varka_proto::protobuf;

#[cfg(test)]
mod tests;

/// Status of a denial that gives none.
const FORBIDDEN: u16 = 403;

/// What of a request is in no head.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// When it came, since 1970.
    pub time: Duration,
    /// Its body, and whether that is only a part.
    pub body: Option<(&'a [u8], bool)>,
    /// The body goes along as bytes.
    pub as_bytes: bool,
}

/// A `CheckRequest` about `request`.
pub fn check_request(filter: &ExtAuthz, request: &Request<'_>, about: &About<'_>) -> Vec<u8> {
    let connection = request.connection;
    let peer = connection.peer_identity;
    let principal = peer.map(|p| {
        let names = p.uri_sans.iter().chain(&p.dns_sans);
        names.chain([&p.subject]).find(|name| !name.is_empty()).map(ToString::to_string).unwrap_or_default()
    });
    let source = context::Peer {
        address: Some(address(request.remote_address)),
        principal: principal.unwrap_or_default(),
        ..Default::default()
    };
    let destination = context::Peer {
        address: Some(address(connection.original_dst)),
        principal: connection.local_identity.unwrap_or_default().to_owned(),
        ..Default::default()
    };
    let seconds = i64::try_from(about.time.as_secs()).unwrap_or_default();
    let nanos = i32::try_from(about.time.subsec_nanos()).unwrap_or_default();
    let asked = context::Request {
        time: Some(protobuf::Timestamp { seconds, nanos }),
        http: Some(http_request(filter, request, about)),
    };
    let attributes = pb::AttributeContext {
        source: Some(source),
        destination: Some(destination),
        request: Some(asked),
        metadata_context: Some(core::Metadata::default()),
        ..Default::default()
    };
    pb::CheckRequest { attributes: Some(attributes) }.encode_to_vec()
}

fn address(of: std::net::SocketAddr) -> core::Address {
    crate::codec::socket(of)
}

fn http_request(filter: &ExtAuthz, request: &Request<'_>, about: &About<'_>) -> context::HttpRequest {
    let goes = |name: &str| filter.allowed_headers.is_empty() || any(&filter.allowed_headers, name);
    let mut headers = std::collections::HashMap::new();
    let pseudo = [
        (":method", request.method),
        (":path", request.path),
        (":authority", request.authority),
        (":scheme", request.scheme),
    ];
    for (name, value) in pseudo.into_iter().filter(|(name, _)| goes(name)) {
        headers.insert(name.to_owned(), value.to_owned());
    }
    for (name, value) in request.headers.iter().filter(|(name, _)| goes(name.as_str())) {
        let value = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.as_str().to_owned())
            .and_modify(|all: &mut String| {
                all.push(',');
                all.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    if let Some((_, partial)) = about.body {
        headers.insert("x-envoy-auth-partial-body".to_owned(), partial.to_string());
    }
    let text = |name: &str| request.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let body = about.body.map(|(bytes, _)| bytes).unwrap_or_default();
    let (body, raw_body) = if about.as_bytes {
        (String::new(), body.to_vec())
    } else {
        (String::from_utf8_lossy(body).into_owned(), Vec::new())
    };
    context::HttpRequest {
        id: text("x-request-id").to_owned(),
        method: request.method.to_owned(),
        headers,
        path: request.path.to_owned(),
        host: request.authority.to_owned(),
        scheme: request.scheme.to_owned(),
        size: text("content-length").parse().unwrap_or(-1),
        protocol: match request.version {
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        }
        .to_owned(),
        body,
        raw_body,
        ..Default::default()
    }
}

fn any(matchers: &[StringMatch], name: &str) -> bool {
    matchers.iter().any(|m| matcher::string(m, name.as_bytes()))
}

/// What a `CheckResponse` means; `None`: it is none.
pub fn verdict(message: &[u8]) -> Option<Verdict> {
    let response = pb::CheckResponse::decode(message).ok()?;
    let denies = response.status.is_some_and(|status| status.code != 0);
    Some(match (denies, response.http_response) {
        (false, Some(HttpResponse::OkResponse(ok))) => Verdict::Allow(Box::new(allowed(ok))),
        (false, _) => Verdict::Allow(Box::default()),
        (true, Some(HttpResponse::DeniedResponse(denied))) => {
            let status = denied.status.and_then(|s| u16::try_from(s.code).ok()).filter(|s| (200..600).contains(s));
            let mut headers = HeaderMap::new();
            for (name, value, append) in denied.headers.into_iter().filter_map(header) {
                // More lines than a map takes are more than any client does.
                let fits = if append {
                    headers.try_append(name, value).is_ok()
                } else {
                    headers.try_insert(name, value).is_ok()
                };
                if !fits {
                    break;
                }
            }
            Verdict::Deny { status: status.unwrap_or(FORBIDDEN), headers, body: denied.body.into() }
        }
        (true, _) => Verdict::Deny { status: FORBIDDEN, headers: HeaderMap::new(), body: bytes::Bytes::new() },
    })
}

fn allowed(ok: pb::OkHttpResponse) -> Allowed {
    let mut out = Allowed::default();
    for (name, value, append) in ok.headers.into_iter().filter_map(header) {
        if append { &mut out.append } else { &mut out.set }.push((name, value));
    }
    for (name, value, append) in ok.response_headers_to_add.into_iter().filter_map(header) {
        if append { &mut out.response_add } else { &mut out.response_set }.push((name, value));
    }
    let names = ok.headers_to_remove.iter().filter(|name| !name.starts_with(':'));
    out.remove = names.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect();
    out
}

/// A header, and whether it is added to those of its name. What is no header is left out.
fn header(option: core::HeaderValueOption) -> Option<(HeaderName, HeaderValue, bool)> {
    let append = appends(&option);
    let header = option.header?;
    let name = HeaderName::from_bytes(header.key.to_ascii_lowercase().as_bytes()).ok()?;
    let value = if header.value.is_empty() { &header.raw_value[..] } else { header.value.as_bytes() };
    Some((name, HeaderValue::from_bytes(value).ok()?, append))
}

/// Without a word a header of an authorization service replaces those of its name.
#[expect(deprecated, reason = "services still use it, and it is the only one whose absence can be told")]
fn appends(option: &core::HeaderValueOption) -> bool {
    option.append.is_some_and(|v| v.value)
        && option.append_action != i32::from(HeaderAppendAction::OverwriteIfExistsOrAdd)
}
