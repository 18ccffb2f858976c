//! From series to nodes and edges: reports are summed, each request is counted once, and what is left becomes traffic.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::arena::Id;
use super::draft::{Draft, Part};
use super::facts::{Facts, Waypoint};
use super::input::{Metrics, Series};
use super::key::{Identity, UNKNOWN, known};
use super::model::{Node, NodeKind, Protocol, ServiceName, Unit};
use super::options::{Ambient, GrpcRate, Options, TcpRate};
use super::reconcile::reconcile;
use super::row::{Side, read};
use super::select::Selector;

/// All reports with the same labels, one rate for each side that told it.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) metric: u8,
    pub(super) unit: Unit,
    pub(super) protocol: Protocol,
    /// Place among the identities.
    pub(super) source: u32,
    pub(super) target: u32,
    pub(super) part: Part<'a>,
    pub(super) sides: [Option<f64>; Side::COUNT],
    /// Somebody asked for it.
    pub(super) selected: bool,
    /// Another report tells of the same requests.
    pub(super) told_otherwise: bool,
}

impl Entry<'_> {
    /// What the first of the sides says that counted anything.
    pub(super) fn first(&self) -> f64 {
        self.sides.iter().copied().flatten().find(|rate| *rate > 0.0).unwrap_or_default()
    }
}

type EntryKey<'a> = (u8, Protocol, u32, u32, &'a str, &'a str, &'a str);

/// Things by the order in which they were first seen.
#[derive(Debug)]
pub(super) struct Numbered<T> {
    places: HashMap<T, u32>,
    things: Vec<T>,
}

impl<T: Copy + Eq + Hash> Numbered<T> {
    pub(super) fn new() -> Self {
        Self { places: HashMap::new(), things: Vec::new() }
    }

    pub(super) fn number(&mut self, thing: T) -> u32 {
        *self.places.entry(thing).or_insert_with(|| {
            self.things.push(thing);
            u32::try_from(self.things.len() - 1).unwrap_or(u32::MAX)
        })
    }

    pub(super) fn thing(&self, number: u32) -> Option<&T> {
        self.things.get(number as usize)
    }

    pub(super) fn things(&self) -> &[T] {
        &self.things
    }
}

/// Every report that may matter, summed by its labels.
#[derive(Debug)]
pub(super) struct Reports<'a> {
    pub(super) entries: Vec<Entry<'a>>,
    pub(super) identities: Numbered<Identity<'a>>,
}

/// The metrics that a graph counts, with the unit of each.
fn counted<'m, 'a>(metrics: &'m Metrics<'a>, options: &Options) -> Vec<(Unit, &'m [Series<'a>])> {
    let rates = &options.rates;
    let mut counted: Vec<(Unit, &'m [Series<'a>])> = Vec::new();
    if rates.requests() {
        counted.push((Unit::Requests, &metrics.requests));
    }
    if matches!(rates.grpc, GrpcRate::Sent | GrpcRate::Total) {
        counted.push((Unit::Messages, &metrics.request_messages));
    }
    if matches!(rates.grpc, GrpcRate::Received | GrpcRate::Total) {
        counted.push((Unit::Messages, &metrics.response_messages));
    }
    // A client's sent bytes are those that Istio's server received.
    if matches!(rates.tcp, TcpRate::Sent | TcpRate::Total) {
        counted.push((Unit::Bytes, &metrics.tcp_received_bytes));
    }
    if matches!(rates.tcp, TcpRate::Received | TcpRate::Total) {
        counted.push((Unit::Bytes, &metrics.tcp_sent_bytes));
    }
    counted
}

/// Fills a draft with all traffic that was asked for.
pub(super) fn collect<'a>(draft: &mut Draft<'a>, metrics: &Metrics<'a>) {
    let options = draft.options;
    let selector = Selector::new(options, &draft.facts.waypoints);
    let mut reports = Reports { entries: Vec::new(), identities: Numbered::new() };
    let mut places: HashMap<EntryKey<'a>, usize> = HashMap::new();
    for (metric, (unit, series)) in counted(metrics, options).into_iter().enumerate() {
        let metric = u8::try_from(metric).unwrap_or(u8::MAX);
        for series in series {
            let Some(row) = read(series, unit, &options.rates, &mut draft.left_out) else { continue };
            // A connection that was refused at once has moved no byte, and is what one looks for.
            let is_nowhere =
                matches!(series.labels.destination_service_name, "PassthroughCluster" | "BlackHoleCluster");
            if row.rate <= 0.0 && !options.include_idle_edges && !is_nowhere {
                continue;
            }
            let selected = selector.takes(&series.labels, unit, row.side);
            if selector.is_of_class() && !selected {
                continue;
            }
            let (source, target) = (reports.identities.number(row.source), reports.identities.number(row.target));
            let key = (metric, row.protocol, source, target, row.code, row.flags, row.host);
            let place = *places.entry(key).or_insert_with(|| {
                reports.entries.push(Entry {
                    metric,
                    unit,
                    protocol: row.protocol,
                    source,
                    target,
                    part: Part { code: row.code, flags: row.flags, host: row.host, rate: 0.0, count: 0.0 },
                    sides: [None; Side::COUNT],
                    selected: false,
                    told_otherwise: false,
                });
                reports.entries.len() - 1
            });
            let Some(entry) = reports.entries.get_mut(place) else { continue };
            entry.selected |= selected;
            if let Some(side) = entry.sides.get_mut(row.side as usize) {
                *side = Some(side.unwrap_or_default() + row.rate);
            }
        }
    }
    draft.left_out.reported_twice += reconcile(&mut reports, selector.is_of_namespaces());
    apply(draft, &reports);
    draft.tally();
}

/// The waypoints, by what labels say of them.
#[derive(Debug)]
pub(super) struct Waypoints<'f>(HashSet<(&'f str, &'f str, &'f str)>);

impl<'f> Waypoints<'f> {
    pub(super) fn new(facts: &'f Facts, options: &Options) -> Self {
        let known: &[Waypoint] = if options.rates.ambient == Ambient::None { &[] } else { &facts.waypoints };
        let both = |w: &'f Waypoint| [w.cluster.as_str(), UNKNOWN].map(|c| (c, w.namespace.as_str(), w.name.as_str()));
        Self(known.iter().flat_map(both).collect())
    }

    pub(super) fn has(&self, identity: &Identity<'_>) -> bool {
        !self.0.is_empty() && self.0.contains(&(identity.cluster, identity.workload_namespace, identity.workload))
    }
}

/// Nodes of a server: the one that serves, and the service that stands before it.
#[derive(Debug, Clone, Copy)]
struct Served {
    server: Id<Node>,
    service: Option<Id<Node>>,
}

fn apply<'a>(draft: &mut Draft<'a>, reports: &Reports<'a>) {
    let waypoints = Waypoints::new(draft.facts, draft.options);
    let count = reports.identities.things().len();
    let mut clients: Vec<Option<Option<Id<Node>>>> = vec![None; count];
    // A waypoint's own traffic goes to no service in between.
    let mut servers: HashMap<(u32, bool), Option<Served>> = HashMap::new();
    for entry in reports.entries.iter().filter(|e| e.selected && !e.told_otherwise) {
        let (Some(source), Some(target)) =
            (reports.identities.thing(entry.source), reports.identities.thing(entry.target))
        else {
            continue;
        };
        let from_waypoint = waypoints.has(source);
        let slot = clients.get_mut(entry.source as usize);
        let client = slot.and_then(|slot| *slot.get_or_insert_with(|| place(draft, source, from_waypoint)));
        let Some(client) = client else {
            draft.left_out.unusable += 1;
            continue;
        };
        let served = *servers
            .entry((entry.target, from_waypoint))
            .or_insert_with(|| serve(draft, target, from_waypoint, waypoints.has(target)));
        let Some(served) = served else {
            draft.left_out.unusable += 1;
            continue;
        };
        // A rate over the whole window says too little of what has not existed for as long.
        let stretch = draft.options.stretch(source.namespace(), target.namespace());
        #[expect(clippy::cast_precision_loss, reason = "windows are far shorter than 2^52 seconds")]
        let count = entry.part.rate * draft.options.duration as f64;
        let part = Part { rate: entry.part.rate * stretch, count, ..entry.part };
        let mut carry = |from, to| {
            let flow = draft.flow(from, to, entry.protocol, entry.unit);
            draft.flows[flow].add(part);
        };
        match served.service {
            Some(service) => {
                carry(client, service);
                carry(service, served.server);
            }
            None => carry(client, served.server),
        }
    }
}

/// The node of labels. A waypoint is a workload in every graph.
fn place(draft: &mut Draft<'_>, identity: &Identity<'_>, waypoint: bool) -> Option<Id<Node>> {
    let identity = if waypoint { Identity { app: "", ..*identity } } else { *identity };
    let id = draft.node(&identity)?;
    draft.nodes[id].waypoint |= waypoint;
    Some(id)
}

fn serve(draft: &mut Draft<'_>, target: &Identity<'_>, from_waypoint: bool, waypoint: bool) -> Option<Served> {
    let server = place(draft, target, waypoint)?;
    let service = (!from_waypoint && !waypoint).then(|| stand_between(draft, target)).flatten();
    if let Some(id) = service {
        draft.nodes[id].injected = true;
        asked(&mut draft.nodes[id], target);
    }
    asked(&mut draft.nodes[server], target);
    Some(Served { server, service })
}

/// The service that stands between client and server, where one is asked for.
pub(super) fn service_between<'a>(options: &Options, target: &Identity<'a>) -> Option<Identity<'a>> {
    let named = known(target.service) && target.service != "PassthroughCluster";
    let is_service = target.key(options.graph_type).is_some_and(|(_, kind)| kind == NodeKind::Service);
    let between = Identity::service(target.cluster, target.service_namespace, target.service);
    (options.injects() && named && !is_service).then_some(between)
}

fn stand_between(draft: &mut Draft<'_>, target: &Identity<'_>) -> Option<Id<Node>> {
    let service = service_between(draft.options, target)?;
    draft.node(&service)
}

/// Notes under which name a node was asked.
fn asked(node: &mut Node, target: &Identity<'_>) {
    if known(target.service) {
        node.services.insert(ServiceName {
            cluster: target.cluster.to_owned(),
            namespace: target.service_namespace.to_owned(),
            name: target.service.to_owned(),
        });
    }
}
