//! What the control plane and the proxies say to each other, and the resources that it is made of.

use std::net::IpAddr;
use std::sync::OnceLock;

use prost::Message as _;
use serde_json::{Value, json};
use varka_api::{Duration, RawObject, read, validate::validate};
use varka_control_plane::inject::{Injection, Options, Skip, inject as inject_pod};
use varka_control_plane::proxy_of_node;
use varka_engine::ext_authz::Verdict;
use varka_engine::ir::Resource;
use varka_pilot::{ProxyKey, ProxyKind, Snapshot, compile_all, not_implemented};
use varka_proto::envoy::core;
use varka_xds::codec::{Any, Reader, TYPES, decode, encode, type_url, version};
use varka_xds::{Node, authz};

use crate::choice;

/// A resource that was understood is told on so that it means the same, and has the same version.
fn same_after_a_trip(resource: &Resource) {
    let sent = encode(resource, Reader::Istio);
    let again = decode(&sent).unwrap_or_else(|e| panic!("what was encoded is refused: {e}"));
    assert_eq!(&again, resource, "it changed on its way");
    assert_eq!(version(&again), version(resource));
}

pub(crate) fn xds(data: &[u8]) {
    let (first, message) = choice(data);
    let kind = TYPES.get(usize::from(first) % TYPES.len()).copied().unwrap();
    let any = Any { type_url: type_url(kind).to_owned(), value: message.to_vec() };
    match decode(&any) {
        Ok(resource) => {
            assert_eq!(resource.kind(), kind);
            same_after_a_trip(&resource);
        }
        Err(rejection) => assert!(!rejection.to_string().is_empty()),
    }
}

pub(crate) fn ext_authz(data: &[u8]) {
    let (_, data) = choice(data);
    match authz::verdict(data) {
        Some(Verdict::Deny { status, headers, .. }) => {
            assert!((200..600).contains(&status));
            assert!(headers.len() <= data.len());
        }
        Some(Verdict::Allow(allowed)) => {
            let count = allowed.set.len() + allowed.append.len() + allowed.response_add.len() + allowed.remove.len();
            assert!(count <= data.len());
            assert!(!allowed.remove.iter().any(|name| name.as_str().starts_with(':')));
        }
        _ => {}
    }
}

pub(crate) fn node(data: &[u8]) {
    let (_, data) = choice(data);
    let Ok(message) = core::Node::decode(data) else { return };
    let node = Node::decode(message);
    let again = Node::decode(node.encode());
    // What is no finite number is no JSON, and nothing afterwards.
    assert_eq!(again, node);
    let caller = "spiffe://cluster.local/ns/default/sa/web".parse().unwrap();
    match proxy_of_node(&node, &caller) {
        Ok(key) => {
            assert_eq!((&*key.namespace, &*key.service_account), ("default", "web"), "it is somebody else's");
            assert!(key.labels.len() <= 256 && key.ports.len() <= 256 && key.ips.len() <= 257);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

pub(crate) fn duration(data: &[u8]) {
    let Some(duration) = std::str::from_utf8(data).ok().and_then(|text| text.parse::<Duration>().ok()) else { return };
    assert_eq!(duration.to_string().parse(), Ok(duration));
}

pub(crate) fn resources(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (objects, problems) = read("fuzz.yaml", text);
    let lines = u32::try_from(text.lines().count().max(1)).unwrap();
    for problem in &problems {
        assert!((1..=lines + 1).contains(&problem.line), "line {} of {lines}: {}", problem.line, problem.message);
        assert!(!problem.message.is_empty());
    }
    for object in &objects {
        assert!((1..=lines).contains(&object.position.line()), "line {} of {lines}", object.position.line());
        // JSON is YAML: the object as JSON is the same object.
        let printed = object.value.to_string();
        let (again, problems) = read("fuzz.json", &printed);
        assert!(problems.is_empty(), "{problems:?}: {printed}");
        let values: Vec<&Value> = again.iter().map(|o| &o.value).collect();
        assert_eq!(values, [&object.value], "{printed}");
        let validation = validate(object);
        for found in validation.errors.iter().chain(&validation.warnings) {
            assert!(!found.to_string().is_empty());
        }
        drop(not_implemented(object));
    }
}

/// A small mesh for resources to be about.
fn snapshot() -> &'static Snapshot {
    static SNAPSHOT: OnceLock<Snapshot> = OnceLock::new();
    SNAPSHOT.get_or_init(|| {
        let (objects, problems) = read("mesh.yaml", include_str!("mesh.yaml"));
        assert!(problems.is_empty(), "{problems:?}");
        Snapshot::builder().objects(objects).build()
    })
}

fn proxies() -> [ProxyKey; 2] {
    let key = |kind, name: &str, namespace: &str, ip: [u8; 4], app: &str| {
        let mut key = ProxyKey::new(kind, name, namespace, IpAddr::from(ip));
        key.labels.insert("app".to_owned(), app.to_owned());
        key
    };
    [
        key(ProxyKind::Sidecar, "web-1", "default", [10, 0, 0, 2], "web"),
        key(ProxyKind::Router, "ingress-1", "istio-system", [10, 0, 0, 9], "ingress"),
    ]
}

/// A list of objects, which are added to a mesh: whatever they say, every proxy gets a configuration that can be told.
pub(crate) fn compile(data: &[u8]) {
    let Ok(Value::Array(list)) = serde_json::from_slice(data) else { return };
    let objects: Vec<RawObject> = list.into_iter().take(8).filter_map(RawObject::from_value).collect();
    for object in &objects {
        drop(validate(object));
    }
    let changes = objects.into_iter().map(varka_pilot::Change::Upsert);
    let snapshot = snapshot().with(changes);
    for proxy in proxies() {
        let (configuration, diagnostics) = compile_all(&snapshot, &proxy);
        for diagnostic in &diagnostics {
            assert!(!diagnostic.to_string().is_empty());
        }
        let c = &configuration;
        let all = c.listeners.values().cloned().map(Resource::Listener);
        let all = all.chain(c.routes.values().cloned().map(Resource::Route));
        let all = all.chain(c.clusters.values().cloned().map(Resource::Cluster));
        let all = all.chain(c.endpoints.values().cloned().map(Resource::Endpoints));
        for resource in all {
            let sent = encode(&resource, Reader::Istio);
            if let Err(rejection) = decode(&sent) {
                panic!("{} refuses what it is told: {rejection}", proxy.name);
            }
        }
    }
    drop(varka_pilot::gateway_api_statuses(&snapshot));
}

fn sidecars_of(pod: &Value) -> usize {
    let lists = ["/spec/containers", "/spec/initContainers"].map(|path| pod.pointer(path));
    let all = lists.into_iter().flatten().filter_map(|list| list.as_array()).flatten();
    all.filter(|c| c.get("name") == Some(&json!("istio-proxy"))).count()
}

pub(crate) fn inject(data: &[u8]) {
    let Ok(pod) = serde_json::from_slice::<Value>(data) else { return };
    let options = Options::new("cluster.local", "cluster.local", "istio-system");
    match inject_pod(&pod, "default", &options) {
        Ok(Injection::Patch { patch, warnings }) => {
            assert!(warnings.iter().all(|warning| !warning.is_empty()));
            let mut injected = pod.clone();
            if let Err(error) = json_patch::patch(&mut injected, &patch) {
                panic!("the patch does not apply to the pod that it is for: {error}");
            }
            // Two of one name are for the API server to refuse.
            assert_eq!(sidecars_of(&injected), sidecars_of(&pod).max(1));
            let again = inject_pod(&injected, "default", &options);
            assert!(matches!(again, Ok(Injection::Skip(Skip::AlreadyInjected))), "{again:?}");
        }
        Ok(Injection::Skip(_)) => {}
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
}
