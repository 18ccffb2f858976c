//! How everything does, in one word each, and steadily: whoever watches is told when something has become worse or better, not each time that
//! a single request makes the difference.
//!
//! It is looked at once a second at most, however many ask, in a tenth of the time at most, and not at all while nobody does.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use varka_telemetry::graph::health::Status;
use varka_telemetry::graph::{GraphType, Node, Options, RequestedNamespace};

use super::now;
use crate::access::sight::Sight;
use crate::graph::Source;
use crate::jaeger::blocking;
use crate::store::{Error, Millis};

/// What is shown of the present are the last seconds.
const WINDOW: u64 = 60;
const EVERY: Millis = 1_000;
/// After a longer break what was known says nothing.
const FORGOTTEN: Millis = 10_000;
/// Looks for which something has to be worse, or better, before it is called so.
const WORSE: u32 = 3;
const BETTER: u32 = 10;

/// Something that does well or does not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Thing {
    kind: &'static str,
    namespace: String,
    name: String,
}

impl Thing {
    fn new(kind: &'static str, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// How each does.
pub(crate) type States = BTreeMap<Thing, Status>;

/// How a namespace does: as the worst in it.
pub(crate) fn of_namespace(states: &States, name: &str) -> &'static str {
    states.get(&Thing::new("namespace", name, name)).map_or(Status::NotApplicable, |status| *status).name()
}

/// Events of what is different, of what somebody sees.
pub(crate) fn news(before: Option<&States>, now: &States, sight: &Sight) -> Vec<Value> {
    let unknown = Status::NotApplicable;
    let of = |states: Option<&States>, thing: &Thing| states.and_then(|s| s.get(thing)).copied().unwrap_or(unknown);
    let gone = before.into_iter().flat_map(BTreeMap::keys).filter(|thing| !now.contains_key(*thing));
    let things = now.keys().chain(gone).filter(|thing| sight.sees(&thing.namespace));
    let told = things.filter(|thing| of(before, thing) != of(Some(now), thing)).map(|thing| {
        let status = of(Some(now), thing);
        json!({"kind": thing.kind, "namespace": thing.namespace, "name": thing.name, "status": status})
    });
    told.collect()
}

/// Looks how everything does.
#[derive(Debug)]
pub(super) struct Health {
    source: Source,
    seen: Mutex<Seen>,
}

impl Health {
    /// Over everything that there is.
    pub(super) fn new(source: Source) -> Arc<Self> {
        Arc::new(Self { source, seen: Mutex::default() })
    }

    /// As it is now.
    pub(crate) async fn states(&self) -> Result<Arc<States>, Error> {
        let mut seen = self.seen.lock().await;
        let at = now();
        if (0..seen.pause()).contains(&at.saturating_sub(seen.at)) {
            return Ok(Arc::clone(&seen.told));
        }
        let source = self.source.clone();
        let raw = blocking(move || raw(&source, at.div_euclid(1000))).await?;
        seen.took = now().saturating_sub(at);
        seen.look(at, &raw);
        Ok(Arc::clone(&seen.told))
    }
}

/// What was seen until now.
#[derive(Debug, Default)]
struct Seen {
    at: Millis,
    /// How long it took to look.
    took: Millis,
    things: BTreeMap<Thing, Steady>,
    told: Arc<States>,
}

impl Seen {
    /// From one look to the next.
    fn pause(&self) -> Millis {
        EVERY.max(self.took.saturating_mul(10))
    }

    fn look(&mut self, at: Millis, raw: &States) {
        if at.saturating_sub(self.at) > FORGOTTEN.max(self.pause().saturating_mul(3)) {
            self.things.clear();
        }
        self.at = at;
        for (thing, status) in raw {
            self.things.entry(thing.clone()).or_insert_with(|| Steady::new(*status)).look(*status);
        }
        for (thing, steady) in &mut self.things {
            if !raw.contains_key(thing) {
                steady.look(Status::NotApplicable);
            }
        }
        self.things.retain(|thing, steady| raw.contains_key(thing) || steady.told != Status::NotApplicable);
        let mut told: States = self.things.iter().map(|(thing, steady)| (thing.clone(), steady.told)).collect();
        let mut namespaces = States::new();
        for (thing, status) in &told {
            let of = namespaces.entry(Thing::new("namespace", &thing.namespace, &thing.namespace)).or_default();
            *of = of.worse(*status);
        }
        told.append(&mut namespaces);
        self.told = Arc::new(told);
    }
}

/// A state that changes only when it has been different for a while, in one direction.
#[derive(Debug)]
struct Steady {
    told: Status,
    worse: u32,
    better: u32,
}

impl Steady {
    const fn new(status: Status) -> Self {
        Self { told: status, worse: 0, better: 0 }
    }

    fn look(&mut self, now: Status) {
        let (is, was) = (now.priority(), self.told.priority());
        self.worse = if is > was { self.worse + 1 } else { 0 };
        self.better = if is < was { self.better + 1 } else { 0 };
        if self.worse >= WORSE || self.better >= BETTER {
            *self = Self::new(now);
        }
    }
}

/// What a node of a kind is called.
type Name = fn(&Node) -> &str;

/// By the last minute's requests and the pods as they are.
fn raw(source: &Source, at: i64) -> Result<States, Error> {
    let facts = source.facts();
    let requested =
        facts.namespaces.iter().map(|n| RequestedNamespace { name: n.name.clone(), duration: WINDOW, ambient: false });
    let namespaces: Vec<_> = requested.collect();
    let mut found = States::new();
    let kinds: [(&str, GraphType, Name); 3] = [
        ("workload", GraphType::Workload, |node| &node.workload),
        ("service", GraphType::Service, |node| &node.service),
        ("app", GraphType::App, |node| &node.app),
    ];
    for (kind, graph_type, name) in kinds {
        let namespaces = namespaces.clone();
        let options = Options { graph_type, namespaces, query_time: at, duration: WINDOW, ..Options::default() };
        for node in
            source.graph(&facts, &options)?.nodes.iter().filter(|node| !node.inaccessible && !name(node).is_empty())
        {
            let Some(health) = &node.health else { continue };
            let status = found.entry(Thing::new(kind, &node.namespace, name(node))).or_default();
            *status = status.worse(health.status);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(status: Status) -> States {
        [(Thing::new("workload", "shop", "web"), status)].into()
    }

    #[test]
    fn a_state_changes_when_it_stays_different() {
        let mut seen = Seen::default();
        let mut at = 100_000;
        let mut look = |status: Status| {
            at += EVERY;
            seen.look(at, &states(status));
            (seen.told.get(&Thing::new("workload", "shop", "web")).copied(), of_namespace(&seen.told, "shop"))
        };
        use Status::{Degraded, Failure, Healthy};
        assert_eq!(look(Healthy), (Some(Healthy), "Healthy"));
        // Flapping is no change, whatever it flaps to.
        for status in [Failure, Healthy, Degraded, Failure, Healthy, Failure, Degraded] {
            assert_eq!(look(status).0, Some(Healthy));
        }
        assert_eq!(look(Failure), (Some(Failure), "Failure"));
        for _ in 1..BETTER {
            assert_eq!(look(Healthy).0, Some(Failure));
        }
        assert_eq!(look(Healthy), (Some(Healthy), "Healthy"));
    }

    #[test]
    fn what_is_gone_or_long_ago_is_not_known() {
        let mut seen = Seen::default();
        seen.look(100_000, &states(Status::Failure));
        for second in 1..=i64::from(BETTER) {
            assert!(seen.told.len() == 2);
            seen.look(100_000 + second * EVERY, &States::new());
        }
        assert!(seen.told.is_empty());
        seen.look(200_000, &states(Status::Healthy));
        seen.look(300_000, &states(Status::Failure));
        assert_eq!(of_namespace(&seen.told, "shop"), "Failure");
    }

    #[test]
    fn news_are_what_is_different_and_seen() {
        let (before, now) = (states(Status::Healthy), states(Status::Failure));
        assert!(news(Some(&now), &now, &Sight::All).is_empty());
        let event = |status: &str| json!({"kind": "workload", "namespace": "shop", "name": "web", "status": status});
        assert_eq!(news(Some(&before), &now, &Sight::All), [event("Failure")]);
        assert_eq!(news(None, &now, &Sight::All), [event("Failure")]);
        assert_eq!(news(Some(&now), &States::new(), &Sight::All), [event("NA")]);
        assert!(news(Some(&before), &now, &Sight::nothing()).is_empty());
    }
}
