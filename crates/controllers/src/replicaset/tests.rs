use super::rank::first_to_go;
use crate::action::Action;
use crate::resources::{pods as pod_kind, replica_sets};
use crate::route::{Key, Name};
use crate::state::tests::{World, merge};
use serde_json::{Value, json};

fn set(replicas: i32) -> Value {
    json!({
        "metadata": {"name": "rs", "namespace": "ns"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}, "annotations": {"note": "kept"}}, "spec": {"containers": []}},
        },
    })
}

fn pod(name: &str, owner: Option<&str>, more: &Value) -> Value {
    let owners = owner.map(
        |uid| json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": uid, "controller": true}]),
    );
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "ns", "labels": {"app": "a"}, "ownerReferences": owners.unwrap_or(json!([]))},
        "spec": {"containers": [], "nodeName": "n"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}]},
    });
    merge(&mut pod, more);
    pod
}

#[test]
fn pods_come_from_the_template_and_are_replaced() {
    let mut world = World::new();
    world.create(&replica_sets(), set(2));
    world.settle_with_kubelet();
    assert_eq!(world.pods().len(), 2);
    let first = world.pods()[0].clone();
    assert_eq!(first.metadata.annotations.as_ref().unwrap()["note"], "kept");
    assert!(first.metadata.owner_references.as_ref().unwrap()[0].block_owner_deletion.unwrap());
    world.delete(&pod_kind(), "ns", first.metadata.name.as_deref().unwrap());
    world.settle();
    assert_eq!(world.pods().len(), 3, "the replacement does not wait for the end of the one that goes");
    let failed =
        world.pods().iter().find(|pod| !crate::pods::is_terminating(pod)).unwrap().metadata.name.clone().unwrap();
    world.patch(&pod_kind(), "ns", &failed, &json!({"status": {"phase": "Failed"}}));
    world.settle();
    assert_eq!(world.pods().len(), 4, "a pod that has failed is no replica");
    let status = world.get(&replica_sets(), "ns", "rs").unwrap()["status"].clone();
    assert_eq!(status["replicas"], 2);
}

#[test]
fn the_least_useful_pod_goes_first() {
    let mut world = World::new();
    world.create(&replica_sets(), set(0));
    let uid = world.get(&replica_sets(), "ns", "rs").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let ready_since = |time: &str| json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": time}]}});
    let cases = [
        ("unassigned", json!({"spec": {"nodeName": null}, "status": {"phase": "Pending"}})),
        ("pending", json!({"status": {"phase": "Pending"}})),
        ("unready", json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}})),
        ("cheap", json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1"}}})),
        ("fresh", ready_since("2024-01-01T00:00:00Z")),
        (
            "restarted",
            json!({"status": {"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 4}]}}),
        ),
        ("plain", json!({})),
    ];
    // In the world in another order than they should go.
    for (name, more) in cases.iter().rev() {
        world.create(&pod_kind(), pod(name, Some(&uid), more));
    }
    let set = world.state.replica_sets.get("ns", "rs").unwrap().clone();
    let order: Vec<_> =
        first_to_go(&world.state, &set, &world.pods()).iter().map(|pod| pod.metadata.name.clone().unwrap()).collect();
    assert_eq!(order, cases.map(|(name, _)| name));
}

#[test]
fn matching_pods_of_nobody_are_taken_in_and_others_let_go() {
    let mut world = World::new();
    world.create(&pod_kind(), pod("stray", None, &json!({})));
    world.create(&replica_sets(), set(1));
    world.settle();
    assert_eq!(world.pods().len(), 1, "the stray one is enough");
    world.patch(&pod_kind(), "ns", "stray", &json!({"metadata": {"labels": {"app": "b"}}}));
    world.settle();
    let stray = world.get(&pod_kind(), "ns", "stray").unwrap();
    assert_eq!(stray["metadata"]["ownerReferences"], json!([]));
    assert_eq!(world.pods().len(), 2);
}

#[test]
fn a_creation_that_fails_is_told_in_the_status() {
    let mut world = World::new();
    world.create(&replica_sets(), set(1));
    let uid = world.get(&replica_sets(), "ns", "rs").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    world.state.failures.insert(uid, "no webhook".into());
    let plan = world.plan(&Key::ReplicaSet(Name::new("ns", "rs")));
    let told = plan.actions.iter().find_map(|action| match action {
        Action::Patch { subresource: Some("status"), patch, .. } => Some(patch["status"]["conditions"][0].clone()),
        _ => None,
    });
    let told = told.unwrap();
    assert_eq!(
        (&told["type"], &told["reason"], &told["message"]),
        (&json!("ReplicaFailure"), &json!("FailedCreate"), &json!("no webhook"))
    );
}
