//! From an accepted connection to the listener and the filter chain that handle it.
//!
//! The listener is found by original destination as Envoy does with `use_original_dst`: `IP_PORT`, then `0.0.0.0_PORT`, then
//! the one that accepted. The chain is found by specificity, criterion after criterion in Envoy's fixed order, and *without
//! going back*: once a chain is the most specific by port, a less specific port is never looked at again, even if nothing
//! below it matches. That is why a plain-text client of a STRICT port falls to no chain at all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::facts::Connection;
use crate::ir::{FilterChain, FilterChainMatch, Listener, Proxy, ResourceType, SourceType, Str, TransportProtocol};
use crate::recency::LastUse;
use crate::trace::Trace;

#[cfg(test)]
mod tests;

/// Listeners by the address that they stand for. Built once per configuration.
#[derive(Debug, Default, Clone)]
pub struct ListenerIndex {
    by_address: HashMap<SocketAddr, Known>,
}

/// What is known of an address.
#[derive(Debug, Clone)]
enum Known {
    /// This listener stands for it.
    Listener(Arc<Listener>),
    /// It was asked for, and there is none.
    Absent(LastUse),
}

impl Known {
    fn listener(&self) -> Option<&Arc<Listener>> {
        match self {
            Self::Listener(listener) => Some(listener),
            Self::Absent(_) => None,
        }
    }
}

/// What is known of the listener of a destination.
#[derive(Debug, PartialEq)]
pub enum Lookup<'a> {
    /// It is this one.
    Found(&'a Arc<Listener>),
    /// There is none: the accepting one keeps the connection.
    Nobody,
    /// These names have to be asked for first.
    NotAsked(SmallVec<[Str; 2]>),
}

impl ListenerIndex {
    /// Indexes the listeners of a proxy, and those that it knows not to exist.
    pub fn new(proxy: &Proxy) -> Self {
        Self::noting(proxy, |_| LastUse::default())
    }

    /// The same; that a listener does not exist is noted whenever it matters.
    pub fn noting(proxy: &Proxy, last_use: impl Fn(&(ResourceType, Str)) -> LastUse) -> Self {
        let absent = proxy.absent.iter().filter(|(kind, _)| *kind == ResourceType::Listener);
        let absent = absent.filter_map(|key| Some((address(&key.1)?, Known::Absent(last_use(key)))));
        let mut by_address: HashMap<_, _> = absent.collect();
        by_address.extend(proxy.listeners.values().map(|l| (l.address, Known::Listener(Arc::clone(l)))));
        Self { by_address }
    }

    /// The listener of exactly this destination, else of its port on any address; `None`: the accepting one keeps it.
    pub fn find(&self, original_dst: SocketAddr) -> Option<&Arc<Listener>> {
        candidates(original_dst).into_iter().find_map(|address| self.by_address.get(&address)?.listener())
    }

    /// The same where listeners are asked for one by one: a less specific one counts only once it is known that there is no
    /// more specific one.
    pub fn look_up(&self, original_dst: SocketAddr) -> Lookup<'_> {
        let mut missing = SmallVec::new();
        for address in candidates(original_dst) {
            match self.by_address.get(&address) {
                Some(Known::Listener(listener)) if missing.is_empty() => return Lookup::Found(listener),
                Some(Known::Listener(_)) => {}
                Some(Known::Absent(last_use)) => last_use.note(),
                None => missing.push(name(address).into()),
            }
        }
        if missing.is_empty() { Lookup::Nobody } else { Lookup::NotAsked(missing) }
    }

    /// The listener that handles a connection which `accepting` accepted.
    pub fn choose<'a>(
        &'a self,
        accepting: &'a Arc<Listener>,
        original_dst: SocketAddr,
        trace: &mut Trace,
    ) -> &'a Arc<Listener> {
        if !accepting.use_original_dst {
            return accepting;
        }
        match self.find(original_dst) {
            Some(found) => {
                trace.note(|| format!("original destination {original_dst}: listener {}", found.name));
                found
            }
            None => {
                trace.note(|| {
                    let [exact, any] = names(original_dst);
                    format!("no listener {exact} or {any}: {} keeps the connection", accepting.name)
                });
                accepting
            }
        }
    }
}

/// The address itself and its port on any address.
fn candidates(original_dst: SocketAddr) -> [SocketAddr; 2] {
    let any: IpAddr = match original_dst {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    [original_dst, SocketAddr::new(any, original_dst.port())]
}

/// The listener names to ask a control plane for, most specific first: `10.96.0.1_443`, `0.0.0.0_443`.
pub fn names(original_dst: SocketAddr) -> [String; 2] {
    candidates(original_dst).map(name)
}

fn name(address: SocketAddr) -> String {
    format!("{}_{}", address.ip(), address.port())
}

/// The address that a name stands for.
fn address(name: &str) -> Option<SocketAddr> {
    let (ip, port) = name.rsplit_once('_')?;
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

type Candidates<'a> = SmallVec<[&'a FilterChain; 8]>;

/// The chain that handles a connection, or none: it is closed (`NR filter_chain_not_found`).
pub fn choose_chain<'a>(
    listener: &'a Listener,
    connection: &Connection<'_>,
    trace: &mut Trace,
) -> Option<&'a FilterChain> {
    match narrow(listener, connection, trace) {
        Some(chain) => {
            trace.note(|| match &*chain.name {
                "" => format!("the filter chain of listener {}", listener.name),
                name => format!("filter chain {name} of listener {}", listener.name),
            });
            Some(chain)
        }
        None => {
            let default = listener.default_filter_chain.as_ref();
            trace.note(|| match default {
                Some(chain) if chain.name.is_empty() => {
                    format!("no filter chain of listener {} matches: its default chain", listener.name)
                }
                Some(chain) => {
                    format!("no filter chain of listener {} matches: default chain {}", listener.name, chain.name)
                }
                None => format!("no filter chain of listener {} matches and it has no default: closed", listener.name),
            });
            default
        }
    }
}

/// Narrows the chains criterion by criterion; each keeps only the most specific of what is left.
fn narrow<'a>(listener: &'a Listener, c: &Connection<'_>, trace: &mut Trace) -> Option<&'a FilterChain> {
    let mut left: Candidates<'a> = listener.filter_chains.iter().collect();
    let (ip, port) = (c.original_dst.ip(), c.original_dst.port());
    most_specific(&mut left, trace, &format_args!("destination port {port}"), |m| match m.destination_port {
        Some(want) => (want == port).then_some(1),
        None => Some(0),
    });
    most_specific(&mut left, trace, &format_args!("destination address {ip}"), |m| {
        longest(&m.destination_prefixes, ip)
    });
    let sni = c.sni.unwrap_or_default();
    most_specific(&mut left, trace, &format_args!("server name {sni:?}"), |m| server_name(&m.server_names, sni));
    most_specific(&mut left, trace, &format_args!("transport {}", transport_name(c.transport)), |m| {
        match m.transport_protocol {
            Some(want) => (want == c.transport).then_some(1),
            None => Some(0),
        }
    });
    let offered: SmallVec<[&[u8]; 4]> = c.application_protocols().collect();
    most_specific(&mut left, trace, &format_args!("application protocols"), |m| application(m, &offered));
    most_specific(&mut left, trace, &format_args!("source {}", c.peer.ip()), |m| source_type(m.source_type, c));
    most_specific(&mut left, trace, &format_args!("source address {}", c.peer.ip()), |m| {
        longest(&m.source_prefixes, c.peer.ip())
    });
    left.first().copied()
}

/// Keeps the chains with the highest specificity; those for which it is `None` do not match.
fn most_specific(
    left: &mut Candidates<'_>,
    trace: &mut Trace,
    what: &dyn std::fmt::Display,
    specificity: impl Fn(&FilterChainMatch) -> Option<usize>,
) {
    if left.is_empty() {
        return;
    }
    let before = left.len();
    let best = left.iter().filter_map(|chain| specificity(&chain.matches)).max();
    left.retain(|chain| best.is_some() && specificity(&chain.matches) == best);
    if left.len() != before {
        trace.note(|| match best {
            None => format!("{what}: none of {before} chains accepts it"),
            Some(_) => format!("{what}: {} of {before} chains left", left.len()),
        });
    }
}

/// Length of the longest prefix that contains `ip`, plus one; no prefixes are the prefix of length zero.
fn longest(prefixes: &[IpNet], ip: IpAddr) -> Option<usize> {
    if prefixes.is_empty() {
        return Some(1);
    }
    prefixes.iter().filter(|net| net.contains(&ip)).map(|net| usize::from(net.prefix_len()) + 1).max()
}

/// Exact name before longest `*.suffix` before no name at all.
fn server_name(names: &[Str], sni: &str) -> Option<usize> {
    if names.is_empty() {
        return Some(0);
    }
    names
        .iter()
        .filter_map(|name| match name.strip_prefix('*') {
            Some(suffix) => (sni.len() > suffix.len() && sni.ends_with(suffix)).then_some(suffix.len()),
            None => (**name == *sni).then_some(usize::MAX),
        })
        .max()
}

/// The client's first protocol that some chain asks for decides; a chain that asks for none comes last.
fn application(m: &FilterChainMatch, offered: &[&[u8]]) -> Option<usize> {
    if m.application_protocols.is_empty() {
        return Some(0);
    }
    let first = offered.iter().position(|have| m.application_protocols.iter().any(|want| want.as_bytes() == *have))?;
    Some(offered.len() - first)
}

fn source_type(want: SourceType, c: &Connection<'_>) -> Option<usize> {
    let same = c.peer.ip().is_loopback() || c.peer.ip() == c.local.ip();
    match want {
        SourceType::Any => Some(0),
        SourceType::SameIpOrLoopback => same.then_some(1),
        SourceType::External => (!same).then_some(1),
    }
}

/// The name that Envoy gives it.
fn transport_name(transport: TransportProtocol) -> &'static str {
    match transport {
        TransportProtocol::Tls => "tls",
        TransportProtocol::RawBuffer => "raw_buffer",
    }
}
