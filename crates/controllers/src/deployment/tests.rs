use super::bounds;
use crate::pods;
use crate::resources::{deployments, pods as pod_kind, replica_sets};
use crate::state::tests::World;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

fn deployment(replicas: i32, strategy: Value) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "ns"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": strategy,
            "progressDeadlineSeconds": 600,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}},
        },
    })
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

fn world(replicas: i32, strategy: Value) -> World {
    let mut world = World::new();
    world.create(&deployments(), deployment(replicas, strategy));
    world.settle_with_kubelet();
    world
}

fn patch(world: &mut World, spec: Value) {
    world.patch(&deployments(), "ns", "web", &json!({ "spec": spec }));
}

fn image(world: &mut World, image: &str) {
    patch(world, json!({"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}));
}

fn get(world: &World) -> Arc<Deployment> {
    Arc::clone(world.state.deployments.get("ns", "web").unwrap())
}

fn images(world: &World) -> Vec<String> {
    let pods = world.pods();
    pods.iter().map(|pod| pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap()).collect()
}

/// What `kubectl rollout status` asks for.
fn is_rolled_out(world: &World) -> bool {
    let deployment = get(world);
    let (status, wanted) = (deployment.status.clone().unwrap_or_default(), deployment.spec.as_ref().unwrap().replicas);
    let (wanted, of) = (wanted.unwrap(), |count: Option<i32>| count.unwrap_or(0));
    status.observed_generation == deployment.metadata.generation
        && of(status.updated_replicas) == wanted
        && of(status.replicas) == wanted
        && of(status.available_replicas) == wanted
}

fn reason(world: &World, kind: &str) -> String {
    let status = get(world).status.clone().unwrap();
    let found = status.conditions.unwrap().into_iter().find(|condition| condition.type_ == kind);
    found.map(|condition| format!("{} {}", condition.status, condition.reason.unwrap())).unwrap_or_default()
}

fn revision(value: &Value) -> &str {
    value["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str().unwrap()
}

#[test]
fn percentages_round_surge_up_and_unavailable_down() {
    let of = |replicas, strategy: Value| {
        let spec: DeploymentSpec = serde_json::from_value(deployment(replicas, strategy)["spec"].clone()).unwrap();
        bounds(&spec, replicas)
    };
    assert_eq!(of(1, rolling(json!("25%"), json!("25%"))), (1, 0));
    assert_eq!(of(10, rolling(json!("25%"), json!("25%"))), (3, 2));
    assert_eq!(of(4, json!(null)), (1, 1));
    assert_eq!(of(4, rolling(json!(0), json!(0))), (0, 1), "both zero would never move");
    assert_eq!(of(2, rolling(json!(0), json!(5))), (0, 2));
    assert_eq!(of(2, json!({"type": "Recreate"})), (0, 0));
}

#[test]
fn a_new_deployment_comes_up_and_says_so() {
    let world = world(3, json!(null));
    assert!(is_rolled_out(&world));
    assert_eq!(reason(&world, "Progressing"), "True NewReplicaSetAvailable");
    assert_eq!(reason(&world, "Available"), "True MinimumReplicasAvailable");
    let sets = world.all(&replica_sets());
    assert_eq!((sets.len(), revision(sets[0])), (1, "1"));
    let hash = sets[0]["metadata"]["labels"]["pod-template-hash"].as_str().unwrap();
    assert_eq!(sets[0]["metadata"]["name"], json!(format!("web-{hash}")));
    assert!(world.pods().iter().all(|pod| pod.metadata.labels.as_ref().unwrap()["pod-template-hash"] == hash));
}

#[test]
fn with_no_unavailability_allowed_the_old_pod_goes_only_after_the_new_one_is_ready() {
    let mut world = world(1, rolling(json!(1), json!(0)));
    let old = world.pods()[0].metadata.name.clone().unwrap();
    image(&mut world, "v2");
    world.settle();
    assert_eq!(world.pods().len(), 2);
    assert!(world.pods().iter().all(|pod| !pods::is_terminating(pod)), "nothing goes before the new one is ready");
    assert!(!is_rolled_out(&world));
    let new = world.pods().iter().map(|pod| pod.metadata.name.clone().unwrap()).find(|name| *name != old).unwrap();
    world.set_ready(&new, true);
    world.settle();
    let going: Vec<_> = world.pods().into_iter().filter(|pod| pods::is_terminating(pod)).collect();
    assert_eq!(going.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect::<Vec<_>>(), [old]);
    world.settle_with_kubelet();
    assert!(is_rolled_out(&world));
    assert_eq!(images(&world), ["v2"]);
}

#[test]
fn a_broken_new_version_leaves_the_old_one_serving_and_times_out() {
    let mut world = world(3, rolling(json!(1), json!(0)));
    image(&mut world, "broken");
    world.settle();
    assert_eq!(world.pods().iter().filter(|pod| pods::is_ready(pod)).count(), 3);
    assert_eq!(images(&world).iter().filter(|image| *image == "broken").count(), 1);
    let wake = world.wake.expect("the deadline is a reason to look again");
    world.now = wake;
    world.dirty.insert(crate::route::Key::Deployment(crate::route::Name::new("ns", "web")));
    world.settle();
    assert_eq!(reason(&world, "Progressing"), "False ProgressDeadlineExceeded");
    // The way back: the old template again, whose ReplicaSet gets a new revision.
    image(&mut world, "v1");
    world.settle_with_kubelet();
    assert!(is_rolled_out(&world));
    let sets = world.all(&replica_sets());
    let current = sets.iter().find(|set| set["spec"]["replicas"] == 3).unwrap();
    assert_eq!(revision(current), "3");
    assert_eq!(current["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"], "1");
    assert_eq!(reason(&world, "Progressing"), "True NewReplicaSetAvailable");
}

#[test]
fn recreate_never_runs_two_versions_at_once() {
    let mut world = world(1, json!({"type": "Recreate"}));
    image(&mut world, "v2");
    world.settle();
    assert_eq!(images(&world), ["v1"], "the old pod is still on its way out");
    assert!(pods::is_terminating(&world.pods()[0]));
    world.settle_with_kubelet();
    assert_eq!(images(&world), ["v2"]);
    assert!(is_rolled_out(&world));
    // A replaced pod of the same version does not wait.
    patch(&mut world, json!({"replicas": 2}));
    world.settle_with_kubelet();
    assert_eq!(images(&world).len(), 2);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = world(2, json!(null));
    patch(&mut world, json!({"paused": true}));
    image(&mut world, "v2");
    patch(&mut world, json!({"replicas": 3}));
    world.settle_with_kubelet();
    assert_eq!(images(&world), ["v1", "v1", "v1"]);
    assert_eq!(reason(&world, "Progressing"), "Unknown DeploymentPaused");
    patch(&mut world, json!({"paused": null}));
    world.settle_with_kubelet();
    assert_eq!(images(&world), ["v2", "v2", "v2"]);
}

#[test]
fn min_ready_seconds_hold_a_rollout_back() {
    let mut world = world(1, rolling(json!(1), json!(0)));
    patch(&mut world, json!({"minReadySeconds": 30}));
    image(&mut world, "v2");
    world.settle_with_kubelet();
    assert_eq!(world.pods().len(), 2, "ready, but not yet available");
    assert!(world.wake.is_some());
    world.advance(30);
    world.dirty.insert(crate::route::Key::Deployment(crate::route::Name::new("ns", "web")));
    world.settle_with_kubelet();
    assert_eq!(images(&world), ["v2"]);
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_shared() {
    let mut world = world(10, rolling(json!(2), json!(2)));
    image(&mut world, "v2");
    world.settle();
    let sizes = |world: &World| -> Vec<i64> {
        let mut sizes: Vec<_> =
            world.all(&replica_sets()).iter().map(|set| set["spec"]["replicas"].as_i64().unwrap()).collect();
        sizes.sort_unstable();
        sizes
    };
    let before = sizes(&world);
    assert_eq!(before, [4, 8], "12 in all, 8 available");
    patch(&mut world, json!({"replicas": 20}));
    world.settle();
    let after = sizes(&world);
    assert!(after[0] > before[0] && after[1] > before[1], "{after:?}");
    assert_eq!(after.iter().sum::<i64>(), 22);
    world.settle_with_kubelet();
    assert!(is_rolled_out(&world));
}

#[test]
fn history_beyond_the_limit_is_forgotten() {
    let mut world = world(1, json!(null));
    patch(&mut world, json!({"revisionHistoryLimit": 1}));
    for version in ["v2", "v3", "v4"] {
        image(&mut world, version);
        world.settle_with_kubelet();
    }
    let sets = world.all(&replica_sets());
    let mut revisions: Vec<_> = sets.iter().map(|set| revision(set).to_owned()).collect();
    revisions.sort();
    assert_eq!(revisions, ["3", "4"]);
}

#[derive(Debug, Clone)]
enum Op {
    Ready(usize, bool),
    Kill(usize),
    Reap,
    Image(u8),
    Scale(i32),
    Steps(usize),
}

fn ops(scale: bool) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(pod, ready)| Op::Ready(pod, ready)),
        1 => any::<usize>().prop_map(Op::Kill),
        2 => Just(Op::Reap),
        1 => (0u8..3).prop_map(Op::Image),
        1 => (0i32..7).prop_map(move |size| if scale { Op::Scale(size) } else { Op::Reap }),
        6 => (1usize..6).prop_map(Op::Steps),
    ];
    prop::collection::vec(op, 1..60)
}

/// What a ReplicaSet's present size lets survive, and the sum of sizes.
fn guaranteed(world: &World) -> (i64, i64) {
    let (mut available, mut total) = (0, 0);
    for set in world.all(&replica_sets()) {
        let size = set["spec"]["replicas"].as_i64().unwrap();
        let uid = set["metadata"]["uid"].as_str().unwrap();
        let ready = world.state.pods_of("ns", uid).filter(|pod| pods::is_active(pod) && pods::is_ready(pod)).count();
        available += size.min(i64::try_from(ready).unwrap());
        total += size;
    }
    (available, total)
}

fn nth(world: &World, index: usize) -> Option<String> {
    let pods: Vec<_> = world.pods().into_iter().filter(|pod| pods::is_active(pod)).collect();
    (!pods.is_empty()).then(|| pods[index % pods.len()].metadata.name.clone().unwrap())
}

fn play(replicas: i32, surge: i32, unavailable: i32, ops: Vec<Op>, strict: bool) -> Result<(), TestCaseError> {
    let mut world = world(replicas, rolling(json!(surge), json!(unavailable)));
    for op in ops {
        match op {
            Op::Ready(pod, ready) => {
                if let Some(name) = nth(&world, pod) {
                    world.set_ready(&name, ready);
                }
            }
            Op::Kill(pod) => {
                if let Some(name) = nth(&world, pod) {
                    world.delete(&pod_kind(), "ns", &name);
                }
            }
            Op::Reap => {
                for pod in world.pods().into_iter().filter(|pod| pods::is_terminating(pod)) {
                    world.remove(&pod_kind(), "ns", pod.metadata.name.as_deref().unwrap());
                }
            }
            Op::Image(version) => image(&mut world, &format!("v{version}")),
            Op::Scale(size) => patch(&mut world, json!({"replicas": size})),
            Op::Steps(count) => {
                for _ in 0..count {
                    check_step(&mut world, strict)?;
                }
            }
        }
    }
    world.settle_with_kubelet();
    prop_assert!(is_rolled_out(&world), "it must arrive in the end: {:?}", get(&world).status);
    Ok(())
}

/// One step of the controllers never adds beyond the surge, and never takes an available pod that is needed.
fn check_step(world: &mut World, strict: bool) -> Result<(), TestCaseError> {
    let (available_before, total_before) = guaranteed(world);
    world.step();
    let (available, total) = guaranteed(world);
    let spec = get(world).spec.clone().unwrap();
    let replicas = spec.replicas.unwrap();
    let (surge, unavailable) = bounds(&spec, replicas);
    let most = i64::from(replicas + surge);
    prop_assert!(total <= most.max(total_before), "{total} pods wanted, {most} allowed");
    let least = i64::from(replicas - unavailable);
    if strict && available < available_before {
        prop_assert!(available >= least, "{available} stay available, {least} must");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn rollouts_keep_their_bounds(replicas in 1i32..6, surge in 0i32..3, unavailable in 0i32..3, ops in ops(false)) {
        play(replicas, surge, unavailable, ops, true)?;
    }

    #[test]
    fn scaling_at_any_time_keeps_the_surge_and_arrives(replicas in 0i32..6, surge in 0i32..3, unavailable in 0i32..3, ops in ops(true)) {
        play(replicas, surge, unavailable, ops, false)?;
    }
}
