//! Workloads without sidecar. What has no pods has no pod without one, and the control plane needs none.

use super::super::draft::Draft;
use super::super::model::NodeKind;
use super::{Known, workloads_of};

/// Marks nodes that are outside the mesh, and those that ambient captures.
pub(super) fn apply(draft: &mut Draft<'_>, known: &Known<'_>) {
    for node in draft.live_nodes() {
        if !matches!(node.kind, NodeKind::App | NodeKind::Workload) || node.dead {
            continue;
        }
        let Some(namespace) = known.namespace(&node.cluster, &node.namespace) else { continue };
        if namespace.control_plane {
            continue;
        }
        let workloads = workloads_of(known, node);
        let ambient = workloads.iter().all(|w| w.ambient);
        let sidecar = workloads.iter().all(|w| w.sidecar);
        let gateway = workloads.iter().all(|w| w.is_gateway());
        node.ambient |= (ambient && !workloads.is_empty()) || node.waypoint;
        node.out_of_mesh |= !gateway && !sidecar && !ambient && !node.waypoint;
    }
}
