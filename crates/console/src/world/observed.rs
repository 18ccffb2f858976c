//! What of objects that change by themselves is kept for views of the past: the fields that views read, at their places, so that a heartbeat or
//! the time of a probe is no change.
//!
//! Of objects that are kept as revisions it is the part of their status that is read, which revisions do not have. Whoever reads another field
//! of these kinds adds it here; the tests hold what is decided with a whole object to what is decided with what is kept of it.

use serde_json::{Map, Value};

use crate::store::revisions::Reference;

/// Kinds of which this is kept.
const KEPT: [(&str, &str); 10] = [
    ("", "Namespace"),
    ("", "Pod"),
    ("", "Node"),
    ("", "ConfigMap"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("apps", "ReplicaSet"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("networking.istio.io", "ServiceEntry"),
];

/// What an injected pod says of its injection; long, and read by nobody here.
const INJECTED: &str = "sidecar.istio.io/status";

pub(super) fn is_observed(group: &str, kind: &str) -> bool {
    KEPT.contains(&(group, kind))
}

/// What is kept of an object.
pub(super) fn reduced(of: &Reference, object: &Value) -> Value {
    let mut to = Value::Object(Map::new());
    match of.kind.as_str() {
        "Deployment" | "StatefulSet" => take(&mut to, object, &["status/replicas", "status/availableReplicas"]),
        "DaemonSet" => take(
            &mut to,
            object,
            &["status/desiredNumberScheduled", "status/currentNumberScheduled", "status/numberAvailable"],
        ),
        "ServiceEntry" => take(&mut to, object, &["status/addresses"]),
        kind => {
            take(&mut to, object, &["apiVersion", "kind", "metadata/name", "metadata/namespace"]);
            match kind {
                "Namespace" => take(&mut to, object, &["metadata/labels", "metadata/creationTimestamp"]),
                "Node" => take(&mut to, object, &["metadata/labels"]),
                "ConfigMap" => take(&mut to, object, &["data"]),
                "ReplicaSet" => owner(&mut to, object),
                "EndpointSlice" => endpoint_slice(&mut to, object),
                _ => pod(&mut to, object),
            }
        }
    }
    to
}

fn pod(to: &mut Value, object: &Value) {
    take(to, object, &["metadata/labels", "metadata/deletionTimestamp"]);
    owner(to, object);
    let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object).into_iter().flatten();
    let is_read = |name: &str| name.split('/').next().is_some_and(|of| of.ends_with("istio.io")) && name != INJECTED;
    let kept: Map<String, Value> =
        annotations.filter(|(name, _)| is_read(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    if !kept.is_empty() {
        put(to, "metadata/annotations", kept.into());
    }
    take(
        to,
        object,
        &["spec/serviceAccountName", "spec/nodeName", "spec/hostNetwork", "spec/hostname", "spec/subdomain"],
    );
    for path in ["spec/containers", "spec/initContainers"] {
        each(to, object, path, container);
    }
    take(to, object, &["status/phase", "status/podIP", "status/podIPs"]);
    let conditions = list(object, "/status/conditions");
    let ready = conditions.filter(|condition| condition.get("type").is_some_and(|kind| kind == "Ready"));
    let ready: Vec<Value> = ready.map(|condition| only(condition, &["type", "status"])).collect();
    if !ready.is_empty() {
        put(to, "status/conditions", ready.into());
    }
}

/// Its first two arguments say what a proxy is.
fn container(object: &Value) -> Value {
    let mut to = only(object, &["name"]);
    let args: Vec<Value> = list(object, "/args").take(2).cloned().collect();
    if args.first().is_some_and(|first| first == "proxy") {
        put(&mut to, "args", args.into());
    }
    each(&mut to, object, "ports", |port| only(port, &["name", "containerPort", "protocol"]));
    to
}

fn endpoint_slice(to: &mut Value, object: &Value) {
    take(to, object, &["metadata/labels", "addressType", "ports"]);
    each(to, object, "endpoints", |endpoint| {
        let mut to = only(endpoint, &["addresses", "conditions", "nodeName", "zone", "hostname"]);
        take(&mut to, endpoint, &["targetRef/kind", "targetRef/namespace", "targetRef/name"]);
        to
    });
}

/// The controller.
fn owner(to: &mut Value, object: &Value) {
    let all = list(object, "/metadata/ownerReferences");
    let is_controller = |owner: &&Value| owner.get("controller") == Some(&Value::Bool(true));
    let own: Vec<Value> =
        all.filter(is_controller).map(|owner| only(owner, &["apiVersion", "kind", "name", "controller"])).collect();
    if !own.is_empty() {
        put(to, "metadata/ownerReferences", own.into());
    }
}

fn list<'o>(object: &'o Value, path: &str) -> impl Iterator<Item = &'o Value> {
    object.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

fn only(object: &Value, fields: &[&str]) -> Value {
    let mut to = Value::Object(Map::new());
    take(&mut to, object, fields);
    to
}

/// A list with something of each of its items, where there is one.
fn each(to: &mut Value, object: &Value, path: &str, of: fn(&Value) -> Value) {
    let found: Vec<Value> = list(object, &format!("/{path}")).map(of).collect();
    if !found.is_empty() {
        put(to, path, found.into());
    }
}

/// Fields as they are, where they are.
fn take(to: &mut Value, object: &Value, paths: &[&str]) {
    for path in paths {
        if let Some(value) = object.pointer(&format!("/{path}")).filter(|value| !value.is_null()) {
            put(to, path, value.clone());
        }
    }
}

fn put(to: &mut Value, path: &str, value: Value) {
    let mut place = to;
    for name in path.split('/') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Some(members) = place.as_object_mut() else { return };
        place = members.entry(name.to_owned()).or_insert(Value::Null);
    }
    *place = value;
}

#[cfg(test)]
mod tests;
