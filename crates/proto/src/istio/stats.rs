//! `stats`: the configuration of the filter `istio.stats`, the part that Istio's control plane sends.

use std::collections::HashMap;

use envoy_types::pb::google::protobuf::Duration;

/// `stats.PluginConfig`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PluginConfig {
    /// The request's Host does not stand in for a service that is not known.
    #[prost(bool, tag = "6")]
    pub disable_host_header_fallback: bool,
    /// How often open TCP connections are counted.
    #[prost(message, optional, tag = "7")]
    pub tcp_reporting_duration: Option<Duration>,
    /// Changes of metrics.
    #[prost(message, repeated, tag = "8")]
    pub metrics: Vec<MetricConfig>,
    /// Metrics besides the standard ones.
    #[prost(message, repeated, tag = "9")]
    pub definitions: Vec<MetricDefinition>,
    /// On whose behalf: 0, by the listener; 1, a gateway in front of many workloads.
    #[prost(int32, tag = "10")]
    pub reporter: i32,
    /// How often unused series are let go.
    #[prost(message, optional, tag = "11")]
    pub rotation_interval: Option<Duration>,
    /// How long after that they are shown.
    #[prost(message, optional, tag = "12")]
    pub graceful_deletion_interval: Option<Duration>,
}

/// `stats.MetricConfig`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricConfig {
    /// Labels and the expressions of their values.
    #[prost(map = "string, string", tag = "1")]
    pub dimensions: HashMap<String, String>,
    /// Name without `istio_`; empty: all.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Labels that are left out.
    #[prost(string, repeated, tag = "3")]
    pub tags_to_remove: Vec<String>,
    /// Which requests are counted.
    #[prost(string, tag = "4")]
    pub r#match: String,
    /// It is not counted.
    #[prost(bool, tag = "5")]
    pub drop: bool,
}

/// `stats.MetricDefinition`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricDefinition {
    /// Name without `istio_`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Expression of what is added.
    #[prost(string, tag = "2")]
    pub value: String,
    /// Counter, gauge or histogram.
    #[prost(int32, tag = "3")]
    pub r#type: i32,
}

impl prost::Name for PluginConfig {
    const NAME: &'static str = "PluginConfig";
    const PACKAGE: &'static str = "stats";

    fn type_url() -> String {
        "type.googleapis.com/stats.PluginConfig".into()
    }
}
