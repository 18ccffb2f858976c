//! `jaeger.api_v2.QueryService` and the model of a trace that it answers with.
//!
//! Moments that nobody set come from Go as the year 1, not as nothing.

use std::collections::HashMap;

use crate::protobuf::{Duration, Timestamp};

/// Type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum ValueType {
    /// Text.
    String = 0,
    /// Truth.
    Bool = 1,
    /// A whole number.
    Int64 = 2,
    /// A number.
    Float64 = 3,
    /// Bytes.
    Binary = 4,
}

/// A tag: a name, and a value in the field of its type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyValue {
    /// Name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Type.
    #[prost(enumeration = "ValueType", tag = "2")]
    pub v_type: i32,
    /// Text.
    #[prost(string, tag = "3")]
    pub v_str: String,
    /// Truth.
    #[prost(bool, tag = "4")]
    pub v_bool: bool,
    /// A whole number.
    #[prost(int64, tag = "5")]
    pub v_int64: i64,
    /// A number.
    #[prost(double, tag = "6")]
    pub v_float64: f64,
    /// Bytes.
    #[prost(bytes = "vec", tag = "7")]
    pub v_binary: Vec<u8>,
}

impl KeyValue {
    /// A name with a text.
    pub fn text(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), v_str: value.into(), ..Self::default() }
    }
}

/// What happened in a span.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Log {
    /// When.
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    /// What.
    #[prost(message, repeated, tag = "2")]
    pub fields: Vec<KeyValue>,
}

/// What another span is to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum SpanRefType {
    /// Its parent.
    ChildOf = 0,
    /// It came before.
    FollowsFrom = 1,
}

/// Another span that one has to do with.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SpanRef {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    /// How.
    #[prost(enumeration = "SpanRefType", tag = "3")]
    pub ref_type: i32,
}

/// Whoever makes spans.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Process {
    /// Name of the service.
    #[prost(string, tag = "1")]
    pub service_name: String,
    /// More of it.
    #[prost(message, repeated, tag = "2")]
    pub tags: Vec<KeyValue>,
}

/// A span.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Span {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    /// Name.
    #[prost(string, tag = "3")]
    pub operation_name: String,
    /// Its parent first.
    #[prost(message, repeated, tag = "4")]
    pub references: Vec<SpanRef>,
    /// 1: sampled.
    #[prost(uint32, tag = "5")]
    pub flags: u32,
    /// When it began.
    #[prost(message, optional, tag = "6")]
    pub start_time: Option<Timestamp>,
    /// How long it took.
    #[prost(message, optional, tag = "7")]
    pub duration: Option<Duration>,
    /// What it says of itself.
    #[prost(message, repeated, tag = "8")]
    pub tags: Vec<KeyValue>,
    /// What happened in it.
    #[prost(message, repeated, tag = "9")]
    pub logs: Vec<Log>,
    /// Whoever made it.
    #[prost(message, optional, tag = "10")]
    pub process: Option<Process>,
    /// Its name in a list of those; empty: [`process`](Self::process) is here.
    #[prost(string, tag = "11")]
    pub process_id: String,
    /// What is wrong with it.
    #[prost(string, repeated, tag = "12")]
    pub warnings: Vec<String>,
}

/// `GetTraceRequest`; with the same fields `ArchiveTraceRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetTraceRequest {
    /// 8 or 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
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

/// `SpansResponseChunk`: some of the spans of one trace.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SpansResponseChunk {
    /// Spans.
    #[prost(message, repeated, tag = "1")]
    pub spans: Vec<Span>,
}

/// `ArchiveTraceResponse`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ArchiveTraceResponse {}

/// `TraceQueryParameters`: one span of the trace has to have all of it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TraceQueryParameters {
    /// Whose it is.
    #[prost(string, tag = "1")]
    pub service_name: String,
    /// Its name; empty: any.
    #[prost(string, tag = "2")]
    pub operation_name: String,
    /// Its tags.
    #[prost(map = "string, string", tag = "3")]
    pub tags: HashMap<String, String>,
    /// It began no earlier,
    #[prost(message, optional, tag = "4")]
    pub start_time_min: Option<Timestamp>,
    /// and no later.
    #[prost(message, optional, tag = "5")]
    pub start_time_max: Option<Timestamp>,
    /// It took no less,
    #[prost(message, optional, tag = "6")]
    pub duration_min: Option<Duration>,
    /// and no more.
    #[prost(message, optional, tag = "7")]
    pub duration_max: Option<Duration>,
    /// So many traces at most.
    #[prost(int32, tag = "8")]
    pub search_depth: i32,
    /// As stored, without mending of clocks.
    #[prost(bool, tag = "9")]
    pub raw_traces: bool,
    /// In version 3: a structured filter, unread. Whoever does not know it has to refuse it.
    #[prost(bytes = "vec", optional, tag = "10")]
    pub filter: Option<Vec<u8>>,
}

/// `FindTracesRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FindTracesRequest {
    /// Which.
    #[prost(message, optional, tag = "1")]
    pub query: Option<TraceQueryParameters>,
}

/// `GetServicesRequest`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct GetServicesRequest {}

/// `GetServicesResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetServicesResponse {
    /// Names, sorted.
    #[prost(string, repeated, tag = "1")]
    pub services: Vec<String>,
}

/// `GetOperationsRequest`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetOperationsRequest {
    /// Whose.
    #[prost(string, tag = "1")]
    pub service: String,
    /// `server`, `client` and the like; empty: any.
    #[prost(string, tag = "2")]
    pub span_kind: String,
}

/// `Operation`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Operation {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// `server`, `client` and the like.
    #[prost(string, tag = "2")]
    pub span_kind: String,
}

/// `GetOperationsResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetOperationsResponse {
    /// Names alone, for older clients.
    #[prost(string, repeated, tag = "1")]
    pub operation_names: Vec<String>,
    /// Names and kinds.
    #[prost(message, repeated, tag = "2")]
    pub operations: Vec<Operation>,
}

/// `GetDependenciesRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetDependenciesRequest {
    /// From.
    #[prost(message, optional, tag = "1")]
    pub start_time: Option<Timestamp>,
    /// To.
    #[prost(message, optional, tag = "2")]
    pub end_time: Option<Timestamp>,
}

/// `DependencyLink`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DependencyLink {
    /// Who calls
    #[prost(string, tag = "1")]
    pub parent: String,
    /// whom
    #[prost(string, tag = "2")]
    pub child: String,
    /// how often.
    #[prost(uint64, tag = "3")]
    pub call_count: u64,
    /// Who counted it.
    #[prost(string, tag = "4")]
    pub source: String,
}

/// `GetDependenciesResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetDependenciesResponse {
    /// Every pair.
    #[prost(message, repeated, tag = "1")]
    pub dependencies: Vec<DependencyLink>,
}
