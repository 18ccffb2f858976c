//! A pod may carry a container `istio-proxy` of its own (image `auto`) that says how the injected one is to differ.

use serde_json::Value;

use super::PROXY_CONTAINER;

/// Lists of a container whose items are told apart by a member; all other lists are replaced as a whole.
const KEYED: [(&str, &str); 4] =
    [("env", "name"), ("volumeMounts", "mountPath"), ("ports", "containerPort"), ("volumeDevices", "devicePath")];

/// Takes the pod's own `istio-proxy` out of its lists.
pub(super) fn take_own_proxy(containers: &mut Vec<Value>, init_containers: &mut Vec<Value>) -> Option<Value> {
    for list in [containers, init_containers] {
        let own = list.iter().position(|c| c.get("name").and_then(Value::as_str) == Some(PROXY_CONTAINER));
        if let Some(own) = own {
            return Some(list.remove(own));
        }
    }
    None
}

/// Lays the pod's own definition over the injected one.
pub(super) fn apply(injected: &mut Value, own: &Value) {
    let (Some(target), Some(own)) = (injected.as_object_mut(), own.as_object()) else { return };
    for (field, value) in own {
        if field == "image" && value == "auto" {
            continue;
        }
        let key = KEYED.iter().find(|(list, _)| list == field).map(|(_, key)| *key);
        match (key, target.get_mut(field), value) {
            (Some(key), Some(Value::Array(items)), Value::Array(own)) => merge_items(items, own, key),
            (None, Some(existing @ Value::Object(_)), Value::Object(_)) => json_patch::merge(existing, value),
            _ => {
                target.insert(field.clone(), value.clone());
            }
        }
    }
}

fn merge_items(items: &mut Vec<Value>, own: &[Value], key: &str) {
    for item in own {
        match items.iter_mut().find(|existing| existing.get(key) == item.get(key)) {
            Some(existing) => *existing = item.clone(),
            None => items.push(item.clone()),
        }
    }
}
