//! Services and workloads without traffic, and why they have none.
//!
//! A service is shown where services are shown at all, a workload wherever the graph is not one of services. Graphs of one node
//! show what concerns that node, so nothing is added to them.

use super::super::draft::Draft;
use super::super::facts::{Service, Workload, app_label, version_label};
use super::super::key::{Identity, UNKNOWN};
use super::super::model::{Idle, Node};
use super::super::options::GraphType;
use super::{Known, behind, workloads_of};

/// Adds nodes for all that is in the namespaces asked for and has no node.
pub(super) fn apply(draft: &mut Draft<'_>, known: &Known<'_>) {
    if draft.options.node.is_some() {
        return;
    }
    let (facts, options) = (draft.facts, draft.options);
    if options.injects() {
        for service in facts.services.iter().filter(|s| options.asks_for(&s.namespace)) {
            add(draft, &Identity::service(&service.cluster, &service.namespace, &service.name));
        }
    }
    if options.graph_type != GraphType::Service {
        for workload in facts.workloads.iter().filter(|w| options.asks_for(&w.namespace)) {
            let identity = Identity {
                cluster: &workload.cluster,
                workload_namespace: &workload.namespace,
                workload: &workload.name,
                app: value(app_label(&workload.labels)),
                version: value(version_label(&workload.labels)),
                ..Identity::default()
            };
            add(draft, &identity);
        }
    }
    for node in draft.live_nodes().filter(|node| node.idle.is_some()) {
        node.idle = Some(why(node, known));
    }
}

fn value<'m>(label: Option<(&'static str, &'m str)>) -> &'m str {
    label.map_or(UNKNOWN, |(_, value)| value)
}

fn add(draft: &mut Draft<'_>, identity: &Identity<'_>) {
    if draft.find(identity).is_none()
        && let Some(id) = draft.node(identity)
    {
        draft.nodes[id].idle = Some(Idle::NeverSeen);
    }
}

fn why(node: &Node, known: &Known<'_>) -> Idle {
    let service = known.service(&node.cluster, &node.namespace, &node.service);
    let workloads = match service {
        Some(service) => behind(known, service),
        None => workloads_of(known, node),
    };
    // A workload is seen, too, where it asks others; that says nothing of its service.
    let seen = match service {
        Some(service) => service.last_seen,
        None => workloads.iter().filter_map(|w| w.last_seen).max(),
    };
    reason(service, &workloads, seen)
}

/// Why there is no traffic. What makes it impossible goes before what merely has not happened.
fn reason(service: Option<&Service>, workloads: &[&Workload], seen: Option<i64>) -> Idle {
    let all = |is: fn(&Workload) -> bool| !workloads.is_empty() && workloads.iter().all(|w| is(w));
    let nothing_selected = service.is_some_and(|s| !s.selector.is_empty()) && workloads.is_empty();
    if all(Workload::is_scaled_to_zero) {
        Idle::ScaledToZero
    } else if nothing_selected || all(|w| w.pods.is_empty()) {
        Idle::NoPods
    } else if let Some(last_seen) = seen {
        Idle::NotInWindow { last_seen }
    } else if all(|w| !w.sidecar && !w.ambient && !w.is_gateway()) {
        Idle::NotInMesh
    } else {
        Idle::NeverSeen
    }
}
