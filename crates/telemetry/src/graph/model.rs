//! The graph itself: nodes, edges, and what is known of them, with numbers as numbers.
//!
//! Everything is owned, so that a graph can be kept, compared and sent. It serialises as it is; Kiali's form of it is made by
//! [`super::kiali::render`].

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::arena::{Id, List};
use super::facts::Map;
use super::health::{EdgeHealth, NodeHealth};
use super::options::{BoxBy, GraphType, ResponseTime, Throughput};
use super::unmatched::Unmatched;

/// Who talked to whom in one window.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Graph {
    /// What a node stands for.
    pub graph_type: GraphType,
    /// End of the window, in seconds since the epoch.
    pub timestamp: i64,
    /// Length of the window, in seconds.
    pub duration: u64,
    /// Nodes, in an order of their names.
    pub nodes: List<Node>,
    /// Edges, in the order of their ends and protocols.
    pub edges: List<Edge>,
    /// Boxes that Kiali's form draws.
    #[serde(skip)]
    pub box_by: BoxBy,
    /// The one time that Kiali's form tells.
    #[serde(skip)]
    pub response_time: ResponseTime,
    /// Whose bytes it tells.
    #[serde(skip)]
    pub throughput: Throughput,
    /// Series that could not be used, and reports of the same requests by somebody else.
    pub left_out: LeftOut,
}

/// How many series were not counted, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// Labels that contradict themselves: a namespace without a workload, or without its cluster.
    pub contradictory: usize,
    /// A reporter or protocol that is not known, or a rate that is no number.
    pub unusable: usize,
    /// What the other side says of the same requests.
    pub reported_twice: usize,
}

/// A thing that sends or receives.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its name among all nodes: what Kiali hashes.
    pub key: String,
    /// What it is.
    pub kind: NodeKind,
    /// Cluster of Kubernetes.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Workload.
    pub workload: String,
    /// App.
    pub app: String,
    /// Version.
    pub version: String,
    /// Service.
    pub service: String,
    /// Label and value of classified requests.
    pub aggregate: Option<(String, String)>,
    /// What it got and sent.
    pub traffic: NodeTraffic,
    /// Services under which it was asked.
    pub services: BTreeSet<ServiceName>,
    /// Labels of Kubernetes, without those of app and version.
    pub labels: Map,
    /// What Istio's resources do to its traffic.
    pub badges: Badges,
    /// Captured by ambient.
    pub ambient: bool,
    /// Its workload has no pods.
    pub dead: bool,
    /// Lies where we may not look, or is nobody.
    pub inaccessible: bool,
    /// A service that stands between client and server.
    pub injected: bool,
    /// Pods without sidecar.
    pub out_of_mesh: bool,
    /// Not in a namespace that was asked for.
    pub outside: bool,
    /// Sends and gets nothing.
    pub root: bool,
    /// A waypoint proxy.
    pub waypoint: bool,
    /// Where traffic goes that no service was found for.
    pub egress: Option<Egress>,
    /// Why it has no traffic.
    pub idle: Option<Idle>,
    /// The ServiceEntry that it is.
    pub service_entry: Option<ServiceEntryNode>,
    /// How well it does.
    pub health: Option<Box<NodeHealth>>,
    /// Taken out again while the graph was made.
    #[serde(skip)]
    pub(super) gone: bool,
}

/// What a node is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NodeKind {
    /// Classified requests.
    Aggregate,
    /// An app, or one version of it.
    App,
    /// A service.
    Service,
    /// Clients that nobody knows.
    #[default]
    Unknown,
    /// A workload.
    Workload,
}

impl NodeKind {
    /// Kiali's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aggregate => "aggregate",
            Self::App => "app",
            Self::Service => "service",
            Self::Unknown => "unknown",
            Self::Workload => "workload",
        }
    }
}

/// Name of a service that was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ServiceName {
    /// Cluster of Kubernetes.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// Where traffic goes that no service was found for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Egress {
    /// Let through to the address that the client dialled.
    PassthroughCluster,
    /// Refused.
    BlackHoleCluster,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// HTTP.
    Http,
    /// Anything else over TCP.
    Tcp,
}

impl Protocol {
    /// All, in Kiali's order.
    pub const ALL: [Self; 3] = [Self::Grpc, Self::Http, Self::Tcp];

    /// Name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name)
    }
}

/// What an edge's rates count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    /// Requests a second.
    #[default]
    Requests,
    /// Messages a second.
    Messages,
    /// Bytes a second.
    Bytes,
}

/// How much, a second, and how much of it failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// All.
    pub total: f64,
    /// The client got no answer.
    pub no_response: f64,
    /// HTTP 3xx.
    pub redirects: f64,
    /// HTTP 4xx.
    pub client_errors: f64,
    /// HTTP 5xx.
    pub server_errors: f64,
    /// gRPC statuses other than OK.
    pub grpc_errors: f64,
}

impl Tally {
    /// Counts one kind of answer. `code` is `-` where the client got none, empty where answers have no code.
    pub(super) fn add(&mut self, protocol: Protocol, code: &str, rate: f64) {
        self.total += rate;
        let of_http = |first| code.starts_with(first);
        match protocol {
            Protocol::Tcp => {}
            _ if code == "-" => self.no_response += rate,
            Protocol::Grpc if is_grpc_error(code) => self.grpc_errors += rate,
            Protocol::Http if of_http('3') => self.redirects += rate,
            Protocol::Http if of_http('4') => self.client_errors += rate,
            Protocol::Http if of_http('5') => self.server_errors += rate,
            Protocol::Grpc | Protocol::Http => {}
        }
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        self.total += other.total;
        self.no_response += other.no_response;
        self.redirects += other.redirects;
        self.client_errors += other.client_errors;
        self.server_errors += other.server_errors;
        self.grpc_errors += other.grpc_errors;
    }

    /// What failed: no answer, HTTP 4xx and 5xx, gRPC statuses other than OK.
    #[must_use]
    pub fn errors(&self) -> f64 {
        self.no_response + self.client_errors + self.server_errors + self.grpc_errors
    }
}

/// A gRPC call may have failed below gRPC; then it has an HTTP status.
fn is_grpc_error(code: &str) -> bool {
    if code.len() == 3 { code.starts_with(['4', '5']) } else { !matches!(code, "0" | "") }
}

/// What a node got and sent, of each protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct NodeTraffic {
    /// gRPC.
    pub grpc: InOut,
    /// HTTP.
    pub http: InOut,
    /// TCP.
    pub tcp: InOut,
}

/// What a node got and sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct InOut {
    /// Got, as a server.
    pub incoming: Tally,
    /// Sent, as a client.
    pub outgoing: Tally,
}

impl NodeTraffic {
    /// Of one protocol.
    #[must_use]
    pub const fn of(&self, protocol: Protocol) -> &InOut {
        match protocol {
            Protocol::Grpc => &self.grpc,
            Protocol::Http => &self.http,
            Protocol::Tcp => &self.tcp,
        }
    }

    pub(super) const fn of_mut(&mut self, protocol: Protocol) -> &mut InOut {
        match protocol {
            Protocol::Grpc => &mut self.grpc,
            Protocol::Http => &mut self.http,
            Protocol::Tcp => &mut self.tcp,
        }
    }

    /// Nothing in, nothing out.
    #[must_use]
    pub fn is_none(&self) -> bool {
        Protocol::ALL.into_iter().all(|p| self.of(p).incoming.total <= 0.0 && self.of(p).outgoing.total <= 0.0)
    }
}

/// What Istio's resources do to a node's traffic.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the field's")]
pub struct Badges {
    pub circuit_breaker: bool,
    pub fault_injection: bool,
    pub mirroring: bool,
    pub request_routing: bool,
    pub request_timeout: bool,
    pub tcp_traffic_shifting: bool,
    pub traffic_shifting: bool,
    /// Name and hosts of the VirtualService that routes to it.
    pub virtual_service: Option<(String, Vec<String>)>,
    /// Names of the WorkloadEntries behind it.
    pub workload_entries: Vec<String>,
    /// The gateway that it is, with the hosts of its resource.
    pub gateway: Option<(GatewayKind, Vec<String>)>,
    /// A gateway that sends to a waypoint.
    pub ingress_waypoint: bool,
    /// Made from a resource of the Gateway API.
    pub gateway_api: bool,
}

/// Which gateway a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum GatewayKind {
    Ingress,
    Egress,
    GatewayApi,
}

/// Why a node has no traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "why")]
pub enum Idle {
    /// It had some, but none in this window.
    NotInWindow {
        /// Seconds since the epoch.
        last_seen: i64,
    },
    /// None is stored: never used, or not for as long as is kept.
    NeverSeen,
    /// It has no pods, because none are asked for.
    ScaledToZero,
    /// No pod stands behind it.
    NoPods,
    /// Its pods have no sidecar, so that only what the mesh sends there would be seen.
    NotInMesh,
}

/// The ServiceEntry that a node is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ServiceEntryNode {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// Hosts.
    pub hosts: Vec<String>,
    /// `MESH_INTERNAL`; else external.
    pub internal: bool,
}

/// Traffic of one protocol from one node to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// Client.
    pub source: Id<Node>,
    /// Server.
    pub target: Id<Node>,
    /// What is spoken.
    pub protocol: Protocol,
    /// What the rates count.
    pub unit: Unit,
    /// How much.
    pub rates: Tally,
    /// By code, flags and host.
    pub responses: Vec<Response>,
    /// How it was secured, where the server says so.
    pub security: Option<Security>,
    /// How long requests took, where it is known.
    pub response_times: Option<ResponseTimes>,
    /// Bytes, where they are known.
    pub throughput: Option<Bytes>,
    /// How well it does.
    pub health: Option<Box<EdgeHealth>>,
    /// To or from a waypoint.
    pub waypoint: Option<WaypointEdge>,
    /// For traffic that no service was found for: what was asked for, and what was probably meant.
    pub unmatched: Vec<Unmatched>,
    /// The way back from a waypoint, which is shown with the way to it.
    pub hidden: bool,
}

/// How long the requests of an edge took, in milliseconds; 0: not known.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ResponseTimes {
    pub avg: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

/// Bytes a second, of requests and of responses; 0: not known.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Bytes {
    pub request: f64,
    pub response: f64,
}

/// One kind of answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Response {
    /// HTTP or gRPC status; `-`: none came.
    pub code: String,
    /// Envoy's response flags; empty: not reported.
    pub flags: String,
    /// Host that was asked for; empty: not reported.
    pub host: String,
    /// A second.
    pub rate: f64,
}

/// How traffic was secured.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Security {
    /// Share that came over mTLS, from 0 to 1.
    pub mtls: f64,
    /// Who the client is; the first, where there are several.
    pub source_principal: Option<String>,
    /// Who the server is.
    pub destination_principal: Option<String>,
    /// There are more principals.
    pub more_principals: bool,
}

/// To or from a waypoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum WaypointEdge {
    /// From a waypoint.
    From,
    /// To a waypoint, and the way back if there is one.
    To(Option<Id<Edge>>),
}

impl Graph {
    /// The node of a name.
    #[must_use]
    pub fn node(&self, key: &str) -> Option<Id<Node>> {
        self.nodes.entries().find(|(_, node)| node.key == key).map(|(id, _)| id)
    }

    /// What arrives at a node.
    pub fn incoming(&self, node: Id<Node>) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.target == node)
    }

    /// What a node sends.
    pub fn outgoing(&self, node: Id<Node>) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.source == node)
    }
}

impl Edge {
    /// One of its times.
    pub(super) fn response_time(&self, which: ResponseTime) -> Option<f64> {
        let times = self.response_times?;
        let millis = match which {
            ResponseTime::Average => times.avg,
            ResponseTime::P50 => times.p50,
            ResponseTime::P95 => times.p95,
            ResponseTime::P99 => times.p99,
        };
        (millis > 0.0).then_some(millis)
    }

    /// The bytes of one direction.
    pub(super) fn bytes(&self, which: Throughput) -> Option<f64> {
        let bytes = self.throughput?;
        let bytes = match which {
            Throughput::Request => bytes.request,
            Throughput::Response => bytes.response,
        };
        (bytes > 0.0).then_some(bytes)
    }

    /// Rates by code, then by what is taken from a response.
    pub(super) fn by_code(&self, part: impl Fn(&Response) -> &str) -> BTreeMap<&str, BTreeMap<String, f64>> {
        let mut codes: BTreeMap<&str, BTreeMap<String, f64>> = BTreeMap::new();
        for response in &self.responses {
            let parts = codes.entry(if response.code.is_empty() { "-" } else { &response.code }).or_default();
            let part = part(response);
            if !part.is_empty() {
                *parts.entry(part.to_owned()).or_default() += response.rate;
            }
        }
        codes
    }
}
