//! Boxes around nodes of the same app, namespace or cluster: inner ones first, and none around a single node.

use std::collections::{BTreeMap, HashMap};

use super::super::key::UNKNOWN;
use super::super::options::BoxBy;
use super::form::{Health, NodeData};
use super::hash;

/// Adds the boxes, and says in each node which box it is in.
pub(super) fn draw(nodes: &mut Vec<NodeData>, by: BoxBy, app_health: &HashMap<String, Health>) {
    if by.app {
        let app = |n: &NodeData| {
            let named = !n.app.is_empty() && n.app != UNKNOWN;
            named.then(|| format!("box_{}_{}_{}", n.cluster, n.namespace, n.app))
        };
        boxes(nodes, "app", &app, false, app_health);
    }
    let outermost = |n: &NodeData| n.parent.is_empty();
    if by.namespace {
        let namespace = |n: &NodeData| {
            (outermost(n) && n.namespace != UNKNOWN).then(|| format!("box_{}_{}", n.cluster, n.namespace))
        };
        boxes(nodes, "namespace", &namespace, true, app_health);
    }
    if by.cluster {
        let cluster = |n: &NodeData| (outermost(n) && n.cluster != UNKNOWN).then(|| format!("box_{}", n.cluster));
        boxes(nodes, "cluster", &cluster, true, app_health);
    }
}

/// `several`: one box alone says nothing.
fn boxes(
    nodes: &mut Vec<NodeData>,
    by: &'static str,
    key: &dyn Fn(&NodeData) -> Option<String>,
    several: bool,
    app_health: &HashMap<String, Health>,
) {
    let mut members: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, node) in nodes.iter().enumerate() {
        if let Some(key) = key(node) {
            members.entry(key).or_default().push(place);
        }
    }
    if several && members.len() < 2 {
        return;
    }
    for (key, places) in members.into_iter().filter(|(_, places)| places.len() > 1) {
        let Some(first) = places.first().and_then(|place| nodes.get(*place)) else { continue };
        let mut around = empty(hash(&key), by, first);
        for place in places {
            let Some(node) = nodes.get_mut(place) else { continue };
            node.parent.clone_from(&around.id);
            if by != "app" {
                continue;
            }
            if around.health_data.is_none() && node.node_type == "app" {
                around.health_data = app_health.get(&node.id).cloned();
            }
            around.is_out_of_mesh |= node.is_out_of_mesh;
            around.is_inaccessible |= node.is_inaccessible;
            around.is_outside |= node.is_outside;
        }
        nodes.push(around);
    }
}

/// A box that nothing is in.
fn empty(id: String, by: &'static str, like: &NodeData) -> NodeData {
    let text = String::new;
    NodeData {
        id,
        parent: text(),
        node_type: "box",
        cluster: like.cluster.clone(),
        namespace: if by == "cluster" { text() } else { like.namespace.clone() },
        workload: text(),
        app: if by == "app" { like.app.clone() } else { text() },
        version: text(),
        service: text(),
        aggregate: text(),
        dest_services: Vec::new(),
        labels: BTreeMap::new(),
        traffic: Vec::new(),
        health_data: None,
        has_cb: false,
        has_fault_injection: false,
        has_ingress_waypoint: false,
        has_mirroring: false,
        has_request_routing: false,
        has_request_timeout: false,
        has_tcp_traffic_shifting: false,
        has_traffic_shifting: false,
        has_vs: None,
        has_workload_entry: Vec::new(),
        is_ambient: false,
        is_box: Some(by),
        is_dead: false,
        is_gateway: None,
        is_idle: false,
        is_inaccessible: false,
        is_injected: false,
        is_k8s_gateway_api: false,
        is_out_of_mesh: false,
        is_outside: false,
        is_root: false,
        is_service_entry: None,
        is_waypoint: false,
    }
}
