//! Which workload a pod belongs to, as its owner references and labels tell.

use serde_json::Value;

use super::metadata;

/// The controller that people know the pod by: the Deployment, not its ReplicaSet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) name: String,
    pub(super) namespace: String,
    api_version: String,
    kind: String,
}

impl Workload {
    pub(super) fn of(pod: &Value, namespace: &str) -> Self {
        let owner = pod
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true));
        let field = |name: &str| owner.and_then(|owner| owner.get(name)).and_then(Value::as_str);
        let build = |name: &str, api_version: &str, kind: &str| Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        };
        let (Some(name), Some(kind)) = (field("name"), field("kind")) else {
            return build(own_name(pod), "v1", "Pod");
        };
        match kind {
            "ReplicaSet" => {
                let labels = metadata::strings(pod, "labels");
                let without = |label: &str| {
                    let hash = labels.get(label).and_then(Value::as_str)?;
                    name.strip_suffix(hash)?.strip_suffix('-')
                };
                if let Some(rollout) = without("rollouts-pod-template-hash") {
                    return build(rollout, "argoproj.io/v1alpha1", "Rollout");
                }
                if let Some(deployment) = without("pod-template-hash") {
                    return build(deployment, "apps/v1", "Deployment");
                }
            }
            "Job" => {
                // A CronJob names its Jobs after itself and the minute, in seconds or minutes since 1970.
                let scheduled = name.rsplit_once('-').filter(|(name, minute)| {
                    !name.is_empty() && (8..=10).contains(&minute.len()) && minute.bytes().all(|b| b.is_ascii_digit())
                });
                if let Some((cron_job, _)) = scheduled {
                    return build(cron_job, "batch/v1", "CronJob");
                }
            }
            _ => {}
        }
        build(name, field("apiVersion").unwrap_or("v1"), kind)
    }

    /// `ISTIO_META_OWNER`.
    pub(super) fn owner(&self) -> String {
        let kind = self.kind.to_lowercase();
        format!("kubernetes://apis/{}/namespaces/{}/{kind}s/{}", self.api_version, self.namespace, self.name)
    }
}

fn own_name(pod: &Value) -> &str {
    let field = |name| pod.pointer(name).and_then(Value::as_str).filter(|name| !name.is_empty());
    field("/metadata/name")
        .or_else(|| field("/metadata/generateName").map(|name| name.trim_end_matches('-')))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned(kind: &str, api: &str, name: &str, labels: Value) -> Workload {
        let owner = json!({"kind": kind, "apiVersion": api, "name": name, "controller": true});
        Workload::of(&json!({"metadata": {"labels": labels, "ownerReferences": [owner]}}), "shop")
    }

    #[test]
    fn the_controller_that_people_know() {
        let web = owned("ReplicaSet", "apps/v1", "web-6d4b9", json!({"pod-template-hash": "6d4b9"}));
        assert_eq!(web.owner(), "kubernetes://apis/apps/v1/namespaces/shop/deployments/web");
        let canary = owned("ReplicaSet", "apps/v1", "web-77", json!({"rollouts-pod-template-hash": "77"}));
        assert_eq!(canary.owner(), "kubernetes://apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/web");
        let bare = owned("ReplicaSet", "apps/v1", "web", json!({}));
        assert_eq!(bare.owner(), "kubernetes://apis/apps/v1/namespaces/shop/replicasets/web");
        let cron = owned("Job", "batch/v1", "backup-28391045", json!({}));
        assert_eq!(cron.owner(), "kubernetes://apis/batch/v1/namespaces/shop/cronjobs/backup");
        let job = owned("Job", "batch/v1", "migrate-2", json!({}));
        assert_eq!(job.owner(), "kubernetes://apis/batch/v1/namespaces/shop/jobs/migrate-2");
        let pod = Workload::of(&json!({"metadata": {"generateName": "debug-"}}), "shop");
        assert_eq!(pod.owner(), "kubernetes://apis/v1/namespaces/shop/pods/debug");
    }
}
