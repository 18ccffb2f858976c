//! Spans of a connection manager: sampling, tags, and where they are sent.

use varka_engine::ir::{CustomTag, CustomTagValue, HttpCollector, OtlpExporter, Str, Tracing, TracingProvider};
use varka_proto::envoy::core::grpc_service::{EnvoyGrpc, TargetSpecifier};
use varka_proto::envoy::core::header_value_option::HeaderAppendAction;
use varka_proto::envoy::core::http_uri::HttpUpstreamType;
use varka_proto::envoy::custom_tags::{self as tags, custom_tag};
use varka_proto::envoy::network_filter::http_connection_manager::http_connection_manager::Tracing as PbTracing;
use varka_proto::envoy::{core, trace};
use varka_proto::protobuf::Any;

use super::refusal::{At, Decoded, open};
use super::value::{bool_value, duration, member, percent, percent_to_millionths, to_duration, u32_value};
use super::wire::{holds, pack, unpack};

const OPEN_TELEMETRY: &str = "envoy.tracers.opentelemetry";
const ZIPKIN: &str = "envoy.tracers.zipkin";
/// What is sampled where a share is not given.
const ALL: u32 = 1_000_000;

pub(super) fn encode(t: &Tracing) -> PbTracing {
    let (name, config) = encode_provider(&t.provider);
    PbTracing {
        client_sampling: Some(percent(t.client_sampling)),
        random_sampling: Some(percent(t.random_sampling)),
        overall_sampling: Some(percent(t.overall_sampling)),
        max_path_tag_length: t.max_path_tag_length.map(u32_value),
        custom_tags: t.custom_tags.iter().map(encode_tag).collect(),
        provider: Some(trace::tracing::Http {
            name: name.to_owned(),
            config_type: Some(trace::tracing::http::ConfigType::TypedConfig(config)),
        }),
        ..Default::default()
    }
}

pub(super) fn decode(at: &At<'_>, t: PbTracing) -> Decoded<Tracing> {
    open!(at, t => PbTracing { client_sampling, random_sampling, overall_sampling, provider, spawn_upstream_span,
            max_path_tag_length, custom_tags }
        refuse { verbose, operation, upstream_operation, no_context_propagation });
    at.off("spawn_upstream_span", spawn_upstream_span)?;
    let share = |name, value: Option<_>| match value {
        Some(p) => percent_to_millionths(&at.field(name), p),
        None => Ok(ALL),
    };
    Ok(Tracing {
        client_sampling: share("client_sampling", client_sampling)?,
        random_sampling: share("random_sampling", random_sampling)?,
        overall_sampling: share("overall_sampling", overall_sampling)?,
        provider: decode_provider(&at.field("provider"), at.need("provider", provider)?)?,
        custom_tags: at.each("custom_tags", custom_tags, decode_tag)?,
        max_path_tag_length: max_path_tag_length.map(|v| v.value),
    })
}

// --- providers

fn encode_provider(provider: &TracingProvider) -> (&'static str, Any) {
    match provider {
        TracingProvider::OpenTelemetry { service_name, exporter } => {
            let mut config =
                trace::OpenTelemetryConfig { service_name: service_name.to_string(), ..Default::default() };
            match exporter {
                OtlpExporter::Grpc { cluster, authority, timeout, initial_metadata } => {
                    let target = EnvoyGrpc {
                        cluster_name: cluster.to_string(),
                        authority: authority.to_string(),
                        ..Default::default()
                    };
                    config.grpc_service = Some(core::GrpcService {
                        target_specifier: Some(TargetSpecifier::EnvoyGrpc(target)),
                        timeout: timeout.map(duration),
                        initial_metadata: initial_metadata.iter().map(encode_header).collect(),
                        ..Default::default()
                    });
                }
                OtlpExporter::Http(collector) => config.http_service = Some(encode_collector(collector)),
            }
            (OPEN_TELEMETRY, pack(&config))
        }
        TracingProvider::Zipkin { cluster, hostname, path, trace_id_128bit, w3c } => {
            let config = trace::ZipkinConfig {
                collector_cluster: cluster.to_string(),
                collector_endpoint: path.to_string(),
                collector_hostname: hostname.to_string(),
                trace_id_128bit: *trace_id_128bit,
                shared_span_context: Some(bool_value(false)),
                collector_endpoint_version: trace::zipkin_config::CollectorEndpointVersion::HttpJson.into(),
                trace_context_option: if *w3c {
                    trace::zipkin_config::TraceContextOption::UseB3WithW3cPropagation.into()
                } else {
                    trace::zipkin_config::TraceContextOption::UseB3.into()
                },
                ..Default::default()
            };
            (ZIPKIN, pack(&config))
        }
    }
}

fn decode_provider(at: &At<'_>, provider: trace::tracing::Http) -> Decoded<TracingProvider> {
    let trace::tracing::Http { name, config_type } = provider;
    let trace::tracing::http::ConfigType::TypedConfig(config) = at.need("typed_config", config_type)?;
    let at = &at.field("typed_config");
    if holds::<trace::OpenTelemetryConfig>(&config) {
        decode_otel(at, unpack(at, &config)?)
    } else if holds::<trace::ZipkinConfig>(&config) {
        decode_zipkin(at, unpack(at, &config)?)
    } else {
        Err(at.not_implemented(name))
    }
}

fn decode_otel(at: &At<'_>, config: trace::OpenTelemetryConfig) -> Decoded<TracingProvider> {
    // How many spans wait is bounded here anyway; what the SDK says of itself, and names of further attributes, change no span.
    open!(at, config => trace::OpenTelemetryConfig { grpc_service, http_service, service_name }
        refuse { exporter, resource_detectors, sampler }
        harmless { max_cache_size, set_telemetry_sdk_resource_attributes, set_service_name_resource_attribute,
            set_instrumentation_scope });
    let exporter = match (grpc_service, http_service) {
        (None, Some(http)) => OtlpExporter::Http(decode_collector(&at.field("http_service"), http)?),
        (grpc, None) => decode_grpc(&at.field("grpc_service"), at.need("grpc_service", grpc)?)?,
        (Some(_), Some(_)) => return Err(at.not_implemented("http_service beside grpc_service")),
    };
    Ok(TracingProvider::OpenTelemetry { service_name: service_name.into(), exporter })
}

fn decode_grpc(at: &At<'_>, service: core::GrpcService) -> Decoded<OtlpExporter> {
    open!(at, service => core::GrpcService { target_specifier, timeout, initial_metadata } refuse { retry_policy });
    let Some(TargetSpecifier::EnvoyGrpc(grpc)) = target_specifier else {
        return Err(at.not_implemented("a target other than envoy_grpc"));
    };
    // Limits and headers of Envoy's own gRPC client.
    open!(at, grpc => EnvoyGrpc { cluster_name, authority } refuse { retry_policy }
        harmless { max_receive_message_length, skip_envoy_headers });
    Ok(OtlpExporter::Grpc {
        cluster: cluster_name.into(),
        authority: authority.into(),
        timeout: at.maybe("timeout", timeout, to_duration)?,
        initial_metadata: at.each("initial_metadata", initial_metadata, decode_header)?,
    })
}

fn decode_zipkin(at: &At<'_>, config: trace::ZipkinConfig) -> Decoded<TracingProvider> {
    use trace::zipkin_config::{CollectorEndpointVersion, TraceContextOption};

    open!(at, config => trace::ZipkinConfig { collector_cluster, collector_endpoint, trace_id_128bit,
            shared_span_context, collector_endpoint_version, collector_hostname, trace_context_option }
        refuse { split_spans_for_request, collector_service, timestamp_trace_ids });
    if shared_span_context.is_none_or(|s| s.value) {
        return Err(at.not_implemented("shared_span_context"));
    }
    if member::<CollectorEndpointVersion>(&at.field("collector_endpoint_version"), collector_endpoint_version)?
        != CollectorEndpointVersion::HttpJson
    {
        return Err(at.not_implemented("a collector_endpoint_version other than HTTP_JSON"));
    }
    let option: TraceContextOption = member(&at.field("trace_context_option"), trace_context_option)?;
    Ok(TracingProvider::Zipkin {
        cluster: collector_cluster.into(),
        hostname: collector_hostname.into(),
        path: collector_endpoint.into(),
        trace_id_128bit,
        w3c: option == TraceContextOption::UseB3WithW3cPropagation,
    })
}

// --- collectors over HTTP

fn encode_collector(c: &HttpCollector) -> core::HttpService {
    let headers = c.headers.iter().map(|header| core::HeaderValueOption {
        header: Some(encode_header(header)),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..Default::default()
    });
    core::HttpService {
        http_uri: Some(core::HttpUri {
            uri: c.uri.to_string(),
            timeout: Some(duration(c.timeout)),
            http_upstream_type: Some(HttpUpstreamType::Cluster(c.cluster.to_string())),
        }),
        request_headers_to_add: headers.collect(),
        ..Default::default()
    }
}

fn decode_collector(at: &At<'_>, service: core::HttpService) -> Decoded<HttpCollector> {
    open!(at, service => core::HttpService { http_uri, request_headers_to_add } refuse { formatters });
    let headers = at.each("request_headers_to_add", request_headers_to_add, |at, option| {
        open!(at, option => core::HeaderValueOption { header, append_action, keep_empty_value } refuse { append });
        let action = member::<HeaderAppendAction>(&at.field("append_action"), append_action)?;
        if !matches!(action, HeaderAppendAction::OverwriteIfExistsOrAdd) || keep_empty_value {
            return Err(at.not_implemented("an append_action other than OVERWRITE_IF_EXISTS_OR_ADD"));
        }
        decode_header(&at.field("header"), at.need("header", header)?)
    })?;
    let at = &at.field("http_uri");
    let core::HttpUri { uri, timeout, http_upstream_type } = at.need("http_uri", http_uri)?;
    let HttpUpstreamType::Cluster(cluster) = at.need("cluster", http_upstream_type)?;
    let timeout = to_duration(&at.field("timeout"), at.need("timeout", timeout)?)?;
    Ok(HttpCollector { cluster: cluster.into(), uri: uri.into(), timeout, headers })
}

fn encode_header((key, value): &(Str, Str)) -> core::HeaderValue {
    core::HeaderValue { key: key.to_string(), value: value.to_string(), raw_value: Vec::new() }
}

fn decode_header(at: &At<'_>, header: core::HeaderValue) -> Decoded<(Str, Str)> {
    let core::HeaderValue { key, value, raw_value } = header;
    if !raw_value.is_empty() {
        return Err(at.not_implemented("raw_value"));
    }
    Ok((key.into(), value.into()))
}

// --- tags

fn encode_tag(tag: &CustomTag) -> tags::CustomTag {
    let kind = match &tag.value {
        CustomTagValue::Literal(value) => custom_tag::Type::Literal(custom_tag::Literal { value: value.to_string() }),
        CustomTagValue::Environment { name, default } => custom_tag::Type::Environment(custom_tag::Environment {
            name: name.to_string(),
            default_value: default.to_string(),
        }),
        CustomTagValue::Header { name, default } => custom_tag::Type::RequestHeader(custom_tag::Header {
            name: name.to_string(),
            default_value: default.to_string(),
        }),
    };
    tags::CustomTag { tag: tag.name.to_string(), r#type: Some(kind) }
}

fn decode_tag(at: &At<'_>, tag: tags::CustomTag) -> Decoded<CustomTag> {
    let tags::CustomTag { tag, r#type } = tag;
    let value = match at.need("type", r#type)? {
        custom_tag::Type::Literal(custom_tag::Literal { value }) => CustomTagValue::Literal(value.into()),
        custom_tag::Type::Environment(custom_tag::Environment { name, default_value }) => {
            CustomTagValue::Environment { name: name.into(), default: default_value.into() }
        }
        custom_tag::Type::RequestHeader(custom_tag::Header { name, default_value }) => {
            CustomTagValue::Header { name: name.into(), default: default_value.into() }
        }
        _ => return Err(at.not_implemented("a tag other than literal, environment and request_header")),
    };
    Ok(CustomTag { name: tag.into(), value })
}
