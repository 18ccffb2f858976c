//! Garbage collection by owner references: an object goes when all its owners have gone (background), an owner that is
//! deleted in the foreground waits for those that block it, and one that orphans lets them go first.

use crate::action::{Action, Plan, Target};
use crate::state::{Node, State};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::PropagationPolicy;
use serde_json::json;

/// Set by the API server on an object deleted with propagation policy Foreground.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Set by the API server on an object deleted with propagation policy Orphan.
pub(crate) const ORPHAN: &str = "orphan";

/// What is to be done about the object with `uid`, as dependent and as owner.
pub(crate) fn plan(state: &State, uid: &str) -> Plan {
    let mut plan = Plan::default();
    let Some(node) = state.graph.get(uid) else { return plan };
    if node.meta.deletion_timestamp.is_none() {
        as_dependent(state, node, uid, &mut plan);
    } else if has_finalizer(node, ORPHAN) {
        orphan_dependents(state, node, uid, &mut plan);
    } else if has_finalizer(node, FOREGROUND) {
        delete_dependents(state, node, uid, &mut plan);
    }
    plan
}

fn has_finalizer(node: &Node, finalizer: &str) -> bool {
    node.meta.finalizers.iter().flatten().any(|found| found == finalizer)
}

fn target(node: &Node) -> Target {
    Target::new(node.resource.clone(), &node.meta)
}

fn as_dependent(state: &State, node: &Node, uid: &str, plan: &mut Plan) {
    let owners = node.meta.owner_references.as_deref().unwrap_or_default();
    // An owner of a kind that is not watched cannot be called gone.
    let seems_gone = |owner: &OwnerReference| {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let kind = state.kinds.get(&(group.to_owned(), owner.kind.clone())).filter(|kind| kind.synced)?;
        let namespace = node.meta.namespace.clone().filter(|_| kind.namespaced).unwrap_or_default();
        let target = Target { resource: kind.resource.clone(), namespace, name: owner.name.clone() };
        state.graph.get(&owner.uid).is_none().then(|| (owner.clone(), target))
    };
    let gone: Vec<_> = owners.iter().filter_map(seems_gone).collect();
    let is_gone = |owner: &&OwnerReference| gone.iter().any(|(gone, _)| gone.uid == owner.uid);
    let left = owners.iter().filter(|owner| !is_gone(owner)).cloned().collect();
    if !gone.is_empty() {
        plan.push(Action::Collect {
            target: target(node),
            uid: uid.to_owned(),
            resource_version: node.meta.resource_version.clone(),
            gone,
            left,
        });
    }
}

fn orphan_dependents(state: &State, node: &Node, uid: &str, plan: &mut Plan) {
    let mut any = false;
    for (_, dependent) in state.graph.dependents(uid) {
        any = true;
        let left: Vec<_> = dependent.meta.owner_references.iter().flatten().filter(|owner| owner.uid != uid).collect();
        let patch = json!({"metadata": {"resourceVersion": dependent.meta.resource_version, "ownerReferences": left}});
        plan.push(Action::Patch { target: target(dependent), subresource: None, patch });
    }
    if !any {
        remove_finalizer(node, ORPHAN, plan);
    }
}

fn delete_dependents(state: &State, node: &Node, uid: &str, plan: &mut Plan) {
    let mut blocked = false;
    for (dependent_uid, dependent) in state.graph.dependents(uid) {
        let reference = dependent.meta.owner_references.iter().flatten().find(|owner| owner.uid == uid);
        blocked |= reference.is_some_and(|owner| owner.block_owner_deletion == Some(true));
        if dependent.meta.deletion_timestamp.is_none() {
            let has_own = state.graph.dependents(dependent_uid).next().is_some();
            let propagation = if has_own { PropagationPolicy::Foreground } else { PropagationPolicy::Background };
            plan.push(Action::Delete {
                target: target(dependent),
                uid: dependent_uid.clone(),
                propagation,
                announce: None,
            });
        }
    }
    if !blocked {
        remove_finalizer(node, FOREGROUND, plan);
    }
}

fn remove_finalizer(node: &Node, finalizer: &str, plan: &mut Plan) {
    let left: Vec<_> = node.meta.finalizers.iter().flatten().filter(|found| *found != finalizer).collect();
    let patch = json!({"metadata": {"resourceVersion": node.meta.resource_version, "finalizers": left}});
    plan.push(Action::Patch { target: target(node), subresource: None, patch });
}

#[cfg(test)]
mod tests;
