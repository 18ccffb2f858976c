mod decorations;
mod duplicates;
mod mesh;
mod requests;
mod speed;
mod verdicts;
mod why;

use std::collections::BTreeMap;

use super::facts::{Map, Namespace, Pod, Port, Service, Workload};
use super::{
    Appender, Appenders, Edge, Facts, Graph, GraphType, Input, Labels, Metrics, Node, Options, RequestedNamespace,
    Series, build,
};

/// A workload as labels tell of it.
#[derive(Clone, Copy)]
struct Who {
    namespace: &'static str,
    name: &'static str,
    app: &'static str,
    version: &'static str,
    cluster: &'static str,
}

const CLUSTER: &str = "Kubernetes";
const NOBODY: Who =
    Who { namespace: "unknown", name: "unknown", app: "unknown", version: "latest", cluster: "unknown" };

const fn who(namespace: &'static str, name: &'static str, app: &'static str) -> Who {
    Who { namespace, name, app, version: "v1", cluster: CLUSTER }
}

/// What is the same in every report of a request.
fn report(reporter: &'static str, from: Who, to: Who, service: &'static str, host: &'static str) -> Labels<'static> {
    Labels {
        reporter,
        source_cluster: from.cluster,
        source_workload_namespace: from.namespace,
        source_workload: from.name,
        source_canonical_service: from.app,
        source_canonical_revision: from.version,
        source_principal: "unknown",
        destination_cluster: to.cluster,
        destination_service_namespace: if to.name == "unknown" { "unknown" } else { to.namespace },
        destination_service: host,
        destination_service_name: service,
        destination_workload_namespace: to.namespace,
        destination_workload: to.name,
        destination_canonical_service: to.app,
        destination_canonical_revision: to.version,
        destination_principal: "unknown",
        request_protocol: "http",
        response_code: "200",
        response_flags: "-",
        connection_security_policy: if reporter == "source" { "unknown" } else { "none" },
        ..Labels::default()
    }
}

fn series(labels: Labels<'static>, rate: f64) -> Series<'static> {
    Series { labels, rate }
}

fn over_mtls(labels: Labels<'static>) -> Labels<'static> {
    let policy = if labels.reporter == "source" { "unknown" } else { "mutual_tls" };
    Labels {
        source_principal: "spiffe://cluster.local/ns/blog/sa/client",
        destination_principal: "spiffe://cluster.local/ns/blog/sa/server",
        connection_security_policy: policy,
        ..labels
    }
}

fn map(pairs: &[(&str, &str)]) -> Map {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
}

fn namespaces(names: &[&str]) -> Vec<Namespace> {
    let of = |name: &&str| Namespace { cluster: CLUSTER.into(), name: (*name).into(), ..Namespace::default() };
    names.iter().map(of).collect()
}

fn workload(who: Who) -> Workload {
    Workload {
        cluster: CLUSTER.into(),
        namespace: who.namespace.into(),
        name: who.name.into(),
        labels: map(&[("app", who.app), ("version", who.version)]),
        pods: vec![Pod { name: format!("{}-1", who.name), addresses: vec![format!("10.244.0.{}", who.name.len())] }],
        sidecar: true,
        ..Workload::default()
    }
}

fn service(namespace: &str, name: &str, app: &str, port: u16) -> Service {
    Service {
        cluster: CLUSTER.into(),
        namespace: namespace.into(),
        name: name.into(),
        labels: map(&[("app", app)]),
        selector: map(&[("app", app)]),
        ports: vec![Port { name: "http".into(), number: port }],
        addresses: vec![format!("10.96.0.{}", name.len())],
        ..Service::default()
    }
}

fn options(graph_type: GraphType, namespaces: &[&str], appenders: &[Appender]) -> Options {
    let of = |name: &&str| RequestedNamespace { name: (*name).into(), duration: 600, ambient: false };
    Options {
        graph_type,
        namespaces: namespaces.iter().map(of).collect(),
        appenders: appenders.iter().copied().collect::<Appenders>(),
        ..Options::default()
    }
}

fn graph(metrics: &Metrics<'_>, facts: &Facts, options: &Options) -> Graph {
    build(&Input { metrics, facts }, options)
}

fn node<'g>(graph: &'g Graph, key: &str) -> &'g Node {
    let keys: Vec<&str> = graph.nodes.iter().map(|node| node.key.as_str()).collect();
    &graph.nodes[graph.node(key).unwrap_or_else(|| panic!("no {key} among {keys:?}"))]
}

fn keys(graph: &Graph) -> Vec<&str> {
    graph.nodes.iter().map(|node| node.key.as_str()).collect()
}

/// `SOURCE -> TARGET PROTOCOL RATE`, without what all names begin with.
fn edges(graph: &Graph) -> Vec<String> {
    let name = |id| {
        let key = graph.nodes[id].key.replace(&format!("{CLUSTER}_"), "");
        key.replace("blog_", "")
    };
    let line = |edge: &Edge| {
        let (source, target) = (name(edge.source), name(edge.target));
        format!("{source} -> {target} {} {:.3}", edge.protocol.name(), edge.rates.total)
    };
    let mut lines: Vec<String> = graph.edges.iter().map(line).collect();
    lines.sort();
    lines
}

fn edge<'g>(graph: &'g Graph, source: &str, target: &str) -> &'g Edge {
    let found = graph
        .edges
        .iter()
        .find(|edge| graph.nodes[edge.source].key.ends_with(source) && graph.nodes[edge.target].key.ends_with(target));
    found.unwrap_or_else(|| panic!("no {source} -> {target} among {:?}", edges(graph)))
}
