//! Revisions: which version of the template a ReplicaSet is, so that `kubectl rollout history` and `undo` find it.

use super::{DESIRED_REPLICAS, MAX_REPLICAS, Rollout, Set};
use crate::action::Plan;
use crate::resources;
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The annotation with the revision's number.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// What a ReplicaSet does not take over from its Deployment.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];

/// A ReplicaSet's revision, 0 where it has none.
pub(super) fn of(set: &Set) -> i64 {
    annotation(set, REVISION).and_then(|revision| revision.parse().ok()).unwrap_or(0)
}

fn annotation<'a>(set: &'a Set, key: &str) -> Option<&'a str> {
    set.object.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The revision that the present template has: one more than every other.
pub(super) fn next(rollout: &Rollout<'_>) -> i64 {
    rollout.old.iter().map(of).max().unwrap_or(0) + 1
}

/// The Deployment's annotations as its ReplicaSets carry them, `kubernetes.io/change-cause` for one.
pub(super) fn inherited(deployment: &Deployment) -> BTreeMap<String, String> {
    let mut annotations = deployment.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !OWN.contains(&key.as_str()));
    annotations
}

/// Gives the new ReplicaSet its revision (after an undo an old one has become the new one), the Deployment's annotations
/// and `minReadySeconds`, and the Deployment the revision.
pub(super) fn bring_up_to_date(rollout: &Rollout<'_>, new: &Set, plan: &mut Plan) {
    let (current, wanted) = (of(new), next(rollout));
    let mut annotations = Map::new();
    if current < wanted {
        annotations.insert(REVISION.to_owned(), json!(wanted.to_string()));
        if current > 0 {
            let history = annotation(new, HISTORY).map(|history| format!("{history},")).unwrap_or_default();
            annotations.insert(HISTORY.to_owned(), json!(format!("{history}{current}")));
        }
    }
    for (key, value) in inherited(rollout.deployment) {
        if annotation(new, &key) != Some(value.as_str()) {
            annotations.insert(key, json!(value));
        }
    }
    let min_ready = rollout.spec.min_ready_seconds.unwrap_or(0);
    let mut patch = Map::new();
    if !annotations.is_empty() {
        patch.insert("metadata".to_owned(), json!({ "annotations": annotations }));
    }
    if new.object.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0) != min_ready {
        patch.insert("spec".to_owned(), json!({ "minReadySeconds": min_ready }));
    }
    if !patch.is_empty() {
        plan.patch(resources::replica_sets(), &new.object.metadata, Value::Object(patch));
    }
    let revision = current.max(wanted).to_string();
    let known = rollout.deployment.metadata.annotations.as_ref().and_then(|annotations| annotations.get(REVISION));
    if known != Some(&revision) {
        let patch = json!({"metadata": {"annotations": {REVISION: revision}}});
        plan.patch(resources::deployments(), &rollout.deployment.metadata, patch);
    }
}
