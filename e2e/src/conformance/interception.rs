//! Interception: what Istio's iptables rules and ours do with the same first packets.
//!
//! Rows that ask for what is not supported (TPROXY, IPv6, DNS capture, virtual or excluded interfaces, owners' groups, dropping of
//! invalid packets) are skipped: the product refuses these settings or warns of them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::Value;
use varka_sys::nft::{Direction, Packet, SidecarRules, Verdict};

use super::{Report, cases, text};

/// Istio's name of each setting that is supported.
const SUPPORTED: [&str; 7] = [
    "InboundPortsInclude",
    "InboundPortsExclude",
    "OutboundPortsInclude",
    "OutboundPortsExclude",
    "OutboundIPRangesInclude",
    "OutboundIPRangesExclude",
    // Not a setting of traffic.
    "DryRun",
];
/// The sidecar's user and group in Istio, the mark of its packets here.
const SIDECAR: u32 = 1337;

/// Runs the table.
pub(super) fn run(table: &Value, dir: &Path, report: &mut Report) {
    for case in cases(table) {
        let config = case.get("config").and_then(Value::as_object).cloned().unwrap_or_default();
        if config.keys().any(|key| !SUPPORTED.contains(&key.as_str())) {
            report.skipped += 1;
            continue;
        }
        report.count(text(case, "name"), one(case, &dir.join("files")));
    }
}

fn one(case: &Value, files: &Path) -> Result<(), String> {
    let golden = text(case, "golden");
    let theirs = std::fs::read_to_string(files.join(golden)).map_err(|e| format!("{golden}: {e}"))?;
    let theirs = Iptables::parse(&theirs)?;
    let ours = rules(case.get("config").unwrap_or(&Value::Null))?;
    for packet in packets() {
        let (want, got) = (theirs.decide(&packet)?, ours.decide(&packet));
        if want != got {
            return Err(format!("{packet:?}: {got:?} instead of {want:?}"));
        }
    }
    Ok(())
}

/// Connections from and to the pod that differ in whatever a rule can ask for.
fn packets() -> Vec<Packet> {
    const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 7);
    let passthrough = Ipv4Addr::new(127, 0, 0, 6);
    let mut packets = Vec::new();
    for port in [80, 443, 15_001, 15_008, 31_000, 32_000, 32_001] {
        for source in [Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(192, 0, 2, 1)] {
            let inbound = Packet {
                direction: Direction::Inbound,
                over_loopback: false,
                source,
                destination: POD,
                port,
                mark: 0,
                uid: 0,
            };
            packets.push(inbound);
        }
        for (over_loopback, destination) in [
            (true, Ipv4Addr::LOCALHOST),
            (true, POD),
            (false, Ipv4Addr::new(10, 9, 8, 7)),
            (false, Ipv4Addr::new(192, 0, 2, 1)),
        ] {
            for source in [POD, passthrough] {
                for own in [0, SIDECAR] {
                    let direction = Direction::Outbound;
                    packets.push(Packet { direction, over_loopback, source, destination, port, mark: own, uid: own });
                }
            }
        }
    }
    packets
}

fn rules(config: &Value) -> Result<SidecarRules, String> {
    // A value is a Go string literal.
    let value = |key: &str| text(config, key).trim_matches('"').to_owned();
    let list = |key: &str| value(key).split(',').filter(|p| !p.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let ports = |key: &str| {
        list(key).iter().map(|p| p.parse::<u16>()).collect::<Result<Vec<_>, _>>().map_err(|e| format!("{key}: {e}"))
    };
    let networks = |key: &str| list(key).iter().map(|n| network(n)).collect::<Result<Vec<_>, _>>();
    let inbound = if value("InboundPortsInclude") == "*" { None } else { Some(ports("InboundPortsInclude")?) };
    let outbound =
        if value("OutboundIPRangesInclude") == "*" { None } else { Some(networks("OutboundIPRangesInclude")?) };
    let mut rules = SidecarRules {
        include_inbound_ports: inbound,
        include_outbound_ports: ports("OutboundPortsInclude")?,
        exclude_outbound_ports: ports("OutboundPortsExclude")?,
        include_outbound_cidrs: outbound,
        exclude_outbound_cidrs: networks("OutboundIPRangesExclude")?,
        ..SidecarRules::default()
    };
    rules.exclude_inbound_ports.extend(ports("InboundPortsExclude")?);
    Ok(rules)
}

fn network(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let (address, length) = text.split_once('/').unwrap_or((text, "32"));
    let wrong = || format!("`{text}` is not a network");
    Ok((address.parse().map_err(|_| wrong())?, length.parse().map_err(|_| wrong())?))
}

/// The `nat` table of an `iptables-restore` file; chain by chain.
struct Iptables(BTreeMap<String, Vec<Vec<String>>>);

impl Iptables {
    fn parse(text: &str) -> Result<Self, String> {
        let mut chains: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
        let mut nat = false;
        for line in text.lines() {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["*", table] => nat = *table == "nat",
                ["-A", chain, ..] if nat => {
                    chains.entry((*chain).to_owned()).or_default().push(words.into_iter().skip(2).collect());
                }
                ["-N" | "COMMIT" | "iptables-save" | "ip6tables-save", ..] | [] => {}
                _ => return Err(format!("not understood: {line}")),
            }
        }
        Ok(Self(chains))
    }

    fn decide(&self, packet: &Packet) -> Result<Verdict, String> {
        let hook = if packet.direction == Direction::Inbound { "PREROUTING" } else { "OUTPUT" };
        Ok(self.walk(hook, packet)?.unwrap_or(Verdict::Leave))
    }

    /// `None`: the chain says nothing, and the one that jumped here goes on.
    fn walk(&self, chain: &str, packet: &Packet) -> Result<Option<Verdict>, String> {
        for rule in self.0.get(chain).into_iter().flatten() {
            let words: Vec<&str> = rule.iter().map(String::as_str).collect();
            let (conditions, target) =
                words.iter().position(|w| *w == "-j").map(|i| words.split_at(i)).ok_or("a rule without a target")?;
            if !holds(conditions, packet)? {
                continue;
            }
            match target {
                ["-j", "RETURN"] if chain.starts_with("ISTIO_") => return Ok(None),
                ["-j", "RETURN"] => return Ok(Some(Verdict::Leave)),
                ["-j", "REDIRECT", "--to-ports", port] => {
                    return Ok(Some(Verdict::Redirect(port.parse().map_err(|_| "a port")?)));
                }
                ["-j", next] => {
                    if let Some(verdict) = self.walk(next, packet)? {
                        return Ok(Some(verdict));
                    }
                }
                other => return Err(format!("not understood: {other:?}")),
            }
        }
        Ok(None)
    }
}

fn holds(mut words: &[&str], packet: &Packet) -> Result<bool, String> {
    let number = |word: &str| word.parse::<u32>().map_err(|_| format!("not a number: {word}"));
    loop {
        let wanted = words.first() != Some(&"!");
        let (holds, rest) = match if wanted { words } else { words.get(1..).unwrap_or_default() } {
            [] => return Ok(true),
            ["-p", "tcp", rest @ ..] => (true, rest),
            ["-m", "owner", "!", option, owner, rest @ ..] => (!owned(option, number(owner)?, packet), rest),
            ["-m", "owner", option, owner, rest @ ..] => (owned(option, number(owner)?, packet), rest),
            ["--dport", port, rest @ ..] => (u32::from(packet.port) == number(port)?, rest),
            ["-o", "lo", rest @ ..] => (packet.over_loopback, rest),
            ["-s", range, rest @ ..] => (within(range, packet.source)?, rest),
            ["-d", range, rest @ ..] => (within(range, packet.destination)?, rest),
            other => return Err(format!("not understood: {other:?}")),
        };
        if holds != wanted {
            return Ok(false);
        }
        words = rest;
    }
}

/// The sidecar's processes have its user and its group.
fn owned(option: &str, owner: u32, packet: &Packet) -> bool {
    matches!(option, "--uid-owner" | "--gid-owner") && packet.uid == owner
}

fn within(range: &str, address: Ipv4Addr) -> Result<bool, String> {
    let (network, length) = network(range)?;
    let mask = u32::MAX.checked_shl(32u32.saturating_sub(u32::from(length))).unwrap_or(0);
    Ok(u32::from(network) & mask == u32::from(address) & mask)
}
