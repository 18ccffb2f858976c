//! HTTP connection managers and access logs.

use serde_json::{Value, json};
use varka_engine::ir::{
    AccessLog, AccessLogFormat, AccessLogSink, ClientCertForwarding, Codec, HttpConnectionManager, LocalReplyMapping,
    RouteSource, SlashesAction,
};

use super::message::{Message, extension, millionths};
use super::{filter, route, spans};

pub(super) fn manager(m: &HttpConnectionManager) -> Message {
    let message = Message::new()
        .text(
            "codec_type",
            match m.codec {
                Codec::Auto => "",
                Codec::Http1 => "HTTP1",
                Codec::Http2 => "HTTP2",
            },
        )
        .text("stat_prefix", &m.stat_prefix);
    let message = match &m.routes {
        RouteSource::Rds(name) => message.set(
            "rds",
            json!({"config_source": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}, "route_config_name": name}),
        ),
        RouteSource::Inline(config) => message.message("route_config", route::table(config)),
    };
    let message = message
        .list("http_filters", filter::http_filters(&m.filters))
        .text("server_name", &m.server_name)
        .always("use_remote_address", m.use_remote_address.into())
        .number("xff_num_trusted_hops", m.xff_trusted_hops.into())
        .flag("skip_xff_append", m.skip_xff_append);
    let message = client_cert(m.client_cert, message)
        .always("generate_request_id", m.generate_request_id.into())
        .flag("preserve_external_request_id", m.preserve_external_request_id)
        .always("normalize_path", m.path.normalize.into())
        .flag("merge_slashes", m.path.merge_slashes)
        .text(
            "path_with_escaped_slashes_action",
            match m.path.escaped_slashes {
                SlashesAction::Keep => "KEEP_UNCHANGED",
                SlashesAction::Reject => "REJECT_REQUEST",
                SlashesAction::UnescapeAndRedirect => "UNESCAPE_AND_REDIRECT",
                SlashesAction::UnescapeAndForward => "UNESCAPE_AND_FORWARD",
            },
        );
    let config = limits(m, message)
        .list("upgrade_configs", m.upgrades.iter().map(|kind| Message::new().text("upgrade_type", kind)))
        .flag("strip_trailing_host_dot", m.strip_trailing_host_dot)
        .set("local_reply_config", Message::new().list("mappers", m.local_replies.iter().map(mapper)).value())
        .optional("tracing", m.tracing.as_ref().map(spans::message))
        .list("access_log", m.access_log.iter().map(access_log));
    extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        config,
    )
}

fn limits(m: &HttpConnectionManager, message: Message) -> Message {
    let common = Message::new()
        .duration("idle_timeout", m.idle_timeout)
        .duration("max_connection_duration", m.max_connection_duration)
        .number("max_headers_count", m.max_headers.unwrap_or(0).into());
    let http2 = m.max_concurrent_streams.map(|n| Message::new().number("max_concurrent_streams", n.into()));
    message
        .set("common_http_protocol_options", common.value())
        .set("http_protocol_options", Message::new().flag("accept_http_10", m.accept_http_10).value())
        .optional("http2_protocol_options", http2)
        .duration("stream_idle_timeout", m.stream_idle_timeout)
        .duration("request_timeout", m.request_timeout)
        .duration("request_headers_timeout", m.request_headers_timeout)
        .set("max_request_headers_kb", m.max_request_headers_kb.map_or(Value::Null, Value::from))
}

fn client_cert(how: ClientCertForwarding, message: Message) -> Message {
    let (name, sets) = match how {
        ClientCertForwarding::Sanitize => ("", false),
        ClientCertForwarding::ForwardOnly => ("FORWARD_ONLY", false),
        ClientCertForwarding::AppendForward => ("APPEND_FORWARD", true),
        ClientCertForwarding::SanitizeSet => ("SANITIZE_SET", true),
        ClientCertForwarding::AlwaysForward => ("ALWAYS_FORWARD_ONLY", false),
    };
    let message = message.text("forward_client_cert_details", name);
    if sets {
        message.set("set_current_client_cert_details", json!({"subject": true, "dns": true, "uri": true}))
    } else {
        message
    }
}

fn mapper(m: &LocalReplyMapping) -> Message {
    let flags = Message::new().texts("flags", &m.flags);
    let status = m.status.map(|status| json!({"comparison": {"value": {"default_value": status}}}));
    let filter = match (m.flags.is_empty(), status) {
        (false, None) => Message::new().message("response_flag_filter", flags),
        (true, Some(status)) => Message::new().always("status_code_filter", status),
        (false, Some(status)) => Message::new().set(
            "and_filter",
            json!({"filters": [{"response_flag_filter": flags.value()}, {"status_code_filter": status}]}),
        ),
        (true, None) => Message::new(),
    };
    Message::new().message("filter", filter).always("status_code", m.new_status.into())
}

/// A share of requests, in millionths, as headers and routes have it.
pub(super) fn runtime_fraction(value: u32) -> Message {
    Message::new().message("default_value", millionths(value))
}

pub(super) fn access_log(log: &AccessLog) -> Message {
    let path = match &log.sink {
        AccessLogSink::Stdout => "/dev/stdout",
        AccessLogSink::File(path) => path,
    };
    let format = match &log.format {
        AccessLogFormat::Text(text) => json!({"text_format_source": {"inline_string": text}}),
        AccessLogFormat::Json(fields) => {
            let fields: serde_json::Map<String, Value> =
                fields.iter().map(|(key, text)| (key.to_string(), Value::from(&**text))).collect();
            json!({ "json_format": fields })
        }
    };
    let config = Message::new().text("path", path).set("log_format", format);
    let not_found = log.only_not_found.then(|| json!({"response_flag_filter": {"flags": ["NR"]}}));
    let expression = log.filter.as_ref().map(|text| {
        json!({"extension_filter": {
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
                "expression": text,
            },
        }})
    });
    let filter = match (not_found, expression) {
        (Some(a), Some(b)) => json!({"and_filter": {"filters": [a, b]}}),
        (one, other) => one.or(other).unwrap_or(Value::Null),
    };
    extension("envoy.access_loggers.file", "envoy.extensions.access_loggers.file.v3.FileAccessLog", config)
        .set("filter", filter)
}
