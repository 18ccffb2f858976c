//! The HTTP connection manager and the access log.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{HttpFilter, RouteConfiguration, Str, Tracing};
use std::sync::Arc;

/// `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpConnectionManager {
    /// `outbound_0.0.0.0_8080`, `inbound_0.0.0.0_80`, ...
    pub stat_prefix: Str,
    /// Which HTTP is spoken by the client.
    pub codec: Codec,
    /// Where routes come from.
    pub routes: RouteSource,
    /// Filters in order, without the router, which is always last.
    pub filters: Vec<HttpFilter>,
    /// `server` response header (`envoy`, `istio-envoy`); the upstream's is overwritten.
    pub server_name: Str,
    /// `use_remote_address`: this is an edge, the peer's address is the client's.
    pub use_remote_address: bool,
    /// `xff_num_trusted_hops`.
    pub xff_trusted_hops: u32,
    /// `skip_xff_append`.
    pub skip_xff_append: bool,
    /// What happens to `x-forwarded-client-cert`.
    pub client_cert: ClientCertForwarding,
    /// `generate_request_id`, default true.
    pub generate_request_id: bool,
    /// `preserve_external_request_id`.
    pub preserve_external_request_id: bool,
    /// Paths are brought to a normal form before anything looks at them.
    pub path: PathNormalization,
    /// No byte in either direction on a stream for so long: 504/408. `None`: 5 min; zero: off (Istio).
    pub stream_idle_timeout: Option<Duration>,
    /// Time for the whole request; `None`: off.
    pub request_timeout: Option<Duration>,
    /// Time for the request head; `None`: off.
    pub request_headers_timeout: Option<Duration>,
    /// Idle client connections are closed after so long; `None`: 1 hour.
    pub idle_timeout: Option<Duration>,
    /// A client connection is drained after so long.
    pub max_connection_duration: Option<Duration>,
    /// Largest head, KiB; `None`: 60.
    pub max_request_headers_kb: Option<u32>,
    /// Most header lines; `None`: 100.
    pub max_headers: Option<u32>,
    /// `http_protocol_options.accept_http_10`; otherwise 426.
    pub accept_http_10: bool,
    /// HTTP/2 streams of one connection; `None`: Envoy's default.
    pub max_concurrent_streams: Option<u32>,
    /// Upgrades let through (`websocket`).
    pub upgrades: Vec<Str>,
    /// `strip_trailing_host_dot`, kept for completeness of Istio's gateways.
    pub strip_trailing_host_dot: bool,
    /// `local_reply_config.mappers`, the first that matches wins.
    pub local_replies: Vec<LocalReplyMapping>,
    /// Spans; `None`: off.
    pub tracing: Option<Tracing>,
    /// Written at the end of each request.
    pub access_log: Vec<AccessLog>,
}

/// `codec_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Codec {
    /// Told by the first bytes or ALPN.
    Auto,
    /// HTTP/1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}

/// `route_specifier`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RouteSource {
    /// RDS by this name.
    Rds(Str),
    /// Given here.
    Inline(Arc<RouteConfiguration>),
}

/// `forward_client_cert_details` with `set_current_client_cert_details`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientCertForwarding {
    /// Remove what the client sent (`SANITIZE`).
    Sanitize,
    /// Keep it when the client showed a certificate (`FORWARD_ONLY`).
    ForwardOnly,
    /// Append ours to it when the client showed a certificate (`APPEND_FORWARD`), with By, Hash, Subject, URI and DNS.
    AppendForward,
    /// Remove it and set ours when the client showed a certificate (`SANITIZE_SET`).
    SanitizeSet,
    /// Leave it (`ALWAYS_FORWARD_ONLY`).
    AlwaysForward,
}

/// Istio's `meshConfig.pathNormalization`, in Envoy's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathNormalization {
    /// `normalize_path`: RFC 3986 dot segments, decoding of unreserved characters, `\` to `/`.
    pub normalize: bool,
    /// `merge_slashes`.
    pub merge_slashes: bool,
    /// `path_with_escaped_slashes_action`.
    pub escaped_slashes: SlashesAction,
}

/// `PathWithEscapedSlashesAction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlashesAction {
    /// Leave `%2F` and `%5C`.
    Keep,
    /// 400.
    Reject,
    /// Decode, then redirect to the result.
    UnescapeAndRedirect,
    /// Decode and go on.
    UnescapeAndForward,
}

/// `LocalReplyConfig.ResponseMapper`: changes the status of an answer that the proxy itself makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalReplyMapping {
    /// Response flags one of which must be set (`UF`, `UC`); empty: any.
    pub flags: Vec<Str>,
    /// Status of the reply before mapping; `None`: any.
    pub status: Option<u16>,
    /// New status.
    pub new_status: u16,
}

/// `envoy.config.accesslog.v3.AccessLog`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessLog {
    /// Where to.
    pub sink: AccessLogSink,
    /// What.
    pub format: AccessLogFormat,
    /// Only connections that no route or chain handled (`response_flag_filter: NR`), as Istio's listener logs.
    pub only_not_found: bool,
    /// Only what satisfies this ([`crate::expression`], in CEL).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Str>,
}

/// Where an access log goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessLogSink {
    /// `/dev/stdout`.
    Stdout,
    /// Appended to this file.
    File(Str),
}

/// Format of an access log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessLogFormat {
    /// Command operators within text; ends with its own newline.
    Text(Str),
    /// Keys and command operators, one JSON object per line.
    Json(Vec<(Str, Str)>),
}

/// Istio's default text format (`meshConfig.accessLogFormat` unset, encoding TEXT).
pub const ISTIO_TEXT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% ",
    "%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" ",
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" ",
    "\"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n",
);

/// Istio's default JSON format.
pub const ISTIO_JSON: &[(&str, &str)] = &[
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
];
