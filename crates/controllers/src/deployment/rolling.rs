//! The rolling update: the new ReplicaSet grows as far as the surge allows, the old ones shrink as far as availability
//! allows, one step at a time.

use super::{Rollout, Set, scale, status};
use crate::action::Plan;

/// One step, or the tidying up after the last.
pub(super) fn step(rollout: &Rollout<'_>, step: &mut status::Step, plan: &mut Plan) {
    let Some(new) = &rollout.new else {
        rollout.create_new(step, plan);
        return;
    };
    let size = size_of_new(rollout, new.replicas);
    if size != new.replicas {
        rollout.scale(new, size, plan);
        return;
    }
    if shrink_old(rollout, new, plan) {
        return;
    }
    if rollout.is_complete() {
        scale::forget_history(rollout, plan);
    }
}

/// How large the new ReplicaSet may be now, being of size `current`.
pub(super) fn size_of_new(rollout: &Rollout<'_>, current: i32) -> i32 {
    if current >= rollout.replicas {
        return rollout.replicas;
    }
    let room = rollout.replicas + rollout.max_surge - rollout.total();
    current + room.max(0).min(rollout.replicas - current)
}

/// Takes away what the old ReplicaSets can spare; whether there was anything.
fn shrink_old(rollout: &Rollout<'_>, new: &Set, plan: &mut Plan) -> bool {
    let new_unavailable = new.replicas - new.available_to_stay();
    let spare = rollout.total() - rollout.min_available() - new_unavailable;
    if spare <= 0 {
        return false;
    }
    let mut sizes: Vec<i32> = rollout.old.iter().map(|set| set.replicas).collect();
    // First the pods that serve nobody: an old version that never became ready must not hold up its successor.
    let mut left = spare;
    for (set, size) in rollout.old.iter().zip(&mut sizes) {
        let unhealthy = (*size - set.available_to_stay()).clamp(0, left);
        *size -= unhealthy;
        left -= unhealthy;
    }
    // Then available ones, as long as enough of all stay available.
    let available: i32 = rollout.all().map(Set::available_to_stay).sum();
    let mut left = (available - rollout.min_available()).max(0);
    for size in &mut sizes {
        let taken = (*size).min(left);
        *size -= taken;
        left -= taken;
    }
    let mut any = false;
    for (set, size) in rollout.old.iter().zip(sizes).filter(|(set, size)| set.replicas != *size) {
        any = true;
        rollout.scale(set, size, plan);
    }
    any
}
