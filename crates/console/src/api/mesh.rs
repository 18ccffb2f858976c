//! The control plane, the proxies with their certificates, and this store.
//!
//! What the control plane tells of proxies it tells at its monitoring port (`/debug/syncz`), now; versions, memory, certificates and
//! convergence are metrics of the store, at the time that is asked for. No Secret is read: when a gateway's certificate ends its
//! proxy tells.

mod certificates;
mod proxies;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde_json::{Value, json};

use super::{Pairs, Refused, Shared, now, number};
use crate::graph::Source;
use crate::ingest::scrape::fetch;
use crate::jaeger::blocking;
use crate::prometheus::instant;
use crate::store::{Millis, Store};
use proxies::Synced;

/// Of the control plane's own port.
const MONITORING: u16 = 15014;

pub(super) async fn mesh(State(source): Shared, Query(pairs): Pairs) -> Result<Json<Value>, Refused> {
    let asked = number(&pairs, "at")?.map(|at| at.saturating_mul(1000).saturating_add(999));
    let at = asked.unwrap_or_else(now);
    let mut control_planes = Vec::new();
    let mut connected: Vec<Synced> = Vec::new();
    for (name, pods) in control_plane_pods(&source) {
        let (mut version, mut revision) = (String::new(), 0_u64);
        for address in &pods.addresses {
            let to = std::net::SocketAddr::new(*address, MONITORING);
            if let Ok(text) = fetch::get(&mut None, to, "/version").await {
                version = text.trim().to_owned();
            }
            match fetch::get(&mut None, to, "/debug/syncz").await.map(|text| serde_json::from_str::<Vec<Synced>>(&text))
            {
                Ok(Ok(own)) => {
                    revision = revision.max(own.iter().filter_map(Synced::number).max().unwrap_or(0));
                    connected.extend(own.into_iter().filter(|synced| source.world.sight().sees(&synced.namespace)));
                }
                Ok(Err(problem)) => {
                    tracing::warn!(%problem, %to, "what the control plane tells of proxies cannot be read")
                }
                Err(problem) => tracing::debug!(%problem, "the control plane does not answer"),
            }
        }
        control_planes.push((name, pods, version, revision));
    }
    let answer = blocking(move || {
        let measured = Measured::read(&source.store, at);
        let then = match asked {
            Some(at) => Arc::new(Source { world: source.world.at(at)?, ..Source::clone(&source) }),
            None => Arc::clone(&source),
        };
        let control_planes: Vec<Value> = control_planes.iter().map(|one| control_plane(&measured, one)).collect();
        Ok(json!({
            "controlPlane": control_planes,
            "certificates": certificates::all(&then, &measured, at),
            "proxies": proxies::all(&source, &connected, &measured, at),
            "store": store(&source.store),
            "mtls": {"mode": super::info::mtls(&then.world, SYSTEM)},
            "settings": settings(&then),
        }))
    });
    Ok(Json(answer.await?))
}

const SYSTEM: &str = "istio-system";

/// Namespace and name of a pod.
type PodName = (String, String);

/// What the store has of proxies and the control plane.
#[derive(Debug, Default)]
struct Measured {
    versions: HashMap<PodName, String>,
    memory: HashMap<PodName, f64>,
    cpu: HashMap<PodName, f64>,
    /// Names of certificates, and seconds until they end.
    certificates: HashMap<PodName, BTreeMap<String, f64>>,
    /// Milliseconds, 99 of 100.
    convergence: f64,
}

impl Measured {
    fn read(store: &Store, at: Millis) -> Self {
        let mut found = Self::default();
        let pod = |labels: &varka_promql::Labels| (labels.get("namespace").to_owned(), labels.get("pod").to_owned());
        for (labels, _) in instant(store, "istio_build", at) {
            found.versions.insert(pod(&labels), labels.get("tag").to_owned());
        }
        for metric in ["envoy_server_memory_physical_size", "process_resident_memory_bytes"] {
            found.memory.extend(instant(store, metric, at).into_iter().map(|(labels, value)| (pod(&labels), value)));
        }
        let cpu = instant(store, "rate(process_cpu_seconds_total[1m])", at);
        found.cpu.extend(cpu.into_iter().map(|(labels, value)| (pod(&labels), value)));
        for (labels, left) in instant(store, "istio_agent_cert_expiry_seconds", at) {
            let name = labels.get("resource_name").to_owned();
            found.certificates.entry(pod(&labels)).or_default().insert(name, left);
        }
        // Of the last hour: changes are few.
        let text = "histogram_quantile(0.99, sum by (le) (increase(pilot_proxy_convergence_time_bucket[1h])))";
        found.convergence = instant(store, text, at).first().map_or(0.0, |(_, seconds)| seconds * 1000.0);
        found
    }
}

fn control_plane(measured: &Measured, (name, pods, version, revision): &(String, Pods, String, u64)) -> Value {
    let sum = |of: &HashMap<PodName, f64>| {
        let own = pods.names.iter().filter_map(|pod| of.get(&(SYSTEM.to_owned(), pod.clone())));
        own.sum::<f64>()
    };
    json!({
        "name": name, "namespace": SYSTEM, "version": version, "replicas": pods.names.len(), "ready": pods.ready,
        "revision": revision.to_string(), "convergence": measured.convergence, "cpu": sum(&measured.cpu),
        "memory": sum(&measured.memory),
    })
}

fn store(store: &Store) -> Value {
    let counts = store.counts();
    let (bytes, limit) = store.size();
    json!({
        "samples": counts.metrics.taken, "spans": counts.spans.taken, "lines": counts.logs.taken, "bytes": bytes, "limit": limit,
        "dropped": counts.metrics.dropped + counts.spans.dropped + counts.logs.dropped,
        "oldest": store.oldest().map_or(0, |oldest| oldest.div_euclid(1000)),
    })
}

/// The mesh's settings that are not as they are by default, as the ConfigMap says them.
fn settings(source: &Source) -> Vec<Value> {
    const MEANINGS: [(&str, &str); 8] = [
        ("outboundTrafficPolicy", "what becomes of requests to hosts that the mesh does not know"),
        ("enableAutoMtls", "whether clients use mutual TLS towards whoever has a sidecar"),
        ("accessLogFile", "where proxies write a line for each request"),
        ("accessLogEncoding", "TEXT or JSON"),
        ("defaultConfig", "what every proxy is told unless its pod says otherwise"),
        ("defaultProviders", "who gets logs, metrics and spans unless a Telemetry says otherwise"),
        ("rootNamespace", "whose policies apply to the whole mesh"),
        ("trustDomain", "the first part of every identity"),
    ];
    let maps = source.world.of("", "ConfigMap");
    let own = maps.iter().find(|map| text(map, "/metadata/name") == "istio");
    let mesh = own.map(|map| text(map, "/data/mesh")).unwrap_or_default();
    let Ok(Value::Object(settings)) = serde_saphyr::from_str::<Value>(mesh) else { return Vec::new() };
    let one = |(name, value): (&String, &Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let meaning = MEANINGS.iter().find(|(known, _)| known == name).map_or("", |(_, meaning)| meaning);
        json!({"name": name, "value": value, "meaning": meaning})
    };
    settings.iter().map(one).collect()
}

#[derive(Debug, Default)]
struct Pods {
    names: Vec<String>,
    ready: usize,
    addresses: Vec<std::net::IpAddr>,
}

fn text<'o>(object: &'o Value, path: &str) -> &'o str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn control_plane_pods(source: &Arc<Source>) -> BTreeMap<String, Pods> {
    let mut found: BTreeMap<String, Pods> = BTreeMap::new();
    for pod in source.world.of("", "Pod") {
        if text(&pod, "/metadata/namespace") != SYSTEM || text(&pod, "/metadata/labels/app") != "istiod" {
            continue;
        }
        let name = text(&pod, "/metadata/name");
        let pods = found.entry(crate::facts::workload_of(&source.world, SYSTEM, name)).or_default();
        pods.names.push(name.to_owned());
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        let ready = |c: &Value| text(c, "/type") == "Ready" && text(c, "/status") == "True";
        pods.ready += usize::from(conditions.into_iter().any(ready));
        pods.addresses.extend(text(&pod, "/status/podIP").parse::<std::net::IpAddr>());
    }
    found
}
