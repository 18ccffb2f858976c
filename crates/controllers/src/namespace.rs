//! Namespaces: a new one gets its default ServiceAccount and the API server's certificate authority, one that is deleted is
//! emptied and then let go.

use crate::action::{Action, Plan};
use crate::state::State;
use crate::{diff, resources};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The ConfigMap that holds the certificates of the API server's authority.
pub(crate) const ROOT_CA: &str = "kube-root-ca.crt";
const FINALIZER: &str = "kubernetes";

/// What is to be done about the namespace.
pub(crate) fn plan(state: &State, name: &str) -> Plan {
    let mut plan = Plan::default();
    let Some(namespace) = state.namespaces.get("", name) else { return plan };
    if namespace.metadata.deletion_timestamp.is_some() {
        let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_deref()).unwrap_or_default();
        if finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            empty(state, name, &mut plan);
            if plan.actions.is_empty() && is_empty(state, name) {
                let left: Vec<_> = finalizers.iter().filter(|finalizer| *finalizer != FINALIZER).collect();
                finalize(state, name, &json!(left), &mut plan);
            }
        }
        return plan;
    }
    if state.service_accounts.get(name, "default").is_none() {
        let object = json!({"metadata": {"name": "default", "namespace": name}});
        create(&mut plan, resources::service_accounts(), name, object);
    }
    if let Some(root_ca) = &state.root_ca {
        trust(state, name, root_ca, &mut plan);
    }
    plan
}

fn create(plan: &mut Plan, resource: kube::core::discovery::ApiResource, namespace: &str, object: Value) {
    plan.push(Action::Create { resource, namespace: namespace.to_owned(), object, by: None, tell: false });
}

fn trust(state: &State, namespace: &str, root_ca: &str, plan: &mut Plan) {
    let data = json!({"ca.crt": root_ca});
    match state.config_maps.get(namespace, ROOT_CA) {
        None => {
            let annotation = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";
            let meta = json!({"name": ROOT_CA, "namespace": namespace, "annotations": {"kubernetes.io/description": annotation}});
            create(plan, resources::config_maps(), namespace, json!({"metadata": meta, "data": data}));
        }
        Some(found) => {
            if let Some(patch) = diff::merge_patch(&json!(found.data), &data) {
                plan.patch(resources::config_maps(), &found.metadata, json!({ "data": patch }));
            }
        }
    }
}

/// Asks for the deletion of every kind of which something is there that is not going yet.
fn empty(state: &State, namespace: &str, plan: &mut Plan) {
    let staying = state.graph.in_namespace(namespace).filter(|node| node.meta.deletion_timestamp.is_none());
    let kinds: BTreeMap<_, _> =
        staying.map(|node| ((&node.resource.group, &node.resource.plural), &node.resource)).collect();
    for resource in kinds.into_values() {
        plan.push(Action::DeleteAll { resource: resource.clone(), namespace: namespace.to_owned() });
    }
}

fn is_empty(state: &State, namespace: &str) -> bool {
    state.graph.in_namespace(namespace).next().is_none()
        && state.kinds.values().all(|kind| !kind.namespaced || kind.synced)
}

fn finalize(state: &State, name: &str, finalizers: &Value, plan: &mut Plan) {
    for resource in &state.unwatched {
        plan.push(Action::DeleteAll { resource: resource.clone(), namespace: name.to_owned() });
    }
    let object = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name},
        "spec": {"finalizers": finalizers},
    });
    plan.push(Action::Finalize { namespace: name.to_owned(), object });
}

#[cfg(test)]
mod tests;
