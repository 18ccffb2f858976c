//! A Deployment's status and conditions, from which `kubectl rollout status` and `kubectl wait` tell how far it is.

use super::{Rollout, Set};
use crate::action::Plan;
use crate::conditions::{deadline, time};
use crate::replicaset::REPLICA_FAILURE;
use crate::state::State;
use crate::{diff, resources};
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};
use serde_json::json;

const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";
/// Kubernetes' way to say that there is no deadline.
const NO_DEADLINE: i32 = i32::MAX;

/// What this plan does that the status tells.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// The ReplicaSet that is being created.
    pub(super) created: Option<String>,
    /// The new count of names that were taken.
    pub(super) collisions: Option<i32>,
}

/// Writes the status where it changed.
pub(super) fn plan(rollout: &Rollout<'_>, step: &Step, plan: &mut Plan) {
    let old = rollout.deployment.status.clone().unwrap_or_default();
    let sum = |count: &dyn Fn(&Set) -> i32| rollout.all().map(count).sum::<i32>();
    let available = sum(&|set| set.available);
    let wanted = rollout.total();
    let mut status = DeploymentStatus {
        observed_generation: rollout.deployment.metadata.generation,
        replicas: non_zero(sum(&|set| set.active)),
        updated_replicas: non_zero(rollout.new.as_ref().map_or(0, |new| new.active)),
        ready_replicas: non_zero(sum(&|set| set.ready)),
        available_replicas: non_zero(available),
        unavailable_replicas: non_zero((wanted - available).max(0)),
        collision_count: step.collisions.or(old.collision_count),
        conditions: None,
        ..Default::default()
    };
    let mut conditions = Conditions { list: old.conditions.clone().unwrap_or_default(), rollout };
    if available >= rollout.min_available() {
        let message = "Deployment has minimum availability.";
        conditions.set(AVAILABLE, "True", "MinimumReplicasAvailable", message.to_owned());
    } else {
        let message = "Deployment does not have minimum availability.";
        conditions.set(AVAILABLE, "False", "MinimumReplicasUnavailable", message.to_owned());
    }
    conditions.progress(&old, &status, step, plan);
    conditions.failure(rollout.state);
    status.conditions = Some(conditions.list);
    if let Some(patch) = diff::merge_patch(&json!(rollout.deployment.status), &json!(status)) {
        plan.patch_status(resources::deployments(), &rollout.deployment.metadata, patch);
    }
}

/// Counts of zero are left out, as Kubernetes does.
fn non_zero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

struct Conditions<'a> {
    list: Vec<DeploymentCondition>,
    rollout: &'a Rollout<'a>,
}

impl Conditions<'_> {
    fn get(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.list.iter().find(|condition| condition.type_ == kind)
    }

    /// Sets it where status or reason changed; the time of transition stays with the status.
    fn set(&mut self, kind: &str, status: &str, reason: &str, message: String) {
        let known = self.get(kind);
        if known.is_some_and(|known| known.status == status && known.reason.as_deref() == Some(reason)) {
            return;
        }
        self.put(kind, status, reason, message);
    }

    /// Sets it, its time of update included.
    fn put(&mut self, kind: &str, status: &str, reason: &str, message: String) {
        let now = time(self.rollout.now);
        let known = self.get(kind).filter(|known| known.status == status);
        let condition = DeploymentCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: known
                .and_then(|known| known.last_transition_time.clone())
                .or_else(|| Some(now.clone())),
            last_update_time: Some(now),
        };
        match self.list.iter_mut().find(|known| known.type_ == kind) {
            Some(known) => *known = condition,
            None => self.list.push(condition),
        }
    }

    fn remove(&mut self, kind: &str) {
        self.list.retain(|condition| condition.type_ != kind);
    }

    fn progress(&mut self, old: &DeploymentStatus, new: &DeploymentStatus, step: &Step, plan: &mut Plan) {
        let Some(seconds) = self.rollout.spec.progress_deadline_seconds.filter(|seconds| *seconds != NO_DEADLINE)
        else {
            self.remove(PROGRESSING);
            return;
        };
        let reason = self.get(PROGRESSING).and_then(|known| known.reason.clone());
        if self.rollout.spec.paused == Some(true) {
            if reason.as_deref() != Some(TIMED_OUT) {
                self.set(PROGRESSING, "Unknown", PAUSED, "Deployment is paused".to_owned());
            }
            return;
        }
        if reason.as_deref() == Some(PAUSED) {
            self.set(PROGRESSING, "Unknown", RESUMED, "Deployment is resumed".to_owned());
        }
        if let Some(name) = &step.created {
            self.put(PROGRESSING, "True", "NewReplicaSetCreated", format!("Created new replica set \"{name}\""));
            return;
        }
        let what = self.what();
        if reason.is_none() && self.rollout.new.is_some() {
            self.put(PROGRESSING, "True", "FoundNewReplicaSet", format!("Found {}", lower_first(&what)));
        }
        // Once complete, pods that come and go are no progress of a rollout.
        if reason.as_deref() == Some(COMPLETE) && new.replicas == new.updated_replicas {
            return;
        }
        if self.rollout.is_complete() {
            self.put(PROGRESSING, "True", COMPLETE, format!("{what} has successfully progressed."));
        } else if has_progressed(old, new) {
            self.put(PROGRESSING, "True", "ReplicaSetUpdated", format!("{what} is progressing."));
        } else if let Some(end) = self.deadline(seconds) {
            if end <= self.rollout.now {
                self.set(PROGRESSING, "False", TIMED_OUT, format!("{what} has timed out progressing."));
            } else {
                plan.wake_at(end);
            }
        }
    }

    fn what(&self) -> String {
        match &self.rollout.new {
            Some(new) => format!("ReplicaSet \"{}\"", new.name),
            None => format!("Deployment \"{}\"", self.rollout.deployment.metadata.name.as_deref().unwrap_or_default()),
        }
    }

    /// When the present silence becomes a failure. A rollout that is complete or already called failed has no deadline.
    fn deadline(&self, seconds: i32) -> Option<jiff::Timestamp> {
        let known = self.get(PROGRESSING)?;
        if matches!(known.reason.as_deref(), Some(COMPLETE | TIMED_OUT)) {
            return None;
        }
        deadline(known.last_update_time.as_ref()?, seconds.into())
    }

    /// The ReplicaSets' failure to make pods, or our own to make a ReplicaSet, is the Deployment's as well.
    fn failure(&mut self, state: &State) {
        let own = self.rollout.deployment.metadata.uid.as_ref().and_then(|uid| state.failures.get(uid));
        let sets = self.rollout.new.iter().chain(&self.rollout.old);
        let of_set = sets.filter_map(|set| state.failures.get(set.object.metadata.uid.as_ref()?)).next();
        match own.or(of_set) {
            Some(message) => self.set(REPLICA_FAILURE, "True", "FailedCreate", message.clone()),
            None => self.remove(REPLICA_FAILURE),
        }
    }
}

fn lower_first(text: &str) -> String {
    text.replacen("ReplicaSet", "new replica set", 1)
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let of = |count: Option<i32>| count.unwrap_or(0);
    let left = |status: &DeploymentStatus| of(status.replicas) - of(status.updated_replicas);
    of(new.updated_replicas) > of(old.updated_replicas)
        || left(new) < left(old)
        || of(new.ready_replicas) > of(old.ready_replicas)
        || of(new.available_replicas) > of(old.available_replicas)
}
