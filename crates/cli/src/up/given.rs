//! What was applied and runs, so that nothing is called ready before it is there.
//!
//! Whoever watches the API server learns of an object a moment after it was applied, and of the pods that a controller makes for it later still:
//! until then, what is seen is all ready, because it is not all. Jobs are waited for by the pods that they have.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::DynamicObject;

/// An object of the manifests, as the API server answered it.
#[derive(Debug, Clone)]
pub(super) struct Given {
    kind: Kind,
    namespace: String,
    name: String,
    uid: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Pod,
    /// Of this generation.
    Deployment(Option<i64>),
    /// Of so many pods.
    ReplicaSet(usize),
}

impl Given {
    /// `None`: it is nothing that is waited for.
    pub(super) fn read(kind: &str, object: &DynamicObject) -> Option<Self> {
        let kind = match kind {
            "Pod" => Kind::Pod,
            "Deployment" => Kind::Deployment(object.metadata.generation),
            "ReplicaSet" => {
                let replicas = object.data.pointer("/spec/replicas").and_then(serde_json::Value::as_u64).unwrap_or(1);
                Kind::ReplicaSet(usize::try_from(replicas).unwrap_or(usize::MAX))
            }
            _ => return None,
        };
        let namespace = object.namespace().unwrap_or_default();
        Some(Self { kind, namespace, name: object.name_any(), uid: object.uid() })
    }

    /// What of it is not seen yet, for people; whether what is seen is ready is another question.
    pub(super) fn missing(&self, pods: &[Arc<Pod>], deployments: &[Arc<Deployment>]) -> Option<String> {
        let (namespace, name) = (&self.namespace, &self.name);
        match self.kind {
            Kind::Pod => {
                let is_there = pods.iter().any(|pod| self.is(&**pod));
                (!is_there).then(|| format!("pod {namespace}/{name} (it is not there)"))
            }
            Kind::Deployment(generation) => {
                let is_there = |d: &Arc<Deployment>| self.is(&**d) && d.metadata.generation >= generation;
                let is_there = deployments.iter().any(is_there);
                (!is_there).then(|| format!("deployment {namespace}/{name} (it is not there)"))
            }
            Kind::ReplicaSet(replicas) => {
                let is_own =
                    |pod: &&Arc<Pod>| pod.owner_references().iter().any(|of| Some(&of.uid) == self.uid.as_ref());
                let there = pods.iter().filter(is_own).count();
                (there < replicas).then(|| format!("replicaset {namespace}/{name} (it has {there} pods of {replicas})"))
            }
        }
    }

    /// Another one of the same name will do: somebody replaced it.
    fn is<K: kube::Resource>(&self, seen: &K) -> bool {
        let meta = seen.meta();
        let is_going = meta.deletion_timestamp.is_some();
        !is_going
            && meta.namespace.as_deref().unwrap_or_default() == self.namespace
            && meta.name.as_ref() == Some(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn given(object: &Value) -> Given {
        let kind = object["kind"].as_str().unwrap();
        Given::read(kind, &serde_json::from_value(object.clone()).unwrap()).unwrap()
    }

    fn object(kind: &str, name: &str, uid: &str) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"namespace": "n", "name": name, "uid": uid, "generation": 2}})
    }

    fn pod(object: Value) -> Arc<Pod> {
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn what_was_applied_and_is_not_seen_yet_is_waited_for() {
        let of = given(&object("Pod", "bare", "1"));
        let others = [pod(object("Pod", "other", "2"))];
        assert_eq!(of.missing(&others, &[]).as_deref(), Some("pod n/bare (it is not there)"));
        assert_eq!(of.missing(&[pod(object("Pod", "bare", "1"))], &[]), None);
        let mut going = object("Pod", "bare", "1");
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(of.missing(&[pod(going)], &[]).is_some(), "it will be gone, and nothing makes it anew");
    }

    #[test]
    fn a_deployment_is_seen_when_what_was_applied_is() {
        let of = given(&object("Deployment", "web", "1"));
        let seen = |generation: i64| {
            let mut seen = object("Deployment", "web", "1");
            seen["apiVersion"] = json!("apps/v1");
            seen["metadata"]["generation"] = json!(generation);
            [Arc::new(serde_json::from_value::<Deployment>(seen).unwrap())]
        };
        assert!(of.missing(&[], &[]).is_some());
        assert!(of.missing(&[], &seen(1)).is_some(), "as it was before");
        assert_eq!(of.missing(&[], &seen(2)), None);
        assert_eq!(of.missing(&[], &seen(3)), None);
    }

    #[test]
    fn a_replica_set_is_seen_when_its_pods_are() {
        let mut set = object("ReplicaSet", "web", "1");
        set["spec"] = json!({"replicas": 2});
        let of = given(&set);
        let own = |uid: &str| {
            let mut own = object("Pod", uid, uid);
            own["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1"}]);
            pod(own)
        };
        let missing = of.missing(&[own("a"), pod(object("Pod", "web", "2"))], &[]);
        assert_eq!(missing.as_deref(), Some("replicaset n/web (it has 1 pods of 2)"));
        assert_eq!(of.missing(&[own("a"), own("b")], &[]), None);
    }

    #[test]
    fn nothing_else_is_waited_for() {
        for kind in ["Service", "Job", "Namespace"] {
            assert!(Given::read(kind, &serde_json::from_value(object(kind, "x", "1")).unwrap()).is_none(), "{kind}");
        }
    }
}
