//! One rule of an AuthorizationPolicy as permissions (what is asked) and principals (who asks).
//!
//! Where a field cannot be told on this kind of port (HTTP fields on TCP), an ALLOW rule is left out and a DENY rule becomes
//! wider: the safe side in both cases.

use std::net::IpAddr;

use ipnet::IpNet;
use varka_api::istio::{Operation, Rule, Source};
use varka_engine::ir::{HeaderMatch, HeaderMatcher, PathMatch, Permission, Principal, Regex, Str, StringMatch};

use crate::context::s;

/// What a rule is compiled for.
pub(super) struct Aim<'a> {
    pub(super) tcp: bool,
    pub(super) allow: bool,
    /// Namespace of the policy.
    pub(super) namespace: &'a str,
    pub(super) trust_domain: &'a str,
    pub(super) aliases: &'a [String],
}

type Made<T> = Result<T, String>;

/// Alternatives of what is asked, and of who asks; one of each must match.
pub(super) fn policy(rule: &Rule, aim: &Aim<'_>) -> Made<(Vec<Permission>, Vec<Principal>)> {
    let mut when_permissions = Vec::new();
    let mut when_principals = Vec::new();
    for c in &rule.when {
        if is_permission(&c.key) {
            values(
                aim,
                &c.values,
                &c.not_values,
                &mut when_permissions,
                |v| condition_permission(&c.key, v),
                Permission::Or,
                |p| Permission::Not(Box::new(p)),
            )?;
        } else {
            when_principals.append(&mut condition(aim, &c.key, &c.values, &c.not_values)?);
        }
    }
    let no_operation = [varka_api::istio::To::default()];
    let to = if rule.to.is_empty() { no_operation.as_slice() } else { &rule.to };
    let mut permissions = Vec::new();
    for t in to {
        let mut all = t.operation.as_ref().map_or(Ok(Vec::new()), |o| operation(aim, o))?;
        all.extend(when_permissions.iter().cloned());
        if all.is_empty() {
            all.push(Permission::Any);
        }
        permissions.push(Permission::And(all));
    }
    let no_source = [varka_api::istio::From::default()];
    let from = if rule.from.is_empty() { no_source.as_slice() } else { &rule.from };
    let mut principals = Vec::new();
    for f in from {
        let mut all = f.source.as_ref().map_or(Ok(Vec::new()), |x| source(aim, x))?;
        all.extend(when_principals.iter().cloned());
        if all.is_empty() {
            all.push(Principal::Any);
        }
        principals.push(Principal::And(all));
    }
    Ok((permissions, principals))
}

/// One of `yes`, and none of `no`.
fn values<T>(
    aim: &Aim<'_>,
    yes: &[String],
    no: &[String],
    out: &mut Vec<T>,
    make: impl Fn(&str) -> Made<T>,
    or: impl Fn(Vec<T>) -> T,
    not: impl Fn(T) -> T,
) -> Made<()> {
    for (list, negated) in [(yes, false), (no, true)] {
        let mut any = Vec::new();
        for value in list {
            match make(value) {
                Ok(one) => any.push(one),
                Err(reason) if aim.allow => return Err(reason),
                Err(_) => {}
            }
        }
        if !any.is_empty() {
            out.push(if negated { not(or(any)) } else { or(any) });
        }
    }
    Ok(())
}

fn not_permission(p: Permission) -> Permission {
    Permission::Not(Box::new(p))
}

fn not_principal(p: Principal) -> Principal {
    Principal::Not(Box::new(p))
}

fn operation(aim: &Aim<'_>, o: &Operation) -> Made<Vec<Permission>> {
    let mut all = Vec::new();
    let http = |made: Permission| {
        if aim.tcp { Err("it asks for HTTP fields, which a TCP port does not have".to_owned()) } else { Ok(made) }
    };
    let host = |v: &str| http(Permission::Header(header(":authority", text_match(v, true))));
    values(aim, &o.hosts, &o.not_hosts, &mut all, host, Permission::Or, not_permission)?;
    let method = |v: &str| http(Permission::Header(header(":method", text_match(v, false))));
    values(aim, &o.methods, &o.not_methods, &mut all, method, Permission::Or, not_permission)?;
    let path = |v: &str| {
        http(if v.contains("{*}") || v.contains("{**}") {
            Permission::Template(PathMatch::Template(s(v)))
        } else {
            Permission::Path(match text_match(v, false) {
                HeaderMatch::Value(m) => m,
                _ => any_text()?,
            })
        })
    };
    values(aim, &o.paths, &o.not_paths, &mut all, path, Permission::Or, not_permission)?;
    let port = |v: &str| port(v).map(Permission::DestinationPort);
    values(aim, &o.ports, &o.not_ports, &mut all, port, Permission::Or, not_permission)?;
    Ok(all)
}

fn source(aim: &Aim<'_>, x: &Source) -> Made<Vec<Principal>> {
    let mut all = condition(aim, "source.principal", &x.principals, &x.not_principals)?;
    for (key, yes, no) in [
        ("request.auth.principal", &x.request_principals, &x.not_request_principals),
        ("source.serviceAccount", &x.service_accounts, &x.not_service_accounts),
        ("source.trustDomain", &x.trust_domains, &x.not_trust_domains),
        ("source.namespace", &x.namespaces, &x.not_namespaces),
        ("remote.ip", &x.remote_ip_blocks, &x.not_remote_ip_blocks),
        ("source.ip", &x.ip_blocks, &x.not_ip_blocks),
    ] {
        all.append(&mut condition(aim, key, yes, no)?);
    }
    Ok(all)
}

fn is_permission(key: &str) -> bool {
    matches!(key, "destination.ip" | "destination.port" | "connection.sni")
        || key.starts_with("experimental.envoy.filters.")
}

fn condition_permission(key: &str, value: &str) -> Made<Permission> {
    match key {
        "destination.ip" => cidr(value).map(Permission::DestinationIp),
        "destination.port" => port(value).map(Permission::DestinationPort),
        "connection.sni" => Ok(Permission::ServerName(simple_match(value))),
        _ => {
            let inner = key.strip_prefix("experimental.").unwrap_or(key);
            let (filter, name) = inner
                .strip_suffix(']')
                .and_then(|k| k.split_once('['))
                .ok_or_else(|| format!("`{key}` is not FILTER[KEY]"))?;
            let value = value.strip_prefix('[').and_then(|v| v.strip_suffix(']')).unwrap_or(value);
            Ok(Permission::Metadata { filter: s(filter), path: vec![s(name)], value: simple_match(value) })
        }
    }
}

/// A condition on who asks.
fn condition(aim: &Aim<'_>, key: &str, yes: &[String], no: &[String]) -> Made<Vec<Principal>> {
    let mut all = Vec::new();
    let (yes, no): (Vec<String>, Vec<String>) = match key {
        "source.principal" => (with_aliases(aim, yes), with_aliases(aim, no)),
        "source.trustDomain" => (with_domain_aliases(aim, yes), with_domain_aliases(aim, no)),
        _ => (yes.to_vec(), no.to_vec()),
    };
    values(aim, &yes, &no, &mut all, |v| principal(aim, key, v), Principal::Or, not_principal)?;
    Ok(all)
}

fn principal(aim: &Aim<'_>, key: &str, value: &str) -> Made<Principal> {
    let identity = |m: StringMatch| Ok(Principal::Authenticated(Some(m)));
    let claims = |path: Vec<Str>, value: StringMatch| Principal::Metadata {
        filter: s("envoy.filters.http.jwt_authn"),
        path,
        value,
    };
    if aim.tcp && key.starts_with("request.") {
        return Err("it asks for HTTP fields, which a TCP port does not have".to_owned());
    }
    match key {
        "source.principal" => identity(prefixed_match(value, "spiffe://")?),
        "source.namespace" => identity(regex(&format!(".*/ns/{}/.*", glob(value, ".*")))?),
        "source.serviceAccount" => {
            let (namespace, account) = value.split_once('/').unwrap_or((aim.namespace, value));
            let (namespace, account) = (regex_escape(namespace), regex_escape(account));
            identity(regex(&format!("spiffe://.+/ns/{namespace}/(.+/|)sa/{account}(/.+)?"))?)
        }
        "source.trustDomain" if value == "*" => identity(prefix("spiffe://")),
        "source.trustDomain" if !value.contains('*') => identity(prefix(&format!("spiffe://{value}/"))),
        "source.trustDomain" => identity(regex(&format!("spiffe://{}/.*", glob(value, "[^/]*")))?),
        "source.ip" => cidr(value).map(Principal::DirectRemoteIp),
        "remote.ip" => cidr(value).map(Principal::RemoteIp),
        "request.auth.principal" => {
            let (issuer, subject) = token_principal(value)?;
            Ok(Principal::And(vec![
                claims(vec![s("payload"), s("iss")], issuer),
                claims(vec![s("payload"), s("sub")], subject),
            ]))
        }
        "request.auth.audiences" => Ok(claims(vec![s("payload"), s("aud")], simple_match(value))),
        "request.auth.presenter" => Ok(claims(vec![s("payload"), s("azp")], simple_match(value))),
        _ => bracketed(key, value, claims),
    }
}

/// `request.headers[NAME]` and `request.auth.claims[A][B]`.
fn bracketed(key: &str, value: &str, claims: impl Fn(Vec<Str>, StringMatch) -> Principal) -> Made<Principal> {
    let names = |rest: &str| -> Option<Vec<Str>> {
        let inner = rest.strip_prefix('[')?.strip_suffix(']')?;
        Some(inner.split("][").map(s).collect())
    };
    if let Some(rest) = key.strip_prefix("request.headers") {
        let name = names(rest)
            .and_then(|n| n.first().cloned())
            .ok_or_else(|| format!("`{key}` is not request.headers[NAME]"))?;
        return Ok(Principal::Header(header(&name, text_match(value, false))));
    }
    if let Some(rest) = key.strip_prefix("request.auth.claims") {
        let mut path = vec![s("payload")];
        path.extend(names(rest).ok_or_else(|| format!("`{key}` is not request.auth.claims[NAME]"))?);
        return Ok(claims(path, simple_match(value)));
    }
    Err(format!("`{key}` is not an attribute that can be asked for"))
}

/// Issuer and subject, parted at the last slash; either may have a wildcard at the outer end.
fn token_principal(value: &str) -> Made<(StringMatch, StringMatch)> {
    let (issuer, subject) = value.rsplit_once('/').map_or((value, None), |(i, t)| (i, Some(t)));
    Ok(match (value.strip_prefix('*'), value.strip_suffix('*'), subject) {
        _ if value == "*" => (any_text()?, any_text()?),
        (Some(_), _, Some(subject)) => {
            let issuer = if issuer == "*" { any_text()? } else { suffix(issuer.trim_start_matches('*')) };
            (issuer, exact(subject))
        }
        (Some(rest), _, None) => (any_text()?, suffix(rest)),
        (None, Some(_), Some(subject)) => {
            let subject = if subject == "*" { any_text()? } else { prefix(subject.trim_end_matches('*')) };
            (exact(issuer), subject)
        }
        (None, Some(rest), None) => (prefix(rest), any_text()?),
        (None, None, subject) => (exact(issuer), exact(subject.unwrap_or_default())),
    })
}

/// Principals of our trust domain are also those of its aliases, and the other way round.
fn with_aliases(aim: &Aim<'_>, principals: &[String]) -> Vec<String> {
    let domains: Vec<&str> = std::iter::once(aim.trust_domain).chain(aim.aliases.iter().map(String::as_str)).collect();
    let mut out = Vec::new();
    for principal in principals {
        let Some((domain, rest)) = principal.split_once('/').filter(|(d, r)| *d != "*" && r.split('/').count() == 4)
        else {
            out.push(principal.clone());
            continue;
        };
        let means = |ours: &str| domain == ours || domain.strip_prefix('*').is_some_and(|end| ours.ends_with(end));
        if domain != "cluster.local" && !domains.iter().any(|d| means(d)) {
            out.push(principal.clone());
            continue;
        }
        let mut expanded: Vec<String> = Vec::new();
        for ours in &domains {
            let keeps = domain.starts_with('*') && means(ours);
            let one = if keeps { principal.clone() } else { format!("{ours}/{rest}") };
            if !expanded.contains(&one) {
                expanded.push(one);
            }
        }
        out.append(&mut expanded);
    }
    out
}

fn with_domain_aliases(aim: &Aim<'_>, values: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for value in values {
        let ours = value == aim.trust_domain || aim.aliases.contains(value);
        let all = if ours {
            std::iter::once(aim.trust_domain.to_owned()).chain(aim.aliases.iter().cloned()).collect()
        } else {
            vec![value.clone()]
        };
        for one in all {
            if !out.contains(&one) {
                out.push(one);
            }
        }
    }
    out
}

fn header(name: &str, matches: HeaderMatch) -> HeaderMatcher {
    HeaderMatcher { name: s(name.to_ascii_lowercase()), matches, invert: false, treat_missing_as_empty: false }
}

/// `*`: present; `prefix*`, `*suffix`, else equal.
fn text_match(value: &str, ignore_case: bool) -> HeaderMatch {
    if value == "*" {
        return HeaderMatch::Present(true);
    }
    HeaderMatch::Value(if let Some(end) = value.strip_prefix('*') {
        StringMatch::Suffix { value: s(end), ignore_case }
    } else if let Some(start) = value.strip_suffix('*') {
        StringMatch::Prefix { value: s(start), ignore_case }
    } else {
        StringMatch::Exact { value: s(value), ignore_case }
    })
}

/// As [`text_match`], where presence is `.+`.
fn simple_match(value: &str) -> StringMatch {
    match text_match(value, false) {
        HeaderMatch::Value(m) => m,
        _ => any_text().unwrap_or_else(|_| prefix("")),
    }
}

/// As [`simple_match`], with `scheme` in front of what is compared.
fn prefixed_match(value: &str, scheme: &str) -> Made<StringMatch> {
    Ok(if value == "*" {
        any_text()?
    } else if let Some(end) = value.strip_prefix('*') {
        regex(&format!("{scheme}.*{}", regex_escape(end)))?
    } else if let Some(start) = value.strip_suffix('*') {
        prefix(&format!("{scheme}{start}"))
    } else {
        exact(&format!("{scheme}{value}"))
    })
}

fn exact(value: &str) -> StringMatch {
    StringMatch::Exact { value: s(value), ignore_case: false }
}

fn prefix(value: &str) -> StringMatch {
    StringMatch::Prefix { value: s(value), ignore_case: false }
}

fn suffix(value: &str) -> StringMatch {
    StringMatch::Suffix { value: s(value), ignore_case: false }
}

fn any_text() -> Made<StringMatch> {
    regex(".+")
}

fn regex(source: &str) -> Made<StringMatch> {
    Regex::new(source).map(StringMatch::Regex).map_err(|e| format!("`{source}` is not a pattern: {e}"))
}

/// A pattern in which each `*` of `value` is `star` and the rest is literal.
fn glob(value: &str, star: &str) -> String {
    value.split('*').map(regex_escape).collect::<Vec<_>>().join(star)
}

/// Escapes what has a meaning outside brackets, and nothing else, so that the pattern reads as Istio writes it.
fn regex_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn port(value: &str) -> Made<u16> {
    value.parse().map_err(|_| format!("`{value}` is not a port"))
}

fn cidr(value: &str) -> Made<IpNet> {
    value
        .parse::<IpNet>()
        .or_else(|_| value.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("`{value}` is not an address or CIDR"))
}
