use crate::resources::{jobs, pods as pod_kind};
use crate::state::tests::{World, merge};
use serde_json::{Value, json};

fn world(spec: &Value) -> World {
    let mut world = World::new();
    let mut job = json!({
        "metadata": {"name": "job", "namespace": "ns"},
        "spec": {"template": {"metadata": {}, "spec": {"containers": [], "restartPolicy": "Never"}}},
    });
    merge(&mut job["spec"], spec);
    world.create(&jobs(), job);
    world.settle();
    world
}

fn finish(world: &mut World, phase: &str) {
    let active = world.pods().into_iter().find(|pod| crate::pods::is_active(pod)).unwrap();
    let name = active.metadata.name.clone().unwrap();
    world.patch(&pod_kind(), "ns", &name, &json!({"status": {"phase": phase}}));
    world.settle();
}

fn status(world: &World) -> &Value {
    &world.get(&jobs(), "ns", "job").unwrap()["status"]
}

fn end(world: &World) -> String {
    let condition = &status(world)["conditions"][0];
    format!("{} {}", condition["type"].as_str().unwrap_or("-"), condition["reason"].as_str().unwrap_or("-"))
}

#[test]
fn completions_are_reached_with_bounded_parallelism() {
    let mut world = world(&json!({"completions": 3, "parallelism": 2}));
    assert_eq!(world.pods().len(), 2);
    assert_eq!(world.pods()[0].metadata.labels.as_ref().unwrap()["job-name"], "job");
    finish(&mut world, "Succeeded");
    finish(&mut world, "Succeeded");
    assert_eq!(status(&world)["active"], 1);
    finish(&mut world, "Succeeded");
    assert_eq!((end(&world).as_str(), &status(&world)["succeeded"]), ("Complete CompletionsReached", &json!(3)));
    assert!(status(&world)["completionTime"].is_string());
    assert_eq!(world.pods().len(), 3);
}

#[test]
fn failures_beyond_the_limit_end_it() {
    let mut world = world(&json!({"backoffLimit": 1}));
    finish(&mut world, "Failed");
    assert_eq!(world.pods().len(), 2, "tried again");
    finish(&mut world, "Failed");
    assert_eq!(end(&world), "Failed BackoffLimitExceeded");
    assert_eq!(world.pods().len(), 2);
}

#[test]
fn a_deadline_and_a_time_to_live_hold() {
    let mut world = world(&json!({"activeDeadlineSeconds": 10, "ttlSecondsAfterFinished": 5}));
    let key = || crate::route::Key::Job(crate::route::Name::new("ns", "job"));
    world.now = world.wake.unwrap();
    world.dirty.insert(key());
    world.settle();
    assert_eq!(end(&world), "Failed DeadlineExceeded");
    assert!(world.pods().iter().all(|pod| crate::pods::is_terminating(pod)));
    world.advance(5);
    world.dirty.insert(key());
    world.settle();
    assert!(world.get(&jobs(), "ns", "job").is_none());
}

#[test]
fn suspension_stops_it_and_what_is_not_built_is_refused() {
    let mut suspended = world(&json!({"suspend": true}));
    assert!(suspended.pods().is_empty());
    suspended.patch(&jobs(), "ns", "job", &json!({"spec": {"suspend": false}}));
    suspended.settle();
    assert_eq!(suspended.pods().len(), 1);
    let indexed = world(&json!({"completionMode": "Indexed", "completions": 2}));
    assert_eq!(end(&indexed), "Failed NotSupported");
    assert!(indexed.pods().is_empty());
}
