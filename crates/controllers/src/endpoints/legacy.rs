//! The Endpoints object, which older clients still read: one for each Service with a selector, of the same name.

use super::{Port, address, families, resolve, target};
use crate::action::{Action, Plan};
use crate::route::Name;
use crate::state::State;
use crate::{diff, pods, resources};
use k8s_openapi::api::core::v1::{Pod, Service, ServiceSpec};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Set on the objects that are ours to remove.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";

/// Brings the object in line with the pods.
pub(super) fn plan(state: &State, service: &Service, spec: &ServiceSpec, backends: &[&Arc<Pod>], plan: &mut Plan) {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let wanted = json!({"metadata": {"labels": labels}, "subsets": subsets(spec, backends)});
    match state.endpoints.get(namespace, name) {
        Some(found) => {
            let subsets = found.subsets.clone().unwrap_or_default();
            let old = json!({"metadata": {"labels": found.metadata.labels}, "subsets": subsets});
            if let Some(patch) = diff::merge_patch(&old, &wanted) {
                plan.patch(resources::endpoints(), &found.metadata, patch);
            }
        }
        None => {
            let meta = json!({"name": name, "namespace": namespace, "labels": labels});
            plan.push(Action::Create {
                resource: resources::endpoints(),
                namespace: namespace.to_owned(),
                object: json!({"metadata": meta, "subsets": wanted.get("subsets")}),
                by: None,
                tell: false,
            });
        }
    }
}

/// Removes the object of a Service that is gone.
pub(super) fn forget(state: &State, name: &Name, plan: &mut Plan) {
    if let Some(found) = state.endpoints.get(&name.namespace, &name.name)
        && found.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == MANAGER)
    {
        plan.delete(resources::endpoints(), &found.metadata, None);
    }
}

fn subsets(spec: &ServiceSpec, backends: &[&Arc<Pod>]) -> Vec<Value> {
    let family = families(spec).first().copied().unwrap_or("IPv4");
    let mut groups: BTreeMap<Vec<Port>, (Vec<Value>, Vec<Value>)> = BTreeMap::new();
    let published = spec.publish_not_ready_addresses == Some(true);
    // This form knows no terminating endpoints, so a pod that goes leaves it.
    for pod in backends.iter().filter(|pod| published || !pods::is_terminating(pod)) {
        let Some(ip) = address(pod, family) else { continue };
        let ports: Vec<Port> = spec.ports.iter().flatten().filter_map(|port| resolve(port, pod)).collect();
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let mut entry = json!({"ip": ip, "targetRef": target(pod)});
        if let (Some(node), Some(entry)) = (node, entry.as_object_mut()) {
            entry.insert("nodeName".to_owned(), json!(node));
        }
        let (ready, waiting) = groups.entry(ports).or_default();
        if published || pods::is_ready(pod) { ready.push(entry) } else { waiting.push(entry) }
    }
    groups.into_iter().map(|(ports, (ready, waiting))| subset(&ports, ready, waiting)).collect()
}

fn subset(ports: &[Port], ready: Vec<Value>, waiting: Vec<Value>) -> Value {
    let ports = ports.iter().map(|(name, port, protocol, application)| {
        let mut value = Map::new();
        if !name.is_empty() {
            value.insert("name".to_owned(), json!(name));
        }
        value.insert("port".to_owned(), json!(port));
        value.insert("protocol".to_owned(), json!(protocol));
        value.extend(application.clone().map(|application| ("appProtocol".to_owned(), json!(application))));
        Value::Object(value)
    });
    let mut subset = Map::new();
    let ports: Vec<_> = ports.collect();
    for (key, list) in [("addresses", ready), ("notReadyAddresses", waiting), ("ports", ports)] {
        if !list.is_empty() {
            subset.insert(key.to_owned(), Value::Array(list));
        }
    }
    Value::Object(subset)
}
