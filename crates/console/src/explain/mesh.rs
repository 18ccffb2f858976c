//! The mesh at one moment: its objects, compiled on demand, and its pods.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;
use varka_api::RawObject;
use varka_api::kube::TopologyZone;
use varka_engine::host::RouteIndex;
use varka_engine::ir::{Listener, Resource, RouteConfiguration};
use varka_pilot::{Placed, ProxyKey, ResourceName, Snapshot};
use varka_telemetry::graph::Facts;

use super::answer::By;
use super::pod::Pod;
use super::recorded::{self, RecordedHop};
use crate::facts::{Departed, Seen};
use crate::world::{KINDS, World};

/// Objects and pods, as they were at one moment.
#[derive(Debug)]
pub struct Mesh {
    pub(super) world: World,
    pub(super) snapshot: Snapshot,
    pub(super) facts: Facts,
    pub(super) domain: String,
    pods: Vec<Pod>,
    departed: Vec<Pod>,
    pub(super) made: Made,
}

/// Whose proxy: namespace and name of the pod.
type Whose = (String, String);

/// What was made of each; `None`: there is nothing to be made of it.
type Kept<K, T> = RefCell<HashMap<K, Option<T>>>;

/// What was made of the objects already. They do not change, so that it holds for as long as the mesh does.
#[derive(Debug, Default)]
pub(super) struct Made {
    resources: Kept<(Whose, ResourceName), Resource>,
    indexes: Kept<(Whose, String), Arc<RouteIndex>>,
    gateways: Kept<(Whose, u16), Arc<Listener>>,
    places: Kept<(String, String), By>,
}

/// What is kept under a key, made where it is asked for first. (`make` may ask for other things.)
fn kept<K: std::hash::Hash + Eq, V: Clone>(all: &RefCell<HashMap<K, V>>, key: K, make: impl FnOnce() -> V) -> V {
    if let Some(found) = all.borrow().get(&key) {
        return found.clone();
    }
    let made = make();
    all.borrow_mut().insert(key, made.clone());
    made
}

fn whose(pod: &Pod) -> Whose {
    (pod.namespace.clone(), pod.name.clone())
}

impl Made {
    pub(super) fn resource(
        &self,
        pod: &Pod,
        name: &ResourceName,
        make: impl FnOnce() -> Option<Resource>,
    ) -> Option<Resource> {
        kept(&self.resources, (whose(pod), name.clone()), make)
    }

    /// A route table of a name, ready to be searched.
    pub(super) fn index(
        &self,
        pod: &Pod,
        name: &str,
        make: impl FnOnce() -> Option<Arc<RouteConfiguration>>,
    ) -> Option<Arc<RouteIndex>> {
        kept(&self.indexes, (whose(pod), name.to_owned()), || make().map(|table| Arc::new(RouteIndex::new(table))))
    }

    pub(super) fn gateway(
        &self,
        pod: &Pod,
        port: u16,
        make: impl FnOnce() -> Option<Arc<Listener>>,
    ) -> Option<Arc<Listener>> {
        kept(&self.gateways, (whose(pod), port), make)
    }

    pub(super) fn place(&self, placed: &Placed, make: impl FnOnce() -> Option<By>) -> Option<By> {
        kept(&self.places, (placed.object.clone(), placed.path.clone()), make)
    }
}

/// When something had traffic plays no part here.
struct Never;

impl Seen for Never {
    fn workload(&self, _: &str, _: &str) -> Option<i64> {
        None
    }

    fn service(&self, _: &str, _: &str) -> Option<i64> {
        None
    }
}

impl Mesh {
    /// What `world` holds. `cluster` is what proxies call the cluster, `domain` is of its names.
    pub fn of(world: &World, cluster: &str, domain: &str) -> Self {
        let all = KINDS.iter().flat_map(|kind| world.of(kind.group, kind.kind));
        let objects = all.filter_map(|object| RawObject::from_value((*object).clone()));
        let snapshot = Snapshot::builder().domain(domain).config_domain(domain).objects(objects).build();
        let facts = crate::facts::of(world, cluster, domain, &Never);
        let pods = pods(world, &facts, cluster, domain);
        Self {
            world: world.clone(),
            snapshot,
            facts,
            domain: domain.to_owned(),
            pods,
            departed: Vec::new(),
            made: Made::default(),
        }
    }

    /// The same, with pods that are there no more: requests that were made by them and to them are known as theirs.
    pub fn with_departed(mut self, departed: &[Departed], cluster: &str) -> Self {
        let zone = zones(&self.world);
        let of = |Departed { pod, workload }: &Departed| Pod::of(pod, workload, cluster, &self.domain, zone(pod));
        self.departed = departed.iter().filter_map(of).collect();
        self
    }

    /// Whether this is a moment of the past whose pods and endpoints are not known.
    pub fn is_undated(&self) -> bool {
        self.world.is_undated("", "Pod") || self.world.is_undated("discovery.k8s.io", "EndpointSlice")
    }

    /// What configuration is compiled from.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Namespace, workload and proxy of every pod that has one.
    pub fn proxies(&self) -> impl Iterator<Item = (&str, &str, &ProxyKey)> {
        let with = self.pods.iter().filter(|pod| pod.proxy.is_some());
        with.map(|pod| (pod.namespace.as_str(), pod.workload.as_str(), &pod.key))
    }

    /// The workload that a recorded request was at; a pod that is gone is taken for another one of its workload.
    pub fn workload_at(&self, hop: &RecordedHop) -> Option<(&str, &str)> {
        recorded::pod_of(self, hop).map(|pod| (pod.namespace.as_str(), pod.workload.as_str()))
    }

    /// A pod of a workload, one that takes requests before others.
    pub(super) fn pod_of(&self, namespace: &str, workload: &str) -> Option<&Pod> {
        let own = || self.pods.iter().filter(|pod| pod.namespace == namespace && pod.workload == workload);
        own().find(|pod| pod.ready).or_else(|| own().next())
    }

    /// The pod that has an address.
    pub(super) fn pod_at(&self, address: IpAddr) -> Option<&Pod> {
        self.pods.iter().chain(&self.departed).find(|pod| pod.key.ips.contains(&address))
    }

    /// The pod of a name.
    pub(super) fn pod_named(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.pods.iter().chain(&self.departed).find(|pod| pod.namespace == namespace && pod.name == name)
    }

    /// Of identities.
    pub(super) fn trust_domain(&self) -> &str {
        let domain = self.snapshot.mesh().trust_domain.as_str();
        if domain.is_empty() { "cluster.local" } else { domain }
    }
}

/// Where a pod runs.
fn zones(world: &World) -> impl Fn(&Value) -> TopologyZone + use<> {
    let nodes = world.of("", "Node");
    move |pod: &Value| {
        let name = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
        let is_named = |node: &&Arc<Value>| node.pointer("/metadata/name").and_then(Value::as_str) == Some(name);
        let labels = nodes.iter().find(is_named).and_then(|node| node.pointer("/metadata/labels"));
        let labels = labels.and_then(|labels| serde_json::from_value(labels.clone()).ok());
        TopologyZone::of(&labels.unwrap_or_default())
    }
}

fn pods(world: &World, facts: &Facts, cluster: &str, domain: &str) -> Vec<Pod> {
    let workloads = facts.workloads.iter();
    let owners: HashMap<(&str, &str), &str> = workloads
        .flat_map(|w| w.pods.iter().map(|pod| ((w.namespace.as_str(), pod.name.as_str()), w.name.as_str())))
        .collect();
    let zone = zones(world);
    let of = |object: &Arc<Value>| {
        let field = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let name = (field("/metadata/namespace"), field("/metadata/name"));
        let workload = owners.get(&name).copied().unwrap_or(name.1);
        Pod::of(object, workload, cluster, domain, zone(object))
    };
    world.of("", "Pod").iter().filter_map(of).collect()
}
