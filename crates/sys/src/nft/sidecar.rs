//! Interception of a pod's traffic by its sidecar, with the order and the exemptions of Istio's init step (tools/istio-iptables).

use std::net::Ipv4Addr;

use super::encode::{Hook, Rule, Table};
use super::{Error, Network};
use crate::socket::INBOUND_PASSTHROUGH_SOURCE;

const LOOPBACK: Network = (Ipv4Addr::LOCALHOST, 32);
/// HBONE speaks to the sidecar itself; a self-call on it must not be sent through inbound again.
const TUNNEL_PORT: u16 = 15008;

/// What to intercept, in the terms of Istio's injection annotations (`traffic.sidecar.istio.io/*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarRules {
    /// Where outbound connections are sent (15001).
    pub outbound_port: u16,
    /// Where inbound connections are sent (15006).
    pub inbound_port: u16,
    /// The packet mark by which the sidecar's own connections are known (1337).
    pub mark: u32,
    /// The user whose connections are the sidecar's as well; `None` where one user is all there is.
    pub uid: Option<u32>,
    /// Inbound ports left alone (`excludeInboundPorts`, and the sidecar's own 15008, 15020, 15021, 15090).
    pub exclude_inbound_ports: Vec<u16>,
    /// The only inbound ports to intercept (`includeInboundPorts`); `None` means all of them (`*`).
    pub include_inbound_ports: Option<Vec<u16>>,
    /// Outbound ports left alone (`excludeOutboundPorts`).
    pub exclude_outbound_ports: Vec<u16>,
    /// Outbound ports intercepted to whatever address (`includeOutboundPorts`).
    pub include_outbound_ports: Vec<u16>,
    /// The only outbound networks to intercept (`includeOutboundIPRanges`); `None` means all of them (`*`).
    pub include_outbound_cidrs: Option<Vec<Network>>,
    /// Outbound networks left alone (`excludeOutboundIPRanges`).
    pub exclude_outbound_cidrs: Vec<Network>,
}

impl Default for SidecarRules {
    fn default() -> Self {
        Self {
            outbound_port: 15001,
            inbound_port: 15006,
            mark: 1337,
            uid: None,
            exclude_inbound_ports: vec![TUNNEL_PORT, 15020, 15021, 15090],
            include_inbound_ports: None,
            exclude_outbound_ports: Vec::new(),
            include_outbound_ports: Vec::new(),
            include_outbound_cidrs: None,
            exclude_outbound_cidrs: Vec::new(),
        }
    }
}

/// Puts the rules in force in the calling thread's network namespace, in place of those of an earlier call, all or none.
///
/// # Errors
/// When the kernel refuses; then the earlier rules stay.
pub fn apply_sidecar_rules(rules: &SidecarRules) -> Result<(), Error> {
    let mut table = Table::replacing("varka_sidecar");
    inbound(&mut table, rules);
    outbound(&mut table, rules);
    table.apply()
}

fn inbound(table: &mut Table, rules: &SidecarRules) {
    const CHAIN: &str = "prerouting";
    table.base_chain(CHAIN, "nat", Hook::Prerouting, -100);
    for port in &rules.exclude_inbound_ports {
        table.rule(CHAIN, &Rule::new().tcp().destination_port(true, *port).leave());
    }
    match &rules.include_inbound_ports {
        None => table.rule(CHAIN, &Rule::new().tcp().redirect(rules.inbound_port)),
        Some(ports) => {
            for port in ports {
                table.rule(CHAIN, &Rule::new().tcp().destination_port(true, *port).redirect(rules.inbound_port));
            }
        }
    }
}

fn outbound(table: &mut Table, rules: &SidecarRules) {
    const CHAIN: &str = "output";
    let tcp = || Rule::new().tcp();
    let on_loopback = || tcp().out_interface("lo");
    table.base_chain(CHAIN, "nat", Hook::Output, -100);
    // The sidecar's passthrough to the application.
    table.rule(CHAIN, &on_loopback().source(INBOUND_PASSTHROUGH_SOURCE).leave());
    // A connection of the sidecar to its own pod's address is an application's call to its own Service, which must go through inbound. What
    // inbound passes on to the application has the source exempted above.
    let own_call = || on_loopback().destination(false, LOOPBACK).destination_port(false, TUNNEL_PORT);
    table.rule(CHAIN, &own_call().mark(rules.mark).redirect(rules.inbound_port));
    if let Some(uid) = rules.uid {
        table.rule(CHAIN, &own_call().uid(true, uid).redirect(rules.inbound_port));
    }
    // What anyone else sends over loopback stays as it is.
    let others = on_loopback().mark_is_not(rules.mark);
    table.rule(CHAIN, &rules.uid.map_or(others.clone(), |uid| others.uid(false, uid)).leave());
    table.rule(CHAIN, &tcp().mark(rules.mark).leave());
    if let Some(uid) = rules.uid {
        table.rule(CHAIN, &tcp().uid(true, uid).leave());
    }
    table.rule(CHAIN, &tcp().destination(true, LOOPBACK).leave());
    for port in &rules.exclude_outbound_ports {
        table.rule(CHAIN, &tcp().destination_port(true, *port).leave());
    }
    for network in &rules.exclude_outbound_cidrs {
        table.rule(CHAIN, &tcp().destination(true, *network).leave());
    }
    for port in &rules.include_outbound_ports {
        table.rule(CHAIN, &tcp().destination_port(true, *port).redirect(rules.outbound_port));
    }
    match &rules.include_outbound_cidrs {
        None => table.rule(CHAIN, &tcp().redirect(rules.outbound_port)),
        Some(networks) => {
            for network in networks {
                table.rule(CHAIN, &tcp().destination(true, *network).redirect(rules.outbound_port));
            }
        }
    }
}
