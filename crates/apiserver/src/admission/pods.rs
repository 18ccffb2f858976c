//! The service account of a pod: named, checked, and its token, CA and namespace mounted where clients look for them.
//! <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#service-account-admission-controller>

use serde_json::{Value, json};

use crate::object::{self, at, list_at, str_at};
use crate::status::Status;
use crate::store::Key;
use crate::verbs::Call;

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Life of a projected token, as Kubernetes has it: an hour and some seconds by which such tokens are told apart.
const TOKEN_SECONDS: i64 = 3607;

/// Names the account and adds the projected volume.
pub(crate) fn add_account(call: &Call, pod: &mut Value) -> Result<(), Status> {
    let Some(spec) = object::map_at(pod, &["spec"]) else { return Ok(()) };
    object::default(spec, "serviceAccountName", "default");
    let name = spec.get("serviceAccountName").and_then(Value::as_str).unwrap_or("default").to_owned();
    spec.insert("serviceAccount".to_owned(), json!(name));
    let Some(account) = call.server.store.get(&Key::new("serviceaccounts", &call.path.namespace, &name)) else {
        let why = format!(
            "error looking up service account {}/{name}: serviceaccount \"{name}\" not found",
            call.path.namespace
        );
        return Err(Status::forbidden(&call.resource, object::name(pod), &why));
    };
    let own = at(pod, &["spec", "automountServiceAccountToken"]).and_then(Value::as_bool);
    let mount =
        own.or_else(|| account.value.get("automountServiceAccountToken").and_then(Value::as_bool)).unwrap_or(true);
    if list_at(pod, &["spec", "imagePullSecrets"]).is_empty()
        && let Some(secrets) = account.value.get("imagePullSecrets")
        && let Some(spec) = object::map_at(pod, &["spec"])
    {
        spec.insert("imagePullSecrets".to_owned(), secrets.clone());
    }
    if mount {
        add_volume(pod);
    }
    Ok(())
}

fn add_volume(pod: &mut Value) {
    let existing = list_at(pod, &["spec", "volumes"])
        .iter()
        .map(|v| str_at(v, &["name"]))
        .find(|n| n.starts_with("kube-api-access-"));
    let name = existing.map_or_else(|| format!("kube-api-access-{}", short_id()), str::to_owned);
    let has_volume = existing.is_some();
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        let containers = object::map_at(pod, &["spec"]).and_then(|s| s.get_mut(list)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if list_at(container, &["volumeMounts"]).iter().any(|m| str_at(m, &["mountPath"]) == MOUNT) {
                continue;
            }
            let Some(map) = container.as_object_mut() else { continue };
            let mounts = map.entry("volumeMounts").or_insert_with(|| json!([]));
            if let Some(mounts) = mounts.as_array_mut() {
                mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT}));
                mounted = true;
            }
        }
    }
    if !mounted || has_volume {
        return;
    }
    let volume = json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}});
    if let Some(spec) = object::map_at(pod, &["spec"])
        && let Some(volumes) = spec.entry("volumes").or_insert_with(|| json!([])).as_array_mut()
    {
        volumes.push(volume);
    }
}

fn short_id() -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    id.chars().take(5).collect()
}
