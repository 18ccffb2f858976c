//! Changes of size that are no change of version, and the removal of versions too old to keep.

use super::{DESIRED_REPLICAS, MAX_REPLICAS, Rollout, Set, is_free, revision};
use crate::action::Plan;
use crate::resources;
use std::cmp::Reverse;

/// Brings the ReplicaSets to the Deployment's size. In the middle of a rolling update each active one gets its share, so
/// that a failing new version does not get all the new pods.
pub(super) fn proportionally(rollout: &Rollout<'_>, plan: &mut Plan) {
    let active: Vec<&Set> = rollout.all().filter(|set| set.replicas > 0).collect();
    if active.len() <= 1 {
        let newest_old = || rollout.old.last();
        if let Some(only) = active.first().copied().or(rollout.new.as_ref()).or_else(newest_old) {
            rollout.scale(only, rollout.replicas, plan);
        }
        return;
    }
    if let Some(new) = rollout.new.as_ref().filter(|new| is_saturated(rollout, new)) {
        for set in rollout.old.iter().filter(|set| set.replicas > 0) {
            rollout.scale(set, 0, plan);
        }
        rollout.scale(new, rollout.replicas, plan);
        return;
    }
    if !rollout.is_recreate() {
        share(rollout, active, plan);
    }
}

fn is_saturated(rollout: &Rollout<'_>, new: &Set) -> bool {
    let desired = number(new, DESIRED_REPLICAS);
    desired == Some(rollout.replicas) && new.replicas == rollout.replicas && new.available == rollout.replicas
}

fn number(set: &Set, annotation: &str) -> Option<i32> {
    set.object.metadata.annotations.as_ref()?.get(annotation)?.parse().ok()
}

fn share(rollout: &Rollout<'_>, mut active: Vec<&Set>, plan: &mut Plan) {
    let allowed = if rollout.replicas > 0 { rollout.replicas + rollout.max_surge } else { 0 };
    let total: i32 = active.iter().map(|set| set.replicas).sum();
    let to_add = allowed - total;
    // The largest first; among equals the newest where pods are added, the oldest where they go.
    let created = |set: &Set| set.object.metadata.creation_timestamp.as_ref().map(|time| time.0);
    if to_add > 0 {
        active.sort_by_key(|set| (Reverse(set.replicas), Reverse(created(set))));
    } else {
        active.sort_by_key(|set| (Reverse(set.replicas), created(set)));
    }
    let mut sizes = Vec::new();
    let mut added = 0;
    for set in &active {
        let share = if to_add == 0 { 0 } else { fraction(rollout, set, allowed, to_add - added) };
        added += share;
        sizes.push(set.replicas + share);
    }
    // What rounding left over goes to the largest.
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    for (set, size) in active.into_iter().zip(sizes) {
        rollout.scale(set, size, plan);
    }
}

/// How many of `left` pods to add (or, negative, to take) the ReplicaSet gets for its share of the former size.
fn fraction(rollout: &Rollout<'_>, set: &Set, allowed: i32, left: i32) -> i32 {
    let share = if rollout.replicas == 0 {
        -set.replicas
    } else {
        let former = number(set, MAX_REPLICAS).filter(|former| *former > 0).unwrap_or(allowed.max(1));
        let wanted = i64::from(set.replicas) * i64::from(allowed);
        // Rounded to the nearest.
        let size = (wanted * 2 + i64::from(former)) / (i64::from(former) * 2);
        i32::try_from(size).unwrap_or(i32::MAX) - set.replicas
    };
    if left > 0 { share.clamp(0, left) } else { share.clamp(left, 0) }
}

/// Deletes the oldest versions beyond `revisionHistoryLimit` of which nothing is left.
pub(super) fn forget_history(rollout: &Rollout<'_>, plan: &mut Plan) {
    let limit = usize::try_from(rollout.spec.revision_history_limit.unwrap_or(10)).unwrap_or(usize::MAX);
    let mut old: Vec<&Set> = rollout.old.iter().filter(|set| is_free(set)).collect();
    old.sort_by_key(|set| revision::of(set));
    let excess = old.len().saturating_sub(limit);
    for set in old.into_iter().take(excess).filter(|set| set.replicas == 0 && set.running == 0) {
        plan.delete(resources::replica_sets(), &set.object.metadata, None);
    }
}
