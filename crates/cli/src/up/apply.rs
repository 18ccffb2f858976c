//! Applies manifests by server-side apply as field manager `varka-up`, without force: what others edited stays, and is told.

use std::path::Path;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Client, Error};
use serde_json::Value;

use crate::manifests::{Manifest, rank};

/// Where the relative paths of a `LocalRuntime` start.
const DIRECTORY: &str = "local.varka.dev/directory";

/// Applies every object that can be applied; returns what could not be, for people.
pub(super) async fn all(client: &Client, manifests: &[Manifest], dir: Option<&Path>) -> Vec<String> {
    let mut ordered: Vec<_> = manifests.iter().collect();
    ordered.sort_by_key(|m| rank(m.kind()));
    let mut problems = Vec::new();
    for manifest in ordered {
        if let Err(problem) = one(client, manifest, dir).await {
            problems.push(format!("{} ({} {}): {problem}", manifest.place, manifest.kind(), manifest.name()));
        }
    }
    problems
}

async fn one(client: &Client, manifest: &Manifest, dir: Option<&Path>) -> Result<(), String> {
    let (group, version) = manifest.api_version().rsplit_once('/').unwrap_or(("", manifest.api_version()));
    let gvk = GroupVersionKind::gvk(group, version, manifest.kind());
    let (resource, capabilities) = pinned_kind(client, &gvk).await.map_err(|_| {
        format!(
            "the API server has no kind {} in {}: check apiVersion and kind",
            manifest.kind(),
            manifest.api_version()
        )
    })?;
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), manifest.namespace().unwrap_or("default"), &resource),
    };
    let mut object = manifest.object.clone();
    if let (Some(dir), "LocalRuntime") = (dir, manifest.kind()) {
        annotate(&mut object, dir);
    }
    match api.patch(manifest.name(), &PatchParams::apply("varka-up"), &Patch::Apply(&object)).await {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) if status.code == 409 => {
            Err(format!("others have edited it, and their edits stay: {}", status.message))
        }
        Err(Error::Api(status)) => Err(status.message),
        Err(e) => Err(e.to_string()),
    }
}

fn annotate(object: &mut Value, dir: &Path) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(serde_json::Map::new()));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(DIRECTORY.to_owned(), Value::String(dir.display().to_string()));
    }
}
