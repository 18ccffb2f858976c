mod speed;

use serde_json::{Value, json};

use super::*;
use crate::explain::{From, Mesh, Thought, To, render, thought};
use crate::store::Store;
use crate::store::tests::forever;
use crate::world::{KINDS, Kind, World};

fn kind(object: &Value) -> Kind {
    let api = object["apiVersion"].as_str().unwrap();
    let group = api.rsplit_once('/').map_or("", |(group, _)| group);
    *KINDS.iter().find(|k| k.group == group && object["kind"] == k.kind).unwrap()
}

/// With what an API server adds, and changes now and then.
fn whole(mut object: Value, moment: usize) -> Value {
    object["metadata"]["uid"] = "0b8a".into();
    object["metadata"]["resourceVersion"] = moment.to_string().into();
    object["metadata"]["managedFields"] = json!([{"manager": "kubelet", "time": moment.to_string()}]);
    if object["kind"] == "Pod" {
        object["metadata"]["annotations"] = json!({
            "sidecar.istio.io/status": "{\"initContainers\":[\"istio-init\"]}", "kubectl.kubernetes.io/restartedAt": "2026",
            "traffic.sidecar.istio.io/excludeOutboundPorts": "3306",
        });
        object["spec"]["nodeName"] = "node-1".into();
        object["spec"]["volumes"] = json!([{"name": "token", "projected": {}}]);
        object["status"]["conditions"][0]["lastProbeTime"] = moment.to_string().into();
        object["status"]["containerStatuses"] = json!([{"name": "web", "restartCount": moment, "ready": true}]);
    }
    object
}

fn objects(moment: usize) -> Vec<Value> {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1", "labels": {"topology.kubernetes.io/zone": "a"}},
                      "status": {"conditions": [{"type": "Ready", "lastHeartbeatTime": moment.to_string()}]}});
    let entry = json!({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"namespace": "blog", "name": "api"},
                       "spec": {"hosts": ["api.example.com"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], "resolution": "DNS"},
                       "status": {"addresses": [{"host": "api.example.com", "value": "240.240.0.7"}], "conditions": [{"type": "x"}]}});
    let mesh = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "istio-system", "name": "istio"},
                      "data": {"mesh": "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"}});
    let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "blog", "name": "shop"},
                     "spec": {"replicas": 2}, "status": {"replicas": 2, "availableReplicas": 1, "observedGeneration": moment}});
    let all = crate::explain::tests::objects().into_iter().chain([node, entry, mesh, web]);
    all.map(|object| whole(object, moment)).collect()
}

struct Never;

impl crate::facts::Seen for Never {
    fn workload(&self, _: &str, _: &str) -> Option<i64> {
        None
    }
    fn service(&self, _: &str, _: &str) -> Option<i64> {
        None
    }
}

fn asked(mesh: &Mesh, host: &str) -> String {
    let (method, path) = ("GET".to_owned(), "/".to_owned());
    let to = To { host: host.to_owned(), port: 0, method, path, headers: std::collections::BTreeMap::new() };
    let from = From { namespace: "blog".to_owned(), workload: "web".to_owned() };
    render(&thought(mesh, &Thought { from, to }, 1_700_000_000).unwrap())
}

#[test]
fn what_is_kept_decides_and_tells_as_the_whole_does() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::recording(Store::open(directory.path(), forever()).unwrap());
    for object in objects(1) {
        world.put_at(kind(&object), object, 1_000);
    }
    let known: Vec<Kind> = KINDS.into_iter().filter(|kind| is_observed(kind.group, kind.kind)).collect();
    for kind in &known {
        let names = world.of(kind.group, kind.kind).iter().map(|object| crate::world::name_of(object)).collect();
        for only in if kind.kind == "ConfigMap" { vec![Some("istio"), Some("istio-ca-root-cert")] } else { vec![None] }
        {
            world.keep(*kind, &names, only, 1_000);
        }
    }
    let past = world.at(1_000).unwrap();
    assert!(known.iter().all(|kind| !past.is_undated(kind.group, kind.kind)));
    let now = Mesh::of(&world, "Kubernetes", "cluster.local");
    let then = Mesh::of(&past, "Kubernetes", "cluster.local");
    let facts = |world: &World| crate::facts::of(world, "Kubernetes", "cluster.local", &Never);
    let (facts_now, facts_then) = (facts(&world), facts(&past));
    assert_eq!(format!("{:?}", facts_now.namespaces), format!("{:?}", facts_then.namespaces));
    let told = |facts: &varka_telemetry::graph::Facts| -> Vec<String> {
        let all = facts.workloads.iter();
        all.map(|w| format!("{} {:?} {:?} {} {:?} {}", w.name, w.labels, w.pods, w.sidecar, w.replicas, w.is_gateway()))
            .collect()
    };
    assert_eq!(told(&facts_now), told(&facts_then));
    for host in ["was", "web:80", "10.0.0.2:8080", "240.240.0.7", "nobody.example.com"] {
        assert_eq!(asked(&now, host), asked(&then, host));
    }
    let proxies = |mesh: &Mesh| mesh.proxies().map(|(_, _, key)| key.clone()).collect::<Vec<_>>();
    assert_eq!(format!("{:?}", proxies(&now)), format!("{:?}", proxies(&then)));
    for key in proxies(&now) {
        assert_eq!(
            varka_pilot::compile_all(now.snapshot(), &key).0,
            varka_pilot::compile_all(then.snapshot(), &key).0,
            "{}",
            key.name
        );
    }
}

#[test]
fn heartbeats_and_probes_are_no_changes() {
    for (before, after) in objects(1).into_iter().zip(objects(2)) {
        let kind = kind(&before);
        if is_observed(kind.group, kind.kind) {
            let of = crate::world::reference(kind, &before);
            assert_eq!(reduced(&of, &before), reduced(&of, &after));
        }
    }
}
