//! Listeners of a sidecar: what happens to a connection, before anything is known of a request.

mod http;
mod inbound;
mod outbound;
mod tcp;
mod tls;
mod virtual_outbound;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use varka_engine::ir::{
    FilterChain, FilterChainMatch, Listener, NetworkFilter, SourceType, Str, TcpProxy, Terminal, WeightedCluster,
};

use crate::context::{Ctx, s};
use crate::policy::Side;

pub(crate) use http::{Class, connection_manager};
pub(crate) use inbound::{Inbound, chains as inbound_chains};
pub(crate) use outbound::{Entry, entries};
pub(crate) use tcp::weighted as weighted_tcp;
pub(crate) use tls::{mesh_tls, server_tls};

/// ALPN of plain HTTP, as the HTTP inspector tells it. HTTP/1.0 is not among them: it passes as opaque bytes.
pub(crate) const PLAIN_HTTP: &[&str] = &["http/1.1", "h2c"];
/// ALPN of HTTP over the mesh's TLS.
pub(crate) const MESH_HTTP: &[&str] = &["istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// ALPN of anything else over the mesh's TLS.
pub(crate) const MESH_TCP: &[&str] = &["istio-peer-exchange", "istio"];
/// All of the mesh's.
pub(crate) const MESH_ANY: &[&str] = &["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"];

pub(crate) const PASSTHROUGH: &str = "PassthroughCluster";
pub(crate) const BLACK_HOLE: &str = "BlackHoleCluster";
pub(crate) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";
pub(crate) const DYNAMIC_DNS: &str = "AllowAnyDynamicDNSCluster";

pub(crate) const VIRTUAL_OUTBOUND: &str = "virtualOutbound";
pub(crate) const VIRTUAL_INBOUND: &str = "virtualInbound";

pub(crate) fn strs(list: &[&str]) -> Vec<Str> {
    list.iter().map(s).collect()
}

/// Names of all listeners of a sidecar.
pub(crate) fn names(ctx: &Ctx<'_>) -> Vec<Str> {
    let mut names: Vec<Str> = Vec::new();
    if !ctx.proxy.on_demand || outbound::binds(ctx) {
        // Without interception nobody asks for a listener: who has a socket of its own must be there.
        let wanted = |entry: &&Entry| !ctx.proxy.on_demand || entry.bind_to_port;
        names.extend(entries(ctx, None).values().filter(wanted).map(Entry::name));
    }
    if ctx.proxy.interception != crate::Interception::None {
        names.push(s(VIRTUAL_OUTBOUND));
        names.push(s(VIRTUAL_INBOUND));
    }
    names.extend(inbound::bound(ctx).iter().map(|l| l.name.clone()));
    names
}

/// One listener of a sidecar.
pub(crate) fn build(ctx: &Ctx<'_>, name: &str) -> Option<Arc<Listener>> {
    match name {
        VIRTUAL_OUTBOUND => Some(Arc::new(virtual_outbound::build(ctx))),
        VIRTUAL_INBOUND => Some(Arc::new(inbound::build(ctx))),
        _ => {
            if let Some(bound) = inbound::bound(ctx).into_iter().find(|l| *l.name == *name) {
                return Some(Arc::new(bound));
            }
            let port = name.rsplit_once('_')?.1.parse().ok()?;
            let found = entries(ctx, Some(port)).into_values().find(|e| *e.name() == *name)?;
            Some(Arc::new(outbound::build(ctx, &found)))
        }
    }
}

/// `IP_PORT`, as Istio names listeners.
pub(crate) fn listener_name(address: IpAddr, port: u16) -> Str {
    s(format!("{address}_{port}"))
}

/// A chain without conditions that hands the connection to `cluster`.
pub(crate) fn tcp_chain(ctx: &Ctx<'_>, name: &str, cluster: &str, side: Side) -> FilterChain {
    chain(name, FilterChainMatch::default(), stats(ctx, side), Terminal::Tcp(tcp_proxy(ctx, cluster, side)))
}

pub(crate) fn chain(
    name: &str,
    matches: FilterChainMatch,
    filters: Vec<NetworkFilter>,
    terminal: Terminal,
) -> FilterChain {
    FilterChain { name: s(name), matches, tls: None, filters, terminal, handshake_timeout: None }
}

/// The statistics filter, which the stock Envoy does not have.
pub(crate) fn stats(ctx: &Ctx<'_>, side: Side) -> Vec<NetworkFilter> {
    let filter = crate::policy::metrics(ctx, side).filter(|_| !ctx.is_envoy()).map(NetworkFilter::Stats);
    filter.into_iter().collect()
}

pub(crate) fn tcp_proxy(ctx: &Ctx<'_>, cluster: &str, side: Side) -> TcpProxy {
    TcpProxy {
        stat_prefix: s(cluster),
        clusters: vec![WeightedCluster { cluster: s(cluster), weight: 1 }],
        idle_timeout: None,
        max_connection_duration: None,
        access_log: crate::policy::access_logs(ctx, side),
        hash_policy: Vec::new(),
        tunnel: None,
    }
}

pub(crate) fn match_port(port: u16) -> FilterChainMatch {
    FilterChainMatch { destination_port: Some(port), source_type: SourceType::Any, ..FilterChainMatch::default() }
}

pub(crate) fn socket(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}
