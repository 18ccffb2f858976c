//! From workloads with services between them to services alone: what a service's workloads ask, the service asks.
//!
//! Clients that are no service stay where traffic begins. What goes from workload to workload without a service is left out;
//! what a service got stays what it got.

use super::super::arena::Id;
use super::super::draft::Draft;
use super::super::model::{Node, NodeKind, Protocol, Tally, Unit};

/// Leaves services, and the clients that nobody asks.
pub(super) fn apply(draft: &mut Draft<'_>) {
    let to_services: Vec<_> = {
        let is_service = |id| draft.nodes[id].kind == NodeKind::Service;
        let flows = draft.flow_ids().into_iter();
        flows.filter(|id| is_service(draft.flows[*id].edge.target)).collect()
    };
    let stays: Vec<bool> = {
        let mut asks = vec![false; draft.nodes.len()];
        for id in &to_services {
            if let Some(slot) = asks.get_mut(draft.flows[*id].edge.source.place()) {
                *slot = true;
            }
        }
        let nodes = draft.nodes.iter().zip(asks);
        nodes.map(|(node, asks)| !node.gone && (node.kind == NodeKind::Service || (node.root && asks))).collect()
    };
    let stays = |id: Id<Node>| stays.get(id.place()).copied().unwrap_or(false);
    // Which services stand before each workload, and how much came by each.
    let mut before: Vec<Vec<(Id<Node>, f64)>> = vec![Vec::new(); draft.nodes.len()];
    for id in draft.flow_ids() {
        let edge = &draft.flows[id].edge;
        let between =
            draft.nodes[edge.source].kind == NodeKind::Service && draft.nodes[edge.target].kind != NodeKind::Service;
        let Some(list) = before.get_mut(edge.target.place()).filter(|_| between) else { continue };
        let weight = if edge.unit == Unit::Requests { edge.rates.total } else { 0.0 };
        match list.iter_mut().find(|(service, _)| *service == edge.source) {
            Some((_, sum)) => *sum += weight,
            None => list.push((edge.source, weight)),
        }
    }
    let flows = draft.flow_ids();
    for id in to_services {
        let (source, target) = (draft.flows[id].edge.source, draft.flows[id].edge.target);
        if draft.nodes[source].kind == NodeKind::Service || stays(source) {
            continue;
        }
        // A workload of several services does not say for which of them it asked: each gets its share.
        let services = before.get(source.place()).map_or(&[][..], Vec::as_slice);
        let all: f64 = services.iter().map(|(_, weight)| weight).sum();
        #[expect(clippy::cast_precision_loss, reason = "services of one workload are few")]
        let alike = 1.0 / services.len().max(1) as f64;
        for (service, weight) in services {
            let share = if all > 0.0 { weight / all } else { alike };
            draft.hand_over(id, share, *service, target);
        }
    }
    for id in flows {
        let edge = &draft.flows[id].edge;
        let kept = stays(edge.source) && draft.nodes[edge.target].kind == NodeKind::Service;
        draft.flows[id].gone |= !kept;
    }
    for node in draft.nodes.ids() {
        draft.nodes[node].gone |= !stays(node);
        for protocol in Protocol::ALL {
            draft.nodes[node].traffic.of_mut(protocol).outgoing = Tally::default();
        }
    }
    for id in draft.flow_ids() {
        let (source, protocol, rates) = {
            let edge = &draft.flows[id].edge;
            (edge.source, edge.protocol, edge.rates)
        };
        draft.nodes[source].traffic.of_mut(protocol).outgoing.add_all(&rates);
    }
}
