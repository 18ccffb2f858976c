//! The control plane, the proxies, and this store.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use crate::graph::Source;
use crate::ingest::scrape::fetch;

/// Of the control plane's own port.
const MONITORING: u16 = 15014;

/// A proxy as the control plane tells of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Synced {
    namespace: String,
    pod: String,
    version: String,
    synced: bool,
    nacks: Vec<Nack>,
    connected_at: String,
}

#[derive(Debug, Deserialize)]
struct Nack {
    kind: String,
    name: String,
    message: String,
}

pub(super) async fn mesh(State(source): Shared) -> Json<Value> {
    let mut control_planes = Vec::new();
    let mut proxies = Vec::new();
    for (name, pods) in control_plane_pods(&source) {
        let (mut version, mut revision) = (String::new(), 0_u64);
        for address in &pods.addresses {
            let to = std::net::SocketAddr::new(*address, MONITORING);
            if let Ok(text) = fetch::get(&mut None, to, "/version").await {
                version = text.trim().to_owned();
            }
            match fetch::get(&mut None, to, "/debug/syncz").await.map(|text| serde_json::from_str::<Vec<Synced>>(&text))
            {
                Ok(Ok(connected)) => {
                    let newest = connected.iter().filter_map(|p| p.version.parse().ok()).max();
                    revision = revision.max(newest.unwrap_or(0));
                    let seen = connected.iter().filter(|synced| source.world.sight().sees(&synced.namespace));
                    proxies.extend(seen.map(|synced| proxy(&source, synced)));
                }
                Ok(Err(problem)) => {
                    tracing::warn!(%problem, %to, "what the control plane tells of proxies cannot be read")
                }
                Err(problem) => tracing::debug!(%problem, "the control plane does not answer"),
            }
        }
        control_planes.push(json!({
            "name": name, "namespace": SYSTEM, "version": version, "replicas": pods.all, "ready": pods.ready,
            "revision": revision.to_string(), "convergence": 0, "cpu": 0, "memory": 0,
        }));
    }
    let counts = source.store.counts();
    let (bytes, limit) = source.store.size();
    Json(json!({
        "controlPlane": control_planes, "certificates": [], "proxies": proxies,
        "store": {
            "samples": counts.metrics.taken, "spans": counts.spans.taken, "lines": counts.logs.taken, "bytes": bytes, "limit": limit,
            "dropped": counts.metrics.dropped + counts.spans.dropped + counts.logs.dropped,
            "oldest": source.store.oldest().map_or(0, |oldest| oldest.div_euclid(1000)),
        },
        "mtls": {"share": 0, "mode": super::info::mtls(&source.world, SYSTEM)},
        "settings": [],
    }))
}

const SYSTEM: &str = "istio-system";

#[derive(Debug, Default)]
struct Pods {
    all: usize,
    ready: usize,
    addresses: Vec<std::net::IpAddr>,
}

fn text<'o>(object: &'o Value, path: &str) -> &'o str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn control_plane_pods(source: &Source) -> std::collections::BTreeMap<String, Pods> {
    let mut found: std::collections::BTreeMap<String, Pods> = std::collections::BTreeMap::new();
    for pod in source.world.of("", "Pod") {
        if text(&pod, "/metadata/namespace") != SYSTEM || text(&pod, "/metadata/labels/app") != "istiod" {
            continue;
        }
        let pods =
            found.entry(crate::facts::workload_of(&source.world, SYSTEM, text(&pod, "/metadata/name"))).or_default();
        pods.all += 1;
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        let ready = |c: &Value| text(c, "/type") == "Ready" && text(c, "/status") == "True";
        pods.ready += usize::from(conditions.into_iter().any(ready));
        pods.addresses.extend(text(&pod, "/status/podIP").parse::<std::net::IpAddr>());
    }
    found
}

/// In the pages' words. What the control plane does not tell of is empty or zero, which pages show as not known.
fn proxy(source: &Source, synced: &Synced) -> Value {
    let sync = match (synced.nacks.is_empty(), synced.synced) {
        (false, _) => "rejected",
        (true, true) => "synced",
        (true, false) => "stale",
    };
    let errors = synced.nacks.iter().map(|nack| format!("{} {}: {}", nack.kind, nack.name, nack.message));
    let since = synced.connected_at.parse::<jiff::Timestamp>().map_or(0, |time| time.as_second());
    json!({
        "namespace": synced.namespace, "pod": synced.pod,
        "workload": crate::facts::workload_of(&source.world, &synced.namespace, &synced.pod),
        "version": "", "sync": sync, "revision": synced.version, "since": since,
        "error": errors.collect::<Vec<_>>().join("; "), "certificateExpires": 0, "memory": 0,
    })
}
