//! Which plans a change may alter. Too many costs a moment; too few would leave something undone, so in doubt it is one more.

use crate::owners::controller_of;
use crate::selector;
use crate::state::{Change, State};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A namespaced object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Name {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }
}

/// One piece of work: a controller and what it is to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// Endpoints first: they decide where traffic goes.
    Endpoints(Name),
    ReplicaSet(Name),
    Deployment(Name),
    Job(Name),
    Namespace(String),
    /// By uid.
    Garbage(String),
}

/// The keys whose plan `change` may alter.
pub(crate) fn affected(state: &State, change: &Change) -> BTreeSet<Key> {
    let mut keys = BTreeSet::new();
    let sides = [change.old.as_ref(), change.new.as_ref()];
    for meta in sides.into_iter().flatten() {
        of_kind(state, &change.resource.group, &change.resource.kind, meta, &mut keys);
        garbage(state, change.new.is_none(), meta, &mut keys);
        if let Some(namespace) = &meta.namespace
            && state.is_leaving(namespace)
        {
            keys.insert(Key::Namespace(namespace.clone()));
        }
    }
    keys
}

fn of_kind(state: &State, group: &str, kind: &str, meta: &ObjectMeta, keys: &mut BTreeSet<Key>) {
    let name = Name::of(meta);
    match (group, kind) {
        ("apps", "Deployment") => {
            keys.insert(Key::Deployment(name));
        }
        ("apps", "ReplicaSet") => {
            match controller_of(meta) {
                Some(owner) => keys.insert(Key::Deployment(Name::new(&name.namespace, &owner.name))),
                None => {
                    keys.extend(state.deployments.all(&name.namespace).map(|d| Key::Deployment(Name::of(&d.metadata))));
                    false
                }
            };
            keys.insert(Key::ReplicaSet(name));
        }
        ("batch", "Job") => {
            keys.insert(Key::Job(name));
        }
        ("", "Pod") => pod(state, &name, meta, keys),
        ("", "Service" | "Endpoints") => {
            keys.insert(Key::Endpoints(name));
        }
        ("discovery.k8s.io", "EndpointSlice") => {
            if let Some(service) = meta.labels.as_ref().and_then(|labels| labels.get(crate::endpoints::SERVICE_NAME)) {
                keys.insert(Key::Endpoints(Name::new(&name.namespace, service)));
            }
        }
        ("", "Namespace") => {
            keys.insert(Key::Namespace(name.name));
        }
        ("", "ServiceAccount") if name.name == "default" => {
            keys.insert(Key::Namespace(name.namespace));
        }
        ("", "ConfigMap") if name.name == crate::namespace::ROOT_CA => {
            keys.insert(Key::Namespace(name.namespace));
        }
        _ => {}
    }
}

fn pod(state: &State, name: &Name, meta: &ObjectMeta, keys: &mut BTreeSet<Key>) {
    let namespace = &name.namespace;
    match controller_of(meta) {
        Some(owner) if owner.kind == "ReplicaSet" => {
            keys.insert(Key::ReplicaSet(Name::new(namespace, &owner.name)));
            let deployment = state.replica_sets.get(namespace, &owner.name).and_then(|rs| controller_of(&rs.metadata));
            keys.extend(deployment.map(|owner| Key::Deployment(Name::new(namespace, &owner.name))));
        }
        Some(owner) if owner.kind == "Job" => {
            keys.insert(Key::Job(Name::new(namespace, &owner.name)));
        }
        Some(_) => {}
        None => {
            let takers = state.replica_sets.all(namespace);
            let takers = takers.filter(|rs| {
                rs.spec.as_ref().is_some_and(|spec| selector::matches(&spec.selector, meta.labels.as_ref()))
            });
            keys.extend(takers.map(|rs| Key::ReplicaSet(Name::of(&rs.metadata))));
        }
    }
    let services = state.services.all(namespace).filter(|service| {
        service.spec.as_ref().is_some_and(|spec| selector::selects(spec.selector.as_ref(), meta.labels.as_ref()))
    });
    keys.extend(services.map(|service| Key::Endpoints(Name::of(&service.metadata))));
}

/// The object itself where it has owners or is waited for; its dependents where it is gone; its owners where they wait.
fn garbage(state: &State, gone: bool, meta: &Arc<ObjectMeta>, keys: &mut BTreeSet<Key>) {
    let Some(uid) = &meta.uid else { return };
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    if gone {
        keys.extend(state.graph.dependents(uid).map(|(uid, _)| Key::Garbage(uid.clone())));
    } else if !owners.is_empty() || meta.deletion_timestamp.is_some() {
        keys.insert(Key::Garbage(uid.clone()));
    }
    let waiting = owners
        .iter()
        .filter(|owner| state.graph.get(&owner.uid).is_some_and(|node| node.meta.deletion_timestamp.is_some()));
    keys.extend(waiting.map(|owner| Key::Garbage(owner.uid.clone())));
}
