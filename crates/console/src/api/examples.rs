//! The worst requests behind a node, an edge or a thing of a list, from the spans of proxies.
//!
//! Of a window the newest [`LOOKED_AT`] spans are looked at, so that it costs no more in a busy mesh than in a quiet one. Worse is
//! no answer and a server's error before a client's error before slowness.

use std::collections::HashMap;

use serde_json::{Value, json};
use varka_telemetry::graph::facts::{Facts, Workload, app_label, version_label};
use varka_telemetry::graph::{Egress, Node, NodeKind, Protocol};

use crate::explain::Direction;
use crate::facts::Departed;
use crate::graph::Source;
use crate::requests::{Seen, seen};
use crate::store::Error;

/// So many spans at most.
const LOOKED_AT: usize = 2_000;
/// Of each.
const MOST: usize = 3;

/// An end of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Party {
    namespace: String,
    workload: String,
    app: String,
    version: String,
}

/// A request, once, by what its client's and its server's proxies tell.
#[derive(Debug)]
struct Call {
    source: Option<Party>,
    target: Option<Party>,
    /// Namespace and name.
    service: Option<(String, String)>,
    egress: Option<Egress>,
    protocol: Protocol,
    rank: (u8, u64),
    seen: Seen,
}

/// The requests of a window, the worst first.
#[derive(Debug, Default)]
pub(super) struct Calls {
    all: Vec<Call>,
    /// Their places, by namespace and name of whatever they arrive at: a workload, an application, a service, a cluster of no service.
    arrivals: HashMap<(String, String), Vec<usize>>,
}

impl Calls {
    /// Reads those of the window of `duration` seconds that ends at `end`, seconds since 1970.
    pub(super) fn read(source: &Source, facts: &Facts, end: i64, duration: u64) -> Result<Self, Error> {
        let until = end.saturating_mul(1000).saturating_add(999);
        let window = i64::try_from(duration).unwrap_or(i64::MAX / 2000).saturating_mul(1000);
        let end = u64::try_from(end).unwrap_or(0).saturating_add(1).saturating_mul(1_000_000);
        let start = end.saturating_sub(duration.saturating_add(1).saturating_mul(1_000_000));
        let spans = source.store.spans().recent(start, end, LOOKED_AT)?;
        let all: Vec<Seen> = spans.iter().filter_map(seen).collect();
        let mut parties = Parties::of(facts);
        // Those that are gone are looked for where somebody is missed: it costs as much as all the rest.
        let departed = if all.iter().all(|seen| parties.know(seen)) {
            Vec::new()
        } else {
            crate::facts::departed(&source.world, until.saturating_sub(window), until)?
        };
        parties.remember(&departed);
        Ok(Self::of(all, facts, &parties))
    }

    fn of(all: Vec<Seen>, facts: &Facts, parties: &Parties<'_>) -> Self {
        let mut servers: HashMap<(String, Vec<u8>), Seen> = HashMap::new();
        let (clients, inbound): (Vec<Seen>, Vec<Seen>) =
            all.into_iter().partition(|seen| seen.hop.direction == Direction::Outbound);
        for seen in inbound {
            servers.insert((seen.trace.clone(), seen.hop.parent.clone()), seen);
        }
        let mut calls = Vec::new();
        for seen in clients {
            let server = servers.remove(&(seen.trace.clone(), seen.hop.id.clone()));
            let target = server.as_ref().and_then(|server| parties.pod(&server.hop.namespace, &server.hop.pod));
            let source = parties.pod(&seen.hop.namespace, &seen.hop.pod);
            let call = Call::made(seen);
            // A server that was not reached is known where only one can be meant.
            let target = target.or_else(|| parties.only(facts, call.service.as_ref()?));
            calls.push(Call { source, target, ..call });
        }
        // Of whose client nothing is told.
        for seen in servers.into_values() {
            let target = parties.pod(&seen.hop.namespace, &seen.hop.pod);
            let source = seen.hop.peer.and_then(|peer| parties.address(&peer.to_string()));
            calls.push(Call { source, target, ..Call::made(seen) });
        }
        Self::sorted(calls)
    }

    fn sorted(mut all: Vec<Call>) -> Self {
        // The worst first, then the newest, so that what is shown does not flicker.
        all.sort_by(|a, b| b.rank.cmp(&a.rank).then_with(|| b.seen.at.cmp(&a.seen.at)));
        let mut arrivals: HashMap<_, Vec<usize>> = HashMap::new();
        for (place, call) in all.iter().enumerate() {
            let mut names: Vec<(&str, &str)> = Vec::new();
            if let Some(target) = &call.target {
                names.extend([(&*target.namespace, &*target.workload), (&target.namespace, &target.app)]);
            }
            names.extend(call.service.iter().map(|(namespace, name)| (&**namespace, &**name)));
            names.extend(call.egress.map(|egress| ("", named(egress))));
            names.sort_unstable();
            names.dedup();
            for (namespace, name) in names {
                arrivals.entry((namespace.to_owned(), name.to_owned())).or_default().push(place);
            }
        }
        Self { all, arrivals }
    }

    /// Those that may arrive at a thing of this name, the worst first.
    fn to(&self, namespace: &str, name: &str) -> impl Iterator<Item = &Call> {
        let places = self.arrivals.get(&(namespace.to_owned(), name.to_owned()));
        places.into_iter().flatten().filter_map(|place| self.all.get(*place))
    }

    fn to_node(&self, node: &Node) -> impl Iterator<Item = &Call> {
        let (namespace, name) = match (node.egress, node.kind) {
            (Some(egress), _) => ("", named(egress)),
            (None, NodeKind::Service) => (node.namespace.as_str(), node.service.as_str()),
            (None, NodeKind::App) => (node.namespace.as_str(), node.app.as_str()),
            (None, _) => (node.namespace.as_str(), node.workload.as_str()),
        };
        self.to(namespace, name)
    }

    /// Of those that arrive at a node.
    pub(super) fn at(&self, node: &Node) -> Value {
        worst(self.to_node(node).filter(|call| call.arrives_at(node)))
    }

    /// Of those that go from one node to another.
    pub(super) fn on(&self, source: &Node, target: &Node, protocol: Protocol) -> Value {
        worst(self.to_node(target).filter(|call| call.protocol == protocol && call.goes(source, target)))
    }

    /// Of those that arrive at a workload.
    pub(super) fn of_workload(&self, workload: &Workload) -> Value {
        let is = |party: &Party| (&party.namespace, &party.workload) == (&workload.namespace, &workload.name);
        let all = self.to(&workload.namespace, &workload.name);
        worst(all.filter(|call| call.target.as_ref().is_some_and(is)))
    }

    /// Of those that arrive at an application.
    pub(super) fn of_app(&self, namespace: &str, app: &str) -> Value {
        let is = |party: &Party| (party.namespace.as_str(), party.app.as_str()) == (namespace, app);
        worst(self.to(namespace, app).filter(|call| call.target.as_ref().is_some_and(is)))
    }

    /// Of those that are for a service.
    pub(super) fn of_service(&self, namespace: &str, name: &str) -> Value {
        let is = |(own, service): &(String, String)| (own.as_str(), service.as_str()) == (namespace, name);
        worst(self.to(namespace, name).filter(|call| call.service.as_ref().is_some_and(is)))
    }
}

fn worst<'c>(calls: impl Iterator<Item = &'c Call>) -> Value {
    calls.take(MOST).map(Call::shown).collect()
}

fn named(egress: Egress) -> &'static str {
    match egress {
        Egress::PassthroughCluster => "PassthroughCluster",
        Egress::BlackHoleCluster => "BlackHoleCluster",
    }
}

impl Call {
    fn made(seen: Seen) -> Self {
        let hop = &seen.hop;
        let mut parts = hop.cluster.splitn(4, '|');
        let host = parts.next().filter(|side| *side == "outbound").and_then(|_| parts.nth(2));
        let service = host.and_then(|host| {
            let mut labels = host.splitn(3, '.');
            let (name, namespace) = (labels.next()?, labels.next()?);
            labels.next().filter(|rest| rest.starts_with("svc."))?;
            Some((namespace.to_owned(), name.to_owned()))
        });
        let egress = match hop.cluster.as_str() {
            "PassthroughCluster" => Some(Egress::PassthroughCluster),
            "BlackHoleCluster" => Some(Egress::BlackHoleCluster),
            _ => None,
        };
        let failed = hop.status == 0 || hop.status >= 500 || seen.grpc_status.is_some_and(|status| status > 0);
        let rank = if failed { 2 } else { u8::from(hop.status >= 400) };
        Self {
            source: None,
            target: None,
            service,
            egress,
            protocol: if seen.is_grpc { Protocol::Grpc } else { Protocol::Http },
            rank: (rank, seen.duration),
            seen,
        }
    }

    fn arrives_at(&self, node: &Node) -> bool {
        match node.kind {
            NodeKind::Service => self.is_for(node),
            _ => self.target.as_ref().is_some_and(|target| target.is(node)),
        }
    }

    fn is_for(&self, node: &Node) -> bool {
        match node.egress {
            Some(egress) => self.egress == Some(egress),
            None => self.service.as_ref().is_some_and(|(namespace, name)| {
                (namespace.as_str(), name.as_str()) == (node.namespace.as_str(), node.service.as_str())
            }),
        }
    }

    fn goes(&self, source: &Node, target: &Node) -> bool {
        let leaves = match source.kind {
            // A service stands between client and server.
            NodeKind::Service => self.is_for(source),
            NodeKind::Unknown => self.source.is_none(),
            _ => self.source.as_ref().is_some_and(|party| party.is(source)),
        };
        leaves && self.arrives_at(target)
    }

    fn shown(&self) -> Value {
        let (seen, hop) = (&self.seen, &self.seen.hop);
        #[expect(clippy::cast_precision_loss, reason = "a duration of so many microseconds there is none")]
        let duration = seen.duration as f64 / 1000.0;
        let code = match seen.grpc_status {
            Some(status) if self.protocol == Protocol::Grpc => status.to_string(),
            _ => hop.status.to_string(),
        };
        json!({
            "at": seen.at / 1_000_000, "method": hop.method, "path": hop.path, "code": code,
            "flags": hop.flags, "duration": duration, "traceId": seen.trace,
        })
    }
}

impl Party {
    fn is(&self, node: &Node) -> bool {
        if self.namespace != node.namespace {
            return false;
        }
        match node.kind {
            NodeKind::App => {
                // Istio's names of what has no label: the workload's, and `latest`.
                let app = if self.app.is_empty() { &self.workload } else { &self.app };
                let version = if self.version.is_empty() { "latest" } else { self.version.as_str() };
                *app == node.app && (node.version.is_empty() || version == node.version)
            }
            NodeKind::Workload => self.workload == node.workload,
            _ => false,
        }
    }
}

/// Who is behind pods and addresses.
struct Parties<'f> {
    by_pod: HashMap<(&'f str, &'f str), Party>,
    by_address: HashMap<&'f str, (&'f str, &'f str)>,
}

impl<'f> Parties<'f> {
    fn of(facts: &'f Facts) -> Self {
        let (mut by_pod, mut by_address) = (HashMap::new(), HashMap::new());
        for workload in &facts.workloads {
            let label = |found: Option<(&str, &str)>| found.map_or("", |(_, value)| value).to_owned();
            let party = Party {
                namespace: workload.namespace.clone(),
                workload: workload.name.clone(),
                app: label(app_label(&workload.labels)),
                version: label(version_label(&workload.labels)),
            };
            for pod in &workload.pods {
                let name = (workload.namespace.as_str(), pod.name.as_str());
                by_address.extend(pod.addresses.iter().map(|address| (address.as_str(), name)));
                by_pod.insert(name, party.clone());
            }
        }
        Self { by_pod, by_address }
    }

    /// Whether both ends of a request are there, as far as its record names them.
    fn know(&self, seen: &Seen) -> bool {
        let is_sent = seen.hop.direction == Direction::Outbound;
        let sender = || seen.hop.peer.is_none_or(|peer| self.by_address.contains_key(&*peer.to_string()));
        self.by_pod.contains_key(&(seen.hop.namespace.as_str(), seen.hop.pod.as_str())) && (is_sent || sender())
    }

    /// Pods that are gone, of workloads that are there; whoever has an address now keeps it.
    fn remember(&mut self, departed: &'f [Departed]) {
        let mut workloads: HashMap<(&str, &str), Party> = HashMap::new();
        for party in self.by_pod.values() {
            workloads.insert((&party.namespace, &party.workload), party.clone());
        }
        let text = |value: &'f Value, path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let mut found = Vec::new();
        for Departed { pod, workload } in departed {
            let name = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
            let Some(party) = workloads.get(&(name.0, workload.as_str())) else { continue };
            let addresses = pod.pointer("/status/podIPs").and_then(Value::as_array).into_iter().flatten();
            for address in addresses.map(|ip| text(ip, "/ip")) {
                self.by_address.entry(address).or_insert(name);
            }
            found.push((name, party.clone()));
        }
        self.by_pod.extend(found);
    }

    /// Of a pod that is gone and was not kept the workload is as its name tells.
    fn pod(&self, namespace: &str, pod: &str) -> Option<Party> {
        if let Some(party) = self.by_pod.get(&(namespace, pod)) {
            return Some(party.clone());
        }
        let workload = pod.rsplit_once('-')?.0;
        let workload = workload.rsplit_once('-').map_or(workload, |(name, _)| name);
        let of_it = |party: &&Party| party.namespace == namespace && party.workload == workload;
        self.by_pod.values().find(of_it).cloned()
    }

    /// The workload behind a service, where there is one.
    fn only(&self, facts: &Facts, (namespace, name): &(String, String)) -> Option<Party> {
        let service = facts.services.iter().find(|s| (&s.namespace, &s.name) == (namespace, name))?;
        let selects = |workload: &&Workload| {
            workload.namespace == *namespace
                && !service.selector.is_empty()
                && service.selector.iter().all(|(key, value)| workload.labels.get(key) == Some(value))
        };
        let mut behind = facts.workloads.iter().filter(selects);
        let (one, other) = (behind.next()?, behind.next());
        let pod = other.is_none().then(|| one.pods.first())??;
        self.pod(&one.namespace, &pod.name)
    }

    fn address(&self, address: &str) -> Option<Party> {
        self.by_pod.get(self.by_address.get(address)?).cloned()
    }
}

#[cfg(test)]
mod tests;
