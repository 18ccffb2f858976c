//! What a denied request lacked, in words.
//!
//! For each ALLOW policy the first condition that was not met, with what was asked and what was there. Only called for a request
//! that was denied, or by `explain`.

use std::fmt::Write as _;

use crate::facts::split_query;
use crate::ir::{HeaderMatch, HeaderMatcher, Permission, Principal, Rbac, StringMatch};

use super::{Decision, Subject, permission, principal};

/// One line for each policy that did not match: its name, and what kept it from matching.
pub fn missing(rules: &Rbac, subject: &Subject<'_>) -> Vec<String> {
    rules
        .policies
        .iter()
        .filter_map(|policy| {
            let why = match policy.permissions.as_slice() {
                [] => Some("it has no operation, so that it matches nothing".to_owned()),
                permissions if permissions.iter().any(|p| permission(p, subject)) => None,
                permissions => permissions.iter().find_map(|p| unmet_permission(p, subject)),
            };
            let why = why.or_else(|| match policy.principals.as_slice() {
                [] => Some("it has no source, so that it matches nothing".to_owned()),
                principals if principals.iter().any(|p| principal(p, subject)) => None,
                principals => principals.iter().find_map(|p| unmet_principal(p, subject)),
            })?;
            Some(format!("{}: {why}", policy.name))
        })
        .collect()
}

/// Why a request was denied, in one line: the policy that matched it, or what kept each of up to `most` from matching.
pub fn why_denied(rules: &Rbac, decision: &Decision<'_>, subject: &Subject<'_>, most: usize) -> String {
    if let Some(policy) = decision.policy {
        return format!("policy {policy} denies it");
    }
    let all = missing(rules, subject);
    if all.is_empty() {
        return "no ALLOW policy has a rule that could match it".to_owned();
    }
    let more = all.len().saturating_sub(most);
    let told = all.into_iter().take(most).collect::<Vec<_>>().join(" | ");
    let rest = if more > 0 { format!(" | and {more} more") } else { String::new() };
    format!("no ALLOW policy matches it: {told}{rest}")
}

/// The first part of `p` that does not hold; `None` when `p` holds.
fn unmet_permission(p: &Permission, s: &Subject<'_>) -> Option<String> {
    if permission(p, s) {
        return None;
    }
    let is = |text: &str, asked: String| Some(format!("{text}, asked for is {asked}"));
    match p {
        Permission::Any => None,
        Permission::And(all) => all.iter().find_map(|p| unmet_permission(p, s)),
        Permission::Or(any) => alternatives(any.iter().filter_map(|p| unmet_permission(p, s))),
        Permission::Not(not) => Some(format!("{} is excluded", describe_permission(not))),
        Permission::Header(h) => is(&header_is(&h.name, s), describe_header(h)),
        Permission::Path(want) => is(&path_is(s), describe(want)),
        Permission::Template(want) => is(&path_is(s), format!("{want:?}")),
        Permission::DestinationIp(net) => {
            is(&format!("the destination is {}", s.connection.original_dst.ip()), net.to_string())
        }
        Permission::DestinationPort(port) => {
            is(&format!("the destination port is {}", s.connection.original_dst.port()), port.to_string())
        }
        Permission::ServerName(want) => {
            is(&format!("the server name is {:?}", s.connection.sni.unwrap_or_default()), describe(want))
        }
        Permission::Metadata { filter, path, value } => is(&metadata_is(filter, path, s), describe(value)),
    }
}

fn unmet_principal(p: &Principal, s: &Subject<'_>) -> Option<String> {
    if principal(p, s) {
        return None;
    }
    let is = |text: &str, asked: String| Some(format!("{text}, asked for is {asked}"));
    match p {
        Principal::Any => None,
        Principal::And(all) => all.iter().find_map(|p| unmet_principal(p, s)),
        Principal::Or(any) => alternatives(any.iter().filter_map(|p| unmet_principal(p, s))),
        Principal::Not(not) => Some(format!("{} is excluded", describe_principal(not))),
        Principal::Authenticated(want) => {
            let asked = want.as_ref().map_or_else(|| "any identity".to_owned(), describe);
            match s.connection.peer_identity {
                None => is(
                    "the caller showed no certificate (plain text, or TLS without one) and so has no identity",
                    asked,
                ),
                Some(peer) => is(&format!("the caller is {:?}", peer.uri().unwrap_or_default()), asked),
            }
        }
        Principal::DirectRemoteIp(net) => {
            is(&format!("the peer's address is {}", s.connection.peer.ip()), net.to_string())
        }
        Principal::RemoteIp(net) => {
            let ip = s.request.map_or(s.connection.peer.ip(), |r| r.remote_ip());
            is(&format!("the client's address is {ip}"), net.to_string())
        }
        Principal::Header(h) => is(&header_is(&h.name, s), describe_header(h)),
        Principal::Metadata { filter, path, value } => is(&metadata_is(filter, path, s), describe(value)),
    }
}

fn alternatives(all: impl Iterator<Item = String>) -> Option<String> {
    let all: Vec<String> = all.collect();
    if all.is_empty() { Some("it has no alternative".to_owned()) } else { Some(all.join("; or ")) }
}

fn path_is(s: &Subject<'_>) -> String {
    match s.request {
        Some(r) => format!("the path is {:?}", split_query(r.path).0),
        None => "a TCP connection has no path".to_owned(),
    }
}

fn header_is(name: &str, s: &Subject<'_>) -> String {
    let Some(request) = s.request else { return format!("a TCP connection has no {name}") };
    let mut text = String::new();
    let found = request.any_line(name, |line| {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}{:?}", String::from_utf8_lossy(line));
        false
    });
    match found {
        Some(_) if is_shown(name) => format!("{name} is {text}"),
        Some(_) => format!("header {name} is another"),
        None => format!("there is no {name}"),
    }
}

/// What a header holds may be a credential, and so may what is asked of it: both are named, never shown.
fn is_shown(header: &str) -> bool {
    header.starts_with(':') || header == "host"
}

fn metadata_is(filter: &str, path: &[crate::ir::Str], s: &Subject<'_>) -> String {
    let name = path.join(".");
    match s.request.and_then(|r| r.metadata.get(filter, path)) {
        // Claims are about people, who need not be in a log.
        Some(_) => format!("{name} of {filter} is another"),
        None => format!("{filter} found no {name} (no valid token?)"),
    }
}

fn describe(want: &StringMatch) -> String {
    match want {
        StringMatch::Exact { value, .. } => format!("{value:?}"),
        StringMatch::Prefix { value, .. } => format!("{:?}", format!("{value}*")),
        StringMatch::Suffix { value, .. } => format!("{:?}", format!("*{value}")),
        StringMatch::Contains { value, .. } => format!("{:?}", format!("*{value}*")),
        StringMatch::Regex(regex) => format!("a match of {}", regex.source()),
    }
}

fn describe_header(h: &HeaderMatcher) -> String {
    let not = if h.invert { "not " } else { "" };
    match &h.matches {
        HeaderMatch::Present(true) => format!("{not}any {}", h.name),
        HeaderMatch::Present(false) => format!("{not}no {}", h.name),
        HeaderMatch::Value(want) if is_shown(&h.name) => format!("{not}{}", describe(want)),
        HeaderMatch::Value(_) => format!("{not}what the policy says"),
        HeaderMatch::Range { start, end } => format!("{not}a number from {start} to {end} (not included)"),
    }
}

fn describe_permission(p: &Permission) -> String {
    match p {
        Permission::Any => "everything".to_owned(),
        Permission::And(all) => join(all.iter().map(describe_permission), " and "),
        Permission::Or(any) => join(any.iter().map(describe_permission), " or "),
        Permission::Not(not) => format!("all but {}", describe_permission(not)),
        Permission::Header(h) => format!("{} {}", h.name, describe_header(h)),
        Permission::Path(want) => format!("path {}", describe(want)),
        Permission::Template(want) => format!("path {want:?}"),
        Permission::DestinationIp(net) => format!("destination {net}"),
        Permission::DestinationPort(port) => format!("destination port {port}"),
        Permission::ServerName(want) => format!("server name {}", describe(want)),
        Permission::Metadata { path, value, .. } => format!("{} {}", path.join("."), describe(value)),
    }
}

fn describe_principal(p: &Principal) -> String {
    match p {
        Principal::Any => "everyone".to_owned(),
        Principal::And(all) => join(all.iter().map(describe_principal), " and "),
        Principal::Or(any) => join(any.iter().map(describe_principal), " or "),
        Principal::Not(not) => format!("all but {}", describe_principal(not)),
        Principal::Authenticated(None) => "any identity".to_owned(),
        Principal::Authenticated(Some(want)) => format!("identity {}", describe(want)),
        Principal::DirectRemoteIp(net) => format!("peer address {net}"),
        Principal::RemoteIp(net) => format!("client address {net}"),
        Principal::Header(h) => format!("{} {}", h.name, describe_header(h)),
        Principal::Metadata { path, value, .. } => format!("{} {}", path.join("."), describe(value)),
    }
}

fn join(parts: impl Iterator<Item = String>, with: &str) -> String {
    parts.collect::<Vec<_>>().join(with)
}
