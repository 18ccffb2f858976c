//! Edges to and from waypoints: a connection there and back is shown as one edge, or waypoints are left out.

use super::super::draft::Draft;
use super::super::model::{GatewayKind, WaypointEdge};

/// Ties the ways to waypoints with the ways back, or takes waypoints out.
pub(super) fn apply(draft: &mut Draft<'_>) {
    if !draft.nodes.iter().any(|node| node.waypoint && !node.gone) {
        return;
    }
    mark_gateways(draft);
    if draft.options.show_waypoints {
        tie(draft);
    } else {
        remove(draft);
    }
}

/// A gateway that sends to a waypoint.
fn mark_gateways(draft: &mut Draft<'_>) {
    for id in draft.flow_ids() {
        let (source, target) = (draft.flows[id].edge.source, draft.flows[id].edge.target);
        let gateway = matches!(draft.nodes[source].badges.gateway, Some((GatewayKind::GatewayApi, _)));
        if gateway && draft.nodes[target].waypoint {
            draft.nodes[source].badges.ingress_waypoint = true;
        }
    }
}

fn tie(draft: &mut Draft<'_>) {
    for node in draft.live_nodes().filter(|node| node.waypoint) {
        node.out_of_mesh = false;
    }
    let flows = draft.flow_ids();
    for id in &flows {
        if draft.nodes[draft.flows[*id].edge.source].waypoint {
            draft.flows[*id].edge.waypoint = Some(WaypointEdge::From);
        }
    }
    for id in flows {
        let (source, target, protocol) = {
            let edge = &draft.flows[id].edge;
            (edge.source, edge.target, edge.protocol)
        };
        if !draft.nodes[target].waypoint || draft.flows[id].edge.hidden {
            continue;
        }
        let back = draft.find_flow(target, source, protocol).filter(|back| *back != id);
        draft.flows[id].edge.waypoint = Some(WaypointEdge::To(None));
        draft.flows[id].back = back;
        if let Some(back) = back {
            draft.flows[back].edge.hidden = true;
        }
    }
}

fn remove(draft: &mut Draft<'_>) {
    let mut near = vec![false; draft.nodes.len()];
    let mut used = vec![false; draft.nodes.len()];
    for id in draft.flow_ids() {
        let (source, target) = (draft.flows[id].edge.source, draft.flows[id].edge.target);
        let of_waypoint = draft.nodes[source].waypoint || draft.nodes[target].waypoint;
        for end in [source, target] {
            let list = if of_waypoint { &mut near } else { &mut used };
            if let Some(slot) = list.get_mut(end.place()) {
                *slot = true;
            }
        }
    }
    // What had only a waypoint for company would stand alone.
    for ((node, near), used) in draft.nodes.iter_mut().zip(near).zip(used) {
        node.gone |= node.waypoint || (near && !used);
    }
    draft.drop_loose_ends();
}
