//! What it takes to keep what the pods of a large mesh were while everything is restarted: 500 workloads of three pods each, with objects as large as
//! those of injected pods.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::store::Store;
use crate::store::tests::forever;
use crate::world::{KINDS, Kind, Name, World};

const WORKLOADS: usize = 500;
const PODS: usize = 3;
/// When it begins, in milliseconds.
const BEGIN: i64 = 1_764_000_000_000;

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn kind(name: &str) -> Kind {
    KINDS.into_iter().find(|kind| kind.kind == name && matches!(kind.group, "" | "apps" | "discovery.k8s.io")).unwrap()
}

fn pod_name(app: usize, round: usize, pod: usize) -> String {
    format!(
        "app-{app}-{:08x}-{:05x}",
        (app * 31 + round) * 2_654_435_761 % 0xffff_ffff,
        (app * 7 + pod * 13 + round) * 40_503 % 0xf_ffff
    )
}

fn address(app: usize, round: usize, pod: usize) -> String {
    let number = round * WORKLOADS * PODS + app * PODS + pod;
    format!("10.{}.{}.{}", 244 + number / 65_536, number / 256 % 256, number % 256)
}

/// How far a pod is: 0 pending, 1 with a node, 2 with an address, 3 ready, 4 told to end.
fn pod(app: usize, round: usize, pod: usize, state: usize) -> Value {
    let name = pod_name(app, round, pod);
    let set = name.rsplit_once('-').unwrap().0.to_owned();
    let env: Vec<Value> = (0..25)
        .map(|n| json!({"name": format!("ISTIO_META_{n}"), "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}))
        .collect();
    let mounts: Vec<Value> = (0..8)
        .map(|n| json!({"name": format!("istio-data-{n}"), "mountPath": format!("/var/run/secrets/{n}")}))
        .collect();
    let mut object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": format!("team-{}", app % 20), "name": name, "uid": format!("{app}-{round}-{pod}"), "resourceVersion": state.to_string(),
            "labels": {"app": format!("app-{app}"), "version": "v1", "pod-template-hash": set.rsplit_once('-').unwrap().1, "security.istio.io/tlsMode": "istio",
                       "service.istio.io/canonical-name": format!("app-{app}"), "service.istio.io/canonical-revision": "v1"},
            "annotations": {"sidecar.istio.io/status": "{}", "prometheus.io/scrape": "true", "prometheus.io/port": "15020"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": "x", "controller": true}],
        },
        "spec": {
            "serviceAccountName": format!("app-{app}"), "volumes": mounts,
            "containers": [{"name": "app", "image": "registry.example.com/app:1", "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}], "env": env}],
            "initContainers": [{"name": "istio-proxy", "args": ["proxy", "sidecar"], "env": env, "volumeMounts": mounts,
                                "ports": [{"name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP"}]}],
        },
        "status": {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "t"}]},
    });
    if state >= 1 {
        object["spec"]["nodeName"] = format!("node-{}", app % 50).into();
    }
    if state >= 2 {
        let ip = address(app, round, pod);
        object["status"]["podIPs"] = json!([{"ip": ip}]);
        object["status"]["podIP"] = ip.into();
        object["status"]["phase"] = "Running".into();
    }
    if state >= 3 {
        object["status"]["conditions"][0]["status"] = "True".into();
    }
    if state >= 4 {
        object["metadata"]["deletionTimestamp"] = "2025-11-24T16:00:00Z".into();
    }
    object
}

fn slice(app: usize, pods: &[(usize, usize)]) -> Value {
    let endpoint = |(round, pod): &(usize, usize)| {
        json!({"addresses": [address(app, *round, *pod)], "conditions": {"ready": true, "serving": true, "terminating": false},
               "nodeName": format!("node-{}", app % 50), "targetRef": {"kind": "Pod", "namespace": format!("team-{}", app % 20), "name": pod_name(app, *round, *pod), "uid": "x"}})
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "metadata": {"namespace": format!("team-{}", app % 20), "name": format!("app-{app}-x"), "labels": {"kubernetes.io/service-name": format!("app-{app}")}},
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

fn deployment(app: usize, available: usize) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": format!("team-{}", app % 20), "name": format!("app-{app}")},
           "spec": {"replicas": PODS, "template": {"metadata": {"labels": {"app": format!("app-{app}")}}}},
           "status": {"replicas": PODS, "availableReplicas": available}})
}

fn replica_set(app: usize, round: usize) -> Value {
    let name = pod_name(app, round, 0).rsplit_once('-').unwrap().0.to_owned();
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": {"replicas": PODS},
           "metadata": {"namespace": format!("team-{}", app % 20), "name": name, "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": format!("app-{app}"), "controller": true}]}})
}

fn begin(world: &World) {
    for app in 0..WORKLOADS {
        world.put_at(kind("Deployment"), deployment(app, PODS), BEGIN);
        world.put_at(kind("ReplicaSet"), replica_set(app, 0), BEGIN);
        (0..PODS).for_each(|n| world.put_at(kind("Pod"), pod(app, 0, n, 3), BEGIN));
        world.put_at(kind("EndpointSlice"), slice(app, &[(0, 0), (0, 1), (0, 2)]), BEGIN);
    }
    for name in ["Pod", "EndpointSlice", "Deployment", "ReplicaSet"] {
        let kind = kind(name);
        let text = |object: &Value, field: &str| object["metadata"][field].as_str().unwrap().to_owned();
        let listed: HashSet<Name> =
            world.of(kind.group, kind.kind).iter().map(|o| (text(o, "namespace"), text(o, "name"))).collect();
        world.keep(kind, &listed, None, BEGIN);
    }
}

/// Every pod is replaced by a new one, one after the other in each workload, all workloads at once. How many events that is.
fn restart(world: &World, round: usize, wait: &mut dyn FnMut()) -> usize {
    let begin = BEGIN + i64::try_from(round).unwrap() * 3_600_000;
    (0..WORKLOADS).for_each(|app| world.put_at(kind("ReplicaSet"), replica_set(app, round), begin));
    let mut events = WORKLOADS;
    for n in 0..PODS {
        for step in 0..6 {
            for app in 0..WORKLOADS {
                // Ten seconds a pod, spread over all of them.
                let at = begin + i64::try_from(n * 10_000 + step * 1_600 + app * 3).unwrap();
                let kept = || (0..PODS).map(|pod| (if pod < n { round } else { round - 1 }, pod)).collect::<Vec<_>>();
                match step {
                    0..4 => world.put_at(kind("Pod"), pod(app, round, n, step), at),
                    4 => {
                        let mut endpoints = kept();
                        endpoints.push((round, n));
                        world.put_at(kind("EndpointSlice"), slice(app, &endpoints), at);
                        world.put_at(kind("Deployment"), deployment(app, PODS - 1), at);
                        world.put_at(kind("Pod"), pod(app, round - 1, n, 4), at);
                    }
                    _ => {
                        let mut endpoints = kept();
                        endpoints[n] = (round, n);
                        world.put_at(kind("EndpointSlice"), slice(app, &endpoints), at);
                        world.put_at(kind("Deployment"), deployment(app, PODS), at);
                        let name = (format!("team-{}", app % 20), pod_name(app, round - 1, n));
                        world.remove_at(kind("Pod"), &name, at);
                    }
                }
                events += if step < 4 { 1 } else { 3 };
            }
            wait();
        }
    }
    events
}

/// `cargo test --release -p varka-console --lib -- --ignored --nocapture everything_is_restarted`
#[test]
#[ignore = "measures"]
fn everything_is_restarted() {
    let plain = World::default();
    let before = resident();
    begin(&plain);
    let objects = resident() - before;

    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), forever()).unwrap();
    let world = World::recording(store.clone());
    let before = resident();
    begin(&world);
    let recorded = resident() - before;
    // More than so many bytes are.
    let written = |size: u64| {
        let until = Instant::now() + Duration::from_secs(30);
        while store.observed().size() == size {
            assert!(Instant::now() < until, "nothing is written");
            std::thread::yield_now();
        }
    };
    written(0);
    let first = store.observed().size();
    println!(
        "{WORKLOADS} workloads of {PODS} pods: objects {objects} KB in memory, recorded {recorded} KB, first segment {first} bytes"
    );
    for round in 1..=2 {
        let (size, begun) = (store.observed().size(), Instant::now());
        let mut telling = Duration::ZERO;
        let (mut last, mut reached) = (Instant::now(), size);
        let events = restart(&world, round, &mut || {
            telling += last.elapsed();
            // So that it is written in many rows, as it would be.
            written(reached);
            (last, reached) = (Instant::now(), store.observed().size());
        });
        let now = store.observed().size();
        let begin = BEGIN + i64::try_from(round).unwrap() * 3_600_000;
        let looked = Instant::now();
        let then = world.at(begin + 15_000).unwrap();
        let took = looked.elapsed();
        println!(
            "restart {round}: {events} events told in {telling:?}, {} bytes more, {now} kept, {} KB resident after {:?}; the middle of it ({} pods) is read in {took:?}",
            now.saturating_sub(size),
            resident(),
            begun.elapsed(),
            then.of("", "Pod").len(),
        );
    }
}
