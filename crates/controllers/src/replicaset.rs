//! ReplicaSets: as many active pods as asked for, made from the template, and a status that counts them.

mod rank;

use crate::action::{Action, Plan, Regarding};
use crate::conditions::time;
use crate::owners::{self, Owner};
use crate::route::Name;
use crate::state::State;
use crate::{diff, pods, resources};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::discovery::ApiResource;
use serde_json::{Value, json};
use std::sync::Arc;

const COMPONENT: &str = "replicaset-controller";
/// The condition that says that pods cannot be made.
pub(crate) const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What is to be done about one ReplicaSet.
pub(crate) fn plan(state: &State, name: &Name, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(set) = state.replica_sets.get(&name.namespace, &name.name) else { return plan };
    let Some(spec) = &set.spec else { return plan };
    if state.is_leaving(&name.namespace) {
        return plan;
    }
    let owner = Owner { resource: resources::replica_sets(), meta: &set.metadata, selector: &spec.selector };
    let resource = resources::pods();
    let mine: Vec<Arc<Pod>> = state
        .pods
        .all(&name.namespace)
        .filter(|pod| owner.claim(&mut plan, &resource, &pod.metadata) && pods::is_active(pod))
        .cloned()
        .collect();
    // Adoption first: what it brings in may be enough.
    let adopting = !plan.actions.is_empty();
    if set.metadata.deletion_timestamp.is_none() && !adopting {
        manage(state, set, spec, &mine, &mut plan);
    }
    if let Some(status) = changed_status(state, set, spec, &mine, now, &mut plan) {
        plan.patch_status(resources::replica_sets(), &set.metadata, status);
    }
    plan
}

fn manage(state: &State, set: &ReplicaSet, spec: &ReplicaSetSpec, mine: &[Arc<Pod>], plan: &mut Plan) {
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    let regarding = Regarding::new(resources::replica_sets(), &set.metadata, COMPONENT);
    if let Some(template) = spec.template.as_ref().filter(|_| mine.len() < wanted) {
        let pod = pod_from(template, &resources::replica_sets(), &set.metadata);
        for _ in mine.len()..wanted {
            plan.push(Action::Create {
                resource: resources::pods(),
                namespace: set.metadata.namespace.clone().unwrap_or_default(),
                object: pod.clone(),
                by: Some(regarding.clone()),
                tell: true,
            });
        }
    } else if mine.len() > wanted {
        for pod in rank::first_to_go(state, set, mine).into_iter().take(mine.len() - wanted) {
            plan.delete(resources::pods(), &pod.metadata, Some(regarding.clone()));
        }
    }
}

/// A pod from a template, controlled by `owner`; the API server completes its name.
pub(crate) fn pod_from(template: &PodTemplateSpec, resource: &ApiResource, owner: &ObjectMeta) -> Value {
    let meta = template.metadata.clone().unwrap_or_default();
    let mut metadata = json!({
        "generateName": format!("{}-", owner.name.as_deref().unwrap_or_default()),
        "namespace": owner.namespace,
        "ownerReferences": [owners::reference(resource, owner)],
    });
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.extend(meta.labels.map(|labels| ("labels".to_owned(), json!(labels))));
        metadata.extend(meta.annotations.map(|annotations| ("annotations".to_owned(), json!(annotations))));
        metadata.extend(meta.finalizers.map(|finalizers| ("finalizers".to_owned(), json!(finalizers))));
    }
    json!({"metadata": metadata, "spec": template.spec})
}

/// The changes that make the status true, if any.
fn changed_status(
    state: &State,
    set: &ReplicaSet,
    spec: &ReplicaSetSpec,
    mine: &[Arc<Pod>],
    now: Timestamp,
    plan: &mut Plan,
) -> Option<Value> {
    let count =
        |test: &dyn Fn(&Pod) -> bool| i32::try_from(mine.iter().filter(|pod| test(pod)).count()).unwrap_or(i32::MAX);
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    for ahead in mine.iter().filter_map(|pod| pods::available_from(pod, min_ready)).filter(|from| *from > now) {
        plan.wake_at(ahead);
    }
    let template_labels = spec.template.as_ref().and_then(|template| template.metadata.as_ref()?.labels.as_ref());
    let labelled = |pod: &Pod| crate::selector::selects(template_labels, pod.metadata.labels.as_ref());
    let old = set.status.clone().unwrap_or_default();
    let status = ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: Some(count(&labelled)),
        ready_replicas: Some(count(&pods::is_ready)),
        available_replicas: Some(count(&|pod| pods::is_available(pod, min_ready, now))),
        observed_generation: set.metadata.generation,
        conditions: failure_condition(state, set, &old, now),
        ..Default::default()
    };
    diff::merge_patch(&json!(set.status), &json!(status))
}

fn failure_condition(
    state: &State,
    set: &ReplicaSet,
    old: &ReplicaSetStatus,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let message = set.metadata.uid.as_ref().and_then(|uid| state.failures.get(uid))?;
    let known = old.conditions.iter().flatten().find(|condition| condition.type_ == REPLICA_FAILURE);
    Some(vec![ReplicaSetCondition {
        type_: REPLICA_FAILURE.to_owned(),
        status: "True".to_owned(),
        reason: Some("FailedCreate".to_owned()),
        message: Some(message.clone()),
        last_transition_time: known.and_then(|known| known.last_transition_time.clone()).or_else(|| Some(time(now))),
    }])
}

#[cfg(test)]
mod tests;
