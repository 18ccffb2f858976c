//! Listeners and filter chains: from an accepted connection to what handles it.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{AccessLog, DownstreamTls, HashPolicy, HttpConnectionManager, NetworkFilter, Str};

/// `envoy.config.listener.v3.Listener`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// Unique name, Istio's convention (`virtualOutbound`, `0.0.0.0_8080`, `10.96.0.1_443`).
    pub name: Str,
    /// Address that connections are matched by.
    pub address: SocketAddr,
    /// Whether a socket is opened. `false`: reached from `virtualOutbound` by the original destination.
    pub bind_to_port: bool,
    /// Hand each connection to the listener whose address is its original destination, else to `0.0.0.0_PORT`, else keep it.
    pub use_original_dst: bool,
    /// For whose traffic it stands; names access log and metrics' reporter.
    pub direction: TrafficDirection,
    /// What must be known about a connection before a chain is chosen.
    pub inspect: ConnectionFilters,
    /// Checked by match specificity, not by order (Envoy's `FilterChainMatch` rules).
    pub filter_chains: Vec<FilterChain>,
    /// Used when no chain matches.
    pub default_filter_chain: Option<FilterChain>,
    /// Written for connections that no chain handled.
    pub access_log: Vec<AccessLog>,
}

/// `core.v3.TrafficDirection`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TrafficDirection {
    /// Towards the workload.
    Inbound,
    /// From the workload, or through a gateway.
    Outbound,
    /// Neither.
    Unspecified,
}

/// Listener filters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionFilters {
    /// `envoy.filters.listener.original_dst`.
    pub original_dst: bool,
    /// `envoy.filters.listener.tls_inspector`: read the ClientHello for SNI and ALPN.
    pub tls: bool,
    /// `envoy.filters.listener.http_inspector`: tell HTTP/1 and HTTP/2 from other bytes.
    pub http: bool,
    /// Destination ports on which nothing is read before the chain is chosen (server-first protocols).
    pub disabled_ports: Vec<u16>,
    /// `envoy.filters.listener.proxy_protocol`.
    pub proxy_protocol: bool,
    /// `listener_filters_timeout`; `None`: wait for ever.
    pub timeout: Option<Duration>,
    /// On timeout: go on with what is known (`true`) or close.
    pub continue_on_timeout: bool,
}

/// `envoy.config.listener.v3.FilterChain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FilterChain {
    /// Name for people, not unique.
    pub name: Str,
    /// When it applies.
    pub matches: FilterChainMatch,
    /// Terminate TLS with this; `None`: plain text or passed through.
    pub tls: Option<DownstreamTls>,
    /// Network filters before the terminal one, in order.
    pub filters: Vec<NetworkFilter>,
    /// What handles the connection.
    pub terminal: Terminal,
    /// `transport_socket_connect_timeout`: for the TLS handshake.
    pub handshake_timeout: Option<Duration>,
}

/// Facts that a chain asks for. Empty or `None`: any.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FilterChainMatch {
    /// Original destination port.
    pub destination_port: Option<u16>,
    /// Original destination address within any of these.
    pub destination_prefixes: Vec<IpNet>,
    /// SNI, exact or `*.suffix`.
    pub server_names: Vec<Str>,
    /// TLS or not.
    pub transport_protocol: Option<TransportProtocol>,
    /// ALPN offered by the client, or `http/1.0`, `http/1.1`, `h2c` from the HTTP inspector.
    pub application_protocols: Vec<Str>,
    /// Source address within any of these.
    pub source_prefixes: Vec<IpNet>,
    /// Same host or not.
    pub source_type: SourceType,
}

/// What the first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TransportProtocol {
    /// `tls`.
    Tls,
    /// `raw_buffer`.
    RawBuffer,
}

/// `FilterChainMatch.ConnectionSourceType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceType {
    /// No condition.
    #[default]
    Any,
    /// From the same host.
    SameIpOrLoopback,
    /// From elsewhere.
    External,
}

/// The last filter of a chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Terminal {
    /// `envoy.filters.network.http_connection_manager`.
    Http(Box<HttpConnectionManager>),
    /// `envoy.filters.network.tcp_proxy`.
    Tcp(TcpProxy),
}

/// `envoy.filters.network.tcp_proxy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TcpProxy {
    /// Name in metrics.
    pub stat_prefix: Str,
    /// Where to; more than one: by weight.
    pub clusters: Vec<WeightedCluster>,
    /// Close when nothing moves for so long; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// Close after so long in any case.
    pub max_connection_duration: Option<Duration>,
    /// Written at the end of each connection.
    pub access_log: Vec<AccessLog>,
    /// Only `HashPolicy` on the source address has a meaning here.
    pub hash_policy: Vec<HashPolicy>,
    /// Within an HTTP request to the cluster; `None`: as they are.
    pub tunnel: Option<TcpTunnel>,
}

/// `TcpProxy.TunnelingConfig`: each connection is a request of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpTunnel {
    /// `HOST:PORT`, the authority that is asked for.
    pub hostname: Str,
    /// By `POST /` instead of `CONNECT`.
    pub post: bool,
}

/// A cluster and its share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightedCluster {
    /// Cluster name.
    pub cluster: Str,
    /// Share of the sum of weights.
    pub weight: u32,
}
