//! Probe rewriting: under STRICT the kubelet has no certificate, so it asks the sidecar, which asks the application.
//!
//! HTTP, TCP and gRPC probes, and HTTP and TCP lifecycle hooks, become HTTP requests to the sidecar's status port; what they were
//! goes to the sidecar in `ISTIO_KUBE_APP_PROBERS`. `exec` stays: it does not pass the network. A probe of another host, or of a
//! port name that the container does not declare, stays too: the sidecar could not do better than the kubelet.

use serde_json::{Map, Value, json};

use super::STATUS_PORT;

/// Seconds that a lifecycle hook may take by way of the sidecar (the default of `terminationGracePeriodSeconds`).
const HOOK_TIMEOUT: u32 = 30;

/// Rewrites all containers in place and returns the sidecar's table, if there is anything in it.
pub(super) fn rewrite(init_containers: &mut [Value], containers: &mut [Value]) -> Option<String> {
    let mut table = Map::new();
    for container in init_containers.iter_mut().chain(containers) {
        let Some(name) = container.get("name").and_then(Value::as_str).map(str::to_owned) else { continue };
        let ports = container.get("ports").cloned().unwrap_or_default();
        for (field, last) in [("readinessProbe", "readyz"), ("livenessProbe", "livez"), ("startupProbe", "startupz")] {
            let path = format!("/app-health/{name}/{last}");
            let Some(probe) = container.get_mut(field) else { continue };
            if let Some(prober) = rewrite_handler(probe, &ports, &path, &["httpGet", "tcpSocket", "grpc"]) {
                table.insert(path, prober);
            }
        }
        for (field, last) in [("preStop", "prestopz"), ("postStart", "poststartz")] {
            let path = format!("/app-health/{name}/{last}");
            let Some(handler) = container.get_mut("lifecycle").and_then(|l| l.get_mut(field)) else { continue };
            if let Some(mut prober) = rewrite_handler(handler, &ports, &path, &["httpGet", "tcpSocket"]) {
                // A hook has no timeout of its own: it may take as long as a pod has by default to end.
                if let Some(prober) = prober.as_object_mut() {
                    prober.insert("timeoutSeconds".to_owned(), json!(HOOK_TIMEOUT));
                }
                table.insert(path, prober);
            }
        }
    }
    (!table.is_empty()).then(|| Value::Object(table).to_string())
}

/// Turns one handler into a request to the sidecar; returns what it was, with its port as a number.
fn rewrite_handler(handler: &mut Value, ports: &Value, path: &str, kinds: &[&str]) -> Option<Value> {
    let handler = handler.as_object_mut()?;
    let kind = *kinds.iter().find(|kind| handler.contains_key(**kind))?;
    let mut action = handler.get(kind)?.as_object()?.clone();
    if action.get("host").and_then(Value::as_str).is_some_and(|host| !host.is_empty()) {
        return None;
    }
    let port = number(action.get("port")?, ports)?;
    if port == u64::from(STATUS_PORT) {
        return None;
    }
    action.insert("port".to_owned(), json!(port));
    let mut request = Map::new();
    if let (true, Some(headers)) = (kind == "httpGet", action.get("httpHeaders")) {
        request.insert("httpHeaders".to_owned(), headers.clone());
    }
    request.insert("path".to_owned(), json!(path));
    request.insert("port".to_owned(), json!(STATUS_PORT));
    if kind == "httpGet" && action.contains_key("scheme") {
        request.insert("scheme".to_owned(), json!("HTTP"));
    }
    handler.shift_remove(kind);
    handler.insert("httpGet".to_owned(), Value::Object(request));
    let mut prober = Map::new();
    prober.insert(kind.to_owned(), Value::Object(action));
    if let Some(timeout) = handler.get("timeoutSeconds") {
        prober.insert("timeoutSeconds".to_owned(), timeout.clone());
    }
    Some(Value::Object(prober))
}

fn number(port: &Value, ports: &Value) -> Option<u64> {
    match port {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => match text.parse() {
            Ok(number) => Some(number),
            Err(_) => {
                let named = ports.as_array()?.iter().find(|p| p.get("name").and_then(Value::as_str) == Some(text))?;
                named.get("containerPort")?.as_u64()
            }
        },
        _ => None,
    }
}
