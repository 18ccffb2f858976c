//! `jaeger.api_v3.QueryService`: the same questions, answered in OTLP ([`crate::otlp::ExportTraceServiceRequest`]).

use crate::protobuf::Timestamp;

pub use super::api_v2::{FindTracesRequest, GetDependenciesRequest, GetServicesRequest, GetServicesResponse};
pub use super::api_v2::{GetOperationsRequest, Operation};

/// `GetTraceRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetTraceRequest {
    /// Hexadecimal, 64 or 128 bits.
    #[prost(string, tag = "1")]
    pub trace_id: String,
    /// A hint for stores that need one.
    #[prost(message, optional, tag = "2")]
    pub start_time: Option<Timestamp>,
    /// A hint for stores that need one.
    #[prost(message, optional, tag = "3")]
    pub end_time: Option<Timestamp>,
    /// As stored, without mending of clocks.
    #[prost(bool, tag = "4")]
    pub raw_traces: bool,
}

/// `GetOperationsResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetOperationsResponse {
    /// Names and kinds.
    #[prost(message, repeated, tag = "1")]
    pub operations: Vec<Operation>,
}

/// `Dependency`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Dependency {
    /// Who calls
    #[prost(string, tag = "1")]
    pub parent: String,
    /// whom
    #[prost(string, tag = "2")]
    pub child: String,
    /// how often.
    #[prost(uint64, tag = "3")]
    pub call_count: u64,
}

/// `DependenciesResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DependenciesResponse {
    /// Every pair.
    #[prost(message, repeated, tag = "1")]
    pub dependencies: Vec<Dependency>,
}

/// `ServiceSummary`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ServiceSummary {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its spans in the trace.
    #[prost(int32, tag = "2")]
    pub span_count: i32,
    /// Those that failed.
    #[prost(int32, tag = "3")]
    pub error_span_count: i32,
}

/// `TraceSummary`: what a list of traces shows of one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TraceSummary {
    /// Hexadecimal.
    #[prost(string, tag = "1")]
    pub trace_id: String,
    /// Where it began.
    #[prost(string, tag = "2")]
    pub root_service_name: String,
    /// With what it began.
    #[prost(string, tag = "3")]
    pub root_operation_name: String,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "4")]
    pub min_start_time_unix_nano: u64,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "5")]
    pub max_end_time_unix_nano: u64,
    /// Spans.
    #[prost(int32, tag = "6")]
    pub span_count: i32,
    /// Those that failed.
    #[prost(int32, tag = "7")]
    pub error_span_count: i32,
    /// Those whose parent is not there.
    #[prost(int32, tag = "8")]
    pub orphan_span_count: i32,
    /// By name.
    #[prost(message, repeated, tag = "9")]
    pub services: Vec<ServiceSummary>,
}

/// `FindTraceSummariesResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FindTraceSummariesResponse {
    /// Some of them.
    #[prost(message, repeated, tag = "1")]
    pub summaries: Vec<TraceSummary>,
}
