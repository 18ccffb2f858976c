//! HTTP and network filters that decide about a request or a connection.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{ExtAuthz, HeaderMatcher, JwtAuthn, PathMatch, PeerMetadata, Stats, Str, StringMatch};

/// An HTTP filter, in the order in which the connection manager runs them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum HttpFilter {
    /// `envoy.filters.http.rbac`.
    Rbac(Rbac),
    /// `envoy.filters.http.ext_authz`.
    ExtAuthz(Box<ExtAuthz>),
    /// `envoy.filters.http.jwt_authn`.
    Jwt(Box<JwtAuthn>),
    /// `envoy.filters.http.fault`; configured per route.
    Fault,
    /// `envoy.filters.http.cors`; configured per route.
    Cors,
    /// `istio.alpn`.
    Alpn(AlpnOverride),
    /// `envoy.filters.http.grpc_stats`.
    GrpcStats,
    /// `envoy.filters.http.peer_metadata`: Istio's exchange in `x-envoy-peer-metadata` headers.
    PeerMetadata(PeerMetadata),
    /// `istio.stats`.
    Stats(Stats),
    /// `envoy.filters.http.dynamic_forward_proxy`: hosts of routes to such clusters are resolved.
    DynamicForwardProxy,
}

/// A network filter in front of the terminal one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum NetworkFilter {
    /// `envoy.filters.network.rbac`.
    Rbac(Rbac),
    /// `istio.metadata_exchange` (ALPN `istio-peer-exchange`).
    MetadataExchange,
    /// `istio.stats` over TCP.
    Stats(Stats),
    /// `envoy.filters.network.sni_dynamic_forward_proxy`: the server name is resolved, and dialled at this port.
    SniDynamicForwardProxy(u16),
}

/// `istio.alpn`: what to offer in ALPN towards a mesh endpoint, by the request's protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlpnOverride {
    /// HTTP/1.1 (`istio-http/1.1, istio, http/1.1`).
    pub http11: Vec<Str>,
    /// HTTP/2 (`istio-h2, istio, h2`).
    pub http2: Vec<Str>,
}

/// `envoy.config.rbac.v3.RBAC`, with its filter's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rbac {
    /// What a match means.
    pub action: PolicyAction,
    /// Named rules; one match suffices. For `Allow`, no match denies.
    pub policies: Vec<RbacPolicy>,
    /// Only reported, never enforced (`istio.io/dry-run`, and `Log`).
    pub shadow: bool,
    /// Prefix of statistics, and of what shadow rules note for later filters (`istio_ext_authz_`).
    pub stat_prefix: Str,
}

/// `RBAC.Action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyAction {
    /// Pass when a policy matches, deny otherwise.
    Allow,
    /// Deny when a policy matches.
    Deny,
    /// Note it (AUDIT).
    Log,
}

/// One entry of `RBAC.policies`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RbacPolicy {
    /// `ns[foo]-policy[httpbin]-rule[0]`.
    pub name: Str,
    /// One must match.
    pub permissions: Vec<Permission>,
    /// One must match.
    pub principals: Vec<Principal>,
}

/// `envoy.config.rbac.v3.Permission`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Permission {
    /// Always.
    Any,
    /// All of these.
    And(Vec<Permission>),
    /// One of these.
    Or(Vec<Permission>),
    /// Not this.
    Not(Box<Permission>),
    /// A request header or pseudo-header.
    Header(HeaderMatcher),
    /// The path, without query.
    Path(StringMatch),
    /// The path, by URI template.
    Template(PathMatch),
    /// Destination address of the connection.
    DestinationIp(IpNet),
    /// Destination port of the connection: the workload's.
    DestinationPort(u16),
    /// SNI.
    ServerName(StringMatch),
    /// Dynamic metadata of a filter, by path (JWT claims and the like).
    Metadata {
        /// Filter namespace.
        filter: Str,
        /// Keys.
        path: Vec<Str>,
        /// The value, or any element of a list.
        value: StringMatch,
    },
}

/// `envoy.config.rbac.v3.Principal`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Principal {
    /// Always.
    Any,
    /// All of these.
    And(Vec<Principal>),
    /// One of these.
    Or(Vec<Principal>),
    /// Not this.
    Not(Box<Principal>),
    /// The peer's URI SAN, which must exist.
    Authenticated(Option<StringMatch>),
    /// Peer address of the connection (`direct_remote_ip`).
    DirectRemoteIp(IpNet),
    /// Client address by X-Forwarded-For or PROXY protocol (`remote_ip`).
    RemoteIp(IpNet),
    /// A request header or pseudo-header.
    Header(HeaderMatcher),
    /// Dynamic metadata of a filter, by path.
    Metadata {
        /// Filter namespace.
        filter: Str,
        /// Keys.
        path: Vec<Str>,
        /// The value, or any element of a list.
        value: StringMatch,
    },
}

/// `envoy.extensions.filters.http.fault.v3.HTTPFault`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Wait before going on.
    pub delay: Option<FaultDelay>,
    /// Answer instead of going on.
    pub abort: Option<FaultAbort>,
}

/// A fixed delay for a share of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultDelay {
    /// How long.
    pub duration: Duration,
    /// Share in millionths.
    pub parts_per_million: u32,
}

/// An answer for a share of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultAbort {
    /// HTTP status; for gRPC `grpc_status` is used.
    pub status: u16,
    /// gRPC status.
    pub grpc_status: Option<u32>,
    /// Share in millionths.
    pub parts_per_million: u32,
}

/// `envoy.extensions.filters.http.cors.v3.CorsPolicy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cors {
    /// Origins that may.
    pub origins: Vec<CorsOrigin>,
    /// `access-control-allow-methods`.
    pub methods: Str,
    /// `access-control-allow-headers`.
    pub headers: Str,
    /// `access-control-expose-headers`.
    pub expose_headers: Str,
    /// `access-control-max-age`, seconds as text; empty: not sent.
    pub max_age: Str,
    /// `access-control-allow-credentials: true`.
    pub credentials: bool,
    /// Preflights of other origins go to the upstream (`forward_not_matching_preflights`), else they are answered without allow-origin.
    pub forward_unmatched_preflights: bool,
}

/// Matcher of an origin.
pub type CorsOrigin = StringMatch;
