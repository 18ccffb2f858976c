//! What the client's proxy decides: listener, chain, then a route or a destination for opaque bytes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use varka_engine::facts::Connection;
use varka_engine::ir::{FilterChain, Listener, TcpProxy, Terminal, TransportProtocol, WeightedCluster};
use varka_engine::listener::choose_chain;
use varka_engine::trace::Trace;

use super::answer::{Direction, Outcome, Step};
use super::pod::Pod;
use super::proxy::Proxy;
use super::walk::{Delivery, End, Walk};
use super::{http, unmatched, upstream};

/// A client's port plays no part in anything.
pub(super) const CLIENT_PORT: u16 = 40_000;
/// Stands for a client outside.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

/// What a sidecar does with what its application sends to an address.
pub(super) fn sidecar<'m>(walk: &mut Walk<'m>, pod: &'m Pod, to: SocketAddr) -> Result<Delivery<'m>, End> {
    let proxy = Proxy::new(walk.mesh, pod);
    let mut trace = Trace::on();
    let Some(listener) = proxy.outbound(to, &mut trace) else {
        walk.step(Step::new("listener", "none", "the workload's traffic is not intercepted (mode NONE)"));
        return walk.dialled_directly(pod, to);
    };
    let mut connection = Connection::plain(to, SocketAddr::new(pod.ip, CLIENT_PORT));
    connection.detected_http = listener.inspect.http.then(|| walk.request.first_bytes());
    let chain = chain(walk, &listener, &connection, trace)?;
    by_chain(walk, &proxy, chain, &connection)
}

/// What a gateway does with what comes to its port.
pub(super) fn gateway<'m>(walk: &mut Walk<'m>, pod: &'m Pod, port: u16) -> End {
    walk.hop(pod, Direction::Outbound, Vec::new());
    let proxy = Proxy::new(walk.mesh, pod);
    let Some(listener) = proxy.of_gateway(port) else {
        let because = "no Gateway, Ingress or HTTPRoute asks this gateway to listen there";
        walk.step(Step::new("listener", "none", because).fails());
        return End::new(Outcome::Failed, format!("Nothing listens on port {port} of {}.", pod.workload));
    };
    let local = SocketAddr::new(pod.ip, listener.address.port());
    let host = varka_engine::host::without_port(&walk.request.authority).to_ascii_lowercase();
    let mut connection = Connection::plain(local, SocketAddr::new(CLIENT, CLIENT_PORT));
    let tls = listener.filter_chains.iter().any(|chain| chain.tls.is_some());
    if tls {
        connection.transport = TransportProtocol::Tls;
        connection.sni = Some(&host);
    } else {
        connection.detected_http = listener.inspect.http.then(|| walk.request.first_bytes());
    }
    let flow =
        chain(walk, &listener, &connection, Trace::on()).and_then(|chain| by_chain(walk, &proxy, chain, &connection));
    match flow {
        Ok(delivery) => walk.deliver(delivery),
        Err(end) => end,
    }
}

fn chain<'l>(
    walk: &mut Walk<'_>,
    listener: &'l Listener,
    connection: &Connection<'_>,
    mut trace: Trace,
) -> Result<&'l FilterChain, End> {
    let chosen = choose_chain(listener, connection, &mut trace);
    let because = trace.notes().join("; ");
    let Some(chain) = chosen else {
        walk.step(Step::new("listener", listener.name.to_string(), because).fails());
        let verdict = "The connection is closed: no filter chain takes it (NR filter_chain_not_found).";
        return Err(End::new(Outcome::Failed, verdict));
    };
    walk.step(Step::new("listener", listener.name.to_string(), because));
    Ok(chain)
}

fn by_chain<'m>(
    walk: &mut Walk<'m>,
    proxy: &Proxy<'m>,
    chain: &FilterChain,
    connection: &Connection<'_>,
) -> Result<Delivery<'m>, End> {
    match &chain.terminal {
        Terminal::Http(manager) => {
            let forwarded = http::decide(walk, proxy, manager, connection)?;
            upstream::send(walk, proxy, &forwarded, connection, Some(manager))
        }
        Terminal::Tcp(tcp) => bytes(walk, proxy, tcp, connection),
    }
}

/// Opaque bytes: no header is looked at.
fn bytes<'m>(
    walk: &mut Walk<'m>,
    proxy: &Proxy<'m>,
    tcp: &TcpProxy,
    connection: &Connection<'_>,
) -> Result<Delivery<'m>, End> {
    let known = walk.known_cluster().map(str::to_owned);
    let followed = |(_, c): &(usize, &WeightedCluster)| (Some(&*c.cluster) == known.as_deref(), c.weight);
    let heaviest = tcp.clusters.iter().enumerate().max_by_key(followed).map(|(place, _)| place);
    let weights = tcp.clusters.iter().map(|c| u64::from(c.weight)).collect();
    let taken = heaviest.map(|usually| walk.fork(weights, usually));
    let Some(chosen) = taken.and_then(|taken| tcp.clusters.get(taken)) else {
        return Err(End::new(Outcome::Failed, "The listener leads nowhere."));
    };
    if !unmatched::is_nowhere(&chosen.cluster) {
        let because = "the port is not declared as HTTP, so its bytes are passed on as they are: no route, retry or policy \
                       on requests applies";
        walk.step(Step::new("route", chosen.cluster.to_string(), because));
    }
    let forwarded = http::Forwarded::bytes(chosen.cluster.clone());
    upstream::send(walk, proxy, &forwarded, connection, None)
}
