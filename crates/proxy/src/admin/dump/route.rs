//! Route configurations.

use std::time::Duration;

use serde_json::{Value, json};
use varka_engine::ir::{
    Action, DirectResponse, HashKey, HashPolicy, HeaderAppend, HeaderMutation, Mirror, Redirect, RetryOn, RetryPolicy,
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, WeightedRoute,
};

use super::http::runtime_fraction;
use super::message::Message;
use super::{filter, matching};

pub(super) fn table(c: &RouteConfiguration) -> Message {
    let message = Message::new()
        .text("name", &c.name)
        .list("virtual_hosts", c.virtual_hosts.iter().map(virtual_host))
        .flag("ignore_port_in_host_matching", c.ignore_port_in_host);
    let message = if c.on_demand {
        message.set("vhds", json!({"config_source": {"ads": {}, "resource_api_version": "V3"}}))
    } else {
        message
    };
    headers(message, &c.request_headers, &c.response_headers)
}

fn virtual_host(v: &VirtualHost) -> Message {
    let message = Message::new()
        .text("name", &v.name)
        .texts("domains", &v.domains)
        .list("routes", v.routes.iter().map(route))
        .text("require_tls", if v.require_tls { "ALL" } else { "" })
        .flag("include_request_attempt_count", v.include_attempt_count);
    headers(message, &v.request_headers, &v.response_headers)
}

fn headers(message: Message, request: &[HeaderMutation], response: &[HeaderMutation]) -> Message {
    let removed = |all: &[HeaderMutation]| -> Vec<String> {
        all.iter()
            .filter_map(|m| match m {
                HeaderMutation::Remove(name) => Some(name.to_string()),
                HeaderMutation::Append { .. } => None,
            })
            .collect()
    };
    message
        .list("request_headers_to_add", request.iter().filter_map(added))
        .texts("request_headers_to_remove", &removed(request))
        .list("response_headers_to_add", response.iter().filter_map(added))
        .texts("response_headers_to_remove", &removed(response))
}

fn added(m: &HeaderMutation) -> Option<Message> {
    let HeaderMutation::Append { name, value, action } = m else { return None };
    let header = Message::new().text("key", name.as_str()).text("value", &String::from_utf8_lossy(value.as_bytes()));
    let action = match action {
        HeaderAppend::Append => "",
        HeaderAppend::IfAbsent => "ADD_IF_ABSENT",
        HeaderAppend::Overwrite => "OVERWRITE_IF_EXISTS_OR_ADD",
    };
    Some(Message::new().message("header", header).text("append_action", action))
}

fn route(r: &Route) -> Message {
    let message = Message::new().text("name", &r.name).message("match", route_match(&r.matches));
    let message = match &r.action {
        Action::Forward(action) => message.message("route", forward(action)),
        Action::Redirect(action) => message.message("redirect", redirect(action)),
        Action::Direct(response) => message.message("direct_response", direct(response)),
    };
    let origin =
        r.origin.as_ref().map_or(Value::Null, |origin| json!({"filter_metadata": {"istio": {"config": origin}}}));
    let operation = r.operation.as_ref().map_or(Value::Null, |operation| json!({ "operation": operation }));
    let per_filter = Message::new()
        .optional("envoy.filters.http.fault", r.fault.as_ref().map(filter::fault))
        .optional("envoy.filters.http.cors", r.cors.as_ref().map(filter::cors))
        .optional(
            "envoy.filters.http.rbac",
            r.rbac.as_ref().map(|policy| {
                Message::typed("envoy.extensions.filters.http.rbac.v3.RBACPerRoute")
                    .message("rbac", filter::rbac(policy))
            }),
        )
        .optional(
            "envoy.filters.http.buffer",
            r.max_request_bytes.map(|bytes| {
                Message::typed("envoy.extensions.filters.http.buffer.v3.BufferPerRoute")
                    .set("buffer", json!({ "max_request_bytes": bytes }))
            }),
        );
    let message = message.set("metadata", origin).set("decorator", operation);
    headers(message, &r.request_headers, &r.response_headers).set("typed_per_filter_config", per_filter.value())
}

fn route_match(m: &RouteMatch) -> Message {
    let message = matching::path(&m.path);
    let message = if m.case_sensitive { message } else { message.always("case_sensitive", false.into()) };
    let message = message
        .list("headers", m.headers.iter().map(matching::header))
        .list("query_parameters", m.query.iter().map(matching::query))
        .list(
            "dynamic_metadata",
            m.metadata.iter().map(|w| super::filter::metadata(&w.filter, &w.path, &w.value).flag("invert", w.invert)),
        );
    if m.grpc { message.message("grpc", Message::new()) } else { message }
}

fn forward(a: &RouteAction) -> Message {
    let message = match a.clusters.as_slice() {
        [only] => Message::new().text("cluster", &only.cluster),
        several => {
            Message::new().message("weighted_clusters", Message::new().list("clusters", several.iter().map(weighted)))
        }
    };
    let message = message.text(
        "cluster_not_found_response_code",
        match a.cluster_not_found_status {
            404 => "NOT_FOUND",
            500 => "INTERNAL_SERVER_ERROR",
            _ => "",
        },
    );
    let rewrite = &a.rewrite;
    let regex = rewrite.regex.as_ref().map(|(pattern, substitution)| {
        Message::new().message("pattern", matching::regex(pattern)).always("substitution", (**substitution).into())
    });
    message
        .text("prefix_rewrite", rewrite.prefix.as_deref().unwrap_or_default())
        .optional("regex_rewrite", regex)
        .text("host_rewrite_literal", rewrite.authority.as_deref().unwrap_or_default())
        .flag("auto_host_rewrite", rewrite.auto_authority)
        .flag("append_x_forwarded_host", rewrite.append_x_forwarded_host)
        .duration("timeout", Some(a.timeout.unwrap_or(Duration::ZERO)))
        .duration("idle_timeout", a.idle_timeout)
        .duration("max_grpc_timeout", a.grpc_timeout_max)
        .optional("retry_policy", a.retry.as_ref().map(retry))
        .list("request_mirror_policies", a.mirrors.iter().map(mirror))
        .list("hash_policy", a.hash_policy.iter().map(hash))
        .list(
            "upgrade_configs",
            a.upgrades.iter().map(|u| Message::new().text("upgrade_type", &u.kind).always("enabled", u.enabled.into())),
        )
}

fn weighted(w: &WeightedRoute) -> Message {
    let message = Message::new().text("name", &w.cluster).always("weight", w.weight.into());
    headers(message, &w.request_headers, &w.response_headers)
        .text("host_rewrite_literal", w.host_rewrite.as_deref().unwrap_or_default())
}

fn mirror(m: &Mirror) -> Message {
    Message::new()
        .text("cluster", &m.cluster)
        .message("runtime_fraction", runtime_fraction(m.parts_per_million))
        .flag("disable_shadow_host_suffix_append", !m.shadow_host_suffix)
}

fn hash(h: &HashPolicy) -> Message {
    let message = match &h.key {
        HashKey::Header(name) => Message::new().set("header", json!({ "header_name": name })),
        HashKey::Cookie { name, path, ttl, attributes } => {
            let attributes =
                attributes.iter().map(|(name, value)| Message::new().text("name", name).text("value", value));
            let cookie = Message::new().text("name", name).duration("ttl", *ttl).text("path", path);
            Message::new().message("cookie", cookie.list("attributes", attributes))
        }
        HashKey::SourceIp => Message::new().set("connection_properties", json!({"source_ip": true})),
        HashKey::Query(name) => Message::new().set("query_parameter", json!({ "name": name })),
    };
    message.flag("terminal", h.terminal)
}

fn retry(p: &RetryPolicy) -> Message {
    let predicate = json!([{"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    }}]);
    let priority = json!({"name": "envoy.retry_priorities.previous_priorities", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
        "update_frequency": 2
    }});
    let back_off = p
        .back_off
        .map(|b| Message::new().duration("base_interval", Some(b.base)).duration("max_interval", Some(b.max)));
    Message::new()
        .text("retry_on", &retry_on(p.on))
        .always("num_retries", p.attempts.into())
        .duration("per_try_timeout", p.per_try_timeout)
        .set("retry_priority", if p.remote_localities { priority } else { Value::Null })
        .set("retry_host_predicate", if p.avoid_previous_hosts { predicate } else { Value::Null })
        .set(
            "host_selection_retry_max_attempts",
            match p.host_selection_attempts {
                0 => Value::Null,
                n => n.to_string().into(),
            },
        )
        .set("retriable_status_codes", p.status_codes.iter().map(|c| Value::from(*c)).collect::<Vec<_>>().into())
        .optional("retry_back_off", back_off)
}

fn retry_on(on: RetryOn) -> String {
    let all = [
        (on.server_error, "5xx"),
        (on.gateway_error, "gateway-error"),
        (on.reset, "reset"),
        (on.reset_before_request, "reset-before-request"),
        (on.connect_failure, "connect-failure"),
        (on.envoy_rate_limited, "envoy-ratelimited"),
        (on.retriable_4xx, "retriable-4xx"),
        (on.refused_stream, "refused-stream"),
        (on.unavailable, "unavailable"),
        (on.cancelled, "cancelled"),
        (on.deadline_exceeded, "deadline-exceeded"),
        (on.internal, "internal"),
        (on.resource_exhausted, "resource-exhausted"),
        (on.status_codes, "retriable-status-codes"),
    ];
    all.iter().filter(|(is_on, _)| *is_on).map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

fn redirect(r: &Redirect) -> Message {
    Message::new()
        .text("host_redirect", r.authority.as_deref().unwrap_or_default())
        .number("port_redirect", r.port.unwrap_or(0).into())
        .text("scheme_redirect", r.scheme.as_deref().unwrap_or_default())
        .text("path_redirect", r.path.as_deref().unwrap_or_default())
        .text("prefix_rewrite", r.prefix.as_deref().unwrap_or_default())
        .text(
            "response_code",
            match r.status {
                302 => "FOUND",
                303 => "SEE_OTHER",
                307 => "TEMPORARY_REDIRECT",
                308 => "PERMANENT_REDIRECT",
                _ => "",
            },
        )
        .flag("strip_query", r.strip_query)
}

fn direct(d: &DirectResponse) -> Message {
    let body = d.body.as_ref().map_or(Value::Null, |body| json!({"inline_string": String::from_utf8_lossy(body)}));
    Message::new().always("status", d.status.into()).set("body", body)
}
