//! The HTTP connection manager.

use std::sync::Arc;

use varka_engine::ir::{
    ClientCertForwarding, Codec, Http2Keepalive, HttpConnectionManager, LocalReplyMapping, PathNormalization,
    RouteSource, SlashesAction, Str,
};
use varka_proto::envoy::accesslog::{
    self,
    access_log_filter::FilterSpecifier,
    comparison_filter::{self, Op},
};
use varka_proto::envoy::core;
use varka_proto::envoy::http_filter::router;
use varka_proto::envoy::network_filter::http_connection_manager::{
    self as pb,
    http_connection_manager::{
        CodecType, ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier, SetCurrentClientCertDetails,
        UpgradeConfig,
    },
    http_filter::ConfigType,
};

use super::refusal::{At, Decoded, open};
use super::value::{ads, bool_or, bool_value, duration, is_ads, member, status, strs, to_duration, u32_value};
use super::wire::{holds, pack, unpack};
use super::{Reader, access_log, http_filter, route, tracing};

const ROUTER: &str = "envoy.filters.http.router";

pub(super) fn encode(m: &HttpConnectionManager, reader: Reader) -> pb::HttpConnectionManager {
    let codec = match m.codec {
        Codec::Auto => CodecType::Auto,
        Codec::Http1 => CodecType::Http1,
        Codec::Http2 => CodecType::Http2,
    };
    let routes = match &m.routes {
        RouteSource::Rds(name) => {
            RouteSpecifier::Rds(pb::Rds { config_source: Some(ads()), route_config_name: name.to_string() })
        }
        RouteSource::Inline(routes) => RouteSpecifier::RouteConfig(route::encode(routes)),
    };
    let mut filters: Vec<_> = m.filters.iter().filter_map(|f| http_filter::encode(f, reader)).collect();
    filters.push(http_filter::filter(ROUTER, pack(&router::Router::default())));
    let (client_cert, client_cert_details) = encode_client_cert(m.client_cert);
    let upgrades = m.upgrades.iter().map(|u| UpgradeConfig { upgrade_type: u.to_string(), ..Default::default() });
    pb::HttpConnectionManager {
        codec_type: codec.into(),
        stat_prefix: m.stat_prefix.to_string(),
        route_specifier: Some(routes),
        http_filters: filters,
        server_name: m.server_name.to_string(),
        use_remote_address: Some(bool_value(m.use_remote_address)),
        xff_num_trusted_hops: m.xff_trusted_hops,
        skip_xff_append: m.skip_xff_append,
        forward_client_cert_details: client_cert.into(),
        set_current_client_cert_details: client_cert_details,
        generate_request_id: (!m.generate_request_id).then(|| bool_value(false)),
        preserve_external_request_id: m.preserve_external_request_id,
        normalize_path: Some(bool_value(m.path.normalize)),
        merge_slashes: m.path.merge_slashes,
        path_with_escaped_slashes_action: encode_slashes(m.path.escaped_slashes).into(),
        stream_idle_timeout: m.stream_idle_timeout.map(duration),
        request_timeout: m.request_timeout.map(duration),
        request_headers_timeout: m.request_headers_timeout.map(duration),
        common_http_protocol_options: encode_common(m),
        max_request_headers_kb: m.max_request_headers_kb.map(u32_value),
        http_protocol_options: m
            .accept_http_10
            .then(|| core::Http1ProtocolOptions { accept_http_10: true, ..Default::default() }),
        http2_protocol_options: m
            .max_concurrent_streams
            .map(|n| core::Http2ProtocolOptions { max_concurrent_streams: Some(u32_value(n)), ..Default::default() }),
        upgrade_configs: upgrades.collect(),
        strip_trailing_host_dot: m.strip_trailing_host_dot,
        local_reply_config: encode_local_replies(&m.local_replies),
        tracing: m.tracing.as_ref().map(tracing::encode),
        access_log: m.access_log.iter().map(access_log::encode).collect(),
        ..Default::default()
    }
}

pub(super) fn decode(at: &At<'_>, m: pb::HttpConnectionManager) -> Decoded<HttpConnectionManager> {
    // Harmless: how fast Envoy closes and flushes, and how it counts.
    open!(at, m => pb::HttpConnectionManager { codec_type, stat_prefix, http_filters, add_user_agent, tracing,
            common_http_protocol_options, http_protocol_options, http2_protocol_options, server_name,
            max_request_headers_kb, stream_idle_timeout, request_timeout, request_headers_timeout, access_log,
            use_remote_address, xff_num_trusted_hops, skip_xff_append, generate_request_id,
            preserve_external_request_id, forward_client_cert_details, set_current_client_cert_details,
            upgrade_configs, normalize_path, merge_slashes, path_with_escaped_slashes_action, local_reply_config,
            stream_error_on_invalid_http_message, strip_trailing_host_dot, add_proxy_protocol_connection_state,
            internal_address_config, route_specifier }
        refuse { http1_safe_max_connection_duration, http3_protocol_options, server_header_transformation,
            scheme_header_transformation, access_log_flush_interval, flush_access_log_on_new_request,
            access_log_options, original_ip_detection_extensions, early_header_mutation_extensions, via,
            always_set_request_id_in_response, forward_client_cert_matcher, proxy_100_continue,
            represent_ipv4_remote_address_as_ipv4_mapped_ipv6, request_id_extension, strip_matching_host_port,
            path_normalization_options, proxy_status_config, typed_header_validation_config,
            append_x_forwarded_port, append_local_overload, forward_proto_config, strip_port_mode,
            stream_flush_timeout }
        harmless { drain_timeout, drain_timeout_jitter, delayed_close_timeout });
    at.off("add_user_agent", add_user_agent)?;
    at.off("stream_error_on_invalid_http_message", stream_error_on_invalid_http_message)?;
    at.off("add_proxy_protocol_connection_state", add_proxy_protocol_connection_state)?;
    // No address is internal here, which is what an empty list says.
    at.unset("internal_address_config", &internal_address_config.unwrap_or_default())?;
    let common = at.maybe("common_http_protocol_options", common_http_protocol_options, decode_common)?;
    let common = common.unwrap_or_default();
    let http2 = at.maybe("http2_protocol_options", http2_protocol_options, decode_http2)?.unwrap_or_default();
    if http2.keepalive.is_some() {
        return Err(at.field("http2_protocol_options").not_implemented("connection_keepalive towards clients"));
    }
    let max_concurrent_streams = http2.streams;
    Ok(HttpConnectionManager {
        stat_prefix: stat_prefix.into(),
        codec: decode_codec(&at.field("codec_type"), codec_type)?,
        routes: decode_routes(at, at.need("route_specifier", route_specifier)?)?,
        filters: decode_filters(at, http_filters)?,
        server_name: server_name.into(),
        use_remote_address: bool_or(use_remote_address, false),
        xff_trusted_hops: xff_num_trusted_hops,
        skip_xff_append,
        client_cert: decode_client_cert(at, forward_client_cert_details, set_current_client_cert_details)?,
        generate_request_id: bool_or(generate_request_id, true),
        preserve_external_request_id,
        path: PathNormalization {
            normalize: bool_or(normalize_path, false),
            merge_slashes,
            escaped_slashes: decode_slashes(at, path_with_escaped_slashes_action)?,
        },
        stream_idle_timeout: at.maybe("stream_idle_timeout", stream_idle_timeout, to_duration)?,
        request_timeout: at.maybe("request_timeout", request_timeout, to_duration)?,
        request_headers_timeout: at.maybe("request_headers_timeout", request_headers_timeout, to_duration)?,
        idle_timeout: common.idle_timeout,
        max_connection_duration: common.max_connection_duration,
        max_request_headers_kb: max_request_headers_kb.map(|v| v.value),
        max_headers: common.max_headers,
        accept_http_10: at.maybe("http_protocol_options", http_protocol_options, decode_http1)?.unwrap_or_default(),
        max_concurrent_streams,
        upgrades: at.each("upgrade_configs", upgrade_configs, decode_upgrade)?,
        strip_trailing_host_dot,
        local_replies: at.maybe("local_reply_config", local_reply_config, decode_local_replies)?.unwrap_or_default(),
        tracing: at.maybe("tracing", tracing, super::tracing::decode)?,
        access_log: at.each("access_log", access_log, access_log::decode)?,
    })
}

fn decode_codec(at: &At<'_>, codec: i32) -> Decoded<Codec> {
    match member(at, codec)? {
        CodecType::Auto => Ok(Codec::Auto),
        CodecType::Http1 => Ok(Codec::Http1),
        CodecType::Http2 => Ok(Codec::Http2),
        CodecType::Http3 => Err(at.not_implemented("HTTP3")),
    }
}

fn decode_routes(at: &At<'_>, routes: RouteSpecifier) -> Decoded<RouteSource> {
    match routes {
        RouteSpecifier::Rds(rds) => {
            let at = &at.field("rds");
            let pb::Rds { config_source, route_config_name } = rds;
            is_ads(at, config_source)?;
            Ok(RouteSource::Rds(route_config_name.into()))
        }
        RouteSpecifier::RouteConfig(routes) => {
            Ok(RouteSource::Inline(Arc::new(route::decode(&at.field("route_config"), routes)?)))
        }
        RouteSpecifier::ScopedRoutes(_) => Err(at.not_implemented("scoped_routes")),
    }
}

/// All filters but the last, which must be the router.
fn decode_filters(at: &At<'_>, mut filters: Vec<pb::HttpFilter>) -> Decoded<Vec<varka_engine::ir::HttpFilter>> {
    let last = at.need("http_filters", filters.pop())?;
    let index = filters.len();
    let filters = at.each("http_filters", filters, http_filter::decode)?;
    let at = &at.item("http_filters", index);
    open!(at, last => pb::HttpFilter { name, config_type } refuse { disabled } harmless { is_optional });
    match config_type {
        Some(ConfigType::TypedConfig(config)) if holds::<router::Router>(&config) => {
            let at = &at.field("typed_config");
            // Envoy's own statistics, spans of the router's own, and headers that are never believed here.
            open!(at, unpack(at, &config)? => router::Router { reject_connect_request_early_data }
                refuse { upstream_log, upstream_log_options, suppress_envoy_headers, strict_check_headers,
                    respect_expected_rq_timeout, upstream_http_filters }
                harmless { dynamic_stats, start_child_span, suppress_grpc_request_failure_code_stats });
            at.off("reject_connect_request_early_data", reject_connect_request_early_data)?;
            Ok(filters)
        }
        _ => Err(at.not_implemented(format!("{name} as last filter"))),
    }
}

// --- client certificates

fn encode_client_cert(c: ClientCertForwarding) -> (ForwardClientCertDetails, Option<SetCurrentClientCertDetails>) {
    let ours = || {
        Some(SetCurrentClientCertDetails {
            subject: Some(bool_value(true)),
            dns: true,
            uri: true,
            ..Default::default()
        })
    };
    match c {
        ClientCertForwarding::Sanitize => (ForwardClientCertDetails::Sanitize, None),
        ClientCertForwarding::ForwardOnly => (ForwardClientCertDetails::ForwardOnly, None),
        ClientCertForwarding::AppendForward => (ForwardClientCertDetails::AppendForward, ours()),
        ClientCertForwarding::SanitizeSet => (ForwardClientCertDetails::SanitizeSet, ours()),
        ClientCertForwarding::AlwaysForward => (ForwardClientCertDetails::AlwaysForwardOnly, None),
    }
}

fn decode_client_cert(
    at: &At<'_>,
    forward: i32,
    set: Option<SetCurrentClientCertDetails>,
) -> Decoded<ClientCertForwarding> {
    let forward = match member(&at.field("forward_client_cert_details"), forward)? {
        ForwardClientCertDetails::Sanitize => return Ok(ClientCertForwarding::Sanitize),
        ForwardClientCertDetails::ForwardOnly => return Ok(ClientCertForwarding::ForwardOnly),
        ForwardClientCertDetails::AlwaysForwardOnly => return Ok(ClientCertForwarding::AlwaysForward),
        ForwardClientCertDetails::AppendForward => ClientCertForwarding::AppendForward,
        ForwardClientCertDetails::SanitizeSet => ClientCertForwarding::SanitizeSet,
    };
    let at = &at.field("set_current_client_cert_details");
    open!(at, set.unwrap_or_default() => SetCurrentClientCertDetails { subject, dns, uri }
        refuse { cert, chain, issuer, format });
    if bool_or(subject, false) && dns && uri {
        Ok(forward)
    } else {
        Err(at.not_implemented("a choice other than subject, dns and uri"))
    }
}

// --- paths

fn encode_slashes(action: SlashesAction) -> PathWithEscapedSlashesAction {
    match action {
        SlashesAction::Keep => PathWithEscapedSlashesAction::KeepUnchanged,
        SlashesAction::Reject => PathWithEscapedSlashesAction::RejectRequest,
        SlashesAction::UnescapeAndRedirect => PathWithEscapedSlashesAction::UnescapeAndRedirect,
        SlashesAction::UnescapeAndForward => PathWithEscapedSlashesAction::UnescapeAndForward,
    }
}

fn decode_slashes(at: &At<'_>, action: i32) -> Decoded<SlashesAction> {
    Ok(match member(&at.field("path_with_escaped_slashes_action"), action)? {
        PathWithEscapedSlashesAction::ImplementationSpecificDefault | PathWithEscapedSlashesAction::KeepUnchanged => {
            SlashesAction::Keep
        }
        PathWithEscapedSlashesAction::RejectRequest => SlashesAction::Reject,
        PathWithEscapedSlashesAction::UnescapeAndRedirect => SlashesAction::UnescapeAndRedirect,
        PathWithEscapedSlashesAction::UnescapeAndForward => SlashesAction::UnescapeAndForward,
    })
}

// --- protocol options

fn encode_common(m: &HttpConnectionManager) -> Option<core::HttpProtocolOptions> {
    let options = core::HttpProtocolOptions {
        idle_timeout: m.idle_timeout.map(duration),
        max_connection_duration: m.max_connection_duration.map(duration),
        max_headers_count: m.max_headers.map(u32_value),
        ..Default::default()
    };
    Some(options).filter(|o| *o != core::HttpProtocolOptions::default())
}

#[derive(Default)]
struct Common {
    idle_timeout: Option<std::time::Duration>,
    max_connection_duration: Option<std::time::Duration>,
    max_headers: Option<u32>,
}

fn decode_common(at: &At<'_>, o: core::HttpProtocolOptions) -> Decoded<Common> {
    open!(at, o => core::HttpProtocolOptions { idle_timeout, max_connection_duration, max_headers_count }
        refuse { max_connection_duration_jitter, max_response_headers_kb, max_stream_duration,
            headers_with_underscores_action, max_requests_per_connection });
    Ok(Common {
        idle_timeout: at.maybe("idle_timeout", idle_timeout, to_duration)?,
        max_connection_duration: at.maybe("max_connection_duration", max_connection_duration, to_duration)?,
        max_headers: max_headers_count.map(|v| v.value),
    })
}

/// Whether HTTP/1.0 is answered.
fn decode_http1(at: &At<'_>, o: core::Http1ProtocolOptions) -> Decoded<bool> {
    // Absolute URLs are always understood; which parser Envoy takes is its own affair.
    open!(at, o => core::Http1ProtocolOptions { allow_absolute_url, accept_http_10,
            override_stream_error_on_invalid_http_message }
        refuse { default_host_for_http_10, header_key_format, enable_trailers, allow_chunked_length,
            send_fully_qualified_url, allow_custom_methods, ignore_http_11_upgrade }
        harmless { use_balsa_parser });
    if !bool_or(allow_absolute_url, true) {
        return Err(at.not_implemented("allow_absolute_url: false"));
    }
    at.off("override_stream_error_on_invalid_http_message", override_stream_error_on_invalid_http_message)?;
    Ok(accept_http_10)
}

/// What is said of HTTP/2.
#[derive(Default)]
pub(super) struct Http2 {
    pub(super) streams: Option<u32>,
    pub(super) keepalive: Option<Http2Keepalive>,
}

/// Most streams of a connection.
pub(super) fn decode_http2(at: &At<'_>, o: core::Http2ProtocolOptions) -> Decoded<Http2> {
    // Window and table sizes and the codec trade memory for speed; the limits on floods are fixed here; extended
    // CONNECT is let through where an upgrade is.
    open!(at, o => core::Http2ProtocolOptions { max_concurrent_streams, override_stream_error_on_invalid_http_message,
            connection_keepalive }
        refuse { allow_metadata, custom_settings_parameters, max_metadata_size,
            max_header_field_size_kb, disallow_obs_text, stream_error_on_invalid_http_messaging }
        harmless { hpack_table_size, initial_stream_window_size, initial_connection_window_size, allow_connect,
            max_outbound_frames, max_outbound_control_frames, max_consecutive_inbound_frames_with_empty_payload,
            max_inbound_priority_frames_per_stream, max_inbound_window_update_frames_per_data_frame_sent,
            use_oghttp2_codec, enable_huffman_encoding, stream_reset_burst, stream_reset_rate });
    at.off("override_stream_error_on_invalid_http_message", override_stream_error_on_invalid_http_message)?;
    Ok(Http2 {
        streams: max_concurrent_streams.map(|v| v.value),
        keepalive: at.maybe("connection_keepalive", connection_keepalive, decode_keepalive)?.flatten(),
    })
}

/// Without an interval nothing is sent.
fn decode_keepalive(at: &At<'_>, k: core::KeepaliveSettings) -> Decoded<Option<Http2Keepalive>> {
    // Envoy adds up to 15 percent to an interval unless told otherwise; so do we, and no other share.
    open!(at, k => core::KeepaliveSettings { interval, timeout } refuse { interval_jitter, connection_idle_interval });
    let timeout = to_duration(&at.field("timeout"), at.need("timeout", timeout)?)?;
    Ok(at.maybe("interval", interval, to_duration)?.map(|interval| Http2Keepalive { interval, timeout }))
}

fn decode_upgrade(at: &At<'_>, u: UpgradeConfig) -> Decoded<Str> {
    open!(at, u => UpgradeConfig { upgrade_type, enabled } refuse { filters });
    if !bool_or(enabled, true) {
        return Err(at.not_implemented("enabled: false"));
    }
    Ok(upgrade_type.into())
}

// --- local replies

/// Envoy wants a name for what the runtime could override.
const STATUS_KEY: &str = "local_reply.status";

fn encode_local_replies(replies: &[LocalReplyMapping]) -> Option<pb::LocalReplyConfig> {
    let mappers = replies.iter().map(|r| pb::ResponseMapper {
        filter: Some(encode_reply_filter(r)),
        status_code: Some(u32_value(r.new_status.into())),
        ..Default::default()
    });
    (!replies.is_empty()).then(|| pb::LocalReplyConfig { mappers: mappers.collect(), body_format: None })
}

fn encode_reply_filter(r: &LocalReplyMapping) -> accesslog::AccessLogFilter {
    let by_status = |op: Op, value: u16| {
        let value = core::RuntimeUInt32 { default_value: value.into(), runtime_key: STATUS_KEY.to_owned() };
        let comparison = accesslog::ComparisonFilter { op: op.into(), value: Some(value) };
        FilterSpecifier::StatusCodeFilter(accesslog::StatusCodeFilter { comparison: Some(comparison) })
    };
    let by_flags = || {
        let flags = super::value::strings(&r.flags);
        FilterSpecifier::ResponseFlagFilter(accesslog::ResponseFlagFilter { flags })
    };
    let filter = |specifier| accesslog::AccessLogFilter { filter_specifier: Some(specifier) };
    match (r.flags.is_empty(), r.status) {
        // Envoy asks for a filter; any status is at least 0.
        (true, None) => filter(by_status(Op::Ge, 0)),
        (true, Some(status)) => filter(by_status(Op::Eq, status)),
        (false, None) => filter(by_flags()),
        (false, Some(status)) => filter(FilterSpecifier::AndFilter(accesslog::AndFilter {
            filters: vec![filter(by_flags()), filter(by_status(Op::Eq, status))],
        })),
    }
}

fn decode_local_replies(at: &At<'_>, config: pb::LocalReplyConfig) -> Decoded<Vec<LocalReplyMapping>> {
    open!(at, config => pb::LocalReplyConfig { mappers } refuse { body_format });
    at.each("mappers", mappers, |at, mapper| {
        open!(at, mapper => pb::ResponseMapper { filter, status_code }
            refuse { body, body_format_override, headers_to_add });
        let new_status = status(&at.field("status_code"), at.need("status_code", status_code)?.value)?;
        let mut reply = LocalReplyMapping { flags: Vec::new(), status: None, new_status };
        decode_reply_filter(&at.field("filter"), at.need("filter", filter)?, &mut reply)?;
        Ok(reply)
    })
}

fn decode_reply_filter(at: &At<'_>, filter: accesslog::AccessLogFilter, reply: &mut LocalReplyMapping) -> Decoded<()> {
    match at.need("filter_specifier", filter.filter_specifier)? {
        FilterSpecifier::ResponseFlagFilter(f) if reply.flags.is_empty() && !f.flags.is_empty() => {
            reply.flags = strs(f.flags);
            Ok(())
        }
        FilterSpecifier::StatusCodeFilter(f) if reply.status.is_none() => {
            let at = &at.field("status_code_filter");
            let accesslog::ComparisonFilter { op, value } = at.need("comparison", f.comparison)?;
            let value = at.need("value", value)?.default_value;
            match (member::<comparison_filter::Op>(&at.field("op"), op)?, value) {
                (Op::Ge, 0) => Ok(()),
                (Op::Eq, value) => {
                    reply.status = Some(status(at, value)?);
                    Ok(())
                }
                _ => Err(at.not_implemented("a comparison other than EQ")),
            }
        }
        FilterSpecifier::AndFilter(f) => {
            for (i, filter) in f.filters.into_iter().enumerate() {
                decode_reply_filter(&at.item("and_filter.filters", i), filter, reply)?;
            }
            Ok(())
        }
        _ => Err(at.not_implemented("a filter other than one response_flag_filter and one status_code_filter")),
    }
}
