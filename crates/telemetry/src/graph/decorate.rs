//! What is added to the traffic: each function here does what one of Kiali's appenders does, on the whole graph at once.
//!
//! The order counts. What changes nodes goes first, then what looks at edges, then what is without traffic; who is outside
//! must be known before badges and health.

use std::collections::HashMap;

use super::arena::Id;
use super::collect::{Waypoints, service_between};
use super::draft::{Draft, Flow};
use super::facts::{Facts, Namespace, Service, Workload, app_label};
use super::input::Metrics;
use super::key::Identity;
use super::model::{Node, NodeKind, Protocol};
use super::options::{Appender, GraphType};
use super::row::Row;

mod aggregate;
mod ambient;
mod dead;
mod health;
mod idle;
mod istio;
mod labels;
mod measure;
mod mesh;
mod outsider;
mod reduce;
mod service_entry;
mod unmatched;
mod workload_entry;

#[cfg(test)]
pub(super) use measure::quantile;

/// Adds what is asked for.
pub(super) fn decorate<'a>(draft: &mut Draft<'a>, metrics: &Metrics<'a>) {
    let options = draft.options;
    let asked = |appender| options.appenders.has(appender);
    let known = Known::new(draft.facts);
    if asked(Appender::ServiceEntry) {
        service_entry::apply(draft, &known);
    }
    if asked(Appender::DeadNode) {
        dead::apply(draft, &known);
    }
    if asked(Appender::WorkloadEntry) {
        workload_entry::apply(draft, &known);
    }
    if asked(Appender::ResponseTime) {
        measure::response_times(draft, metrics);
    }
    if asked(Appender::SecurityPolicy) {
        measure::security(draft, metrics);
    }
    if asked(Appender::Throughput) {
        measure::throughput(draft, metrics);
    }
    if asked(Appender::AggregateNode) || aggregate::is_asked_for(options) {
        aggregate::apply(draft, metrics);
    }
    if asked(Appender::IdleNode) {
        idle::apply(draft, &known);
    }
    if asked(Appender::MeshCheck) {
        mesh::apply(draft, &known);
    }
    outsider::apply(draft, &known);
    unmatched::apply(draft, metrics);
    if asked(Appender::Istio) {
        istio::apply(draft, &known);
    }
    if asked(Appender::Ambient) {
        ambient::apply(draft);
    }
    if asked(Appender::Health) {
        health::apply(draft, &known);
    }
    if asked(Appender::Labeler) {
        labels::apply(draft, &known);
    }
    outsider::mark_roots(draft);
    if options.graph_type == GraphType::Service && options.node.is_none() {
        reduce::apply(draft);
        // Edges have been summed up.
        if asked(Appender::Health) {
            health::edges(draft, &known);
        }
    }
}

/// Facts by name.
struct Known<'f> {
    namespaces: HashMap<(&'f str, &'f str), &'f Namespace>,
    services: HashMap<(&'f str, &'f str, &'f str), &'f Service>,
    workloads: HashMap<(&'f str, &'f str, &'f str), &'f Workload>,
    apps: HashMap<(&'f str, &'f str, &'f str), Vec<&'f Workload>>,
}

impl<'f> Known<'f> {
    fn new(facts: &'f Facts) -> Self {
        let mut apps: HashMap<_, Vec<&'f Workload>> = HashMap::new();
        for workload in &facts.workloads {
            if let Some((_, app)) = app_label(&workload.labels) {
                apps.entry((workload.cluster.as_str(), workload.namespace.as_str(), app)).or_default().push(workload);
            }
        }
        Self {
            namespaces: facts.namespaces.iter().map(|n| ((n.cluster.as_str(), n.name.as_str()), n)).collect(),
            services: facts
                .services
                .iter()
                .map(|s| ((s.cluster.as_str(), s.namespace.as_str(), s.name.as_str()), s))
                .collect(),
            workloads: facts
                .workloads
                .iter()
                .map(|w| ((w.cluster.as_str(), w.namespace.as_str(), w.name.as_str()), w))
                .collect(),
            apps,
        }
    }

    fn namespace(&self, cluster: &str, namespace: &str) -> Option<&'f Namespace> {
        self.namespaces.get(&(cluster, namespace)).copied()
    }

    /// Whether one may look into the namespace of a node.
    fn may_see(&self, node: &Node) -> bool {
        self.namespace(&node.cluster, &node.namespace).is_some()
    }

    fn service(&self, cluster: &str, namespace: &str, name: &str) -> Option<&'f Service> {
        self.services.get(&(cluster, namespace, name)).copied()
    }

    fn workload(&self, node: &Node) -> Option<&'f Workload> {
        self.workloads.get(&(node.cluster.as_str(), node.namespace.as_str(), node.workload.as_str())).copied()
    }

    fn app(&self, cluster: &str, namespace: &str, app: &str) -> Vec<&'f Workload> {
        self.apps.get(&(cluster, namespace, app)).cloned().unwrap_or_default()
    }
}

/// Finds the edges of a report; the last answer is kept, because the buckets of a histogram come one after another.
struct Finder<'a> {
    waypoints: Waypoints<'a>,
    nodes: HashMap<Identity<'a>, Option<Id<Node>>>,
    last: Option<(Identity<'a>, Identity<'a>, Protocol, Found<'a>)>,
}

/// The edges that a report tells of.
#[derive(Debug, Clone, Copy)]
struct Found<'a> {
    /// From the client to the server, or to the service before it.
    asked: Option<Id<Flow<'a>>>,
    /// From the service to the server.
    served: Option<Id<Flow<'a>>>,
}

impl<'a> Found<'a> {
    fn edges(self) -> impl Iterator<Item = Id<Flow<'a>>> {
        self.asked.into_iter().chain(self.served)
    }
}

impl<'a> Finder<'a> {
    fn new(draft: &Draft<'a>) -> Self {
        Self { waypoints: Waypoints::new(draft.facts, draft.options), nodes: HashMap::new(), last: None }
    }

    fn find(&mut self, draft: &Draft<'a>, row: &Row<'a>) -> Found<'a> {
        if let Some((source, target, protocol, found)) = self.last
            && (source, target, protocol) == (row.source, row.target, row.protocol)
        {
            return found;
        }
        let found = self.look(draft, row);
        self.last = Some((row.source, row.target, row.protocol, found));
        found
    }

    fn look(&mut self, draft: &Draft<'a>, row: &Row<'a>) -> Found<'a> {
        let (from, to) = (self.waypoints.has(&row.source), self.waypoints.has(&row.target));
        let (source, target) = (self.node(draft, &row.source, from), self.node(draft, &row.target, to));
        let service = if from || to { None } else { service_between(draft.options, &row.target) };
        let service = service.map(|service| self.node(draft, &service, false));
        let flow = |source: Option<_>, target: Option<_>| draft.find_flow(source?, target?, row.protocol);
        match service {
            Some(service) => Found { asked: flow(source, service), served: flow(service, target) },
            None => Found { asked: flow(source, target), served: None },
        }
    }

    fn node(&mut self, draft: &Draft<'a>, identity: &Identity<'a>, waypoint: bool) -> Option<Id<Node>> {
        let identity = if waypoint { Identity { app: "", ..*identity } } else { *identity };
        *self.nodes.entry(identity).or_insert_with(|| draft.find(&identity))
    }
}

/// Workloads behind a node.
fn workloads_of<'f>(known: &Known<'f>, node: &Node) -> Vec<&'f Workload> {
    match node.kind {
        NodeKind::Workload => known.workload(node).into_iter().collect(),
        NodeKind::App if super::key::known(&node.workload) => known.workload(node).into_iter().collect(),
        NodeKind::App => known.app(&node.cluster, &node.namespace, &node.app),
        NodeKind::Service => {
            let service = known.service(&node.cluster, &node.namespace, &node.service);
            service.map(|service| behind(known, service)).unwrap_or_default()
        }
        NodeKind::Unknown | NodeKind::Aggregate => Vec::new(),
    }
}

/// Workloads that a service selects.
fn behind<'f>(known: &Known<'f>, service: &Service) -> Vec<&'f Workload> {
    if service.selector.is_empty() {
        return Vec::new();
    }
    let here = |w: &&&Workload| w.cluster == service.cluster && w.namespace == service.namespace;
    let chosen = |w: &&&Workload| super::facts::selects(&service.selector, &w.labels);
    known.workloads.values().filter(here).filter(chosen).copied().collect()
}
