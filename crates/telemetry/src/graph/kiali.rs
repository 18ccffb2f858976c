//! Kiali's form of a graph: what `GET /kiali/api/namespaces/graph` answers, field by field.
//!
//! Names are hashed, numbers are texts with as many digits as Kiali writes, and the order is Kiali's. What our graph knows beyond
//! it is left out. [`request`] reads the other half, what is asked for.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};

use super::arena::Id;
use super::model::{Edge, GatewayKind, Graph, Node, NodeKind, Protocol, WaypointEdge};
use super::options::{BoxBy, GraphType};

mod boxes;
pub mod form;
mod health;
mod number;
pub mod request;

use form::{
    Answer, Detail, EdgeData, Elements, Gateway, Hosts, NodeData, ServiceEntry, Traffic, Waypoint, WorkloadEntry,
    Wrapped,
};
use number::{fixed, rate};

/// Kiali's form of a graph.
#[must_use]
pub fn render(graph: &Graph) -> Answer {
    let hashes: Vec<String> = graph.nodes.iter().map(|node| hash(&node.key)).collect();
    let hash_of = |id: Id<Node>| hashes.get(id.place()).cloned().unwrap_or_default();
    let mut nodes: Vec<NodeData> =
        graph.nodes.iter().zip(&hashes).map(|(node, hash)| self::node(node, hash.clone())).collect();
    let mut app_health: HashMap<String, form::Health> = HashMap::new();
    for (node, hash) in graph.nodes.iter().zip(&hashes) {
        if let Some(health) = health::of_app(node) {
            app_health.insert(hash.clone(), health);
        }
    }
    let by_app = graph.box_by.app || matches!(graph.graph_type, GraphType::App | GraphType::VersionedApp);
    boxes::draw(&mut nodes, BoxBy { app: by_app, ..graph.box_by }, &app_health);
    nodes.sort_by(|a, b| order(a).cmp(&order(b)));

    let visible = graph.edges.iter().filter(|edge| !edge.hidden);
    let mut edges: Vec<EdgeData> = visible.map(|edge| self::edge(graph, edge, &hash_of)).collect();
    edges.sort_by(|a, b| (&a.source, &a.target, a.traffic.protocol).cmp(&(&b.source, &b.target, b.traffic.protocol)));
    Answer {
        timestamp: graph.timestamp,
        duration: graph.duration,
        graph_type: graph.graph_type.name(),
        elements: Elements {
            nodes: nodes.into_iter().map(|data| Wrapped { data }).collect(),
            edges: edges.into_iter().map(|data| Wrapped { data }).collect(),
        },
    }
}

/// Boxes first, the outer before the inner; then by name.
fn order(node: &NodeData) -> (u8, [&str; 7]) {
    let rank = match node.is_box {
        Some("cluster") => 0,
        Some("namespace") => 1,
        Some("app") => 2,
        _ => 3,
    };
    let names = [&node.cluster, &node.namespace, &node.app, &node.version, &node.service, &node.workload, &node.id];
    (rank, names.map(String::as_str))
}

/// Small hexadecimal letters of the SHA-256 sum.
fn hash(text: &str) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a String does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn node(node: &Node, id: String) -> NodeData {
    let badges = &node.badges;
    let hosts = |hosts: &Vec<String>| Hosts { hostnames: hosts.clone() };
    NodeData {
        id,
        parent: String::new(),
        node_type: node.kind.name(),
        cluster: node.cluster.clone(),
        namespace: node.namespace.clone(),
        workload: node.workload.clone(),
        app: node.app.clone(),
        version: node.version.clone(),
        service: node.service.clone(),
        aggregate: node.aggregate.as_ref().map(|(label, value)| format!("{label}={value}")).unwrap_or_default(),
        dest_services: node.services.iter().cloned().collect(),
        labels: node.labels.clone(),
        traffic: Protocol::ALL.into_iter().filter_map(|protocol| node_traffic(node, protocol)).collect(),
        health_data: health::of_node(node),
        has_cb: badges.circuit_breaker,
        has_fault_injection: badges.fault_injection,
        has_ingress_waypoint: badges.ingress_waypoint,
        has_mirroring: badges.mirroring,
        has_request_routing: badges.request_routing,
        has_request_timeout: badges.request_timeout,
        has_tcp_traffic_shifting: badges.tcp_traffic_shifting,
        has_traffic_shifting: badges.traffic_shifting,
        has_vs: badges.virtual_service.as_ref().map(|(_, names)| hosts(names)),
        has_workload_entry: badges.workload_entries.iter().map(|n| WorkloadEntry { name: n.clone() }).collect(),
        is_ambient: node.ambient,
        is_box: None,
        is_dead: node.dead,
        is_gateway: badges.gateway.as_ref().map(|(kind, names)| {
            let of = |this: GatewayKind| if *kind == this { hosts(names) } else { Hosts::default() };
            Gateway {
                ingress_info: of(GatewayKind::Ingress),
                egress_info: of(GatewayKind::Egress),
                gateway_api_info: of(GatewayKind::GatewayApi),
            }
        }),
        is_idle: node.idle.is_some(),
        is_inaccessible: node.inaccessible,
        is_injected: node.injected,
        is_k8s_gateway_api: badges.gateway_api || matches!(badges.gateway, Some((GatewayKind::GatewayApi, _))),
        is_out_of_mesh: node.out_of_mesh,
        is_outside: node.outside,
        is_root: node.root,
        is_service_entry: node.service_entry.as_ref().map(|entry| ServiceEntry {
            hosts: entry.hosts.clone(),
            location: if entry.internal { "MESH_INTERNAL" } else { "MESH_EXTERNAL" },
            // Kiali says where it is used.
            namespace: node.namespace.clone(),
        }),
        is_waypoint: node.waypoint,
    }
}

/// The names of a protocol's rates, of nodes and of edges.
struct Names {
    incoming: &'static str,
    in_no_response: &'static str,
    outgoing: &'static str,
    no_response: &'static str,
    percent_err: &'static str,
    percent_req: &'static str,
}

const GRPC: Names = Names {
    incoming: "grpcIn",
    in_no_response: "grpcInNoResponse",
    outgoing: "grpcOut",
    no_response: "grpcNoResponse",
    percent_err: "grpcPercentErr",
    percent_req: "grpcPercentReq",
};
const HTTP: Names = Names {
    incoming: "httpIn",
    in_no_response: "httpInNoResponse",
    outgoing: "httpOut",
    no_response: "httpNoResponse",
    percent_err: "httpPercentErr",
    percent_req: "httpPercentReq",
};
const TCP: Names = Names {
    incoming: "tcpIn",
    in_no_response: "",
    outgoing: "tcpOut",
    no_response: "",
    percent_err: "",
    percent_req: "",
};

const fn names(protocol: Protocol) -> &'static Names {
    match protocol {
        Protocol::Grpc => &GRPC,
        Protocol::Http => &HTTP,
        Protocol::Tcp => &TCP,
    }
}

fn node_traffic(node: &Node, protocol: Protocol) -> Option<Traffic> {
    let names = names(protocol);
    let traffic = node.traffic.of(protocol);
    let incoming = &traffic.incoming;
    let rates = [
        (names.incoming, incoming.total),
        (names.in_no_response, incoming.no_response),
        ("httpIn3xx", incoming.redirects),
        ("httpIn4xx", incoming.client_errors),
        ("httpIn5xx", incoming.server_errors),
        ("grpcInErr", incoming.grpc_errors),
        (names.outgoing, traffic.outgoing.total),
    ];
    let rates: BTreeMap<&'static str, String> =
        rates.into_iter().filter(|(_, value)| *value > 0.0).map(|(name, value)| (name, rate(value))).collect();
    (!rates.is_empty()).then(|| Traffic { protocol: protocol.name(), rates, responses: BTreeMap::new() })
}

fn edge(graph: &Graph, edge: &Edge, hash_of: &impl Fn(Id<Node>) -> String) -> EdgeData {
    let mut data = edge_between(graph, edge, &hash_of(edge.source), &hash_of(edge.target));
    data.waypoint = edge.waypoint.map(|waypoint| match waypoint {
        WaypointEdge::From => Waypoint { direction: "from", from_edge: None },
        // Kiali writes the way back as one from the client to itself.
        WaypointEdge::To(back) => Waypoint {
            direction: "to",
            from_edge: back.map(|back| {
                let back = &graph.edges[back];
                let mut data = edge_between(graph, back, &hash_of(edge.source), &hash_of(back.target));
                data.waypoint = Some(Waypoint { direction: "from", from_edge: None });
                Box::new(data)
            }),
        },
    });
    data
}

fn edge_between(graph: &Graph, edge: &Edge, source: &str, target: &str) -> EdgeData {
    let protocol = edge.protocol.name();
    // Kiali knows times and bytes of what a service sends on, not of what it is asked: it cannot add quantiles up.
    let measured = !graph.nodes[edge.target].injected;
    let whole = |value: Option<f64>| value.map(|value| fixed(value, 0));
    let principal = |name: &Option<String>| name.clone().unwrap_or_else(|| "unknown".to_owned());
    let security = edge.security.as_ref();
    let at_waypoint = graph.nodes[edge.source].waypoint || graph.nodes[edge.target].waypoint;
    let named = security.filter(|s| !at_waypoint || s.source_principal.is_some() || s.destination_principal.is_some());
    EdgeData {
        id: hash(&format!("{source}.{target}.{protocol}")),
        source: source.to_owned(),
        target: target.to_owned(),
        dest_principal: named.map(|s| principal(&s.destination_principal)),
        health_status: edge.health.as_ref().map(|health| health.kiali.name()).filter(|name| *name != "NA"),
        is_mtls: security.filter(|s| s.mtls > 0.0).map(|s| fixed(s.mtls * 100.0, 0)),
        response_time: whole(edge.response_time(graph.response_time).filter(|_| measured)),
        source_principal: named.map(|s| principal(&s.source_principal)),
        throughput: whole(edge.bytes(graph.throughput).filter(|_| measured && edge.protocol == Protocol::Http)),
        traffic: edge_traffic(graph, edge),
        waypoint: None,
    }
}

fn edge_traffic(graph: &Graph, edge: &Edge) -> Traffic {
    let names = names(edge.protocol);
    let tally = &edge.rates;
    let total = tally.total;
    let mut traffic = Traffic { protocol: edge.protocol.name(), rates: BTreeMap::new(), responses: BTreeMap::new() };
    if total <= 0.0 {
        return traffic;
    }
    let rates = [
        (edge.protocol.name(), total),
        (names.no_response, tally.no_response),
        ("http3xx", tally.redirects),
        ("http4xx", tally.client_errors),
        ("http5xx", tally.server_errors),
        ("grpcErr", tally.grpc_errors),
    ];
    traffic.rates.extend(rates.into_iter().filter(|(_, v)| *v > 0.0).map(|(name, value)| (name, rate(value))));
    let percent = |part: f64, of: f64| fixed(part / of * 100.0, 1);
    let sent = graph.nodes[edge.source].traffic.of(edge.protocol).outgoing.total;
    for (name, part, of) in [(names.percent_err, tally.errors(), total), (names.percent_req, total, sent)] {
        if !name.is_empty() && part > 0.0 && of > 0.0 {
            traffic.rates.insert(name, percent(part, of));
        }
    }
    let texts = |rates: BTreeMap<String, f64>| rates.into_iter().map(|(k, v)| (k, percent(v, total))).collect();
    let mut hosts = edge.by_code(|response| &response.host);
    for (code, flags) in edge.by_code(|response| &response.flags) {
        let hosts = hosts.remove(code).unwrap_or_default();
        traffic.responses.insert(code.to_owned(), Detail { flags: texts(flags), hosts: texts(hosts) });
    }
    traffic
}

/// Whether a node is a version of an app or an app, as Kiali boxes them.
fn is_app(node: &Node) -> bool {
    node.kind == NodeKind::App
}
