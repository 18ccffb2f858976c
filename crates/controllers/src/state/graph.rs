//! Every watched object's metadata, and who refers to whom as owner.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::discovery::ApiResource;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One object.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) resource: ApiResource,
    pub(crate) meta: Arc<ObjectMeta>,
}

/// Group, kind, namespace and name.
type Name = (String, String, String, String);

/// Objects by uid, with indexes.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: BTreeMap<String, Node>,
    names: BTreeMap<Name, String>,
    dependents: BTreeMap<String, BTreeSet<String>>,
    namespaces: BTreeMap<String, BTreeSet<String>>,
}

fn name(resource: &ApiResource, meta: &ObjectMeta) -> Name {
    (
        resource.group.clone(),
        resource.kind.clone(),
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

fn take(index: &mut BTreeMap<String, BTreeSet<String>>, key: &str, uid: &str) {
    if let Some(set) = index.get_mut(key) {
        set.remove(uid);
        if set.is_empty() {
            index.remove(key);
        }
    }
}

impl Graph {
    pub(crate) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// The uid of the object that now has this kind and name.
    pub(crate) fn find(&self, resource: &ApiResource, meta: &ObjectMeta) -> Option<&String> {
        self.names.get(&name(resource, meta))
    }

    /// Those that name the object with `uid` as an owner.
    pub(crate) fn dependents(&self, uid: &str) -> impl Iterator<Item = (&String, &Node)> {
        self.dependents.get(uid).into_iter().flatten().filter_map(|uid| Some((uid, self.nodes.get(uid)?)))
    }

    /// Everything in a namespace.
    pub(crate) fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Node> {
        self.namespaces.get(namespace).into_iter().flatten().filter_map(|uid| self.nodes.get(uid))
    }

    /// The uids of a kind's objects.
    pub(crate) fn of_kind(&self, resource: &ApiResource) -> impl Iterator<Item = &String> {
        let (group, kind) = (resource.group.clone(), resource.kind.clone());
        let from = (group.clone(), kind.clone(), String::new(), String::new());
        self.names.range(from..).take_while(move |(name, _)| name.0 == group && name.1 == kind).map(|(_, uid)| uid)
    }

    /// The uids of the objects with an owner of that kind.
    pub(crate) fn with_owner_kind(&self, resource: &ApiResource) -> impl Iterator<Item = String> {
        let refers = |node: &Node| {
            node.meta.owner_references.iter().flatten().any(|owner| {
                let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
                owner.kind == resource.kind && group == resource.group
            })
        };
        self.nodes.iter().filter(move |(_, node)| refers(node)).map(|(uid, _)| uid.clone())
    }

    /// Puts an object in, and returns what was known of it.
    pub(crate) fn insert(&mut self, resource: ApiResource, meta: Arc<ObjectMeta>) -> Option<Arc<ObjectMeta>> {
        let uid = meta.uid.clone()?;
        let old = self.remove(&uid).map(|node| node.meta);
        self.names.insert(name(&resource, &meta), uid.clone());
        for owner in meta.owner_references.iter().flatten() {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
        }
        if let Some(namespace) = &meta.namespace {
            self.namespaces.entry(namespace.clone()).or_default().insert(uid.clone());
        }
        self.nodes.insert(uid, Node { resource, meta });
        old
    }

    /// Takes an object out. Those that refer to it stay, and so do their references.
    pub(crate) fn remove(&mut self, uid: &str) -> Option<Node> {
        let node = self.nodes.remove(uid)?;
        let name = name(&node.resource, &node.meta);
        if self.names.get(&name).is_some_and(|found| found == uid) {
            self.names.remove(&name);
        }
        for owner in node.meta.owner_references.iter().flatten() {
            take(&mut self.dependents, &owner.uid, uid);
        }
        if let Some(namespace) = &node.meta.namespace {
            take(&mut self.namespaces, namespace, uid);
        }
        Some(node)
    }
}
