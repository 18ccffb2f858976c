//! `virtualInbound`: one set of filter chains for each port of the workload, and a set for all other ports.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use varka_api::istio::{CaptureMode, ServerTls};
use varka_engine::ir::{
    ConnectionFilters, FilterChain, FilterChainMatch, Listener, NetworkFilter, RouteConfiguration, RouteSource, Str,
    Terminal, TrafficDirection, TransportProtocol, VirtualHost,
};

use super::{
    BLACK_HOLE, Class, INBOUND_PASSTHROUGH, MESH_ANY, MESH_HTTP, MESH_TCP, PLAIN_HTTP, VIRTUAL_INBOUND, chain,
    connection_manager, listener_name, match_port, mesh_tls, server_tls, socket, stats, strs, tcp_chain, tcp_proxy,
};
use crate::context::{Ctx, s};
use crate::policy::{Layer, Mode, Side, listener_access_logs, network_filters};
use crate::registry::Protocol;
use crate::route::default_inbound_route;

/// A port of the workload, or all others (`port` is `None`).
#[derive(Debug, Clone)]
pub(crate) struct Inbound {
    /// Port of the workload.
    pub(crate) port: Option<u16>,
    /// Port of the service, in names.
    pub(crate) service_port: u16,
    pub(crate) protocol: Protocol,
    /// Service, in names; empty: none.
    pub(crate) host: Str,
    pub(crate) bind: IpAddr,
    /// A listener of its own.
    pub(crate) bind_to_port: bool,
    /// TLS of a Sidecar's listener.
    pub(crate) tls: Option<ServerTls>,
    passthrough: bool,
}

impl Inbound {
    pub(crate) fn cluster(&self) -> Str {
        match self.port {
            Some(port) if !self.passthrough => s(format!("inbound|{port}||")),
            _ => s(INBOUND_PASSTHROUGH),
        }
    }

    fn chain_name(&self, http: bool) -> Str {
        match (self.passthrough, http, self.port) {
            (true, true, _) => s("virtualInbound-catchall-http"),
            (false, _, Some(port)) => listener_name(self.bind, port),
            _ => s(VIRTUAL_INBOUND),
        }
    }
}

fn listen_port(ctx: &Ctx<'_>) -> u16 {
    u16::try_from(ctx.mesh().proxy_inbound_listen_port).ok().filter(|p| *p > 0).unwrap_or(15006)
}

/// Ports of the workload: those of the Sidecar resource, else those of the services, the oldest service deciding.
pub(crate) fn chains(ctx: &Ctx<'_>) -> Vec<Inbound> {
    let mut by_port: BTreeMap<u16, Inbound> = BTreeMap::new();
    let scope = ctx.scope();
    let none = ctx.proxy.interception == crate::Interception::None;
    if let Some(sidecar) = scope.sidecar.as_ref().filter(|_| scope.has_ingress()) {
        for listener in &sidecar.spec.ingress {
            let Some(port) = &listener.port else { continue };
            let Ok(number) = u16::try_from(port.number) else { continue };
            let bind = listener.bind.parse().unwrap_or(ctx.proxy.ip);
            let bind_to_port = match listener.capture_mode {
                CaptureMode::Default => none,
                CaptureMode::Iptables => false,
                CaptureMode::None => true,
            };
            by_port.entry(number).or_insert_with(|| Inbound {
                port: Some(number),
                service_port: number,
                protocol: Protocol::parse(&port.protocol).unwrap_or(Protocol::Auto),
                host: s(format!("{}.{}", sidecar.metadata.name, sidecar.metadata.namespace)),
                bind,
                bind_to_port,
                tls: listener.tls.clone(),
                passthrough: false,
            });
        }
    } else if !none {
        for target in ctx.targets() {
            if target.port.protocol == Protocol::Udp {
                continue;
            }
            by_port.entry(target.number).or_insert_with(|| Inbound {
                port: Some(target.number),
                service_port: target.port.number,
                protocol: target.port.protocol,
                host: target.service.host.clone(),
                bind: ctx.proxy.wildcard(),
                bind_to_port: false,
                tls: None,
                passthrough: false,
            });
        }
    }
    by_port.into_values().collect()
}

/// Listeners that a Sidecar resource opens on ports of their own.
pub(super) fn bound(ctx: &Ctx<'_>) -> Vec<Listener> {
    chains(ctx)
        .into_iter()
        .filter(|c| c.bind_to_port)
        .filter_map(|c| {
            let port = c.port?;
            let filter_chains = port_chains(ctx, &c);
            let inspect = inspection(&filter_chains, false).0;
            Some(Listener {
                name: listener_name(c.bind, port),
                address: socket(c.bind, port),
                bind_to_port: true,
                use_original_dst: false,
                direction: TrafficDirection::Inbound,
                inspect,
                filter_chains,
                default_filter_chain: None,
                access_log: listener_access_logs(ctx, Side::Server),
            })
        })
        .collect()
}

pub(super) fn build(ctx: &Ctx<'_>) -> Listener {
    let listen_port = listen_port(ctx);
    let mut filter_chains = vec![FilterChain {
        // Whoever dials the port itself would loop.
        matches: match_port(listen_port),
        ..tcp_chain(ctx, "virtualInbound-blackhole", BLACK_HOLE, Side::Server)
    }];
    let ports = chains(ctx);
    let policy = ctx.peer_policy(&ctx.proxy.namespace, &ctx.proxy.labels);
    let others = |port: Option<u16>| Inbound {
        port,
        service_port: 0,
        protocol: Protocol::Auto,
        host: s(""),
        bind: ctx.proxy.wildcard(),
        bind_to_port: false,
        tls: None,
        passthrough: true,
    };
    filter_chains.extend(port_chains(ctx, &others(None)));
    // Ports with a mode of their own that belong to no service.
    for port in policy.ports.keys().filter(|p| !ports.iter().any(|c| c.port == Some(**p))) {
        filter_chains.extend(port_chains(ctx, &others(Some(*port))));
    }
    for inbound in ports.iter().filter(|c| !c.bind_to_port) {
        filter_chains.extend(port_chains(ctx, inbound));
    }
    let (mut inspect, opaque) = inspection(&filter_chains, true);
    for port in opaque {
        filter_chains.push(opaque_tls(ctx, port));
    }
    inspect.timeout = ctx.mesh().protocol_detection_timeout.map(|d| d.to_std()).filter(|d| !d.is_zero());
    Listener {
        name: s(VIRTUAL_INBOUND),
        address: socket(ctx.proxy.wildcard(), listen_port),
        bind_to_port: true,
        use_original_dst: false,
        direction: TrafficDirection::Inbound,
        inspect,
        filter_chains,
        default_filter_chain: None,
        access_log: listener_access_logs(ctx, Side::Server),
    }
}

/// What must be looked at, and ports that want HTTP told from other bytes but TLS left alone, which on a listener that looks
/// at TLS for other ports needs a chain of its own.
fn inspection(chains: &[FilterChain], original_dst: bool) -> (ConnectionFilters, Vec<Option<u16>>) {
    let mut needs: BTreeMap<Option<u16>, (bool, bool)> = BTreeMap::new();
    for chain in chains {
        let (tls, http) = needs.entry(chain.matches.destination_port).or_default();
        *tls |= chain.matches.transport_protocol == Some(TransportProtocol::Tls);
        *http |= chain.matches.application_protocols.iter().any(|p| PLAIN_HTTP.contains(&&**p));
    }
    let tls = needs.values().any(|(tls, _)| *tls);
    let http = needs.values().any(|(_, http)| *http);
    let disabled_ports = needs.iter().filter(|(_, n)| **n == (false, false)).filter_map(|(p, _)| *p).collect();
    let opaque = needs.iter().filter(|(_, n)| tls && **n == (false, true)).map(|(p, _)| *p).collect();
    let filters = ConnectionFilters {
        original_dst,
        tls,
        http,
        disabled_ports,
        proxy_protocol: false,
        timeout: None,
        continue_on_timeout: true,
    };
    (filters, opaque)
}

/// TLS that is none of our business, to a port that takes plain text only.
fn opaque_tls(ctx: &Ctx<'_>, port: Option<u16>) -> FilterChain {
    let inbound = chains(ctx).into_iter().find(|c| c.port == port && port.is_some());
    let (name, cluster) = match &inbound {
        Some(c) => (c.chain_name(false), c.cluster()),
        None => (s(VIRTUAL_INBOUND), s(INBOUND_PASSTHROUGH)),
    };
    let matches = FilterChainMatch {
        destination_port: port,
        transport_protocol: Some(TransportProtocol::Tls),
        ..FilterChainMatch::default()
    };
    chain(&name, matches, opaque_filters(ctx, Layer::Undeclared), Terminal::Tcp(tcp_proxy(ctx, &cluster, Side::Server)))
}

/// One way into a port.
struct Way {
    alpn: &'static [&'static str],
    tls: bool,
    http: bool,
    terminate: bool,
}

const fn way(alpn: &'static [&'static str], tls: bool, http: bool, terminate: bool) -> Way {
    Way { alpn, tls, http, terminate }
}

/// Istio's ways into a port by mode and protocol.
fn ways(mode: Mode, protocol: Protocol) -> Vec<Way> {
    if protocol.is_http() {
        return match mode {
            Mode::Strict => vec![way(&[], true, true, true)],
            Mode::Permissive => vec![way(MESH_ANY, true, true, true), way(&[], false, true, false)],
            Mode::Disable => vec![way(&[], false, true, false)],
        };
    }
    if protocol == Protocol::Auto {
        return match mode {
            Mode::Strict => vec![way(MESH_HTTP, true, true, true), way(&[], true, false, true)],
            Mode::Permissive => vec![
                way(MESH_HTTP, true, true, true),
                way(PLAIN_HTTP, false, true, false),
                way(MESH_TCP, true, false, true),
                way(&[], false, false, false),
                way(&[], true, false, false),
            ],
            Mode::Disable => vec![way(PLAIN_HTTP, false, true, false), way(&[], false, false, false)],
        };
    }
    match mode {
        Mode::Strict => vec![way(&[], true, false, true)],
        Mode::Permissive => {
            vec![way(MESH_ANY, true, false, true), way(&[], true, false, false), way(&[], false, false, false)]
        }
        Mode::Disable => vec![way(&[], false, false, false)],
    }
}

/// The chains of a port, in its mode.
fn port_chains(ctx: &Ctx<'_>, inbound: &Inbound) -> Vec<FilterChain> {
    let mode = ctx.peer_mode(&ctx.proxy.namespace, &ctx.proxy.labels, inbound.port);
    if let Some(tls) = inbound.tls.as_ref().filter(|_| mode == Mode::Disable) {
        let protocol = inbound.protocol.after_tls();
        let inner = Inbound { protocol, ..inbound.clone() };
        return vec![FilterChain {
            tls: Some(server_tls(ctx, tls, &["h2", "http/1.1"])),
            ..one(ctx, &inner, &way(&[], true, protocol.is_http(), true))
        }];
    }
    ways(mode, inbound.protocol).iter().map(|w| one(ctx, inbound, w)).collect()
}

fn one(ctx: &Ctx<'_>, inbound: &Inbound, way: &Way) -> FilterChain {
    let matches = FilterChainMatch {
        destination_port: inbound.port,
        transport_protocol: Some(if way.tls { TransportProtocol::Tls } else { TransportProtocol::RawBuffer }),
        application_protocols: strs(way.alpn),
        ..FilterChainMatch::default()
    };
    let name = inbound.chain_name(way.http);
    // A stock Envoy would take the peer's metadata for the application's bytes.
    let exchanges = !way.http && !ctx.is_envoy();
    let alpn: &[&str] = if exchanges { &["istio-peer-exchange", "h2", "http/1.1"] } else { &["h2", "http/1.1"] };
    let tls = way.terminate.then(|| mesh_tls(ctx, alpn));
    let (filters, terminal) = if way.http {
        (exchange(ctx), Terminal::Http(Box::new(http_terminal(ctx, inbound, &name))))
    } else {
        let declared = inbound.port.is_some() && inbound.protocol.is_tcp();
        let layer = if declared { Layer::Tcp } else { Layer::Undeclared };
        (opaque_filters(ctx, layer), Terminal::Tcp(tcp_proxy(ctx, &inbound.cluster(), Side::Server)))
    };
    FilterChain { tls, ..chain(&name, matches, filters, terminal) }
}

fn http_terminal(ctx: &Ctx<'_>, inbound: &Inbound, name: &Str) -> varka_engine::ir::HttpConnectionManager {
    let cluster = inbound.cluster();
    let prefix = if inbound.passthrough { cluster.to_string() } else { format!("inbound_{name}") };
    let routes = RouteConfiguration {
        name: cluster.clone(),
        virtual_hosts: vec![VirtualHost {
            name: s(format!("inbound|http|{}", inbound.service_port)),
            domains: vec![s("*")],
            routes: vec![default_inbound_route(&cluster, &inbound.host, inbound.service_port, inbound.protocol)],
            require_tls: false,
            include_attempt_count: false,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
        }],
        ignore_port_in_host: false,
        on_demand: false,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
    };
    connection_manager(ctx, Class::Inbound, &prefix, RouteSource::Inline(Arc::new(routes)))
}

/// Peer metadata is exchanged before anything may refuse the connection.
fn exchange(ctx: &Ctx<'_>) -> Vec<NetworkFilter> {
    if ctx.is_envoy() { Vec::new() } else { vec![NetworkFilter::MetadataExchange] }
}

fn opaque_filters(ctx: &Ctx<'_>, layer: Layer) -> Vec<NetworkFilter> {
    let mut filters = exchange(ctx);
    filters.extend(network_filters(ctx, layer));
    filters.extend(stats(ctx, Side::Server));
    filters
}
