//! The console's graph, as far as a terminal shows it: read whole, and kept up to date from a stream.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use crate::text::{bytes, foreign, percent, rate};
use crate::when::written;

/// Nodes and edges by their names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Picture {
    /// End of the window, in seconds since 1970.
    pub(crate) timestamp: i64,
    /// Seconds.
    pub(crate) duration: u64,
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) edges: BTreeMap<String, Edge>,
}

/// A thing that sends or receives.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Node {
    key: String,
    kind: String,
    namespace: String,
    workload: String,
    app: String,
    version: String,
    service: String,
    aggregate: Option<(String, String)>,
    idle: Option<Idle>,
    health: Option<Health>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Idle {
    why: String,
    last_seen: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Health {
    verdict: Verdict,
    status: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Verdict {
    status: String,
    not_enough_data: bool,
}

/// Who sends to whom in one protocol.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Edge {
    #[serde(skip)]
    pub(crate) source: String,
    #[serde(skip)]
    pub(crate) target: String,
    pub(crate) protocol: String,
    unit: String,
    rates: Tally,
    security: Option<Security>,
    response_times: Option<Times>,
    health: Option<Health>,
    unmatched: Vec<Unmatched>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Tally {
    total: f64,
    no_response: f64,
    client_errors: f64,
    server_errors: f64,
    grpc_errors: f64,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Security {
    mtls: f64,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Times {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Unmatched {
    message: String,
}

fn list<'v>(of: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    of.get(name).and_then(Value::as_array).into_iter().flatten()
}

impl Picture {
    /// Of the answer to `graph`, whose edges name their ends by place.
    pub(crate) fn whole(answer: &Value) -> anyhow::Result<Self> {
        let mut picture = Self::default();
        picture.times(answer);
        let nodes: Vec<Node> = list(answer, "nodes").map(read).collect::<Result<_, _>>()?;
        for of in list(answer, "edges") {
            let end = |name: &str| {
                let place = of.get(name).and_then(Value::as_u64).and_then(|place| usize::try_from(place).ok());
                let node = place.and_then(|place| nodes.get(place)).context("an edge of the graph ends nowhere")?;
                Ok::<_, anyhow::Error>(node.key.clone())
            };
            picture.insert(Edge { source: end("source")?, target: end("target")?, ..read(of)? });
        }
        picture.nodes = nodes.into_iter().map(|node| (node.key.clone(), node)).collect();
        Ok(picture)
    }

    /// Takes what is different, from the stream: edges name their ends by key.
    pub(crate) fn patch(&mut self, patch: &Value) -> anyhow::Result<()> {
        if patch.get("whole").and_then(Value::as_bool) == Some(true) {
            *self = Self::default();
        }
        self.times(patch);
        for of in list(patch, "nodes") {
            let node: Node = read(of)?;
            self.nodes.insert(node.key.clone(), node);
        }
        for of in list(patch, "edges") {
            let end = |name: &str| of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            self.insert(Edge { source: end("source"), target: end("target"), ..read(of)? });
        }
        for key in list(patch, "goneNodes").filter_map(Value::as_str) {
            self.nodes.remove(key);
        }
        for key in list(patch, "goneEdges").filter_map(Value::as_str) {
            self.edges.remove(key);
        }
        Ok(())
    }

    fn times(&mut self, of: &Value) {
        self.timestamp = of.get("timestamp").and_then(Value::as_i64).unwrap_or_default();
        self.duration = of.get("duration").and_then(Value::as_u64).unwrap_or_default();
    }

    fn insert(&mut self, edge: Edge) {
        self.edges.insert(format!("{}>{}>{}", edge.source, edge.target, edge.protocol), edge);
    }

    /// As people call a node.
    pub(crate) fn title(&self, key: &str) -> String {
        self.nodes.get(key).map_or_else(|| foreign(key), Node::title)
    }
}

fn read<T: for<'de> Deserialize<'de>>(of: &Value) -> anyhow::Result<T> {
    T::deserialize(of).context("the console's graph cannot be read: is it of another version?")
}

impl Node {
    /// As people call it.
    pub(crate) fn title(&self) -> String {
        let below =
            |name: &str| if self.namespace.is_empty() { name.to_owned() } else { format!("{}/{name}", self.namespace) };
        let title = match (self.kind.as_str(), &self.aggregate) {
            ("service", _) => format!("{} (service)", below(&self.service)),
            ("app", _) if self.version.is_empty() => below(&self.app),
            ("app", _) => format!("{} {}", below(&self.app), self.version),
            ("aggregate", Some((label, value))) => format!("{} {label}={value}", below(&self.app)),
            ("workload", _) => below(&self.workload),
            _ => "unknown".to_owned(),
        };
        foreign(&title)
    }

    /// Why there is no traffic; `None`: there is.
    pub(crate) fn idle(&self) -> Option<String> {
        let idle = self.idle.as_ref()?;
        Some(match (idle.why.as_str(), idle.last_seen) {
            ("scaledToZero", _) => "scaled to zero".to_owned(),
            ("noPods", _) => "it has no pods".to_owned(),
            ("notInMesh", _) => "not in the mesh, so only what the mesh sends there is seen".to_owned(),
            ("notInWindow", Some(at)) => format!("last seen {}", written(at.saturating_mul(1_000_000), 0)),
            ("neverSeen", _) => "never seen".to_owned(),
            (other, _) => foreign(other),
        })
    }

    /// In a word.
    pub(crate) fn health(&self) -> String {
        word(self.health.as_ref())
    }
}

fn word(health: Option<&Health>) -> String {
    let Some(health) = health else { return "-".to_owned() };
    let status = health.status.as_ref().unwrap_or(&health.verdict.status);
    match status.as_str() {
        "" | "NA" => "-".to_owned(),
        status if health.verdict.not_enough_data => format!("{} (too few errors to tell)", foreign(status)),
        status => foreign(status),
    }
}

impl Edge {
    /// Amount in its unit.
    pub(crate) fn rate(&self) -> String {
        match self.unit.as_str() {
            "bytes" => bytes(self.rates.total),
            "messages" => format!("{:.2} messages/s", self.rates.total),
            _ => rate(self.rates.total),
        }
    }

    /// Requests a second; `None`: it is told in something else.
    pub(crate) fn requests(&self) -> Option<f64> {
        (self.unit == "requests").then_some(self.rates.total)
    }

    /// Requests a second that failed.
    pub(crate) fn failing(&self) -> f64 {
        self.rates.no_response + self.rates.client_errors + self.rates.server_errors + self.rates.grpc_errors
    }

    /// Share of requests that failed; `None`: nothing can fail, or nothing came.
    pub(crate) fn errors(&self) -> Option<f64> {
        self.requests().filter(|total| *total > 0.0).map(|total| self.failing() / total)
    }

    pub(crate) fn times(&self) -> Option<Times> {
        self.response_times
    }

    /// How much of it came over mTLS.
    pub(crate) fn security(&self) -> String {
        match self.security.map(|security| security.mtls) {
            None => "-".to_owned(),
            Some(share) if share >= 0.9995 => "mTLS".to_owned(),
            Some(share) if share > 0.0 => format!("mTLS {}", percent(share)),
            Some(_) => "plain".to_owned(),
        }
    }

    /// In a word.
    pub(crate) fn health(&self) -> String {
        word(self.health.as_ref())
    }

    /// Why it went to no known service.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &str> {
        self.unmatched.iter().map(|unmatched| unmatched.message.as_str()).filter(|message| !message.is_empty())
    }
}
