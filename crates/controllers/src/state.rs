//! The controllers' picture of the cluster: the objects that plans read, decoded, and of every other object its metadata.
//!
//! Watches fill it, and the answers to the controllers' own writes do so at once, so that no plan is made without what the
//! last one did. An older version never replaces a newer one, and what was deleted stays deleted.

mod graph;

use crate::resources;
use graph::Graph;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::discovery::ApiResource;
use kube::core::{DynamicObject, TypeMeta};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub(crate) use graph::Node;

/// How many deleted objects are remembered, so that a late answer about one does not bring it back.
const TOMBSTONES: usize = 4096;

/// Objects of one kind by namespace and name.
#[derive(Debug)]
pub(crate) struct Store<K>(BTreeMap<String, BTreeMap<String, Arc<K>>>);

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K> Store<K> {
    /// One object; cluster-scoped kinds have an empty namespace.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.0.get(namespace)?.get(name)
    }

    /// All of a namespace, by name.
    pub(crate) fn all<'a>(&'a self, namespace: &str) -> impl Iterator<Item = &'a Arc<K>> + use<'a, K> {
        self.0.get(namespace).into_iter().flat_map(BTreeMap::values)
    }

    /// All of all namespaces.
    pub(crate) fn everything(&self) -> impl Iterator<Item = &Arc<K>> {
        self.0.values().flat_map(BTreeMap::values)
    }

    fn insert(&mut self, meta: &ObjectMeta, object: K) {
        let (namespace, name) = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        self.0.entry(namespace).or_default().insert(name, Arc::new(object));
    }

    fn remove(&mut self, meta: &ObjectMeta) {
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        if let Some(objects) = self.0.get_mut(namespace) {
            objects.remove(meta.name.as_deref().unwrap_or_default());
            if objects.is_empty() {
                self.0.remove(namespace);
            }
        }
    }
}

/// A kind that is watched.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
    /// Whether the first list is in.
    pub(crate) synced: bool,
}

/// A change of the picture, with the metadata before and after.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) resource: ApiResource,
    pub(crate) old: Option<Arc<ObjectMeta>>,
    pub(crate) new: Option<Arc<ObjectMeta>>,
}

/// The picture.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) deployments: Store<Deployment>,
    pub(crate) replica_sets: Store<ReplicaSet>,
    pub(crate) jobs: Store<Job>,
    pub(crate) pods: Store<Pod>,
    pub(crate) services: Store<Service>,
    pub(crate) endpoint_slices: Store<EndpointSlice>,
    pub(crate) endpoints: Store<Endpoints>,
    pub(crate) namespaces: Store<Namespace>,
    pub(crate) service_accounts: Store<ServiceAccount>,
    pub(crate) config_maps: Store<ConfigMap>,
    pub(crate) graph: Graph,
    /// Watched kinds by group and kind.
    pub(crate) kinds: BTreeMap<(String, String), Kind>,
    /// Namespaced kinds that are not watched but go with their namespace.
    pub(crate) unwatched: Vec<ApiResource>,
    /// Why the last attempt to create something for the owner with this uid failed.
    pub(crate) failures: BTreeMap<String, String>,
    /// See [`crate::Options::root_ca`].
    pub(crate) root_ca: Option<String>,
    deleted: VecDeque<String>,
    deleted_set: BTreeSet<String>,
}

impl State {
    /// An empty picture.
    pub(crate) fn new(root_ca: Option<String>) -> Self {
        Self { root_ca, ..Self::default() }
    }

    /// Takes in an object as it is now. Nothing comes of an object that is known to be newer, or gone.
    pub(crate) fn apply(&mut self, resource: &ApiResource, mut object: DynamicObject) -> Option<Change> {
        // Large, and nothing here reads it.
        object.metadata.managed_fields = None;
        let uid = object.metadata.uid.clone()?;
        if self.deleted_set.contains(&uid) {
            return None;
        }
        let version = version(&object.metadata);
        if let Some(known) = self.graph.get(&uid)
            && version.is_some()
            && version <= self::version(&known.meta)
        {
            return None;
        }
        let meta = Arc::new(object.metadata.clone());
        // The same name with another uid: the earlier object is gone, though nobody has told us yet.
        if let Some(earlier) = self.graph.find(resource, &meta).filter(|earlier| **earlier != uid).cloned() {
            self.graph.remove(&earlier);
            self.bury(earlier);
        }
        self.store(resource, object);
        let old = self.graph.insert(resource.clone(), Arc::clone(&meta));
        Some(Change { resource: resource.clone(), old, new: Some(meta) })
    }

    /// Takes out an object that is gone.
    pub(crate) fn remove(&mut self, resource: &ApiResource, uid: &str) -> Option<Change> {
        self.bury(uid.to_owned());
        let node = self.graph.remove(uid)?;
        self.failures.remove(uid);
        self.forget(resource, &node.meta);
        Some(Change { resource: resource.clone(), old: Some(node.meta), new: None })
    }

    /// Takes out every object of a kind that is not in `seen`: what a new list no longer holds.
    pub(crate) fn retain(&mut self, resource: &ApiResource, seen: &BTreeSet<String>) -> Vec<Change> {
        let gone: Vec<String> = self.graph.of_kind(resource).filter(|uid| !seen.contains(*uid)).cloned().collect();
        gone.iter().filter_map(|uid| self.remove(resource, uid)).collect()
    }

    /// Whether the namespace is on its way out, so that nothing may be created there any more.
    pub(crate) fn is_leaving(&self, namespace: &str) -> bool {
        self.namespaces.get("", namespace).is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    /// The pods that the object with `uid` controls.
    pub(crate) fn pods_of<'a>(&'a self, namespace: &str, uid: &'a str) -> impl Iterator<Item = &'a Arc<Pod>> {
        self.pods.all(namespace).filter(move |pod| crate::owners::is_controlled_by(&pod.metadata, uid))
    }

    fn bury(&mut self, uid: String) {
        if self.deleted_set.insert(uid.clone()) {
            self.deleted.push_back(uid);
        }
        if self.deleted.len() > TOMBSTONES
            && let Some(oldest) = self.deleted.pop_front()
        {
            self.deleted_set.remove(&oldest);
        }
    }

    fn store(&mut self, resource: &ApiResource, object: DynamicObject) {
        match (resource.group.as_str(), resource.kind.as_str()) {
            ("apps", "Deployment") => decode(&mut self.deployments, resource, object),
            ("apps", "ReplicaSet") => decode(&mut self.replica_sets, resource, object),
            ("batch", "Job") => decode(&mut self.jobs, resource, object),
            ("discovery.k8s.io", "EndpointSlice") => decode(&mut self.endpoint_slices, resource, object),
            ("", "Pod") => decode(&mut self.pods, resource, object),
            ("", "Service") => decode(&mut self.services, resource, object),
            ("", "Endpoints") => decode(&mut self.endpoints, resource, object),
            ("", "Namespace") => decode(&mut self.namespaces, resource, object),
            ("", "ServiceAccount") => decode(&mut self.service_accounts, resource, object),
            ("", "ConfigMap") if object.metadata.name.as_deref() == Some(crate::namespace::ROOT_CA) => {
                decode(&mut self.config_maps, resource, object);
            }
            _ => {}
        }
    }

    fn forget(&mut self, resource: &ApiResource, meta: &ObjectMeta) {
        match (resource.group.as_str(), resource.kind.as_str()) {
            ("apps", "Deployment") => self.deployments.remove(meta),
            ("apps", "ReplicaSet") => self.replica_sets.remove(meta),
            ("batch", "Job") => self.jobs.remove(meta),
            ("discovery.k8s.io", "EndpointSlice") => self.endpoint_slices.remove(meta),
            ("", "Pod") => self.pods.remove(meta),
            ("", "Service") => self.services.remove(meta),
            ("", "Endpoints") => self.endpoints.remove(meta),
            ("", "Namespace") => self.namespaces.remove(meta),
            ("", "ServiceAccount") => self.service_accounts.remove(meta),
            ("", "ConfigMap") => self.config_maps.remove(meta),
            _ => {}
        }
    }
}

/// Kubernetes lets resource versions be compared as numbers; one that is none is taken as unknown.
fn version(meta: &ObjectMeta) -> Option<u64> {
    meta.resource_version.as_ref()?.parse().ok()
}

fn decode<K: DeserializeOwned>(store: &mut Store<K>, resource: &ApiResource, mut object: DynamicObject) {
    let meta = object.metadata.clone();
    // Items of a list do not carry their type.
    object.types = Some(TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() });
    match serde_json::to_value(object).and_then(serde_json::from_value) {
        Ok(object) => store.insert(&meta, object),
        Err(error) => {
            let (namespace, name) = (meta.namespace.as_deref().unwrap_or("-"), meta.name.as_deref().unwrap_or("-"));
            tracing::error!(kind = %resource.kind, namespace, name, %error, "an object cannot be decoded; no controller acts on it");
            store.remove(&meta);
        }
    }
}

impl State {
    /// Notes that a kind is watched from now on.
    pub(crate) fn add_kind(&mut self, resource: ApiResource, namespaced: bool) {
        let id = (resource.group.clone(), resource.kind.clone());
        self.kinds.insert(id, Kind { resource, namespaced, synced: false });
    }

    /// Notes that a kind's first list is in.
    pub(crate) fn mark_synced(&mut self, resource: &ApiResource) {
        if let Some(kind) = self.kinds.get_mut(&(resource.group.clone(), resource.kind.clone())) {
            kind.synced = true;
        }
    }

    /// Whether plans can be made: the first lists of all kinds that they read are in.
    pub(crate) fn is_ready(&self) -> bool {
        resources::required().iter().all(|resource| {
            self.kinds.get(&(resource.group.clone(), resource.kind.clone())).is_some_and(|kind| kind.synced)
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
