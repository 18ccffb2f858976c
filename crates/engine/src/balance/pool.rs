//! One group of endpoints and the way one of them is picked.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::ir::LbPolicy;

use super::priority::unit;
use super::{Host, Pick, xxhash64};

/// Longest schedule of weighted turns; with more, turns are taken at random by weight.
const LONGEST_SCHEDULE: u64 = 4096;
/// Envoy's largest ring.
const MAX_RING: f64 = 8.0 * 1024.0 * 1024.0;

/// Endpoints among which only the policy decides.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    members: Vec<usize>,
    weights: Vec<f64>,
    equal: bool,
    chooser: Chooser,
}

#[derive(Debug, Clone)]
enum Chooser {
    Turns,
    /// Weighted turns, as positions among the members.
    Schedule(Vec<u32>),
    Weighted,
    LeastRequest(u32),
    Random,
    /// Hashes in ascending order, with positions among the members.
    Ring(Vec<(u64, u32)>),
    /// Positions among the members.
    Maglev(Vec<u32>),
}

impl Pool {
    pub(super) fn new<'a>(policy: LbPolicy, hosts: impl Iterator<Item = (usize, &'a Host, f64)>) -> Self {
        let hosts: Vec<(usize, &Host, f64)> = hosts.filter(|(_, _, weight)| *weight > 0.0).collect();
        let weights: Vec<f64> = hosts.iter().map(|(_, _, weight)| *weight).collect();
        let equal = weights.windows(2).all(|pair| matches!(pair, [a, b] if (a - b).abs() < f64::EPSILON));
        let keys = || hosts.iter().map(|(_, host, _)| &*host.key);
        let chooser = match policy {
            _ if hosts.is_empty() => Chooser::Random,
            LbPolicy::RoundRobin | LbPolicy::ClusterProvided if equal => Chooser::Turns,
            LbPolicy::RoundRobin | LbPolicy::ClusterProvided => {
                schedule(&weights).map_or(Chooser::Weighted, Chooser::Schedule)
            }
            LbPolicy::LeastRequest { choices } => Chooser::LeastRequest(choices.max(1)),
            LbPolicy::Random if equal => Chooser::Random,
            LbPolicy::Random => Chooser::Weighted,
            LbPolicy::RingHash { min_size } => Chooser::Ring(ring(keys(), &weights, min_size)),
            LbPolicy::Maglev { table_size } => Chooser::Maglev(maglev(keys(), &weights, table_size)),
        };
        Self { members: hosts.iter().map(|(at, _, _)| *at).collect(), weights, equal, chooser }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Picks a member; `attempt` counts the picks of this request that were rejected.
    pub(super) fn choose(&self, pick: &mut Pick<'_>, attempt: u64) -> Option<usize> {
        let position = match &self.chooser {
            Chooser::Turns => modulo(pick.counter.wrapping_add(attempt), self.members.len())?,
            Chooser::Schedule(turns) => {
                let turn = modulo(pick.counter.wrapping_add(attempt), turns.len())?;
                usize::try_from(*turns.get(turn)?).ok()?
            }
            Chooser::Random => modulo((pick.random)(), self.members.len())?,
            Chooser::Weighted => self.weighted((pick.random)())?,
            Chooser::LeastRequest(choices) => self.least_request(*choices, pick)?,
            Chooser::Ring(ring) => {
                let hash = pick.hash.unwrap_or_else(|| (pick.random)());
                let first = ring.partition_point(|(at, _)| *at < hash);
                let at = modulo(u64::try_from(first).ok()?.wrapping_add(attempt), ring.len())?;
                usize::try_from(ring.get(at)?.1).ok()?
            }
            Chooser::Maglev(table) => {
                let mut hash = pick.hash.unwrap_or_else(|| (pick.random)());
                if attempt > 0 {
                    hash ^= (u64::MAX - attempt).wrapping_add(1);
                }
                usize::try_from(*table.get(modulo(hash, table.len())?)?).ok()?
            }
        };
        self.members.get(position).copied()
    }

    /// The least busy of some random members, in proportion to their weights.
    fn least_request(&self, choices: u32, pick: &mut Pick<'_>) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for _ in 0..choices {
            let random = (pick.random)();
            let at = if self.equal { modulo(random, self.members.len())? } else { self.weighted(random)? };
            let active = f64::from((pick.active)(*self.members.get(at)?));
            let load = if self.equal { active } else { (active + 1.0) / self.weights.get(at)? };
            if best.is_none_or(|(_, least)| load < least) {
                best = Some((at, load));
            }
        }
        best.map(|(at, _)| at)
    }

    /// A random member by weight.
    fn weighted(&self, random: u64) -> Option<usize> {
        let total: f64 = self.weights.iter().sum();
        let mut left = unit(random) * total;
        let found = self.weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        found.or(self.weights.len().checked_sub(1))
    }
}

fn modulo(number: u64, length: usize) -> Option<usize> {
    usize::try_from(number.checked_rem(u64::try_from(length).ok()?)?).ok()
}

/// Member with its next turn at `(taken + 1) / weight`, earliest first.
#[derive(PartialEq, Eq)]
struct Turn {
    taken: u64,
    weight: u64,
    position: u32,
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        let mine = u128::from(self.taken + 1) * u128::from(other.weight);
        let theirs = u128::from(other.taken + 1) * u128::from(self.weight);
        theirs.cmp(&mine).then(other.position.cmp(&self.position))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Turns by earliest deadline, so that a heavy member's turns are spread; `None` for weights that are not small integers.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a small positive integer")]
fn schedule(weights: &[f64]) -> Option<Vec<u32>> {
    let whole = |w: &f64| (w.fract() == 0.0 && *w >= 1.0 && *w <= f64::from(u32::MAX)).then_some(*w as u64);
    let weights: Vec<u64> = weights.iter().map(whole).collect::<Option<_>>()?;
    let divisor = weights.iter().copied().reduce(gcd).filter(|d| *d > 0)?;
    let total: u64 = weights.iter().map(|w| w / divisor).sum();
    if total > LONGEST_SCHEDULE {
        return None;
    }
    let mut turns: BinaryHeap<Turn> =
        (0..).zip(&weights).map(|(position, weight)| Turn { taken: 0, weight: weight / divisor, position }).collect();
    let mut order = Vec::with_capacity(usize::try_from(total).ok()?);
    for _ in 0..total {
        let turn = turns.pop()?;
        order.push(turn.position);
        turns.push(Turn { taken: turn.taken + 1, ..turn });
    }
    Some(order)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Envoy's ring: each member has points in proportion to its weight, at the hash of `KEY_NUMBER`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ring sizes are positive and far below 2^52"
)]
fn ring<'a>(keys: impl Iterator<Item = &'a str>, weights: &[f64], min_size: u64) -> Vec<(u64, u32)> {
    let total: f64 = weights.iter().sum();
    let least = weights.iter().copied().fold(f64::INFINITY, f64::min) / total;
    let scale = ((least * min_size.max(1) as f64).ceil() / least).min(MAX_RING);
    let mut points = Vec::with_capacity(scale.ceil() as usize);
    let (mut current, mut target) = (0.0, 0.0);
    let mut name = String::new();
    for ((position, key), weight) in (0_u32..).zip(keys).zip(weights) {
        target += scale * (weight / total);
        let mut number = 0_u64;
        while current < target {
            name.clear();
            name.push_str(key);
            name.push('_');
            name.push_str(&number.to_string());
            points.push((xxhash64(name.as_bytes()), position));
            number += 1;
            current += 1.0;
        }
    }
    points.sort_unstable();
    points
}

/// Maglev's table as Envoy fills it.
fn maglev<'a>(keys: impl Iterator<Item = &'a str>, weights: &[f64], table_size: u64) -> Vec<u32> {
    struct Entry {
        position: u32,
        offset: u64,
        skip: u64,
        next: u64,
        weight: f64,
        target: f64,
    }
    let size = table_size.max(3);
    let mut sorted: Vec<(&str, u32, f64)> =
        keys.zip(0_u32..).zip(weights).map(|((key, position), weight)| (key, position, *weight)).collect();
    sorted.sort_by(|a, b| a.0.cmp(b.0));
    let heaviest = weights.iter().copied().fold(0.0, f64::max);
    let mut entries: Vec<Entry> = sorted
        .into_iter()
        .map(|(key, position, weight)| Entry {
            position,
            offset: xxhash64(key.as_bytes()) % size,
            skip: super::hash::xxhash64_seeded(key.as_bytes(), 1) % (size - 1) + 1,
            next: 0,
            weight,
            target: 0.0,
        })
        .collect();
    let mut table = vec![u32::MAX; usize::try_from(size).unwrap_or(0)];
    let mut filled = 0;
    let mut iteration = 1.0;
    while filled < table.len() && !entries.is_empty() {
        for entry in &mut entries {
            if filled == table.len() {
                break;
            }
            if iteration * entry.weight < entry.target {
                continue;
            }
            entry.target += heaviest;
            while let Some(slot) = table.get_mut(slot_of(entry.offset, entry.skip, entry.next, size)) {
                entry.next += 1;
                if *slot == u32::MAX {
                    *slot = entry.position;
                    filled += 1;
                    break;
                }
            }
        }
        iteration += 1.0;
    }
    table
}

/// The `next`-th slot of a permutation.
fn slot_of(offset: u64, skip: u64, next: u64, size: u64) -> usize {
    let at = (u128::from(offset) + u128::from(skip) * u128::from(next)) % u128::from(size);
    usize::try_from(at).unwrap_or(usize::MAX)
}
