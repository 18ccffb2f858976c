//! Labels of Kubernetes on nodes, but for those of app and version, which nodes have anyway.

use super::super::draft::Draft;
use super::super::facts::{Map, app_label, version_label};
use super::super::model::{Node, NodeKind};
use super::{Known, workloads_of};

/// Labels every node that may be looked at and lies in a namespace that was asked for.
pub(super) fn apply(draft: &mut Draft<'_>, known: &Known<'_>) {
    for node in draft.live_nodes().filter(|n| !n.outside && !n.inaccessible) {
        let mut labels = of(node, known);
        let own = [app_label(&labels), version_label(&labels)].map(|label| label.map(|(name, _)| name));
        for name in own.into_iter().flatten() {
            labels.remove(name);
        }
        node.labels = labels;
    }
}

fn of(node: &Node, known: &Known<'_>) -> Map {
    if node.kind == NodeKind::Service {
        let service = known.service(&node.cluster, &node.namespace, &node.service);
        return service.map(|s| s.labels.clone()).unwrap_or_default();
    }
    // Of several workloads of an app, what they have in common.
    let mut workloads = workloads_of(known, node).into_iter();
    let mut labels = workloads.next().map(|w| w.labels.clone()).unwrap_or_default();
    for workload in workloads {
        labels.retain(|name, value| workload.labels.get(name) == Some(value));
    }
    labels
}
