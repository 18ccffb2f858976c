//! Outbound listeners by destination: `0.0.0.0_PORT` for HTTP, `IP_PORT` for what has an address, and what happens when
//! several services want the same.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use varka_engine::ir::{
    ConnectionFilters, FilterChain, FilterChainMatch, Listener, NetworkFilter, RouteSource, Str, TcpProxy, Terminal,
    TrafficDirection, TransportProtocol,
};

use super::tcp::{self, Opaque};
use super::{Class, PLAIN_HTTP, chain, connection_manager, listener_name, socket, stats, strs, virtual_outbound};
use crate::context::{Ctx, s};
use crate::endpoints::instances;
use crate::policy::{Side, listener_access_logs};
use crate::registry::{Port, Protocol, Resolution, Service, Source};
use crate::scope::Egress;
use crate::{Interception, snapshot::Prepared};

/// An outbound listener in the making.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    name: Str,
    bind: IpAddr,
    pub(crate) port: u16,
    pub(super) bind_to_port: bool,
    /// What is on the port, all services taken together.
    protocol: Protocol,
    chains: Vec<Draft>,
    /// Declared by a Sidecar with this port: nothing is added.
    locked: bool,
}

/// A filter chain in the making.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft {
    pub(super) sni: Vec<Str>,
    pub(super) cidrs: Vec<IpNet>,
    alpn: Vec<Str>,
    transport: Option<TransportProtocol>,
    pub(super) terminal: DraftTerminal,
}

/// The end of a [`Draft`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum DraftTerminal {
    /// RDS name.
    Http(Str),
    Tcp(TcpProxy),
}

impl Draft {
    pub(super) fn tcp(sni: Vec<Str>, cidrs: Vec<IpNet>, proxy: TcpProxy) -> Self {
        Self { sni, cidrs, alpn: Vec::new(), transport: None, terminal: DraftTerminal::Tcp(proxy) }
    }

    fn http(rds: Str) -> Self {
        Self {
            sni: Vec::new(),
            cidrs: Vec::new(),
            alpn: Vec::new(),
            transport: None,
            terminal: DraftTerminal::Http(rds),
        }
    }

    fn sniffed(self) -> Self {
        Self { alpn: strs(PLAIN_HTTP), transport: Some(TransportProtocol::RawBuffer), ..self }
    }

    fn takes_all(&self) -> bool {
        (self.sni.is_empty() || self.sni.iter().any(|n| &**n == "*"))
            && self.alpn.is_empty()
            && self.transport.is_none()
            && self.cidrs.is_empty()
    }

    fn conflicts(&self, other: &Self) -> bool {
        let names = |d: &Self| {
            let mut n: Vec<_> = d.sni.iter().filter(|n| &***n != "*").cloned().collect();
            n.sort();
            n
        };
        let nets = |d: &Self| {
            let mut n: Vec<IpNet> = d.cidrs.iter().map(IpNet::trunc).collect();
            n.sort();
            n
        };
        self.transport == other.transport
            && self.alpn == other.alpn
            && names(self) == names(other)
            && nets(self) == nets(other)
    }
}

impl Entry {
    pub(crate) fn name(&self) -> Str {
        self.name.clone()
    }

    /// RDS names that its chains refer to.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Str> {
        self.chains.iter().filter_map(|d| match &d.terminal {
            DraftTerminal::Http(rds) => Some(rds),
            DraftTerminal::Tcp(_) => None,
        })
    }
}

type Entries = BTreeMap<(IpAddr, u16), Entry>;

/// One service port that wants a listener.
struct Want<'a> {
    service: &'a Arc<Service>,
    port: &'a Port,
    binds: Vec<IpAddr>,
    bind_to_port: bool,
    cidrs: Vec<IpNet>,
    virtual_services: &'a [Arc<Prepared>],
}

/// Whether any outbound listener has a socket of its own.
pub(super) fn binds(ctx: &Ctx<'_>) -> bool {
    ctx.scope().egress.iter().any(|egress| has_socket(ctx, egress))
}

fn has_socket(ctx: &Ctx<'_>, egress: &Egress) -> bool {
    let capture = egress.listener.as_ref().map(|l| l.capture_mode);
    ctx.proxy.interception == Interception::None || capture == Some(varka_api::istio::CaptureMode::None)
}

/// All outbound listeners, or those of one port.
pub(crate) fn entries(ctx: &Ctx<'_>, only: Option<u16>) -> Entries {
    let mut entries = Entries::new();
    for egress in &ctx.scope().egress {
        let listener = egress.listener.as_ref();
        let own_port = listener.and_then(|l| l.port.as_ref());
        let bind_to_port = has_socket(ctx, egress);
        let binds: Vec<IpAddr> = match listener.and_then(|l| l.bind.parse().ok()) {
            Some(ip) => vec![ip],
            None if bind_to_port => vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            None => Vec::new(),
        };
        match own_port {
            Some(port) => {
                let Ok(number) = u16::try_from(port.number) else { continue };
                if only.is_some_and(|p| p != number) {
                    continue;
                }
                let protocol = Protocol::parse(&port.protocol).unwrap_or(Protocol::Auto);
                let port = Port { name: s(&port.name), number, protocol };
                for service in &egress.services {
                    let want = want(service, &port, &binds, bind_to_port, egress);
                    add(ctx, &mut entries, want);
                }
            }
            None => {
                for entry in entries.values_mut() {
                    entry.locked = true;
                }
                for service in &egress.services {
                    for port in service.ports.iter().filter(|p| only.is_none_or(|o| o == p.number)) {
                        add_service(ctx, &mut entries, want(service, port, &binds, bind_to_port, egress));
                    }
                }
            }
        }
    }
    if ctx.proxy.on_demand {
        // These ask for each by its address.
        return entries;
    }
    // Any address of either family goes by the name that proxies ask for first, where only one of them is there.
    let v6_only: Vec<u16> = entries
        .keys()
        .filter(|(bind, port)| {
            *bind == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !entries.contains_key(&(ctx.proxy.wildcard(), *port))
        })
        .map(|(_, port)| *port)
        .collect();
    for port in v6_only {
        if let Some(entry) = entries.get_mut(&(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)) {
            entry.name = listener_name(ctx.proxy.wildcard(), port);
        }
    }
    entries
}

fn want<'a>(
    service: &'a Arc<Service>,
    port: &'a Port,
    binds: &[IpAddr],
    bind_to_port: bool,
    egress: &'a Egress,
) -> Want<'a> {
    Want {
        service,
        port,
        binds: binds.to_vec(),
        bind_to_port,
        cidrs: Vec::new(),
        virtual_services: &egress.virtual_services,
    }
}

/// Headless services with opaque ports get a listener for each pod; all others one by their addresses.
fn add_service(ctx: &Ctx<'_>, entries: &mut Entries, want: Want<'_>) {
    let service = want.service;
    let opaque = want.port.protocol.is_tcp() || want.port.protocol == Protocol::Auto;
    let headless =
        want.binds.is_empty() && service.resolution == Resolution::Passthrough && service.addresses.is_empty();
    if !headless || !opaque {
        return add(ctx, entries, want);
    }
    let found = instances(ctx, service, want.port);
    let has_endpoints = matches!(&service.source, Source::External(e) if e.spec.endpoints.is_empty() && e.spec.workload_selector.is_none());
    if has_endpoints {
        return add(ctx, entries, want);
    }
    for address in found.iter().filter_map(|i| i.address).filter(|a| !ctx.proxy.ips.contains(a)) {
        let one = Want { binds: vec![address], cidrs: Vec::new(), ..want };
        add(ctx, entries, one);
    }
}

/// Adds a service port to the listeners of its addresses.
fn add(ctx: &Ctx<'_>, entries: &mut Entries, mut want: Want<'_>) {
    if want.service.resolution == Resolution::Alias || want.port.protocol == Protocol::Udp {
        return;
    }
    let wildcard = ctx.proxy.wildcard();
    let http = want.port.protocol.is_http();
    if want.binds.is_empty() {
        if http || want.service.addresses.is_empty() {
            want.binds = vec![wildcard];
        } else if want.service.has_cidr() {
            return add_networks(ctx, entries, want);
        } else {
            want.binds = reachable(ctx, want.service);
        }
    }
    for bind in want.binds.clone() {
        add_one(ctx, entries, &want, bind);
    }
}

/// A listener on any address for the networks of each family that the proxy has.
fn add_networks(ctx: &Ctx<'_>, entries: &mut Entries, want: Want<'_>) {
    let all: Vec<IpNet> = want.service.addresses.iter().filter_map(|a| network(a)).collect();
    for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
        let cidrs: Vec<IpNet> = all.iter().filter(|n| n.addr().is_ipv4() == any.is_ipv4()).copied().collect();
        if !cidrs.is_empty() && ctx.proxy.ips.iter().any(|ip| ip.is_ipv4() == any.is_ipv4()) {
            add_one(ctx, entries, &Want { cidrs, binds: Vec::new(), ..want }, any);
        }
    }
}

fn network(address: &str) -> Option<IpNet> {
    address.parse().or_else(|_| address.parse::<IpAddr>().map(IpNet::from)).ok()
}

/// Addresses of the families that the proxy has; all of them where it has none of these.
fn reachable(ctx: &Ctx<'_>, service: &Service) -> Vec<IpAddr> {
    let all: Vec<IpAddr> = service.addresses.iter().filter_map(|a| a.parse().ok()).collect();
    let ours: Vec<IpAddr> =
        all.iter().copied().filter(|a| ctx.proxy.ips.iter().any(|p| p.is_ipv4() == a.is_ipv4())).collect();
    if ours.is_empty() { all } else { ours }
}

fn add_one(ctx: &Ctx<'_>, entries: &mut Entries, want: &Want<'_>, bind: IpAddr) {
    let key = (bind, want.port.number);
    let current = entries.get(&key).map(|e| (e.protocol, e.locked));
    if current.is_some_and(|(_, locked)| locked) {
        return;
    }
    let wildcard = bind.is_unspecified();
    let incoming = want.port.protocol;
    let is_well_known = |p: Protocol| matches!(p, Protocol::Mongo | Protocol::Mysql);
    if let Some((existing, _)) = current {
        // Telling HTTP from other bytes would break protocols in which the server speaks first.
        if (is_well_known(incoming) || is_well_known(existing)) && incoming != existing {
            return;
        }
    }
    let opaque = || {
        let listen = Opaque {
            service: want.service,
            port: want.port,
            cidrs: want.cidrs.clone(),
            bind,
            virtual_services: want.virtual_services,
        };
        tcp::drafts(ctx, &listen)
    };
    let rds = || {
        if incoming == Protocol::Auto && !wildcard {
            s(format!("{}:{}", want.service.host, want.port.number))
        } else {
            s(want.port.number.to_string())
        }
    };
    let mut protocol = incoming;
    let drafts = if incoming == Protocol::HttpProxy {
        vec![Draft::http(rds())]
    } else if incoming.is_http() {
        if current.is_some_and(|(existing, _)| !existing.is_tcp()) {
            return;
        }
        if wildcard {
            protocol = Protocol::Auto;
            vec![Draft::http(rds()).sniffed()]
        } else {
            vec![Draft::http(rds())]
        }
    } else if incoming == Protocol::Auto {
        let mut drafts = opaque();
        if current.is_none_or(|(existing, _)| existing != Protocol::Auto) {
            drafts.push(Draft::http(rds()).sniffed());
        }
        drafts
    } else {
        opaque()
    };
    match entries.get_mut(&key) {
        Some(entry) if !(incoming == Protocol::Auto && entry.protocol.is_http()) => {
            for draft in drafts {
                if !entry.chains.iter().any(|d| d.conflicts(&draft)) {
                    entry.chains.push(draft);
                }
            }
            if !(incoming.is_tcp() && entry.protocol.is_tcp()) {
                entry.protocol = Protocol::Auto;
            }
        }
        _ => {
            let entry = Entry {
                name: listener_name(bind, want.port.number),
                bind,
                port: want.port.number,
                bind_to_port: want.bind_to_port,
                protocol,
                chains: drafts,
                locked: false,
            };
            entries.insert(key, entry);
        }
    }
}

/// The listener of an entry.
pub(super) fn build(ctx: &Ctx<'_>, entry: &Entry) -> Listener {
    let name = entry.name();
    let tls = entry.chains.iter().any(|d| !d.sni.is_empty());
    let http = entry.chains.iter().any(|d| !d.alpn.is_empty());
    let mut filter_chains = Vec::new();
    let mut default_filter_chain = None;
    for draft in &entry.chains {
        let built = finish(ctx, &name, draft);
        if draft.takes_all() {
            default_filter_chain = Some(built);
        } else {
            filter_chains.push(built);
        }
    }
    if filter_chains.is_empty() {
        filter_chains.extend(default_filter_chain.take());
    } else if default_filter_chain.is_none() {
        default_filter_chain = Some(virtual_outbound::catch_all(ctx, "PassthroughFilterChain"));
    }
    let timeout = ctx.mesh().protocol_detection_timeout.map(|d| d.to_std()).filter(|d| http && !d.is_zero());
    Listener {
        name,
        address: socket(entry.bind, entry.port),
        bind_to_port: entry.bind_to_port,
        use_original_dst: false,
        direction: TrafficDirection::Outbound,
        inspect: ConnectionFilters { tls, http, timeout, continue_on_timeout: true, ..ConnectionFilters::default() },
        filter_chains,
        default_filter_chain,
        access_log: listener_access_logs(ctx, Side::Client),
    }
}

fn finish(ctx: &Ctx<'_>, listener: &Str, draft: &Draft) -> FilterChain {
    let mut server_names: Vec<Str> = if draft.sni.iter().any(|n| &**n == "*") { Vec::new() } else { draft.sni.clone() };
    server_names.sort();
    let matches = FilterChainMatch {
        destination_prefixes: draft.cidrs.clone(),
        server_names,
        transport_protocol: draft.transport,
        application_protocols: draft.alpn.clone(),
        ..FilterChainMatch::default()
    };
    match &draft.terminal {
        DraftTerminal::Http(rds) => {
            let manager = connection_manager(
                ctx,
                Class::Outbound,
                &format!("outbound_{listener}"),
                RouteSource::Rds(rds.clone()),
            );
            chain("", matches, Vec::new(), Terminal::Http(Box::new(manager)))
        }
        DraftTerminal::Tcp(proxy) => {
            let mut filters = stats(ctx, Side::Client);
            filters.extend(resolving(ctx, proxy));
            chain("", matches, filters, Terminal::Tcp(proxy.clone()))
        }
    }
}

/// Where a proxy leads to hosts that are resolved, the server name is.
fn resolving(ctx: &Ctx<'_>, proxy: &TcpProxy) -> Option<NetworkFilter> {
    let mut targets = proxy.clusters.iter().filter_map(|c| crate::cluster::outbound_parts(&c.cluster));
    let (port, _) = targets.find(|(_, host)| ctx.service(host).is_some_and(|v| v.is_dynamic()))?;
    Some(NetworkFilter::SniDynamicForwardProxy(port))
}
