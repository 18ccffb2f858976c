//! Forms that many kinds share: host names, ports, durations, exports, header names.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use super::Validation;
use crate::Duration;
use crate::istio::{PolicySelector, TargetRef};

/// A DNS label: letters, digits, hyphens, at most 63.
pub(super) fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A host name: labels with dots, underscores allowed as in the mesh's SNI names.
pub(super) fn is_fqdn(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    !text.is_empty()
        && text.len() <= 255
        && text.split('.').all(|l| {
            !l.is_empty()
                && l.len() <= 63
                && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
                && !l.starts_with('-')
                && !l.ends_with('-')
        })
}

/// A host name whose first label may be `*`, or begin with it (`*.suffix`, `*-a.suffix`, `*a.suffix`).
pub(super) fn is_wildcard_domain(text: &str) -> bool {
    match text.strip_prefix('*') {
        None => is_fqdn(text),
        Some("") => true,
        Some(rest) => is_fqdn(rest.strip_prefix(['.', '-']).unwrap_or(rest)),
    }
}

/// A wildcard for a part of a label: `*a.suffix`, `*-a.suffix`.
pub(super) fn is_partial_wildcard(text: &str) -> bool {
    text.strip_prefix('*').is_some_and(|rest| !rest.is_empty() && !rest.starts_with('.'))
}

/// An address or a network.
pub(super) fn is_network(text: &str) -> bool {
    match text.split_once('/') {
        None => text.parse::<IpAddr>().is_ok(),
        Some((address, length)) => {
            let Ok(address) = address.parse::<IpAddr>() else { return false };
            length.parse::<u8>().is_ok_and(|l| l <= if address.is_ipv4() { 32 } else { 128 })
        }
    }
}

/// A port from 1 to 65535.
pub(super) fn port(v: &mut Validation, path: &str, number: u32) {
    if !(1..=65535).contains(&number) {
        v.error(path, format!("port number {number} is not from 1 to 65535"));
    }
}

/// Whole milliseconds, at least one.
pub(super) fn duration(v: &mut Validation, path: &str, value: Option<Duration>) {
    let Some(value) = value else { return };
    if value.as_nanos() < 1_000_000 {
        v.error(path, format!("{value} is shorter than 1ms"));
    } else if value.as_nanos() % 1_000_000 != 0 {
        v.error(path, format!("{value} is finer than a millisecond"));
    }
}

/// As [`duration`], or zero for "off".
pub(super) fn duration_or_zero(v: &mut Validation, path: &str, value: Option<Duration>) {
    if value.is_some_and(|d| !d.is_zero()) {
        duration(v, path, value);
    }
}

/// From 0 to 100.
pub(super) fn percent(v: &mut Validation, path: &str, value: i64) {
    if !(0..=100).contains(&value) {
        v.error(path, format!("{value} is not a percentage from 0 to 100"));
    }
}

/// A name that a header may have.
pub(super) fn header_name(v: &mut Validation, path: &str, name: &str) {
    let plain = name.strip_prefix(':').unwrap_or(name);
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if plain.is_empty() || !plain.chars().all(token) {
        v.error(path, format!("`{name}` is not a header name"));
    }
}

/// A header value whose percent signs are operators (`%HOSTNAME%`) or doubled.
pub(super) fn header_value(v: &mut Validation, path: &str, value: &str) {
    let mut rest = value;
    while let Some(start) = rest.find('%') {
        let tail = rest.get(start + 1..).unwrap_or_default();
        if let Some(after) = tail.strip_prefix('%') {
            rest = after;
            continue;
        }
        let name =
            tail.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')).unwrap_or(tail.len());
        let after = tail.get(name..).unwrap_or_default();
        let end = match after.chars().next() {
            Some('%') if name > 0 => Some(name),
            Some('(') if name > 0 => after.find(")%").or_else(|| after.find("):")).map(|i| name + i + 1),
            _ => None,
        };
        let close = end.and_then(|e| tail.get(e..).and_then(|t| t.find('%')).map(|i| e + i + 1));
        match close.and_then(|c| tail.get(c..)) {
            Some(after) => rest = after,
            None => {
                v.error(path, format!("`{value}` has a percent sign that is no operator; write %% for a percent sign"));
                return;
            }
        }
    }
}

/// Labels of a selector: keys must be there, wildcards mean nothing.
pub(super) fn selector_labels(v: &mut Validation, path: &str, labels: &BTreeMap<String, String>) {
    for (key, value) in labels {
        if key.is_empty() {
            v.error(path, "a label without a key selects nothing");
        }
        if key.contains('*') || value.contains('*') {
            v.error(path, format!("`{key}: {value}`: wildcards are not allowed in selectors"));
        }
        label(v, path, key, value);
    }
}

/// A Kubernetes label.
pub(super) fn label(v: &mut Validation, path: &str, key: &str, value: &str) {
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    let word = |t: &str| {
        t.len() <= 63
            && t.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && t.starts_with(|c: char| c.is_ascii_alphanumeric())
            && t.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    if !key.is_empty() && !word(name) {
        v.error(path, format!("`{key}` is not a label key"));
    }
    if !value.is_empty() && !word(value) {
        v.error(path, format!("`{value}` is not a label value"));
    }
}

/// A policy's selector and targets: one or the other.
pub(super) fn selection(
    v: &mut Validation,
    selector: Option<&PolicySelector>,
    target: Option<&TargetRef>,
    target_refs: &[TargetRef],
) {
    if let Some(selector) = selector {
        selector_labels(v, "spec.selector.matchLabels", &selector.match_labels);
        if selector.match_labels.is_empty() {
            v.warn("spec.selector", "the selector is empty, so it is for every workload of the namespace");
        }
    }
    if target.is_some() && !target_refs.is_empty() {
        v.error("spec.targetRefs", "only one of targetRef and targetRefs can be set");
    }
    if selector.is_some() && (target.is_some() || !target_refs.is_empty()) {
        v.error("spec.selector", "only one of targetRefs or workloadSelector can be set");
    }
    if let Some(target) = target {
        target_ref(v, "spec.targetRef", target);
    }
    targets(v, "spec.targetRefs", target_refs);
}

/// What a policy is attached to.
pub(super) fn targets(v: &mut Validation, path: &str, list: &[TargetRef]) {
    if list.len() > 16 {
        v.error(path, "a policy has at most 16 targets");
    }
    for (i, target) in list.iter().enumerate() {
        target_ref(v, &format!("{path}[{i}]"), target);
    }
}

fn target_ref(v: &mut Validation, path: &str, t: &TargetRef) {
    if t.name.is_empty() {
        v.error(format!("{path}.name"), "the target has no name");
    }
    if !t.namespace.is_empty() {
        v.error(format!("{path}.namespace"), "a target is in the policy's own namespace; leave it out");
    }
    let known = [
        ("gateway.networking.k8s.io", "Gateway"),
        ("gateway.networking.k8s.io", "GatewayClass"),
        ("", "Service"),
        ("core", "Service"),
        ("networking.istio.io", "ServiceEntry"),
    ];
    if !known.contains(&(t.group.as_str(), t.kind.as_str())) {
        v.error(path, format!("a policy cannot be attached to {}", format!("{} {}", t.group, t.kind).trim()));
    }
}

/// `exportTo`: `*`, `.`, `~` for ServiceEntries, or namespaces, each once.
pub(super) fn export_to(v: &mut Validation, namespace: &str, list: &[String], is_entry: bool, only_own: bool) {
    let path = "spec.exportTo";
    let mut seen = HashSet::new();
    for entry in list {
        if !seen.insert(entry) {
            v.error(path, format!("`{entry}` is there twice"));
        }
        match entry.as_str() {
            "*" | "." => {}
            "~" if is_entry => {}
            name if is_label(name) => {}
            other if is_entry => v.error(path, format!("`{other}` is neither `*`, `.`, `~` nor a namespace")),
            other => v.error(path, format!("`{other}` is neither `*`, `.` nor a namespace")),
        }
    }
    if only_own && list.iter().any(|e| e != "." && e != namespace) {
        v.error(path, "a rule with a workloadSelector applies in its own namespace only: exportTo can be `.` alone");
    }
    if is_entry && list.iter().any(|e| e == "~") && list.len() > 1 {
        v.error(path, "`~` stands alone");
    }
    if list.iter().any(|e| e == "*") && list.len() > 1 {
        v.error(path, "`*` stands alone");
    }
}
