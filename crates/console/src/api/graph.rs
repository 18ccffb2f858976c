//! The graph as the pages draw it.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::{Value, json};
use varka_telemetry::graph::kiali::request::{Path, parse};
use varka_telemetry::graph::{Graph, Id, Node, Options};

use super::drawings::let_go;
use super::examples::Calls;
use super::{Pairs, Refused, Shared, mend, now, number, parameter};
use crate::graph::Source;
use crate::jaeger::blocking;
use crate::store::Error;

pub(super) async fn graph(State(source): Shared, headers: HeaderMap, Query(pairs): Pairs) -> Result<Response, Refused> {
    let drawn = Asked::read(&source, &pairs)?.drawn(&source).await?;
    let taken = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let zipped = taken.flat_map(|value| value.split(',')).any(|coding| coding.trim().split(';').next() == Some("gzip"));
    let kind = (header::CONTENT_TYPE, "application/json");
    if !zipped {
        let text = drawn.text().clone();
        let_go(Some(drawn));
        return Ok(([kind], text).into_response());
    }
    let body = blocking(move || Ok(drawn.zipped().clone())).await?;
    Ok(([kind, (header::CONTENT_ENCODING, "gzip")], body).into_response())
}

/// What is asked for, but for the time where it is now.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pairs: Vec<(String, String)>,
    at: Option<i64>,
}

/// A graph with its nodes and edges by their names.
#[derive(Debug, Default)]
pub(super) struct Drawn {
    graph_type: Value,
    pub(super) timestamp: i64,
    pub(super) duration: u64,
    pub(super) nodes: BTreeMap<String, Value>,
    pub(super) edges: BTreeMap<String, Value>,
    left_out: Value,
    /// As it is answered, made when it is asked for first.
    text: OnceLock<Bytes>,
    zipped: OnceLock<Bytes>,
}

impl Drawn {
    /// With edges that name their ends by their place.
    fn text(&self) -> &Bytes {
        self.text.get_or_init(|| {
            let places: HashMap<&str, usize> =
                self.nodes.keys().enumerate().map(|(place, key)| (key.as_str(), place)).collect();
            let mut edges = self.edges.clone();
            for edge in edges.values_mut() {
                for end in ["source", "target"] {
                    if let Some(key) = edge.get_mut(end) {
                        *key = key.as_str().and_then(|key| places.get(key)).copied().into();
                    }
                }
            }
            let whole = json!({
                "graphType": self.graph_type, "timestamp": self.timestamp, "duration": self.duration,
                "nodes": self.nodes.values().collect::<Vec<_>>(), "edges": edges.values().collect::<Vec<_>>(),
                "leftOut": self.left_out,
            });
            whole.to_string().into()
        })
    }

    fn zipped(&self) -> &Bytes {
        self.zipped.get_or_init(|| {
            let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
            // Writing into memory does not fail.
            let _ = zipped.write_all(self.text());
            zipped.finish().unwrap_or_default().into()
        })
    }
}

impl Asked {
    /// Reads parameters: Kiali's, and `at` for the end of the window.
    pub(super) fn read(source: &Arc<Source>, pairs: &[(String, String)]) -> Result<Self, Refused> {
        let at = number(pairs, "at")?;
        const KNOWN: [&str; 8] = [
            "graphType",
            "namespaces",
            "duration",
            "injectServiceNodes",
            "includeIdleEdges",
            "rateHttp",
            "rateGrpc",
            "rateTcp",
        ];
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

    /// The graph at the time that is asked for, or of a moment ago; everybody who sees as much is shown the same.
    pub(super) async fn drawn(self, source: &Arc<Source>) -> Result<Arc<Drawn>, Error> {
        let (drawings, source) = (source.drawings.clone(), Arc::clone(source));
        drawings.get(format!("{self:?} {:?}", source.world.sight()), move || self.draw(&source, now())).await
    }

    /// The graph at the time that is asked for, or now.
    fn draw(&self, source: &Source, now: i64) -> Result<Drawn, Error> {
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
                ..Drawn::default()
            });
        };
        let facts = source.facts();
        let calls = Calls::read(&source, &facts, end, options.duration)?;
        let drawn = drawn(&source.graph(&facts, &options)?, &calls);
        // Here, where it holds nobody up.
        drawn.text();
        Ok(drawn)
    }
}

fn value(of: impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

fn drawn(graph: &Graph, calls: &Calls) -> Drawn {
    let key = |id: Id<Node>| graph.nodes[id].key.as_str();
    let mut edges = BTreeMap::new();
    for edge in graph.edges.iter() {
        let (source, target) = (key(edge.source), key(edge.target));
        let mut drawn = value(edge);
        if let Some(fields) = drawn.as_object_mut() {
            fields.extend([
                ("source".to_owned(), Value::from(source)),
                ("target".to_owned(), target.into()),
                ("examples".to_owned(), calls.on(&graph.nodes[edge.source], &graph.nodes[edge.target], edge.protocol)),
            ]);
            for unmatched in fields.get_mut("unmatched").and_then(Value::as_array_mut).into_iter().flatten() {
                let yaml = mend::yaml(unmatched, &graph.nodes[edge.source].namespace, edge.protocol.name());
                if let Some(fields) = unmatched.as_object_mut() {
                    fields.insert("yaml".to_owned(), yaml);
                }
            }
        }
        edges.insert(format!("{source}>{target}>{}", edge.protocol.name()), drawn);
    }
    let mut nodes = BTreeMap::new();
    for node in graph.nodes.iter() {
        let mut drawn = value(node);
        if let Some(fields) = drawn.as_object_mut() {
            fields.insert("examples".to_owned(), calls.at(node));
        }
        nodes.insert(node.key.clone(), drawn);
    }
    Drawn {
        graph_type: value(graph.graph_type),
        timestamp: graph.timestamp,
        duration: graph.duration,
        nodes,
        edges,
        left_out: value(graph.left_out),
        ..Drawn::default()
    }
}
