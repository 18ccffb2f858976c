//! Defaults of pod specs: containers, probes, ports, volumes. Shared by pods and every template of them.

use serde_json::{Map, Value, json};

use crate::object::{default, list_at};

use super::has;

const FILE_MODE: i64 = 420;

/// Fills in a pod spec. `pod`: of a pod itself, not of a template.
pub(super) fn pod_spec(spec: &mut Value, pod: bool) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        containers.into_iter().flatten().for_each(|c| container(c, pod));
    }
    let volumes = spec.get_mut("volumes").and_then(Value::as_array_mut);
    volumes.into_iter().flatten().for_each(volume);
    let Some(map) = spec.as_object_mut() else { return };
    default(map, "restartPolicy", "Always");
    default(map, "terminationGracePeriodSeconds", 30);
    default(map, "dnsPolicy", "ClusterFirst");
    default(map, "securityContext", json!({}));
    default(map, "schedulerName", "default-scheduler");
    if let Some(name) = map.get("serviceAccountName").cloned() {
        default(map, "serviceAccount", name);
    } else if let Some(name) = map.get("serviceAccount").cloned() {
        default(map, "serviceAccountName", name);
    }
    if pod {
        default(map, "enableServiceLinks", true);
        default(map, "preemptionPolicy", "PreemptLowerPriority");
        default(map, "priority", 0);
        default(
            map,
            "tolerations",
            json!([
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            ]),
        );
    }
}

fn container(container: &mut Value, pod: bool) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    for probe_name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(inner) = container.get_mut(probe_name) {
            probe(inner);
        }
    }
    for hook in ["postStart", "preStop"] {
        let handler = container.get_mut("lifecycle").and_then(|l| l.get_mut(hook));
        http_get(handler.and_then(|h| h.get_mut("httpGet")));
    }
    let ports = container.get_mut("ports").and_then(Value::as_array_mut);
    ports.into_iter().flatten().filter_map(Value::as_object_mut).for_each(|port| default(port, "protocol", "TCP"));
    let env = container.get_mut("env").and_then(Value::as_array_mut);
    env.into_iter()
        .flatten()
        .for_each(|variable| field_ref(variable.get_mut("valueFrom").and_then(|v| v.get_mut("fieldRef"))));
    if pod && let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) {
        requests_from_limits(resources);
    }
    let Some(map) = container.as_object_mut() else { return };
    default(map, "terminationMessagePath", "/dev/termination-log");
    default(map, "terminationMessagePolicy", "File");
    default(map, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    default(map, "resources", json!({}));
}

/// Where a limit is set and no request, the request is the limit.
fn requests_from_limits(resources: &mut Map<String, Value>) {
    let limits = resources.get("limits").and_then(Value::as_object).cloned().unwrap_or_default();
    if limits.is_empty() {
        return;
    }
    if let Some(requests) = resources.entry("requests").or_insert_with(|| json!({})).as_object_mut() {
        for (name, limit) in limits {
            default(requests, &name, limit);
        }
    }
}

fn field_ref(reference: Option<&mut Value>) {
    if let Some(map) = reference.and_then(Value::as_object_mut) {
        default(map, "apiVersion", "v1");
    }
}

fn http_get(action: Option<&mut Value>) {
    if let Some(map) = action.and_then(Value::as_object_mut) {
        default(map, "path", "/");
        default(map, "scheme", "HTTP");
    }
}

fn probe(probe: &mut Value) {
    http_get(probe.get_mut("httpGet"));
    if let Some(grpc) = probe.get_mut("grpc").and_then(Value::as_object_mut) {
        default(grpc, "service", "");
    }
    let Some(map) = probe.as_object_mut() else { return };
    for (name, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if map.get(name) == Some(&json!(0)) {
            map.shift_remove(name);
        }
        default(map, name, value);
    }
}

fn volume(volume: &mut Value) {
    let sources = ["name"];
    if volume.as_object().is_some_and(|v| v.keys().all(|k| sources.contains(&k.as_str()))) && has(volume, &["name"]) {
        crate::object::set(volume, "emptyDir", json!({}));
    }
    for (source, mode) in [
        ("configMap", "defaultMode"),
        ("secret", "defaultMode"),
        ("projected", "defaultMode"),
        ("downwardAPI", "defaultMode"),
    ] {
        if let Some(map) = volume.get_mut(source).and_then(Value::as_object_mut) {
            default(map, mode, FILE_MODE);
        }
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        default(path, "type", "");
    }
    let items = volume.get_mut("downwardAPI").and_then(|d| d.get_mut("items")).and_then(Value::as_array_mut);
    items.into_iter().flatten().for_each(|item| field_ref(item.get_mut("fieldRef")));
    if list_at(volume, &["projected", "sources"]).is_empty() {
        return;
    }
    let sources = volume.get_mut("projected").and_then(|p| p.get_mut("sources")).and_then(Value::as_array_mut);
    for source in sources.into_iter().flatten() {
        if let Some(token) = source.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
            default(token, "expirationSeconds", 3600);
        }
        let items = source.get_mut("downwardAPI").and_then(|d| d.get_mut("items")).and_then(Value::as_array_mut);
        items.into_iter().flatten().for_each(|item| field_ref(item.get_mut("fieldRef")));
    }
}
