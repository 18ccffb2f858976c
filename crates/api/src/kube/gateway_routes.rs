//! Routes of the Gateway API (`gateway.networking.k8s.io`).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::core::views;
use super::gateway::GATEWAY_API;
use crate::Resource;

views! {
    /// `HTTPRoute`.
    KubernetesHttpRoute {
        /// What it attaches to.
        parent_refs: Vec<ParentReference>,
        /// Hosts; empty: those of the parents.
        hostnames: Vec<String>,
        /// Whether it attaches to default Gateways.
        use_default_gateways: Option<String>,
        /// Rules.
        rules: Vec<HttpRouteRule>,
    }
    /// `GRPCRoute`.
    KubernetesGrpcRoute {
        /// What it attaches to.
        parent_refs: Vec<ParentReference>,
        /// Hosts; empty: those of the parents.
        hostnames: Vec<String>,
        /// Whether it attaches to default Gateways.
        use_default_gateways: Option<String>,
        /// Rules.
        rules: Vec<GrpcRouteRule>,
    }
    /// `TLSRoute`.
    KubernetesTlsRoute {
        /// What it attaches to.
        parent_refs: Vec<ParentReference>,
        /// Server names; empty: those of the parents.
        hostnames: Vec<String>,
        /// Whether it attaches to default Gateways.
        use_default_gateways: Option<String>,
        /// Rules.
        rules: Vec<StreamRouteRule>,
    }
    /// `TCPRoute`.
    KubernetesTcpRoute {
        /// What it attaches to.
        parent_refs: Vec<ParentReference>,
        /// Whether it attaches to default Gateways.
        use_default_gateways: Option<String>,
        /// Rules.
        rules: Vec<StreamRouteRule>,
    }
    /// What a route attaches to: a Gateway, or a Service or ServiceEntry for clients in the mesh.
    ParentReference {
        /// Group; absent: the Gateway API's.
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        /// Kind; absent: Gateway.
        #[serde(skip_serializing_if = "Option::is_none")]
        kind: Option<String>,
        /// Namespace; absent: the same.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// Name.
        name: String,
        /// One listener of a Gateway.
        #[serde(skip_serializing_if = "Option::is_none")]
        section_name: Option<String>,
        /// One port.
        #[serde(skip_serializing_if = "Option::is_none")]
        port: Option<u32>,
    }
    /// One rule of an HTTPRoute.
    HttpRouteRule {
        /// Name.
        name: Option<String>,
        /// Conditions, one of which must hold; empty: always.
        matches: Vec<HttpRouteMatch>,
        /// What is done with requests and answers.
        filters: Vec<RouteFilter>,
        /// Where to, by weight.
        backend_refs: Vec<BackendReference>,
        /// Limits of time.
        timeouts: Option<HttpRouteTimeouts>,
        /// Further attempts.
        retry: Option<HttpRouteRetry>,
        /// Requests of a client go to the same endpoint.
        session_persistence: Option<Value>,
    }
    /// Conditions of a rule; all must hold.
    HttpRouteMatch {
        /// Path; absent: all.
        path: Option<PathMatch>,
        /// Headers.
        headers: Vec<NamedMatch>,
        /// Query parameters.
        query_params: Vec<NamedMatch>,
        /// Method.
        method: Option<String>,
    }
    /// A path.
    PathMatch {
        /// `Exact`, `PathPrefix` or `RegularExpression`; absent: `PathPrefix`.
        r#type: Option<String>,
        /// Absent: `/`.
        value: Option<String>,
    }
    /// A header or a query parameter.
    NamedMatch {
        /// `Exact` or `RegularExpression`; absent: `Exact`.
        r#type: Option<String>,
        /// Name.
        name: String,
        /// Value.
        value: String,
    }
    /// What is done with requests and answers, by `type`.
    RouteFilter {
        /// Which of the members counts.
        r#type: String,
        /// `RequestHeaderModifier`.
        request_header_modifier: Option<HeaderFilter>,
        /// `ResponseHeaderModifier`.
        response_header_modifier: Option<HeaderFilter>,
        /// `RequestMirror`.
        request_mirror: Option<MirrorFilter>,
        /// `RequestRedirect`.
        request_redirect: Option<RedirectFilter>,
        /// `URLRewrite`.
        url_rewrite: Option<RewriteFilter>,
        /// `CORS`.
        cors: Option<CorsFilter>,
        /// `ExternalAuth`.
        external_auth: Option<Value>,
        /// `ExtensionRef`.
        extension_ref: Option<Value>,
    }
    /// Operations on headers.
    HeaderFilter {
        /// Overwrite.
        set: Vec<HeaderValue>,
        /// Append.
        add: Vec<HeaderValue>,
        /// Remove.
        remove: Vec<String>,
    }
    /// A header.
    HeaderValue {
        /// Name.
        name: String,
        /// Value.
        value: String,
    }
    /// Shadow copies.
    MirrorFilter {
        /// Where to.
        backend_ref: BackendReference,
        /// Share in percent.
        percent: Option<u32>,
        /// Share.
        fraction: Option<Fraction>,
    }
    /// A share.
    Fraction {
        /// Above the line.
        numerator: u32,
        /// Below the line; absent: 100.
        denominator: Option<u32>,
    }
    /// A redirect.
    RedirectFilter {
        /// New scheme.
        scheme: Option<String>,
        /// New host.
        hostname: Option<String>,
        /// New path.
        path: Option<PathModifier>,
        /// New port.
        port: Option<u32>,
        /// Status; absent: 302.
        status_code: Option<u32>,
    }
    /// Changes of path and host.
    RewriteFilter {
        /// New host.
        hostname: Option<String>,
        /// New path.
        path: Option<PathModifier>,
    }
    /// A new path, by `type`.
    PathModifier {
        /// `ReplaceFullPath` or `ReplacePrefixMatch`.
        r#type: String,
        /// In place of all of it.
        replace_full_path: Option<String>,
        /// In place of what matched.
        replace_prefix_match: Option<String>,
    }
    /// Cross-origin policy.
    CorsFilter {
        /// Origins, with wildcards.
        allow_origins: Vec<String>,
        /// Whether credentials may be sent.
        allow_credentials: Option<bool>,
        /// Methods.
        allow_methods: Vec<String>,
        /// Request headers.
        allow_headers: Vec<String>,
        /// Answer headers.
        expose_headers: Vec<String>,
        /// How long a preflight is remembered, in seconds.
        max_age: Option<i64>,
    }
    /// Where to: a Service, a host name of the mesh, or a ServiceImport.
    BackendReference {
        /// Group; absent: core.
        group: Option<String>,
        /// Kind; absent: Service.
        kind: Option<String>,
        /// Name.
        name: String,
        /// Namespace; absent: the same.
        namespace: Option<String>,
        /// Port.
        port: Option<u32>,
        /// Share; absent: 1.
        weight: Option<u32>,
        /// What is done with requests that go there.
        filters: Vec<RouteFilter>,
    }
    /// Limits of time.
    HttpRouteTimeouts {
        /// Of the whole request.
        request: Option<String>,
        /// Of one attempt.
        backend_request: Option<String>,
    }
    /// Further attempts.
    HttpRouteRetry {
        /// Statuses that are tried again.
        codes: Vec<u32>,
        /// How often; absent: 2.
        attempts: Option<i32>,
        /// How long before the next.
        backoff: Option<String>,
    }
    /// One rule of a GRPCRoute.
    GrpcRouteRule {
        /// Name.
        name: Option<String>,
        /// Conditions, one of which must hold; empty: always.
        matches: Vec<GrpcRouteMatch>,
        /// What is done with requests and answers.
        filters: Vec<RouteFilter>,
        /// Where to, by weight.
        backend_refs: Vec<BackendReference>,
        /// Requests of a client go to the same endpoint.
        session_persistence: Option<Value>,
    }
    /// Conditions of a rule; all must hold.
    GrpcRouteMatch {
        /// Service and method.
        method: Option<GrpcMethodMatch>,
        /// Metadata.
        headers: Vec<NamedMatch>,
    }
    /// A service and a method.
    GrpcMethodMatch {
        /// `Exact` or `RegularExpression`; absent: `Exact`.
        r#type: Option<String>,
        /// Service with its package.
        service: Option<String>,
        /// Method.
        method: Option<String>,
    }
    /// One rule of a TLSRoute or a TCPRoute.
    StreamRouteRule {
        /// Name.
        name: Option<String>,
        /// Where to, by weight.
        backend_refs: Vec<BackendReference>,
    }
}

macro_rules! routes {
    ($($ty:ty: $kind:literal,)*) => {$(
        impl Resource for $ty {
            const GROUP: &'static str = GATEWAY_API;
            const KIND: &'static str = $kind;
        }
    )*};
}

routes! {
    KubernetesHttpRoute: "HTTPRoute",
    KubernetesGrpcRoute: "GRPCRoute",
    KubernetesTlsRoute: "TLSRoute",
    KubernetesTcpRoute: "TCPRoute",
}
