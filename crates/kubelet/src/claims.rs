//! PersistentVolumeClaims of the built-in StorageClass `local`: a directory in the state directory for each, bound at once.
//!
//! A claim that is deleted takes its volume and its data with it, as volumes of a dynamic class do.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};

use crate::events::Kind;
use crate::node::Node;

/// The class's name; also what a claim without a class gets.
const CLASS: &str = "local";
const PROVISIONER: &str = "local.varka.dev/directory";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// Binds claims until the runtime stops.
pub(crate) async fn run(node: Arc<Node>) {
    if let Err(error) = make_class(&node).await {
        tracing::warn!(%error, "the storage class \"{CLASS}\" is not made; claims are bound all the same");
    }
    let mut changes = node.cluster.changes();
    loop {
        changes.mark_unchanged();
        let mut failed = false;
        for claim in node.cluster.claims.state() {
            if is_ours(&claim)
                && !is_bound(&claim)
                && let Err(error) = bind(&node, &claim).await
            {
                failed = true;
                let message = format!("the claim has no volume yet: {error}");
                node.events.object(reference(&claim), Kind::Warning, "ProvisioningFailed", message);
            }
        }
        for volume in node.cluster.volumes.state() {
            failed |= release(&node, &volume).await.is_err();
        }
        if failed {
            drop(tokio::time::timeout(Duration::from_secs(2), changes.changed()).await);
        } else if changes.changed().await.is_err() {
            return;
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ClaimError {
    #[error("{0}")]
    Api(#[from] kube::Error),
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

async fn make_class(node: &Node) -> Result<(), kube::Error> {
    let mut class = StorageClass {
        provisioner: PROVISIONER.to_owned(),
        reclaim_policy: Some("Delete".to_owned()),
        volume_binding_mode: Some("Immediate".to_owned()),
        ..StorageClass::default()
    };
    class.metadata.name = Some(CLASS.to_owned());
    let default = ("storageclass.kubernetes.io/is-default-class".to_owned(), "true".to_owned());
    class.metadata.annotations = Some(BTreeMap::from([default]));
    match Api::all(node.client.clone()).create(&PostParams::default(), &class).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(drop),
    }
}

fn is_ours(claim: &PersistentVolumeClaim) -> bool {
    let spec = claim.spec.as_ref();
    let class = spec.and_then(|s| s.storage_class_name.as_deref());
    let selects = spec.is_some_and(|s| s.selector.is_some());
    claim.metadata.deletion_timestamp.is_none() && !selects && class.is_none_or(|class| class == CLASS)
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let volume = claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).is_some_and(|name| !name.is_empty());
    volume && claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound")
}

fn reference(claim: &PersistentVolumeClaim) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        namespace: claim.metadata.namespace.clone(),
        name: claim.metadata.name.clone(),
        uid: claim.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The volume of a claim that asks for none: its name, and where its data is.
fn place(node: &Node, claim: &PersistentVolumeClaim) -> (String, PathBuf) {
    let name = format!("pvc-{}", claim.metadata.uid.as_deref().unwrap_or_default());
    let path = node.config.state_dir.join("volumes").join(&name);
    (name, path)
}

async fn bind(node: &Node, claim: &PersistentVolumeClaim) -> Result<(), ClaimError> {
    let spec = claim.spec.clone().unwrap_or_default();
    let named = spec.volume_name.clone().filter(|name| !name.is_empty());
    let (own, path) = place(node, claim);
    let name = named.unwrap_or_else(|| own.clone());
    let capacity = spec.resources.as_ref().and_then(|r| r.requests.clone()).unwrap_or_default();
    if name == own {
        fs::create_dir_all(&path).map_err(|source| ClaimError::Io { path: path.clone(), source })?;
        let volume = serde_json::json!({
            "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
            "spec": {
                "capacity": capacity, "accessModes": spec.access_modes, "storageClassName": CLASS, "volumeMode": "Filesystem",
                "persistentVolumeReclaimPolicy": "Delete", "hostPath": {"path": path, "type": "DirectoryOrCreate"},
                "claimRef": reference(claim),
            },
        });
        let volume: PersistentVolume = serde_json::from_value(volume).map_err(kube::Error::SerdeError)?;
        let api: Api<PersistentVolume> = Api::all(node.client.clone());
        match api.create(&PostParams::default(), &volume).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => drop(other?),
        }
        let bound = Patch::Merge(serde_json::json!({"status": {"phase": "Bound"}}));
        api.patch_status(&name, &PatchParams::default(), &bound).await?;
    }
    let namespace = claim.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let api: Api<PersistentVolumeClaim> = Api::namespaced(node.client.clone(), &namespace);
    let claim_name = claim.metadata.name.clone().unwrap_or_default();
    let wanted = serde_json::json!({
        "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes", "volume.kubernetes.io/storage-provisioner": PROVISIONER}},
        "spec": {"volumeName": name, "storageClassName": CLASS},
    });
    api.patch(&claim_name, &PatchParams::default(), &Patch::Merge(wanted)).await?;
    let status =
        serde_json::json!({"status": {"phase": "Bound", "accessModes": spec.access_modes, "capacity": capacity}});
    api.patch_status(&claim_name, &PatchParams::default(), &Patch::Merge(status)).await?;
    node.events.object(
        reference(claim),
        Kind::Normal,
        "ProvisioningSucceeded",
        format!("Successfully provisioned volume {name}"),
    );
    Ok(())
}

/// Removes a volume of ours, and its data, when its claim is gone.
async fn release(node: &Node, volume: &PersistentVolume) -> Result<(), ClaimError> {
    let annotations = volume.metadata.annotations.as_ref();
    if annotations.and_then(|a| a.get(PROVISIONED_BY)).map(String::as_str) != Some(PROVISIONER) {
        return Ok(());
    }
    let Some(wanted) = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref()) else { return Ok(()) };
    let (namespace, name) =
        (wanted.namespace.as_deref().unwrap_or_default(), wanted.name.as_deref().unwrap_or_default());
    // The server is asked, because what the watch has not shown yet would look like a claim that is gone.
    let api: Api<PersistentVolumeClaim> = Api::namespaced(node.client.clone(), namespace);
    let claim = node.cluster.claim(namespace, name);
    let same = |claim: &PersistentVolumeClaim| claim.metadata.uid == wanted.uid;
    if claim.as_deref().is_some_and(same) || api.get_opt(name).await?.as_ref().is_some_and(same) {
        return Ok(());
    }
    let own = volume.metadata.name.clone().unwrap_or_default();
    let path = node.config.state_dir.join("volumes").join(&own);
    match fs::remove_dir_all(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(ClaimError::Io { path, source }),
        _ => {}
    }
    match Api::<PersistentVolume>::all(node.client.clone()).delete(&own, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => Ok(other.map(drop)?),
    }
}
