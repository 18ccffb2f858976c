//! Filters that ask who a request is of, and whether it may.

use varka_engine::ir::{
    AuthzBody, AuthzGrpc, AuthzHttp, AuthzService, ExtAuthz, Jwks, JwtAuthn, JwtClaimToHeader, JwtHeader, JwtProvider,
    JwtRequirement, Str,
};

use super::routes::metadata_match;
use super::{Gen, string_match};

pub(super) fn ext_authz(g: &mut Gen) -> ExtAuthz {
    ExtAuthz {
        service: if g.flag() {
            AuthzService::Grpc(AuthzGrpc { cluster: g.text(), authority: g.any_text(), timeout: g.span() })
        } else {
            AuthzService::Http(AuthzHttp {
                uri: g.text(),
                cluster: g.text(),
                timeout: g.span(),
                path_prefix: g.any_text(),
                headers_to_add: g.vec(|g| (header_name(g), g.any_text())),
                upstream_headers: g.vec(string_match),
                client_headers: g.vec(string_match),
                client_headers_on_success: g.vec(string_match),
            })
        },
        allowed_headers: g.vec(string_match),
        failure_mode_allow: g.flag(),
        status_on_error: if g.flag() { 403 } else { 400 + u16::from(g.byte()) },
        with_request_body: g.opt(|g| AuthzBody {
            max_request_bytes: g.u32(),
            allow_partial: g.flag(),
            as_bytes: g.flag(),
        }),
        enabled_metadata: g.opt(metadata_match),
    }
}

fn header_name(g: &mut Gen) -> Str {
    g.of(&["x-a", "x-b", "authorization"]).into()
}

fn provider(g: &mut Gen) -> JwtProvider {
    JwtProvider {
        name: g.text(),
        issuer: g.any_text(),
        audiences: g.vec(Gen::text),
        keys: Jwks::new(g.of(&["", "{}", r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#])),
        from_headers: g.vec(|g| JwtHeader { name: header_name(g), value_prefix: g.any_text() }),
        from_params: g.vec(Gen::text),
        from_cookies: g.vec(Gen::text),
        forward: g.flag(),
        forward_payload_header: g.of(&["", "x-payload"]).into(),
        claim_to_headers: g.vec(|g| JwtClaimToHeader { header_name: header_name(g), claim_name: g.text() }),
        payload_in_metadata: g.any_text(),
        space_delimited_claims: g.vec(Gen::text),
        clear_route_cache: g.flag(),
    }
}

pub(super) fn jwt(g: &mut Gen) -> JwtAuthn {
    let mut providers = g.vec1(provider);
    providers.sort_by(|a, b| a.name.cmp(&b.name));
    providers.dedup_by(|a, b| a.name == b.name);
    let names: Vec<Str> = providers.iter().map(|p| p.name.clone()).collect();
    JwtAuthn { requires: requirement(g, &names, 3), providers, bypass_cors_preflight: g.flag() }
}

fn requirement(g: &mut Gen, names: &[Str], depth: u8) -> JwtRequirement {
    match g.pick(if depth == 0 { 3 } else { 5 }) {
        0 => JwtRequirement::AllowMissing,
        1 => JwtRequirement::AllowMissingOrFailed,
        2 => JwtRequirement::Provider(names[usize::from(g.byte()) % names.len()].clone()),
        3 => JwtRequirement::Any(g.vec1(|g| requirement(g, names, depth - 1))),
        _ => JwtRequirement::All(g.vec1(|g| requirement(g, names, depth - 1))),
    }
}
