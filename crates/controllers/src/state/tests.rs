//! A cluster in memory for the tests of all controllers: it carries actions out as the API server would, and asks for the
//! plans that each change calls for, through the same routing as the driver.

use super::State;
use crate::action::{Action, Plan};
use crate::resources;
use crate::route::{Key, affected};
use crate::{deployment, endpoints, garbage, job, namespace, replicaset};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::core::discovery::ApiResource;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    pub(crate) dirty: BTreeSet<Key>,
    pub(crate) log: Vec<Action>,
    pub(crate) wake: Option<Timestamp>,
    objects: BTreeMap<(String, String, String), Value>,
    count: u64,
}

pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key.as_str()], value);
        }
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self {
            state: State::new(None),
            now: Timestamp::from_second(1_000_000).unwrap(),
            dirty: BTreeSet::new(),
            log: Vec::new(),
            wake: None,
            objects: BTreeMap::new(),
            count: 0,
        };
        for resource in resources::required() {
            let namespaced = resource.kind != "Namespace";
            world.state.add_kind(resource.clone(), namespaced);
            world.state.mark_synced(&resource);
        }
        world
    }

    pub(crate) fn advance(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    fn id(resource: &ApiResource, namespace: &str, name: &str) -> (String, String, String) {
        (resource.kind.clone(), namespace.to_owned(), name.to_owned())
    }

    pub(crate) fn get(&self, resource: &ApiResource, namespace: &str, name: &str) -> Option<&Value> {
        self.objects.get(&Self::id(resource, namespace, name))
    }

    pub(crate) fn all(&self, resource: &ApiResource) -> Vec<&Value> {
        self.objects.iter().filter(|((kind, ..), _)| *kind == resource.kind).map(|(_, object)| object).collect()
    }

    /// Creates an object in namespace `ns` (or cluster-wide) and returns its name.
    pub(crate) fn create(&mut self, resource: &ApiResource, mut object: Value) -> String {
        self.count += 1;
        let meta = object["metadata"].as_object_mut().unwrap();
        if !meta.contains_key("name") {
            let name = format!("{}{:05}", meta["generateName"].as_str().unwrap(), self.count);
            meta.insert("name".into(), json!(name));
        }
        let name = meta["name"].as_str().unwrap().to_owned();
        meta.insert("uid".into(), json!(format!("uid-{}", self.count)));
        meta.insert("generation".into(), json!(1));
        // Each a second later, so that age tells them apart.
        let created = self.now + SignedDuration::from_secs(i64::try_from(self.count).unwrap() - 100_000);
        meta.insert("creationTimestamp".into(), json!(created));
        self.put(resource, object);
        name
    }

    fn put(&mut self, resource: &ApiResource, mut object: Value) {
        self.count += 1;
        object["metadata"]["resourceVersion"] = json!(self.count.to_string());
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.objects.insert(Self::id(resource, &namespace, &name), object.clone());
        let change = self.state.apply(resource, serde_json::from_value(object).unwrap());
        self.dirty.extend(affected(&self.state, &change.unwrap()));
    }

    pub(crate) fn patch(&mut self, resource: &ApiResource, namespace: &str, name: &str, patch: &Value) {
        let Some(old) = self.get(resource, namespace, name).cloned() else { return };
        let mut new = old.clone();
        merge(&mut new, patch);
        if new["spec"] != old["spec"] {
            new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap() + 1);
        }
        let finalizers = new["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
        let leaves = new["metadata"]["deletionTimestamp"].is_string() && !finalizers && resource.kind != "Pod";
        if leaves {
            self.remove(resource, namespace, name);
        } else {
            self.put(resource, new);
        }
    }

    /// Takes an object out of the world.
    pub(crate) fn remove(&mut self, resource: &ApiResource, namespace: &str, name: &str) {
        let Some(object) = self.objects.remove(&Self::id(resource, namespace, name)) else { return };
        let change = self.state.remove(resource, object["metadata"]["uid"].as_str().unwrap());
        if let Some(change) = change {
            self.dirty.extend(affected(&self.state, &change));
        }
    }

    /// Asks for deletion: pods, and objects with finalizers, stay a while.
    pub(crate) fn delete(&mut self, resource: &ApiResource, namespace: &str, name: &str) {
        let Some(object) = self.get(resource, namespace, name) else { return };
        let waits = object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
        if resource.kind == "Pod" || waits {
            let now = json!({"metadata": {"deletionTimestamp": self.now}});
            self.patch(resource, namespace, name, &now);
        } else {
            self.remove(resource, namespace, name);
        }
    }

    pub(crate) fn plan(&self, key: &Key) -> Plan {
        match key {
            Key::Deployment(name) => deployment::plan(&self.state, name, self.now),
            Key::ReplicaSet(name) => replicaset::plan(&self.state, name, self.now),
            Key::Job(name) => job::plan(&self.state, name, self.now),
            Key::Endpoints(name) => endpoints::plan(&self.state, name),
            Key::Namespace(name) => namespace::plan(&self.state, name),
            Key::Garbage(uid) => garbage::plan(&self.state, uid),
        }
    }

    fn carry_out(&mut self, action: &Action) {
        match action {
            Action::Create { resource, namespace, object, .. } => {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                if self.get(resource, namespace, name).is_none() {
                    self.create(resource, object.clone());
                }
            }
            Action::Patch { target, patch, .. } => {
                self.patch(&target.resource, &target.namespace, &target.name, patch);
            }
            Action::Delete { target, propagation, .. } => {
                if *propagation == kube::api::PropagationPolicy::Foreground {
                    let finalizer = json!({"metadata": {"finalizers": [garbage::FOREGROUND]}});
                    self.patch(&target.resource, &target.namespace, &target.name, &finalizer);
                }
                self.delete(&target.resource, &target.namespace, &target.name);
            }
            Action::DeleteAll { resource, namespace } => {
                let all: Vec<String> =
                    self.all(resource).iter().map(|o| o["metadata"]["name"].as_str().unwrap().to_owned()).collect();
                for name in all {
                    self.delete(resource, namespace, &name);
                }
            }
            Action::Finalize { namespace, .. } => self.remove(&resources::namespaces(), "", namespace),
            Action::Collect { target, left, .. } => {
                if left.is_empty() {
                    self.delete(&target.resource, &target.namespace, &target.name);
                } else {
                    let patch = json!({"metadata": {"ownerReferences": left}});
                    self.patch(&target.resource, &target.namespace, &target.name, &patch);
                }
            }
            Action::Report(_) => {}
        }
    }

    /// Makes and carries out the plan of one key; the Deployments' come first. Whether there was one.
    pub(crate) fn step(&mut self) -> bool {
        let first = self.dirty.iter().find(|key| matches!(key, Key::Deployment(_))).or(self.dirty.first()).cloned();
        let Some(key) = first else { return false };
        self.dirty.remove(&key);
        let plan = self.plan(&key);
        self.wake = [self.wake, plan.wake].into_iter().flatten().min();
        for action in &plan.actions {
            self.carry_out(action);
        }
        self.log.extend(plan.actions);
        true
    }

    /// Until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.step() {
                return;
            }
        }
        panic!(
            "the controllers do not come to rest; the last actions: {:#?}",
            self.log.iter().rev().take(4).collect::<Vec<_>>()
        );
    }

    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        self.state.pods.all("ns").cloned().collect()
    }

    /// What the kubelet writes.
    pub(crate) fn set_ready(&mut self, name: &str, ready: bool) {
        let status = json!({"status": {
            "phase": "Running",
            "podIP": format!("10.0.0.{}", name.bytes().map(u32::from).sum::<u32>() % 250 + 1),
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": self.now}],
        }});
        self.patch(&resources::pods(), "ns", name, &status);
    }

    /// All pods become ready, and those that go are gone.
    pub(crate) fn kubelet(&mut self) {
        for pod in self.pods() {
            let name = pod.metadata.name.clone().unwrap();
            if pod.metadata.deletion_timestamp.is_some() {
                self.remove(&resources::pods(), "ns", &name);
            } else if !crate::pods::is_ready(&pod) {
                self.set_ready(&name, true);
            }
        }
    }

    /// Controllers and kubelet take turns until both are at rest.
    pub(crate) fn settle_with_kubelet(&mut self) {
        for _ in 0..200 {
            self.settle();
            let before = self.count;
            self.kubelet();
            if self.dirty.is_empty() && self.count == before {
                return;
            }
        }
        panic!("controllers and kubelet do not come to rest");
    }
}

#[test]
fn older_versions_and_the_dead_change_nothing() {
    let mut state = State::new(None);
    let resource = resources::services();
    let object = |version: u64, uid: &str| {
        serde_json::from_value(
            json!({"metadata": {"name": "a", "namespace": "ns", "uid": uid, "resourceVersion": version.to_string()}}),
        )
        .unwrap()
    };
    assert!(state.apply(&resource, object(5, "one")).is_some());
    assert!(state.apply(&resource, object(4, "one")).is_none());
    assert!(state.apply(&resource, object(5, "one")).is_none());
    assert!(state.remove(&resource, "one").is_some());
    assert!(state.apply(&resource, object(6, "one")).is_none(), "a late answer must not bring it back");
    assert!(state.apply(&resource, object(7, "two")).is_some());
    assert_eq!(state.services.get("ns", "a").unwrap().metadata.uid.as_deref(), Some("two"));
    // The news of the first one's end is late as well: it must not take the second one away.
    assert!(state.remove(&resource, "one").is_none());
    assert!(state.services.get("ns", "a").is_some());
}
