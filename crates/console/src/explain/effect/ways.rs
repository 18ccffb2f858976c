//! Every way that a request may go under one configuration, with its share.

use std::collections::{BTreeMap, BTreeSet};

use crate::explain::answer::{Direction, Explanation, Outcome, Step};
use crate::explain::filters::DELAYED;
use crate::explain::mesh::Mesh;
use crate::explain::recorded::{self, RecordedHop};
use crate::explain::walk::{Fork, Notes, Walk};

use super::Met;

/// So many ways of one request are walked.
const MOST_WAYS: usize = 32;

/// One of them.
#[derive(Debug)]
pub(super) struct Way {
    /// From 0 to 1.
    pub(super) share: f64,
    pub(super) status: Option<u16>,
    pub(super) explanation: Explanation,
    /// What clusters on it were told.
    pub(super) settings: Vec<String>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Ways {
    pub(super) all: Vec<Way>,
    /// The share of those that were not walked.
    pub(super) rest: f64,
    /// What decisions hang on that was not recorded: in words, by all that was said of it.
    pub(super) doubts: BTreeMap<String, String>,
    /// Namespaces that they tell of.
    pub(super) touched: BTreeSet<String>,
}

/// The ways of a request; `None`: whose pods are gone, or what nobody could have sent.
pub(super) fn of(mesh: &Mesh, hop: &RecordedHop, now: u64) -> Option<Ways> {
    let pod = recorded::pod_of(mesh, hop)?;
    let request = recorded::request_of(hop).ok()?;
    let (mut all, mut doubts, mut touched) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
    let mut scripts = vec![Vec::new()];
    let mut rest = 1.0;
    while let Some(script) = scripts.pop().filter(|_| all.len() < MOST_WAYS) {
        let mut walk = Walk::new(mesh, request.clone(), now);
        walk.notes = Some(Notes { script: script.clone(), ..Notes::default() });
        let asked = walk.asked();
        let end = recorded::one(&mut walk, pod, hop);
        scripts.extend(others(&walk.forks, script.len()));
        let share = walk.forks.iter().map(share).product();
        let notes = walk.notes.take().unwrap_or_default();
        let status = end.status;
        let explanation = walk.finish(asked, end);
        rest -= share;
        doubts.extend(notes.doubts);
        touched.extend(explanation.touched.iter().cloned());
        all.push(Way { share, status, explanation, settings: notes.settings });
    }
    Some(Ways { all, rest: if rest > 1e-9 { rest } else { 0.0 }, doubts, touched })
}

#[expect(clippy::cast_precision_loss, reason = "weights are far smaller")]
fn share(fork: &Fork) -> f64 {
    let total: u64 = fork.weights.iter().sum();
    let own = fork.weights.get(fork.taken).copied().unwrap_or_default();
    own as f64 / total.max(1) as f64
}

/// The scripts that lead where this walk did not go, from the fork at `from` on.
fn others(forks: &[Fork], from: usize) -> Vec<Vec<usize>> {
    let taken: Vec<usize> = forks.iter().map(|fork| fork.taken).collect();
    let mut scripts = Vec::new();
    for (place, fork) in forks.iter().enumerate().skip(from) {
        for (other, weight) in fork.weights.iter().enumerate() {
            if *weight > 0 && other != fork.taken {
                scripts.push(taken.iter().take(place).copied().chain([other]).collect());
            }
        }
    }
    scripts
}

/// Steps that make a difference to a request that gets there, beside TLS and delays.
const MARKS: [&str; 10] =
    ["route", "passthrough", "blackhole", "cluster", "retry", "mirror", "rewrite", "cors", "path", "extAuthz"];

impl Way {
    pub(super) fn steps(&self) -> impl DoubleEndedIterator<Item = (Direction, &Step)> {
        self.explanation.hops.iter().flat_map(|hop| hop.steps.iter().map(|step| (hop.proxy.direction, step)))
    }

    /// Steps that make a difference, by name, with what was chosen. How the server sees the client's certificate makes none beside how the client dials.
    pub(super) fn marks(&self) -> Vec<&Step> {
        let counts = |(direction, step): &(Direction, &Step)| {
            match step.step {
                "tls" => *direction == Direction::Outbound,
                // Who is not aborted does not notice that others are.
                "fault" => step.because == DELAYED,
                name => MARKS.contains(&name),
            }
        };
        self.steps().filter(counts).map(|(_, step)| step).collect()
    }

    /// The step that ended it.
    pub(super) fn refusal(&self) -> Option<&Step> {
        self.steps().map(|(_, step)| step).rev().find(|step| !step.ok)
    }

    pub(super) fn is_good(&self) -> bool {
        matches!(self.explanation.outcome, Outcome::Ok | Outcome::Passthrough)
    }

    /// Where it goes: clusters of clients' proxies, and the workload where it arrives.
    pub(super) fn destination(&self) -> (Vec<&str>, &str, Option<u16>) {
        let leads = |(direction, step): &(Direction, &Step)| {
            *direction == Direction::Outbound && matches!(step.step, "route" | "passthrough" | "blackhole")
        };
        let clusters = self.steps().filter(leads).map(|(_, step)| step.chosen.as_str()).collect();
        (clusters, self.arrives(), self.status)
    }

    fn arrives(&self) -> &str {
        let last = self.explanation.hops.last().filter(|hop| hop.proxy.direction == Direction::Inbound);
        last.map_or("", |hop| hop.proxy.workload.as_str())
    }

    /// Whether whoever sends it notices a difference.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        let (own, theirs) = (&self.explanation, &other.explanation);
        if own.outcome != theirs.outcome || self.status != other.status {
            return false;
        }
        let chosen = |way: &Self| -> Vec<(&'static str, String)> {
            way.marks().iter().map(|step| (step.step, step.chosen.clone())).collect()
        };
        !self.is_good()
            || self.destination() == other.destination()
                && chosen(self) == chosen(other)
                && self.settings == other.settings
    }

    pub(super) fn met(&self) -> Met {
        let last = self.explanation.hops.last().filter(|hop| hop.proxy.direction == Direction::Inbound);
        let cluster = self.destination().0.first().map_or_else(String::new, |cluster| (*cluster).to_owned());
        Met {
            outcome: self.explanation.outcome,
            status: self.status,
            cluster,
            workload: last.map_or_else(String::new, |hop| format!("{}/{}", hop.proxy.namespace, hop.proxy.workload)),
            verdict: self.explanation.verdict.clone(),
        }
    }
}
