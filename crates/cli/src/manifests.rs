//! Reads the manifests of a directory: what its kustomization lists, or every YAML file in it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;

/// The part of a kustomization that is understood. Another field is an error, so that none is ignored.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kustomization {
    #[serde(default, rename = "apiVersion")]
    _api_version: Option<String>,
    #[serde(default, rename = "kind")]
    _kind: Option<String>,
    #[serde(default, rename = "metadata")]
    _metadata: Option<Value>,
    #[serde(default)]
    resources: Vec<String>,
}

/// One object of a manifest.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    /// As it was written.
    pub(crate) object: Value,
    /// `file:line` for people.
    pub(crate) place: String,
}

impl Manifest {
    /// `kind`.
    pub(crate) fn kind(&self) -> &str {
        self.object.get("kind").and_then(Value::as_str).unwrap_or_default()
    }

    /// `apiVersion`.
    pub(crate) fn api_version(&self) -> &str {
        self.object.get("apiVersion").and_then(Value::as_str).unwrap_or_default()
    }

    /// `metadata.name`.
    pub(crate) fn name(&self) -> &str {
        self.object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }

    /// `metadata.namespace`.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.object.pointer("/metadata/namespace").and_then(Value::as_str)
    }
}

/// Every object of the directory, and what could not be read; one bad document never hides the others.
pub(crate) fn read_dir(dir: &Path) -> anyhow::Result<(Vec<Manifest>, Vec<String>)> {
    let mut manifests = Vec::new();
    let mut problems = Vec::new();
    for file in files(dir)? {
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let (mut good, mut bad) = read(&file.display().to_string(), &text);
        manifests.append(&mut good);
        problems.append(&mut bad);
    }
    Ok((manifests, problems))
}

/// The objects of one text of several documents.
pub(crate) fn read(source: &str, text: &str) -> (Vec<Manifest>, Vec<String>) {
    let (objects, problems) = varka_api::read(source, text);
    let manifests = objects
        .into_iter()
        .map(|o| Manifest { place: format!("{}:{}", o.position.source(), o.position.line()), object: o.value })
        .collect();
    (manifests, problems.iter().map(ToString::to_string).collect())
}

/// Objects are applied in this order: what others live in or refer to comes first.
pub(crate) fn rank(kind: &str) -> u8 {
    match kind {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        "LocalRuntime" | "IngressClass" | "StorageClass" => 2,
        "ServiceAccount" => 3,
        "Secret" | "ConfigMap" | "PersistentVolume" | "PersistentVolumeClaim" => 4,
        "Service" => 5,
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" | "Pod" | "ReplicaSet" => 7,
        _ => 6,
    }
}

fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    for name in ["kustomization.yaml", "kustomization.yml", "Kustomization"] {
        let path = dir.join(name);
        if path.is_file() {
            return listed(dir, &path);
        }
    }
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read the directory {}", dir.display()))?;
    let mut files: Vec<_> = entries
        .filter_map(Result::ok)
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "yaml" || e == "yml") && p.is_file())
        .collect();
    files.sort();
    if files.is_empty() {
        bail!("{} has no kustomization.yaml and no *.yaml: nothing to run", dir.display());
    }
    Ok(files)
}

fn listed(dir: &Path, path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let text = std::fs::read_to_string(path)?;
    let kustomization: Kustomization = serde_saphyr::from_str(&text).with_context(|| {
        format!(
            "{}: only `resources` is understood here; build other kustomizations first with `kubectl kustomize`",
            path.display()
        )
    })?;
    let mut all = Vec::new();
    for resource in &kustomization.resources {
        let target = dir.join(resource);
        if target.is_dir() {
            all.extend(files(&target)?);
        } else if target.is_file() {
            all.push(target);
        } else {
            bail!("{} lists {resource}, which is not there", path.display());
        }
    }
    Ok(all)
}
