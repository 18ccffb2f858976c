//! Writing a pod's status, whenever what follows from its record is another than what was written.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Map, Value};

use super::context::Context;
use super::status;

fn api(context: &Context) -> (Api<Pod>, String, Option<String>) {
    let pod = context.pod();
    let namespace = pod.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
    (
        Api::namespaced(context.node.client.clone(), &namespace),
        pod.metadata.name.clone().unwrap_or_default(),
        pod.metadata.uid.clone(),
    )
}

/// Writes until the pod is finished, and once more then.
pub(super) async fn run(context: Arc<Context>) {
    let (api, name, _) = api(&context);
    let mut record = context.record();
    let mut previous: Option<PodStatus> = context.pod().status.clone();
    let mut written = previous.as_ref().and_then(|status| serde_json::to_value(status).ok()).unwrap_or(Value::Null);
    let mut pause = Duration::from_millis(50);
    let mut last = false;
    loop {
        let now = record.borrow_and_update().clone();
        let pod = context.pod();
        let known = merged(previous.as_ref(), pod.status.as_ref());
        let status = status::status(&pod, &now, known.as_ref(), Timestamp::now());
        let wanted = serde_json::to_value(&status).unwrap_or(Value::Null);
        if wanted == written {
            if last {
                return;
            }
        } else {
            let patch = Patch::Merge(serde_json::json!({"status": difference(&written, &wanted)}));
            match api.patch_status(&name, &PatchParams::default(), &patch).await {
                Ok(_) => {
                    written = wanted;
                    previous = Some(status);
                    pause = Duration::from_millis(50);
                }
                // The object is gone: nobody reads its status any more.
                Err(kube::Error::Api(status)) if status.code == 404 => return,
                Err(error) => {
                    tracing::warn!(pod = context.name(), %error, "a pod's status is not written and is tried again");
                    if last {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
            continue;
        }
        tokio::select! {
            changed = record.changed() => if changed.is_err() { return },
            () = context.finished() => last = true,
        }
    }
}

/// Our own last status with the conditions that others have set meanwhile.
fn merged(ours: Option<&PodStatus>, theirs: Option<&PodStatus>) -> Option<PodStatus> {
    let mut merged = ours.or(theirs)?.clone();
    let own: Vec<String> = merged.conditions.iter().flatten().map(|c| c.type_.clone()).collect();
    let standard = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    let others = theirs.and_then(|s| s.conditions.clone()).unwrap_or_default();
    for condition in others.into_iter().filter(|c| !standard.contains(&c.type_.as_str())) {
        let all = merged.conditions.get_or_insert_default();
        if own.contains(&condition.type_) {
            all.retain(|c| c.type_ != condition.type_);
        }
        all.push(condition);
    }
    Some(merged)
}

/// The fields that changed; a field that is no longer there is set to null, which a merge patch removes.
fn difference(old: &Value, new: &Value) -> Value {
    let (empty, none) = (Map::new(), Map::new());
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&none));
    let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(*value)).map(|(k, v)| (k.clone(), v.clone()));
    let removed = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    Value::Object(changed.chain(removed).collect())
}

/// Removes the object of a pod whose containers have ended: the last step of a graceful deletion.
pub(super) async fn delete(context: &Context) {
    let (api, name, uid) = api(context);
    let params = DeleteParams::default().grace_period(0).preconditions(Preconditions { uid, resource_version: None });
    let mut pause = Duration::from_millis(50);
    loop {
        match api.delete(&name, &params).await {
            Ok(_) => return,
            // Gone already, or another one of the same name.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return,
            Err(error) => {
                tracing::warn!(pod = context.name(), %error, "a pod's object is not removed and is tried again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn only_what_changed_is_written() {
        let old = serde_json::json!({"phase": "Running", "podIP": "10.0.0.1", "reason": "x"});
        let new = serde_json::json!({"phase": "Failed", "podIP": "10.0.0.1"});
        assert_eq!(difference(&old, &new), serde_json::json!({"phase": "Failed", "reason": null}));
    }
}
