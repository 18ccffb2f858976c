use super::{FOREGROUND, ORPHAN};
use crate::action::Action;
use crate::resources::{deployments, pods, replica_sets};
use crate::state::tests::World;
use serde_json::{Value, json};

/// A Deployment with one ReplicaSet and two pods, at rest.
fn world() -> World {
    let mut world = World::new();
    world.create(
        &deployments(),
        json!({
            "metadata": {"name": "web", "namespace": "ns"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}},
        }),
    );
    world.settle_with_kubelet();
    assert_eq!((world.all(&replica_sets()).len(), world.pods().len()), (1, 2));
    world
}

#[test]
fn in_the_background_dependents_follow_their_owner() {
    let mut world = world();
    world.delete(&deployments(), "ns", "web");
    world.settle_with_kubelet();
    assert_eq!((world.all(&replica_sets()).len(), world.pods().len()), (0, 0));
}

fn delete_with(world: &mut World, finalizer: &str) {
    world.patch(&deployments(), "ns", "web", &json!({"metadata": {"finalizers": [finalizer]}}));
    world.delete(&deployments(), "ns", "web");
    world.settle();
}

#[test]
fn in_the_foreground_the_owner_waits_for_the_last_pod() {
    let mut world = world();
    delete_with(&mut world, FOREGROUND);
    assert_eq!(world.all(&deployments()).len(), 1, "its pods are still going");
    assert_eq!(world.all(&replica_sets()).len(), 1);
    assert!(world.pods().iter().all(|pod| crate::pods::is_terminating(pod)));
    world.settle_with_kubelet();
    assert_eq!((world.all(&deployments()).len(), world.all(&replica_sets()).len(), world.pods().len()), (0, 0, 0));
}

#[test]
fn orphans_stay_and_forget_their_owner() {
    let mut world = world();
    delete_with(&mut world, ORPHAN);
    assert_eq!((world.all(&deployments()).len(), world.pods().len()), (0, 2));
    assert_eq!(world.all(&replica_sets())[0]["metadata"]["ownerReferences"], json!([]));
}

fn owner(kind: &str, uid: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": uid})
}

#[test]
fn one_owner_left_is_enough_and_unknown_kinds_are_never_gone() {
    let mut world = world();
    let alive = world.all(&replica_sets())[0]["metadata"]["uid"].as_str().unwrap().to_owned();
    let pod =
        |name: &str, owners: Value| json!({"metadata": {"name": name, "namespace": "ns", "ownerReferences": owners}});
    world.create(&pods(), pod("half", json!([owner("ReplicaSet", &alive), owner("ReplicaSet", "gone")])));
    world.create(&pods(), pod("foreign", json!([owner("Gadget", "gone")])));
    world.settle();
    let half = world.get(&pods(), "ns", "half").unwrap();
    assert_eq!(half["metadata"]["ownerReferences"].as_array().unwrap().len(), 1);
    assert!(half["metadata"]["deletionTimestamp"].is_null());
    assert!(world.get(&pods(), "ns", "foreign").unwrap()["metadata"]["deletionTimestamp"].is_null());
}

#[test]
fn what_seems_gone_is_asked_for_before_anything_is_deleted() {
    let mut world = world();
    world.create(
        &pods(),
        json!({"metadata": {"name": "p", "namespace": "ns", "ownerReferences": [owner("ReplicaSet", "unseen")]}}),
    );
    world.settle();
    let asked = world
        .log
        .iter()
        .any(|action| matches!(action, Action::Collect { gone, left, .. } if gone.len() == 1 && left.is_empty()));
    assert!(asked);
}
