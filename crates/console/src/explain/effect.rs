//! What requests that were recorded would meet under another configuration.
//!
//! Each is decided twice, by the same walk that explains one: with the configuration that is in force and with the other. Where chance
//! decides (weights, faults for a share, which workload's endpoint), every way is walked with its share, so that what is told is what is to
//! be expected, and a split that stays as it is moves nothing. What hangs on something that was not recorded is told as not known, with what it hangs on.
//!
//! Nothing here reads a clock or a socket: how long to go on is asked of the caller.

mod compare;
mod ways;

use std::collections::BTreeMap;

use serde::Serialize;
use varka_pilot::ProxyKind;

use super::answer::{By, Direction, Outcome};
use super::destination;
use super::mesh::Mesh;
use super::pod::Pod;
use super::recorded::{self, RecordedHop};
use compare::Flow;
use ways::Ways;

#[cfg(test)]
mod tests;

/// So many groups are told; the largest.
const MOST_GROUPS: usize = 50;
/// Of each.
const EXAMPLES: usize = 3;

/// Requests that were recorded, and look the same as far as that says.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// One of them.
    pub hop: RecordedHop,
    /// How many of them there are estimated to have been.
    pub requests: f64,
    /// How many were recorded.
    pub recorded: u64,
    /// How often each status came back; 0: no answer.
    pub codes: BTreeMap<u16, u64>,
    /// Some of them, the newest first.
    pub examples: Vec<Example>,
}

/// A request that was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    /// Seconds since 1970.
    pub at: u64,
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Status that came back; 0: no answer.
    pub code: u16,
    /// Hexadecimal.
    pub trace_id: String,
}

/// What would be different.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// Requests that were decided.
    pub requests: u64,
    /// Records that these were decided from.
    pub recorded: u64,
    /// Requests that would meet what they meet.
    pub same: u64,
    /// The others, by what would become of them, the most first within each kind.
    pub groups: Vec<Group>,
    /// Requests of groups that are too small to be told.
    pub more: u64,
    /// Requests that were not decided, since time ran out.
    pub unexamined: u64,
    /// Requests that come by namespaces which whoever asks may not see.
    pub hidden: u64,
    /// Requests of whose way too little was recorded: their pods are gone, or they came without their client's record.
    pub unread: u64,
}

/// What becomes of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A policy would refuse them.
    Denied,
    /// They would not get there.
    Failed,
    /// They would go somewhere else.
    Rerouted,
    /// They would go where they go, but otherwise.
    Altered,
    /// They would be let through, and are refused.
    Allowed,
    /// They would get there, and do not.
    Mended,
    /// It hangs on what was not recorded.
    Unknown,
}

/// Requests that have the same in common.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// What becomes of them.
    pub kind: Kind,
    /// Who sends them.
    pub from: Client,
    /// Host that they are for.
    pub to: String,
    /// How many.
    pub requests: u64,
    /// Of all from there to there, from 0 to 1.
    pub share: f64,
    /// What they meet.
    pub before: Met,
    /// What they would meet.
    pub after: Met,
    /// What is otherwise, step by step.
    pub changes: Vec<Changed>,
    /// Why; of what is not known, what it hangs on.
    pub because: String,
    /// The object that says so; of one that is taken away, as it is now.
    pub by: Option<By>,
    /// How often each status came back, of all requests that look like these.
    pub codes: BTreeMap<u16, u64>,
    /// Some of them.
    pub examples: Vec<Example>,
    #[serde(skip)]
    expected: f64,
}

/// Who sends requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Client {
    /// Namespace.
    pub namespace: String,
    /// Workload.
    pub workload: String,
}

/// What requests meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Met {
    /// What comes of them.
    pub outcome: Outcome,
    /// What a proxy answers; `None`: the application answers, or nobody does.
    pub status: Option<u16>,
    /// Cluster that the client's proxy sends them to; empty: none.
    pub cluster: String,
    /// Workload where they arrive, NAMESPACE/NAME; empty: none that is known.
    pub workload: String,
    /// The same in a sentence.
    pub verdict: String,
}

/// A step that is otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Its name.
    pub step: &'static str,
    /// What is chosen; empty: there is no such step.
    pub before: String,
    /// What would be.
    pub after: String,
}

/// What becomes of `shapes`. `now`: seconds since 1970, by which tokens are judged. `sees`: whether a namespace may be told of. `go_on` is
/// asked before each.
pub fn predict(
    shapes: &[Shape],
    (before, after): (&Mesh, &Mesh),
    now: u64,
    sees: &dyn Fn(&str) -> bool,
    go_on: &mut dyn FnMut() -> bool,
) -> Effect {
    let mut sum = Sum::default();
    let mut most_first: Vec<&Shape> = shapes.iter().collect();
    most_first.sort_by(|a, b| b.requests.total_cmp(&a.requests));
    for shape in most_first {
        if !go_on() {
            sum.unexamined += shape.requests;
            continue;
        }
        match both(shape, before, after, now) {
            None => sum.unread += shape.requests,
            Some((_, old, new)) if old.touched.iter().chain(&new.touched).any(|namespace| !sees(namespace)) => {
                sum.hidden += shape.requests;
            }
            Some((client, old, new)) => {
                let flows = compare::flows(shape, &old, &new);
                if flows.is_empty() && is_blind(before, &shape.hop) {
                    sum.unread += shape.requests;
                } else {
                    sum.add(shape, client, flows);
                }
            }
        }
    }
    sum.told()
}

/// What is decided now, and what would be.
fn both(shape: &Shape, before: &Mesh, after: &Mesh, now: u64) -> Option<(Client, Ways, Ways)> {
    let hop = &shape.hop;
    let pod = recorded::pod_of(before, hop)?;
    if is_half(before, hop) {
        return None;
    }
    let hop = dialled(before, pod, hop);
    let (old, new) = (ways::of(before, &hop, now)?, ways::of(after, &hop, now)?);
    let sends = match hop.direction {
        Direction::Outbound => Some(pod),
        Direction::Inbound => hop.peer.and_then(|peer| before.pod_at(peer)),
    };
    let client = sends.map_or_else(
        || Client { namespace: String::new(), workload: String::new() },
        |pod| Client { namespace: pod.namespace.clone(), workload: pod.workload.clone() },
    );
    Some((client, old, new))
}

/// A server's record of a request from a proxy whose own record is missing: how it came is not known, unless the log says.
fn is_half(mesh: &Mesh, hop: &RecordedHop) -> bool {
    let from_proxy = || hop.peer.and_then(|peer| mesh.pod_at(peer)).is_some_and(|pod| pod.proxy.is_some());
    hop.direction == Direction::Inbound && hop.dialled.is_none() && from_proxy()
}

/// What was passed on to an address that is not known may have met anything there.
fn is_blind(mesh: &Mesh, hop: &RecordedHop) -> bool {
    let dialled = || recorded::pod_of(mesh, hop).and_then(|pod| dialled(mesh, pod, hop).dialled);
    hop.cluster == "PassthroughCluster" && dialled().is_none_or(destination::is_outside)
}

/// With the address that the application dialled, which is the same whatever the configuration: as the log says, else that of the host
/// that was named, else that of the service that it went to.
fn dialled(mesh: &Mesh, pod: &Pod, hop: &RecordedHop) -> RecordedHop {
    let mut hop = hop.clone();
    if hop.direction == Direction::Inbound || pod.proxy == Some(ProxyKind::Router) || hop.dialled.is_some() {
        return hop;
    }
    let named = hop.authority.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let of_cluster = || hop.cluster.split('|').nth(1).and_then(|port| port.parse().ok());
    let (host, port) = named.unwrap_or_else(|| (hop.authority.as_str(), of_cluster().unwrap_or(0)));
    let found = destination::dial(mesh, pod, host, port).ok().map(|found| found.address);
    let found = found.filter(|address| !destination::is_outside(*address));
    hop.dialled = found.or_else(|| Some(recorded::dialled(mesh, pod, &hop).address));
    hop
}

/// The host that requests are for: that of the service that was found for them, else what they name.
fn host_of(hop: &RecordedHop) -> String {
    let of_service = hop.cluster.strip_prefix("outbound|").and_then(|rest| rest.splitn(3, '|').nth(2));
    of_service.unwrap_or_else(|| hop.authority.rsplit_once(':').map_or(&*hop.authority, |(host, _)| host)).to_owned()
}

/// What is the same of all requests of a group, as text but for the kind: sentences and paths are not.
type Key = (Kind, Client, String, String);

/// What tells a group from others with the same client, host and kind.
fn told_apart(flow: &Flow) -> String {
    let met = |met: &Met| format!("{:?} {:?} {} {}", met.outcome, met.status, met.cluster, met.workload);
    let by_path = |changed: &Changed| matches!(changed.step, "rewrite" | "path");
    let changes: Vec<String> = flow
        .changes
        .iter()
        .map(|changed| if by_path(changed) { changed.step.to_owned() } else { format!("{changed:?}") })
        .collect();
    let because = if flow.kind == Kind::Unknown { flow.because.as_str() } else { "" };
    format!("{} > {} {changes:?} {:?} {because}", met(&flow.before), met(&flow.after), flow.by)
}

/// What has come of those that were decided so far.
#[derive(Debug, Default)]
struct Sum {
    requests: f64,
    recorded: u64,
    unexamined: f64,
    hidden: f64,
    unread: f64,
    /// From somebody to some host.
    between: BTreeMap<(Client, String), f64>,
    groups: BTreeMap<Key, Group>,
}

impl Sum {
    fn add(&mut self, shape: &Shape, client: Client, flows: Vec<Flow>) {
        self.requests += shape.requests;
        self.recorded += shape.recorded;
        let to = host_of(&shape.hop);
        *self.between.entry((client.clone(), to.clone())).or_default() += shape.requests;
        for flow in flows {
            let key = (flow.kind, client.clone(), to.clone(), told_apart(&flow));
            let Flow { kind, share, before, after, changes, because, by } = flow;
            let group = self.groups.entry(key).or_insert_with(|| Group {
                kind,
                from: client.clone(),
                to: to.clone(),
                requests: 0,
                share: 0.0,
                before,
                after,
                changes,
                because,
                by,
                codes: BTreeMap::new(),
                examples: Vec::new(),
                expected: 0.0,
            });
            group.expected += shape.requests * share;
            shape.codes.iter().for_each(|(code, count)| *group.codes.entry(*code).or_default() += count);
            let room = EXAMPLES.saturating_sub(group.examples.len());
            group.examples.extend(shape.examples.iter().take(room).cloned());
        }
    }

    fn told(self) -> Effect {
        let requests = whole(self.requests);
        let mut groups: Vec<Group> = self.groups.into_values().collect();
        for group in &mut groups {
            let all = self.between.get(&(group.from.clone(), group.to.clone())).copied().unwrap_or_default();
            group.share = if all > 0.0 { (group.expected / all).min(1.0) } else { 0.0 };
            group.requests = whole(group.expected);
        }
        let others: u64 = groups.iter().map(|group| group.requests).sum();
        groups.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.kind.cmp(&b.kind)));
        let more = groups.iter().skip(MOST_GROUPS).map(|group| group.requests).sum();
        groups.truncate(MOST_GROUPS);
        groups.sort_by(|a, b| a.kind.cmp(&b.kind).then_with(|| b.requests.cmp(&a.requests)));
        Effect {
            requests,
            recorded: self.recorded,
            same: requests.saturating_sub(others),
            groups,
            more,
            unexamined: whole(self.unexamined),
            hidden: whole(self.hidden),
            unread: whole(self.unread),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, and never negative")]
fn whole(number: f64) -> u64 {
    number.round().max(0.0) as u64
}
