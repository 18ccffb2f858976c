//! What is asked for: which namespaces or which node, in which form, with what beside the traffic.
//!
//! The options are Kiali's, so that each of its requests can be put here; [`super::kiali::request`] reads one.

use std::collections::HashSet;

use serde::Serialize;

/// What one graph shall show.
#[derive(Debug, Clone)]
pub struct Options {
    /// What a node stands for.
    pub graph_type: GraphType,
    /// Namespaces whose traffic is shown.
    pub namespaces: Vec<RequestedNamespace>,
    /// One node and its neighbours instead of whole namespaces.
    pub node: Option<NodeOfInterest>,
    /// A service between client and server.
    pub inject_service_nodes: bool,
    /// Edges that have been used before the window and not within it.
    pub include_idle_edges: bool,
    /// Boxes around nodes, of Kiali's form.
    pub box_by: BoxBy,
    /// What is counted.
    pub rates: Rates,
    /// Beside the traffic.
    pub appenders: Appenders,
    /// How the time of an edge is summed up.
    pub response_time: ResponseTime,
    /// Whose bytes are shown.
    pub throughput: Throughput,
    /// Label that requests are told apart by; Istio's request classification sets `request_operation`.
    pub aggregate: String,
    /// Show waypoint proxies.
    pub show_waypoints: bool,
    /// End of the window, in seconds since the epoch.
    pub query_time: i64,
    /// Length of the window, in seconds.
    pub duration: u64,
    /// Tolerances that go before [`super::health::Config::default`].
    pub health: super::health::Config,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            graph_type: GraphType::Workload,
            namespaces: Vec::new(),
            node: None,
            inject_service_nodes: false,
            include_idle_edges: false,
            box_by: BoxBy::default(),
            rates: Rates::default(),
            appenders: Appenders::all(),
            response_time: ResponseTime::P95,
            throughput: Throughput::Response,
            aggregate: DEFAULT_AGGREGATE.to_owned(),
            show_waypoints: true,
            query_time: 0,
            duration: 600,
            health: super::health::Config::default(),
        }
    }
}

/// The label that Istio's request classification sets.
pub const DEFAULT_AGGREGATE: &str = "request_operation";

impl Options {
    /// Whether a service stands between client and server: where it is asked for, and where services are all that is shown.
    pub(super) fn injects(&self) -> bool {
        self.inject_service_nodes || self.graph_type == GraphType::Service
    }

    /// In how many of the window's seconds there can have been traffic between two namespaces: those that both existed.
    pub(super) fn common_window(&self, a: &str, b: &str) -> u64 {
        let of = |name: &str| self.namespaces.iter().find(|n| n.name == name).map_or(self.duration, |n| n.duration);
        of(a).min(of(b)).min(self.duration)
    }

    /// By how much a rate over the whole window is to be multiplied to be one over the time in which both existed.
    #[expect(clippy::cast_precision_loss, reason = "windows are far shorter than 2^52 seconds")]
    pub(super) fn stretch(&self, a: &str, b: &str) -> f64 {
        match self.common_window(a, b) {
            0 => 1.0,
            window => self.duration as f64 / window as f64,
        }
    }

    /// Whether traffic of one of these namespaces is asked for.
    pub(super) fn asks_for(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|n| n.name == namespace)
    }
}

/// What a node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum GraphType {
    /// All workloads with the same app label.
    App,
    /// A service; workloads are left out.
    Service,
    /// A workload, boxed with those of the same app.
    VersionedApp,
    /// A workload.
    Workload,
}

impl GraphType {
    /// Name in a request.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Service => "service",
            Self::VersionedApp => "versionedApp",
            Self::Workload => "workload",
        }
    }
}

/// A namespace whose traffic is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestedNamespace {
    /// Name.
    pub name: String,
    /// How much of the window it existed, in seconds: what rates of its traffic are shown over ([`safe_duration`]).
    pub duration: u64,
    /// Captured by ambient.
    pub ambient: bool,
}

/// The longest window, up to `asked` seconds, in which a namespace existed; `None`: it did not exist at `query_time`.
#[must_use]
pub fn safe_duration(created: i64, asked: u64, query_time: i64) -> Option<u64> {
    if created == 0 {
        return Some(asked);
    }
    let lived = u64::try_from(query_time.checked_sub(created)?).ok().filter(|lived| *lived > 0)?;
    Some(asked.min(lived))
}

/// The node that a graph is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOfInterest {
    /// Cluster; `unknown`: any.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Which.
    pub what: NodeName,
}

/// Which node a graph is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeName {
    /// A workload.
    Workload(String),
    /// An app, all versions.
    App(String),
    /// One version of an app.
    Version(String, String),
    /// A service.
    Service(String),
    /// Requests whose label (first) has a value (second), of one service if given.
    Aggregate(String, String, Option<String>),
}

/// Which boxes Kiali's form draws.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct BoxBy {
    pub app: bool,
    pub namespace: bool,
    pub cluster: bool,
}

/// What is counted of each protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// HTTP requests.
    pub http: bool,
    /// gRPC.
    pub grpc: GrpcRate,
    /// TCP.
    pub tcp: TcpRate,
    /// Whose reports of ambient traffic count.
    pub ambient: Ambient,
}

impl Default for Rates {
    fn default() -> Self {
        Self { http: true, grpc: GrpcRate::Requests, tcp: TcpRate::Sent, ambient: Ambient::Total }
    }
}

impl Rates {
    /// Whether requests of any protocol are counted.
    #[must_use]
    pub fn requests(&self) -> bool {
        self.http || self.grpc == GrpcRate::Requests
    }
}

/// What is counted of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum GrpcRate {
    None,
    Requests,
    /// Messages from the client.
    Sent,
    /// Messages to the client.
    Received,
    Total,
}

/// What is counted of TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum TcpRate {
    None,
    /// Bytes from the client, which Istio calls received.
    Sent,
    /// Bytes to the client, which Istio calls sent.
    Received,
    Total,
}

/// Whose reports of ambient traffic count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Ambient {
    None,
    Total,
    Waypoint,
    Ztunnel,
}

impl Ambient {
    /// Reports of waypoints count.
    #[must_use]
    pub fn waypoints(self) -> bool {
        matches!(self, Self::Total | Self::Waypoint)
    }

    /// Reports of ztunnels count.
    #[must_use]
    pub fn ztunnels(self) -> bool {
        matches!(self, Self::Total | Self::Ztunnel)
    }
}

/// How the time of an edge is summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseTime {
    /// The mean.
    Average,
    /// The time within which half of the requests were answered,
    P50,
    /// 95 of 100,
    P95,
    /// and 99 of 100.
    P99,
}

/// Whose bytes are shown as throughput.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Throughput {
    Request,
    Response,
}

/// Something that is added to the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Appender {
    /// Nodes for classified requests.
    AggregateNode,
    /// Edges to and from waypoints belong together.
    Ambient,
    /// What has no traffic and is gone is left out.
    DeadNode,
    /// Health of nodes and edges.
    Health,
    /// Services and workloads without traffic.
    IdleNode,
    /// Badges for VirtualServices, circuit breakers, gateways.
    Istio,
    /// Labels of Kubernetes.
    Labeler,
    /// Workloads without sidecar.
    MeshCheck,
    /// How long requests took.
    ResponseTime,
    /// mTLS and principals.
    SecurityPolicy,
    /// ServiceEntries instead of their hosts.
    ServiceEntry,
    /// Bytes of requests or responses.
    Throughput,
    /// WorkloadEntries behind workloads.
    WorkloadEntry,
}

impl Appender {
    const ALL: [Self; 13] = [
        Self::AggregateNode,
        Self::Ambient,
        Self::DeadNode,
        Self::Health,
        Self::IdleNode,
        Self::Istio,
        Self::Labeler,
        Self::MeshCheck,
        Self::ResponseTime,
        Self::SecurityPolicy,
        Self::ServiceEntry,
        Self::Throughput,
        Self::WorkloadEntry,
    ];

    /// By its name in a request.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "aggregateNode" => Self::AggregateNode,
            "ambient" => Self::Ambient,
            "deadNode" => Self::DeadNode,
            "health" => Self::Health,
            "idleNode" => Self::IdleNode,
            "istio" => Self::Istio,
            "labeler" => Self::Labeler,
            "meshCheck" | "sidecarsCheck" => Self::MeshCheck,
            "responseTime" => Self::ResponseTime,
            "securityPolicy" => Self::SecurityPolicy,
            "serviceEntry" => Self::ServiceEntry,
            "throughput" => Self::Throughput,
            "workloadEntry" => Self::WorkloadEntry,
            _ => return None,
        })
    }
}

/// What is added to the traffic. Who is outside, and where traffic begins, is always said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Appenders(HashSet<Appender>);

impl Appenders {
    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self(Appender::ALL.into_iter().collect())
    }

    /// Whether this one is asked for.
    #[must_use]
    pub fn has(&self, appender: Appender) -> bool {
        self.0.contains(&appender)
    }
}

impl FromIterator<Appender> for Appenders {
    fn from_iter<I: IntoIterator<Item = Appender>>(appenders: I) -> Self {
        Self(appenders.into_iter().collect())
    }
}
