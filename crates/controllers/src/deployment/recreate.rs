//! The Recreate strategy: every old pod ends before the first new one starts, for workloads that must never run twice.

use super::{Rollout, scale, status};
use crate::action::Plan;

/// One step.
pub(super) fn step(rollout: &Rollout<'_>, step: &mut status::Step, plan: &mut Plan) {
    let mut shrinking = false;
    for set in rollout.old.iter().filter(|set| set.replicas > 0) {
        shrinking = true;
        rollout.scale(set, 0, plan);
    }
    // A pod that is going may still write to its volume.
    if shrinking || rollout.old.iter().any(|set| set.running > 0) {
        return;
    }
    match &rollout.new {
        None => rollout.create_new(step, plan),
        Some(new) => {
            rollout.scale(new, rollout.replicas, plan);
            if rollout.is_complete() {
                scale::forget_history(rollout, plan);
            }
        }
    }
}
