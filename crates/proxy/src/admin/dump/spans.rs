//! Spans of a connection manager.

use serde_json::{Value, json};
use varka_engine::ir::{CustomTag, CustomTagValue, HttpCollector, OtlpExporter, Str, Tracing, TracingProvider};

use super::message::{Message, extension};

pub(super) fn message(t: &Tracing) -> Message {
    let percent = |millionths: u32| json!({ "value": f64::from(millionths) / 10_000.0 });
    Message::new()
        .set("client_sampling", percent(t.client_sampling))
        .set("random_sampling", percent(t.random_sampling))
        .set("overall_sampling", percent(t.overall_sampling))
        .number("max_path_tag_length", t.max_path_tag_length.unwrap_or_default().into())
        .list("custom_tags", t.custom_tags.iter().map(tag))
        .message("provider", provider(&t.provider))
}

fn provider(p: &TracingProvider) -> Message {
    match p {
        TracingProvider::OpenTelemetry { service_name, exporter } => {
            let config = Message::new().text("service_name", service_name);
            let config = match exporter {
                // Values of what is sent along may be credentials.
                OtlpExporter::Grpc { cluster, authority, timeout, initial_metadata } => {
                    let target = Message::new().text("cluster_name", cluster).text("authority", authority);
                    let service = Message::new().message("envoy_grpc", target).duration("timeout", *timeout);
                    config
                        .message("grpc_service", service.list("initial_metadata", initial_metadata.iter().map(hidden)))
                }
                OtlpExporter::Http(collector) => config.message("http_service", http(collector)),
            };
            extension("envoy.tracers.opentelemetry", "envoy.config.trace.v3.OpenTelemetryConfig", config)
        }
        TracingProvider::Zipkin { cluster, hostname, path, trace_id_128bit, w3c } => {
            let config = Message::new()
                .text("collector_cluster", cluster)
                .text("collector_endpoint", path)
                .text("collector_hostname", hostname)
                .flag("trace_id_128bit", *trace_id_128bit)
                .set("shared_span_context", Value::Bool(false))
                .text("collector_endpoint_version", "HTTP_JSON")
                .text("trace_context_option", if *w3c { "USE_B3_WITH_W3C_PROPAGATION" } else { "" });
            extension("envoy.tracers.zipkin", "envoy.config.trace.v3.ZipkinConfig", config)
        }
    }
}

fn http(c: &HttpCollector) -> Message {
    let uri = Message::new().text("uri", &c.uri).text("cluster", &c.cluster).duration("timeout", Some(c.timeout));
    let headers = c.headers.iter().map(|h| Message::new().message("header", hidden(h)));
    Message::new().message("http_uri", uri).list("request_headers_to_add", headers)
}

fn hidden((key, _): &(Str, Str)) -> Message {
    Message::new().text("key", key).text("value", "[redacted]")
}

fn tag(t: &CustomTag) -> Message {
    let named = |name: &str, default: &str| Message::new().text("name", name).text("default_value", default);
    let message = Message::new().text("tag", &t.name);
    match &t.value {
        CustomTagValue::Literal(value) => message.message("literal", Message::new().text("value", value)),
        CustomTagValue::Environment { name, default } => message.message("environment", named(name, default)),
        CustomTagValue::Header { name, default } => message.message("request_header", named(name, default)),
    }
}
