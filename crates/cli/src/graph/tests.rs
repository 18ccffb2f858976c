use serde_json::{Value, json};

use super::{Picture, render, tree};
use crate::golden::golden;

fn node(kind: &str, name: &str) -> Value {
    let field = if kind == "unknown" { "key" } else { kind };
    let mut node = json!({"key": name, "kind": kind, "namespace": "blog-system", "idle": null,
        "health": {"verdict": {"status": "Healthy", "notEnoughData": false, "reason": null}, "status": "Healthy"}});
    node[field] = name.into();
    node
}

fn edge(source: Value, target: Value, protocol: &str, total: f64, errors: f64, mtls: Value) -> Value {
    let unit = if protocol == "tcp" { "bytes" } else { "requests" };
    let status = if errors > 0.0 { "Failure" } else { "Healthy" };
    json!({
        "source": source, "target": target, "protocol": protocol, "unit": unit,
        "rates": {"total": total, "noResponse": 0.0, "redirects": 0.0, "clientErrors": errors, "serverErrors": errors, "grpcErrors": 0.0},
        "security": mtls.as_f64().map(|share| json!({"mtls": share})),
        "responseTimes": (protocol != "tcp").then(|| json!({"avg": 2.0, "p50": 1.5, "p95": 4.25, "p99": 9.0})),
        "health": {"verdict": {"status": status, "notEnoughData": errors > 0.0 && errors < 0.05, "reason": null}},
        "unmatched": [],
    })
}

/// A graph with what graphs have: names, shares, a circle, bytes, and traffic that went nowhere.
pub(crate) fn answer() -> Value {
    let mut lost = edge(json!(1), json!(4), "http", 0.5, 0.25, Value::Null);
    lost["unmatched"] = json!([{"message": "was-servic is not registered; was-service is \u{1b}[31mclose"}]);
    let mut idle = node("workload", "batch");
    idle["idle"] = json!({"why": "notInWindow", "lastSeen": 1_769_860_000});
    let mut egress = node("service", "PassthroughCluster");
    egress["namespace"] = "".into();
    json!({
        "graphType": "workload", "timestamp": 1_769_860_800, "duration": 60,
        "nodes": [node("unknown", "nobody"), node("workload", "web"), node("workload", "was"), node("workload", "mysql"), egress, idle],
        "edges": [
            edge(json!(0), json!(1), "http", 10.0, 0.0, json!(0.0)),
            edge(json!(1), json!(2), "http", 10.0, 0.02, json!(1.0)),
            edge(json!(2), json!(1), "grpc", 0.125, 0.0, json!(0.625)),
            edge(json!(2), json!(3), "tcp", 12_345.0, 0.0, Value::Null),
            lost,
        ],
    })
}

#[test]
fn a_graph_is_a_table() {
    let picture = Picture::whole(&answer()).unwrap();
    golden("graph/table", &render(&picture, false));
    golden("graph/idle", &render(&picture, true));
    let none = Picture::whole(&json!({"timestamp": 1_769_860_800, "duration": 60, "nodes": [], "edges": []})).unwrap();
    golden("graph/none", &render(&none, false));
}

#[test]
fn a_graph_is_a_tree() {
    golden("graph/tree", &tree(&Picture::whole(&answer()).unwrap()));
}

#[test]
fn an_edge_that_ends_nowhere_is_refused() {
    let broken =
        json!({"nodes": [node("workload", "web")], "edges": [edge(json!(0), json!(7), "http", 1.0, 0.0, Value::Null)]});
    assert_eq!(Picture::whole(&broken).unwrap_err().to_string(), "an edge of the graph ends nowhere");
}

#[test]
fn a_stream_says_what_is_different() {
    let mut picture = Picture::default();
    let whole = json!({"whole": true, "timestamp": 1, "duration": 60, "nodes": [node("workload", "web"), node("workload", "was")],
        "edges": [edge(json!("web"), json!("was"), "http", 1.0, 0.0, json!(1.0))]});
    picture.patch(&whole).unwrap();
    assert_eq!((picture.nodes.len(), picture.edges["web>was>http"].rate().as_str()), (2, "1.00/s"));
    let faster = json!({"whole": false, "timestamp": 2, "duration": 60, "nodes": [],
        "edges": [edge(json!("web"), json!("was"), "http", 2.0, 0.0, json!(1.0))], "goneNodes": [], "goneEdges": []});
    picture.patch(&faster).unwrap();
    assert_eq!((picture.timestamp, picture.edges["web>was>http"].rate().as_str()), (2, "2.00/s"));
    let gone = json!({"whole": false, "timestamp": 3, "duration": 60, "nodes": [], "edges": [],
        "goneNodes": ["was"], "goneEdges": ["web>was>http"]});
    picture.patch(&gone).unwrap();
    assert_eq!((picture.nodes.len(), picture.edges.len()), (1, 0));
}
