//! Whose proxies an object changes: those that are told something else with it than without.
//!
//! Nothing is guessed from names: what each proxy is told is compiled twice and compared. A policy of a namespace other than the
//! root cannot reach beyond it, so that others need not be looked at.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use varka_pilot::{Change, Kind as Compiled, compile_all};

use crate::explain::Mesh;
use crate::world::Kind;

/// So many workloads are looked at.
const MOST: usize = 300;

/// Namespaces and names of workloads, sorted.
pub(super) fn of(mesh: &Mesh, kind: &Kind, namespace: &str, name: &str) -> Vec<Value> {
    let Some(compiled) = Compiled::of(kind.group, kind.kind) else { return Vec::new() };
    let gone = Change::Delete { kind: compiled, namespace: namespace.into(), name: name.into() };
    let with = mesh.snapshot();
    let (without, changed) = with.apply([gone]);
    if changed.is_empty() {
        return Vec::new();
    }
    let local = is_of_namespace(kind, namespace);
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for (own, workload, key) in mesh.proxies() {
        if local && own != namespace || !seen.insert((own, workload)) || seen.len() > MOST {
            continue;
        }
        if compile_all(with, key).0 != compile_all(&without, key).0 {
            found.insert((own, workload));
        }
    }
    found.into_iter().map(|(namespace, name)| json!({"namespace": namespace, "name": name})).collect()
}

/// What is said of a namespace's workloads to them alone. (Clients everywhere are told what PeerAuthentication says of a server.)
fn is_of_namespace(kind: &Kind, namespace: &str) -> bool {
    let own = matches!(kind.kind, "AuthorizationPolicy" | "RequestAuthentication" | "Telemetry" | "Sidecar");
    own && namespace != "istio-system"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::tests::{blog, istio};
    use crate::world::KINDS;

    fn affected(kind: &str, name: &str, spec: Value) -> Vec<String> {
        let mesh = blog([istio(kind, name, spec)]);
        let kind = KINDS.iter().find(|k| k.kind == kind && k.group.ends_with(".istio.io")).unwrap();
        of(&mesh, kind, "blog", name).iter().map(|w| w["name"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn those_who_are_told_something_else_with_it() {
        let selector = json!({"matchLabels": {"app": "was"}});
        assert_eq!(affected("AuthorizationPolicy", "a", json!({"selector": selector, "rules": [{}]})), ["was"]);
        assert_eq!(affected("AuthorizationPolicy", "a", json!({"rules": [{}]})), ["was", "web"]);
        let subsets = json!([{"name": "v1", "labels": {"version": "v1"}}]);
        assert_eq!(affected("DestinationRule", "d", json!({"host": "was", "subsets": subsets})), ["was", "web"]);
        let elsewhere = json!({"hosts": ["nobody.example"], "gateways": ["none"], "http": []});
        assert_eq!(affected("VirtualService", "v", elsewhere), Vec::<String>::new());
    }
}
