//! Volumes that the proxy reads: its token, the root certificate, and the pod's own metadata.

use serde_json::{Map, Value, json};

use super::Refusal;
use super::annotations::{refusal, text};

const USER_VOLUME: &str = "sidecar.istio.io/userVolume";
const USER_VOLUME_MOUNT: &str = "sidecar.istio.io/userVolumeMount";

/// The volumes to add, those of `sidecar.istio.io/userVolume` last.
pub(super) fn injected(annotations: &Map<String, Value>) -> Result<Vec<Value>, Refusal> {
    let field = |path: &str, field: &str| json!({"path": path, "fieldRef": {"fieldPath": field}});
    let mut volumes = vec![
        json!({"name": "istio-envoy", "emptyDir": {"medium": "Memory"}}),
        json!({"name": "istio-data", "emptyDir": {}}),
        json!({"name": "istio-podinfo", "downwardAPI": {"items": [
            field("labels", "metadata.labels"),
            field("annotations", "metadata.annotations"),
        ]}}),
        json!({"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": {
            "path": "istio-token", "expirationSeconds": 43_200, "audience": "istio-ca",
        }}]}}),
        json!({"name": "istiod-ca-cert", "configMap": {"name": "istio-ca-root-cert"}}),
    ];
    volumes.extend(named(annotations, USER_VOLUME)?);
    Ok(volumes)
}

/// Where they are in the proxy's container, those of `sidecar.istio.io/userVolumeMount` last.
pub(super) fn mounts(annotations: &Map<String, Value>) -> Result<Vec<Value>, Refusal> {
    let mut mounts = vec![
        json!({"name": "istiod-ca-cert", "mountPath": "/var/run/secrets/istio"}),
        json!({"name": "istio-data", "mountPath": "/var/lib/istio/data"}),
        json!({"name": "istio-envoy", "mountPath": "/etc/istio/proxy"}),
        json!({"name": "istio-token", "mountPath": "/var/run/secrets/tokens"}),
        json!({"name": "istio-podinfo", "mountPath": "/etc/istio/pod"}),
    ];
    mounts.extend(named(annotations, USER_VOLUME_MOUNT)?);
    Ok(mounts)
}

/// A JSON object from names to volumes or mounts, as a list with the names inside.
fn named(annotations: &Map<String, Value>, annotation: &'static str) -> Result<Vec<Value>, Refusal> {
    let Some(given) = text(annotations, annotation) else { return Ok(Vec::new()) };
    let invalid = || refusal(annotation, given, "it must be a JSON object whose members are objects");
    let entries: Map<String, Value> = serde_json::from_str(given).map_err(|_| invalid())?;
    let mut list = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        let Value::Object(mut value) = value else { return Err(invalid()) };
        value.insert("name".to_owned(), json!(name));
        list.push(Value::Object(value));
    }
    Ok(list)
}
