//! `LocalRuntime` (local.varka.dev/v1alpha1): what images mean on a machine that has no container images.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Resource;

/// Cluster-scoped map from container images to programs of this machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LocalRuntime {
    /// The first entry that matches wins.
    pub images: Vec<LocalImage>,
}

/// What one image, or a family of them, runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LocalImage {
    /// Image name or glob (`ghcr.io/acme/*`); a tag is compared only when given.
    pub image: String,
    /// Program and first arguments; `command` of a container overrides it.
    pub entrypoint: Vec<String>,
    /// Default arguments; `args` of a container overrides it.
    pub cmd: Vec<String>,
    /// Environment, below the container's own.
    pub env: BTreeMap<String, String>,
    /// Working directory; a container's overrides it.
    pub working_dir: Option<String>,
    /// Signal that asks the program to stop; default SIGTERM.
    pub stop_signal: Option<String>,
    /// How the program is made.
    pub build: Option<LocalBuild>,
}

/// How the program of an image is made before it is first run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LocalBuild {
    /// Command, run in the directory of the manifests.
    pub command: Vec<String>,
    /// Files whose change makes it run again.
    pub inputs: Vec<String>,
}

impl Resource for LocalRuntime {
    const GROUP: &'static str = "local.varka.dev";
    const KIND: &'static str = "LocalRuntime";
    const CLUSTER_SCOPED: bool = true;
}
