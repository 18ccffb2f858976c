//! What every part of the runtime needs, and the node's own object.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};

use crate::Config;
use crate::base::Base;
use crate::cluster::Cluster;
use crate::events::Recorder;
use crate::network::Addresses;
use crate::pod::downward::Facts;
use crate::sandbox::GATEWAY;

/// The machine, as pods and their parts see it.
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) client: Client,
    pub(crate) cluster: Cluster,
    pub(crate) events: Recorder,
    pub(crate) base: Base,
    pub(crate) addresses: Addresses,
    pub(crate) tokens: Tokens,
    /// Whether one identity is all there is.
    pub(crate) single_identity: bool,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("name", &self.config.node_name).finish_non_exhaustive()
    }
}

impl Node {
    /// What the downward API says of the machine.
    pub(crate) fn facts(&self, pod_address: Option<Ipv4Addr>) -> Facts {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        Facts { pod_address, node_address: Some(GATEWAY), processors, memory: memory() }
    }

    /// The directory of one pod.
    pub(crate) fn pod_directory(&self, uid: &str) -> PathBuf {
        self.config.state_dir.join("pods").join(uid)
    }
}

/// The machine's memory in bytes.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}

type TokenKey = (String, PathBuf);

/// Service account tokens that are young enough to be used again, by pod and place.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<HashMap<TokenKey, (String, Timestamp)>>);

impl Tokens {
    pub(crate) fn young(&self, key: &TokenKey) -> Option<(String, Timestamp)> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(key).filter(|(_, until)| *until > Timestamp::now()).cloned()
    }

    pub(crate) fn keep(&self, key: TokenKey, token: String, until: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (token, until));
    }

    pub(crate) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(pod, _), _| pod != uid);
    }
}

/// Makes the node's object, or brings the one of an earlier start up to date.
pub(crate) async fn register(node: &Arc<Node>) -> Result<(), kube::Error> {
    let api: Api<NodeObject> = Api::all(node.client.clone());
    let name = &node.config.node_name;
    let object: NodeObject = serde_json::from_value(serde_json::json!({
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": architecture(),
        }},
        "spec": {"podCIDR": format!("{}/{}", node.config.pod_cidr.0, node.config.pod_cidr.1)},
    }))
    .map_err(kube::Error::SerdeError)?;
    match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        other => drop(other?),
    }
    let patch = Patch::Merge(serde_json::json!({"status": status(node, true)}));
    api.patch_status(name, &PatchParams::default(), &patch).await.map(drop)
}

/// Says that the node does no longer run pods.
pub(crate) async fn unregister(node: &Arc<Node>) {
    let api: Api<NodeObject> = Api::all(node.client.clone());
    let patch = Patch::Merge(serde_json::json!({"status": {"conditions": conditions(false)}}));
    // The API server may be stopping as well; the next start says it anew.
    drop(api.patch_status(&node.config.node_name, &PatchParams::default(), &patch).await);
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn conditions(ready: bool) -> serde_json::Value {
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now());
    let condition = |kind: &str, status: bool, reason: &str, message: &str| {
        serde_json::json!({"type": kind, "status": if status { "True" } else { "False" }, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now})
    };
    serde_json::json!([
        condition(
            "Ready",
            ready,
            if ready { "KubeletReady" } else { "KubeletStopped" },
            if ready { "pods can be run" } else { "the runtime has stopped" }
        ),
        condition("MemoryPressure", false, "KubeletHasSufficientMemory", "memory is not accounted for on one machine"),
        condition("DiskPressure", false, "KubeletHasNoDiskPressure", "disk is not accounted for on one machine"),
        condition("PIDPressure", false, "KubeletHasSufficientPID", "processes are not accounted for on one machine"),
    ])
}

fn status(node: &Node, ready: bool) -> serde_json::Value {
    let facts = node.facts(None);
    let capacity = serde_json::json!({"cpu": facts.processors.to_string(), "memory": format!("{}Ki", facts.memory >> 10), "pods": "250"});
    let read = |path: &str| std::fs::read_to_string(path).map(|s| s.trim().to_owned()).unwrap_or_default();
    let release = read("/etc/os-release");
    let os =
        release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux").trim_matches('"').to_owned();
    serde_json::json!({
        "capacity": capacity, "allocatable": capacity, "conditions": conditions(ready),
        "addresses": [{"type": "InternalIP", "address": GATEWAY.to_string()}, {"type": "Hostname", "address": node.config.node_name}],
        "nodeInfo": {
            "machineID": read("/etc/machine-id"), "systemUUID": "", "bootID": read("/proc/sys/kernel/random/boot_id"),
            "kernelVersion": read("/proc/sys/kernel/osrelease"), "osImage": os, "operatingSystem": "linux", "architecture": architecture(),
            "containerRuntimeVersion": concat!("varka://", env!("CARGO_PKG_VERSION")),
            "kubeletVersion": concat!("v1.33.1+varka.", env!("CARGO_PKG_VERSION")), "kubeProxyVersion": "",
        },
    })
}
