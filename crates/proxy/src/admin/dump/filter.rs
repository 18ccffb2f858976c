//! HTTP filters and policies.

use serde_json::json;
use varka_engine::ir::{
    AlpnOverride, Cors, Fault, HttpFilter, MetricOverride, PathMatch, PeerMetadata, Permission, PolicyAction,
    Principal, Rbac, RbacPolicy, Stats, Str, StringMatch,
};

use super::matching::{cidr, header, string, uri_template};
use super::message::{Message, duration, extension, millionths};
use super::security::{ext_authz, jwt};

/// The filters in order, the router last.
pub(super) fn http_filters(filters: &[HttpFilter]) -> Vec<Message> {
    let router =
        extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", Message::new());
    filters.iter().map(http_filter).chain([router]).collect()
}

fn http_filter(f: &HttpFilter) -> Message {
    let plain = |name: &str, kind: &str| extension(name, kind, Message::new());
    match f {
        HttpFilter::Rbac(policy) => {
            extension("envoy.filters.http.rbac", "envoy.extensions.filters.http.rbac.v3.RBAC", rbac(policy))
        }
        HttpFilter::ExtAuthz(authz) => extension(
            "envoy.filters.http.ext_authz",
            "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            ext_authz(authz),
        ),
        HttpFilter::Jwt(tokens) => extension(
            "envoy.filters.http.jwt_authn",
            "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            jwt(tokens),
        ),
        HttpFilter::Fault => plain("envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault"),
        HttpFilter::Cors => plain("envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors"),
        HttpFilter::Alpn(alpn) => {
            extension("istio.alpn", "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig", alpn_override(alpn))
        }
        HttpFilter::GrpcStats => extension(
            "envoy.filters.http.grpc_stats",
            "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
            Message::new().flag("emit_filter_state", true),
        ),
        HttpFilter::PeerMetadata(p) => {
            extension("envoy.filters.http.peer_metadata", "io.istio.http.peer_metadata.Config", peer_metadata(*p))
        }
        HttpFilter::Stats(s) => extension("istio.stats", "stats.PluginConfig", stats(s)),
        HttpFilter::DynamicForwardProxy => plain(
            "envoy.filters.http.dynamic_forward_proxy",
            "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig",
        ),
    }
}

fn peer_metadata(p: PeerMetadata) -> Message {
    let headers = || json!({"istio_headers": {}});
    let mut out = Message::new();
    for (on, side) in [(p.downstream, "downstream"), (p.upstream, "upstream")] {
        if on {
            out = out
                .set(&format!("{side}_discovery"), json!([headers(), {"workload_discovery": {}}]))
                .set(&format!("{side}_propagation"), json!([headers()]));
        }
    }
    out
}

/// Istio's metrics, as they are changed.
pub(super) fn stats(s: &Stats) -> Message {
    let metric = |m: &MetricOverride| {
        let dimensions: serde_json::Map<_, _> =
            m.dimensions.iter().map(|(name, value)| (name.to_string(), json!(&**value))).collect();
        let message = Message::new().text("name", &m.name).texts("tags_to_remove", &m.tags_to_remove);
        let message = if dimensions.is_empty() { message } else { message.set("dimensions", dimensions.into()) };
        message.flag("drop", m.drop)
    };
    Message::new()
        .flag("disable_host_header_fallback", s.disable_host_header_fallback)
        .duration("tcp_reporting_duration", s.tcp_reporting_interval)
        .list("metrics", s.metrics.iter().map(metric))
}

fn alpn_override(alpn: &AlpnOverride) -> Message {
    let one = |protocol: &str, names: &[Str]| {
        Message::new().text("upstream_protocol", protocol).texts("alpn_override", names)
    };
    Message::new().list("alpn_override", [one("", &alpn.http11), one("HTTP2", &alpn.http2)])
}

pub(super) fn rbac(r: &Rbac) -> Message {
    let action = match r.action {
        PolicyAction::Allow => "",
        PolicyAction::Deny => "DENY",
        PolicyAction::Log => "LOG",
    };
    let policies = r.policies.iter().fold(Message::new(), |all, p| all.message(&p.name, policy(p)));
    let rules = Message::new().text("action", action).set("policies", policies.value());
    if r.shadow {
        Message::new().message("shadow_rules", rules).text("shadow_rules_stat_prefix", &r.stat_prefix)
    } else {
        Message::new().message("rules", rules)
    }
}

fn policy(p: &RbacPolicy) -> Message {
    Message::new()
        .list("permissions", p.permissions.iter().map(permission))
        .list("principals", p.principals.iter().map(principal))
}

fn permission(p: &Permission) -> Message {
    let rules = |all: &[Permission]| Message::new().list("rules", all.iter().map(permission));
    let m = Message::new();
    match p {
        Permission::Any => m.always("any", true.into()),
        Permission::And(all) => m.message("and_rules", rules(all)),
        Permission::Or(any) => m.message("or_rules", rules(any)),
        Permission::Not(not) => m.message("not_rule", permission(not)),
        Permission::Header(h) => m.message("header", header(h)),
        Permission::Path(path) => m.message("url_path", Message::new().message("path", string(path))),
        Permission::Template(PathMatch::Template(template)) => m.message("uri_template", uri_template(template)),
        Permission::Template(other) => m.message("uri_template", super::matching::path(other)),
        Permission::DestinationIp(net) => m.message("destination_ip", cidr(net)),
        Permission::DestinationPort(port) => m.always("destination_port", (*port).into()),
        Permission::ServerName(name) => m.message("requested_server_name", string(name)),
        Permission::Metadata { filter, path, value } => m.message("metadata", metadata(filter, path, value)),
    }
}

fn principal(p: &Principal) -> Message {
    let ids = |all: &[Principal]| Message::new().list("ids", all.iter().map(principal));
    let m = Message::new();
    match p {
        Principal::Any => m.always("any", true.into()),
        Principal::And(all) => m.message("and_ids", ids(all)),
        Principal::Or(any) => m.message("or_ids", ids(any)),
        Principal::Not(not) => m.message("not_id", principal(not)),
        Principal::Authenticated(name) => {
            m.message("authenticated", Message::new().optional("principal_name", name.as_ref().map(string)))
        }
        Principal::DirectRemoteIp(net) => m.message("direct_remote_ip", cidr(net)),
        Principal::RemoteIp(net) => m.message("remote_ip", cidr(net)),
        Principal::Header(h) => m.message("header", header(h)),
        Principal::Metadata { filter, path, value } => m.message("metadata", metadata(filter, path, value)),
    }
}

/// A string, or a list that holds it.
pub(super) fn metadata(filter: &str, path: &[Str], value: &StringMatch) -> Message {
    let value = string(value).value();
    let either = json!({"or_match": {"value_matchers": [
        {"string_match": value}, {"list_match": {"one_of": {"string_match": value}}}
    ]}});
    Message::new()
        .text("filter", filter)
        .list("path", path.iter().map(|key| Message::new().text("key", key)))
        .set("value", either)
}

/// `HTTPFault` of a route.
pub(super) fn fault(f: &Fault) -> Message {
    let delay = f.delay.map(|d| {
        Message::new().text("fixed_delay", &duration(d.duration)).message("percentage", millionths(d.parts_per_million))
    });
    let abort = f.abort.map(|a| {
        let status = match a.grpc_status {
            Some(code) => Message::new().always("grpc_status", code.into()),
            None => Message::new().always("http_status", a.status.into()),
        };
        status.message("percentage", millionths(a.parts_per_million))
    });
    Message::typed("envoy.extensions.filters.http.fault.v3.HTTPFault").optional("delay", delay).optional("abort", abort)
}

/// `CorsPolicy` of a route.
pub(super) fn cors(c: &Cors) -> Message {
    Message::typed("envoy.extensions.filters.http.cors.v3.CorsPolicy")
        .list("allow_origin_string_match", c.origins.iter().map(string))
        .text("allow_methods", &c.methods)
        .text("allow_headers", &c.headers)
        .text("expose_headers", &c.expose_headers)
        .text("max_age", &c.max_age)
        .always("allow_credentials", c.credentials.into())
        .always("forward_not_matching_preflights", c.forward_unmatched_preflights.into())
}
