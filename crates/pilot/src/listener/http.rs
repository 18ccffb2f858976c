//! HTTP connection managers, alike on all listeners but for what the direction decides.

use std::time::Duration;

use varka_api::istio::{OutboundTrafficPolicyMode, PathNormalizationType};
use varka_engine::ir::{
    AlpnOverride, ClientCertForwarding, Codec, HttpConnectionManager, HttpFilter, PathNormalization, PeerMetadata,
    RouteSource, SlashesAction,
};

use super::strs;
use crate::context::{Ctx, s};
use crate::policy::{Side, access_logs, http_filters, metrics, tracing};

/// Which listener a connection manager is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Outbound,
    Inbound,
    Gateway,
}

/// A connection manager with Istio's settings.
pub(crate) fn connection_manager(
    ctx: &Ctx<'_>,
    class: Class,
    stat_prefix: &str,
    routes: RouteSource,
) -> HttpConnectionManager {
    let side = side(class);
    HttpConnectionManager {
        stat_prefix: s(stat_prefix),
        codec: Codec::Auto,
        routes,
        filters: filters(ctx, class),
        server_name: s(if class == Class::Outbound { "envoy" } else { "istio-envoy" }),
        use_remote_address: class == Class::Gateway,
        xff_trusted_hops: 0,
        skip_xff_append: false,
        client_cert: match class {
            Class::Outbound => ClientCertForwarding::Sanitize,
            Class::Inbound => ClientCertForwarding::AppendForward,
            Class::Gateway => ClientCertForwarding::SanitizeSet,
        },
        generate_request_id: true,
        preserve_external_request_id: false,
        path: path_normalization(ctx),
        stream_idle_timeout: Some(Duration::ZERO),
        request_timeout: None,
        request_headers_timeout: None,
        idle_timeout: None,
        max_connection_duration: None,
        max_request_headers_kb: None,
        max_headers: None,
        accept_http_10: false,
        max_concurrent_streams: None,
        upgrades: vec![s("websocket")],
        strip_trailing_host_dot: false,
        local_replies: Vec::new(),
        tracing: tracing(ctx, side),
        access_log: access_logs(ctx, side),
    }
}

fn side(class: Class) -> Side {
    if class == Class::Inbound { Side::Server } else { Side::Client }
}

fn filters(ctx: &Ctx<'_>, class: Class) -> Vec<HttpFilter> {
    let mut filters = Vec::new();
    if !ctx.is_envoy() {
        let inbound = class == Class::Inbound;
        filters.push(HttpFilter::PeerMetadata(PeerMetadata { downstream: inbound, upstream: !inbound }));
    }
    if class != Class::Outbound {
        filters.extend(http_filters(ctx));
    }
    filters.push(HttpFilter::GrpcStats);
    if class != Class::Inbound && !ctx.is_envoy() {
        filters.push(HttpFilter::Alpn(AlpnOverride {
            http11: strs(&["istio-http/1.1", "istio", "http/1.1"]),
            http2: strs(&["istio-h2", "istio", "h2"]),
        }));
    }
    filters.push(HttpFilter::Fault);
    filters.push(HttpFilter::Cors);
    if !ctx.is_envoy() {
        filters.extend(metrics(ctx, side(class)).map(HttpFilter::Stats));
    }
    let resolves = || {
        ctx.scope().outbound == OutboundTrafficPolicyMode::AllowAnyDynamicDns
            || ctx.scope().services().iter().any(|v| v.is_dynamic())
    };
    if class == Class::Outbound && resolves() {
        filters.push(HttpFilter::DynamicForwardProxy);
    }
    filters
}

fn path_normalization(ctx: &Ctx<'_>) -> PathNormalization {
    let kind = ctx.mesh().path_normalization.as_ref().map_or(PathNormalizationType::Default, |p| p.normalization);
    let (normalize, merge_slashes, escaped_slashes) = match kind {
        PathNormalizationType::None => (false, false, SlashesAction::Keep),
        PathNormalizationType::Default | PathNormalizationType::Base => (true, false, SlashesAction::Keep),
        PathNormalizationType::MergeSlashes => (true, true, SlashesAction::Keep),
        PathNormalizationType::DecodeAndMergeSlashes => (true, true, SlashesAction::UnescapeAndForward),
    };
    PathNormalization { normalize, merge_slashes, escaped_slashes }
}
