//! `MeshConfig` (the ConfigMap `istio`, key `mesh`) and `ProxyConfig`, the parts that Varka reads.

use std::collections::BTreeMap;

use super::{ConnectionPool, Destination, HttpRetry, LocalityLb, PolicySelector, TcpKeepalive, TrafficPolicy};
use crate::{Duration, LabelSelector};

kinds! { ProxyConfig: "networking.istio.io" "ProxyConfig", }

messages! {
    /// Mesh-wide settings.
    MeshConfig {
        /// SPIFFE trust domain, default `cluster.local`.
        trust_domain: String,
        /// Other trust domains that count as ours.
        trust_domain_aliases: Vec<String>,
        /// Namespace of mesh-wide resources, default `istio-system`.
        root_namespace: String,
        /// Unknown destinations.
        outbound_traffic_policy: Option<OutboundTrafficPolicy>,
        /// Ports without a service.
        inbound_traffic_policy: Option<InboundTrafficPolicy>,
        /// Whether mutual TLS is used where both sides can, default true.
        enable_auto_mtls: Option<bool>,
        /// Access log: `/dev/stdout`, a path, or empty: none. Absent: `/dev/stdout`, Varka's default.
        access_log_file: Option<String>,
        /// Format; empty: Istio's default.
        access_log_format: String,
        /// Text or JSON.
        access_log_encoding: AccessLogEncoding,
        /// Whether spans are made where a provider is configured.
        enable_tracing: bool,
        /// Named providers of logs, spans and authorization.
        extension_providers: Vec<ExtensionProvider>,
        /// Providers used where none is named.
        default_providers: BTreeMap<String, Vec<String>>,
        /// Defaults of every proxy.
        default_config: Option<DefaultConfig>,
        /// Retries where a route has none.
        default_http_retry_policy: Option<HttpRetry>,
        /// Default of every cluster's policy.
        default_traffic_policy: Option<TrafficPolicy>,
        /// TCP connect timeout, default 10 s.
        connect_timeout: Option<Duration>,
        /// Keep-alive of upstream sockets.
        tcp_keepalive: Option<TcpKeepalive>,
        /// How long undeclared protocols are awaited; zero: for ever.
        protocol_detection_timeout: Option<Duration>,
        /// How paths are brought to a normal form, default `BASE`.
        path_normalization: Option<PathNormalization>,
        /// DNS refresh of `DNS` services, default 60 s.
        dns_refresh_rate: Option<Duration>,
        /// Locality settings of every cluster.
        locality_lb_setting: Option<LocalityLb>,
        /// Default of `exportTo`.
        default_service_export_to: Vec<String>,
        /// Default of `exportTo`.
        default_virtual_service_export_to: Vec<String>,
        /// Default of `exportTo`.
        default_destination_rule_export_to: Vec<String>,
        /// Namespaces that belong to the mesh; empty: all.
        discovery_selectors: Vec<LabelSelector>,
        /// Class of Ingress resources, default `istio`.
        ingress_class: String,
        /// `DEFAULT`, `STRICT` or `OFF`.
        ingress_controller_mode: String,
        /// Labels of the gateway pods that Ingress resources apply to, default `istio: ingressgateway`.
        ingress_selector: String,
        /// The gateway's Service.
        ingress_service: String,
        /// Lowest TLS version of mesh traffic.
        #[serde(rename = "meshMTLS")]
        mesh_mtls: Option<MeshTlsConfig>,
        /// Limits of inbound clusters.
        inbound_connection_pool: Option<ConnectionPool>,
        /// Port of `virtualOutbound`, default 15001.
        proxy_listen_port: u32,
        /// Port of `virtualInbound`, default 15006.
        proxy_inbound_listen_port: u32,
    }
    /// Unknown destinations.
    OutboundTrafficPolicy {
        /// Mode.
        mode: OutboundTrafficPolicyMode,
        /// Where they all go.
        egress_proxy: Option<Destination>,
    }
    /// Ports without a service.
    InboundTrafficPolicy {
        /// Mode.
        mode: InboundTrafficPolicyMode,
    }
    /// TLS of mesh traffic.
    MeshTlsConfig {
        /// Lowest version.
        min_protocol_version: super::TlsProtocol,
    }
    /// How paths are brought to a normal form.
    PathNormalization {
        /// Steps.
        normalization: PathNormalizationType,
    }
    /// A named provider. At most one kind is given.
    ExtensionProvider {
        /// Name.
        name: String,
        /// External authorization over HTTP.
        envoy_ext_authz_http: Option<ExtAuthzProvider>,
        /// External authorization over gRPC.
        envoy_ext_authz_grpc: Option<ExtAuthzProvider>,
        /// Access log file.
        envoy_file_access_log: Option<FileAccessLog>,
        /// Spans by Zipkin's protocol.
        zipkin: Option<ZipkinProvider>,
        /// Spans by OTLP.
        opentelemetry: Option<OpenTelemetryProvider>,
        /// Metrics for Prometheus.
        prometheus: Option<BTreeMap<String, serde_json::Value>>,
    }
    /// An authorization service.
    ExtAuthzProvider {
        /// `[namespace/]host`.
        service: String,
        /// Port.
        port: u32,
        /// Limit of one check.
        timeout: Option<Duration>,
        /// Pass when it cannot be asked.
        fail_open: bool,
        /// Status when it cannot be asked, default 403.
        status_on_error: String,
        /// Put in front of the path (HTTP).
        path_prefix: String,
        /// Request headers that are sent along (HTTP); `*` at one end for any rest.
        include_request_headers_in_check: Vec<String>,
        /// The same, older; only where the other is empty.
        include_headers_in_check: Vec<String>,
        /// What of the body is sent along.
        include_request_body_in_check: Option<ExtAuthzBody>,
        /// Response headers that go to the application when allowed.
        headers_to_upstream_on_allow: Vec<String>,
        /// Response headers that go to the client when denied; empty: all.
        headers_to_downstream_on_deny: Vec<String>,
        /// Response headers that go to the client when allowed.
        headers_to_downstream_on_allow: Vec<String>,
        /// Headers added to the check.
        include_additional_headers_in_check: BTreeMap<String, String>,
    }
    /// What of a body is sent to an authorization service.
    ExtAuthzBody {
        /// Most of it.
        max_request_bytes: u32,
        /// A longer one is cut; else the request is answered with 413.
        allow_partial_message: bool,
        /// As bytes, and not as text (gRPC).
        pack_as_bytes: bool,
    }
    /// An access log file.
    FileAccessLog {
        /// Path.
        path: String,
        /// Format.
        log_format: Option<LogFormat>,
    }
    /// Text or labels.
    LogFormat {
        /// Text.
        text: Option<String>,
        /// JSON keys.
        labels: Option<BTreeMap<String, String>>,
    }
    /// A collector of Zipkin's kind.
    ZipkinProvider {
        /// `[namespace/]host`.
        service: String,
        /// Port.
        port: u32,
        /// Longest path in `http.url`; 0: 256.
        max_tag_length: u32,
        /// Trace identifiers of 64 bits.
        #[serde(rename = "enable64bitTraceId")]
        enable_64bit_trace_id: bool,
        /// Path, default `/api/v2/spans`.
        path: String,
        /// `USE_B3` or `USE_B3_WITH_W3C_PROPAGATION`.
        trace_context_option: String,
    }
    /// A collector of OpenTelemetry's kind.
    OpenTelemetryProvider {
        /// `[namespace/]host`.
        service: String,
        /// Port.
        port: u32,
        /// Longest path in `http.url`; 0: 256.
        max_tag_length: u32,
        /// OTLP over HTTP.
        http: Option<OtlpHttp>,
        /// OTLP over gRPC, also where nothing is said.
        grpc: Option<OtlpGrpc>,
    }
    /// OTLP over HTTP.
    OtlpHttp {
        /// Path.
        path: String,
        /// Limit of a report, default 3 s.
        timeout: Option<Duration>,
        /// Sent along.
        headers: Vec<HttpHeaderSpec>,
    }
    /// OTLP over gRPC.
    OtlpGrpc {
        /// Limit of a report.
        timeout: Option<Duration>,
        /// Sent along.
        initial_metadata: Vec<HttpHeaderSpec>,
    }
    /// A header of reports.
    HttpHeaderSpec {
        /// Name.
        name: String,
        /// Value.
        value: String,
    }
    /// Defaults of every proxy.
    DefaultConfig {
        /// Worker threads.
        concurrency: Option<i32>,
        /// Spans.
        tracing: Option<TracingConfig>,
        /// Readiness of the application waits for the proxy.
        hold_application_until_proxy_starts: Option<bool>,
        /// Time between SIGTERM and exit.
        termination_drain_duration: Option<Duration>,
        /// Environment of the proxy.
        proxy_metadata: BTreeMap<String, String>,
    }
    /// Spans of a proxy.
    TracingConfig {
        /// Share of requests that start a trace, percent; 0: 1.
        sampling: f64,
        /// Collector that `enableTracing` alone means.
        zipkin: Option<ZipkinAddress>,
        /// Tags of spans.
        custom_tags: BTreeMap<String, super::CustomTag>,
        /// Longest path in `http.url`; 0: 256.
        max_path_tag_length: u32,
        /// Istio's own tags, default true.
        enable_istio_tags: Option<bool>,
    }
    /// A collector by address.
    ZipkinAddress {
        /// `HOST:PORT`.
        address: String,
    }
    /// `networking.istio.io ProxyConfig`.
    ProxyConfig {
        /// Workloads; absent: the namespace, or the mesh in the root namespace.
        selector: Option<PolicySelector>,
        /// Worker threads.
        concurrency: Option<i32>,
        /// Environment of the proxy.
        environment_variables: BTreeMap<String, String>,
        /// Image of the proxy.
        image: Option<serde_json::Value>,
    }
}

enumerations! {
    /// What happens to unknown destinations.
    OutboundTrafficPolicyMode {
        /// Refused.
        RegistryOnly,
        /// Passed through.
        #[default]
        AllowAny,
        /// HTTP is resolved by its Host, the rest is passed through.
        AllowAnyDynamicDns,
    }
    /// Where inbound traffic for ports without a service goes.
    InboundTrafficPolicyMode {
        /// To the address that was dialled.
        #[default]
        Passthrough,
        /// To the loopback.
        Localhost,
    }
    /// Encoding of the access log.
    AccessLogEncoding {
        /// Text.
        #[default]
        Text,
        /// JSON.
        Json,
    }
    /// Steps of path normalization.
    PathNormalizationType {
        /// `BASE`.
        #[default]
        Default,
        /// Nothing.
        None,
        /// RFC 3986, `\` to `/`.
        Base,
        /// And `//` to `/`.
        MergeSlashes,
        /// And `%2F`, `%5C` decoded before.
        DecodeAndMergeSlashes,
    }
}

impl MeshConfig {
    /// Reads the YAML of the `mesh` key; with the paths of fields that are not known.
    ///
    /// # Errors
    /// The place and the reason, when it is not a MeshConfig.
    pub fn from_yaml(text: &str) -> Result<(Self, Vec<String>), crate::DecodeError> {
        let value: serde_json::Value = serde_saphyr::from_str(text)
            .map_err(|e| crate::DecodeError::Field { path: "mesh".to_owned(), message: e.to_string() })?;
        Self::from_value(value)
    }

    /// From JSON; with the paths of fields that are not known.
    ///
    /// # Errors
    /// The place and the reason, when it is not a MeshConfig.
    pub fn from_value(value: serde_json::Value) -> Result<(Self, Vec<String>), crate::DecodeError> {
        let value = if value.is_null() { serde_json::json!({}) } else { value };
        crate::decode::decode_value("mesh", value)
    }
}
