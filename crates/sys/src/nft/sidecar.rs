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

/// Where a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// What comes to the pod.
    Inbound,
    /// What the pod's processes send.
    Outbound,
}

/// What a packet must be for a rule to take it. All rules are about TCP alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// It leaves by the loopback.
    OverLoopback,
    /// Its source.
    Source(Ipv4Addr),
    /// Whether its destination is in this network.
    Destination(bool, Network),
    /// Whether its destination is this port.
    Port(bool, u16),
    /// Whether it has this mark.
    Mark(bool, u32),
    /// Whether this user sent it.
    User(bool, u32),
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes where it was sent.
    Leave,
    /// It goes to this port of the sidecar.
    Redirect(u16),
}

/// A rule: the first of its direction whose conditions all hold decides.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    direction: Direction,
    conditions: Vec<Condition>,
    verdict: Verdict,
}

/// The first packet of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Whether it comes or goes.
    pub direction: Direction,
    /// Whether it leaves by the loopback.
    pub over_loopback: bool,
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Destination port.
    pub port: u16,
    /// Mark.
    pub mark: u32,
    /// User whose process sent it.
    pub uid: u32,
}

impl SidecarRules {
    /// What becomes of a packet under these rules: what the kernel does with it once they are applied.
    #[must_use]
    pub fn decide(&self, packet: &Packet) -> Verdict {
        let takes = |step: &Step| step.direction == packet.direction && step.conditions.iter().all(|c| c.holds(packet));
        steps(self).into_iter().find(takes).map_or(Verdict::Leave, |step| step.verdict)
    }
}

impl Condition {
    fn holds(self, packet: &Packet) -> bool {
        match self {
            Self::OverLoopback => packet.over_loopback,
            Self::Source(address) => packet.source == address,
            Self::Destination(within, network) => within == contains(network, packet.destination),
            Self::Port(equal, port) => equal == (packet.port == port),
            Self::Mark(equal, mark) => equal == (packet.mark == mark),
            Self::User(equal, uid) => equal == (packet.uid == uid),
        }
    }

    fn encode(self, rule: Rule) -> Rule {
        match self {
            Self::OverLoopback => rule.out_interface("lo"),
            Self::Source(address) => rule.source(address),
            Self::Destination(within, network) => rule.destination(within, network),
            Self::Port(equal, port) => rule.destination_port(equal, port),
            Self::Mark(true, mark) => rule.mark(mark),
            Self::Mark(false, mark) => rule.mark_is_not(mark),
            Self::User(equal, uid) => rule.uid(equal, uid),
        }
    }
}

fn contains((network, length): Network, address: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32u32.saturating_sub(u32::from(length))).unwrap_or(0);
    u32::from(network) & mask == u32::from(address) & mask
}

/// Puts the rules in force in the calling thread's network namespace, in place of those of an earlier call, all or none.
///
/// # Errors
/// When the kernel refuses; then the earlier rules stay.
pub fn apply_sidecar_rules(rules: &SidecarRules) -> Result<(), Error> {
    const INBOUND: &str = "prerouting";
    const OUTBOUND: &str = "output";
    let mut table = Table::replacing("varka_sidecar");
    table.base_chain(INBOUND, "nat", Hook::Prerouting, -100);
    table.base_chain(OUTBOUND, "nat", Hook::Output, -100);
    for step in steps(rules) {
        let rule = step.conditions.iter().fold(Rule::new().tcp(), |rule, condition| condition.encode(rule));
        let rule = match step.verdict {
            Verdict::Leave => rule.leave(),
            Verdict::Redirect(port) => rule.redirect(port),
        };
        table.rule(if step.direction == Direction::Inbound { INBOUND } else { OUTBOUND }, &rule);
    }
    table.apply()
}

fn steps(rules: &SidecarRules) -> Vec<Step> {
    let mut steps = inbound(rules);
    steps.append(&mut outbound(rules));
    steps
}

fn inbound(rules: &SidecarRules) -> Vec<Step> {
    let step = |conditions: Vec<Condition>, verdict| Step { direction: Direction::Inbound, conditions, verdict };
    let redirect = Verdict::Redirect(rules.inbound_port);
    let excluded = rules.exclude_inbound_ports.iter().map(|p| step(vec![Condition::Port(true, *p)], Verdict::Leave));
    let mut steps: Vec<Step> = excluded.collect();
    match &rules.include_inbound_ports {
        None => steps.push(step(Vec::new(), redirect)),
        Some(ports) => steps.extend(ports.iter().map(|p| step(vec![Condition::Port(true, *p)], redirect))),
    }
    steps
}

fn outbound(rules: &SidecarRules) -> Vec<Step> {
    use Condition::{Destination, Mark, OverLoopback, Port, Source, User};
    let mut steps = Vec::new();
    let mut add = |conditions: Vec<Condition>, verdict| {
        steps.push(Step { direction: Direction::Outbound, conditions, verdict });
    };
    // The sidecar's passthrough to the application.
    add(vec![OverLoopback, Source(INBOUND_PASSTHROUGH_SOURCE)], Verdict::Leave);
    // A connection of the sidecar to its own pod's address is an application's call to its own Service, which must go through inbound. What
    // inbound passes on to the application has the source exempted above.
    let own_call = [OverLoopback, Destination(false, LOOPBACK), Port(false, TUNNEL_PORT)];
    let owners = [Some(Mark(true, rules.mark)), rules.uid.map(|uid| User(true, uid))];
    for owner in owners.into_iter().flatten() {
        add([own_call.as_slice(), &[owner]].concat(), Verdict::Redirect(rules.inbound_port));
    }
    // What anyone else sends over loopback stays as it is.
    let others = [Some(OverLoopback), Some(Mark(false, rules.mark)), rules.uid.map(|uid| User(false, uid))];
    add(others.into_iter().flatten().collect(), Verdict::Leave);
    for owner in owners.into_iter().flatten() {
        add(vec![owner], Verdict::Leave);
    }
    add(vec![Destination(true, LOOPBACK)], Verdict::Leave);
    for port in &rules.exclude_outbound_ports {
        add(vec![Port(true, *port)], Verdict::Leave);
    }
    for network in &rules.exclude_outbound_cidrs {
        add(vec![Destination(true, *network)], Verdict::Leave);
    }
    let redirect = Verdict::Redirect(rules.outbound_port);
    for port in &rules.include_outbound_ports {
        add(vec![Port(true, *port)], redirect);
    }
    match &rules.include_outbound_cidrs {
        None => add(Vec::new(), redirect),
        Some(networks) => networks.iter().for_each(|network| add(vec![Destination(true, *network)], redirect)),
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 7);
    const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 7);

    fn out(destination: Ipv4Addr, port: u16) -> Packet {
        Packet {
            direction: Direction::Outbound,
            over_loopback: destination.is_loopback() || destination == POD,
            source: POD,
            destination,
            port,
            mark: 0,
            uid: 1000,
        }
    }

    #[test]
    fn the_application_is_redirected_and_the_sidecar_is_not() {
        let rules = SidecarRules::default();
        assert_eq!(rules.decide(&out(ELSEWHERE, 80)), Verdict::Redirect(15001));
        assert_eq!(rules.decide(&Packet { mark: 1337, ..out(ELSEWHERE, 80) }), Verdict::Leave);
        assert_eq!(rules.decide(&out(Ipv4Addr::LOCALHOST, 80)), Verdict::Leave);
        // A call to its own Service goes through inbound, and from there to the application.
        let own = Packet { mark: 1337, ..out(POD, 80) };
        assert_eq!(rules.decide(&own), Verdict::Redirect(15006));
        assert_eq!(rules.decide(&Packet { source: INBOUND_PASSTHROUGH_SOURCE, ..own }), Verdict::Leave);
        let inbound = Packet { direction: Direction::Inbound, over_loopback: false, ..out(POD, 80) };
        assert_eq!(rules.decide(&inbound), Verdict::Redirect(15006));
        assert_eq!(rules.decide(&Packet { port: 15021, ..inbound }), Verdict::Leave);
    }

    #[test]
    fn what_is_left_out_and_what_alone_is_taken() {
        let rules = SidecarRules {
            include_inbound_ports: Some(vec![80]),
            exclude_outbound_ports: vec![3306],
            include_outbound_ports: vec![443],
            include_outbound_cidrs: Some(vec![(ELSEWHERE, 16)]),
            exclude_outbound_cidrs: vec![(Ipv4Addr::new(10, 9, 1, 0), 24)],
            uid: Some(1337),
            ..SidecarRules::default()
        };
        let far = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(rules.decide(&out(ELSEWHERE, 80)), Verdict::Redirect(15001));
        assert_eq!(rules.decide(&out(Ipv4Addr::new(10, 9, 1, 5), 80)), Verdict::Leave);
        assert_eq!(rules.decide(&out(ELSEWHERE, 3306)), Verdict::Leave);
        assert_eq!(rules.decide(&out(far, 80)), Verdict::Leave);
        assert_eq!(rules.decide(&out(far, 443)), Verdict::Redirect(15001));
        assert_eq!(rules.decide(&Packet { uid: 1337, ..out(far, 443) }), Verdict::Leave);
        let inbound = Packet { direction: Direction::Inbound, over_loopback: false, ..out(POD, 81) };
        assert_eq!(rules.decide(&inbound), Verdict::Leave);
    }
}
