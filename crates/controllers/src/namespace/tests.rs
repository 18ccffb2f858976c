use super::ROOT_CA;
use crate::resources::{config_maps, namespaces, pods, service_accounts};
use crate::state::tests::World;
use serde_json::json;

fn world() -> World {
    let mut world = World::new();
    world.state.root_ca = Some("PEM".into());
    world.create(&namespaces(), json!({"metadata": {"name": "ns"}, "spec": {"finalizers": ["kubernetes"]}}));
    world.settle();
    world
}

#[test]
fn a_new_namespace_is_furnished_and_kept_so() {
    let mut world = world();
    assert!(world.get(&service_accounts(), "ns", "default").is_some());
    assert_eq!(world.get(&config_maps(), "ns", ROOT_CA).unwrap()["data"]["ca.crt"], "PEM");
    world.delete(&service_accounts(), "ns", "default");
    world.patch(&config_maps(), "ns", ROOT_CA, &json!({"data": {"ca.crt": "other", "more": "x"}}));
    world.settle();
    assert!(world.get(&service_accounts(), "ns", "default").is_some());
    assert_eq!(world.get(&config_maps(), "ns", ROOT_CA).unwrap()["data"], json!({"ca.crt": "PEM"}));
}

#[test]
fn a_deleted_namespace_is_emptied_before_it_goes() {
    let mut world = world();
    world.create(&pods(), json!({"metadata": {"name": "p", "namespace": "ns"}}));
    world.patch(&namespaces(), "", "ns", &json!({"metadata": {"finalizers": ["x"]}}));
    world.delete(&namespaces(), "", "ns");
    world.settle();
    assert!(world.get(&service_accounts(), "ns", "default").is_none());
    assert!(world.get(&namespaces(), "", "ns").is_some(), "the pod is still going");
    world.kubelet();
    world.settle();
    assert!(world.get(&namespaces(), "", "ns").is_none());
}
