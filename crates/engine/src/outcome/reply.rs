//! Answers that the proxy makes itself.
//!
//! Route-level response header operations apply to an answer that is made once a route is known: the caller runs them over
//! [`LocalReply::headers`] before [`LocalReply::render`], which then adds the length, and the type where none is set.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE};

use super::{Blame, Flag, Outcome, ResetReason, ResponseFlags};
use crate::ir::{DirectResponse, LocalReplyMapping};
use crate::jwt::Failure;

/// An answer of the proxy's own, before it is put on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalReply {
    /// Status, flags and details.
    pub outcome: Outcome,
    /// Body; empty: none, and then no content type.
    pub body: Bytes,
    /// Headers beyond length and type.
    pub headers: HeaderMap,
    /// gRPC status where it is set explicitly and not derived from the HTTP status.
    pub grpc_status: Option<u32>,
    /// Close the client's HTTP/1 connection afterwards.
    pub close: bool,
}

/// Status, headers and body as they go on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Status.
    pub status: u16,
    /// All headers but `server` and `date`, which the connection manager adds.
    pub headers: HeaderMap,
    /// Body; empty for HEAD and for gRPC.
    pub body: Bytes,
}

impl LocalReply {
    fn new(
        status: u16,
        flag: Option<Flag>,
        details: impl Into<Cow<'static, str>>,
        body: &'static str,
        blame: Blame,
    ) -> Self {
        Self {
            outcome: Outcome {
                status,
                flags: flag.map_or(ResponseFlags::NONE, ResponseFlags::of),
                details: details.into(),
                blame,
            },
            body: Bytes::from_static(body.as_bytes()),
            headers: HeaderMap::new(),
            grpc_status: None,
            close: false,
        }
    }

    fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// No route or no virtual host: 404 without body, `NR`.
    pub fn route_not_found() -> Self {
        Self::new(404, Some(Flag::NoRouteFound), "route_not_found", "", Blame::Policy)
    }

    /// The route's cluster does not exist: `cluster_not_found_status` (503) without body, `NC`.
    pub fn cluster_not_found(status: u16) -> Self {
        Self::new(status, Some(Flag::NoClusterFound), "cluster_not_found", "", Blame::Policy)
    }

    /// It is not known what the request needs: 503.
    pub(super) fn no_configuration(details: String, body: String) -> Self {
        let mut reply = Self::new(503, Some(Flag::NoFilterConfigFound), details, "", Blame::Internal);
        reply.body = Bytes::from(body);
        reply
    }

    /// No endpoint can take the request: 503, `UH`.
    pub fn no_healthy_upstream() -> Self {
        Self::new(503, Some(Flag::NoHealthyUpstream), "no_healthy_upstream", "no healthy upstream", Blame::Upstream)
    }

    /// The host that the request asks for does not resolve: 503, `DF`.
    pub fn dns_failure() -> Self {
        let flag = Some(Flag::DnsResolutionFailed);
        Self::new(503, flag, "dns_resolution_failure", "DNS resolution failure", Blame::Upstream)
    }

    /// The upstream gave no response: 503 (502 for a protocol error). `retried`: a retry was made before;
    /// `transport`: the reason of the connection, for the details (`delayed connect error: Connection refused`).
    pub fn upstream_reset(reason: ResetReason, retried: bool, transport: Option<&str>) -> Self {
        let status = if reason == ResetReason::ProtocolError { 502 } else { 503 };
        let details = match transport.filter(|text| !text.is_empty()) {
            Some(text) => format!(
                "upstream_reset_before_response_started{{{}|{}}}",
                reason.details(),
                text.replace(char::is_whitespace, "_")
            ),
            None => format!("upstream_reset_before_response_started{{{}}}", reason.details()),
        };
        let blame = if reason == ResetReason::Overflow { Blame::Policy } else { Blame::Upstream };
        let mut reply = Self::new(status, Some(reason.flag()), details, "", blame);
        let again = if retried { "retried and the latest " } else { "" };
        let text = reason.text();
        reply.body = Bytes::from(format!(
            "upstream connect error or disconnect/reset before headers. {again}reset reason: {text}"
        ));
        if reason == ResetReason::Overflow {
            reply.headers.insert(HeaderName::from_static("x-envoy-overloaded"), HeaderValue::from_static("true"));
        }
        reply
    }

    /// The whole request took too long: 504, `UT`.
    pub fn route_timeout() -> Self {
        let text = "upstream request timeout";
        Self::new(504, Some(Flag::UpstreamRequestTimeout), "response_timeout", text, Blame::Upstream)
    }

    /// The last attempt took too long: 504, `UT`.
    pub fn per_try_timeout() -> Self {
        let text = "upstream request timeout";
        Self::new(504, Some(Flag::UpstreamRequestTimeout), "upstream_per_try_timeout", text, Blame::Upstream)
    }

    /// Nothing moved for too long: 504 once the request was complete, 408 before; `SI`.
    pub fn stream_idle_timeout(request_complete: bool) -> Self {
        let status = if request_complete { 504 } else { 408 };
        Self::new(status, Some(Flag::StreamIdleTimeout), "stream_idle_timeout", "stream timeout", Blame::Downstream)
            .closing()
    }

    /// The request did not arrive in time: 408.
    pub fn request_timeout() -> Self {
        Self::new(408, None, "request_overall_timeout", "request timeout", Blame::Downstream).closing()
    }

    /// The request head did not arrive in time: 408.
    pub fn request_header_timeout() -> Self {
        Self::new(408, None, "request_header_timeout", "request header timeout", Blame::Downstream).closing()
    }

    /// An injected abort, `FI`.
    pub fn fault_abort(status: u16, grpc_status: Option<u32>) -> Self {
        let mut reply =
            Self::new(status, Some(Flag::FaultInjected), "fault_filter_abort", "fault filter abort", Blame::Policy);
        reply.grpc_status = grpc_status;
        reply
    }

    /// A policy denies: 403. `details` is [`crate::rbac::Decision::details`].
    pub fn rbac_denied(details: Cow<'static, str>) -> Self {
        Self::new(403, None, details, "RBAC: access denied", Blame::Policy)
    }

    /// A token does not hold: 401, or 403 for a wrong audience. `reason` is `Jwt is expired` and the like. The challenge names the
    /// request's URL, of whose path at most 256 bytes.
    pub fn jwt_denied(reason: Failure, scheme: &str, authority: &str, path: &str) -> Self {
        let status = if reason == Failure::AudienceNotAllowed { 403 } else { 401 };
        let details = format!("jwt_authn_access_denied{{{}}}", reason.text().replace(' ', "_"));
        let mut reply = Self::new(status, None, details, reason.text(), Blame::Policy);
        let end = (0..=path.len().min(256)).rev().find(|at| path.is_char_boundary(*at)).unwrap_or(0);
        let path = path.get(..end).unwrap_or_default();
        let error = if reason == Failure::Missing { "" } else { ", error=\"invalid_token\"" };
        if let Ok(challenge) = HeaderValue::try_from(format!("Bearer realm=\"{scheme}://{authority}{path}\"{error}")) {
            reply.headers.insert(WWW_AUTHENTICATE, challenge);
        }
        reply
    }

    /// An authorization service denies: its status, headers and body, `UAEX`.
    pub fn ext_authz_denied(status: u16, headers: HeaderMap, body: Bytes) -> Self {
        let flag = Some(Flag::UnauthorizedExternalService);
        let mut reply = Self::new(status, flag, "ext_authz_denied", "", Blame::Policy);
        reply.headers = headers;
        if body.is_empty() {
            reply.headers.remove(CONTENT_TYPE);
        }
        reply.body = body;
        reply
    }

    /// An authorization service says nothing: the configured status without body, `UAEX`.
    pub fn ext_authz_error(status: u16) -> Self {
        Self::new(status, Some(Flag::UnauthorizedExternalService), "ext_authz_error", "", Blame::Policy)
    }

    /// A redirect: no body.
    pub fn redirect(status: u16, location: &str) -> Self {
        let mut reply = Self::new(status, None, "direct_response", "", Blame::Nobody);
        if let Ok(location) = HeaderValue::try_from(location) {
            reply.headers.insert(LOCATION, location);
        }
        reply
    }

    /// A route's direct response.
    pub fn direct(response: &DirectResponse) -> Self {
        let mut reply = Self::new(response.status, None, "direct_response", "", Blame::Nobody);
        reply.body = response.body.clone().unwrap_or_default();
        reply
    }

    /// A preflight that the cross-origin policy answers: 200 without body.
    pub fn cors_preflight(headers: HeaderMap) -> Self {
        let mut reply = Self::new(200, None, "cors_response", "", Blame::Nobody);
        reply.headers = headers;
        reply
    }

    /// The path is no path (a NUL, a refused escape): 400 without body.
    pub fn path_normalization_failed() -> Self {
        Self::new(400, None, "path_normalization_failed", "", Blame::Downstream).closing()
    }

    /// HTTP/1.1 without Host: 400 without body.
    pub fn missing_host() -> Self {
        Self::new(400, None, "missing_host_header", "", Blame::Downstream).closing()
    }

    /// A target that is no path, such as `*`: 404 without body.
    pub fn absolute_path_rejected() -> Self {
        Self::new(404, None, "absolute_path_rejected", "", Blame::Downstream)
    }

    /// The client does not speak proper HTTP/1: 400, `DPE`. `details` are the codec's (`http1.codec_error`).
    pub fn bad_request(details: &'static str) -> Self {
        Self::new(400, Some(Flag::DownstreamProtocolError), details, "Bad Request", Blame::Downstream).closing()
    }

    /// HTTP/1.0 where it is not accepted: 426, `DPE`.
    pub fn low_version() -> Self {
        Self::new(426, Some(Flag::DownstreamProtocolError), "low_version", "Upgrade Required", Blame::Downstream)
            .closing()
    }

    /// The request head is too large: 431.
    pub fn request_headers_too_large() -> Self {
        let body = "Request Header Fields Too Large";
        Self::new(431, Some(Flag::DownstreamProtocolError), "http1.headers_too_large", body, Blame::Downstream)
            .closing()
    }

    /// The request body is too large: 413.
    pub fn request_payload_too_large() -> Self {
        Self::new(413, None, "request_payload_too_large", "Payload Too Large", Blame::Downstream).closing()
    }

    /// An upgrade that neither route nor connection manager lets through: 403.
    pub fn upgrade_failed() -> Self {
        Self::new(403, None, "upgrade_failed", "", Blame::Downstream)
    }

    /// The proxy takes no more work: 503, `OM`.
    pub fn overload() -> Self {
        Self::new(503, Some(Flag::OverloadManagerTerminated), "overload", "envoy overloaded", Blame::Internal).closing()
    }

    /// Adds a flag that was set on the way (`DI`, `URX`), before those of the reply itself.
    #[must_use]
    pub fn after(mut self, earlier: ResponseFlags) -> Self {
        let mut flags = earlier;
        flags.extend(self.outcome.flags);
        self.outcome.flags = flags;
        self
    }

    /// Applies the connection manager's mapping of local replies: the first that matches sets the status.
    #[must_use]
    pub fn mapped(mut self, mappings: &[LocalReplyMapping]) -> Self {
        let flags = self.outcome.flags;
        let applies = |m: &&LocalReplyMapping| {
            m.status.is_none_or(|status| status == self.outcome.status)
                && (m.flags.is_empty() || flags.iter().any(|flag| m.flags.iter().any(|name| **name == *flag.short())))
        };
        if let Some(mapping) = mappings.iter().find(applies) {
            self.outcome.status = mapping.new_status;
        }
        self
    }

    /// What goes on the wire. A gRPC client gets 200 with `grpc-status` and `grpc-message` and no body.
    pub fn render(self, is_grpc: bool, is_head: bool) -> Rendered {
        let mut headers = self.headers;
        let status = self.outcome.status;
        if is_grpc {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            let code = self.grpc_status.unwrap_or_else(|| grpc_status(status));
            headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(code));
            if !self.body.is_empty()
                && let Ok(message) = HeaderValue::try_from(percent_encoded(&self.body))
            {
                headers.insert(HeaderName::from_static("grpc-message"), message);
            }
            return Rendered { status: 200, headers, body: Bytes::new() };
        }
        // An empty body's length is the codec's to tell, or not: HTTP/1 does, except in the answer to HEAD.
        if !self.body.is_empty() && status != 204 && status != 304 && status >= 200 {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        if !self.body.is_empty() && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        let body = if is_head || status == 204 || status == 304 { Bytes::new() } else { self.body };
        Rendered { status, headers, body }
    }
}

/// gRPC status for an HTTP status, after gRPC's own table.
pub fn grpc_status(http: u16) -> u32 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        200 => 0,
        _ => 2,
    }
}

/// `grpc-message` coding: printable ASCII but `%` as it is.
fn percent_encoded(message: &[u8]) -> String {
    let mut out = String::with_capacity(message.len());
    for byte in message {
        if (0x20..0x7f).contains(byte) && *byte != b'%' {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
