//! What is subscribed to, what is held, and what has been answered: the delta protocol without its stream.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use tokio::time::Instant;
use varka_engine::ir::{Resource, ResourceType, Str};
use varka_proto::envoy::core;
use varka_proto::envoy::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as Envelope};
use varka_proto::rpc;

use super::waiting::{Rate, Waiting};
use super::{Answer, Demand, Rejected, Sink, Update, references};
use crate::codec::{self, TYPES};

/// Names that were asked for and of which there can be any number, because they do not exist or are found by a wildcard only:
/// so many stay subscribed to.
const MAX_UNBOUNDED: usize = 1024;
/// So many refused resources are named in a NACK.
const MAX_NAMED: usize = 16;
/// gRPC's code for a message that is refused.
const INVALID_ARGUMENT: i32 = 3;
const WILDCARD: &str = "*";

/// All subscriptions of a client.
#[derive(Debug)]
pub(super) struct State {
    node: core::Node,
    /// The next request is the first of its stream and says who the client is.
    owes_node: bool,
    /// There is a stream to send requests on.
    open: bool,
    pub(super) subscriptions: HashMap<ResourceType, Subscription>,
    /// What each held listener and cluster refers to.
    references: HashMap<(ResourceType, Str), Vec<(ResourceType, Str)>>,
    /// Names that were demanded and of which there can be any number, the oldest first.
    unbounded: VecDeque<(ResourceType, Str)>,
    /// Names that are looked up, as the subscription has them.
    pub(super) looked_up: BTreeMap<Str, u64>,
    waiting: Waiting,
    rate: Rate,
}

/// The subscription to one type.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    wildcard: bool,
    pub(super) names: HashMap<Str, Name>,
    /// Versions of what is held.
    pub(super) versions: HashMap<Str, Str>,
    /// A request of this type has been sent on this stream.
    started: bool,
    /// There has been a response of this type.
    answered: bool,
    /// The sink has been told that everything of this type is there.
    synced: bool,
}

/// A name that is subscribed to.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// Held resources that refer to it.
    references: usize,
    /// Asked for on demand.
    demanded: bool,
    answer: Option<Answer>,
    /// There can be any number of the kind; only so many are kept.
    unbounded: bool,
}

/// What follows from a response.
#[derive(Debug)]
pub(super) struct Reply {
    /// To be sent, in this order: new subscriptions come before the acknowledgement, so that the server knows what is
    /// missing before it goes on to the next type.
    pub(super) requests: Vec<DeltaDiscoveryRequest>,
    /// What was refused.
    pub(super) rejected: Option<(ResourceType, Vec<Rejected>)>,
}

impl State {
    /// Subscribed to all listeners and clusters.
    pub(super) fn new(node: core::Node) -> Self {
        let wildcard = |kind| matches!(kind, ResourceType::Cluster | ResourceType::Listener);
        let subscriptions = TYPES
            .into_iter()
            .map(|kind| (kind, Subscription { wildcard: wildcard(kind), ..Default::default() }))
            .collect();
        Self {
            node,
            owes_node: false,
            open: false,
            subscriptions,
            references: HashMap::new(),
            unbounded: VecDeque::new(),
            looked_up: BTreeMap::new(),
            waiting: Waiting::default(),
            rate: Rate::default(),
        }
    }

    /// The first requests of a new stream: what is wanted, and which versions of it are held.
    pub(super) fn open(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.open = true;
        self.owes_node = true;
        TYPES.into_iter().filter_map(|kind| self.subscribe(kind, Vec::new(), Vec::new())).collect()
    }

    /// The stream is gone.
    pub(super) fn close(&mut self) {
        self.open = false;
        for subscription in self.subscriptions.values_mut() {
            subscription.started = false;
        }
    }

    /// A name is asked for; the requests that this takes.
    pub(super) fn demand(&mut self, demand: Demand, now: Instant, sink: &mut impl Sink) -> Vec<DeltaDiscoveryRequest> {
        let Demand { kind, name, answer } = demand;
        if let Some(known) = self.known(kind, &name) {
            // Nobody waits any more: the answer is known all the same.
            let _ = answer.send(known);
            return Vec::new();
        }
        let mut requests = Vec::new();
        if self.waiting.is_full() {
            requests = self.give_up(sink);
        }
        let subscription = self.subscriptions.entry(kind).or_default();
        let is_new = !subscription.names.contains_key(&name);
        if !self.waiting.is_awaited(kind, &name) && (self.waiting.is_full() || (is_new && !self.rate.take(now))) {
            let _ = answer.send(Answer::TooMany);
            return requests;
        }
        subscription.names.entry(Str::clone(&name)).or_default().demanded = true;
        self.waiting.add(kind, Str::clone(&name), answer);
        if is_new {
            requests.extend(self.subscribe(kind, vec![name], Vec::new()));
        }
        requests
    }

    /// What is known of a name. It is there only once what it refers to has been answered as well.
    fn known(&self, kind: ResourceType, name: &Str) -> Option<Answer> {
        let subscription = self.subscriptions.get(&kind)?;
        let held = subscription.versions.contains_key(name);
        let answer = if held { Answer::Present } else { subscription.names.get(name)?.answer? };
        let refers = self.references.get(&(kind, Str::clone(name)));
        let is_answered = |(kind, name): &(ResourceType, Str)| {
            self.subscriptions
                .get(kind)
                .is_some_and(|s| s.versions.contains_key(name) || s.names.get(name).is_some_and(|n| n.answer.is_some()))
        };
        (answer != Answer::Present || refers.is_none_or(|all| all.iter().all(is_answered))).then_some(answer)
    }

    /// Answers those who wait for what is known by now.
    fn answer_waiting(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.answer(|kind, name| self.known(kind, name));
        self.waiting = waiting;
    }

    /// Names that got no answer while somebody waited, and that nothing else wants, are no longer subscribed to.
    fn give_up(&mut self, sink: &mut impl Sink) -> Vec<DeltaDiscoveryRequest> {
        let mut dropped = Names::new();
        for (kind, name) in self.waiting.give_up() {
            let names = &mut self.subscriptions.entry(kind).or_default().names;
            if names.get(&name).is_some_and(|n| n.answer.is_none() && n.references == 0) {
                names.remove(&name);
                dropped.entry(kind).or_default().insert(name);
            }
        }
        self.change_names(Names::new(), dropped, sink)
    }

    /// Applies a response and answers it.
    pub(super) fn receive(&mut self, response: DeltaDiscoveryResponse, sink: &mut impl Sink) -> Reply {
        let nonce = response.nonce;
        let Some(kind) = codec::resource_type(&response.type_url) else {
            let why = format!("type {} was not asked for", response.type_url);
            return Reply { requests: vec![self.acknowledge(response.type_url, nonce, Some(why))], rejected: None };
        };
        let removed_names = response.removed_resource_names.into_iter().map(|r| r.name);
        let mut removed: Vec<Str> =
            response.removed_resources.into_iter().chain(removed_names).map(Str::from).collect();
        let mut rejected = Vec::new();
        let mut upserts = Vec::new();
        let mut versions = HashMap::new();
        for envelope in response.resources {
            for name in self.names_of(kind, &envelope) {
                match self.unpack(kind, &name, &envelope) {
                    Ok(Some(resource)) => {
                        versions.insert(name, Str::from(envelope.version.as_str()));
                        upserts.push(resource);
                    }
                    Ok(None) => {}
                    Err(Unusable::Gone) => removed.push(name),
                    Err(Unusable::Bad(reason)) => rejected.push(Rejected { name, reason }),
                }
            }
        }
        let changes =
            self.apply(kind, response.system_version_info.into(), upserts, removed, sink, &mut rejected, versions);
        if let Some(subscription) = self.subscriptions.get_mut(&kind) {
            subscription.answered = true;
        }
        let mut requests = self.follow_references(changes, sink);
        self.settle_refused(kind, &rejected, sink);
        self.answer_waiting();
        self.announce(sink);
        requests.push(self.acknowledge(codec::type_url(kind).to_owned(), nonce, nack(&rejected)));
        Reply { requests, rejected: (!rejected.is_empty()).then_some((kind, rejected)) }
    }

    /// The names that an envelope is for. Virtual hosts and workloads are for each of their aliases that was asked for.
    fn names_of(&self, kind: ResourceType, envelope: &Envelope) -> BTreeSet<Str> {
        let own = Str::from(envelope.name.as_str());
        if !matches!(kind, ResourceType::VirtualHost | ResourceType::Workload) {
            return BTreeSet::from([own]);
        }
        let asked = |name: &Str| self.subscriptions.get(&kind).is_some_and(|s| s.names.contains_key(name));
        std::iter::once(own).chain(envelope.aliases.iter().map(|a| Str::from(a.as_str()))).filter(asked).collect()
    }

    /// The resource in an envelope; `None`: it is held already, or no longer wanted.
    fn unpack(&self, kind: ResourceType, name: &Str, envelope: &Envelope) -> Result<Option<Resource>, Unusable> {
        let Some(subscription) = self.subscriptions.get(&kind) else { return Ok(None) };
        if !subscription.wildcard && !subscription.names.contains_key(name) {
            return Ok(None);
        }
        if subscription.versions.get(name).is_some_and(|held| **held == *envelope.version) {
            return Ok(None);
        }
        let Some(any) = &envelope.resource else { return Err(Unusable::Gone) };
        if envelope.ttl.is_some() {
            return Err(Unusable::Bad("a time to live is not implemented".to_owned()));
        }
        let mut resource = codec::decode(any).map_err(|rejection| Unusable::Bad(rejection.to_string()))?;
        if let Resource::VirtualHost(own, _) | Resource::Workload(own, _) = &mut resource {
            own.clone_from(name);
        }
        if resource.kind() != kind || resource.name() != name {
            let found = format!("the envelope holds {:?} {}", resource.kind(), resource.name());
            return Err(Unusable::Bad(found));
        }
        Ok(Some(resource))
    }

    /// Hands resources to the sink and notes down what is held then. Returns how references changed.
    #[expect(clippy::too_many_arguments, reason = "the parts of one response")]
    fn apply(
        &mut self,
        kind: ResourceType,
        version: Str,
        upserts: Vec<Resource>,
        mut removed: Vec<Str>,
        sink: &mut impl Sink,
        rejected: &mut Vec<Rejected>,
        mut versions: HashMap<Str, Str>,
    ) -> Changes {
        let mut changes = Changes::default();
        let Some(subscription) = self.subscriptions.get_mut(&kind) else { return changes };
        // "Removed" is also the answer to a name that never was.
        let mut absent = Vec::new();
        for name in &removed {
            if let Some(entry) = subscription.names.get_mut(name) {
                entry.answer = Some(Answer::Absent);
                entry.bound(true, (kind, name), &mut self.unbounded);
                absent.push(Str::clone(name));
            }
        }
        removed.retain(|name| subscription.versions.remove(name).is_some());
        let refers: Vec<_> = upserts.iter().map(|r| (r.name().clone(), references::of(r), is_listed(r))).collect();
        if !upserts.is_empty() || !removed.is_empty() || !absent.is_empty() {
            let update = Update { kind, version, upserts, removed: removed.clone(), absent };
            rejected.extend(sink.apply(update));
        }
        for (name, refers, listed) in refers {
            if rejected.iter().any(|r| r.name == name) {
                continue;
            }
            if let Some(version) = versions.remove(&name) {
                subscription.versions.insert(name.clone(), version);
            }
            if let Some(entry) = subscription.names.get_mut(&name) {
                entry.answer = Some(Answer::Present);
                entry.bound(!listed, (kind, &name), &mut self.unbounded);
            }
            changes.added.extend(refers.iter().cloned());
            changes.dropped.extend(self.references.insert((kind, name), refers).unwrap_or_default());
        }
        for name in removed {
            changes.dropped.extend(self.references.remove(&(kind, name)).unwrap_or_default());
        }
        changes
    }

    /// Subscribes to what is referred to now, and no longer to what nothing refers to.
    fn follow_references(&mut self, changes: Changes, sink: &mut impl Sink) -> Vec<DeltaDiscoveryRequest> {
        let (mut added, mut dropped) = (Names::new(), Names::new());
        for (kind, name) in changes.added {
            let names = &mut self.subscriptions.entry(kind).or_default().names;
            if !names.contains_key(&name) {
                added.entry(kind).or_default().insert(name.clone());
            }
            names.entry(name).or_default().references += 1;
        }
        for (kind, name) in changes.dropped {
            let subscription = self.subscriptions.entry(kind).or_default();
            if let Some(entry) = subscription.names.get_mut(&name) {
                entry.references = entry.references.saturating_sub(1);
                if entry.references == 0 && !entry.demanded {
                    subscription.names.remove(&name);
                    dropped.entry(kind).or_default().insert(name);
                }
            }
        }
        while self.unbounded.len() > MAX_UNBOUNDED {
            self.forget_one(&mut dropped, sink);
        }
        self.change_names(added, dropped, sink)
    }

    /// Gives up the name that nobody has used for longest, of several the one that was asked for first. Looking at all of them
    /// is little: they are few, and new ones come at a limited rate.
    fn forget_one(&mut self, dropped: &mut Names, sink: &impl Sink) {
        let Self { subscriptions, unbounded, .. } = self;
        unbounded.retain(|(kind, name)| {
            let entry = subscriptions.get_mut(kind).and_then(|s| s.names.get_mut(name));
            let Some(entry) = entry.filter(|n| n.unbounded) else { return false };
            // What is referred to by now is kept for that.
            entry.unbounded = entry.references == 0;
            entry.unbounded
        });
        if unbounded.len() <= MAX_UNBOUNDED {
            return;
        }
        let last_uses = unbounded.iter().map(|(kind, name)| sink.last_use(*kind, name));
        let longest = last_uses.enumerate().min_by_key(|(_, at)| *at).map(|(index, _)| index);
        let Some((kind, name)) = longest.and_then(|index| unbounded.remove(index)) else { return };
        subscriptions.entry(kind).or_default().names.remove(&name);
        dropped.entry(kind).or_default().insert(name);
    }

    /// Subscribes to names and gives names up, of which nothing is known then.
    fn change_names(
        &mut self,
        mut added: Names,
        mut dropped: Names,
        sink: &mut impl Sink,
    ) -> Vec<DeltaDiscoveryRequest> {
        let mut requests = Vec::new();
        for kind in TYPES {
            let dropped: Vec<Str> = dropped.remove(&kind).unwrap_or_default().into_iter().collect();
            self.drop_held(kind, &dropped, sink);
            let added = added.remove(&kind).unwrap_or_default().into_iter().collect();
            requests.extend(self.subscribe(kind, added, dropped));
        }
        requests
    }

    /// The server does not say that a resource is gone which is no longer subscribed to.
    fn drop_held(&mut self, kind: ResourceType, names: &[Str], sink: &mut impl Sink) {
        let Some(subscription) = self.subscriptions.get_mut(&kind) else { return };
        let mut removed = names.to_vec();
        // What is part of the whole is said to be gone when it is.
        removed.retain(|name| !subscription.wildcard || !subscription.versions.contains_key(name));
        for name in &removed {
            subscription.versions.remove(name);
        }
        if !removed.is_empty() {
            let version = Str::default();
            sink.apply(Update { kind, version, upserts: Vec::new(), removed, absent: Vec::new() });
        }
    }

    /// Those who wait for what was refused learn it; a last good state counts as present.
    fn settle_refused(&mut self, kind: ResourceType, rejected: &[Rejected], sink: &mut impl Sink) {
        let Some(subscription) = self.subscriptions.get_mut(&kind) else { return };
        let mut unusable = Vec::new();
        for Rejected { name, .. } in rejected {
            if let Some(entry) = subscription.names.get_mut(name) {
                let held = subscription.versions.contains_key(name);
                entry.answer = Some(if held { Answer::Present } else { Answer::Unusable });
                if !held {
                    unusable.push(Str::clone(name));
                }
            }
        }
        if !unusable.is_empty() {
            // There is one now: that there was none must not be acted on any more.
            let version = Str::default();
            sink.apply(Update { kind, version, upserts: Vec::new(), removed: unusable, absent: Vec::new() });
        }
    }

    /// Tells the sink which types are complete for the first time.
    fn announce(&mut self, sink: &mut impl Sink) {
        for kind in TYPES {
            if self.is_complete(kind)
                && let Some(subscription) = self.subscriptions.get_mut(&kind)
                && !subscription.synced
            {
                subscription.synced = true;
                sink.synced(kind);
            }
        }
    }

    /// Whether all that is wanted of a type has been answered, but for what was asked for on demand. Names are known once those
    /// that refer to them are.
    fn is_complete(&self, kind: ResourceType) -> bool {
        let parents: &[ResourceType] = match kind {
            ResourceType::Cluster | ResourceType::Listener | ResourceType::Workload => &[],
            ResourceType::Endpoints => &[ResourceType::Cluster],
            ResourceType::Route => &[ResourceType::Listener],
            ResourceType::VirtualHost => &[ResourceType::Route],
            ResourceType::Secret => &[ResourceType::Cluster, ResourceType::Listener],
        };
        parents.iter().all(|parent| self.is_complete(*parent))
            && self.subscriptions.get(&kind).is_some_and(|s| {
                (!s.wildcard || s.answered) && s.names.values().all(|n| n.answer.is_some() || n.references == 0)
            })
    }

    // --- requests

    /// A change of what is subscribed to; `None`: nothing changes, or there is no stream.
    pub(super) fn subscribe(
        &mut self,
        kind: ResourceType,
        added: Vec<Str>,
        dropped: Vec<Str>,
    ) -> Option<DeltaDiscoveryRequest> {
        if !self.open {
            return None;
        }
        let subscription = self.subscriptions.get_mut(&kind)?;
        let mut request = DeltaDiscoveryRequest { type_url: codec::type_url(kind).to_owned(), ..Default::default() };
        if subscription.started {
            if added.is_empty() && dropped.is_empty() {
                return None;
            }
            request.resource_names_subscribe = to_strings(added.iter());
            request.resource_names_unsubscribe = to_strings(dropped.iter());
        } else {
            if !subscription.wildcard && subscription.names.is_empty() {
                return None;
            }
            subscription.started = true;
            request.resource_names_subscribe = to_strings(subscription.names.keys());
            if subscription.wildcard {
                request.resource_names_subscribe.push(WILDCARD.to_owned());
            }
            let versions = subscription.versions.iter().map(|(name, version)| (name.to_string(), version.to_string()));
            request.initial_resource_versions = versions.collect();
        }
        self.introduce(&mut request);
        Some(request)
    }

    fn acknowledge(&mut self, type_url: String, nonce: String, why_not: Option<String>) -> DeltaDiscoveryRequest {
        let error_detail = why_not.map(|message| rpc::Status { code: INVALID_ARGUMENT, message, ..Default::default() });
        let mut request = DeltaDiscoveryRequest { type_url, response_nonce: nonce, error_detail, ..Default::default() };
        self.introduce(&mut request);
        request
    }

    /// The first request of a stream says who is asking.
    fn introduce(&mut self, request: &mut DeltaDiscoveryRequest) {
        if std::mem::take(&mut self.owes_node) {
            request.node = Some(self.node.clone());
        }
    }
}

impl Name {
    /// Notes whether there can be any number of its kind.
    fn bound(
        &mut self,
        unbounded: bool,
        (kind, name): (ResourceType, &Str),
        queue: &mut VecDeque<(ResourceType, Str)>,
    ) {
        let unbounded = unbounded && self.demanded && self.references == 0;
        if unbounded && !self.unbounded {
            queue.push_back((kind, Str::clone(name)));
        }
        self.unbounded = unbounded;
    }
}

/// Whether a resource is found by a name that configuration lists. A virtual host can be found by any number of authorities
/// that one wildcard stands for.
fn is_listed(resource: &Resource) -> bool {
    match resource {
        Resource::VirtualHost(name, host) => {
            host.domains.iter().any(|domain| name.strip_suffix(&**domain).is_some_and(|table| table.ends_with('/')))
        }
        _ => true,
    }
}

/// Names by type.
type Names = HashMap<ResourceType, BTreeSet<Str>>;

/// References that held resources gained and lost.
#[derive(Debug, Default)]
struct Changes {
    added: Vec<(ResourceType, Str)>,
    dropped: Vec<(ResourceType, Str)>,
}

/// Why an envelope yields no resource.
enum Unusable {
    /// There is none of this name.
    Gone,
    /// For this reason.
    Bad(String),
}

fn to_strings<'a>(names: impl Iterator<Item = &'a Str>) -> Vec<String> {
    names.map(ToString::to_string).collect()
}

/// The text of a NACK; `None`: nothing was refused.
fn nack(rejected: &[Rejected]) -> Option<String> {
    let mut lines: Vec<String> = rejected.iter().take(MAX_NAMED).map(|r| format!("{}: {}", r.name, r.reason)).collect();
    if rejected.len() > MAX_NAMED {
        lines.push(format!("and {} more", rejected.len() - MAX_NAMED));
    }
    (!lines.is_empty()).then(|| lines.join("; "))
}

#[cfg(test)]
mod tests;
