//! Who is outside the namespaces that were asked for, where one may not look, and where traffic begins.

use super::super::draft::Draft;
use super::super::key::UNKNOWN;
use super::super::model::NodeKind;
use super::Known;

/// Marks what is outside and what is not accessible.
pub(super) fn apply(draft: &mut Draft<'_>, known: &Known<'_>) {
    let options = draft.options;
    for node in draft.live_nodes() {
        let nowhere = match node.kind {
            NodeKind::Unknown => true,
            NodeKind::Service => node.namespace == UNKNOWN || node.egress.is_some(),
            NodeKind::Aggregate | NodeKind::App | NodeKind::Workload => false,
        };
        node.outside = !nowhere && node.namespace != UNKNOWN && !options.asks_for(&node.namespace);
        node.inaccessible = nowhere || !known.may_see(node);
    }
}

/// Marks what sends and gets nothing.
pub(super) fn mark_roots(draft: &mut Draft<'_>) {
    let mut sends = vec![false; draft.nodes.len()];
    let mut gets = vec![false; draft.nodes.len()];
    for flow in draft.flows.iter().filter(|flow| !flow.gone && !flow.edge.hidden) {
        for (list, node) in [(&mut sends, flow.edge.source), (&mut gets, flow.edge.target)] {
            if let Some(slot) = list.get_mut(node.place()) {
                *slot = true;
            }
        }
    }
    for ((node, sends), gets) in draft.nodes.iter_mut().zip(sends).zip(gets) {
        node.root = sends && !gets;
    }
}
