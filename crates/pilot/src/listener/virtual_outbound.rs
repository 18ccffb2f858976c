//! `virtualOutbound`: takes every redirected connection and hands it to the listener of its destination, or keeps it.

use std::sync::Arc;

use varka_api::istio::OutboundTrafficPolicyMode;
use varka_engine::ir::{
    ConnectionFilters, FilterChain, FilterChainMatch, Listener, RouteConfiguration, RouteSource, Terminal,
    TrafficDirection,
};

use super::{
    BLACK_HOLE, Class, DYNAMIC_DNS, PASSTHROUGH, PLAIN_HTTP, VIRTUAL_OUTBOUND, chain, connection_manager, match_port,
    socket, stats, strs, tcp_chain, tcp_proxy,
};
use crate::context::{Ctx, s};
use crate::policy::{Side, listener_access_logs, tracing};
use crate::route::{catch_all_virtual_host, destination_cluster};

/// Port of the listener, 15001 by default.
fn port(ctx: &Ctx<'_>) -> u16 {
    u16::try_from(ctx.mesh().proxy_listen_port).ok().filter(|p| *p > 0).unwrap_or(15001)
}

pub(super) fn build(ctx: &Ctx<'_>) -> Listener {
    let listen_port = port(ctx);
    let dynamic = ctx.scope().outbound == OutboundTrafficPolicyMode::AllowAnyDynamicDns;
    let mut filter_chains = vec![FilterChain {
        // Whoever dials the port itself would loop.
        matches: match_port(listen_port),
        ..tcp_chain(ctx, "virtualOutbound-blackhole", BLACK_HOLE, Side::Client)
    }];
    if dynamic {
        filter_chains.push(dynamic_http(ctx));
    }
    filter_chains.push(catch_all(ctx, "virtualOutbound-catchall-tcp"));
    // What is wrong with spans of outbound requests is said here, whether or not there is a listener that makes any.
    let _ = tracing(ctx, Side::Client);
    Listener {
        name: s(VIRTUAL_OUTBOUND),
        address: socket(ctx.proxy.wildcard(), listen_port),
        bind_to_port: true,
        use_original_dst: true,
        direction: TrafficDirection::Outbound,
        inspect: ConnectionFilters {
            original_dst: true,
            http: dynamic,
            continue_on_timeout: true,
            ..ConnectionFilters::default()
        },
        filter_chains,
        default_filter_chain: None,
        access_log: listener_access_logs(ctx, Side::Client),
    }
}

/// Where connections that nothing is known of go: their destination, the egress proxy, or nowhere.
pub(super) fn catch_all(ctx: &Ctx<'_>, name: &str) -> FilterChain {
    let scope = ctx.scope();
    let cluster = match (scope.outbound, &scope.egress_proxy) {
        (OutboundTrafficPolicyMode::RegistryOnly, _) => s(BLACK_HOLE),
        (_, Some(proxy)) => destination_cluster(proxy, None, 0),
        (_, None) => s(PASSTHROUGH),
    };
    chain(
        name,
        FilterChainMatch::default(),
        stats(ctx, Side::Client),
        Terminal::Tcp(tcp_proxy(ctx, &cluster, Side::Client)),
    )
}

/// Plain HTTP to unknown destinations is resolved by its Host.
fn dynamic_http(ctx: &Ctx<'_>) -> FilterChain {
    let routes = RouteConfiguration {
        name: s("allow_any_dynamic_dns"),
        virtual_hosts: vec![catch_all_virtual_host(ctx)],
        ignore_port_in_host: true,
        on_demand: false,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
    };
    let manager = connection_manager(
        ctx,
        Class::Outbound,
        &format!("outbound_{VIRTUAL_OUTBOUND}_{DYNAMIC_DNS}"),
        RouteSource::Inline(Arc::new(routes)),
    );
    let matches = FilterChainMatch { application_protocols: strs(PLAIN_HTTP), ..FilterChainMatch::default() };
    chain("virtualOutbound-catchall-tcp-http", matches, Vec::new(), Terminal::Http(Box::new(manager)))
}
