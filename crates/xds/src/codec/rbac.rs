//! Role-based access control: of HTTP requests, of connections, and of single routes.

use std::collections::HashMap;

use varka_engine::ir::{
    MetadataMatch, PathMatch, Permission, PolicyAction, Principal, Rbac, RbacPolicy, Str, StringMatch,
};
use varka_proto::envoy::http_filter::rbac as http;
use varka_proto::envoy::matcher::{self, path_matcher};
use varka_proto::envoy::network_filter::rbac as network;
use varka_proto::envoy::rbac::{self as pb, permission, principal, rbac::Action};

use super::metadata;
use super::refusal::{At, Decoded, open};
use super::route_match::{decode_header, decode_template, encode_header, encode_template};
use super::value::{cidr, member, port, string_matcher, to_cidr, to_string_match};

/// Envoy asks network filters for a prefix; this one stands for none.
const NO_PREFIX: &str = "tcp.";

pub(super) fn encode_http(r: &Rbac) -> http::Rbac {
    let rules = Some(encode_rules(r));
    if r.shadow {
        http::Rbac { shadow_rules: rules, shadow_rules_stat_prefix: r.stat_prefix.to_string(), ..Default::default() }
    } else {
        http::Rbac { rules, rules_stat_prefix: r.stat_prefix.to_string(), ..Default::default() }
    }
}

pub(super) fn decode_http(at: &At<'_>, r: http::Rbac) -> Decoded<Rbac> {
    open!(at, r => http::Rbac { rules, rules_stat_prefix, shadow_rules, shadow_rules_stat_prefix }
        refuse { matcher, shadow_matcher } harmless { track_per_rule_stats });
    decode_either(at, rules, rules_stat_prefix, shadow_rules, shadow_rules_stat_prefix)
}

pub(super) fn encode_network(r: &Rbac) -> network::Rbac {
    let rules = Some(encode_rules(r));
    let stat_prefix = if r.stat_prefix.is_empty() { NO_PREFIX.to_owned() } else { r.stat_prefix.to_string() };
    if r.shadow {
        network::Rbac { shadow_rules: rules, stat_prefix, ..Default::default() }
    } else {
        network::Rbac { rules, stat_prefix, ..Default::default() }
    }
}

pub(super) fn decode_network(at: &At<'_>, r: network::Rbac) -> Decoded<Rbac> {
    // The prefix of shadow statistics: those of a connection are counted under the filter's own.
    open!(at, r => network::Rbac { rules, shadow_rules, stat_prefix }
        refuse { matcher, shadow_matcher, enforcement_type, delay_deny } harmless { shadow_rules_stat_prefix });
    let prefix = if stat_prefix == NO_PREFIX { String::new() } else { stat_prefix };
    decode_either(at, rules, prefix.clone(), shadow_rules, prefix)
}

/// A filter either enforces or only reports. With neither kind of rules Envoy lets everything pass; here that must be
/// said by leaving the filter out, so that an empty filter can not be read as "deny all".
fn decode_either(
    at: &At<'_>,
    rules: Option<pb::Rbac>,
    prefix: String,
    shadow_rules: Option<pb::Rbac>,
    shadow_prefix: String,
) -> Decoded<Rbac> {
    match (rules, shadow_rules) {
        (Some(rules), None) => decode_rules(&at.field("rules"), rules, false, prefix),
        (None, Some(rules)) => decode_rules(&at.field("shadow_rules"), rules, true, shadow_prefix),
        (Some(_), Some(_)) => Err(at.not_implemented("a filter with both rules and shadow_rules")),
        (None, None) => Err(at.not_implemented("a filter without rules")),
    }
}

fn encode_rules(r: &Rbac) -> pb::Rbac {
    let action = match r.action {
        PolicyAction::Allow => Action::Allow,
        PolicyAction::Deny => Action::Deny,
        PolicyAction::Log => Action::Log,
    };
    let policies = r.policies.iter().map(|p| {
        let policy = pb::Policy {
            permissions: p.permissions.iter().map(encode_permission).collect(),
            principals: p.principals.iter().map(encode_principal).collect(),
            ..Default::default()
        };
        (p.name.to_string(), policy)
    });
    pb::Rbac { action: action.into(), policies: policies.collect(), audit_logging_options: None }
}

fn decode_rules(at: &At<'_>, r: pb::Rbac, shadow: bool, stat_prefix: String) -> Decoded<Rbac> {
    open!(at, r => pb::Rbac { action, policies } refuse { audit_logging_options });
    let action = match member(&at.field("action"), action)? {
        Action::Allow => PolicyAction::Allow,
        Action::Deny => PolicyAction::Deny,
        Action::Log => PolicyAction::Log,
    };
    Ok(Rbac { action, policies: decode_policies(at, policies)?, shadow, stat_prefix: stat_prefix.into() })
}

/// By name, which is the order in which Envoy, too, asks them.
fn decode_policies(at: &At<'_>, policies: HashMap<String, pb::Policy>) -> Decoded<Vec<RbacPolicy>> {
    let mut out = Vec::with_capacity(policies.len());
    for (name, policy) in policies {
        let at = &at.key("policies", &name);
        open!(at, policy => pb::Policy { permissions, principals } refuse { condition, checked_condition, cel_config });
        let permissions = at.each("permissions", permissions, decode_permission)?;
        let principals = at.each("principals", principals, decode_principal)?;
        out.push(RbacPolicy { name: name.as_str().into(), permissions, principals });
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(out)
}

// --- permissions

fn encode_permission(p: &Permission) -> pb::Permission {
    let set = |rules: &[Permission]| permission::Set { rules: rules.iter().map(encode_permission).collect() };
    let rule = match p {
        Permission::Any => permission::Rule::Any(true),
        Permission::And(rules) => permission::Rule::AndRules(set(rules)),
        Permission::Or(rules) => permission::Rule::OrRules(set(rules)),
        Permission::Not(rule) => permission::Rule::NotRule(Box::new(encode_permission(rule))),
        Permission::Header(h) => permission::Rule::Header(encode_header(h)),
        Permission::Path(m) => permission::Rule::UrlPath(path(m)),
        Permission::Template(t) => encode_path_match(t),
        Permission::DestinationIp(net) => permission::Rule::DestinationIp(cidr(net)),
        Permission::DestinationPort(p) => permission::Rule::DestinationPort((*p).into()),
        Permission::ServerName(m) => permission::Rule::RequestedServerName(string_matcher(m)),
        Permission::Metadata { filter, path, value } => {
            permission::Rule::SourcedMetadata(encode_metadata(filter, path, value))
        }
    };
    pb::Permission { rule: Some(rule) }
}

#[expect(deprecated, reason = "senders still use the obsolete rule")]
fn decode_permission(at: &At<'_>, p: pb::Permission) -> Decoded<Permission> {
    Ok(match at.need("rule", p.rule)? {
        permission::Rule::Any(true) => Permission::Any,
        permission::Rule::Any(false) => return Err(at.not_implemented("any: false")),
        permission::Rule::AndRules(set) => {
            Permission::And(at.field("and_rules").each("rules", set.rules, decode_permission)?)
        }
        permission::Rule::OrRules(set) => {
            Permission::Or(at.field("or_rules").each("rules", set.rules, decode_permission)?)
        }
        permission::Rule::NotRule(rule) => Permission::Not(Box::new(decode_permission(&at.field("not_rule"), *rule)?)),
        permission::Rule::Header(h) => Permission::Header(decode_header(&at.field("header"), h)?),
        permission::Rule::UrlPath(p) => Permission::Path(decode_path(&at.field("url_path"), p)?),
        permission::Rule::UriTemplate(t) => {
            Permission::Template(PathMatch::Template(decode_template(&at.field("uri_template"), t)?))
        }
        permission::Rule::DestinationIp(net) => Permission::DestinationIp(to_cidr(&at.field("destination_ip"), net)?),
        permission::Rule::DestinationPort(p) => Permission::DestinationPort(port(&at.field("destination_port"), p)?),
        permission::Rule::RequestedServerName(m) => {
            Permission::ServerName(to_string_match(&at.field("requested_server_name"), m)?)
        }
        permission::Rule::Metadata(m) => {
            let (filter, path, value) = decode_metadata(&at.field("metadata"), m)?;
            Permission::Metadata { filter, path, value }
        }
        permission::Rule::SourcedMetadata(m) => {
            let (filter, path, value) = decode_sourced_metadata(&at.field("sourced_metadata"), m)?;
            Permission::Metadata { filter, path, value }
        }
        permission::Rule::DestinationPortRange(_) => return Err(at.not_implemented("destination_port_range")),
        permission::Rule::Matcher(m) => return Err(at.not_implemented(format!("matcher {}", m.name))),
    })
}

/// Only templates need the extension; the other kinds are plain matches on the path.
fn encode_path_match(m: &PathMatch) -> permission::Rule {
    let matches = match m {
        PathMatch::Template(template) => return permission::Rule::UriTemplate(encode_template(template)),
        PathMatch::Prefix(value) => StringMatch::Prefix { value: value.clone(), ignore_case: false },
        PathMatch::Exact(value) => StringMatch::Exact { value: value.clone(), ignore_case: false },
        PathMatch::Regex(regex) => StringMatch::Regex(regex.clone()),
        PathMatch::SeparatedPrefix(value) => {
            let below = StringMatch::Prefix { value: format!("{value}/").into(), ignore_case: false };
            let itself = StringMatch::Exact { value: value.clone(), ignore_case: false };
            let rules = [itself, below].map(|m| pb::Permission { rule: Some(permission::Rule::UrlPath(path(&m))) });
            return permission::Rule::OrRules(permission::Set { rules: rules.into() });
        }
    };
    permission::Rule::UrlPath(path(&matches))
}

fn path(m: &StringMatch) -> matcher::PathMatcher {
    matcher::PathMatcher { rule: Some(path_matcher::Rule::Path(string_matcher(m))) }
}

fn decode_path(at: &At<'_>, m: matcher::PathMatcher) -> Decoded<StringMatch> {
    let path_matcher::Rule::Path(m) = at.need("path", m.rule)?;
    to_string_match(&at.field("path"), m)
}

// --- principals

fn encode_principal(p: &Principal) -> pb::Principal {
    let set = |ids: &[Principal]| principal::Set { ids: ids.iter().map(encode_principal).collect() };
    let identifier = match p {
        Principal::Any => principal::Identifier::Any(true),
        Principal::And(ids) => principal::Identifier::AndIds(set(ids)),
        Principal::Or(ids) => principal::Identifier::OrIds(set(ids)),
        Principal::Not(id) => principal::Identifier::NotId(Box::new(encode_principal(id))),
        Principal::Authenticated(name) => principal::Identifier::Authenticated(principal::Authenticated {
            principal_name: name.as_ref().map(string_matcher),
        }),
        Principal::DirectRemoteIp(net) => principal::Identifier::DirectRemoteIp(cidr(net)),
        Principal::RemoteIp(net) => principal::Identifier::RemoteIp(cidr(net)),
        Principal::Header(h) => principal::Identifier::Header(encode_header(h)),
        Principal::Metadata { filter, path, value } => {
            principal::Identifier::SourcedMetadata(encode_metadata(filter, path, value))
        }
    };
    pb::Principal { identifier: Some(identifier) }
}

#[expect(deprecated, reason = "an obsolete identifier is refused by name")]
fn decode_principal(at: &At<'_>, p: pb::Principal) -> Decoded<Principal> {
    Ok(match at.need("identifier", p.identifier)? {
        principal::Identifier::Any(true) => Principal::Any,
        principal::Identifier::Any(false) => return Err(at.not_implemented("any: false")),
        principal::Identifier::AndIds(set) => {
            Principal::And(at.field("and_ids").each("ids", set.ids, decode_principal)?)
        }
        principal::Identifier::OrIds(set) => {
            Principal::Or(at.field("or_ids").each("ids", set.ids, decode_principal)?)
        }
        principal::Identifier::NotId(id) => Principal::Not(Box::new(decode_principal(&at.field("not_id"), *id)?)),
        principal::Identifier::Authenticated(a) => Principal::Authenticated(at.field("authenticated").maybe(
            "principal_name",
            a.principal_name,
            to_string_match,
        )?),
        principal::Identifier::DirectRemoteIp(net) => {
            Principal::DirectRemoteIp(to_cidr(&at.field("direct_remote_ip"), net)?)
        }
        principal::Identifier::RemoteIp(net) => Principal::RemoteIp(to_cidr(&at.field("remote_ip"), net)?),
        principal::Identifier::Header(h) => Principal::Header(decode_header(&at.field("header"), h)?),
        principal::Identifier::Metadata(m) => {
            let (filter, path, value) = decode_metadata(&at.field("metadata"), m)?;
            Principal::Metadata { filter, path, value }
        }
        principal::Identifier::SourcedMetadata(m) => {
            let (filter, path, value) = decode_sourced_metadata(&at.field("sourced_metadata"), m)?;
            Principal::Metadata { filter, path, value }
        }
        principal::Identifier::SourceIp(_) => return Err(at.not_implemented("source_ip")),
        principal::Identifier::UrlPath(_) => return Err(at.not_implemented("url_path")),
        principal::Identifier::FilterState(_) => return Err(at.not_implemented("filter_state")),
        principal::Identifier::Custom(c) => return Err(at.not_implemented(format!("custom {}", c.name))),
    })
}

// --- dynamic metadata

/// Matches the text itself, or any element of a list.
fn encode_metadata(filter: &Str, path: &[Str], value: &StringMatch) -> pb::SourcedMetadata {
    let matches = MetadataMatch { filter: filter.clone(), path: path.to_vec(), value: value.clone(), invert: false };
    pb::SourcedMetadata {
        metadata_matcher: Some(metadata::encode(&matches)),
        metadata_source: pb::MetadataSource::Dynamic.into(),
    }
}

type Metadata = (Str, Vec<Str>, StringMatch);

fn decode_sourced_metadata(at: &At<'_>, m: pb::SourcedMetadata) -> Decoded<Metadata> {
    let pb::SourcedMetadata { metadata_matcher, metadata_source } = m;
    match member(&at.field("metadata_source"), metadata_source)? {
        pb::MetadataSource::Dynamic => {
            decode_metadata(&at.field("metadata_matcher"), at.need("metadata_matcher", metadata_matcher)?)
        }
        pb::MetadataSource::Route => Err(at.not_implemented("metadata_source ROUTE")),
    }
}

fn decode_metadata(at: &At<'_>, m: matcher::MetadataMatcher) -> Decoded<Metadata> {
    let MetadataMatch { filter, path, value, invert } = metadata::decode(at, m)?;
    at.unset("invert", &invert)?;
    Ok((filter, path, value))
}
