//! `DestinationRule`: how a client talks to the endpoints of a host.

use std::collections::BTreeMap;

use super::{Labels, PolicySelector, PortSelector};
use crate::Duration;

kinds! { DestinationRule: "networking.istio.io" "DestinationRule", }

messages! {
    /// `networking.istio.io DestinationRule`.
    DestinationRule {
        /// Service that it is about; `*.suffix` is allowed.
        host: String,
        /// Policy of all its ports and subsets.
        traffic_policy: Option<TrafficPolicy>,
        /// Named groups of endpoints.
        subsets: Vec<Subset>,
        /// Namespaces that see it.
        export_to: Vec<String>,
        /// Client workloads that it is for; absent: all.
        workload_selector: Option<PolicySelector>,
    }
    /// A named group of endpoints.
    Subset {
        /// Name, used by VirtualServices.
        name: String,
        /// Labels that its endpoints have; empty: all endpoints.
        labels: Labels,
        /// Replaces parts of the rule's policy.
        traffic_policy: Option<TrafficPolicy>,
    }
    /// Policy towards endpoints.
    TrafficPolicy {
        /// How one is picked.
        load_balancer: Option<LoadBalancer>,
        /// Limits.
        connection_pool: Option<ConnectionPool>,
        /// Passive health checks.
        outlier_detection: Option<OutlierDetection>,
        /// TLS.
        tls: Option<ClientTlsSettings>,
        /// Replaces all of the above for a port.
        port_level_settings: Vec<PortTrafficPolicy>,
        /// HTTP tunnelling.
        tunnel: Option<Tunnel>,
        /// `PROXY` header.
        proxy_protocol: Option<ProxyProtocol>,
        /// Cap of concurrent retries.
        retry_budget: Option<RetryBudget>,
    }
    /// Policy of one port.
    PortTrafficPolicy {
        /// Service port.
        port: Option<PortSelector>,
        /// How an endpoint is picked.
        load_balancer: Option<LoadBalancer>,
        /// Limits.
        connection_pool: Option<ConnectionPool>,
        /// Passive health checks.
        outlier_detection: Option<OutlierDetection>,
        /// TLS.
        tls: Option<ClientTlsSettings>,
    }
    /// How an endpoint is picked.
    LoadBalancer {
        /// A standard policy.
        simple: Option<SimpleLb>,
        /// By a hash of the request.
        consistent_hash: Option<ConsistentHash>,
        /// By locality.
        locality_lb_setting: Option<LocalityLb>,
        /// By zone.
        zone_aware_lb_setting: Option<serde_json::Value>,
        /// Ramp-up of new endpoints (deprecated form).
        warmup_duration_secs: Option<Duration>,
        /// Ramp-up of new endpoints.
        warmup: Option<Warmup>,
    }
    /// Consistent hashing: one key, one algorithm.
    ConsistentHash {
        /// Key: a header.
        http_header_name: Option<String>,
        /// Key: a cookie.
        http_cookie: Option<HashCookie>,
        /// Key: the source address.
        use_source_ip: Option<bool>,
        /// Key: a query parameter.
        http_query_parameter_name: Option<String>,
        /// Algorithm.
        ring_hash: Option<RingHash>,
        /// Algorithm.
        maglev: Option<MaglevHash>,
        /// Smallest ring (deprecated form).
        minimum_ring_size: u64,
    }
    /// A cookie to hash.
    HashCookie {
        /// Name.
        name: String,
        /// Path.
        path: String,
        /// Lifetime; absent: it is never made.
        ttl: Option<Duration>,
        /// Further attributes of a cookie that is made.
        attributes: Vec<CookieAttribute>,
    }
    /// An attribute of a cookie.
    CookieAttribute {
        /// Name (`SameSite`).
        name: String,
        /// Value.
        value: String,
    }
    /// HTTP/2 pings.
    KeepAlive {
        /// Between pings.
        interval: Option<Duration>,
        /// How long an answer is awaited.
        timeout: Option<Duration>,
    }
    /// Ring hash.
    RingHash {
        /// Smallest ring, default 1024.
        minimum_ring_size: u64,
    }
    /// Maglev.
    MaglevHash {
        /// Prime, default 65537.
        table_size: u64,
    }
    /// Locality settings.
    LocalityLb {
        /// Explicit shares.
        distribute: Vec<LocalityDistribute>,
        /// Explicit order of regions.
        failover: Vec<LocalityFailover>,
        /// Labels by which priorities are made.
        failover_priority: Vec<String>,
        /// Default true.
        enabled: Option<bool>,
    }
    /// Shares of traffic from a locality.
    LocalityDistribute {
        /// `region/zone/sub-zone` with `*`.
        from: String,
        /// Percent by locality.
        to: BTreeMap<String, u32>,
    }
    /// Where a region's traffic goes when it fails.
    LocalityFailover {
        /// Region.
        from: String,
        /// Region.
        to: String,
    }
    /// Ramp-up of new endpoints.
    Warmup {
        /// Length.
        duration: Option<Duration>,
        /// First share, percent, default 10.
        minimum_percent: Option<f64>,
        /// Shape, default 1.
        aggression: Option<f64>,
    }
    /// Limits towards a host.
    ConnectionPool {
        /// Of connections.
        tcp: Option<TcpPool>,
        /// Of requests.
        http: Option<HttpPool>,
    }
    /// Connection limits.
    TcpPool {
        /// Connections, default no limit.
        max_connections: i32,
        /// Connect timeout, default 10 s.
        connect_timeout: Option<Duration>,
        /// Keep-alive of the sockets.
        tcp_keepalive: Option<TcpKeepalive>,
        /// Connections are closed after so long.
        max_connection_duration: Option<Duration>,
        /// Idle connections are closed after so long.
        idle_timeout: Option<Duration>,
    }
    /// Keep-alive of sockets.
    TcpKeepalive {
        /// Probes before giving up.
        probes: u32,
        /// Idle time before the first.
        time: Option<Duration>,
        /// Between probes.
        interval: Option<Duration>,
    }
    /// Request limits.
    HttpPool {
        /// Requests that wait for a connection.
        http1_max_pending_requests: i32,
        /// Requests in flight, HTTP/1 too.
        http2_max_requests: i32,
        /// Requests of one connection.
        max_requests_per_connection: i32,
        /// Retries in flight.
        max_retries: i32,
        /// Idle upstream connections are closed after so long.
        idle_timeout: Option<Duration>,
        /// Whether HTTP/1 is upgraded to HTTP/2.
        h2_upgrade_policy: H2UpgradePolicy,
        /// Speak what the client speaks.
        use_client_protocol: bool,
        /// HTTP/2 streams of a connection.
        max_concurrent_streams: i32,
        /// HTTP/2 pings.
        http2_keep_alive: Option<KeepAlive>,
    }
    /// Passive health checks; only active when given.
    OutlierDetection {
        /// Deprecated, counts gateway errors.
        consecutive_errors: i32,
        /// Tell local errors from answers.
        split_external_local_origin_errors: bool,
        /// Local errors in a row, where split.
        consecutive_local_origin_failures: Option<u32>,
        /// 502, 503, 504 in a row; absent or 0: off.
        consecutive_gateway_errors: Option<u32>,
        /// 5xx in a row; absent: 5; 0: off.
        consecutive_5xx_errors: Option<u32>,
        /// How often ejections are reconsidered, default 10 s.
        interval: Option<Duration>,
        /// Ejection time, default 30 s.
        base_ejection_time: Option<Duration>,
        /// Most endpoints out at a time, percent, default 10.
        max_ejection_percent: i32,
        /// Below this share of healthy endpoints all are used, percent, default 0.
        min_health_percent: i32,
    }
    /// TLS towards endpoints.
    ClientTlsSettings {
        /// Mode.
        mode: ClientTlsMode,
        /// Certificate file of `MUTUAL`.
        client_certificate: String,
        /// Key file of `MUTUAL`.
        private_key: String,
        /// Trust anchors file.
        ca_certificates: String,
        /// Secret instead of files.
        credential_name: String,
        /// SANs of the server.
        subject_alt_names: Vec<String>,
        /// SNI.
        sni: String,
        /// Do not verify.
        insecure_skip_verify: Option<bool>,
        /// Revocation list file.
        ca_crl: String,
    }
    /// HTTP tunnelling.
    Tunnel {
        /// `CONNECT` or `POST`.
        protocol: String,
        /// Target.
        target_host: String,
        /// Target.
        target_port: u32,
    }
    /// `PROXY` header.
    ProxyProtocol {
        /// Version.
        version: ProxyProtocolVersion,
    }
    /// Cap of concurrent retries.
    RetryBudget {
        /// Percent of active requests, default 20.
        percent: Option<Percentage>,
        /// At least so many, default 3.
        min_retry_concurrency: u32,
    }
}

/// A percentage written as a number or as `{value: N}`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Percentage {
    /// A number.
    Number(f64),
    /// In a message.
    Message {
        /// The number.
        value: f64,
    },
}

impl Percentage {
    /// 0.0 to 100.0.
    pub fn value(self) -> f64 {
        match self {
            Self::Number(value) | Self::Message { value } => value,
        }
    }
}

enumerations! {
    /// Standard load-balancing policies.
    SimpleLb {
        /// The mesh's default.
        #[default]
        Unspecified,
        /// Deprecated name of `LEAST_REQUEST`.
        LeastConn,
        /// Any.
        Random,
        /// To the original destination.
        Passthrough,
        /// In turn.
        RoundRobin,
        /// The less busy of two.
        LeastRequest,
    }
    /// Whether HTTP/1 is upgraded to HTTP/2.
    H2UpgradePolicy {
        /// The mesh's default.
        #[default]
        Default,
        /// Never.
        DoNotUpgrade,
        /// Always.
        Upgrade,
    }
    /// TLS towards endpoints.
    ClientTlsMode {
        /// Plain text.
        #[default]
        Disable,
        /// TLS.
        Simple,
        /// TLS with a given client certificate.
        Mutual,
        /// TLS with the mesh's certificate.
        IstioMutual,
    }
    /// Version of the `PROXY` header.
    ProxyProtocolVersion {
        /// Text.
        #[default]
        V1,
        /// Binary.
        V2,
    }
}
