//! Each request counts once, though client and server both report it.
//!
//! Where both say the same (same ends, code, flags and host), it is one report. Three things make it two, and are undone here:
//!
//! * They agree on who talked to whom, and differ in the rest: a code that the client never saw, another of a workload's
//!   services. Then the side that counted more is believed as a whole, and the client where they counted alike.
//! * The server does not know its client, because it came in plain text, and the client knows itself: what the client sent is
//!   taken off what the server got from nobody.
//!
//! A server that does not report (it is outside the mesh, or the request never arrived) leaves the client's report as it is, and
//! a client that does not report leaves the server's.

use std::collections::HashMap;

use super::collect::{Entry, Numbered, Reports};
use super::key::{Identity, UNKNOWN, known};
use super::model::Protocol;
use super::row::Side;

/// Two proxies are not read at the same moment: rates that differ by less are the same.
const ALIKE: f64 = 0.01;
/// The same for a sum that other sums were taken off.
const REST: f64 = 0.05;
/// Flags of requests that reached no server.
const NEVER_ARRIVED: [&str; 9] = ["UF", "UH", "UO", "NR", "NC", "RL", "UAEX", "FI", "DPE"];

/// Metric, protocol, client, server.
type Pair = (u8, Protocol, u32, u32);

/// Sets the rate of each entry, and marks those whose requests another one tells of. Gives how many.
pub(super) fn reconcile(reports: &mut Reports<'_>, select_pairs: bool) -> usize {
    let servers = servers(&reports.identities);
    let mut pairs: HashMap<Pair, Vec<usize>> = HashMap::new();
    for (place, entry) in reports.entries.iter().enumerate() {
        if let Some(server) = servers.get(entry.target as usize) {
            pairs.entry((entry.metric, entry.protocol, entry.source, *server)).or_default().push(place);
        }
    }
    for places in pairs.values() {
        let selected = select_pairs && places.iter().any(|p| reports.entries.get(*p).is_some_and(|e| e.selected));
        agree(&mut reports.entries, places);
        for place in places {
            if let Some(entry) = reports.entries.get_mut(*place) {
                entry.selected |= selected;
            }
        }
    }
    take_off_nobody(reports, &pairs);
    reports.entries.iter().filter(|entry| entry.told_otherwise).count()
}

/// For each identity, which server it stands for: the workload, whatever service it was asked under; else itself.
fn servers(identities: &Numbered<Identity<'_>>) -> Vec<u32> {
    let mut numbers = Numbered::new();
    let servers = identities.things().iter().map(|identity| {
        let mut server = *identity;
        if known(server.workload) {
            (server.service, server.service_namespace) = ("", "");
        }
        numbers.number(server)
    });
    servers.collect()
}

/// Sets the rates of one pair.
fn agree(entries: &mut [Entry<'_>], places: &[usize]) {
    let mut sums = [0.0; Side::COUNT];
    let mut told = [false; Side::COUNT];
    let mut differ = false;
    let mut first: Option<[bool; Side::COUNT]> = None;
    for place in places {
        let Some(entry) = entries.get_mut(*place) else { continue };
        entry.part.rate = entry.first();
        if entry.part.rate <= 0.0 {
            continue;
        }
        let sides = entry.sides.map(|side| side.is_some());
        differ |= *first.get_or_insert(sides) != sides;
        for ((sum, told), side) in sums.iter_mut().zip(&mut told).zip(entry.sides) {
            *sum += side.unwrap_or_default();
            *told |= side.is_some();
        }
    }
    if !differ {
        return;
    }
    let Some(believed) = believed(sums, told) else { return };
    for place in places {
        let Some(entry) = entries.get_mut(*place) else { continue };
        if entry.part.rate <= 0.0 {
            continue;
        }
        match entry.sides.get(believed as usize).copied().flatten() {
            Some(rate) => entry.part.rate = rate,
            None => entry.told_otherwise = true,
        }
    }
}

/// The side that counted more; the client's where they counted alike.
fn believed(sums: [f64; Side::COUNT], told: [bool; Side::COUNT]) -> Option<Side> {
    let most = sums.iter().copied().fold(0.0, f64::max);
    let enough = |side: &Side| {
        let place = *side as usize;
        let sum = sums.get(place).copied().unwrap_or_default();
        told.get(place).is_some_and(|told| *told) && sum >= most * (1.0 - ALIKE)
    };
    let order = [Side::Source, Side::Waypoint, Side::Destination, Side::ZtunnelSource, Side::ZtunnelDestination];
    order.into_iter().find(enough)
}

/// What a server got from clients that it does not know, and what clients sent that it should have told of.
#[derive(Default)]
struct Unknown {
    /// Places of the server's reports.
    from_nobody: Vec<usize>,
    /// Places of the clients' reports that the server has no counterpart of.
    from_somebody: Vec<usize>,
}

fn take_off_nobody(reports: &mut Reports<'_>, pairs: &HashMap<Pair, Vec<usize>>) {
    let mut servers: HashMap<(u8, Protocol, u32), Unknown> = HashMap::new();
    for ((metric, protocol, source, server), places) in pairs {
        let Some(source) = reports.identities.thing(*source) else { continue };
        let nobody = [source.workload_namespace, source.workload, source.app].iter().all(|v| *v == UNKNOWN);
        let sides = |receives: bool| {
            let told = |entry: &Entry<'_>| {
                let of_kind = |side: &Side| if receives { side.receives() } else { side.sends() };
                Side::ALL.iter().zip(entry.sides).any(|(side, rate)| of_kind(side) && rate.is_some())
            };
            places.iter().any(|place| reports.entries.get(*place).is_some_and(told))
        };
        // A workload knows itself: what it sends to itself never comes from nobody.
        let itself =
            |t: &Identity<'_>| (t.workload_namespace, t.workload) == (source.workload_namespace, source.workload);
        let to_another = places.iter().any(|place| {
            let target = reports.entries.get(*place).and_then(|entry| reports.identities.thing(entry.target));
            target.is_some_and(|target| known(target.workload) && !itself(target))
        });
        if !to_another {
            continue;
        }
        let of_server = servers.entry((*metric, *protocol, *server)).or_default();
        if nobody && sides(true) {
            of_server.from_nobody.extend(places);
        } else if !nobody && !sides(true) {
            of_server.from_somebody.extend(places);
        }
    }
    for unknown in servers.values().filter(|u| !u.from_nobody.is_empty() && !u.from_somebody.is_empty()) {
        take_off(&mut reports.entries, unknown);
    }
}

/// First what has the same code, then what is left of all that arrived.
fn take_off<'a>(entries: &mut [Entry<'a>], unknown: &Unknown) {
    let mut sent: HashMap<&'a str, f64> = HashMap::new();
    for entry in unknown.from_somebody.iter().filter_map(|place| entries.get(*place)) {
        if arrived(entry.part.flags) && !entry.told_otherwise {
            *sent.entry(entry.part.code).or_default() += entry.part.rate;
        }
    }
    let mut got: HashMap<&'a str, f64> = HashMap::new();
    for entry in unknown.from_nobody.iter().filter_map(|place| entries.get(*place)) {
        *got.entry(entry.part.code).or_default() += entry.part.rate;
    }
    let (all_sent, all_got): (f64, f64) = (sent.values().sum(), got.values().sum());
    let left = |code: &str, rate: f64| (rate - sent.get(code).copied().unwrap_or_default()).max(0.0);
    let left_by_code: f64 = got.iter().map(|(code, rate)| left(code, *rate)).sum();
    let mut left_at_all = (all_got - all_sent).max(0.0);
    if left_at_all <= all_got * REST {
        left_at_all = 0.0;
    }
    let scale = if left_by_code > 0.0 { (left_at_all / left_by_code).min(1.0) } else { 0.0 };
    let share = |code: &str| match got.get(code) {
        Some(rate) if *rate > 0.0 => left(code, *rate) / rate * scale,
        _ => 1.0,
    };
    let mut selected = false;
    for place in &unknown.from_nobody {
        let Some(entry) = entries.get_mut(*place) else { continue };
        selected |= entry.selected;
        let share = share(entry.part.code);
        entry.told_otherwise |= share <= 0.0 && entry.part.rate > 0.0;
        entry.part.rate *= share;
    }
    // What the server got is shown; then so is whom it got it from.
    for place in &unknown.from_somebody {
        if let (true, Some(entry)) = (selected, entries.get_mut(*place)) {
            entry.selected = true;
        }
    }
}

fn arrived(flags: &str) -> bool {
    !flags.split(',').any(|flag| NEVER_ARRIVED.contains(&flag))
}
