//! `PeerAuthentication`, `AuthorizationPolicy`, `RequestAuthentication`.

use super::Validation;
use super::common::{header_name, is_network, selection, selector_labels};
use crate::ObjectMeta;
use crate::istio::{
    AuthorizationAction, AuthorizationPolicy, Condition, JwtRule, MutualTlsMode, Operation, PeerAuthentication,
    RequestAuthentication, Source,
};

/// Rules of `PeerAuthentication`.
pub(super) fn peer_authentication(meta: &ObjectMeta, spec: &PeerAuthentication, v: &mut Validation) {
    let selects = spec.selector.as_ref().is_some_and(|s| !s.match_labels.is_empty());
    if spec.selector.is_some() && !selects {
        v.warn("spec.selector", "the selector is empty, so the policy is for the whole namespace");
    }
    if let Some(selector) = &spec.selector {
        selector_labels(v, "spec.selector.matchLabels", &selector.match_labels);
    }
    if !spec.port_level_mtls.is_empty() && !selects {
        v.error_with_fix(
            "spec.portLevelMtls",
            "portLevelMtls requires a selector: port-level settings belong to the port of a workload's container, which a policy for a namespace or the mesh cannot name",
            without_port_level(meta, spec),
        );
    }
    for port in spec.port_level_mtls.keys() {
        if !matches!(port.parse::<u32>(), Ok(1..=65535)) {
            v.error(format!("spec.portLevelMtls.{port}"), "a port is a number from 1 to 65535");
        }
    }
}

/// The corrected form of a policy that has port-level settings for no workload in particular.
fn without_port_level(meta: &ObjectMeta, spec: &PeerAuthentication) -> String {
    let mode = |m: MutualTlsMode| match m {
        MutualTlsMode::Unset => "UNSET",
        MutualTlsMode::Disable => "DISABLE",
        MutualTlsMode::Permissive => "PERMISSIVE",
        MutualTlsMode::Strict => "STRICT",
    };
    let own = mode(spec.mtls.as_ref().map_or(MutualTlsMode::Unset, |m| m.mode));
    let mut text = format!(
        "Write two policies: {} with `mtls: {{mode: {own}}}` and no portLevelMtls, and one for each workload that needs an exception:",
        meta.name
    );
    for (port, mtls) in &spec.port_level_mtls {
        text.push_str(&format!(
            " `selector: {{matchLabels: {{app: NAME}}}}, mtls: {{mode: {own}}}, portLevelMtls: {{{port}: {{mode: {}}}}}` for the workload whose container listens on {port};",
            mode(mtls.mode)
        ));
    }
    text.push_str(" a workload without a sidecar needs none");
    text
}

/// Rules of `AuthorizationPolicy`.
pub(super) fn authorization_policy(meta: &ObjectMeta, spec: &AuthorizationPolicy, v: &mut Validation) {
    selection(v, spec.selector.as_ref(), spec.target_ref.as_ref(), &spec.target_refs);
    if spec.action == AuthorizationAction::Custom {
        if spec.provider.as_ref().is_none_or(|p| p.name.is_empty()) {
            v.error("spec.provider", "a CUSTOM policy needs the name of a provider");
        }
        if spec.rules.is_empty() {
            v.error("spec.rules", "a CUSTOM policy needs rules: without them it is never asked");
        }
    } else if spec.provider.is_some() {
        v.error("spec.provider", "only a CUSTOM policy has a provider");
    }
    if spec.action == AuthorizationAction::Deny && spec.rules.is_empty() {
        v.error("spec.rules", "a DENY policy without rules refuses nothing");
    }
    let dry_run = meta.annotations.get("istio.io/dry-run");
    let decides = matches!(spec.action, AuthorizationAction::Allow | AuthorizationAction::Deny);
    if dry_run.is_some() && !decides {
        v.error("metadata.annotations", "istio.io/dry-run works for ALLOW and DENY only");
    }
    if dry_run.is_some_and(|d| d.parse::<bool>().is_err()) {
        v.error("metadata.annotations", "istio.io/dry-run is true or false");
    }
    for (i, rule) in spec.rules.iter().enumerate() {
        let path = format!("spec.rules[{i}]");
        for (j, from) in rule.from.iter().enumerate() {
            let path = format!("{path}.from[{j}]");
            match &from.source {
                None => v.error(path, "the source is missing"),
                Some(s) if *s == Source::default() => v.error(path, "the source says nothing"),
                Some(s) => source(v, &path, s, spec.action),
            }
        }
        for (j, to) in rule.to.iter().enumerate() {
            let path = format!("{path}.to[{j}]");
            match &to.operation {
                None => v.error(path, "the operation is missing"),
                Some(o) if *o == Operation::default() => v.error(path, "the operation says nothing"),
                Some(o) => operation(v, &path, o),
            }
        }
        for (j, when) in rule.when.iter().enumerate() {
            condition(v, &format!("{path}.when[{j}]"), when, spec.action);
        }
    }
}

fn source(v: &mut Validation, path: &str, s: &Source, action: AuthorizationAction) {
    for (name, list) in [
        ("principals", &s.principals),
        ("notPrincipals", &s.not_principals),
        ("requestPrincipals", &s.request_principals),
        ("notRequestPrincipals", &s.not_request_principals),
        ("namespaces", &s.namespaces),
        ("notNamespaces", &s.not_namespaces),
        ("serviceAccounts", &s.service_accounts),
        ("notServiceAccounts", &s.not_service_accounts),
        ("trustDomains", &s.trust_domains),
        ("notTrustDomains", &s.not_trust_domains),
        ("ipBlocks", &s.ip_blocks),
        ("notIpBlocks", &s.not_ip_blocks),
        ("remoteIpBlocks", &s.remote_ip_blocks),
        ("notRemoteIpBlocks", &s.not_remote_ip_blocks),
    ] {
        let path = format!("{path}.source.{name}");
        for value in list {
            if value.is_empty() {
                v.error(&path, "an empty value matches nothing");
            } else if name.to_ascii_lowercase().ends_with("ipblocks") && !is_network(value) {
                v.error(&path, format!("`{value}` is not an address or a network"));
            } else if name.to_ascii_lowercase().ends_with("serviceaccounts")
                && (value.contains('*') || value.split('/').count() > 2 || value.split('/').any(str::is_empty))
            {
                v.error(&path, format!("`{value}` is not NAME or NAMESPACE/NAME"));
            }
        }
    }
    let accounts = !s.service_accounts.is_empty() || !s.not_service_accounts.is_empty();
    let others = [&s.principals, &s.not_principals, &s.namespaces, &s.not_namespaces];
    if accounts && others.iter().any(|l| !l.is_empty()) {
        v.error(path, "service accounts cannot be combined with principals or namespaces: they say it already");
    }
    if action == AuthorizationAction::Custom
        && (!s.request_principals.is_empty() || !s.not_request_principals.is_empty())
    {
        v.error(path, "a CUSTOM policy is asked before tokens are read, so it cannot ask for request principals");
    }
    if s.service_accounts.len() > 16 || s.not_service_accounts.len() > 16 {
        v.error(path, "at most 16 service accounts");
    }
}

fn operation(v: &mut Validation, path: &str, o: &Operation) {
    for (name, list) in [
        ("hosts", &o.hosts),
        ("notHosts", &o.not_hosts),
        ("ports", &o.ports),
        ("notPorts", &o.not_ports),
        ("methods", &o.methods),
        ("notMethods", &o.not_methods),
        ("paths", &o.paths),
        ("notPaths", &o.not_paths),
    ] {
        let path = format!("{path}.operation.{name}");
        for value in list {
            if value.is_empty() {
                v.error(&path, "an empty value matches nothing");
            } else if name.to_ascii_lowercase().ends_with("ports") && !matches!(value.parse::<u32>(), Ok(1..=65535)) {
                v.error(&path, format!("`{value}` is not a port"));
            } else if name.to_ascii_lowercase().ends_with("paths") && value.contains(['{', '}']) && !is_template(value)
            {
                v.error(
                    &path,
                    format!(
                        "`{value}` is not a path template: `{{*}}` and `{{**}}` stand for whole segments, and neither follows `{{**}}`"
                    ),
                );
            }
        }
    }
}

/// `/a/{*}/b/{**}`: operators are whole segments, none follows `{**}`, and what is no operator is plain path characters.
fn is_template(path: &str) -> bool {
    let plain =
        |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || "-._~%!$&'()+,;:@=".contains(c));
    let mut rest = false;
    path.starts_with('/')
        && path.trim_matches('/').split('/').all(|segment| match segment {
            "{*}" => !rest,
            "{**}" => !std::mem::replace(&mut rest, true),
            other => plain(other),
        })
}

const CONDITIONS: &[&str] = &[
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "source.trustDomain",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "destination.ip",
    "destination.port",
    "connection.sni",
];

fn condition(v: &mut Validation, path: &str, c: &Condition, action: AuthorizationAction) {
    let bracketed = |start: &str| {
        let inner = c.key.strip_prefix(start).and_then(|r| r.strip_prefix('[')).and_then(|r| r.strip_suffix(']'));
        inner.is_some_and(|i| !i.is_empty())
    };
    let known = CONDITIONS.contains(&c.key.as_str())
        || bracketed("request.headers")
        || bracketed("request.auth.claims")
        || (c.key.starts_with("experimental.envoy.filters.") && c.key.contains('[') && c.key.ends_with(']'));
    if !known {
        v.error(format!("{path}.key"), format!("`{}` is not an attribute that can be asked for", c.key));
    }
    if c.values.is_empty() && c.not_values.is_empty() {
        v.error(path, "a condition needs values or notValues");
    }
    if action == AuthorizationAction::Custom && c.key.starts_with("request.auth.") {
        v.error(
            format!("{path}.key"),
            "a CUSTOM policy is asked before tokens are read, so it cannot ask for what they say",
        );
    }
    for value in c.values.iter().chain(&c.not_values) {
        let ok = match c.key.as_str() {
            "source.ip" | "remote.ip" | "destination.ip" => is_network(value),
            "destination.port" => matches!(value.parse::<u32>(), Ok(1..=65535)),
            _ => !value.is_empty(),
        };
        if !ok {
            v.error(path, format!("`{value}` is not a value of {}", c.key));
        }
    }
}

/// Rules of `RequestAuthentication`.
pub(super) fn request_authentication(meta: &ObjectMeta, spec: &RequestAuthentication, v: &mut Validation) {
    selection(v, spec.selector.as_ref(), spec.target_ref.as_ref(), &spec.target_refs);
    if meta.annotations.contains_key("istio.io/dry-run") {
        v.error("metadata.annotations", "istio.io/dry-run is for AuthorizationPolicies; here it would have no effect");
    }
    for (i, rule) in spec.jwt_rules.iter().enumerate() {
        jwt_rule(v, &format!("spec.jwtRules[{i}]"), rule);
    }
}

fn jwt_rule(v: &mut Validation, path: &str, rule: &JwtRule) {
    if rule.issuer.is_empty() && rule.jwks_uri.is_empty() && rule.jwks.is_empty() {
        v.error(path, "a rule needs an issuer, or keys");
    }
    if rule.audiences.iter().any(String::is_empty) {
        v.error(format!("{path}.audiences"), "an audience is empty");
    }
    if !rule.jwks_uri.is_empty() {
        let rest = rule.jwks_uri.strip_prefix("https://").or_else(|| rule.jwks_uri.strip_prefix("http://"));
        let authority = rest.and_then(|r| r.split('/').next()).filter(|a| !a.is_empty());
        let port_ok = authority.is_some_and(|a| a.rsplit_once(':').is_none_or(|(_, p)| p.parse::<u16>().is_ok()));
        if !port_ok {
            v.error(format!("{path}.jwksUri"), format!("`{}` is not an http or https URL", rule.jwks_uri));
        }
        if !rule.jwks.is_empty() {
            v.error(path, "only one of jwks and jwksUri can be set");
        }
    }
    if !rule.jwks.is_empty() {
        match serde_json::from_str::<serde_json::Value>(&rule.jwks) {
            Err(_) => v.error(format!("{path}.jwks"), "the key set is not JSON"),
            Ok(keys) => {
                let private = |k: &serde_json::Value| ["d", "p", "q", "k"].iter().any(|m| k.get(m).is_some());
                if keys.get("keys").and_then(|k| k.as_array()).is_some_and(|k| k.iter().any(private)) {
                    v.warn(
                        format!("{path}.jwks"),
                        "the key set holds a private key: whoever reads this object can make tokens",
                    );
                }
            }
        }
    }
    for header in &rule.from_headers {
        if header.name.is_empty() {
            v.error(format!("{path}.fromHeaders"), "a header has no name");
        }
    }
    for (name, list) in [("fromParams", &rule.from_params), ("fromCookies", &rule.from_cookies)] {
        if list.iter().any(String::is_empty) {
            v.error(format!("{path}.{name}"), "a name is empty");
        }
    }
    for out in &rule.output_claim_to_headers {
        if out.claim.is_empty() {
            v.error(format!("{path}.outputClaimToHeaders"), "a claim has no name");
        }
        if out.header.contains('%') {
            v.error(format!("{path}.outputClaimToHeaders"), format!("`{}` is not a header name", out.header));
        }
        header_name(v, &format!("{path}.outputClaimToHeaders"), &out.header);
    }
}
