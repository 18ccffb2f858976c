//! The path of one connection, from the accepted socket to the HTTP or TCP that it carries.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpStream;
use varka_engine::ir::{Listener, NetworkFilter, PolicyAction, Rbac, Str, Terminal, TrafficDirection};
use varka_engine::listener::choose_chain;
use varka_engine::outcome::Outcome;
use varka_engine::rbac::{self, Subject};
use varka_engine::trace::Trace;

use crate::accesslog::UpstreamRecord;
use crate::bootstrap::OriginalDst;
use crate::conn::{Conn, Open, Seen};
use crate::limit::TARGET;
use crate::metrics::Last;
use crate::net::{Io, Socket};
use crate::worker::Worker;
use crate::{http, inspect, on_demand, tcp, tls};

/// A TLS handshake takes at most so long where the chain does not say otherwise, as in Envoy.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// Most policies whose unmet conditions are told of one connection.
const TOLD: usize = 4;

/// Handles one connection until it ends.
pub(crate) async fn handle(worker: Rc<Worker>, accepting: Str, stream: TcpStream, peer: SocketAddr) {
    let config = worker.state.config();
    let Some(accepting) = config.ir.listeners.get(&accepting).cloned() else { return };
    let Ok(local) = stream.local_addr() else { return };
    let _ = stream.set_nodelay(true);
    let original_dst = original_dst(&worker, &accepting, &stream, peer, local);
    let found = on_demand::listener(&worker.state, config, &accepting, original_dst).await;
    let (config, listener) = match found {
        Ok(found) => found,
        Err((why, what)) => {
            let seen = Seen { original_dst, local, peer, hello: None, http: None };
            refuse(&worker, &accepting, &seen, &Socket::new(stream), &why.outcome(&what));
            return;
        }
    };
    let _open = Open::count(&worker, direction(&listener, &accepting));
    let mut socket = Socket::new(stream);
    let (mut peer, mut original_dst) = (peer, original_dst);
    if listener.inspect.proxy_protocol {
        match inspect::proxy_header(&mut socket).await {
            Ok(Some((source, destination))) => (peer, original_dst) = (source, destination),
            Ok(None) => {}
            Err(_) => return,
        }
    }
    let Ok(sniffed) = inspect::inspect(&mut socket, &listener.inspect, original_dst.port()).await else { return };
    let seen = Rc::new(Seen { original_dst, local, peer, hello: sniffed.tls, http: sniffed.http });
    let Some(chain) = choose_chain(&listener, &seen.facts(), &mut Trace::off()) else {
        refuse(&worker, &listener, &seen, &socket, &Outcome::no_filter_chain());
        return;
    };
    let Some(chain_ref) = config.chain(&listener, chain) else { return };
    let conn = Conn {
        worker: Rc::clone(&worker),
        http_stats: chain_ref.http().map(|m| worker.state.metrics.http(&m.stat_prefix)),
        chain: chain_ref,
        seen,
        peer_identity: None,
        local_identity: None,
        exchange: false,
        last: Last::default(),
    };
    drop(config);
    Box::pin(secure(conn, socket)).await;
}

/// The direction of a connection: a listener that stands for no traffic in particular takes that of the one that accepted.
fn direction(listener: &Listener, accepting: &Listener) -> TrafficDirection {
    match listener.direction {
        TrafficDirection::Unspecified => accepting.direction,
        direction => direction,
    }
}

/// Where the client meant to go before interception.
fn original_dst(
    worker: &Worker,
    accepting: &Listener,
    stream: &TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
) -> SocketAddr {
    if !(accepting.inspect.original_dst || accepting.use_original_dst) {
        return local;
    }
    match &worker.state.bootstrap.original_dst {
        // Not redirected: the client dialled our port itself.
        OriginalDst::Netfilter => varka_sys::socket::original_dst(stream).unwrap_or(local),
        OriginalDst::By(say) => say(peer).unwrap_or(local),
    }
}

/// No chain takes the connection: reset, with a line in the listener's log.
fn refuse(worker: &Worker, listener: &Listener, seen: &Seen, socket: &Socket, outcome: &Outcome) {
    let (upstream, connection) = (UpstreamRecord::default(), seen.facts());
    let record = upstream.record(SystemTime::now(), &connection, outcome, &worker.state);
    worker.state.logs.write(worker.state.config().logs(listener), &record);
    if let Some(left_out) = worker.refusals.take(Instant::now()) {
        let what = if seen.hello.is_some() { "TLS" } else { "plain text" };
        tracing::info!(
            target: TARGET,
            listener = %listener.name,
            peer = %seen.peer,
            original_dst = %seen.original_dst,
            details = &*outcome.details,
            left_out,
            "connection refused: no filter chain takes {what} here"
        );
    }
    socket.reset_on_close();
}

/// Performs the TLS handshake where the chain terminates TLS.
async fn secure(mut conn: Conn, socket: Socket) {
    let Some(chain) = conn.chain.chain() else { return };
    if chain.tls.is_none() {
        dispatch(conn, Io::Plain(socket), false).await;
        return;
    }
    let limit = chain.handshake_timeout.filter(|t| !t.is_zero()).unwrap_or(HANDSHAKE);
    let Some(context) = conn.chain.tls() else {
        socket.reset_on_close();
        return;
    };
    let offered = conn.seen.hello.as_ref().map_or(&[][..], |h| &h.alpn);
    // Boxed: a handshake is short, and its state must not stay part of the connection's future.
    let accepting = Box::pin(context.accept(socket, offered));
    let stream = match tokio::time::timeout(limit, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => {
            tracing::debug!(peer = %conn.seen.peer, original_dst = %conn.seen.original_dst, "TLS handshake failed: {e}");
            return;
        }
        Err(_) => return,
    };
    let session = stream.get_ref().1;
    conn.peer_identity = tls::peer_identity(session);
    let h2 = session.alpn_protocol() == Some(b"h2");
    conn.exchange = session.alpn_protocol() == Some(crate::peer::ALPN);
    conn.local_identity = conn.worker.state.secrets.workload_uri();
    dispatch(conn, Io::Tls(Box::new(stream.into())), h2).await;
}

/// Network filters, then what the chain ends in.
async fn dispatch(conn: Conn, io: Io, h2: bool) {
    let Some(chain) = conn.chain.chain() else { return };
    note_policies(&conn);
    if let Some(details) = conn.denied() {
        if let Some(left_out) = conn.worker.refusals.take(Instant::now()) {
            let (peer, original_dst, why) = (conn.seen.peer, conn.seen.original_dst, why_denied(&conn));
            tracing::info!(target: TARGET, %peer, %original_dst, left_out, "connection refused: {why}");
        }
        tcp::deny(&conn, chain, details);
        return;
    }
    match &chain.terminal {
        // Boxed each, so that neither pays for the other.
        Terminal::Http(_) => Box::pin(http::connection::serve(Rc::new(conn), io, h2)).await,
        Terminal::Tcp(_) => Box::pin(tcp::proxy(conn, io)).await,
    }
}

/// Policies of a connection.
fn policies(conn: &Conn) -> impl Iterator<Item = &Rbac> {
    conn.chain.chain().into_iter().flat_map(|chain| &chain.filters).filter_map(|filter| match filter {
        NetworkFilter::Rbac(rules) => Some(rules),
        NetworkFilter::MetadataExchange | NetworkFilter::Stats(_) | NetworkFilter::SniDynamicForwardProxy(_) => None,
    })
}

/// What the first policy that denies it says.
fn why_denied(conn: &Conn) -> String {
    let facts = conn.facts();
    let subject = Subject::connection(&facts);
    let denies = policies(conn).find_map(|rules| {
        let decision = rbac::evaluate(rules, &subject);
        (!decision.allowed).then(|| rbac::why_denied(rules, &decision, &subject, TOLD))
    });
    denies.unwrap_or_default()
}

/// What policies that are not enforced say of a connection.
fn note_policies(conn: &Conn) {
    let facts = conn.facts();
    let subject = Subject::connection(&facts);
    for rules in policies(conn).filter(|rules| rules.shadow || rules.action == PolicyAction::Log) {
        let decision = rbac::evaluate(rules, &subject);
        if rules.action == PolicyAction::Log && decision.policy.is_none() {
            continue;
        }
        let Some(left_out) = conn.worker.shadows.take(Instant::now()) else { return };
        let policy = decision.policy.map_or("none", |name| name);
        let what = match (rules.action, decision.would_allow) {
            (PolicyAction::Log, _) => "audited",
            (_, true) => "would be allowed",
            (_, false) => "would be denied",
        };
        let (peer, original_dst) = (conn.seen.peer, conn.seen.original_dst);
        tracing::info!(target: TARGET, policy, %peer, %original_dst, left_out, "connection {what}, as a policy says that is not enforced");
    }
}

/// A connection's whole future, to be measured.
#[cfg(test)]
pub(crate) fn handle_for_tests(
    (worker, accepting, stream, peer): (Rc<Worker>, Str, TcpStream, SocketAddr),
) -> impl Future<Output = ()> {
    handle(worker, accepting, stream, peer)
}
