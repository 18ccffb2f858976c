//! RequestAuthentication: whose tokens a workload takes, as one filter in front of its policies.
//!
//! A request without a token passes; one with a token of nobody who is named here, or with a bad one, does not. Keys that are
//! elsewhere were fetched before; until they are, a key stands in for them whose other half nobody has.

use std::sync::Arc;

use varka_api::Object;
use varka_api::istio::{JwtRule, RequestAuthentication};
use varka_engine::ir::{HttpFilter, Jwks, JwtAuthn, JwtClaimToHeader, JwtHeader, JwtProvider, JwtRequirement, Str};

use super::attach;
use crate::context::{Ctx, s};
use crate::diagnostic::Severity;
use crate::snapshot::{KeySource, Kind, by_age};

/// An RSA key that was made and whose private half was thrown away: it verifies nothing.
const NOBODY: &str = concat!(
    r#"{"keys": [{"kty": "RSA", "e": "AQAB", "n": ""#,
    "j9FThdEl8R45FFHuy1Twg8wdltXvJk9-mrtAr3oZEiGWxM9jVDzUM2rTQsXoTyu4zvHSudBfpBQ5Xds5G5dA9RFB4tiJcWmsVaQif3S0RqDR3k",
    "EVVO_zGTTMPWUBdSC55VgulDkBS4jwkOtvnYzqOs2lOhjywcGdGJm2SmovTX_t8NFUHYlTw5wj1oLMSnAOZ7OrrxcR7eXPsCDLKizragE9_EWA",
    "j-JCv2Zs9oLRak_esorR4vQ4sL0hmlgcG2Uj4A5VediJd_VL_U_I-9dJs1MGFlSSwnUbvNHa3pMG_y1MPldDwAtYuSKqHPxJzAYVg2taV4B5Gc",
    "31_xwLqUBG7w",
    r#""}]}"#
);

/// Where payloads are kept.
pub(crate) const PAYLOAD: &str = "payload";

/// A rule and whence it came.
struct Rule<'a> {
    object: &'a Arc<Object<RequestAuthentication>>,
    index: usize,
    rule: &'a JwtRule,
}

/// The filter; `None`: no tokens are asked for.
pub(super) fn filter(ctx: &Ctx<'_>) -> Option<HttpFilter> {
    let objects = applicable(ctx);
    let rules = objects
        .iter()
        .flat_map(|object| object.spec.jwt_rules.iter().enumerate().map(|(index, rule)| Rule { object, index, rule }));
    let mut rules: Vec<Rule<'_>> = rules.collect();
    rules.sort_by(|a, b| a.rule.issuer.cmp(&b.rule.issuer));
    let mut providers: Vec<JwtProvider> =
        rules.iter().enumerate().map(|(i, rule)| provider(ctx, s(format!("origins-{i}")), rule)).collect();
    let requires = requirement(&providers)?;
    providers.sort_by(|a, b| a.name.cmp(&b.name));
    Some(HttpFilter::Jwt(Box::new(JwtAuthn { providers, requires, bypass_cors_preflight: true })))
}

/// Those of the mesh, the namespace and the workload, which add up.
fn applicable(ctx: &Ctx<'_>) -> Vec<Arc<Object<RequestAuthentication>>> {
    let store = &ctx.snapshot.stores.request_authentications;
    let root = ctx.root_namespace();
    let own = Some(&*ctx.proxy.namespace).filter(|own| *own != root);
    let mut found = Vec::new();
    for namespace in std::iter::once(root).chain(own) {
        let mut here: Vec<_> = ctx
            .namespace(Kind::RequestAuthentication, store, namespace)
            .filter(|o| attach::is_for(ctx.proxy, namespace, &o.spec))
            .cloned()
            .collect();
        here.sort_by(|a, b| by_age(a, b));
        found.append(&mut here);
    }
    found
}

/// Each provider, or none; beside that any single one, which helps where providers share a place for tokens.
fn requirement(providers: &[JwtProvider]) -> Option<JwtRequirement> {
    let by_name = |p: &JwtProvider| JwtRequirement::Provider(p.name.clone());
    let optional = |p: &JwtProvider| JwtRequirement::Any(vec![by_name(p), JwtRequirement::AllowMissing]);
    match providers {
        [] => None,
        [only] => Some(optional(only)),
        several => {
            let all = JwtRequirement::All(several.iter().map(optional).collect());
            Some(JwtRequirement::Any(several.iter().map(by_name).chain([all]).collect()))
        }
    }
}

fn provider(ctx: &Ctx<'_>, name: Str, rule: &Rule<'_>) -> JwtProvider {
    let r = rule.rule;
    let lower = |name: &String| s(name.to_ascii_lowercase());
    let mut space_delimited: Vec<Str> = r.space_delimited_claims.iter().map(s).collect();
    space_delimited.extend([s("permission"), s("scope")]);
    space_delimited.sort();
    space_delimited.dedup();
    JwtProvider {
        name,
        issuer: s(&r.issuer),
        audiences: r.audiences.iter().map(s).collect(),
        keys: keys(ctx, rule),
        from_headers: r
            .from_headers
            .iter()
            .map(|h| JwtHeader { name: lower(&h.name), value_prefix: s(&h.prefix) })
            .collect(),
        from_params: r.from_params.iter().map(s).collect(),
        from_cookies: r.from_cookies.iter().map(s).collect(),
        forward: r.forward_original_token,
        forward_payload_header: lower(&r.output_payload_to_header),
        claim_to_headers: r
            .output_claim_to_headers
            .iter()
            .map(|c| JwtClaimToHeader { header_name: lower(&c.header), claim_name: s(&c.claim) })
            .collect(),
        payload_in_metadata: s(PAYLOAD),
        space_delimited_claims: space_delimited,
        // Only gateways have routes that ask for claims.
        clear_route_cache: ctx.is_router(),
    }
}

fn keys(ctx: &Ctx<'_>, rule: &Rule<'_>) -> Jwks {
    let Some(source) = KeySource::of(rule.rule) else {
        return checked(ctx, rule, "jwks", &rule.rule.jwks);
    };
    let message = match ctx.key_set(&source) {
        Some(Ok(keys)) => return checked(ctx, rule, "jwksUri", keys),
        Some(Err(reason)) => format!("the keys of {source} cannot be fetched: {reason}"),
        None => format!("the keys of {source} are not there yet"),
    };
    report(ctx, rule, "jwksUri", message);
    Jwks::new(NOBODY)
}

fn checked(ctx: &Ctx<'_>, rule: &Rule<'_>, field: &str, text: &str) -> Jwks {
    let keys = Jwks::new(text);
    if let Err(failure) = keys.keys() {
        report(ctx, rule, field, format!("the keys cannot be used: {failure}"));
    }
    keys
}

fn report(ctx: &Ctx<'_>, rule: &Rule<'_>, field: &str, message: String) {
    let path = format!("spec.jwtRules[{}].{field}", rule.index);
    let issuer = &rule.rule.issuer;
    let effect = format!("every request with a token of issuer {issuer:?} is refused with 401");
    ctx.report(Severity::Error, "token-keys", rule.object, &path, message, effect);
}

#[cfg(test)]
mod tests;
