//! `/clusters`: every cluster with its limits and endpoints.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};
use varka_engine::ir::{CircuitBreakers, Discovery, Endpoint, HealthStatus, Regex};

use super::{Answer, Query};
use crate::cluster::{ClusterState, HostState};
use crate::state::State;

/// Envoy's limits of the high priority, which nothing here uses.
const HIGH_PRIORITY: CircuitBreakers =
    CircuitBreakers { max_connections: 1024, max_pending_requests: 1024, max_requests: 1024, max_retries: 3 };

pub(super) fn clusters(state: &State, query: &Query<'_>) -> Answer {
    let filter = match query.non_empty("filter").map(|text| Regex::new(&format!("(?s:.*(?:{text}).*)"))).transpose() {
        Ok(filter) => filter,
        Err(e) => return Answer::error(400, format!("Invalid regex: {e}\n")),
    };
    let config = state.config();
    let shown = |cluster: &&Arc<ClusterState>| filter.as_ref().is_none_or(|f| f.is_match(&cluster.config.name));
    let mut clusters: Vec<&Arc<ClusterState>> = config.clusters().filter(shown).collect();
    clusters.sort_by(|a, b| a.config.name.cmp(&b.config.name));
    if query.get("format").as_deref() == Some("json") {
        let statuses: Vec<Value> = clusters.into_iter().map(|cluster| as_json(cluster, &config)).collect();
        return Answer::json(&json!({ "cluster_statuses": statuses }));
    }
    let mut out = String::new();
    for cluster in clusters {
        write_text(cluster, &config, &mut out);
    }
    Answer::text(out)
}

/// What an endpoint's assignment says of it and its state does not.
#[derive(Default)]
struct Placement {
    weight: u32,
    region: String,
    zone: String,
    sub_zone: String,
    priority: u32,
    health: HealthStatus,
}

/// Endpoints with their place, in the order of the assignment.
fn hosts(cluster: &ClusterState, config: &crate::config::Config) -> Vec<(Arc<HostState>, bool, Placement)> {
    let assignment = match &cluster.config.discovery {
        Discovery::Eds { service_name } => config.ir.endpoints.get(service_name).map(Arc::as_ref),
        Discovery::Static(assignment) | Discovery::Dns { assignment, .. } => Some(assignment),
        Discovery::DynamicForwardProxy | Discovery::OriginalDst { .. } => None,
    };
    let place = |host: &HostState| {
        let localities = assignment.map(|a| a.localities.as_slice()).unwrap_or_default();
        localities
            .iter()
            .find_map(|locality| {
                let is = |e: &&Endpoint| {
                    e.address == Some(host.address)
                        || e.host.as_ref().is_some_and(|(name, _)| Some(name) == host.name.as_ref())
                };
                let endpoint = locality.endpoints.iter().find(is)?;
                Some(Placement {
                    weight: endpoint.weight,
                    region: locality.locality.region.to_string(),
                    zone: locality.locality.zone.to_string(),
                    sub_zone: locality.locality.sub_zone.to_string(),
                    priority: locality.priority,
                    health: endpoint.health,
                })
            })
            .unwrap_or(Placement { weight: 1, ..Placement::default() })
    };
    cluster
        .endpoints()
        .into_iter()
        .map(|(host, ejected)| {
            let at = place(&host);
            (host, ejected, at)
        })
        .collect()
}

/// Requests of an endpoint: in flight, failed, succeeded, all.
fn requests(host: &HostState) -> [(&'static str, u64); 4] {
    let (active, total) = (u64::from(host.active.load(Relaxed)), host.requests.load(Relaxed));
    let failed = host.failures.load(Relaxed);
    let succeeded = total.saturating_sub(failed).saturating_sub(active);
    [("rq_active", active), ("rq_error", failed), ("rq_success", succeeded), ("rq_total", total)]
}

/// Envoy's flags of an endpoint that is not used.
fn health_flags(ejected: bool, health: HealthStatus) -> String {
    let mut flags = String::new();
    if ejected {
        flags.push_str("/failed_outlier_check");
    }
    match health {
        HealthStatus::Unhealthy => flags.push_str("/failed_eds_health"),
        HealthStatus::Draining => flags.push_str("/eds_status_draining"),
        HealthStatus::Unknown | HealthStatus::Healthy => {}
    }
    if flags.is_empty() { "healthy".to_owned() } else { flags }
}

fn eds_health(health: HealthStatus) -> &'static str {
    match health {
        HealthStatus::Unhealthy => "UNHEALTHY",
        HealthStatus::Draining => "DRAINING",
        HealthStatus::Unknown | HealthStatus::Healthy => "HEALTHY",
    }
}

fn limits(of: &CircuitBreakers) -> [(&'static str, u32); 4] {
    [
        ("max_connections", of.max_connections),
        ("max_pending_requests", of.max_pending_requests),
        ("max_requests", of.max_requests),
        ("max_retries", of.max_retries),
    ]
}

fn write_text(cluster: &ClusterState, config: &crate::config::Config, out: &mut String) {
    let name = &cluster.config.name;
    let mut line = |what: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(out, "{name}::{what}::{value}");
    };
    line("observability_name", &format!("{name};"));
    for (priority, of) in [("default_priority", &cluster.config.circuit_breakers), ("high_priority", &HIGH_PRIORITY)] {
        for (limit, value) in limits(of) {
            line(&format!("{priority}::{limit}"), &value);
        }
    }
    line("added_via_api", &true);
    for (host, ejected, at) in hosts(cluster, config) {
        let key = &host.key;
        for (stat, value) in requests(&host) {
            line(&format!("{key}::{stat}"), &value);
        }
        line(&format!("{key}::hostname"), &host.name.as_deref().unwrap_or_default());
        line(&format!("{key}::health_flags"), &health_flags(ejected, at.health));
        line(&format!("{key}::weight"), &at.weight);
        line(&format!("{key}::region"), &at.region);
        line(&format!("{key}::zone"), &at.zone);
        line(&format!("{key}::sub_zone"), &at.sub_zone);
        line(&format!("{key}::canary"), &false);
        line(&format!("{key}::priority"), &at.priority);
        line(&format!("{key}::success_rate"), &"-1");
        line(&format!("{key}::local_origin_success_rate"), &"-1");
    }
}

fn as_json(cluster: &ClusterState, config: &crate::config::Config) -> Value {
    let statuses: Vec<Value> = hosts(cluster, config)
        .iter()
        .map(|(host, ejected, at)| {
            let stats = requests(host).map(|(name, value)| match (name, value) {
                ("rq_active", 0) => json!({"type": "GAUGE", "name": name}),
                ("rq_active", n) => json!({"type": "GAUGE", "value": n.to_string(), "name": name}),
                (_, 0) => json!({ "name": name }),
                (_, n) => json!({"value": n.to_string(), "name": name}),
            });
            let mut health = json!({ "eds_health_status": eds_health(at.health) });
            if *ejected && let Some(health) = health.as_object_mut() {
                health.insert("failed_outlier_check".to_owned(), true.into());
            }
            let mut locality = serde_json::Map::new();
            for (name, value) in [("region", &at.region), ("zone", &at.zone), ("sub_zone", &at.sub_zone)] {
                if !value.is_empty() {
                    locality.insert(name.to_owned(), value.as_str().into());
                }
            }
            json!({
                "address": {"socket_address": {"address": host.address.ip().to_string(), "port_value": host.address.port()}},
                "stats": stats,
                "health_status": health,
                "weight": at.weight,
                "hostname": host.name.as_deref().unwrap_or_default(),
                "locality": locality,
            })
        })
        .collect();
    let thresholds = |priority: Option<&str>, of: &CircuitBreakers| {
        let mut entry: serde_json::Map<String, Value> =
            limits(of).map(|(k, v)| (k.to_owned(), v.into())).into_iter().collect();
        if let Some(priority) = priority {
            entry.insert("priority".to_owned(), priority.into());
        }
        Value::Object(entry)
    };
    json!({
        "name": cluster.config.name,
        "added_via_api": true,
        "host_statuses": statuses,
        "circuit_breakers": {"thresholds": [
            thresholds(None, &cluster.config.circuit_breakers),
            thresholds(Some("HIGH"), &HIGH_PRIORITY),
        ]},
        "observability_name": format!("{};", cluster.config.name),
    })
}
