//! What is counted and traced: peer metadata, Istio's statistics, spans.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Str;

/// `io.istio.http.peer_metadata.Config`: with whom workloads tell each other who they are, in `x-envoy-peer-metadata` headers;
/// who did not is looked up by address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerMetadata {
    /// With clients: what they tell is taken from requests, and answered in responses.
    pub downstream: bool,
    /// With endpoints: requests tell them, what they answer is taken from responses.
    pub upstream: bool,
}

/// `stats.PluginConfig`: Istio's standard metrics, and how they differ from the standard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// The request's Host does not stand in for a service that is not known.
    pub disable_host_header_fallback: bool,
    /// How often open TCP connections are counted; `None`: every 5 s.
    pub tcp_reporting_interval: Option<Duration>,
    /// Changes, in order.
    pub metrics: Vec<MetricOverride>,
}

/// `stats.MetricConfig`: how one metric differs from the standard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricOverride {
    /// `requests_total`, without `istio_`; empty: all.
    pub name: Str,
    /// It is not counted.
    pub drop: bool,
    /// Labels and the CEL expressions of their values, by name.
    pub dimensions: Vec<(Str, Str)>,
    /// Labels that are left out.
    pub tags_to_remove: Vec<Str>,
}

/// `HttpConnectionManager.Tracing`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tracing {
    /// Share of requests with `x-client-trace-id` that are traced, in millionths.
    pub client_sampling: u32,
    /// Share of requests that start a trace, in millionths.
    pub random_sampling: u32,
    /// Share of all of these that are really traced, in millionths.
    pub overall_sampling: u32,
    /// Where spans are sent.
    pub provider: TracingProvider,
    /// Further tags, by name.
    pub custom_tags: Vec<CustomTag>,
    /// Longest path in `http.url`; `None`: 256.
    pub max_path_tag_length: Option<u32>,
}

/// `envoy.config.trace.v3.Tracing.Http`: where spans are sent, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TracingProvider {
    /// `OpenTelemetryConfig`.
    OpenTelemetry {
        /// Whose spans they are; empty: the node's cluster.
        service_name: Str,
        /// How they are sent.
        exporter: OtlpExporter,
    },
    /// `ZipkinConfig`, JSON of version 2.
    Zipkin {
        /// Cluster of the collector.
        cluster: Str,
        /// Its Host; empty: the cluster's name.
        hostname: Str,
        /// Path (`/api/v2/spans`).
        path: Str,
        /// Trace identifiers of 128 bits.
        trace_id_128bit: bool,
        /// `traceparent` beside the B3 headers.
        w3c: bool,
    },
}

impl TracingProvider {
    /// Cluster that spans are sent to.
    pub fn cluster(&self) -> &Str {
        match self {
            Self::OpenTelemetry { exporter: OtlpExporter::Grpc { cluster, .. }, .. } => cluster,
            Self::OpenTelemetry { exporter: OtlpExporter::Http(collector), .. } => &collector.cluster,
            Self::Zipkin { cluster, .. } => cluster,
        }
    }
}

/// How OTLP is spoken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OtlpExporter {
    /// `core.v3.GrpcService`.
    Grpc {
        /// Cluster.
        cluster: Str,
        /// `:authority`; empty: the cluster's name.
        authority: Str,
        /// Of one report; `None`: 10 s.
        timeout: Option<Duration>,
        /// Sent with each report.
        initial_metadata: Vec<(Str, Str)>,
    },
    /// Protobuf in HTTP.
    Http(HttpCollector),
}

/// `core.v3.HttpService`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpCollector {
    /// Cluster.
    pub cluster: Str,
    /// `http://HOST/PATH` or `HOST/PATH`.
    pub uri: Str,
    /// Of one report.
    pub timeout: Duration,
    /// Set on each report.
    pub headers: Vec<(Str, Str)>,
}

/// `envoy.type.tracing.v3.CustomTag`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomTag {
    /// Its name.
    pub name: Str,
    /// Its value.
    pub value: CustomTagValue,
}

/// Where a tag's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CustomTagValue {
    /// Given here.
    Literal(Str),
    /// A variable of the proxy's environment; without it and a default there is no tag.
    Environment {
        /// Name.
        name: Str,
        /// Value in its absence; empty: none.
        default: Str,
    },
    /// A header of the request; without it and a default there is no tag.
    Header {
        /// Name.
        name: Str,
        /// Value in its absence; empty: none.
        default: Str,
    },
}
