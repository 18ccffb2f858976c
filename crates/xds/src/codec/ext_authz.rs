//! Authorization by a service that is asked: `envoy.filters.http.ext_authz`.

use varka_engine::ir::{AuthzBody, AuthzGrpc, AuthzHttp, AuthzService, ExtAuthz, Str, StringMatch};
use varka_proto::envoy::http_filter::ext_authz::{self as pb, ext_authz::Services};
use varka_proto::envoy::{core, matcher, types};

use super::metadata;
use super::refusal::{At, Decoded, open};
use super::value::{duration, status, string_matcher, to_duration, to_string_match};

/// Without `status_on_error`.
const FORBIDDEN: u16 = 403;

pub(super) fn encode(a: &ExtAuthz) -> pb::ExtAuthz {
    pb::ExtAuthz {
        transport_api_version: core::ApiVersion::V3.into(),
        failure_mode_allow: a.failure_mode_allow,
        status_on_error: (a.status_on_error != FORBIDDEN).then(|| types::HttpStatus { code: a.status_on_error.into() }),
        with_request_body: a.with_request_body.map(|b| pb::BufferSettings {
            max_request_bytes: b.max_request_bytes,
            allow_partial_message: b.allow_partial,
            pack_as_bytes: b.as_bytes,
        }),
        filter_enabled_metadata: a.enabled_metadata.as_ref().map(metadata::encode_text),
        allowed_headers: matchers(&a.allowed_headers),
        services: Some(match &a.service {
            AuthzService::Http(http) => Services::HttpService(encode_http(http)),
            AuthzService::Grpc(grpc) => Services::GrpcService(encode_grpc(grpc)),
        }),
        ..Default::default()
    }
}

pub(super) fn decode(at: &At<'_>, a: pb::ExtAuthz) -> Decoded<ExtAuthz> {
    // Names of statistics, and what is only told to the service of the proxy itself.
    open!(at, a => pb::ExtAuthz { failure_mode_allow, with_request_body, status_on_error, filter_enabled_metadata,
            allowed_headers, services }
        refuse { failure_mode_allow_header_add, clear_route_cache, validate_mutations, metadata_context_namespaces,
            typed_metadata_context_namespaces, route_metadata_context_namespaces,
            route_typed_metadata_context_namespaces, filter_enabled, deny_at_disable, include_peer_certificate,
            bootstrap_metadata_labels_key, disallowed_headers, include_tls_session, encode_raw_headers,
            decoder_header_mutation_rules, enable_dynamic_metadata_ingestion, filter_metadata,
            max_denied_response_body_bytes, enforce_response_header_limits, shadow_mode }
        harmless { transport_api_version, stat_prefix, charge_cluster_response_stats, emit_filter_state_stats,
            emit_client_span });
    Ok(ExtAuthz {
        service: match at.need("services", services)? {
            Services::HttpService(http) => AuthzService::Http(decode_http(&at.field("http_service"), http)?),
            Services::GrpcService(grpc) => AuthzService::Grpc(decode_grpc(&at.field("grpc_service"), grpc)?),
        },
        allowed_headers: to_matchers(at, "allowed_headers", allowed_headers)?,
        failure_mode_allow,
        status_on_error: match status_on_error {
            Some(wanted) => status(&at.field("status_on_error"), u32::try_from(wanted.code).unwrap_or_default())?,
            None => FORBIDDEN,
        },
        with_request_body: with_request_body.map(|b| AuthzBody {
            max_request_bytes: b.max_request_bytes,
            allow_partial: b.allow_partial_message,
            as_bytes: b.pack_as_bytes,
        }),
        enabled_metadata: at.maybe("filter_enabled_metadata", filter_enabled_metadata, metadata::decode_text)?,
    })
}

fn matchers(list: &[StringMatch]) -> Option<matcher::ListStringMatcher> {
    (!list.is_empty()).then(|| matcher::ListStringMatcher { patterns: list.iter().map(string_matcher).collect() })
}

fn to_matchers(
    at: &At<'_>,
    name: &'static str,
    value: Option<matcher::ListStringMatcher>,
) -> Decoded<Vec<StringMatch>> {
    let patterns = value.map(|list| list.patterns).unwrap_or_default();
    at.field(name).each("patterns", patterns, to_string_match)
}

fn encode_http(h: &AuthzHttp) -> pb::HttpService {
    let add = |(key, value): &(Str, Str)| core::HeaderValue {
        key: key.to_string(),
        value: value.to_string(),
        ..Default::default()
    };
    let headers_to_add: Vec<core::HeaderValue> = h.headers_to_add.iter().map(add).collect();
    let response = pb::AuthorizationResponse {
        allowed_upstream_headers: matchers(&h.upstream_headers),
        allowed_client_headers: matchers(&h.client_headers),
        allowed_client_headers_on_success: matchers(&h.client_headers_on_success),
        ..Default::default()
    };
    pb::HttpService {
        server_uri: Some(core::HttpUri {
            uri: h.uri.to_string(),
            timeout: Some(duration(h.timeout)),
            http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster(h.cluster.to_string())),
        }),
        path_prefix: h.path_prefix.to_string(),
        authorization_request: (!headers_to_add.is_empty())
            .then(|| pb::AuthorizationRequest { headers_to_add, ..Default::default() }),
        authorization_response: (response != pb::AuthorizationResponse::default()).then_some(response),
        ..Default::default()
    }
}

fn decode_http(at: &At<'_>, h: pb::HttpService) -> Decoded<AuthzHttp> {
    open!(at, h => pb::HttpService { server_uri, path_prefix, authorization_request, authorization_response }
        refuse { path_override, retry_policy });
    let at_uri = &at.field("server_uri");
    let core::HttpUri { uri, timeout, http_upstream_type } = at.need("server_uri", server_uri)?;
    let core::http_uri::HttpUpstreamType::Cluster(cluster) = at_uri.need("cluster", http_upstream_type)?;
    let at_request = &at.field("authorization_request");
    open!(at_request, authorization_request.unwrap_or_default() => pb::AuthorizationRequest { headers_to_add }
        refuse { allowed_headers });
    let header = |at: &At<'_>, h: core::HeaderValue| {
        open!(at, h => core::HeaderValue { key, value } refuse { raw_value });
        Ok((Str::from(key.to_ascii_lowercase()), Str::from(value)))
    };
    let at_response = &at.field("authorization_response");
    open!(at_response, authorization_response.unwrap_or_default() => pb::AuthorizationResponse {
            allowed_upstream_headers, allowed_client_headers, allowed_client_headers_on_success }
        refuse { allowed_upstream_headers_to_append, dynamic_metadata_from_headers });
    Ok(AuthzHttp {
        uri: uri.into(),
        cluster: cluster.into(),
        timeout: to_duration(&at_uri.field("timeout"), at_uri.need("timeout", timeout)?)?,
        path_prefix: path_prefix.into(),
        headers_to_add: at_request.each("headers_to_add", headers_to_add, header)?,
        upstream_headers: to_matchers(at_response, "allowed_upstream_headers", allowed_upstream_headers)?,
        client_headers: to_matchers(at_response, "allowed_client_headers", allowed_client_headers)?,
        client_headers_on_success: to_matchers(
            at_response,
            "allowed_client_headers_on_success",
            allowed_client_headers_on_success,
        )?,
    })
}

fn encode_grpc(g: &AuthzGrpc) -> core::GrpcService {
    core::GrpcService {
        timeout: Some(duration(g.timeout)),
        target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(core::grpc_service::EnvoyGrpc {
            cluster_name: g.cluster.to_string(),
            authority: g.authority.to_string(),
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn decode_grpc(at: &At<'_>, g: core::GrpcService) -> Decoded<AuthzGrpc> {
    open!(at, g => core::GrpcService { timeout, target_specifier } refuse { initial_metadata, retry_policy });
    let Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(envoy)) = target_specifier else {
        return Err(at.not_implemented("a service other than envoy_grpc"));
    };
    let at_envoy = &at.field("envoy_grpc");
    open!(at_envoy, envoy => core::grpc_service::EnvoyGrpc { cluster_name, authority }
        refuse { retry_policy, max_receive_message_length, skip_envoy_headers });
    Ok(AuthzGrpc {
        cluster: cluster_name.into(),
        authority: authority.into(),
        timeout: to_duration(&at.field("timeout"), at.need("timeout", timeout)?)?,
    })
}
