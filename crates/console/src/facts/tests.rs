use serde_json::json;

use super::{Seen, of};
use crate::world::{KINDS, World};

struct Never;

impl Seen for Never {
    fn workload(&self, _: &str, _: &str) -> Option<i64> {
        None
    }
    fn service(&self, _: &str, _: &str) -> Option<i64> {
        Some(7)
    }
}

fn world(objects: &[serde_json::Value]) -> World {
    let world = World::default();
    for object in objects {
        let version = object["apiVersion"].as_str().unwrap();
        let (group, _) = version.split_once('/').unwrap_or(("", version));
        let kind = KINDS.into_iter().find(|k| k.group == group && object["kind"] == k.kind).unwrap();
        world.put(kind, object.clone());
    }
    world
}

#[test]
fn pods_count_to_the_workload_that_metrics_name() {
    let pod = |name: &str, owner: serde_json::Value, sidecar: bool| {
        let containers = if sidecar { json!([{"name": "istio-proxy"}]) } else { json!([]) };
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "b", "labels": {"app": "web", "pod-template-hash": "5d"}, "ownerReferences": owner},
               "spec": {"containers": [{"name": "web"}], "initContainers": containers}, "status": {"podIPs": [{"ip": "10.0.0.1"}], "phase": "Running"}})
    };
    let set = json!([{"kind": "ReplicaSet", "name": "web-v1-5d", "controller": true}]);
    let facts = of(
        &world(&[
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web-v1", "namespace": "b"}, "spec": {"replicas": 2, "template": {"metadata": {"labels": {"app": "web"}}}}, "status": {"replicas": 2, "availableReplicas": 1}}),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "off", "namespace": "b"}, "spec": {"replicas": 0}}),
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web-v1-5d", "namespace": "b", "ownerReferences": [{"kind": "Deployment", "name": "web-v1", "controller": true}]}}),
            pod("web-v1-5d-x", set.clone(), true),
            pod("web-v1-5d-y", set, true),
            pod("lost-5d-z", json!([{"kind": "ReplicaSet", "name": "lost-5d", "controller": true}]), true),
            pod("mysql-0", json!([{"kind": "StatefulSet", "name": "mysql", "controller": true}]), false),
            pod("curl", json!([]), false),
        ]),
        "Kubernetes",
        "cluster.local",
        &Never,
    );
    let workloads: Vec<_> =
        facts.workloads.iter().map(|w| (w.name.as_str(), w.pods.len(), w.sidecar, w.is_scaled_to_zero())).collect();
    assert_eq!(
        workloads,
        [
            ("curl", 1, false, false),
            ("lost", 1, true, false),
            ("mysql", 1, false, false),
            ("off", 0, false, true),
            ("web-v1", 2, true, false)
        ]
    );
    let web = facts.workloads.iter().find(|w| w.name == "web-v1").unwrap();
    assert_eq!(web.replicas.map(|r| (r.desired, r.available)), Some((2, 1)));
    assert_eq!(web.pods[0].addresses, ["10.0.0.1"]);
}

#[test]
fn what_istio_was_told_becomes_badges() {
    let meta = json!({"name": "x", "namespace": "b"});
    let facts = of(
        &world(&[
            json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"clusterIPs": ["10.96.0.1"], "ports": [{"name": "http", "port": 80}], "selector": {"app": "web"}}}),
            json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta, "spec": {"hosts": ["x"], "http": [
            {"timeout": "1s", "fault": {}, "route": [{"destination": {"host": "x"}}, {"destination": {"host": "y"}}]}]}}),
            json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": meta, "spec": {"host": "x", "trafficPolicy": {"tls": {}}, "subsets": [
            {"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": {"outlierDetection": {}}}, {"name": "v2"}]}}),
            json!({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": meta, "spec": {"hosts": ["a.example"], "ports": [{"number": 443}]}}),
        ]),
        "Kubernetes",
        "cluster.local",
        &Never,
    );
    assert_eq!((facts.services[0].ports[0].number, facts.services[0].last_seen), (80, Some(7)));
    let vs = &facts.virtual_services[0];
    assert_eq!(
        (vs.request_timeout, vs.fault_injection, vs.traffic_shifting, vs.mirroring, vs.tcp_traffic_shifting),
        (true, true, true, false, false)
    );
    assert_eq!(vs.destinations, ["x", "y"]);
    let dr = &facts.destination_rules[0];
    assert_eq!((dr.circuit_breaker, dr.subsets_with_circuit_breaker.len()), (false, 1));
    assert_eq!((facts.service_entries[0].ports.as_slice(), facts.service_entries[0].internal), (&[443][..], false));
}
