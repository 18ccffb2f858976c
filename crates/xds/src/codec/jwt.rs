//! Tokens: `envoy.filters.http.jwt_authn` with keys that are part of the message, and one requirement for all paths.

use std::collections::HashMap;

use varka_engine::ir::{Jwks, JwtAuthn, JwtClaimToHeader, JwtHeader, JwtProvider, JwtRequirement, Str};
use varka_proto::envoy::http_filter::jwt_authn::{
    self as pb, jwt_provider::JwksSourceSpecifier, jwt_provider::NormalizePayload, jwt_requirement::RequiresType,
    requirement_rule::RequirementType,
};
use varka_proto::envoy::{core, route};
use varka_proto::protobuf;

use super::refusal::{At, Decoded, open};
use super::value::{strings, strs, to_inline_text};

/// Requirements within requirements; Istio has three.
const DEEPEST: usize = 8;

pub(super) fn encode(j: &JwtAuthn) -> pb::JwtAuthentication {
    let everywhere = route::route_match::PathSpecifier::Prefix("/".to_owned());
    pb::JwtAuthentication {
        providers: j.providers.iter().map(|p| (p.name.to_string(), encode_provider(p))).collect(),
        rules: vec![pb::RequirementRule {
            r#match: Some(route::RouteMatch { path_specifier: Some(everywhere), ..Default::default() }),
            requirement_type: Some(RequirementType::Requires(encode_requirement(&j.requires))),
        }],
        bypass_cors_preflight: j.bypass_cors_preflight,
        ..Default::default()
    }
}

pub(super) fn decode(at: &At<'_>, j: pb::JwtAuthentication) -> Decoded<JwtAuthn> {
    open!(at, j => pb::JwtAuthentication { providers, rules, bypass_cors_preflight }
        refuse { filter_state_rules, requirement_map, strip_failure_response } harmless { stat_prefix });
    let providers = decode_providers(at, providers)?;
    let [rule] = <[_; 1]>::try_from(rules).map_err(|_| at.not_implemented("other than one rule"))?;
    let at = &at.item("rules", 0);
    let pb::RequirementRule { r#match, requirement_type } = rule;
    let everywhere = route::route_match::PathSpecifier::Prefix("/".to_owned());
    let wanted = route::RouteMatch { path_specifier: Some(everywhere), ..Default::default() };
    if at.need("match", r#match)? != wanted {
        return Err(at.not_implemented("a match other than the prefix /"));
    }
    let requires = match at.need("requires", requirement_type)? {
        RequirementType::Requires(r) => decode_requirement(&at.field("requires"), r, &providers, DEEPEST)?,
        RequirementType::RequirementName(_) => return Err(at.not_implemented("requirement_name")),
    };
    Ok(JwtAuthn { providers, requires, bypass_cors_preflight })
}

fn encode_provider(p: &JwtProvider) -> pb::JwtProvider {
    let header = |h: &JwtHeader| pb::JwtHeader { name: h.name.to_string(), value_prefix: h.value_prefix.to_string() };
    let claim = |c: &JwtClaimToHeader| pb::JwtClaimToHeader {
        header_name: c.header_name.to_string(),
        claim_name: c.claim_name.to_string(),
        ..Default::default()
    };
    let keys = core::data_source::Specifier::InlineString(p.keys.source().to_owned());
    let normalize = NormalizePayload { space_delimited_claims: strings(&p.space_delimited_claims) };
    pb::JwtProvider {
        issuer: p.issuer.to_string(),
        audiences: strings(&p.audiences),
        forward: p.forward,
        from_headers: p.from_headers.iter().map(header).collect(),
        from_params: strings(&p.from_params),
        from_cookies: strings(&p.from_cookies),
        forward_payload_header: p.forward_payload_header.to_string(),
        payload_in_metadata: p.payload_in_metadata.to_string(),
        normalize_payload_in_metadata: (!p.space_delimited_claims.is_empty()).then_some(normalize),
        claim_to_headers: p.claim_to_headers.iter().map(claim).collect(),
        clear_route_cache: p.clear_route_cache,
        jwks_source_specifier: Some(JwksSourceSpecifier::LocalJwks(core::DataSource {
            specifier: Some(keys),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// By name: the order in a message means nothing.
fn decode_providers(at: &At<'_>, providers: HashMap<String, pb::JwtProvider>) -> Decoded<Vec<JwtProvider>> {
    let mut out = providers
        .into_iter()
        .map(|(name, provider)| decode_provider(&at.key("providers", &name), name.as_str().into(), provider))
        .collect::<Decoded<Vec<JwtProvider>>>()?;
    out.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(out)
}

fn decode_provider(at: &At<'_>, name: Str, p: pb::JwtProvider) -> Decoded<JwtProvider> {
    open!(at, p => pb::JwtProvider { issuer, audiences, forward, from_headers, from_params, from_cookies,
            forward_payload_header, payload_in_metadata, normalize_payload_in_metadata, claim_to_headers,
            clear_route_cache, jwks_source_specifier }
        refuse { subjects, require_expiration, max_lifetime, pad_forward_payload_header, header_in_metadata,
            failed_status_in_metadata, clock_skew_seconds }
        harmless { jwt_cache_config });
    let keys = match at.need("local_jwks", jwks_source_specifier)? {
        JwksSourceSpecifier::LocalJwks(source) => to_inline_text(&at.field("local_jwks"), source)?,
        JwksSourceSpecifier::RemoteJwks(_) => return Err(at.not_implemented("remote_jwks")),
    };
    let lower = |name: String| -> Str { name.to_ascii_lowercase().into() };
    let header =
        |_: &At<'_>, h: pb::JwtHeader| Ok(JwtHeader { name: lower(h.name), value_prefix: h.value_prefix.into() });
    let claim = |at: &At<'_>, c: pb::JwtClaimToHeader| {
        open!(at, c => pb::JwtClaimToHeader { header_name, claim_name } refuse { claim_path });
        Ok(JwtClaimToHeader { header_name: lower(header_name), claim_name: claim_name.into() })
    };
    Ok(JwtProvider {
        name,
        issuer: issuer.into(),
        audiences: strs(audiences),
        keys: Jwks::new(&keys),
        from_headers: at.each("from_headers", from_headers, header)?,
        from_params: strs(from_params),
        from_cookies: strs(from_cookies),
        forward,
        forward_payload_header: lower(forward_payload_header),
        claim_to_headers: at.each("claim_to_headers", claim_to_headers, claim)?,
        payload_in_metadata: payload_in_metadata.into(),
        space_delimited_claims: strs(
            normalize_payload_in_metadata.map(|n| n.space_delimited_claims).unwrap_or_default(),
        ),
        clear_route_cache,
    })
}

fn encode_requirement(r: &JwtRequirement) -> pb::JwtRequirement {
    let list = |all: &[JwtRequirement]| all.iter().map(encode_requirement).collect();
    let requires = match r {
        JwtRequirement::Provider(name) => RequiresType::ProviderName(name.to_string()),
        JwtRequirement::Any(any) => RequiresType::RequiresAny(pb::JwtRequirementOrList { requirements: list(any) }),
        JwtRequirement::All(all) => RequiresType::RequiresAll(pb::JwtRequirementAndList { requirements: list(all) }),
        JwtRequirement::AllowMissing => RequiresType::AllowMissing(protobuf::Empty {}),
        JwtRequirement::AllowMissingOrFailed => RequiresType::AllowMissingOrFailed(protobuf::Empty {}),
    };
    pb::JwtRequirement { requires_type: Some(requires) }
}

fn decode_requirement(
    at: &At<'_>,
    r: pb::JwtRequirement,
    providers: &[JwtProvider],
    depth: usize,
) -> Decoded<JwtRequirement> {
    let Some(depth) = depth.checked_sub(1) else { return Err(at.not_implemented("so many levels of requirements")) };
    let list =
        |name, all| at.field(name).each("requirements", all, |at, r| decode_requirement(at, r, providers, depth));
    Ok(match at.need("requires_type", r.requires_type)? {
        RequiresType::ProviderName(name) => {
            if !providers.iter().any(|p| *p.name == *name) {
                return Err(at.invalid(name, "the name of a provider"));
            }
            JwtRequirement::Provider(name.into())
        }
        RequiresType::RequiresAny(any) => JwtRequirement::Any(list("requires_any", any.requirements)?),
        RequiresType::RequiresAll(all) => JwtRequirement::All(list("requires_all", all.requirements)?),
        RequiresType::AllowMissing(_) => JwtRequirement::AllowMissing,
        RequiresType::AllowMissingOrFailed(_) => JwtRequirement::AllowMissingOrFailed,
        RequiresType::ProviderAndAudiences(_) => return Err(at.not_implemented("provider_and_audiences")),
        RequiresType::ExtractOnlyWithoutValidation(_) => {
            return Err(at.not_implemented("extract_only_without_validation"));
        }
    })
}
