//! The node's part of Services: cluster addresses to ready endpoints, in the base namespace that all pods are routed through.
//!
//! Pods without a sidecar, and the API server itself, reach Services this way. Connections to addresses outside are handed to a local relay.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::encode::{Hook, Rule, Table};
use super::{Error, Network};

/// The transport of a service port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// A ready endpoint of a service port.
pub type Backend = SocketAddrV4;

/// One port of one Service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceRule {
    /// The cluster address.
    pub address: Ipv4Addr,
    /// The service's port.
    pub port: u16,
    /// Its transport.
    pub protocol: Protocol,
    /// Ready endpoints; a new connection goes to any of them, each as likely. Empty means that connections are refused.
    pub backends: Vec<Backend>,
}

/// Everything that the base namespace does with the pods' connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRules {
    /// The interface that pods are behind.
    pub bridge: String,
    /// Networks that are inside: pods and services.
    pub inside: Vec<Network>,
    /// The address inside that means the host's loopback.
    pub host: Ipv4Addr,
    /// Where connections to addresses outside, and to `host`, are sent.
    pub relay_port: u16,
    /// The services' network: what no rule takes there is refused at once.
    pub service_network: Network,
    /// Addresses of the service network that live in the base namespace itself, as cluster DNS does.
    pub local: Vec<Ipv4Addr>,
    /// The service ports.
    pub services: Vec<ServiceRule>,
}

/// Puts the rules in force in the calling thread's network namespace, in place of those of an earlier call, all or none.
///
/// # Errors
/// When the kernel refuses; then the earlier rules stay.
pub fn apply_service_rules(rules: &ServiceRules) -> Result<(), Error> {
    const SERVICES: &str = "services";
    const REFUSE: &str = "refuse";
    let mut table = Table::replacing("varka_services");
    table.chain(SERVICES);
    table.base_chain("prerouting", "nat", Hook::Prerouting, -100);
    table.base_chain("output", "nat", Hook::Output, -100);
    table.base_chain("postrouting", "nat", Hook::Postrouting, 100);
    table.chain(REFUSE);
    table.base_chain("forward", "filter", Hook::Forward, 0);
    table.base_chain("local", "filter", Hook::Output, 0);

    let services = |rule: Rule| rule.destination(true, rules.service_network);
    table.rule(
        "prerouting",
        &Rule::new().tcp().in_interface(&rules.bridge).destination(true, (rules.host, 32)).redirect(rules.relay_port),
    );
    table.rule("prerouting", &services(Rule::new()).goto(SERVICES));
    table.rule("output", &services(Rule::new()).goto(SERVICES));
    let mut outside = Rule::new().tcp().in_interface(&rules.bridge);
    for network in &rules.inside {
        outside = outside.destination(false, *network);
    }
    table.rule("prerouting", &outside.redirect(rules.relay_port));

    for service in rules.services.iter().filter(|s| !rules.local.contains(&s.address)) {
        balance(&mut table, SERVICES, service);
    }
    // A pod that reaches itself through its Service must see an answer from the node, or its own kernel would drop it.
    let mut addresses: Vec<Ipv4Addr> = rules.services.iter().flat_map(|s| &s.backends).map(|b| *b.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    for address in addresses {
        table.rule("postrouting", &Rule::new().source(address).destination(true, (address, 32)).masquerade());
    }
    // What still has a cluster address here has no endpoint, or no such port.
    table.rule(REFUSE, &Rule::new().tcp().reset());
    table.rule(REFUSE, &Rule::new().unreachable());
    for local in &rules.local {
        table.rule("local", &Rule::new().destination(true, (*local, 32)).leave());
    }
    for chain in ["forward", "local"] {
        table.rule(chain, &services(Rule::new()).goto(REFUSE));
    }
    table.apply()
}

fn balance(table: &mut Table, chain: &str, service: &ServiceRule) {
    let count = u32::try_from(service.backends.len()).unwrap_or(u32::MAX);
    for (remaining, backend) in (1..=count).rev().zip(&service.backends) {
        let hit = Rule::new()
            .protocol(service.protocol.number())
            .destination(true, (service.address, 32))
            .destination_port(true, service.port);
        let chosen = if remaining > 1 { hit.one_in(remaining) } else { hit };
        table.rule(chain, &chosen.dnat(*backend.ip(), backend.port()));
    }
}
