//! Applies manifests by server-side apply as field manager `varka-up`, without force: what others edited stays, and is told.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::runtime::wait::await_condition;
use kube::{Client, Error};
use serde_json::Value;

use super::given::Given;
use crate::manifests::{Manifest, rank};

/// Where the relative paths of a `LocalRuntime` start.
const DIRECTORY: &str = "local.varka.dev/directory";

/// A new namespace has its account after an instant, unless the controllers do not run.
const ACCOUNT: Duration = Duration::from_secs(30);

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// What runs, or will.
    pub(super) given: Vec<Given>,
    /// What could not be applied, for people.
    pub(super) problems: Vec<String>,
}

/// Applies every object that can be applied.
pub(super) async fn all(client: &Client, manifests: &[Manifest], dir: Option<&Path>) -> Applied {
    let mut ordered: Vec<_> = manifests.iter().collect();
    ordered.sort_by_key(|m| rank(m.kind()));
    let mut accounts = Some(accounts(&ordered));
    let mut applied = Applied::default();
    for manifest in ordered {
        if manifest.kind() == "Pod"
            && let Some(accounts) = accounts.take()
        {
            until_made(client, accounts).await;
        }
        match one(client, manifest, dir).await {
            Ok(object) => applied.given.extend(Given::read(manifest.kind(), &object)),
            Err(problem) => {
                let of = format!("{} ({} {})", manifest.place, manifest.kind(), manifest.name());
                applied.problems.push(format!("{of}: {problem}"));
            }
        }
    }
    applied
}

/// Namespaces whose pods run as the account that each namespace is given.
fn accounts(manifests: &[&Manifest]) -> BTreeSet<String> {
    let named = |m: &Manifest| m.object.pointer("/spec/serviceAccountName").and_then(Value::as_str).map(str::to_owned);
    let pods = manifests.iter().filter(|m| m.kind() == "Pod" && named(m).is_none_or(|name| name == "default"));
    pods.map(|m| m.namespace().unwrap_or("default").to_owned()).collect()
}

/// A pod is refused as long as its account does not exist. Who makes pods for others tries again; what is applied here is applied once.
async fn until_made(client: &Client, namespaces: BTreeSet<String>) {
    let made = namespaces.iter().map(|namespace| {
        let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        await_condition(api, "default", |account: Option<&ServiceAccount>| account.is_some())
    });
    // Where one is missing after all, the API server says so of the pod.
    let _ = tokio::time::timeout(ACCOUNT, join_all(made)).await;
}

async fn one(client: &Client, manifest: &Manifest, dir: Option<&Path>) -> Result<DynamicObject, String> {
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
        Ok(object) => Ok(object),
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

#[cfg(test)]
mod tests;
