//! The ReplicaSet that a template asks for, and the hash that tells templates apart.

use super::{DESIRED_REPLICAS, MAX_REPLICAS, Rollout, revision, rolling};
use crate::{owners, resources};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The label that keeps the pods of different templates apart.
pub(super) const HASH_LABEL: &str = "pod-template-hash";
/// Letters and digits that make no words, as Kubernetes uses for generated names.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Whether the ReplicaSet was made from that template.
pub(super) fn is_of(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let Some(mut own) = set.spec.as_ref().and_then(|spec| spec.template.clone()) else { return false };
    let mut wanted = template.clone();
    for template in [&mut own, &mut wanted] {
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.remove(HASH_LABEL);
    }
    own == wanted
}

fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let digest = Sha256::digest(format!("{}/{collisions}", json!(template)));
    digest
        .iter()
        .take(10)
        .filter_map(|byte| ALPHABET.get(usize::from(*byte) % ALPHABET.len()))
        .map(|c| char::from(*c))
        .collect()
}

/// The ReplicaSet's name: the Deployment's with the hash.
pub(super) fn name(rollout: &Rollout<'_>, collisions: i32) -> String {
    let deployment = rollout.deployment.metadata.name.as_deref().unwrap_or_default();
    format!("{deployment}-{}", hash(&rollout.spec.template, collisions))
}

/// The whole object, with the size of its first step.
pub(super) fn replica_set(rollout: &Rollout<'_>, collisions: i32) -> Value {
    let hash = hash(&rollout.spec.template, collisions);
    let mut template = rollout.spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = rollout.spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash);
    let mut annotations = revision::inherited(rollout.deployment);
    annotations.insert(revision::REVISION.to_owned(), revision::next(rollout).to_string());
    annotations.insert(DESIRED_REPLICAS.to_owned(), rollout.replicas.to_string());
    annotations.insert(MAX_REPLICAS.to_owned(), (rollout.replicas + rollout.max_surge).to_string());
    let replicas = if rollout.is_recreate() { rollout.replicas } else { rolling::size_of_new(rollout, 0) };
    json!({
        "metadata": {
            "name": name(rollout, collisions),
            "namespace": rollout.deployment.metadata.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owners::reference(&resources::deployments(), &rollout.deployment.metadata)],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": rollout.spec.min_ready_seconds.unwrap_or(0),
            "selector": selector,
            "template": template,
        },
    })
}
