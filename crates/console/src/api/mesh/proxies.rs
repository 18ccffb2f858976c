//! Every proxy: whether it holds the newest configuration, and what it is.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Value, json};
use varka_telemetry::graph::Facts;

use super::{Measured, PodName, text};
use crate::graph::Source;
use crate::store::Millis;

/// A proxy as the control plane tells of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Synced {
    namespace: String,
    pod: String,
    version: String,
    synced: bool,
    nacks: Vec<Nack>,
    connected_at: String,
}

#[derive(Debug, Deserialize)]
struct Nack {
    kind: String,
    name: String,
    message: String,
}

impl Synced {
    /// Of the newest snapshot that it holds.
    pub(super) fn number(&self) -> Option<u64> {
        self.version.parse().ok()
    }
}

/// Those that are connected, and pods that have a proxy which is not.
pub(super) fn all(source: &Source, connected: &[Synced], measured: &Measured, at: Millis) -> Vec<Value> {
    let facts = source.facts();
    let mut seen: HashSet<PodName> = HashSet::new();
    let mut found = Vec::new();
    // One that came back is told of twice for a moment: the newer connection counts.
    for synced in connected.iter().rev() {
        let name = (synced.namespace.clone(), synced.pod.clone());
        if seen.insert(name.clone()) {
            let sync = match (synced.nacks.is_empty(), synced.synced) {
                (false, _) => "rejected",
                (true, true) => "synced",
                (true, false) => "stale",
            };
            let since = synced.connected_at.parse::<jiff::Timestamp>().map_or(0, |time| time.as_second());
            let errors = synced.nacks.iter().map(|nack| format!("{} {}: {}", nack.kind, nack.name, nack.message));
            let state = (sync, synced.version.as_str(), since, errors.collect::<Vec<_>>().join("; "));
            found.push(one(&facts, measured, at, &name, state));
        }
    }
    for pod in source.world.of("", "Pod") {
        let name = (text(&pod, "/metadata/namespace").to_owned(), text(&pod, "/metadata/name").to_owned());
        let ended = matches!(text(&pod, "/status/phase"), "Succeeded" | "Failed" | "Pending");
        if has_proxy(&pod) && !ended && seen.insert(name.clone()) {
            found.push(one(&facts, measured, at, &name, ("lost", "", 0, String::new())));
        }
    }
    found.sort_by_key(|proxy| {
        let field = |name: &str| proxy.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        (field("namespace"), field("pod"))
    });
    found
}

fn has_proxy(pod: &Value) -> bool {
    let list = |path: &str| pod.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default();
    let is_proxy = |container: &Value| {
        let first = |at: usize| container.pointer(&format!("/args/{at}")).and_then(Value::as_str);
        text(container, "/name") == "istio-proxy" || (first(0), first(1)) == (Some("proxy"), Some("router"))
    };
    list("/spec/containers").iter().chain(&list("/spec/initContainers")).any(is_proxy)
}

type State<'a> = (&'a str, &'a str, i64, String);

fn one(
    facts: &Facts,
    measured: &Measured,
    at: Millis,
    name: &PodName,
    (sync, revision, since, error): State<'_>,
) -> Value {
    let own = facts.workloads.iter().find(|w| w.namespace == name.0 && w.pods.iter().any(|pod| pod.name == name.1));
    // The workload's own is what peers see.
    let left = measured.certificates.get(name).and_then(|own| own.get("default"));
    #[expect(clippy::cast_possible_truncation, reason = "seconds until a certificate ends")]
    let expires = left.map_or(0, |left| at.div_euclid(1000) + *left as i64);
    json!({
        "namespace": name.0, "pod": name.1, "workload": own.map_or(name.1.as_str(), |w| w.name.as_str()),
        "version": measured.versions.get(name).map_or("", String::as_str),
        "sync": sync, "revision": revision, "since": since, "error": error,
        "certificateExpires": expires, "memory": measured.memory.get(name).copied().unwrap_or(0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_known_by_its_arguments() {
        let router = json!({"spec": {"containers": [{"name": "x", "args": ["proxy", "router", "--domain"]}]}});
        let sidecar = json!({"spec": {"containers": [{"name": "x"}], "initContainers": [{"name": "istio-proxy"}]}});
        let none = json!({"spec": {"containers": [{"name": "x", "args": ["proxy"]}]}});
        assert_eq!([&router, &sidecar, &none].map(has_proxy), [true, true, false]);
    }
}
