//! Health of nodes and edges, from the traffic of the graph itself, so that both always say the same.
//!
//! A node is judged by what it got and sent and by its pods, an edge by the tolerances of both of its ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::arena::Id;
use super::super::draft::Draft;
use super::super::facts::{Map, Workload};
use super::super::health::tolerance::{ANNOTATION, Compiled, calculate, of_edge};
use super::super::health::{EdgeHealth, NodeHealth, Requests, Status, WorkloadReplicas, of_replicas, significance};
use super::super::key::known as is_known;
use super::super::model::{Node, NodeKind, Protocol, Unit};
use super::{Known, workloads_of};

/// Judges everything that may be judged.
pub(super) fn apply(draft: &mut Draft<'_>, known: &Known<'_>) {
    let mut requests = requests(draft);
    let options = draft.options;
    for id in draft.node_ids() {
        let node = &draft.nodes[id];
        if let Some((requests, counts)) = requests.remove(&id).or_else(|| judged(node).then(Default::default)) {
            let health = of_node(node, requests, &counts, known, &options.health);
            draft.nodes[id].health = Some(Box::new(health));
        }
    }
    edges(draft, known);
}

/// Judges the edges.
pub(super) fn edges(draft: &mut Draft<'_>, known: &Known<'_>) {
    let mut tolerances: HashMap<Id<Node>, Arc<[Compiled]>> = HashMap::new();
    for id in draft.flow_ids() {
        let (source, target) = (draft.flows[id].edge.source, draft.flows[id].edge.target);
        for end in [source, target] {
            let node = &draft.nodes[end];
            tolerances.entry(end).or_insert_with(|| {
                draft.options.health.tolerances(
                    &node.namespace,
                    name(node),
                    node.kind.name(),
                    &annotations(node, known),
                )
            });
        }
        let (Some(outbound), Some(inbound)) = (tolerances.get(&source), tolerances.get(&target)) else { continue };
        let flow = &mut draft.flows[id];
        let (protocol, unit, total) = (flow.edge.protocol.name(), flow.edge.unit, flow.edge.rates.total);
        if total <= 0.0 {
            flow.edge.health = None;
            continue;
        }
        // Messages and bytes say nothing of how calls ended.
        let told = unit == Unit::Requests;
        let parts = if told { flow.parts() } else { &[] };
        let codes: Vec<(&str, f64)> = parts.iter().map(|p| (p.code, p.rate)).collect();
        let counts: Vec<(&str, f64)> = parts.iter().map(|p| (p.code, p.count)).collect();
        let mut health = EdgeHealth::default();
        for (direction, tolerances) in [("outbound", outbound), ("inbound", inbound)] {
            health.kiali = health.kiali.worse(of_edge(protocol, Some(direction), total, &codes, tolerances));
            let verdict = significance::of_codes(protocol, direction, &counts, tolerances);
            health.verdict = significance::worse(health.verdict, verdict);
        }
        flow.edge.health = Some(Box::new(health));
    }
}

fn judged(node: &Node) -> bool {
    matches!(node.kind, NodeKind::App | NodeKind::Service | NodeKind::Workload)
}

/// What each node got and sent, by protocol and code: a second, and in the window.
fn requests(draft: &mut Draft<'_>) -> HashMap<Id<Node>, (Requests, Requests)> {
    let mut requests: HashMap<Id<Node>, (Requests, Requests)> = HashMap::new();
    for id in draft.flow_ids() {
        let (source, target) = (draft.flows[id].edge.source, draft.flows[id].edge.target);
        let protocol: Protocol = draft.flows[id].edge.protocol;
        let flow = &mut draft.flows[id];
        let requested = flow.edge.unit == Unit::Requests;
        let parts: Vec<_> = flow.parts().iter().filter(|p| !p.code.is_empty()).copied().collect();
        for (node, inbound) in [(source, false), (target, true)] {
            if !judged(&draft.nodes[node]) {
                continue;
            }
            let (rates, counts) = requests.entry(node).or_default();
            for part in &parts {
                *slot(rates, inbound, protocol, part.code) += part.rate;
                // Bytes are no requests.
                if requested {
                    *slot(counts, inbound, protocol, part.code) += part.count;
                }
            }
        }
    }
    requests
}

fn slot<'r>(requests: &'r mut Requests, inbound: bool, protocol: Protocol, code: &str) -> &'r mut f64 {
    let traffic = if inbound { &mut requests.inbound } else { &mut requests.outbound };
    traffic.entry(protocol.name().to_owned()).or_default().entry(code.to_owned()).or_default()
}

/// Annotations of a service or workload that change its tolerances.
fn annotations(node: &Node, known: &Known<'_>) -> Map {
    let all = match node.kind {
        NodeKind::Service => {
            known.service(&node.cluster, &node.namespace, &node.service).map(|service| &service.annotations)
        }
        NodeKind::Workload => known.workload(node).map(|workload| &workload.annotations),
        NodeKind::App | NodeKind::Unknown | NodeKind::Aggregate => None,
    };
    let own = all.and_then(|all| all.get_key_value(ANNOTATION));
    own.map(|(name, value)| BTreeMap::from([(name.clone(), value.clone())])).unwrap_or_default()
}

fn name(node: &Node) -> &str {
    match node.kind {
        NodeKind::Service => &node.service,
        NodeKind::Workload => &node.workload,
        NodeKind::App => &node.app,
        NodeKind::Unknown | NodeKind::Aggregate => "",
    }
}

fn of_node(
    node: &Node,
    requests: Requests,
    counts: &Requests,
    known: &Known<'_>,
    config: &super::super::health::Config,
) -> NodeHealth {
    if node.inaccessible {
        return NodeHealth { requests, ..NodeHealth::default() };
    }
    let annotations = annotations(node, known);
    let tolerances = config.tolerances(&node.namespace, name(node), node.kind.name(), &annotations);
    let workloads = if node.kind == NodeKind::Service { Vec::new() } else { workloads_of(known, node) };
    let app =
        if node.kind == NodeKind::App { known.app(&node.cluster, &node.namespace, &node.app) } else { Vec::new() };
    let replicas = |workloads: &[&Workload]| -> Vec<WorkloadReplicas> {
        let of = |w: &&Workload| Some(WorkloadReplicas { name: w.name.clone(), replicas: w.replicas? });
        workloads.iter().filter_map(of).collect()
    };
    let (own, of_app) = (replicas(&workloads), replicas(&app));
    let is_version = node.kind == NodeKind::App && is_known(&node.workload);
    let calculated =
        |pods: &[WorkloadReplicas]| calculate(&requests, &tolerances, pods.iter().map(|w| Some(&w.replicas)));
    // Kiali judges one version of an app by its requests alone, and the app by its pods too.
    let kiali = if is_version { calculated(&[]) } else { calculated(if own.is_empty() { &of_app } else { &own }) };
    let kiali_app = is_version.then(|| calculated(&of_app));
    let verdict = significance::of_requests(counts, &tolerances);
    let by_pods = own.iter().fold(Status::NotApplicable, |s, w| s.worse(of_replicas(Some(&w.replicas))));
    NodeHealth {
        annotations,
        status: verdict.status.worse(by_pods),
        replicas: by_pods,
        workloads: if is_version { of_app } else { own },
        verdict,
        kiali: Some(kiali),
        kiali_app,
        requests,
    }
}
