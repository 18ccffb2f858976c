use crate::resources::{endpoint_slices, endpoints, pods as pod_kind, services};
use crate::state::tests::{World, merge};
use serde_json::{Value, json};

fn service(more: &Value) -> Value {
    let mut service = json!({
        "metadata": {"name": "web", "namespace": "ns", "labels": {"team": "x"}},
        "spec": {"selector": {"app": "web"}, "clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]},
    });
    merge(&mut service, more);
    service
}

fn pod(world: &mut World, name: &str, more: &Value) {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "ns", "labels": {"app": "web"}},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
    });
    merge(&mut pod, more);
    world.create(&pod_kind(), pod);
}

fn world() -> World {
    let mut world = World::new();
    world.create(&services(), service(&json!({})));
    for name in ["a", "b"] {
        pod(&mut world, name, &json!({}));
        world.set_ready(name, true);
    }
    world.settle();
    world
}

fn conditions(world: &World) -> Vec<(String, bool, bool, bool)> {
    let slices = world.all(&endpoint_slices());
    let mut found = Vec::new();
    for endpoint in slices.iter().flat_map(|slice| slice["endpoints"].as_array().unwrap()) {
        let is = |what: &str| endpoint["conditions"][what].as_bool().unwrap();
        let name = endpoint["targetRef"]["name"].as_str().unwrap().to_owned();
        found.push((name, is("ready"), is("serving"), is("terminating")));
    }
    found
}

#[test]
fn ready_pods_are_endpoints_at_their_named_port() {
    let world = world();
    let slices = world.all(&endpoint_slices());
    assert_eq!(slices.len(), 1);
    let slice = slices[0];
    assert_eq!(slice["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "web");
    assert_eq!(slice["metadata"]["labels"]["team"], "x");
    assert_eq!(slice["metadata"]["ownerReferences"][0]["kind"], "Service");
    assert_eq!(slice["endpoints"][0]["nodeName"], "n");
    assert_eq!(conditions(&world), [("a".into(), true, true, false), ("b".into(), true, true, false)]);
    let legacy = world.get(&endpoints(), "ns", "web").unwrap();
    assert_eq!(legacy["subsets"][0]["addresses"].as_array().unwrap().len(), 2);
}

#[test]
fn a_pod_leaves_the_ready_set_the_moment_it_is_asked_to_go() {
    let mut world = world();
    world.delete(&pod_kind(), "ns", "a");
    world.settle();
    assert_eq!(conditions(&world), [("a".into(), false, true, true), ("b".into(), true, true, false)]);
    let legacy = world.get(&endpoints(), "ns", "web").unwrap();
    assert_eq!(legacy["subsets"][0]["addresses"].as_array().unwrap().len(), 1);
    world.remove(&pod_kind(), "ns", "a");
    world.set_ready("b", false);
    world.settle();
    assert_eq!(conditions(&world), [("b".into(), false, false, false)]);
    let legacy = world.get(&endpoints(), "ns", "web").unwrap();
    assert_eq!(legacy["subsets"][0]["notReadyAddresses"].as_array().unwrap().len(), 1);
}

#[test]
fn finished_pods_and_pods_of_others_are_none() {
    let mut world = world();
    world.patch(&pod_kind(), "ns", "a", &json!({"status": {"phase": "Succeeded"}}));
    world.patch(&pod_kind(), "ns", "b", &json!({"metadata": {"labels": {"app": "other"}}}));
    world.settle();
    assert_eq!(conditions(&world), []);
    assert_eq!(world.all(&endpoint_slices()).len(), 1, "an empty slice says that there is nobody");
}

#[test]
fn pods_whose_port_differs_stand_in_slices_of_their_own() {
    let mut world = world();
    let other = json!({"spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 9090}]}]}});
    pod(&mut world, "c", &other);
    world.set_ready("c", true);
    // A sidecar is an init container that keeps running; its ports count as well.
    let sidecar = json!({"spec": {"containers": [{"name": "c"}], "initContainers": [
        {"name": "s", "restartPolicy": "Always", "ports": [{"name": "http", "containerPort": 9090}]}]}});
    pod(&mut world, "d", &sidecar);
    world.set_ready("d", true);
    world.settle();
    let slices = world.all(&endpoint_slices());
    let mut sizes: Vec<_> = slices
        .iter()
        .map(|slice| (slice["ports"][0]["port"].as_i64().unwrap(), slice["endpoints"].as_array().unwrap().len()))
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [(8080, 2), (9090, 2)]);
}

#[test]
fn large_services_are_cut_into_slices() {
    let mut world = world();
    for index in 0..120 {
        let name = format!("p{index}");
        pod(&mut world, &name, &json!({"status": {"podIP": format!("10.1.0.{index}")}}));
    }
    world.settle();
    let slices = world.all(&endpoint_slices());
    let mut sizes: Vec<_> = slices.iter().map(|slice| slice["endpoints"].as_array().unwrap().len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [22, 100]);
}

#[test]
fn other_services_are_left_alone_and_published_pods_are_ready() {
    let mut world = World::new();
    world.create(&services(), service(&json!({"metadata": {"name": "free"}, "spec": {"selector": null}})));
    world.create(&services(), service(&json!({"metadata": {"name": "out"}, "spec": {"type": "ExternalName"}})));
    world.create(
        &services(),
        service(
            &json!({"metadata": {"name": "early"}, "spec": {"publishNotReadyAddresses": true, "clusterIP": "None"}}),
        ),
    );
    pod(&mut world, "a", &json!({}));
    world.set_ready("a", false);
    world.settle();
    let slices = world.all(&endpoint_slices());
    assert_eq!(slices.len(), 1);
    assert_eq!(slices[0]["metadata"]["labels"]["service.kubernetes.io/headless"], "");
    assert_eq!(conditions(&world), [("a".into(), true, false, false)]);
}

#[test]
fn the_endpoints_object_goes_with_its_service() {
    let mut world = world();
    world.remove(&services(), "ns", "web");
    world.settle();
    assert!(world.all(&endpoints()).is_empty());
    assert!(world.all(&endpoint_slices()).is_empty(), "collected with its owner");
}
