//! Istio's resources, field for field as far as Varka reads them; every served version (v1, v1beta1, v1alpha3) has one form.
//!
//! Absent scalars are their zero value, as in Istio's own API; `Option` marks where absence means something else than zero.

/// Declares messages: plain data, all members optional on the wire, camelCase.
macro_rules! messages {
    ($($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $ty,)*
        }
    )*};
}

/// Declares enumerations, spelt in capitals on the wire; the first is the default.
macro_rules! enumerations {
    ($($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
        pub enum $name {
            $($(#[$vmeta])* $variant,)*
        }
    )*};
}

/// Ties types to their API group and kind.
macro_rules! kinds {
    ($($ty:ty: $group:literal $kind:literal,)*) => {$(
        impl crate::Resource for $ty {
            const GROUP: &'static str = $group;
            const KIND: &'static str = $kind;
        }
    )*};
}

mod destination_rule;
mod edge;
mod extensions;
mod mesh;
mod registry;
mod security;
mod telemetry;
mod virtual_service;

use std::collections::BTreeMap;

pub use destination_rule::{
    ClientTlsMode, ClientTlsSettings, ConnectionPool, ConsistentHash, CookieAttribute, DestinationRule,
    H2UpgradePolicy, HashCookie, HttpPool, KeepAlive, LoadBalancer, LocalityDistribute, LocalityFailover, LocalityLb,
    MaglevHash, OutlierDetection, Percentage, PortTrafficPolicy, ProxyProtocol, ProxyProtocolVersion, RetryBudget,
    RingHash, SimpleLb, Subset, TcpKeepalive, TcpPool, TrafficPolicy, Tunnel, Warmup,
};
pub use edge::{Gateway, GatewayTlsMode, Server, ServerPort, ServerTls, TlsCertificate, TlsProtocol};
pub use extensions::{
    ApplyTo, ClusterMatch, ConfigPatch, EnvoyFilter, ExtensionPhase, FailStrategy, FilterChainMatch, FilterClass,
    FilterMatch, ImagePullPolicy, ListenerMatch, LuaScript, NameMatch, Patch, PatchContext, PatchMatch, PatchOperation,
    PatchedRouteMatch, PluginPhase, PluginType, ProxyMatch, RouteActionMatch, RouteConfigurationMatch,
    TrafficExtension, TrafficPort, TrafficSelector, VirtualHostMatch, VmConfig, VmVariable, VmVariableSource,
    WasmModule, WasmPlugin, WaypointMatch,
};
pub use mesh::{
    AccessLogEncoding, DefaultConfig, ExtAuthzBody, ExtAuthzProvider, ExtensionProvider, FileAccessLog, HttpHeaderSpec,
    InboundTrafficPolicy, InboundTrafficPolicyMode, LogFormat, MeshConfig, MeshTlsConfig, OpenTelemetryProvider,
    OtlpGrpc, OtlpHttp, OutboundTrafficPolicy, OutboundTrafficPolicyMode, PathNormalization, PathNormalizationType,
    ProxyConfig, TracingConfig, ZipkinAddress, ZipkinProvider,
};
pub use registry::{
    CaptureMode, EgressListener, ExecProbe, GroupMetadata, GrpcProbe, HttpProbe, IngressListener, Location,
    ProbeHeader, ReadinessProbe, Resolution, ServiceEntry, ServicePort, Sidecar, SidecarOutboundTrafficPolicy,
    TcpProbe, WorkloadEntry, WorkloadGroup, WorkloadSelector,
};
pub use security::{
    AuthorizationAction, AuthorizationPolicy, ClaimToHeader, Condition, From, JwtHeader, JwtPresence, JwtRule,
    MutualTls, MutualTlsMode, Operation, PeerAuthentication, PolicySelector, ProviderRef, RequestAuthentication, Rule,
    Source, TargetRef, To,
};
pub use telemetry::{
    AccessLogFilter, AccessLogging, CustomTag, LiteralTag, LogMatch, MetricSelector, MetricsConfig, MetricsOverrides,
    NamedTag, TagOperation, TagOverride, Telemetry, TracingSpec, WorkloadMode,
};
pub use virtual_service::{
    CorsPolicy, Delegate, Destination, DirectResponse, Fault, FaultAbort, FaultDelay, HeaderOperations, Headers,
    HttpBody, HttpMatch, HttpRedirect, HttpRetry, HttpRewrite, HttpRoute, L4Match, Mirror, Percent, PortSelector,
    RedirectPort, RegexRewrite, RetryBackoff, RouteDestination, StringMatch, TcpRoute, TlsMatch, TlsRoute,
    UnmatchedPreflights, VirtualService, WeightedDestination,
};

/// Names of gRPC status codes; the position is the code.
pub const GRPC_STATUS_NAMES: &[&str] = &[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Labels of a workload or of a selector.
pub type Labels = BTreeMap<String, String>;
