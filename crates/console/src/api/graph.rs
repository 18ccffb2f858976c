//! The graph as the pages draw it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::Serialize;
use serde_json::{Value, json};
use varka_telemetry::graph::health::{NodeHealth, Status, Verdict};
use varka_telemetry::graph::kiali::request::{Path, parse};
use varka_telemetry::graph::unmatched::{Reason, Unmatched};
use varka_telemetry::graph::{Edge, Graph, Id, Node, Options, ResponseTime, Throughput};

use super::{Pairs, Refused, Shared, now, number, parameter};
use crate::graph::Source;
use crate::jaeger::blocking;
use crate::store::Error;

pub(super) async fn graph(State(source): Shared, Query(pairs): Pairs) -> Result<Json<Value>, Refused> {
    let asked = Asked::read(&source, &pairs)?;
    let drawn = blocking(move || asked.draw(&source, now())).await?;
    let keys: Vec<&String> = drawn.nodes.keys().collect();
    let place = |key: &str| keys.iter().position(|found| *found == key);
    let edges: Vec<Value> = drawn
        .edges
        .values()
        .map(|edge| {
            let mut edge = edge.clone();
            for end in ["source", "target"] {
                let key = edge.get(end).and_then(Value::as_str).and_then(place);
                edge[end] = key.into();
            }
            edge
        })
        .collect();
    Ok(Json(json!({
        "graphType": drawn.graph_type, "timestamp": drawn.timestamp, "duration": drawn.duration,
        "nodes": drawn.nodes.values().collect::<Vec<_>>(), "edges": edges, "leftOut": drawn.left_out,
    })))
}

/// What is asked for, but for the time where it is now.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pairs: Vec<(String, String)>,
    at: Option<i64>,
}

/// A graph with its nodes and edges by their names.
#[derive(Debug)]
pub(super) struct Drawn {
    graph_type: Value,
    pub(super) timestamp: i64,
    pub(super) duration: u64,
    pub(super) nodes: BTreeMap<String, Value>,
    pub(super) edges: BTreeMap<String, Value>,
    left_out: Value,
}

impl Asked {
    /// Reads parameters: Kiali's, and `at` for the end of the window.
    pub(super) fn read(source: &Arc<Source>, pairs: &[(String, String)]) -> Result<Self, Refused> {
        let at = number(pairs, "at")?;
        const KNOWN: [&str; 5] = ["graphType", "namespaces", "duration", "injectServiceNodes", "includeIdleEdges"];
        let mut kept: Vec<(String, String)> =
            pairs.iter().filter(|(name, value)| KNOWN.contains(&name.as_str()) && !value.is_empty()).cloned().collect();
        if let Some((_, duration)) = kept.iter_mut().find(|(name, _)| name == "duration")
            && duration.bytes().all(|byte| byte.is_ascii_digit())
        {
            duration.push('s');
        }
        if parameter(&kept, "namespaces").is_none() {
            let named = source.world.of("", "Namespace");
            let names = named.iter().filter_map(|n| n.pointer("/metadata/name")?.as_str());
            kept.push(("namespaces".to_owned(), names.collect::<Vec<_>>().join(",")));
        }
        let asked = Self { pairs: kept, at };
        asked.options(source, now().div_euclid(1000)).map_err(|refused| Refused::bad(refused.to_string()))?;
        Ok(asked)
    }

    fn options(&self, source: &Source, end: i64) -> Result<Options, varka_telemetry::graph::kiali::request::Refused> {
        let query = self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        parse(&Path::default(), query, &source.facts(), Default::default(), end)
    }

    /// The graph at the time that is asked for, or now.
    pub(super) fn draw(&self, source: &Source, now: i64) -> Result<Drawn, Error> {
        let end = self.at.unwrap_or_else(|| now.div_euclid(1000));
        let source = match self.at {
            Some(at) => Source { world: source.world.at(at.saturating_mul(1000))?, ..source.clone() },
            None => source.clone(),
        };
        // A namespace that is gone since is no reason to show nothing.
        let Ok(options) = self.options(&source, end) else {
            return Ok(Drawn {
                graph_type: Value::Null,
                timestamp: end,
                duration: 0,
                nodes: BTreeMap::new(),
                edges: BTreeMap::new(),
                left_out: json!({"contradictory": 0, "unusable": 0, "reportedTwice": 0}),
            });
        };
        let facts = source.facts();
        let with =
            |response_time, throughput| source.graph(&facts, &Options { response_time, throughput, ..options.clone() });
        let (p95, average) = (
            with(ResponseTime::Quantile(0.95), Throughput::Response)?,
            with(ResponseTime::Average, Throughput::Request)?,
        );
        let (p50, p99) = (
            with(ResponseTime::Quantile(0.5), Throughput::Response)?,
            with(ResponseTime::Quantile(0.99), Throughput::Response)?,
        );
        Ok(drawn(&p95, [&average, &p50, &p99]))
    }
}

fn value(of: impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

fn drawn(graph: &Graph, [average, p50, p99]: [&Graph; 3]) -> Drawn {
    let key = |graph: &Graph, edge: &Edge| {
        let name = |id: Id<Node>| graph.nodes[id].key.clone();
        (name(edge.source), name(edge.target), edge.protocol.name())
    };
    let find = |other: &Graph, wanted: &(String, String, &str)| {
        let found = other.edges.iter().find(|edge| key(other, edge) == *wanted);
        (found.and_then(|edge| edge.response_time), found.and_then(|edge| edge.throughput))
    };
    let edge_health = |edge: &Edge| edge.health.as_ref().map(|h| health(&h.verdict, h.verdict.status, Value::Null));
    let mut edges = BTreeMap::new();
    for edge in graph.edges.iter() {
        let name = key(graph, edge);
        let (avg, request) = find(average, &name);
        let times = edge
            .response_time
            .zip(avg)
            .map(|(p95, avg)| json!({"avg": avg, "p50": find(p50, &name).0, "p95": p95, "p99": find(p99, &name).0}));
        let throughput =
            edge.throughput.map(|response| json!({"request": request.unwrap_or(0.0), "response": response}));
        edges.insert(
            format!("{}>{}>{}", name.0, name.1, name.2),
            json!({
                "source": name.0, "target": name.1, "protocol": edge.protocol, "unit": edge.unit, "rates": edge.rates,
                "responses": edge.responses, "security": edge.security, "responseTimes": times, "throughput": throughput,
                "health": edge_health(edge), "hidden": edge.hidden,
                "unmatched": edge.unmatched.iter().map(unmatched).collect::<Vec<_>>(),
            }),
        );
    }
    let mut nodes = BTreeMap::new();
    for node in graph.nodes.iter() {
        let mut drawn = value(node);
        drawn["health"] = node.health.as_ref().map_or(Value::Null, |health| node_health(health));
        nodes.insert(node.key.clone(), drawn);
    }
    Drawn {
        graph_type: value(graph.graph_type),
        timestamp: graph.timestamp,
        duration: graph.duration,
        nodes,
        edges,
        left_out: value(graph.left_out),
    }
}

pub(super) fn node_health(of: &NodeHealth) -> Value {
    let mut sum = (0, 0, 0);
    let mut synced = -1;
    for workload in &of.workloads {
        sum.0 += workload.replicas.desired;
        sum.1 += workload.replicas.current;
        sum.2 += workload.replicas.available;
        synced = synced.max(workload.replicas.synced_proxies);
    }
    let replicas = match of.workloads.is_empty() {
        true => Value::Null,
        false => json!({"desired": sum.0, "current": sum.1, "available": sum.2, "syncedProxies": synced}),
    };
    health(&of.verdict, of.status, replicas)
}

/// In the pages' words.
fn health(verdict: &Verdict, status: Status, replicas: Value) -> Value {
    let status = match status {
        Status::NotApplicable => "na",
        Status::Healthy => "healthy",
        Status::NotReady => "notReady",
        Status::Degraded => "degraded",
        Status::Failure => "failure",
    };
    let reason = verdict.reason.as_ref();
    let rule = reason.map(|reason| {
        let tolerance = &reason.tolerance;
        json!({
            "code": tolerance.code, "protocol": reason.protocol, "direction": reason.direction,
            "degraded": tolerance.degraded, "failure": tolerance.failure, "source": "default",
        })
    });
    json!({
        "status": status, "rule": rule, "total": reason.map_or(0.0, |reason| reason.all),
        "errors": reason.map_or(0.0, |reason| reason.errors), "significant": !verdict.not_enough_data,
        "examples": [], "replicas": replicas,
    })
}

fn unmatched(of: &Unmatched) -> Value {
    let fix = match (&of.reason, &of.meant) {
        (Reason::NothingKnown, _) => "Nothing is known of what was asked for.".to_owned(),
        (Reason::PublicHost { resource }, Some(meant)) => {
            format!("{} is a name for clients outside ({resource}). Inside, ask for {}.", of.host, meant.host)
        }
        (Reason::PublicHost { resource }, None) => {
            format!(
                "{} is a name for clients outside ({resource}). Set the Host header to the service's own name.",
                of.host
            )
        }
        (Reason::PodAddress { workload }, Some(meant)) => {
            format!("A pod of {workload} was dialled. Ask for its service, {}.", meant.host)
        }
        (Reason::PodAddress { workload }, None) => format!("A pod of {workload} was dialled; no service selects it."),
        (Reason::PortNotServed { ports }, Some(meant)) => {
            let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            format!("{} has no such port; it has {ports}.", meant.host)
        }
        (Reason::OtherNamespace, Some(meant)) => {
            format!("A short name means a service of the client's own namespace. Ask for {}.", meant.host)
        }
        (Reason::NotVisible, Some(meant)) => {
            format!("{} is there, and this client does not see it (exportTo, Sidecar).", meant.host)
        }
        (Reason::Similar, Some(meant)) => format!("Nothing is called {}. {} is.", of.host, meant.host),
        (_, _) => "It is not registered. A ServiceEntry would give it a name in the mesh.".to_owned(),
    };
    let mut out = value(of);
    if let Some(fields) = out.as_object_mut() {
        fields.insert("fix".to_owned(), fix.into());
    }
    out
}
