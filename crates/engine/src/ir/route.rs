//! Route configurations: from a request head to a cluster, a redirect or a direct response.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::{Cors, Fault, HashPolicy, HeaderMatcher, MetadataMatch, PathMatch, QueryMatcher, Rbac, Regex, Str};

/// `envoy.config.route.v3.RouteConfiguration`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteConfiguration {
    /// Istio's name (`8080`, `inbound|8080||`, `http.8080`).
    pub name: Str,
    /// Searched by domain: exact, then longest `*suffix`, then longest `prefix*`, then `*`.
    pub virtual_hosts: Vec<VirtualHost>,
    /// `ignore_port_in_host_matching`.
    pub ignore_port_in_host: bool,
    /// `vhds`: further virtual hosts are asked for by the authority of a request. Those that are here are for authorities of
    /// which it has been said that there is none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_demand: bool,
    /// `max_direct_response_body_size_bytes` needs no counterpart; header mutations of the whole table.
    pub request_headers: Vec<HeaderMutation>,
    /// Likewise, on responses.
    pub response_headers: Vec<HeaderMutation>,
}

/// `envoy.config.route.v3.VirtualHost`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VirtualHost {
    /// `host:port`, `allow_any`, `block_all`, `inbound|http|80`.
    pub name: Str,
    /// Lower case.
    pub domains: Vec<Str>,
    /// The first that matches wins.
    pub routes: Vec<Route>,
    /// `require_tls: ALL`: answer 301 to https.
    pub require_tls: bool,
    /// `include_request_attempt_count`: send `x-envoy-attempt-count` upstream.
    pub include_attempt_count: bool,
    /// Applied to requests of all its routes, after the route's own.
    pub request_headers: Vec<HeaderMutation>,
    /// Likewise, on responses.
    pub response_headers: Vec<HeaderMutation>,
}

/// `envoy.config.route.v3.Route`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Name in the access log; empty: `-`.
    pub name: Str,
    /// When it applies.
    pub matches: RouteMatch,
    /// What is done.
    pub action: Action,
    /// Request header operations, in order.
    pub request_headers: Vec<HeaderMutation>,
    /// Response header operations, in order.
    pub response_headers: Vec<HeaderMutation>,
    /// Fault injected on this route (`typed_per_filter_config` of the fault filter).
    pub fault: Option<Fault>,
    /// Cross-origin policy (`typed_per_filter_config` of the cors filter).
    pub cors: Option<Cors>,
    /// Policy of this route alone, replacing the filter's (`RBACPerRoute`).
    pub rbac: Option<Rbac>,
    /// Largest request body accepted, in bytes, else 413 (`BufferPerRoute` semantics, counted while streaming). `None`: no limit.
    pub max_request_bytes: Option<u64>,
    /// `decorator.operation` of spans (`host:port/path*`).
    pub operation: Option<Str>,
    /// The resource and place that it came from, for people: `VirtualService blog-system/web-vsvc http[1]`. Travels in `metadata.filter_metadata.istio`.
    pub origin: Option<Str>,
}

/// `envoy.config.route.v3.RouteMatch`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteMatch {
    /// Path condition.
    pub path: PathMatch,
    /// `case_sensitive`, default true. Does not apply to regexes.
    pub case_sensitive: bool,
    /// All must match.
    pub headers: Vec<HeaderMatcher>,
    /// All must match.
    pub query: Vec<QueryMatcher>,
    /// All must match.
    pub metadata: Vec<MetadataMatch>,
    /// `grpc`: only `application/grpc` requests.
    pub grpc: bool,
}

/// What a route does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// To a cluster.
    Forward(Box<RouteAction>),
    /// Answer with a redirect.
    Redirect(Redirect),
    /// Answer at once.
    Direct(DirectResponse),
}

/// `envoy.config.route.v3.RouteAction`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteAction {
    /// One: always this one; several: by weight.
    pub clusters: Vec<WeightedRoute>,
    /// Path and authority changes.
    pub rewrite: Rewrite,
    /// Whole request, retries included; `None` or zero: no limit.
    pub timeout: Option<Duration>,
    /// `max_stream_duration.grpc_timeout_header_max`: cap of the client's `grpc-timeout`; `None`: the header is ignored; zero: no cap.
    pub grpc_timeout_max: Option<Duration>,
    /// Route-level idle timeout; `None`: the connection manager's.
    pub idle_timeout: Option<Duration>,
    /// `None`: no retries.
    pub retry: Option<RetryPolicy>,
    /// Shadow copies.
    pub mirrors: Vec<Mirror>,
    /// Key for hash-based balancing.
    pub hash_policy: Vec<HashPolicy>,
    /// Which upgrades are let through, beyond the connection manager's.
    pub upgrades: Vec<Upgrade>,
    /// Status when the cluster does not exist (503).
    pub cluster_not_found_status: u16,
}

/// One destination of a [`RouteAction`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightedRoute {
    /// Cluster name.
    pub cluster: Str,
    /// Share of the sum of weights.
    pub weight: u32,
    /// Header operations of this destination alone; for several destinations they come before the route's.
    pub request_headers: Vec<HeaderMutation>,
    /// Likewise, on responses.
    pub response_headers: Vec<HeaderMutation>,
    /// Authority for this destination alone.
    pub host_rewrite: Option<Str>,
}

/// Changes to path and authority before forwarding.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rewrite {
    /// `prefix_rewrite`: replaces the matched prefix (or the exact path).
    pub prefix: Option<Str>,
    /// `regex_rewrite`: pattern (matched anywhere in the path) and substitution with `\1` references.
    pub regex: Option<(Regex, Str)>,
    /// `host_rewrite_literal`.
    pub authority: Option<Str>,
    /// `auto_host_rewrite`: the authority becomes the endpoint's DNS name.
    pub auto_authority: bool,
    /// `append_x_forwarded_host`.
    pub append_x_forwarded_host: bool,
}

/// `envoy.config.route.v3.RedirectAction`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Redirect {
    /// New authority.
    pub authority: Option<Str>,
    /// New port.
    pub port: Option<u16>,
    /// New scheme.
    pub scheme: Option<Str>,
    /// New path; keeps the query unless it has its own.
    pub path: Option<Str>,
    /// New prefix in place of the matched one.
    pub prefix: Option<Str>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Drops the query.
    pub strip_query: bool,
}

/// `envoy.config.route.v3.DirectResponseAction`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DirectResponse {
    /// Status.
    pub status: u16,
    /// Body, if any.
    pub body: Option<bytes::Bytes>,
}

/// `envoy.config.route.v3.RetryPolicy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Conditions.
    pub on: RetryOn,
    /// Retries beyond the first attempt.
    pub attempts: u32,
    /// Limit of one attempt; `None`: the route's.
    pub per_try_timeout: Option<Duration>,
    /// `retriable_status_codes`.
    pub status_codes: Vec<u16>,
    /// Jittered exponential back-off; `None`: 25 ms base, 10 x max.
    pub back_off: Option<RetryBackOff>,
    /// `envoy.retry_host_predicates.previous_hosts`.
    pub avoid_previous_hosts: bool,
    /// `host_selection_retry_max_attempts`.
    pub host_selection_attempts: u32,
    /// `envoy.retry_priorities.previous_priorities` (`retryRemoteLocalities`).
    pub remote_localities: bool,
}

/// Retry conditions, one flag per name of Envoy's `retry_on`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a condition that Envoy names")]
pub struct RetryOn {
    /// `5xx`: any 5xx answer, or none at all.
    pub server_error: bool,
    /// `gateway-error`: 502, 503, 504.
    pub gateway_error: bool,
    /// `reset`: no answer at all.
    pub reset: bool,
    /// `reset-before-request`: reset before the request was sent.
    pub reset_before_request: bool,
    /// `connect-failure`.
    pub connect_failure: bool,
    /// `envoy-ratelimited`.
    pub envoy_rate_limited: bool,
    /// `retriable-4xx`: 409.
    pub retriable_4xx: bool,
    /// `refused-stream`.
    pub refused_stream: bool,
    /// `retriable-status-codes`.
    pub status_codes: bool,
    /// `retriable-headers` is not supported; `http3-post-connect-failure` neither.
    /// gRPC `cancelled` in response headers.
    pub cancelled: bool,
    /// gRPC `deadline-exceeded`.
    pub deadline_exceeded: bool,
    /// gRPC `internal`.
    pub internal: bool,
    /// gRPC `resource-exhausted`.
    pub resource_exhausted: bool,
    /// gRPC `unavailable`.
    pub unavailable: bool,
}

/// `RetryPolicy.RetryBackOff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryBackOff {
    /// Base interval.
    pub base: Duration,
    /// Highest interval.
    pub max: Duration,
}

/// `RouteAction.RequestMirrorPolicy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mirror {
    /// Cluster that gets the copy.
    pub cluster: Str,
    /// Share in millionths.
    pub parts_per_million: u32,
    /// Append `-shadow` to the authority (off in current Istio).
    pub shadow_host_suffix: bool,
}

/// `RouteAction.UpgradeConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// `websocket`, `CONNECT`, ...
    pub kind: Str,
    /// Let through.
    pub enabled: bool,
}

/// One operation on the headers of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum HeaderMutation {
    /// Remove all lines of this name.
    Remove(#[serde(with = "header_name")] HeaderName),
    /// Add or set. The value may hold Envoy's command operators (`%DOWNSTREAM_REMOTE_ADDRESS%`); `%%` is a percent sign.
    Append {
        /// Name. `host` is `:authority`.
        #[serde(with = "header_name")]
        name: HeaderName,
        /// Value.
        #[serde(with = "header_value")]
        value: HeaderValue,
        /// What if it is there.
        action: HeaderAppend,
    },
}

/// `HeaderValueOption.HeaderAppendAction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeaderAppend {
    /// `APPEND_IF_EXISTS_OR_ADD`.
    Append,
    /// `ADD_IF_ABSENT`.
    IfAbsent,
    /// `OVERWRITE_IF_EXISTS_OR_ADD`.
    Overwrite,
}

mod header_name {
    //! Header names as text.
    use http::HeaderName;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(n: &HeaderName, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(n.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<HeaderName, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

mod header_value {
    //! Header values as text; bytes that are not UTF-8 cannot come from configuration.
    use http::HeaderValue;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(v: &HeaderValue, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&String::from_utf8_lossy(v.as_bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<HeaderValue, D::Error> {
        String::deserialize(d)?.try_into().map_err(serde::de::Error::custom)
    }
}
