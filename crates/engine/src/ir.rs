//! The configuration of one proxy as plain data.
//!
//! It holds what Envoy's v3 resources say, cut to what Varka implements, under the same names. `pilot` produces it, `xds` encodes
//! it for the wire and decodes it again, the sidecar and the functions of this crate read it. No type here does anything.
//! A field that is absent from Envoy's message is `None` or empty here; defaults are the decoder's job, stated at each field.

mod cluster;
mod ext_authz;
mod filter;
mod http;
mod jwt;
mod listener;
mod matching;
mod route;
mod telemetry;
mod tls;
mod workload;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use cluster::{
    CircuitBreakers, Cluster, ClusterLoadAssignment, ClusterProtocol, Discovery, Endpoint, HashKey, HashPolicy,
    HealthStatus, Http2Keepalive, HttpProtocolOptions, LbPolicy, Locality, LocalityEndpoints, OutlierDetection,
    SlowStart, TcpKeepalive, TransportSocketMatch,
};
pub use ext_authz::{AuthzBody, AuthzGrpc, AuthzHttp, AuthzService, ExtAuthz};
pub use filter::{
    AlpnOverride, Cors, CorsOrigin, Fault, FaultAbort, FaultDelay, HttpFilter, NetworkFilter, Permission, PolicyAction,
    Principal, Rbac, RbacPolicy,
};
pub use http::{
    AccessLog, AccessLogFormat, AccessLogSink, ClientCertForwarding, Codec, HttpConnectionManager, ISTIO_JSON,
    ISTIO_TEXT, LocalReplyMapping, PathNormalization, RouteSource, SlashesAction,
};
pub use jwt::{Jwks, JwtAuthn, JwtClaimToHeader, JwtHeader, JwtProvider, JwtRequirement};
pub use listener::{
    ConnectionFilters, FilterChain, FilterChainMatch, Listener, SourceType, TcpProxy, TcpTunnel, Terminal,
    TrafficDirection, TransportProtocol, WeightedCluster,
};
pub use matching::{
    HeaderMatch, HeaderMatcher, MetadataMatch, PathMatch, QueryMatch, QueryMatcher, Regex, StringMatch,
};
pub use route::{
    Action, DirectResponse, HeaderAppend, HeaderMutation, Mirror, Redirect, RetryBackOff, RetryOn, RetryPolicy,
    Rewrite, Route, RouteAction, RouteConfiguration, RouteMatch, Upgrade, VirtualHost, WeightedRoute,
};
pub use telemetry::{
    CustomTag, CustomTagValue, HttpCollector, MetricOverride, OtlpExporter, PeerMetadata, Stats, Tracing,
    TracingProvider,
};
pub use tls::{CertificatePins, DownstreamTls, SYSTEM_ROOTS, Secret, SecretKind, TlsVersion, UpstreamTls};
pub use workload::{Workload, WorkloadType};

/// A name shared by many resources; cheap to clone.
pub type Str = Arc<str>;

/// Everything that one proxy has been told. Immutable: a change makes a new value that shares what did not change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Proxy {
    /// Listeners by name (`virtualInbound`, `virtualOutbound`, `0.0.0.0_8080`, ...).
    pub listeners: HashMap<Str, Arc<Listener>>,
    /// Route configurations by name (`8080`, `inbound|8080||`, ...).
    pub routes: HashMap<Str, Arc<RouteConfiguration>>,
    /// Clusters by name (`outbound|8080||was-service.blog-system.svc.cluster.local`, ...).
    pub clusters: HashMap<Str, Arc<Cluster>>,
    /// Endpoints by EDS service name.
    pub endpoints: HashMap<Str, Arc<ClusterLoadAssignment>>,
    /// Certificates, keys and trust anchors that were sent by SDS, or the files that hold them; the workload's own are not here.
    pub secrets: HashMap<Str, Arc<Secret>>,
    /// Virtual hosts that were asked for, by `ROUTE/AUTHORITY`: of tables that are [`RouteConfiguration::on_demand`].
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    pub virtual_hosts: HashMap<Str, Arc<VirtualHost>>,
    /// What was asked for by name and does not exist, as the control plane has said.
    #[serde(default, skip_serializing_if = "HashSet::is_empty")]
    pub absent: HashSet<(ResourceType, Str)>,
}

/// One named resource of any of the types that xDS carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Resource {
    /// LDS.
    Listener(Arc<Listener>),
    /// RDS.
    Route(Arc<RouteConfiguration>),
    /// CDS.
    Cluster(Arc<Cluster>),
    /// EDS.
    Endpoints(Arc<ClusterLoadAssignment>),
    /// SDS.
    Secret(Arc<Secret>),
    /// VHDS: `ROUTE/AUTHORITY`, and the virtual host that requests for this authority get.
    VirtualHost(Str, Arc<VirtualHost>),
    /// `NETWORK/ADDRESS` that was asked for, and whose it is. No part of a configuration: it changes no traffic.
    Workload(Str, Arc<Workload>),
}

/// Which discovery service carries a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ResourceType {
    /// LDS, `envoy.config.listener.v3.Listener`.
    Listener,
    /// RDS, `envoy.config.route.v3.RouteConfiguration`.
    Route,
    /// CDS, `envoy.config.cluster.v3.Cluster`.
    Cluster,
    /// EDS, `envoy.config.endpoint.v3.ClusterLoadAssignment`.
    Endpoints,
    /// SDS, `envoy.extensions.transport_sockets.tls.v3.Secret`.
    Secret,
    /// VHDS, `envoy.config.route.v3.VirtualHost`.
    VirtualHost,
    /// Whose an address is, `istio.workload.Address`.
    Workload,
}

impl Resource {
    /// The discovery service that carries it.
    pub fn kind(&self) -> ResourceType {
        match self {
            Self::Listener(_) => ResourceType::Listener,
            Self::Route(_) => ResourceType::Route,
            Self::Cluster(_) => ResourceType::Cluster,
            Self::Endpoints(_) => ResourceType::Endpoints,
            Self::Secret(_) => ResourceType::Secret,
            Self::VirtualHost(..) => ResourceType::VirtualHost,
            Self::Workload(..) => ResourceType::Workload,
        }
    }

    /// The name it is subscribed to by.
    pub fn name(&self) -> &Str {
        match self {
            Self::Listener(r) => &r.name,
            Self::Route(r) => &r.name,
            Self::Cluster(r) => &r.name,
            Self::Endpoints(r) => &r.cluster_name,
            Self::Secret(r) => &r.name,
            Self::VirtualHost(name, _) | Self::Workload(name, _) => name,
        }
    }
}
