//! What a proxy has subscribed to and what it holds: both variants of the protocol without their streams.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use tonic::Status;
use varka_engine::ir::{ResourceType, Str};
use varka_proto::envoy::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};

use super::{Names, Session, Versioned};
use crate::codec::{self, TYPES};

/// Names that one stream may subscribe to, of one type.
const MAX_NAMES: usize = 65_536;
/// Length of a name, in bytes.
const MAX_NAME: usize = 1024;
const WILDCARD: &str = "*";
/// Order in which what is gone is taken away: what refers to a thing goes before the thing.
const REMOVAL: [ResourceType; 7] = [
    ResourceType::Listener,
    ResourceType::Route,
    ResourceType::VirtualHost,
    ResourceType::Endpoints,
    ResourceType::Cluster,
    ResourceType::Secret,
    ResourceType::Workload,
];

/// Types that must have been answered before this one is sent. Envoy answers for clusters when they can be used, which is after
/// their endpoints and certificates have come: those must wait for nothing.
fn waits_for(kind: ResourceType) -> &'static [ResourceType] {
    match kind {
        ResourceType::Listener | ResourceType::Route => &[ResourceType::Cluster, ResourceType::Endpoints],
        // Requests for a virtual host are held until it has come, and ask for its clusters themselves.
        ResourceType::Cluster | ResourceType::Endpoints | ResourceType::Secret | ResourceType::VirtualHost => &[],
        // Nothing refers to them.
        ResourceType::Workload => &[],
    }
}

/// Variant of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    Delta,
    StateOfTheWorld,
}

/// A response, before it is given its form.
#[derive(Debug, PartialEq)]
pub(super) struct Push {
    pub(super) kind: ResourceType,
    pub(super) version: Str,
    pub(super) nonce: String,
    pub(super) resources: Vec<Versioned>,
    /// Names of what was sent before and is gone.
    pub(super) removed: Vec<Str>,
    /// Names that were asked for and do not exist.
    pub(super) absent: Vec<Str>,
}

/// The subscriptions of one stream.
#[derive(Debug)]
pub(super) struct Watches {
    variant: Variant,
    watches: HashMap<ResourceType, Watch>,
    nonces: u64,
}

/// The subscription to one type.
#[derive(Debug, Default)]
struct Watch {
    wildcard: bool,
    names: BTreeSet<Str>,
    held: HashMap<Str, Held>,
    /// The response that waits for its answer.
    outstanding: Option<Outstanding>,
    /// Nonce of the last response, answered or not.
    last_nonce: String,
    /// Something may have to be sent.
    dirty: bool,
    /// A response is due even if it is empty: the first one of a wildcard.
    due: bool,
    /// Something that is held is gone.
    stale: bool,
}

/// What the proxy knows of a name.
#[derive(Debug, Clone, PartialEq)]
enum Held {
    /// This version; with the body where it must be sent again together with others.
    Version(Str, Option<Bytes>),
    /// That there is none.
    Absent,
}

/// What there is to say of a type.
struct News {
    resources: Vec<Versioned>,
    /// Names that turn out not to exist.
    absent: Vec<Str>,
    /// Names of those resources that the proxy does not hold in this version.
    changed: Vec<Str>,
}

#[derive(Debug)]
struct Outstanding {
    nonce: String,
    version: Str,
}

impl Watches {
    pub(super) fn new(variant: Variant) -> Self {
        Self { variant, watches: HashMap::new(), nonces: 0 }
    }

    /// Something may differ from what was sent.
    pub(super) fn changed(&mut self) {
        for watch in self.watches.values_mut() {
            watch.dirty = true;
        }
    }

    // --- requests

    /// A request of the delta variant.
    pub(super) fn delta(&mut self, request: DeltaDiscoveryRequest, session: &mut impl Session) -> Result<(), Status> {
        let Some(kind) = codec::resource_type(&request.type_url) else {
            tracing::warn!(type_url = %request.type_url, "a proxy asks for a type that is not served");
            return Ok(());
        };
        let is_new = !self.watches.contains_key(&kind);
        let watch = self.watches.entry(kind).or_default();
        watch.answer(kind, &request.response_nonce, request.error_detail.as_ref().map(|e| e.message.as_str()), session);
        if is_new {
            // What the proxy holds from an earlier stream.
            for (name, version) in request.initial_resource_versions {
                watch.held.insert(name.into(), Held::Version(version.into(), None));
            }
            // Before wildcards had a name, an empty first request meant one.
            let is_wildcard = matches!(kind, ResourceType::Cluster | ResourceType::Listener);
            watch.subscribe_all(is_wildcard && request.resource_names_subscribe.is_empty());
        }
        for name in request.resource_names_unsubscribe {
            watch.unsubscribe(&name);
        }
        for name in request.resource_names_subscribe {
            if name == WILDCARD {
                watch.subscribe_all(true);
                continue;
            }
            let name = Str::from(name);
            // A name that is subscribed to again is sent again.
            if !is_new {
                watch.held.remove(&name);
            }
            watch.dirty = true;
            watch.names.insert(name);
        }
        watch.check_limits(kind)
    }

    /// A request of the state-of-the-world variant, which always holds all names.
    pub(super) fn state_of_the_world(
        &mut self,
        request: DiscoveryRequest,
        session: &mut impl Session,
    ) -> Result<(), Status> {
        let Some(kind) = codec::resource_type(&request.type_url) else {
            tracing::warn!(type_url = %request.type_url, "a proxy asks for a type that is not served");
            return Ok(());
        };
        let is_new = !self.watches.contains_key(&kind);
        let watch = self.watches.entry(kind).or_default();
        if !is_new && request.response_nonce != watch.last_nonce {
            // About a response that a later one has replaced.
            return Ok(());
        }
        watch.answer(kind, &request.response_nonce, request.error_detail.as_ref().map(|e| e.message.as_str()), session);
        let mut names: BTreeSet<Str> = request.resource_names.into_iter().map(Str::from).collect();
        let is_wildcard = matches!(kind, ResourceType::Cluster | ResourceType::Listener);
        if names.remove(WILDCARD) || (is_wildcard && names.is_empty() && (is_new || watch.wildcard)) {
            watch.subscribe_all(!watch.wildcard);
        } else {
            watch.wildcard = false;
        }
        if names != watch.names {
            watch.dirty = true;
            watch.held.retain(|name, _| watch.wildcard || names.contains(name));
            watch.names = names;
        }
        watch.check_limits(kind)
    }

    // --- responses

    /// The next response to send, if any can be sent now.
    pub(super) fn next(&mut self, session: &mut impl Session) -> Option<Push> {
        // Who asks for what it lacks holds it up by itself; and changes that come faster than answers would hold it up for ever.
        let in_order = !session.is_on_demand();
        for kind in TYPES {
            let waits = in_order && waits_for(kind).iter().any(|before| self.is_outstanding(*before));
            let Some(watch) = self.watches.get_mut(&kind) else { continue };
            if waits || watch.outstanding.is_some() {
                continue;
            }
            if std::mem::take(&mut watch.dirty)
                && let Some(News { resources, absent, changed }) = watch.news(kind, self.variant, session)
            {
                self.refresh_endpoints(kind, &changed);
                return self.push(kind, resources, Vec::new(), absent, session);
            }
        }
        if self.watches.values().any(|watch| watch.dirty || watch.outstanding.is_some()) {
            return None;
        }
        for kind in REMOVAL {
            let Some(watch) = self.watches.get_mut(&kind) else { continue };
            if std::mem::take(&mut watch.stale)
                && let Some((resources, removed)) = watch.removals(kind, self.variant, session)
            {
                return self.push(kind, resources, removed, Vec::new(), session);
            }
        }
        None
    }

    fn is_outstanding(&self, kind: ResourceType) -> bool {
        self.watches.get(&kind).is_some_and(|watch| watch.outstanding.is_some())
    }

    /// A cluster that has changed waits for its endpoints anew, although the proxy holds them.
    fn refresh_endpoints(&mut self, kind: ResourceType, changed: &[Str]) {
        if kind == ResourceType::Cluster
            && let Some(endpoints) = self.watches.get_mut(&ResourceType::Endpoints)
        {
            for name in changed {
                endpoints.dirty |= endpoints.held.remove(name).is_some();
            }
        }
    }

    fn push(
        &mut self,
        kind: ResourceType,
        resources: Vec<Versioned>,
        removed: Vec<Str>,
        absent: Vec<Str>,
        session: &mut impl Session,
    ) -> Option<Push> {
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        let version = session.version();
        let watch = self.watches.get_mut(&kind)?;
        watch.last_nonce.clone_from(&nonce);
        watch.outstanding = Some(Outstanding { nonce: nonce.clone(), version: version.clone() });
        Some(Push { kind, version, nonce, resources, removed, absent })
    }
}

impl Watch {
    /// An answer to the outstanding response, if that is what it is.
    fn answer(&mut self, kind: ResourceType, nonce: &str, error: Option<&str>, session: &mut impl Session) {
        let Some(outstanding) = self.outstanding.take_if(|o| o.nonce == nonce) else { return };
        match error {
            None => session.acked(kind, &outstanding.version),
            Some(message) => session.nacked(kind, &outstanding.version, message),
        }
    }

    fn subscribe_all(&mut self, now: bool) {
        if now {
            self.wildcard = true;
            self.due = true;
            self.dirty = true;
        }
    }

    fn unsubscribe(&mut self, name: &str) {
        if name == WILDCARD {
            self.wildcard = false;
            self.held.retain(|name, _| self.names.contains(name));
            return;
        }
        self.names.remove(name);
        if !self.wildcard {
            self.held.remove(name);
        }
    }

    fn check_limits(&self, kind: ResourceType) -> Result<(), Status> {
        if self.names.len() > MAX_NAMES || self.held.len() > MAX_NAMES {
            return Err(Status::resource_exhausted(format!("more than {MAX_NAMES} names of type {kind:?}")));
        }
        if self.names.iter().any(|name| name.len() > MAX_NAME) {
            return Err(Status::invalid_argument(format!("a name of type {kind:?} of more than {MAX_NAME} bytes")));
        }
        Ok(())
    }

    /// All that is subscribed to and exists, by name.
    fn wanted(&self, kind: ResourceType, session: &mut impl Session) -> HashMap<Str, Versioned> {
        let mut wanted = Vec::new();
        if self.wildcard {
            wanted = session.resources(kind, Names::Wildcard);
        }
        if !self.names.is_empty() {
            wanted.extend(session.resources(kind, Names::Only(&self.names)));
        }
        wanted.into_iter().map(|resource| (resource.name.clone(), resource)).collect()
    }

    /// What there is to say; `None`: nothing. What is held and gone is kept for later: in the state-of-the-world variant that
    /// means to send it once more.
    fn news(&mut self, kind: ResourceType, variant: Variant, session: &mut impl Session) -> Option<News> {
        let wanted = self.wanted(kind, session);
        let gone: Vec<(Str, Held)> = self
            .held
            .iter()
            .filter(|(name, held)| **held != Held::Absent && !wanted.contains_key(*name))
            .map(|(name, held)| (name.clone(), held.clone()))
            .collect();
        self.stale = !gone.is_empty();
        let is_unknown = |name: &&Str| !wanted.contains_key(*name) && !self.held.contains_key(*name);
        let unknown: Vec<Str> = self.names.iter().filter(is_unknown).cloned().collect();
        let is_new = |r: &Versioned| !matches!(self.held.get(&r.name), Some(Held::Version(v, _)) if *v == r.version);
        let changed: Vec<Str> = wanted.values().filter(|r| is_new(r)).map(|r| r.name.clone()).collect();
        let whole = variant == Variant::StateOfTheWorld && self.wildcard;
        let mut resources: Vec<Versioned> = wanted.into_values().filter(|r| whole || is_new(r)).collect();
        let tells_absence = variant == Variant::Delta && !unknown.is_empty();
        if !std::mem::take(&mut self.due) && changed.is_empty() && !tells_absence {
            return None;
        }
        self.note(variant, &resources);
        if whole {
            resources.extend(gone.into_iter().filter_map(|(name, held)| match held {
                Held::Version(version, Some(body)) => Some(Versioned { name, version, body }),
                _ => None,
            }));
        }
        resources.sort_by(|a, b| a.name.cmp(&b.name));
        for name in &unknown {
            self.held.insert(name.clone(), Held::Absent);
        }
        Some(News { resources, absent: if tells_absence { unknown } else { Vec::new() }, changed })
    }

    /// What is held and no longer there; in the state-of-the-world variant all the rest. `None`: nothing, or nothing that
    /// this variant could say.
    fn removals(
        &mut self,
        kind: ResourceType,
        variant: Variant,
        session: &mut impl Session,
    ) -> Option<(Vec<Versioned>, Vec<Str>)> {
        let wanted = self.wanted(kind, session);
        let mut removed: Vec<Str> = Vec::new();
        self.held.retain(|name, held| {
            let gone = *held != Held::Absent && !wanted.contains_key(name);
            if gone {
                removed.push(name.clone());
            }
            !gone
        });
        removed.sort();
        if removed.is_empty() {
            return None;
        }
        for name in removed.iter().filter(|name| self.names.contains(*name)) {
            self.held.insert(name.clone(), Held::Absent);
        }
        match variant {
            Variant::Delta => Some((Vec::new(), removed)),
            // Names that are subscribed to one by one just stop being sent.
            Variant::StateOfTheWorld if !self.wildcard => None,
            Variant::StateOfTheWorld => {
                let mut resources: Vec<Versioned> = wanted.into_values().collect();
                resources.sort_by(|a, b| a.name.cmp(&b.name));
                self.note(variant, &resources);
                Some((resources, Vec::new()))
            }
        }
    }

    /// The proxy holds these from now on. What it refuses is not sent again until it changes.
    fn note(&mut self, variant: Variant, sent: &[Versioned]) {
        let keeps_body = variant == Variant::StateOfTheWorld && self.wildcard;
        for resource in sent {
            let held = Held::Version(resource.version.clone(), keeps_body.then(|| resource.body.clone()));
            self.held.insert(resource.name.clone(), held);
        }
    }
}

#[cfg(test)]
mod tests;
