//! What has no traffic and is gone is left out: workloads that are no longer there, services that nobody asks, unknown clients.
//!
//! A workload that is there and has no pods stays, and is marked.

use super::super::draft::Draft;
use super::super::key::known as is_known;
use super::super::model::{Node, NodeKind};
use super::Known;

/// Takes out what is gone, until nothing more is.
pub(super) fn apply(draft: &mut Draft<'_>, known: &Known<'_>) {
    loop {
        let mut sends = vec![false; draft.nodes.len()];
        for flow in draft.flows.iter().filter(|flow| !flow.gone) {
            if let Some(sends) = sends.get_mut(flow.edge.source.place()) {
                *sends = true;
            }
        }
        let mut removed = false;
        for (node, sends) in draft.nodes.iter_mut().zip(sends) {
            if node.gone || !node.traffic.is_none() {
                continue;
            }
            node.gone = is_gone(node, sends, known);
            removed |= node.gone;
        }
        if !removed {
            return;
        }
        draft.drop_loose_ends();
    }
}

fn is_gone(node: &mut Node, sends: bool, known: &Known<'_>) -> bool {
    match node.kind {
        NodeKind::Aggregate => false,
        NodeKind::Service => !sends && node.service_entry.is_none() && node.egress.is_none(),
        NodeKind::Unknown => true,
        NodeKind::App | NodeKind::Workload => {
            // An app has no workload of its own, and what cannot be looked up may be there.
            if !is_known(&node.workload) || !known.may_see(node) {
                return false;
            }
            let workload = known.workload(node);
            node.dead = workload.is_some_and(|workload| workload.pods.is_empty());
            workload.is_none()
        }
    }
}
