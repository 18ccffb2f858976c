//! Classified requests: a node for each value of a label, between the client and what it asked.
//!
//! Istio's request classification sets the label at the server, so servers are asked. What is not classified stays on the edge
//! that it was on: nothing is lost and nothing counts twice.

use std::collections::HashMap;

use super::super::arena::Id;
use super::super::draft::{Draft, Flow, Part};
use super::super::input::Metrics;
use super::super::key::{UNKNOWN, aggregate_key};
use super::super::model::{Node, NodeKind, Unit};
use super::super::options::{GraphType, NodeName, NodeOfInterest, Options};
use super::super::row::{Row, read};
use super::Finder;

/// Rates of the store are sums of floating point numbers: what is left of one that was taken off whole.
const NOTHING: f64 = 1e-9;

/// Whether the graph is about classified requests.
pub(super) fn is_asked_for(options: &Options) -> bool {
    matches!(options.node, Some(NodeOfInterest { what: NodeName::Aggregate(..), .. }))
}

/// Puts nodes of classified requests between clients and servers.
pub(super) fn apply<'a>(draft: &mut Draft<'a>, metrics: &Metrics<'a>) {
    let options = draft.options;
    if options.graph_type == GraphType::Service || !options.rates.requests() {
        return;
    }
    let mut finder = Finder::new(draft);
    let mut left_out = draft.left_out;
    let mut classified: HashMap<Id<Flow<'a>>, Vec<(Id<Node>, Part<'a>)>> = HashMap::new();
    for series in &metrics.requests {
        let value = series.labels.aggregate;
        let asked_for = match &options.node {
            Some(NodeOfInterest { what: NodeName::Aggregate(_, one, _), .. }) => value == one,
            _ => !value.is_empty() && value != UNKNOWN,
        };
        if !asked_for {
            continue;
        }
        let Some(row) = read(series, Unit::Requests, &options.rates, &mut left_out) else { continue };
        let Some(edge) = finder.find(draft, &row).asked.filter(|_| row.side.receives() && row.rate > 0.0) else {
            continue;
        };
        let node = class(draft, &row, value);
        let stretch = options.stretch(row.source.namespace(), row.target.namespace());
        let part = Part { code: row.code, flags: row.flags, host: row.host, rate: row.rate * stretch, count: 0.0 };
        classified.entry(edge).or_default().push((node, part));
    }
    let mut edges: Vec<_> = classified.into_iter().collect();
    edges.sort_by_key(|(edge, _)| *edge);
    for (edge, parts) in edges {
        split(draft, edge, &parts);
    }
    draft.tally();
}

/// The node of a value. Where services are shown, it is of one service.
fn class(draft: &mut Draft<'_>, row: &Row<'_>, value: &str) -> Id<Node> {
    let options = draft.options;
    let label = match &options.node {
        Some(NodeOfInterest { what: NodeName::Aggregate(label, ..), .. }) => label,
        _ => &options.aggregate,
    };
    let target = &row.target;
    let (namespace, service, app) = if options.injects() {
        (target.service_namespace, target.service, target.app)
    } else {
        (target.workload_namespace, "", "")
    };
    let key = aggregate_key(target.cluster, namespace, label, value, service);
    draft.find_key(&key).unwrap_or_else(|| {
        draft.insert(Node {
            key,
            kind: NodeKind::Aggregate,
            cluster: target.cluster.to_owned(),
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            app: app.to_owned(),
            aggregate: Some((label.clone(), value.to_owned())),
            ..Node::default()
        })
    })
}

/// Leads what is classified over its node, as far as the edge carried it.
fn split<'a>(draft: &mut Draft<'a>, edge: Id<Flow<'a>>, classified: &[(Id<Node>, Part<'a>)]) {
    let mut left: Vec<Part<'a>> = draft.flows[edge].parts().to_vec();
    let (source, target, protocol, unit) = {
        let edge = &draft.flows[edge].edge;
        (edge.source, edge.target, edge.protocol, edge.unit)
    };
    for (node, part) in classified {
        let same = |p: &&mut Part<'a>| (p.code, p.flags, p.host) == (part.code, part.flags, part.host);
        let Some(from) = left.iter_mut().find(same).filter(|from| from.rate > 0.0) else { continue };
        let share = (part.rate / from.rate).min(1.0);
        let taken = from.share(share);
        *from = from.share(1.0 - share);
        for (from, to) in [(source, *node), (*node, target)] {
            let flow = draft.flow(from, to, protocol, unit);
            draft.flows[flow].add(taken);
        }
    }
    left.retain(|part| part.rate > NOTHING);
    draft.flows[edge].gone = left.is_empty();
    draft.flows[edge].replace(left);
}
