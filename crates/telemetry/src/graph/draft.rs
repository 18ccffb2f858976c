//! A graph while it is made: nodes and edges are found by name, redirected and taken out, and the numbers of nodes follow.
//!
//! What an edge carried is kept as borrowed text until the end, so that a report costs no allocation.

use std::collections::HashMap;

use super::arena::{Id, List};
use super::facts::Facts;
use super::key::{Identity, UNKNOWN};
use super::model::{
    Bytes, Edge, Egress, Graph, LeftOut, Node, NodeKind, NodeTraffic, Protocol, Response, Tally, Unit, WaypointEdge,
};
use super::options::{GraphType, Options};

/// Parts of an edge that are not yet summed up, at the least, before they are.
const PARTS: usize = 16;

/// A graph in the making.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) options: &'a Options,
    pub(super) facts: &'a Facts,
    pub(super) nodes: List<Node>,
    pub(super) flows: List<Flow<'a>>,
    pub(super) left_out: LeftOut,
    by_key: HashMap<String, Id<Node>>,
    by_ends: HashMap<(Id<Node>, Id<Node>, Protocol), Id<Flow<'a>>>,
}

/// An edge in the making.
#[derive(Debug)]
pub(super) struct Flow<'a> {
    /// What is known but for the responses.
    pub(super) edge: Edge,
    /// Way back from a waypoint.
    pub(super) back: Option<Id<Flow<'a>>>,
    pub(super) gone: bool,
    parts: Vec<Part<'a>>,
    /// Sum up when there are as many.
    settle_at: usize,
}

/// Some of what an edge carried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) code: &'a str,
    pub(super) flags: &'a str,
    pub(super) host: &'a str,
    pub(super) rate: f64,
    /// How many in the window.
    pub(super) count: f64,
}

impl Part<'_> {
    /// So much of it.
    pub(super) fn share(self, share: f64) -> Self {
        Self { rate: self.rate * share, count: self.count * share, ..self }
    }
}

impl<'a> Flow<'a> {
    fn new(source: Id<Node>, target: Id<Node>, protocol: Protocol, unit: Unit) -> Self {
        let edge = Edge {
            source,
            target,
            protocol,
            unit,
            rates: Tally::default(),
            responses: Vec::new(),
            security: None,
            response_times: None,
            throughput: None,
            health: None,
            waypoint: None,
            unmatched: Vec::new(),
            hidden: false,
        };
        Self { edge, back: None, gone: false, parts: Vec::new(), settle_at: PARTS }
    }

    /// Adds what was reported; nothing where nothing was carried.
    pub(super) fn add(&mut self, part: Part<'a>) {
        if part.rate <= 0.0 {
            return;
        }
        self.edge.rates.add(self.edge.protocol, part.code, part.rate);
        self.parts.push(part);
        if self.parts.len() >= self.settle_at {
            self.settle();
            self.settle_at = PARTS.max(self.parts.len() * 2);
        }
    }

    /// One part for each code, flags and host.
    fn settle(&mut self) {
        self.parts.sort_by_key(|p| (p.code, p.flags, p.host));
        self.parts.dedup_by(|next, kept| {
            let same = (next.code, next.flags, next.host) == (kept.code, kept.flags, kept.host);
            if same {
                kept.rate += next.rate;
                kept.count += next.count;
            }
            same
        });
    }

    /// What it carried, one part for each code, flags and host.
    pub(super) fn parts(&mut self) -> &[Part<'a>] {
        self.settle();
        &self.parts
    }

    /// Carries this instead.
    pub(super) fn replace(&mut self, parts: Vec<Part<'a>>) {
        self.edge.rates = Tally::default();
        self.parts.clear();
        for part in parts {
            self.add(part);
        }
    }
}

impl<'a> Draft<'a> {
    pub(super) fn new(options: &'a Options, facts: &'a Facts) -> Self {
        Self {
            options,
            facts,
            nodes: List::default(),
            flows: List::default(),
            left_out: LeftOut::default(),
            by_key: HashMap::new(),
            by_ends: HashMap::new(),
        }
    }

    /// The node of labels, if it is there.
    pub(super) fn find(&self, identity: &Identity<'_>) -> Option<Id<Node>> {
        self.find_key(&identity.key(self.options.graph_type)?.0)
    }

    /// The node of a name, if it is there.
    pub(super) fn find_key(&self, key: &str) -> Option<Id<Node>> {
        self.by_key.get(key).copied().filter(|id| !self.nodes[*id].gone)
    }

    /// The node of labels, made where it is not there; `None`: the labels name none.
    pub(super) fn node(&mut self, identity: &Identity<'_>) -> Option<Id<Node>> {
        let (key, kind) = identity.key(self.options.graph_type)?;
        Some(self.find_key(&key).unwrap_or_else(|| {
            let node = node_of(identity, key, kind, self.options.graph_type);
            self.insert(node)
        }))
    }

    /// Takes a node in.
    pub(super) fn insert(&mut self, node: Node) -> Id<Node> {
        let key = node.key.clone();
        let id = self.nodes.push(node);
        self.by_key.insert(key, id);
        id
    }

    /// The edge between two nodes, if it is there.
    pub(super) fn find_flow(&self, source: Id<Node>, target: Id<Node>, protocol: Protocol) -> Option<Id<Flow<'a>>> {
        self.by_ends.get(&(source, target, protocol)).copied().filter(|id| !self.flows[*id].gone)
    }

    /// The edge between two nodes, made where it is not there.
    pub(super) fn flow(&mut self, source: Id<Node>, target: Id<Node>, protocol: Protocol, unit: Unit) -> Id<Flow<'a>> {
        self.find_flow(source, target, protocol).unwrap_or_else(|| {
            let id = self.flows.push(Flow::new(source, target, protocol, unit));
            self.by_ends.insert((source, target, protocol), id);
            id
        })
    }

    /// Makes an edge lead from and to other nodes; where there is one already, it takes over what this one carried.
    pub(super) fn redirect(&mut self, flow: Id<Flow<'a>>, source: Id<Node>, target: Id<Node>) {
        let (protocol, unit) = (self.flows[flow].edge.protocol, self.flows[flow].edge.unit);
        let parts = std::mem::take(&mut self.flows[flow].parts);
        self.flows[flow].gone = true;
        let into = self.flow(source, target, protocol, unit);
        for part in parts {
            self.flows[into].add(part);
        }
    }

    /// A share of the same traffic, between other nodes. What cannot be added up is left out where there is some already.
    pub(super) fn hand_over(&mut self, flow: Id<Flow<'a>>, share: f64, source: Id<Node>, target: Id<Node>) {
        let parts = self.flows[flow].parts().to_vec();
        let edge = self.flows[flow].edge.clone();
        let into = self.flow(source, target, edge.protocol, edge.unit);
        let known = &mut self.flows[into].edge;
        let (there, comes) = (known.rates.total, edge.rates.total * share);
        if there <= 0.0 {
            (known.security, known.response_times) = (edge.security, edge.response_times);
            known.throughput =
                edge.throughput.map(|b| Bytes { request: b.request * share, response: b.response * share });
            known.unmatched = edge.unmatched;
        } else {
            known.response_times = None;
            let of = |there: f64, comes: f64| if there > 0.0 && comes > 0.0 { there + comes * share } else { 0.0 };
            known.throughput = known.throughput.zip(edge.throughput).map(|(there, comes)| Bytes {
                request: of(there.request, comes.request),
                response: of(there.response, comes.response),
            });
            if let (Some(a), Some(b)) = (&mut known.security, &edge.security) {
                a.mtls = (a.mtls * there + b.mtls * comes) / (there + comes).max(f64::MIN_POSITIVE);
                a.more_principals |= b.more_principals || a.source_principal != b.source_principal;
            }
        }
        for part in parts {
            self.flows[into].add(part.share(share));
        }
    }

    /// Places of all nodes that are there.
    pub(super) fn node_ids(&self) -> Vec<Id<Node>> {
        self.nodes.entries().filter(|(_, node)| !node.gone).map(|(id, _)| id).collect()
    }

    /// All nodes that are there.
    pub(super) fn live_nodes(&mut self) -> impl Iterator<Item = &mut Node> {
        self.nodes.iter_mut().filter(|node| !node.gone)
    }

    /// Places of all edges that are there.
    pub(super) fn flow_ids(&self) -> Vec<Id<Flow<'a>>> {
        self.flows.entries().filter(|(_, flow)| !flow.gone).map(|(id, _)| id).collect()
    }

    /// Takes out edges whose ends are not there.
    pub(super) fn drop_loose_ends(&mut self) {
        let nodes = &self.nodes;
        for flow in self.flows.iter_mut() {
            flow.gone |= nodes[flow.edge.source].gone || nodes[flow.edge.target].gone;
        }
    }

    /// Numbers of nodes, from the edges that are there.
    pub(super) fn tally(&mut self) {
        for node in self.nodes.iter_mut() {
            node.traffic = NodeTraffic::default();
        }
        let nodes = &mut self.nodes;
        for flow in self.flows.iter().filter(|flow| !flow.gone) {
            let edge = &flow.edge;
            nodes[edge.source].traffic.of_mut(edge.protocol).outgoing.add_all(&edge.rates);
            nodes[edge.target].traffic.of_mut(edge.protocol).incoming.add_all(&edge.rates);
        }
    }

    /// The graph, in an order that does not depend on how it was made.
    pub(super) fn finish(self) -> Graph {
        let mut places = self.node_ids();
        places.sort_by(|a, b| order(&self.nodes[*a]).cmp(&order(&self.nodes[*b])));
        let count = self.nodes.len();
        let mut moved: Vec<Option<Id<Node>>> = vec![None; count];
        let mut old: Vec<Option<Node>> = self.nodes.into_inner().into_iter().map(Some).collect();
        let mut nodes = List::default();
        for place in places {
            if let (Some(slot), Some(node)) = (moved.get_mut(place.place()), old.get_mut(place.place())) {
                *slot = node.take().map(|node| nodes.push(node));
            }
        }
        let to = |id: Id<Node>| moved.get(id.place()).copied().flatten();
        let mut flows: Vec<(Id<Node>, Id<Node>, usize, Flow<'a>)> = Vec::new();
        for (place, flow) in self.flows.into_inner().into_iter().enumerate() {
            if let (false, Some(source), Some(target)) = (flow.gone, to(flow.edge.source), to(flow.edge.target)) {
                flows.push((source, target, place, flow));
            }
        }
        flows.sort_by_key(|(source, target, _, flow)| (*source, *target, flow.edge.protocol));
        let edges = edges(flows);
        Graph {
            graph_type: self.options.graph_type,
            timestamp: self.options.query_time,
            duration: self.options.duration,
            nodes,
            edges,
            box_by: self.options.box_by,
            response_time: self.options.response_time,
            throughput: self.options.throughput,
            left_out: self.left_out,
        }
    }
}

fn order(node: &Node) -> [&String; 7] {
    [&node.cluster, &node.namespace, &node.app, &node.version, &node.service, &node.workload, &node.key]
}

fn edges(flows: Vec<(Id<Node>, Id<Node>, usize, Flow<'_>)>) -> List<Edge> {
    let mut ways_back = HashMap::new();
    let mut places = HashMap::new();
    let mut edges = List::default();
    for (source, target, place, mut flow) in flows {
        let responses = flow.parts().iter().map(|part| Response {
            code: part.code.to_owned(),
            flags: part.flags.to_owned(),
            host: part.host.to_owned(),
            rate: part.rate,
        });
        let responses = responses.collect();
        let id = edges.push(Edge { source, target, responses, ..flow.edge });
        if let Some(back) = flow.back {
            ways_back.insert(id, back.place());
        }
        places.insert(place, id);
    }
    for (id, back) in ways_back {
        edges[id].waypoint = Some(WaypointEdge::To(places.get(&back).copied()));
    }
    edges
}

/// A new node of labels, with those that mean something for its kind.
pub(super) fn node_of(identity: &Identity<'_>, key: String, kind: NodeKind, graph: GraphType) -> Node {
    let unless_unknown = |value: &str| if value == UNKNOWN { String::new() } else { value.to_owned() };
    let text = str::to_owned;
    let mut node =
        Node { key, kind, cluster: text(identity.cluster), namespace: text(identity.namespace()), ..Node::default() };
    match kind {
        NodeKind::App => {
            node.app = text(identity.app);
            if graph == GraphType::VersionedApp {
                node.workload = text(identity.workload);
                node.version = text(identity.version);
            }
        }
        NodeKind::Service => {
            node.service = text(identity.service);
            node.egress = match identity.service {
                "PassthroughCluster" => Some(Egress::PassthroughCluster),
                "BlackHoleCluster" => Some(Egress::BlackHoleCluster),
                _ => None,
            };
        }
        NodeKind::Workload => {
            node.workload = text(identity.workload);
            node.app = unless_unknown(identity.app);
            node.version = unless_unknown(identity.version);
        }
        NodeKind::Unknown | NodeKind::Aggregate => {
            node.workload = text(identity.workload);
            node.app = text(identity.app);
            node.version = text(identity.version);
            node.service = text(identity.service);
        }
    }
    node
}
