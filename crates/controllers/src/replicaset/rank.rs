//! Which pods a ReplicaSet gives up first, in Kubernetes' order: those that serve least, and among equals the youngest.

use crate::owners::controller_of;
use crate::pods;
use crate::state::State;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// All of `mine`, those to be deleted first in front.
pub(super) fn first_to_go(state: &State, set: &ReplicaSet, mine: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    let crowds = crowds(state, set);
    let mut ranked = mine.to_vec();
    ranked.sort_by_cached_key(|pod| {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let crowd = node.and_then(|node| crowds.get(node)).copied().unwrap_or(0);
        (
            node.is_some(),
            match pods::phase(pod) {
                "Pending" => 0,
                "Unknown" => 1,
                _ => 2,
            },
            pods::is_ready(pod),
            deletion_cost(pod),
            Reverse(crowd),
            Reverse(ready_since(pod)),
            Reverse(restarts(pod)),
            Reverse(pod.metadata.creation_timestamp.as_ref().map(|time| time.0)),
            // A last word, so that the order never depends on chance.
            pod.metadata.name.clone(),
        )
    });
    ranked
}

/// How many active pods of the same Deployment each node has: a crowded node gives up first.
fn crowds(state: &State, set: &ReplicaSet) -> BTreeMap<String, usize> {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let deployment = controller_of(&set.metadata).map(|owner| owner.uid.as_str());
    let related = state.replica_sets.all(namespace).filter(|other| {
        other.metadata.uid == set.metadata.uid
            || (deployment.is_some() && controller_of(&other.metadata).map(|owner| owner.uid.as_str()) == deployment)
    });
    let mut crowds = BTreeMap::new();
    for other in related {
        for pod in state.pods_of(namespace, other.metadata.uid.as_deref().unwrap_or_default()) {
            if let Some(node) =
                pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).filter(|_| pods::is_active(pod))
            {
                *crowds.entry(node).or_default() += 1;
            }
        }
    }
    crowds
}

fn deletion_cost(pod: &Pod) -> i32 {
    let cost = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DELETION_COST));
    cost.and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

/// Since when it is ready; a pod that is not sorts as if it had just become so.
fn ready_since(pod: &Pod) -> Timestamp {
    let ready = pods::condition(pod, "Ready").filter(|condition| condition.status == "True");
    ready.and_then(|ready| ready.last_transition_time.as_ref()).map_or(Timestamp::MAX, |time| time.0)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    statuses.iter().map(|status| status.restart_count).max().unwrap_or(0)
}
