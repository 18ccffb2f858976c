//! Filters that ask who a request is of, and whether it may. Keys are not shown, as Envoy does not show them.

use serde_json::json;
use varka_engine::ir::{
    AuthzBody, AuthzGrpc, AuthzHttp, AuthzService, ExtAuthz, JwtAuthn, JwtProvider, JwtRequirement, MetadataMatch,
    StringMatch,
};

use super::matching::string;
use super::message::{Message, duration};

fn list(matchers: &[StringMatch]) -> Option<Message> {
    (!matchers.is_empty()).then(|| Message::new().list("patterns", matchers.iter().map(string)))
}

pub(super) fn ext_authz(a: &ExtAuthz) -> Message {
    let body = a.with_request_body.map(|AuthzBody { max_request_bytes, allow_partial, as_bytes }| {
        Message::new()
            .number("max_request_bytes", max_request_bytes.into())
            .flag("allow_partial_message", allow_partial)
            .flag("pack_as_bytes", as_bytes)
    });
    let message = match &a.service {
        AuthzService::Http(http) => Message::new().message("http_service", http_service(http)),
        AuthzService::Grpc(AuthzGrpc { cluster, authority, timeout }) => {
            let envoy = Message::new().text("cluster_name", cluster).text("authority", authority);
            let service = Message::new().message("envoy_grpc", envoy).text("timeout", &duration(*timeout));
            Message::new().message("grpc_service", service)
        }
    };
    let status = (a.status_on_error != 403).then(|| Message::new().number("code", a.status_on_error.into()));
    message
        .flag("failure_mode_allow", a.failure_mode_allow)
        .optional("with_request_body", body)
        .optional("status_on_error", status)
        .text("transport_api_version", "V3")
        .optional("filter_enabled_metadata", a.enabled_metadata.as_ref().map(metadata))
        .optional("allowed_headers", list(&a.allowed_headers))
}

fn http_service(h: &AuthzHttp) -> Message {
    let uri = Message::new().text("uri", &h.uri).text("cluster", &h.cluster).text("timeout", &duration(h.timeout));
    let header = |(key, value): &(_, varka_engine::ir::Str)| {
        let key: &varka_engine::ir::Str = key;
        Message::new().text("key", key).text("value", value)
    };
    let request = (!h.headers_to_add.is_empty())
        .then(|| Message::new().list("headers_to_add", h.headers_to_add.iter().map(header)));
    let response = Message::new()
        .optional("allowed_upstream_headers", list(&h.upstream_headers))
        .optional("allowed_client_headers", list(&h.client_headers))
        .optional("allowed_client_headers_on_success", list(&h.client_headers_on_success));
    Message::new()
        .message("server_uri", uri)
        .text("path_prefix", &h.path_prefix)
        .optional("authorization_request", request)
        .set("authorization_response", response.value())
}

/// A text that an earlier filter noted.
fn metadata(m: &MetadataMatch) -> Message {
    Message::new()
        .text("filter", &m.filter)
        .list("path", m.path.iter().map(|key| Message::new().text("key", key)))
        .message("value", Message::new().message("string_match", string(&m.value)))
        .flag("invert", m.invert)
}

pub(super) fn jwt(j: &JwtAuthn) -> Message {
    let providers = j.providers.iter().fold(Message::new(), |all, p| all.message(&p.name, provider(p)));
    let rule = Message::new()
        .message("match", Message::new().text("prefix", "/"))
        .message("requires", requirement(&j.requires));
    Message::new()
        .set("providers", providers.value())
        .list("rules", [rule])
        .flag("bypass_cors_preflight", j.bypass_cors_preflight)
}

fn provider(p: &JwtProvider) -> Message {
    let header =
        |h: &varka_engine::ir::JwtHeader| Message::new().text("name", &h.name).text("value_prefix", &h.value_prefix);
    let claim = |c: &varka_engine::ir::JwtClaimToHeader| {
        Message::new().text("header_name", &c.header_name).text("claim_name", &c.claim_name)
    };
    Message::new()
        .text("issuer", &p.issuer)
        .texts("audiences", &p.audiences)
        .set("local_jwks", json!({"inline_string": "[redacted]"}))
        .flag("forward", p.forward)
        .list("from_headers", p.from_headers.iter().map(header))
        .texts("from_params", &p.from_params)
        .texts("from_cookies", &p.from_cookies)
        .text("forward_payload_header", &p.forward_payload_header)
        .text("payload_in_metadata", &p.payload_in_metadata)
        .set(
            "normalize_payload_in_metadata",
            Message::new().texts("space_delimited_claims", &p.space_delimited_claims).value(),
        )
        .list("claim_to_headers", p.claim_to_headers.iter().map(claim))
        .flag("clear_route_cache", p.clear_route_cache)
}

fn requirement(r: &JwtRequirement) -> Message {
    let list = |all: &[JwtRequirement]| Message::new().list("requirements", all.iter().map(requirement));
    let m = Message::new();
    match r {
        JwtRequirement::Provider(name) => m.text("provider_name", name),
        JwtRequirement::Any(any) => m.message("requires_any", list(any)),
        JwtRequirement::All(all) => m.message("requires_all", list(all)),
        JwtRequirement::AllowMissing => m.message("allow_missing", Message::new()),
        JwtRequirement::AllowMissingOrFailed => m.message("allow_missing_or_failed", Message::new()),
    }
}
