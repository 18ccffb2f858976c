//! What a request meets beside what it would meet.
//!
//! Of two splits as few requests as possible are taken to move: what has a share in both keeps it.

use std::collections::BTreeSet;

use crate::explain::answer::{By, Direction, Outcome, Step};

use super::ways::{Way, Ways};
use super::{Changed, Kind, Met, Shape};

/// Part of the requests of a shape.
#[derive(Debug, PartialEq)]
pub(super) struct Flow {
    pub(super) kind: Kind,
    /// From 0 to 1.
    pub(super) share: f64,
    pub(super) before: Met,
    pub(super) after: Met,
    pub(super) changes: Vec<Changed>,
    pub(super) because: String,
    pub(super) by: Option<By>,
}

/// Less than this of a request is none.
const NOTHING: f64 = 1e-9;

/// What is different, in parts. What is the same is left out.
pub(super) fn flows(shape: &Shape, old: &Ways, new: &Ways) -> Vec<Flow> {
    let (Some(first), Some(then)) = (old.all.first(), new.all.first()) else { return Vec::new() };
    let unknown = |share: f64, because: String| Flow {
        kind: Kind::Unknown,
        share,
        before: first.met(),
        after: then.met(),
        changes: Vec::new(),
        because,
        by: None,
    };
    let moved = moved(old, new);
    let news: Vec<&str> =
        new.doubts.iter().filter(|(said, _)| !old.doubts.contains_key(*said)).map(|(_, words)| &**words).collect();
    if !news.is_empty() {
        return vec![unknown(1.0, in_words(news))];
    }
    let gone = old.doubts.keys().any(|said| !new.doubts.contains_key(said));
    if moved.is_empty() && !gone {
        return Vec::new();
    }
    // It went otherwise than is decided here, so that what was not recorded may have made the difference.
    if !old.doubts.is_empty() && is_otherwise(shape, old) {
        return vec![unknown(1.0, in_words(old.doubts.values().map(|words| &**words)))];
    }
    let told = moved.into_iter().map(|(before, after, share)| flow(before, after, share));
    let rest = old.rest.max(new.rest);
    let many = (rest > NOTHING).then(|| unknown(rest, "there are too many ways to go".to_owned()));
    told.chain(many).collect()
}

fn in_words<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let all: BTreeSet<&str> = words.into_iter().collect();
    all.into_iter().collect::<Vec<_>>().join("; ")
}

/// Ways that something moves between, with the share that does.
fn moved<'w>(old: &'w Ways, new: &'w Ways) -> Vec<(&'w Way, &'w Way, f64)> {
    let mut left: Vec<(&Way, f64)> = old.all.iter().map(|way| (way, way.share)).collect();
    let mut room: Vec<(&Way, f64)> = new.all.iter().map(|way| (way, way.share)).collect();
    let mut found = Vec::new();
    let fits: [fn(&Way, &Way) -> bool; 3] = [Way::is_as, |a, b| a.destination() == b.destination(), |_, _| true];
    for (round, fits) in fits.into_iter().enumerate() {
        for (before, left) in &mut left {
            for (after, room) in &mut room {
                let share = left.min(*room);
                if share > NOTHING && fits(before, after) {
                    *left -= share;
                    *room -= share;
                    if round > 0 {
                        found.push((*before, *after, share));
                    }
                }
            }
        }
    }
    found
}

/// Whether what was recorded is nothing that is decided with the configuration in force.
fn is_otherwise(shape: &Shape, old: &Ways) -> bool {
    let hop = &shape.hop;
    let leads = |way: &Way| way.destination().0.first().is_none_or(|cluster| *cluster == hop.cluster);
    let elsewhere = hop.direction == Direction::Outbound && !hop.cluster.is_empty() && !old.all.iter().any(leads);
    let answered = shape.codes.keys().any(|code| (100..400).contains(code));
    let refused = shape.codes.keys().all(|code| matches!(code, 401 | 403));
    elsewhere || answered && !old.all.iter().any(Way::is_good) || refused && old.all.iter().all(Way::is_good)
}

fn flow(before: &Way, after: &Way, share: f64) -> Flow {
    let kind = kind(before, after);
    let changes = if before.is_good() && after.is_good() { changes(before, after) } else { Vec::new() };
    let (because, by) = decider(kind, before, after, &changes);
    Flow { kind, share, before: before.met(), after: after.met(), changes, because, by }
}

fn kind(before: &Way, after: &Way) -> Kind {
    match (before.explanation.outcome, after.explanation.outcome) {
        (Outcome::Denied, Outcome::Denied) => Kind::Altered,
        (_, Outcome::Denied) => Kind::Denied,
        (_, Outcome::Failed | Outcome::Blackhole) if before.is_good() => Kind::Failed,
        (_, Outcome::Failed | Outcome::Blackhole) => Kind::Altered,
        (Outcome::Denied, _) => Kind::Allowed,
        (Outcome::Failed | Outcome::Blackhole, _) => Kind::Mended,
        _ if before.destination() != after.destination() => Kind::Rerouted,
        _ => Kind::Altered,
    }
}

/// Steps that are otherwise; of several of one name, in their order.
fn changes(before: &Way, after: &Way) -> Vec<Changed> {
    let (old, new) = (before.marks(), after.marks());
    let names: BTreeSet<&'static str> = old.iter().chain(&new).map(|step| step.step).collect();
    let chosen = |steps: &[&Step], name: &str| -> String {
        let all = steps.iter().filter(|step| step.step == name).map(|step| step.chosen.as_str());
        all.collect::<Vec<_>>().join(", ")
    };
    let mut found: Vec<Changed> = names
        .into_iter()
        .map(|step| Changed { step, before: chosen(&old, step), after: chosen(&new, step) })
        .filter(|changed| changed.before != changed.after)
        .collect();
    if found.is_empty() && before.settings != after.settings {
        let settings = "connection pools, outlier detection, load balancing or TLS";
        found.push(Changed {
            step: "cluster",
            before: format!("{settings} as now"),
            after: format!("{settings} as in the change"),
        });
    }
    found
}

/// Why, and which object says so.
fn decider(kind: Kind, before: &Way, after: &Way, changes: &[Changed]) -> (String, Option<By>) {
    let of = |step: Option<&Step>, verdict: &str| match step {
        Some(step) => (step.because.clone(), step.by.clone()),
        None => (verdict.to_owned(), None),
    };
    match kind {
        Kind::Denied | Kind::Failed => of(after.refusal(), &after.explanation.verdict),
        Kind::Allowed | Kind::Mended => of(before.refusal(), &before.explanation.verdict),
        Kind::Altered if !after.is_good() => of(after.refusal(), &after.explanation.verdict),
        Kind::Rerouted | Kind::Altered | Kind::Unknown => {
            let changed = |step: &&Step| changes.iter().any(|changed| changed.step == step.step);
            let placed = |way: &Way| way.marks().into_iter().filter(changed).find(|step| step.by.is_some()).cloned();
            let any = |way: &Way| way.marks().into_iter().find(changed).cloned();
            let step = placed(after).or_else(|| placed(before)).or_else(|| any(after)).or_else(|| any(before));
            of(step.as_ref(), &after.explanation.verdict)
        }
    }
}
