//! Which crate may depend on which. An arrow that is not drawn here, directly or by way of others, is a mistake in the
//! crate or a decision to be made here and in ARCHITECTURE.md.

use super::metadata::Metadata;
use std::collections::{BTreeMap, BTreeSet};

const ARROWS: [(&str, &[&str]); 19] = [
    ("api", &[]),
    ("identity", &[]),
    ("promql", &[]),
    ("proto", &[]),
    ("sys", &[]),
    ("engine", &["identity"]),
    // The outcomes and flags that it counts and prints are the engine's words.
    ("telemetry", &["engine"]),
    ("pilot", &["api", "engine", "identity"]),
    ("analyze", &["api", "engine", "pilot"]),
    ("xds", &["proto", "engine", "identity", "telemetry"]),
    ("proxy", &["engine", "xds", "identity", "sys", "telemetry", "proto"]),
    ("apiserver", &["api", "telemetry"]),
    ("kubelet", &["api", "sys", "telemetry"]),
    ("controllers", &["api", "telemetry"]),
    ("control-plane", &["api", "pilot", "analyze", "xds", "identity", "proto", "telemetry"]),
    ("console", &["api", "engine", "pilot", "analyze", "promql", "proto", "telemetry"]),
    ("cli", &["apiserver", "kubelet", "controllers", "control-plane", "console", "proxy", "analyze", "sys"]),
    // Whatever reads foreign bytes.
    ("fuzz", &["apiserver", "console", "control-plane", "kubelet", "promql", "proxy"]),
    ("e2e", &["api", "engine", "pilot", "analyze", "apiserver", "promql", "xds", "control-plane", "console", "sys"]),
];

/// Packages that belong to no layer.
const OUTSIDE: [&str; 2] = ["xtask", "blog-was"];

pub(super) fn check(metadata: &Metadata) -> Vec<String> {
    let drawn: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let mut findings = Vec::new();
    for member in metadata.members.iter().filter(|member| !OUTSIDE.contains(&member.as_str())) {
        let Some(name) = member.strip_prefix("varka-").filter(|name| drawn.contains_key(name)) else {
            findings.push(format!("{member}: a crate that has no place in the picture (xtask/src/tidy/arrows.rs)"));
            continue;
        };
        let allowed = reachable(&drawn, name);
        let ours = metadata.direct(member).filter_map(|dependency| dependency.strip_prefix("varka-"));
        for dependency in ours.filter(|dependency| !allowed.contains(dependency)) {
            findings.push(format!(
                "varka-{name}: it depends on varka-{dependency}, an arrow that must not be; see ARCHITECTURE.md"
            ));
        }
    }
    for outside in OUTSIDE {
        for dependency in metadata.direct(outside).filter(|dependency| dependency.starts_with("varka-")) {
            findings.push(format!("{outside}: it depends on {dependency}, but stands outside of the product"));
        }
    }
    findings
}

/// Everything below a crate.
fn reachable<'a>(drawn: &BTreeMap<&'a str, &'a [&'a str]>, from: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = drawn.get(from).into_iter().flat_map(|arrows| arrows.iter().copied()).collect();
    while let Some(next) = open.pop() {
        if let Some((name, arrows)) = drawn.get_key_value(next)
            && found.insert(*name)
        {
            open.extend(arrows.iter().copied());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{ARROWS, reachable};
    use std::collections::BTreeMap;

    #[test]
    fn the_picture_has_no_circle_and_keeps_what_must_not_meet_apart() {
        let drawn: BTreeMap<_, _> = ARROWS.into_iter().collect();
        for (name, _) in ARROWS {
            assert!(!reachable(&drawn, name).contains(name), "{name} depends on itself");
            assert!(!reachable(&drawn, name).contains("cli"), "nothing depends on cli");
        }
        // The data plane never sees a VirtualService, and the controllers speak the Kubernetes API.
        for (from, to) in [("proxy", "api"), ("proxy", "pilot"), ("analyze", "xds"), ("controllers", "apiserver")] {
            assert!(!reachable(&drawn, from).contains(to), "{from} must not reach {to}");
        }
    }
}
