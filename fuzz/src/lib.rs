//! What has to hold of every parser of foreign bytes: one plain function for each, from bytes to nothing, that panics where it does not.
//!
//! A target asks for more than that nothing crashes: that what is printed reads back, that a message in pieces means what it means whole,
//! that a second implementation agrees, that what is accepted is bounded. Two drivers run them: the tests of this crate, with the
//! seeds, whatever once went wrong, and a fixed series of mutations; and libFuzzer, guided by coverage (`cargo xtask fuzz`).
//! Which parser is tried by which target is in this directory's README.md.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a target tells of what does not hold by panicking")]

pub mod corpus;
mod data_plane;
mod decisions;
mod identity;
mod kubernetes;
mod mesh;
pub mod mutate;
mod node;
mod telemetry;

pub use mutate::Form;

/// One parser, or several that stand behind each other.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its directories of seeds and regressions.
    pub name: &'static str,
    /// What its input looks like.
    pub form: Form,
    /// Longest input that is worth trying.
    pub longest: usize,
    /// Inputs that the smoke test makes up.
    pub smoke: u32,
    /// Panics where something does not hold.
    pub run: fn(&[u8]),
}

const fn target(name: &'static str, form: Form, longest: usize, smoke: u32, run: fn(&[u8])) -> Target {
    Target { name, form, longest, smoke, run }
}

/// Every target.
pub const TARGETS: [Target; 49] = [
    target("proxy_protocol", Form::Bytes, 256, 3000, data_plane::proxy_protocol),
    target("client_hello", Form::Bytes, 2048, 1000, data_plane::client_hello),
    target("http_detect", Form::Text, 128, 2000, data_plane::http_detect),
    target("http1_request", Form::Text, 1024, 2000, data_plane::http1_request),
    target("http1_response", Form::Text, 1024, 2000, data_plane::http1_response),
    target("http1_body", Form::Text, 1024, 2000, data_plane::http1_body),
    target("grpc_frames", Form::Bytes, 256, 2000, data_plane::grpc_frames),
    target("peer_metadata", Form::Text, 2048, 2000, data_plane::peer_metadata),
    target("peer_prelude", Form::Bytes, 2048, 2000, data_plane::peer_prelude),
    target("admin_query", Form::Text, 512, 3000, data_plane::admin_query),
    target("path", Form::Text, 256, 3000, decisions::path),
    target("authority", Form::Text, 512, 1000, decisions::authority),
    target("forwarded", Form::Text, 1024, 2000, decisions::forwarded),
    target("trace_context", Form::Text, 512, 3000, decisions::trace_context),
    target("grpc_timeout", Form::Text, 16, 3000, decisions::grpc_timeout),
    target("jwt", Form::Text, 2048, 2000, decisions::jwt),
    target("jwks", Form::Json, 4096, 2000, decisions::jwks),
    target("expression", Form::Text, 512, 2000, decisions::expression),
    target("log_format", Form::Text, 512, 2000, decisions::log_format),
    target("regex", Form::Text, 256, 500, decisions::regex),
    target("xds", Form::Protobuf, 4096, 500, mesh::xds),
    target("ext_authz", Form::Protobuf, 2048, 1000, mesh::ext_authz),
    target("node", Form::Protobuf, 2048, 1000, mesh::node),
    target("resources", Form::Text, 2048, 500, mesh::resources),
    target("mesh", Form::Json, 8192, 60, mesh::compile),
    target("duration", Form::Text, 64, 3000, mesh::duration),
    target("inject", Form::Json, 4096, 300, mesh::inject),
    target("json_patch", Form::Json, 2048, 2000, kubernetes::json_patch),
    target("merge_patch", Form::Json, 2048, 2000, kubernetes::merge_patch),
    target("strategic_patch", Form::Json, 4096, 1000, kubernetes::strategic_patch),
    target("apply", Form::Json, 4096, 300, kubernetes::apply),
    target("field_set", Form::Json, 2048, 1000, kubernetes::field_set),
    target("selector", Form::Text, 256, 3000, kubernetes::selector),
    target("rest", Form::Text, 512, 3000, kubernetes::rest),
    target("body", Form::Bytes, 4096, 1000, kubernetes::body),
    target("custom_schema", Form::Json, 4096, 500, kubernetes::custom_schema),
    target("printer_column", Form::Json, 1024, 2000, kubernetes::printer_column),
    target("port_forward", Form::Bytes, 2048, 500, kubernetes::port_forward),
    target("dns", Form::Bytes, 512, 2000, node::dns),
    target("pod_texts", Form::Text, 512, 3000, node::pod_texts),
    target("csr", Form::Bytes, 2048, 60, identity::csr),
    target("database_wire", Form::Bytes, 4096, 2000, telemetry::database_wire),
    target("exposition", Form::Text, 1024, 3000, telemetry::exposition),
    target("otlp_json", Form::Json, 2048, 1000, telemetry::otlp_json),
    target("zipkin", Form::Json, 2048, 2000, telemetry::zipkin),
    target("promql", Form::Text, 512, 3000, telemetry::promql),
    target("kiali_graph", Form::Text, 512, 3000, telemetry::kiali_graph),
    target("jaeger_query", Form::Text, 512, 3000, telemetry::jaeger_query),
    target("certificate", Form::Bytes, 4096, 500, identity::certificate),
];

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Cuts bytes into pieces whose sizes come from `sizes`, over and over.
fn pieces(mut bytes: &[u8], sizes: [usize; 3]) -> Vec<&[u8]> {
    let mut out = Vec::new();
    for size in sizes.into_iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at(size.max(1).min(bytes.len()));
        out.push(piece);
        bytes = rest;
    }
    out
}

/// The first byte as a choice, and the rest.
fn choice(bytes: &[u8]) -> (u8, &[u8]) {
    bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest))
}

/// A member of a JSON document that holds several inputs.
fn member<'a>(value: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    value.get(name).unwrap_or(&serde_json::Value::Null)
}
