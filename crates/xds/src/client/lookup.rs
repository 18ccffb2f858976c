//! What is looked up: names that do not belong to the configuration, and whose answer nobody waits for here.
//!
//! Whoever looks up says which names it wants to know of, and how many that are is its affair: a [`Lookups`] holds no more than
//! was put into it. The client keeps the subscription equal to that, over any number of streams, and what is said of the
//! names goes to the [`Sink`](super::Sink): once for each time that a name was put in, and again whenever it changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use varka_engine::ir::{ResourceType, Str};
use varka_proto::envoy::discovery::DeltaDiscoveryRequest;

use super::state::State;

/// The names that are looked up, and how often one had been put in when each was.
type Wanted = BTreeMap<Str, u64>;

/// Names of workloads that are looked up.
#[derive(Debug, Clone, Default)]
pub struct Lookups(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    wanted: Mutex<(u64, Wanted)>,
    changed: Notify,
}

impl Lookups {
    /// Wants to know of a name. One that is known already is told again.
    pub fn add(&self, name: Str) {
        self.change(|count, wanted| {
            *count += 1;
            wanted.insert(name, *count);
        });
    }

    /// Does not want to know of a name any more.
    pub fn remove(&self, name: &str) {
        self.change(|_, wanted| {
            wanted.remove(name);
        });
    }

    fn change(&self, change: impl FnOnce(&mut u64, &mut Wanted)) {
        let mut shared = self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, wanted) = &mut *shared;
        change(count, wanted);
        drop(shared);
        self.0.changed.notify_one();
    }

    fn wanted(&self) -> Wanted {
        self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

/// Waits until other names are looked up than before, and says which; never, where nobody looks anything up.
pub(super) async fn changed(lookups: Option<&Lookups>) -> Wanted {
    match lookups {
        Some(lookups) => {
            lookups.0.changed.notified().await;
            lookups.wanted()
        }
        None => std::future::pending().await,
    }
}

impl State {
    /// Subscribes to exactly these names; the request that this takes.
    pub(super) fn look_up(&mut self, wanted: &Wanted) -> Option<DeltaDiscoveryRequest> {
        const KIND: ResourceType = ResourceType::Workload;
        let dropped: Vec<Str> = self.looked_up.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        let is_new = |(name, number): &(&Str, &u64)| self.looked_up.get(*name) != Some(number);
        let added: Vec<Str> = wanted.iter().filter(is_new).map(|(name, _)| Str::clone(name)).collect();
        let subscription = self.subscriptions.entry(KIND).or_default();
        for name in dropped.iter().chain(&added) {
            // What was said of it before was forgotten by whoever looks it up.
            subscription.versions.remove(name);
            subscription.names.remove(name);
        }
        subscription.names.extend(added.iter().map(|name| (Str::clone(name), super::state::Name::default())));
        self.looked_up.clone_from(wanted);
        self.subscribe(KIND, added, dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use varka_proto::envoy::core;

    fn wanted(lookups: &Lookups) -> Wanted {
        lookups.wanted()
    }

    #[test]
    fn the_subscription_follows_what_is_wanted() {
        let (mut state, lookups) = (State::new(core::Node::default()), Lookups::default());
        lookups.add("/10.0.0.1".into());
        assert_eq!(state.look_up(&wanted(&lookups)), None, "there is no stream yet");
        let first = state.open();
        let request = first.iter().find(|r| r.type_url.ends_with("istio.workload.Address")).unwrap();
        assert_eq!(request.resource_names_subscribe, ["/10.0.0.1"]);
        lookups.add("/10.0.0.2".into());
        lookups.remove("/10.0.0.1");
        let request = state.look_up(&wanted(&lookups)).unwrap();
        assert_eq!(request.resource_names_subscribe, ["/10.0.0.2"]);
        assert_eq!(request.resource_names_unsubscribe, ["/10.0.0.1"]);
        assert_eq!(state.look_up(&wanted(&lookups)), None, "nothing is new");
        // What is forgotten and wanted again between two looks is asked for again.
        lookups.remove("/10.0.0.2");
        lookups.add("/10.0.0.2".into());
        let request = state.look_up(&wanted(&lookups)).unwrap();
        assert_eq!(request.resource_names_subscribe, ["/10.0.0.2"]);
        assert!(request.resource_names_unsubscribe.is_empty());
    }

    #[test]
    fn whoever_looks_nothing_up_asks_for_nothing() {
        let mut state = State::new(core::Node::default());
        assert!(!state.open().iter().any(|r| r.type_url.contains("workload")));
    }
}
