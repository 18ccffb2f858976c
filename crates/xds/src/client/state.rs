//! What is subscribed to, what is held, and what has been answered: the delta protocol without its stream.

use std::collections::{BTreeSet, HashMap, VecDeque};

use tokio::sync::oneshot;
use varka_engine::ir::{Resource, ResourceType, Str};
use varka_proto::envoy::core;
use varka_proto::envoy::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as Envelope};
use varka_proto::rpc;

use super::{Answer, Demand, Rejected, Sink, Update, references};
use crate::codec::{self, TYPES};

/// Names that were asked for, do not exist and that nothing refers to: so many stay subscribed to.
const MAX_ABSENT: usize = 1024;
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
    subscriptions: HashMap<ResourceType, Subscription>,
    /// What each held listener and cluster refers to.
    references: HashMap<(ResourceType, Str), Vec<(ResourceType, Str)>>,
    /// Names that were demanded and are absent, the oldest first.
    absent: VecDeque<(ResourceType, Str)>,
}

/// The subscription to one type.
#[derive(Debug, Default)]
struct Subscription {
    wildcard: bool,
    names: HashMap<Str, Name>,
    /// Versions of what is held.
    versions: HashMap<Str, Str>,
    /// A request of this type has been sent on this stream.
    started: bool,
    /// There has been a response of this type.
    answered: bool,
    /// The sink has been told that everything of this type is there.
    synced: bool,
}

/// A name that is subscribed to.
#[derive(Debug, Default)]
struct Name {
    /// Held resources that refer to it.
    references: usize,
    /// Asked for on demand.
    demanded: bool,
    answer: Option<Answer>,
    waiting: Vec<oneshot::Sender<Answer>>,
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
        Self { node, owes_node: false, open: false, subscriptions, references: HashMap::new(), absent: VecDeque::new() }
    }

    /// Subscribed to nothing but what is demanded.
    pub(super) fn by_name(&mut self) {
        for subscription in self.subscriptions.values_mut() {
            subscription.wildcard = false;
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
    pub(super) fn demand(&mut self, demand: Demand) -> Vec<DeltaDiscoveryRequest> {
        let Demand { kind, name, answer } = demand;
        let subscription = self.subscriptions.entry(kind).or_default();
        let held = subscription.versions.contains_key(&name);
        let is_new = !subscription.names.contains_key(&name);
        let entry = subscription.names.entry(name.clone()).or_default();
        entry.demanded = true;
        if held {
            entry.answer = Some(Answer::Present);
        }
        match entry.answer {
            // Nobody waits any more: the answer is known all the same.
            Some(known) => drop(answer.send(known)),
            None => entry.waiting.push(answer),
        }
        let added = if is_new { vec![name] } else { Vec::new() };
        if added.is_empty() { Vec::new() } else { self.subscribe(kind, added, Vec::new()).into_iter().collect() }
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
            let name = Str::from(envelope.name.as_str());
            let version = Str::from(envelope.version.as_str());
            match self.unpack(kind, envelope) {
                Ok(Some(resource)) => {
                    versions.insert(name, version);
                    upserts.push(resource);
                }
                Ok(None) => {}
                Err(Unusable::Gone) => removed.push(name),
                Err(Unusable::Bad(reason)) => rejected.push(Rejected { name, reason }),
            }
        }
        let changes =
            self.apply(kind, response.system_version_info.into(), upserts, removed, sink, &mut rejected, versions);
        if let Some(subscription) = self.subscriptions.get_mut(&kind) {
            subscription.answered = true;
        }
        let mut requests = self.follow_references(changes, sink);
        self.settle_refused(kind, &rejected);
        self.announce(sink);
        requests.push(self.acknowledge(codec::type_url(kind).to_owned(), nonce, nack(&rejected)));
        Reply { requests, rejected: (!rejected.is_empty()).then_some((kind, rejected)) }
    }

    /// The resource in an envelope; `None`: it is held already, or no longer wanted.
    fn unpack(&self, kind: ResourceType, envelope: Envelope) -> Result<Option<Resource>, Unusable> {
        let Some(subscription) = self.subscriptions.get(&kind) else { return Ok(None) };
        let name = envelope.name.as_str();
        if !subscription.wildcard && !subscription.names.contains_key(name) {
            return Ok(None);
        }
        if subscription.versions.get(name).is_some_and(|held| **held == *envelope.version) {
            return Ok(None);
        }
        let Some(any) = envelope.resource else { return Err(Unusable::Gone) };
        if envelope.ttl.is_some() {
            return Err(Unusable::Bad("a time to live is not implemented".to_owned()));
        }
        let resource = codec::decode(&any).map_err(|rejection| Unusable::Bad(rejection.to_string()))?;
        if resource.kind() != kind || **resource.name() != *name {
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
        for name in &removed {
            if let Some(entry) = subscription.names.get_mut(name) {
                if entry.demanded && entry.references == 0 && entry.answer != Some(Answer::Absent) {
                    self.absent.push_back((kind, name.clone()));
                }
                entry.settle(Answer::Absent);
            }
        }
        removed.retain(|name| subscription.versions.remove(name).is_some());
        let refers: Vec<_> = upserts.iter().map(|r| (r.name().clone(), references::of(r))).collect();
        if !upserts.is_empty() || !removed.is_empty() {
            let update = Update { kind, version, upserts, removed: removed.clone() };
            rejected.extend(sink.apply(update));
        }
        for (name, refers) in refers {
            if rejected.iter().any(|r| r.name == name) {
                continue;
            }
            if let Some(version) = versions.remove(&name) {
                subscription.versions.insert(name.clone(), version);
            }
            if let Some(entry) = subscription.names.get_mut(&name) {
                entry.settle(Answer::Present);
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
        let mut added: HashMap<ResourceType, BTreeSet<Str>> = HashMap::new();
        let mut dropped: HashMap<ResourceType, BTreeSet<Str>> = HashMap::new();
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
        while self.absent.len() > MAX_ABSENT {
            self.forget_oldest(&mut dropped);
        }
        let mut requests = Vec::new();
        for kind in TYPES {
            let dropped: Vec<Str> = dropped.remove(&kind).unwrap_or_default().into_iter().collect();
            self.drop_held(kind, &dropped, sink);
            let added = added.remove(&kind).unwrap_or_default().into_iter().collect();
            requests.extend(self.subscribe(kind, added, dropped));
        }
        requests
    }

    /// Gives up the name that has been absent for longest, unless it has appeared or is referred to by now.
    fn forget_oldest(&mut self, dropped: &mut HashMap<ResourceType, BTreeSet<Str>>) {
        let Some((kind, name)) = self.absent.pop_front() else { return };
        let names = &mut self.subscriptions.entry(kind).or_default().names;
        if names.get(&name).is_some_and(|n| n.answer == Some(Answer::Absent) && n.references == 0) {
            names.remove(&name);
            dropped.entry(kind).or_default().insert(name);
        }
    }

    /// The server does not say that a resource is gone which is no longer subscribed to.
    fn drop_held(&mut self, kind: ResourceType, names: &[Str], sink: &mut impl Sink) {
        let Some(subscription) = self.subscriptions.get_mut(&kind) else { return };
        if subscription.wildcard {
            return;
        }
        let held: Vec<Str> =
            names.iter().filter(|name| subscription.versions.remove(*name).is_some()).cloned().collect();
        if !held.is_empty() {
            sink.apply(Update { kind, version: Str::default(), upserts: Vec::new(), removed: held });
        }
    }

    /// Those who wait for what was refused learn it; a last good state counts as present.
    fn settle_refused(&mut self, kind: ResourceType, rejected: &[Rejected]) {
        let Some(subscription) = self.subscriptions.get_mut(&kind) else { return };
        for Rejected { name, .. } in rejected {
            if let Some(entry) = subscription.names.get_mut(name) {
                let held = subscription.versions.contains_key(name);
                entry.settle(if held { Answer::Present } else { Answer::Unusable });
            }
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

    /// Whether all that is wanted of a type has been answered. Names are known once those that refer to them are.
    fn is_complete(&self, kind: ResourceType) -> bool {
        let parents: &[ResourceType] = match kind {
            ResourceType::Cluster | ResourceType::Listener => &[],
            ResourceType::Endpoints => &[ResourceType::Cluster],
            ResourceType::Route => &[ResourceType::Listener],
            ResourceType::Secret => &[ResourceType::Cluster, ResourceType::Listener],
        };
        parents.iter().all(|parent| self.is_complete(*parent))
            && self
                .subscriptions
                .get(&kind)
                .is_some_and(|s| (!s.wildcard || s.answered) && s.names.values().all(|n| n.answer.is_some()))
    }

    // --- requests

    /// A change of what is subscribed to; `None`: nothing changes, or there is no stream.
    fn subscribe(&mut self, kind: ResourceType, added: Vec<Str>, dropped: Vec<Str>) -> Option<DeltaDiscoveryRequest> {
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
    fn settle(&mut self, answer: Answer) {
        self.answer = Some(answer);
        for waiting in self.waiting.drain(..) {
            // Who has stopped waiting does not mind.
            let _ = waiting.send(answer);
        }
    }
}

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
