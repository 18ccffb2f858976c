//! What the server's proxy decides: whether it takes the connection, who the client is, and what the client may.

use std::net::SocketAddr;

use varka_engine::facts::Connection;
use varka_engine::ir::{FilterChain, NetworkFilter, Terminal, TransportProtocol};
use varka_engine::listener::choose_chain;
use varka_engine::outcome::ResetReason;
use varka_engine::rbac::Subject;
use varka_engine::trace::Trace;
use varka_pilot::{Mode, Placed, peer_reason};

use super::answer::{By, Direction, Outcome, Step};
use super::outbound::CLIENT_PORT;
use super::pod::Pod;
use super::proxy::Proxy;
use super::walk::{Delivery, End, Walk};
use super::{doubt, filters, http, place};

/// What a sidecar does with what comes to its pod.
pub(super) fn sidecar<'m>(walk: &mut Walk<'m>, pod: &'m Pod, delivery: &Delivery<'m>) -> End {
    walk.hop(pod, Direction::Inbound, Vec::new());
    let proxy = Proxy::new(walk.mesh, pod);
    match decide(walk, &proxy, delivery) {
        Ok(()) => {
            let how = if delivery.tls.is_some() { "over mutual TLS" } else { "in plain text" };
            End::new(Outcome::Ok, format!("It reaches {} of {} {how}.", pod.name, pod.namespace))
        }
        Err(end) => end,
    }
}

fn decide<'m>(walk: &mut Walk<'m>, proxy: &Proxy<'m>, delivery: &Delivery<'m>) -> Result<(), End> {
    let Some(listener) = proxy.listener("virtualInbound") else {
        walk.step(Step::new("listener", "none", "the workload's traffic is not intercepted (mode NONE)"));
        return Ok(());
    };
    let local_identity = proxy.pod.identity(walk.mesh.trust_domain());
    let mut connection = Connection::plain(delivery.to, SocketAddr::new(delivery.from.ip, CLIENT_PORT));
    if let Some(tls) = &delivery.tls {
        connection.transport = TransportProtocol::Tls;
        connection.sni = tls.sni.as_deref();
        connection.alpn = &tls.alpn;
        connection.peer_identity = tls.identity.as_ref();
        connection.local_identity = Some(&local_identity);
    } else if delivery.http {
        connection.detected_http = listener.inspect.http.then(|| walk.request.first_bytes());
    }
    let mut trace = Trace::on();
    let chosen = choose_chain(&listener, &connection, &mut trace);
    let (mode, by) = peer(walk, proxy, delivery.to.port());
    let because = trace.notes().join("; ");
    let Some(chain) = chosen else {
        return Err(refused(walk, proxy, delivery, (mode, by), &because));
    };
    walk.step(Step::new("listener", format!("{}, chain {}", listener.name, chain.name), because));
    let comes = if delivery.tls.is_some() { "mutual TLS" } else { "plain text" };
    walk.step(Step::new("peerAuthentication", named(mode), taken(mode, by.is_some(), comes)).by(by));
    authenticate(walk, chain, &connection);
    network(walk, chain, &connection, delivery)?;
    match &chain.terminal {
        Terminal::Http(manager) => {
            let forwarded = http::decide(walk, proxy, manager, &connection)?;
            walk.step(application(proxy.pod, &forwarded.cluster));
        }
        Terminal::Tcp(tcp) => {
            let cluster = tcp.clusters.first().map_or("", |c| &c.cluster);
            walk.step(application(proxy.pod, cluster));
        }
    }
    Ok(())
}

fn application(pod: &Pod, cluster: &str) -> Step {
    Step::new("endpoint", pod.name.clone(), format!("{cluster}: the application of this pod"))
}

fn peer(walk: &Walk<'_>, proxy: &Proxy<'_>, port: u16) -> (Mode, Option<By>) {
    let key = &proxy.pod.key;
    let (mode, placed) = peer_reason(&walk.mesh.snapshot, &key.namespace, &key.labels, Some(port));
    (mode, placed.and_then(|placed: Placed| place::of(walk.mesh, &placed)))
}

fn named(mode: Mode) -> &'static str {
    match mode {
        Mode::Disable => "DISABLE",
        Mode::Permissive => "PERMISSIVE",
        Mode::Strict => "STRICT",
    }
}

fn taken(mode: Mode, is_said: bool, comes: &str) -> String {
    let takes = match mode {
        Mode::Disable => "the port takes plain text only",
        Mode::Permissive => "the port takes plain text and mutual TLS",
        Mode::Strict => "the port takes mutual TLS only",
    };
    let default = if is_said { "" } else { ", which is so where no PeerAuthentication says otherwise" };
    format!("{takes}{default}; this is {comes}")
}

/// No chain takes it.
fn refused(
    walk: &mut Walk<'_>,
    proxy: &Proxy<'_>,
    delivery: &Delivery<'_>,
    (mode, by): (Mode, Option<By>),
    because: &str,
) -> End {
    let (pod, client) = (proxy.pod, delivery.from);
    walk.step(Step::new("listener", "virtualInbound", because).fails());
    let gets = delivery.broken_off(ResetReason::ConnectionTermination);
    let status = delivery.status_of(ResetReason::ConnectionTermination);
    if mode != Mode::Strict || delivery.tls.is_some() {
        let verdict = format!("{} closes the connection (NR filter_chain_not_found); {gets}.", pod.name);
        return End::new(Outcome::Failed, verdict).answers(status);
    }
    let policy = by.as_ref().map_or_else(String::new, |by| format!(" ({} {}/{})", by.kind, by.namespace, by.name));
    let why = match client.proxy {
        None => format!("{} has no sidecar and sends plain text", client.workload),
        Some(_) if walk.unmatched.is_some() => format!(
            "{}'s proxy found no service for the request and passes it on as it is, in plain text",
            client.workload
        ),
        Some(_) => format!("{}'s proxy sends plain text", client.workload),
    };
    let fix = "let the client into the mesh (a sidecar, or sidecar.istio.io/inject for the ingress), or take plain text on this \
               port: mode PERMISSIVE, or portLevelMtls of a PeerAuthentication with a selector";
    walk.step(Step::new("peerAuthentication", "STRICT", format!("{why}; to mend it: {fix}")).by(by).fails());
    let verdict = format!(
        "{} takes mutual TLS only on port {}{policy}, and {why}: the connection is closed, and {gets}.",
        pod.workload,
        delivery.to.port()
    );
    End::new(Outcome::Failed, verdict).answers(status)
}

/// Who the client is.
fn authenticate(walk: &mut Walk<'_>, chain: &FilterChain, connection: &Connection<'_>) {
    let step = match (&chain.tls, connection.peer_identity.and_then(|peer| peer.uri())) {
        (Some(_), Some(identity)) => {
            Step::new("tls", identity, "the client's certificate, verified by the mesh's root")
        }
        (Some(_), None) => Step::new("tls", "no identity", "the client shows no certificate of the mesh"),
        (None, _) if connection.is_tls() => Step::new("tls", "passed on", "TLS that is none of the proxy's business"),
        (None, _) => Step::new("tls", "no identity", "plain text: policies on identities and namespaces match nobody"),
    };
    walk.step(step);
}

/// Policies on connections.
fn network(
    walk: &mut Walk<'_>,
    chain: &FilterChain,
    connection: &Connection<'_>,
    delivery: &Delivery<'_>,
) -> Result<(), End> {
    for filter in &chain.filters {
        if let NetworkFilter::Rbac(rules) = filter {
            let subject = Subject::connection(connection);
            doubt::of_rules(walk, rules, &subject);
            let (step, denied) = filters::authorize(walk.mesh, rules, &subject);
            let because = step.because.clone();
            walk.step(step);
            if denied {
                let verdict = format!("The connection is closed: {because}.");
                let status = delivery.status_of(ResetReason::ConnectionTermination);
                return Err(End::new(Outcome::Denied, verdict).answers(status));
            }
        }
    }
    Ok(())
}
