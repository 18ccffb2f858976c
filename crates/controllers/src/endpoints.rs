//! A Service's endpoints: the EndpointSlices of the pods that its selector takes, and the older Endpoints object.
//!
//! A pod that was asked to go is no longer ready here at that very moment, though it still serves what it has: whoever
//! balances over the slices stops sending it new requests before it stops taking them.

mod legacy;

use crate::action::{Action, Plan};
use crate::route::Name;
use crate::state::State;
use crate::{diff, owners, pods, resources, selector};
use k8s_openapi::api::core::v1::{Container, Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The label that says whose slice it is.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Kubernetes' default number of endpoints in one slice.
const SLICE_MAX: usize = 100;

/// What is to be done about the endpoints of one Service.
pub(crate) fn plan(state: &State, name: &Name) -> Plan {
    let mut plan = Plan::default();
    if state.is_leaving(&name.namespace) {
        return plan;
    }
    let service = state.services.get(&name.namespace, &name.name).filter(|s| s.metadata.deletion_timestamp.is_none());
    let spec = service.and_then(|service| Some((service, service.spec.as_ref()?)));
    let Some((service, spec)) = spec else {
        legacy::forget(state, name, &mut plan);
        return plan;
    };
    // Without a selector the endpoints are somebody else's to write.
    let selects = spec.selector.as_ref().is_some_and(|selector| !selector.is_empty());
    if !selects || spec.type_.as_deref() == Some("ExternalName") {
        return plan;
    }
    let backends: Vec<&Arc<Pod>> = state
        .pods
        .all(&name.namespace)
        .filter(|pod| selector::selects(spec.selector.as_ref(), pod.metadata.labels.as_ref()))
        .filter(|pod| !pods::is_finished(pod))
        .collect();
    slices(state, name, service, spec, &backends, &mut plan);
    legacy::plan(state, service, spec, &backends, &mut plan);
    plan
}

/// A resolved port: name, number, protocol, application protocol.
type Port = (String, i32, String, Option<String>);
/// Endpoints by address family and the ports that their pods resolve to.
type Groups = BTreeMap<(&'static str, Vec<Port>), Vec<Value>>;

fn slices(state: &State, name: &Name, service: &Service, spec: &ServiceSpec, backends: &[&Arc<Pod>], plan: &mut Plan) {
    let mut groups = Groups::new();
    for family in families(spec) {
        for pod in backends {
            if let Some(address) = address(pod, family) {
                let ports = spec.ports.iter().flatten().filter_map(|port| resolve(port, pod)).collect();
                groups.entry((family, ports)).or_default().push(endpoint(name, spec, pod, &address));
            }
        }
        // An empty slice says that there is nobody, which is not the same as nothing known.
        if !groups.keys().any(|(found, _)| *found == family) {
            groups.insert((family, Vec::new()), Vec::new());
        }
    }
    let mut wanted = BTreeMap::new();
    for ((family, ports), endpoints) in groups {
        let mut chunks: Vec<&[Value]> = endpoints.chunks(SLICE_MAX).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        for (index, chunk) in chunks.into_iter().enumerate() {
            let slice = slice(service, spec, family, &ports, chunk);
            wanted.insert(slice_name(&name.name, family, &ports, index), slice);
        }
    }
    let uid = service.metadata.uid.as_deref().unwrap_or_default();
    for slice in state.endpoint_slices.all(&name.namespace).filter(|slice| owned(slice, uid)) {
        let known = slice.metadata.name.as_deref().unwrap_or_default();
        match wanted.remove(known) {
            Some(new) => update(slice, &new, plan),
            None => plan.delete(resources::endpoint_slices(), &slice.metadata, None),
        }
    }
    for (slice_name, mut object) in wanted {
        if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
            metadata.insert("name".to_owned(), json!(slice_name));
            metadata.insert("namespace".to_owned(), json!(name.namespace));
            metadata.insert(
                "ownerReferences".to_owned(),
                json!([owners::reference(&resources::services(), &service.metadata)]),
            );
        }
        let namespace = name.namespace.clone();
        // First what is new, then what goes, so that a port's move leaves no moment without endpoints.
        plan.actions.insert(
            0,
            Action::Create { resource: resources::endpoint_slices(), namespace, object, by: None, tell: false },
        );
    }
}

fn owned(slice: &EndpointSlice, service: &str) -> bool {
    let manager = slice.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY));
    manager.is_some_and(|manager| manager == MANAGER) && owners::is_controlled_by(&slice.metadata, service)
}

fn update(slice: &EndpointSlice, new: &Value, plan: &mut Plan) {
    let old = json!({
        "metadata": {"labels": slice.metadata.labels},
        "addressType": slice.address_type,
        "endpoints": slice.endpoints,
        "ports": slice.ports.clone().unwrap_or_default(),
    });
    if let Some(patch) = diff::merge_patch(&old, new) {
        plan.patch(resources::endpoint_slices(), &slice.metadata, patch);
    }
}

fn slice(service: &Service, spec: &ServiceSpec, family: &str, ports: &[Port], endpoints: &[Value]) -> Value {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if spec.cluster_ip.as_deref() == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    } else {
        labels.remove(HEADLESS);
    }
    let ports = ports.iter().map(|(name, port, protocol, application)| {
        let mut value = json!({"name": name, "port": port, "protocol": protocol});
        if let (Some(application), Some(value)) = (application, value.as_object_mut()) {
            value.insert("appProtocol".to_owned(), json!(application));
        }
        value
    });
    json!({
        "metadata": {"labels": labels},
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports.collect::<Vec<_>>(),
    })
}

/// Always the same for the same Service, family and ports, so that a repeated creation finds itself.
fn slice_name(service: &str, family: &str, ports: &[Port], index: usize) -> String {
    let digest = Sha256::digest(format!("{family}/{ports:?}/{index}"));
    let suffix: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    // Object names have at most 253 characters; a Service's has at most 63.
    format!("{service}-{suffix}")
}

fn families(spec: &ServiceSpec) -> Vec<&'static str> {
    let families = spec.ip_families.as_deref().unwrap_or_default();
    let mut found: Vec<_> = families.iter().map(|family| if family == "IPv6" { "IPv6" } else { "IPv4" }).collect();
    if found.is_empty() {
        found.push("IPv4");
    }
    found
}

/// The pod's address of that family.
fn address(pod: &Pod, family: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let mut all = status.pod_ips.iter().flatten().map(|ip| &ip.ip).chain(status.pod_ip.as_ref());
    all.find(|ip| ip.parse::<IpAddr>().is_ok_and(|ip| if family == "IPv6" { ip.is_ipv6() } else { ip.is_ipv4() }))
        .cloned()
}

fn endpoint(name: &Name, spec: &ServiceSpec, pod: &Pod, address: &str) -> Value {
    let serving = pods::is_ready(pod);
    let terminating = pods::is_terminating(pod);
    // Who publishes pods that are not ready wants them found, whatever they say.
    let published = spec.publish_not_ready_addresses == Some(true);
    let mut endpoint = json!({
        "addresses": [address],
        "conditions": {"ready": published || (serving && !terminating), "serving": serving, "terminating": terminating},
        "targetRef": target(pod),
    });
    let pod_spec = pod.spec.as_ref();
    if let Some(endpoint) = endpoint.as_object_mut() {
        endpoint
            .extend(pod_spec.and_then(|spec| spec.node_name.clone()).map(|node| ("nodeName".to_owned(), json!(node))));
        let hostname = pod_spec
            .filter(|spec| spec.subdomain.as_deref() == Some(&name.name))
            .and_then(|spec| spec.hostname.clone());
        endpoint.extend(hostname.map(|hostname| ("hostname".to_owned(), json!(hostname))));
    }
    endpoint
}

fn target(pod: &Pod) -> Value {
    json!({
        "kind": "Pod",
        "namespace": pod.metadata.namespace,
        "name": pod.metadata.name,
        "uid": pod.metadata.uid,
    })
}

/// The pod's port behind a Service's port; a name that the pod does not have leads nowhere.
fn resolve(port: &ServicePort, pod: &Pod) -> Option<Port> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => named_port(pod, name, &protocol)?,
    };
    Some((port.name.clone().unwrap_or_default(), number, protocol, port.app_protocol.clone()))
}

fn named_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    // Init containers that run beside the others (sidecars) serve as well.
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let find = |container: &Container| {
        let ports = container.ports.as_deref().unwrap_or_default();
        let found = ports
            .iter()
            .find(|port| port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol);
        found.map(|port| port.container_port)
    };
    spec.containers.iter().chain(sidecars).find_map(find)
}

#[cfg(test)]
mod tests;
