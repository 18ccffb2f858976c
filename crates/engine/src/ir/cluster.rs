//! Clusters and their endpoints: where a request can go and how a connection there is made.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Str, UpstreamTls};

/// `envoy.config.cluster.v3.Cluster`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Istio's name (`outbound|8080||was-service.blog-system.svc.cluster.local`).
    pub name: Str,
    /// How endpoints are found.
    pub discovery: Discovery,
    /// How one is picked.
    pub lb: LbPolicy,
    /// TCP connect timeout.
    pub connect_timeout: Duration,
    /// Limits of the default priority.
    pub circuit_breakers: CircuitBreakers,
    /// Passive health checks; `None`: off.
    pub outlier: Option<OutlierDetection>,
    /// Transport by endpoint metadata, first match wins; empty: `tls`.
    pub transport_matches: Vec<TransportSocketMatch>,
    /// Transport of every endpoint when `transport_matches` is empty or none matches; `None`: plain text.
    pub tls: Option<UpstreamTls>,
    /// HTTP side.
    pub http: HttpProtocolOptions,
    /// Source address of connections (127.0.0.6 of Istio's inbound clusters).
    pub bind_source: Option<IpAddr>,
    /// Keep-alive of upstream sockets.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Below this share of healthy endpoints (percent), all are used; 0: never.
    pub panic_threshold: u8,
    /// Spread over localities by weight (`locality_weighted_lb_config`).
    pub locality_weighted: bool,
    /// Ramp-up of new endpoints.
    pub slow_start: Option<SlowStart>,
    /// `PROXY` header towards the endpoint: version 1 or 2.
    pub proxy_protocol: Option<u8>,
    /// Retry budget as share of active requests in millionths and minimum concurrency (`RetryBudget`); `None`: `circuit_breakers.max_retries`.
    pub retry_budget: Option<(u32, u32)>,
    /// Services that it stands for (`metadata.filter_metadata.istio.services`): host, name, namespace. Labels of metrics.
    pub services: Vec<(Str, Str, Str)>,
    /// DNS refresh period of `Discovery::Dns`.
    pub dns_refresh: Option<Duration>,
    /// `istio.metadata_exchange`: over connections that agree on ALPN `istio-peer-exchange`, both sides first say who they are.
    pub metadata_exchange: bool,
}

/// How endpoints are found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Discovery {
    /// EDS by this name.
    Eds {
        /// `eds_cluster_config.service_name`; normally the cluster's name.
        service_name: Str,
    },
    /// Given here.
    Static(ClusterLoadAssignment),
    /// Host names are resolved: every address (`STRICT_DNS`) or one (`LOGICAL_DNS`).
    Dns {
        /// Endpoints whose `host` is resolved.
        assignment: ClusterLoadAssignment,
        /// `LOGICAL_DNS`.
        logical: bool,
    },
    /// The host that a request asks for, or a connection's server name, is resolved when it comes (`dynamic_forward_proxy`).
    /// Filters of the listener have it resolved: [`HttpFilter`](super::HttpFilter)'s and
    /// [`NetworkFilter`](super::NetworkFilter)'s of that name.
    DynamicForwardProxy,
    /// The connection's original destination (`PassthroughCluster`).
    OriginalDst {
        /// Take `x-envoy-original-dst-host` instead, where the client sent it.
        use_http_header: bool,
        /// Replace the port.
        port: Option<u16>,
    },
}

/// `lb_policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LbPolicy {
    /// In turn, by weight.
    RoundRobin,
    /// The less busy of `choices` random ones.
    LeastRequest {
        /// Default 2.
        choices: u32,
    },
    /// Any.
    Random,
    /// Consistent hashing on a ring.
    RingHash {
        /// Smallest ring; Istio's default 1024.
        min_size: u64,
    },
    /// Consistent hashing by Maglev's table.
    Maglev {
        /// Prime; default 65537.
        table_size: u64,
    },
    /// The discovery says where to (`CLUSTER_PROVIDED` of `OriginalDst`).
    ClusterProvided,
}

/// `envoy.config.cluster.v3.CircuitBreakers.Thresholds`; Istio's default for each is `u32::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitBreakers {
    /// Upstream connections.
    pub max_connections: u32,
    /// Requests that wait for a connection.
    pub max_pending_requests: u32,
    /// Requests in flight, HTTP/1 too.
    pub max_requests: u32,
    /// Retries in flight.
    pub max_retries: u32,
}

impl Default for CircuitBreakers {
    /// Istio's: no limit.
    fn default() -> Self {
        Self {
            max_connections: u32::MAX,
            max_pending_requests: u32::MAX,
            max_requests: u32::MAX,
            max_retries: u32::MAX,
        }
    }
}

/// `envoy.config.cluster.v3.OutlierDetection`, with Istio's defaults already applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutlierDetection {
    /// Ejects after so many 5xx in a row; 0: off.
    pub consecutive_5xx: u32,
    /// Ejects after so many 502, 503, 504 in a row; 0: off.
    pub consecutive_gateway: u32,
    /// Tell local errors (connect, reset) from answers.
    pub split_local_origin: bool,
    /// Ejects after so many local errors in a row, where split; 0: off.
    pub consecutive_local: u32,
    /// How often ejections are reconsidered.
    pub interval: Duration,
    /// Ejection time, multiplied by the number of ejections.
    pub base_ejection: Duration,
    /// Longest ejection time.
    pub max_ejection: Duration,
    /// Most endpoints out at a time, percent.
    pub max_ejection_percent: u32,
}

/// `Cluster.TransportSocketMatch`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransportSocketMatch {
    /// `tlsMode-istio`, `tlsMode-disabled`.
    pub name: Str,
    /// Asked of the endpoint's `envoy.transport_socket_match` metadata: the value of `tlsMode`; `None`: any endpoint.
    pub tls_mode: Option<Str>,
    /// `None`: plain text.
    pub tls: Option<UpstreamTls>,
}

/// `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpProtocolOptions {
    /// Which HTTP is spoken.
    pub protocol: ClusterProtocol,
    /// Idle upstream connections are closed after so long; `None`: 1 hour.
    pub idle_timeout: Option<Duration>,
    /// A connection is closed after so many requests; 0 or `None`: no limit.
    pub max_requests_per_connection: Option<u32>,
    /// A connection is closed after so long.
    pub max_connection_duration: Option<Duration>,
    /// HTTP/2 streams of one connection.
    pub max_concurrent_streams: Option<u32>,
    /// HTTP/2 pings; `None`: none are sent.
    pub keepalive: Option<Http2Keepalive>,
}

/// `KeepaliveSettings` of HTTP/2: a connection whose peer does not answer is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http2Keepalive {
    /// Between pings.
    pub interval: Duration,
    /// How long an answer is awaited.
    pub timeout: Duration,
}

/// Protocol towards a cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterProtocol {
    /// `explicit_http_config.http_protocol_options`.
    #[default]
    Http1,
    /// `explicit_http_config.http2_protocol_options`.
    Http2,
    /// `use_downstream_protocol_config`.
    Downstream,
}

/// Keep-alive of a socket; `None`: the system's value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpKeepalive {
    /// Probes before giving up.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Between probes.
    pub interval: Option<Duration>,
}

/// `Cluster.SlowStartConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SlowStart {
    /// Length of the ramp.
    pub window: Duration,
    /// Shape of the ramp; 1: linear.
    pub aggression: f64,
    /// First share, percent.
    pub min_weight_percent: f64,
}

/// `envoy.config.endpoint.v3.ClusterLoadAssignment`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterLoadAssignment {
    /// EDS name.
    pub cluster_name: Str,
    /// Groups of endpoints.
    pub localities: Vec<LocalityEndpoints>,
}

/// `LocalityLbEndpoints`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LocalityEndpoints {
    /// Where.
    pub locality: Locality,
    /// 0 is used first; a higher one as lower ones fail.
    pub priority: u32,
    /// Share among localities of the priority; `None`: unset.
    pub weight: Option<u32>,
    /// Endpoints in the order given.
    pub endpoints: Vec<Endpoint>,
}

/// `core.v3.Locality`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Locality {
    /// Region.
    pub region: Str,
    /// Zone.
    pub zone: Str,
    /// Sub-zone.
    pub sub_zone: Str,
}

/// `LbEndpoint`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address to dial; `None` while only `host` is known.
    pub address: Option<SocketAddr>,
    /// Host name and port, for `Discovery::Dns` (and SNI or Host rewrites).
    pub host: Option<(Str, u16)>,
    /// Share; 1 by default.
    pub weight: u32,
    /// What the control plane knows.
    pub health: HealthStatus,
    /// `tlsMode` of the `envoy.transport_socket_match` metadata (`istio`: has a sidecar).
    pub tls_mode: Option<Str>,
    /// `istio.workload` metadata: `name;namespace;canonical-service;canonical-revision;cluster`.
    pub workload: Option<Str>,
}

/// `core.v3.HealthStatus`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthStatus {
    /// Not said: healthy.
    #[default]
    Unknown,
    /// Healthy.
    Healthy,
    /// Not to be used.
    Unhealthy,
    /// Going away: no new connections.
    Draining,
}

/// `RouteAction.HashPolicy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HashPolicy {
    /// Where the key comes from.
    pub key: HashKey,
    /// Stop when this one yields a key.
    pub terminal: bool,
}

/// Source of a hash key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HashKey {
    /// A request header.
    Header(Str),
    /// A cookie; made when absent and `ttl` is given.
    Cookie {
        /// Name.
        name: Str,
        /// Path attribute.
        path: Str,
        /// Max-Age; zero: session cookie; `None`: never made.
        ttl: Option<Duration>,
        /// Further attributes of one that is made (`SameSite`); an empty value: the name alone.
        attributes: Vec<(Str, Str)>,
    },
    /// The client's address.
    SourceIp,
    /// A query parameter.
    Query(Str),
}
