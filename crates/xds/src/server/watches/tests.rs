//! Whatever changes in whatever order, and however late a proxy answers: in the end it holds what it should, by either
//! variant of the protocol.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest};
use tonic::Status;
use varka_engine::ir::{ResourceType, Str};
use varka_proto::envoy::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};

use super::{Push, Variant, Watches};
use crate::codec::{TYPES, type_url};
use crate::server::{Names, Session, Versioned};

type Held = BTreeMap<(ResourceType, Str), Str>;

/// Resources by type and name, with versions.
#[derive(Default)]
struct Table {
    resources: Held,
    state: u64,
    on_demand: bool,
}

impl Session for Table {
    async fn changed(&mut self) -> Result<(), Status> {
        std::future::pending().await
    }

    fn version(&mut self) -> Str {
        self.state.to_string().into()
    }

    fn resources(&mut self, kind: ResourceType, names: Names<'_>) -> Vec<Versioned> {
        let asked = |name: &Str| match names {
            Names::Wildcard => true,
            Names::Only(only) => only.contains(name),
        };
        let found = self.resources.iter().filter(|((k, name), _)| *k == kind && asked(name));
        found
            .map(|((_, name), version)| Versioned { name: name.clone(), version: version.clone(), body: Bytes::new() })
            .collect()
    }

    fn is_on_demand(&self) -> bool {
        self.on_demand
    }

    fn acked(&mut self, _: ResourceType, _: &str) {}
    fn nacked(&mut self, _: ResourceType, _: &str, _: &str) {}
}

/// A proxy as the protocol sees it.
#[derive(Default)]
struct Proxy {
    held: Held,
    unanswered: Vec<(ResourceType, String)>,
    names: BTreeMap<ResourceType, BTreeSet<Str>>,
}

impl Proxy {
    fn receive(&mut self, push: Push, variant: Variant) {
        let whole = matches!(push.kind, ResourceType::Cluster | ResourceType::Listener);
        if variant == Variant::StateOfTheWorld && whole {
            self.held.retain(|(kind, _), _| *kind != push.kind);
        }
        for resource in push.resources {
            self.held.insert((push.kind, resource.name), resource.version);
        }
        for name in push.removed.into_iter().chain(push.absent) {
            self.held.remove(&(push.kind, name));
        }
        self.unanswered.push((push.kind, push.nonce));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Set(u8, u8, u8),
    Remove(u8, u8),
    Subscribe(u8, u8),
    Unsubscribe(u8, u8),
    Answer,
    Serve,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..6u8, any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(what, kind, name, version)| match what {
        0 => Step::Set(kind, name, version),
        1 => Step::Remove(kind, name),
        2 => Step::Subscribe(kind, name),
        3 => Step::Unsubscribe(kind, name),
        4 => Step::Answer,
        _ => Step::Serve,
    });
    proptest::collection::vec(step, 0..80)
}

fn kind(n: u8) -> ResourceType {
    TYPES[usize::from(n) % TYPES.len()]
}

fn name(n: u8) -> Str {
    ["a", "b", "c", "d"][usize::from(n) % 4].into()
}

struct World {
    variant: Variant,
    table: Table,
    watches: Watches,
    proxy: Proxy,
    last: BTreeMap<ResourceType, String>,
}

impl World {
    fn new(variant: Variant) -> Self {
        let mut world = Self {
            variant,
            table: Table::default(),
            watches: Watches::new(variant),
            proxy: Proxy::default(),
            last: BTreeMap::new(),
        };
        for kind in [ResourceType::Cluster, ResourceType::Listener] {
            world.request(kind, "", &[], &[]);
        }
        world
    }

    /// A request, in the form of the variant.
    fn request(&mut self, kind: ResourceType, nonce: &str, subscribe: &[Str], unsubscribe: &[Str]) {
        let strings = |names: &[Str]| names.iter().map(ToString::to_string).collect();
        match self.variant {
            Variant::Delta => {
                let request = DeltaDiscoveryRequest {
                    type_url: type_url(kind).into(),
                    response_nonce: nonce.into(),
                    resource_names_subscribe: strings(subscribe),
                    resource_names_unsubscribe: strings(unsubscribe),
                    ..Default::default()
                };
                self.watches.delta(request, &mut self.table).unwrap();
            }
            Variant::StateOfTheWorld => {
                let names: Vec<Str> = self.proxy.names.get(&kind).into_iter().flatten().cloned().collect();
                // Every request answers the last response.
                let nonce =
                    if nonce.is_empty() { self.last.get(&kind).cloned().unwrap_or_default() } else { nonce.into() };
                self.proxy.unanswered.retain(|unanswered| *unanswered != (kind, nonce.clone()));
                let request = DiscoveryRequest {
                    type_url: type_url(kind).into(),
                    response_nonce: nonce,
                    resource_names: strings(&names),
                    ..Default::default()
                };
                self.watches.state_of_the_world(request, &mut self.table).unwrap();
            }
        }
    }

    fn serve(&mut self) {
        while let Some(push) = self.watches.next(&mut self.table) {
            self.last.insert(push.kind, push.nonce.clone());
            self.proxy.receive(push, self.variant);
        }
    }

    fn answer(&mut self) {
        for (kind, nonce) in std::mem::take(&mut self.proxy.unanswered) {
            self.request(kind, &nonce, &[], &[]);
        }
    }

    fn step(&mut self, step: &Step) {
        let is_named = |k: ResourceType| !matches!(k, ResourceType::Cluster | ResourceType::Listener);
        match *step {
            Step::Set(k, n, version) => {
                self.table.resources.insert((kind(k), name(n)), version.to_string().into());
                self.watches.changed();
            }
            Step::Remove(k, n) => {
                self.table.resources.remove(&(kind(k), name(n)));
                self.watches.changed();
            }
            Step::Subscribe(k, n) if is_named(kind(k)) => {
                if self.proxy.names.entry(kind(k)).or_default().insert(name(n)) {
                    self.request(kind(k), "", &[name(n)], &[]);
                }
            }
            Step::Unsubscribe(k, n) if is_named(kind(k)) => {
                if self.proxy.names.entry(kind(k)).or_default().remove(&name(n)) {
                    self.proxy.held.remove(&(kind(k), name(n)));
                    self.request(kind(k), "", &[], &[name(n)]);
                }
            }
            Step::Subscribe(..) | Step::Unsubscribe(..) => {}
            Step::Answer => self.answer(),
            Step::Serve => self.serve(),
        }
        self.table.state += 1;
    }

    /// Until nothing is left to say, then what the proxy holds of what it should, and what it should.
    fn settle(mut self) -> (Held, Held) {
        loop {
            self.serve();
            if self.proxy.unanswered.is_empty() {
                break;
            }
            self.answer();
        }
        let names = &self.proxy.names;
        let is_wanted = |kind: ResourceType, name: &Str| {
            matches!(kind, ResourceType::Cluster | ResourceType::Listener)
                || names.get(&kind).is_some_and(|n| n.contains(name))
        };
        let should = self.table.resources.into_iter().filter(|((k, n), _)| is_wanted(*k, n)).collect::<Held>();
        let mut held = self.proxy.held;
        // Envoy is never told that a name which it follows is gone: it keeps what it had.
        if self.variant == Variant::StateOfTheWorld {
            held.retain(|key, _| {
                matches!(key.0, ResourceType::Cluster | ResourceType::Listener) || should.contains_key(key)
            });
        }
        held.retain(|(k, n), _| is_wanted(*k, n));
        (held, should)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn both_variants_end_with_what_should_be_there(steps in steps()) {
        for variant in [Variant::Delta, Variant::StateOfTheWorld] {
            let mut world = World::new(variant);
            for step in &steps {
                world.step(step);
            }
            let (held, should) = world.settle();
            prop_assert_eq!(held, should, "{:?}", variant);
        }
    }

    #[test]
    fn at_most_one_response_of_a_type_is_outstanding(steps in steps()) {
        for variant in [Variant::Delta, Variant::StateOfTheWorld] {
            let mut world = World::new(variant);
            for step in &steps {
                world.step(step);
                let kinds: BTreeSet<_> = world.proxy.unanswered.iter().map(|(kind, _)| *kind).collect();
                prop_assert_eq!(kinds.len(), world.proxy.unanswered.len());
            }
        }
    }
}

/// Clusters that change faster than a proxy takes them hold up no request of one that asks: it waits for its listener alone.
#[test]
fn what_is_asked_for_on_demand_is_answered_however_often_other_types_change() {
    for (on_demand, answered) in [(true, true), (false, false)] {
        let mut world = World::new(Variant::Delta);
        world.table.on_demand = on_demand;
        world.serve();
        world.answer();
        world.step(&Step::Set(0, 0, 0));
        let clusters = TYPES.iter().position(|kind| *kind == ResourceType::Cluster).unwrap();
        let clusters = u8::try_from(clusters).unwrap();
        let wanted: Str = "10.96.0.1_8080".into();
        world.table.resources.insert((ResourceType::Listener, wanted.clone()), "1".into());
        world.step(&Step::Set(clusters, 0, 0));
        world.serve();
        world.request(ResourceType::Listener, "", std::slice::from_ref(&wanted), &[]);
        for version in 1..100 {
            // It changed again before the last one was answered.
            world.step(&Step::Set(clusters, 0, version));
            let before = std::mem::take(&mut world.proxy.unanswered);
            world.serve();
            for (kind, nonce) in before {
                world.request(kind, &nonce, &[], &[]);
            }
            world.serve();
        }
        assert_eq!(world.proxy.held.contains_key(&(ResourceType::Listener, wanted)), answered, "{on_demand}");
    }
}
