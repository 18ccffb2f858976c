//! Deployments: a ReplicaSet for each version of the template, and the way from the old ones to the new one.
//!
//! A plan is one step, counted as Kubernetes counts it; what the step changes brings the next. Two things are sharper than
//! there: how many pods are available is read from the pods themselves and not from the ReplicaSets' status, which lags
//! behind, and a ReplicaSet that was told to shrink counts for no more than its new size.

mod recreate;
mod revision;
mod rolling;
mod scale;
mod status;
mod template;

use crate::action::{Action, Plan, Regarding};
use crate::owners::Owner;
use crate::route::Name;
use crate::state::State;
use crate::{owners, pods, resources, selector};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;
use std::sync::Arc;

const COMPONENT: &str = "deployment-controller";
/// On a ReplicaSet: the Deployment's size when it was last scaled.
const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// On a ReplicaSet: the most pods that the Deployment could have then.
const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// A ReplicaSet of the Deployment, with its pods counted.
#[derive(Debug, Clone)]
struct Set {
    object: Arc<ReplicaSet>,
    name: String,
    /// As many as it was told to have.
    replicas: i32,
    /// Pods that are neither finished nor going.
    active: i32,
    ready: i32,
    available: i32,
    /// Pods whose containers may still run, those that are going included.
    running: i32,
}

impl Set {
    fn of(state: &State, object: &Arc<ReplicaSet>, min_ready: i32, now: Timestamp, plan: &mut Plan) -> Self {
        let meta = &object.metadata;
        let mut set = Self {
            object: Arc::clone(object),
            name: meta.name.clone().unwrap_or_default(),
            replicas: object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
            active: 0,
            ready: 0,
            available: 0,
            running: 0,
        };
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        for pod in state.pods_of(namespace, meta.uid.as_deref().unwrap_or_default()) {
            set.running += i32::from(!pods::is_finished(pod));
            if pods::is_active(pod) {
                set.active += 1;
                set.ready += i32::from(pods::is_ready(pod));
                match pods::available_from(pod, min_ready) {
                    Some(from) if from <= now => set.available += 1,
                    Some(from) => plan.wake_at(from),
                    None => {}
                }
            }
        }
        set
    }

    /// Of its available pods, those that stay when it has shrunk to what it was told: it gives up the others first.
    fn available_to_stay(&self) -> i32 {
        self.available.min(self.replicas)
    }
}

/// A Deployment with its ReplicaSets.
struct Rollout<'a> {
    state: &'a State,
    deployment: &'a Deployment,
    spec: &'a DeploymentSpec,
    replicas: i32,
    /// How many pods more than `replicas` there may be; 0 under Recreate.
    max_surge: i32,
    /// How many of `replicas` may be missing.
    max_unavailable: i32,
    /// The ReplicaSet with the present template.
    new: Option<Set>,
    /// All others, oldest first.
    old: Vec<Set>,
    now: Timestamp,
}

/// What is to be done about one Deployment.
pub(crate) fn plan(state: &State, name: &Name, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(deployment) = state.deployments.get(&name.namespace, &name.name) else { return plan };
    let Some(spec) = &deployment.spec else { return plan };
    // A selector that takes everything would take other workloads' pods; Kubernetes ignores it as well.
    if state.is_leaving(&name.namespace) || selector::is_empty(&spec.selector) {
        return plan;
    }
    let rollout = Rollout::of(state, deployment, spec, now, &mut plan);
    if !plan.actions.is_empty() {
        // Adoption first; what was adopted changes the count.
        return plan;
    }
    let mut step = status::Step::default();
    if deployment.metadata.deletion_timestamp.is_none() {
        rollout.step(&mut step, &mut plan);
    }
    status::plan(&rollout, &step, &mut plan);
    plan
}

impl<'a> Rollout<'a> {
    fn of(
        state: &'a State,
        deployment: &'a Deployment,
        spec: &'a DeploymentSpec,
        now: Timestamp,
        plan: &mut Plan,
    ) -> Self {
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        let owner = Owner { resource: resources::deployments(), meta: &deployment.metadata, selector: &spec.selector };
        let resource = resources::replica_sets();
        let min_ready = spec.min_ready_seconds.unwrap_or(0);
        let mut sets = Vec::new();
        for object in state.replica_sets.all(namespace) {
            if owner.claim(plan, &resource, &object.metadata) {
                sets.push(Set::of(state, object, min_ready, now, plan));
            }
        }
        sets.sort_by_cached_key(|set| (set.object.metadata.creation_timestamp.as_ref().map(|t| t.0), set.name.clone()));
        // Were there two with the present template, the older one is the new one, as in Kubernetes.
        let position = sets.iter().position(|set| template::is_of(&set.object, &spec.template));
        let new = position.map(|position| sets.remove(position));
        let replicas = spec.replicas.unwrap_or(1);
        let (max_surge, max_unavailable) = bounds(spec, replicas);
        Self { state, deployment, spec, replicas, max_surge, max_unavailable, new, old: sets, now }
    }

    fn step(&self, step: &mut status::Step, plan: &mut Plan) {
        if let Some(new) = &self.new {
            revision::bring_up_to_date(self, new, plan);
        }
        if self.spec.paused == Some(true) {
            scale::proportionally(self, plan);
        } else if self.is_recreate() {
            recreate::step(self, step, plan);
        } else if self.was_scaled() {
            scale::proportionally(self, plan);
        } else {
            rolling::step(self, step, plan);
        }
    }

    fn is_recreate(&self) -> bool {
        is_recreate(self.spec)
    }

    fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }

    /// The sum of what all ReplicaSets were told to have.
    fn total(&self) -> i32 {
        self.all().map(|set| set.replicas).sum()
    }

    /// How many pods have to be available at all times.
    fn min_available(&self) -> i32 {
        self.replicas - self.max_unavailable
    }

    /// Whether the Deployment's size changed since an active ReplicaSet was last scaled.
    fn was_scaled(&self) -> bool {
        self.all().filter(|set| set.replicas > 0).any(|set| {
            let desired = set.object.metadata.annotations.as_ref().and_then(|all| all.get(DESIRED_REPLICAS));
            desired.and_then(|desired| desired.parse::<i32>().ok()).is_some_and(|desired| desired != self.replicas)
        })
    }

    /// Whether all has arrived: the new ReplicaSet has every pod, all are available, and no other pod is left.
    fn is_complete(&self) -> bool {
        let total: i32 = self.all().map(|set| set.active).sum();
        let available: i32 = self.all().map(|set| set.available).sum();
        self.new.as_ref().is_some_and(|new| new.active == self.replicas)
            && total == self.replicas
            && available == self.replicas
    }

    fn regarding(&self) -> Regarding {
        Regarding::new(resources::deployments(), &self.deployment.metadata, COMPONENT)
    }

    /// Creates the ReplicaSet of the present template.
    fn create_new(&self, step: &mut status::Step, plan: &mut Plan) {
        let collisions = self.deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
        let object = template::replica_set(self, collisions);
        let name = template::name(self, collisions);
        let namespace = self.deployment.metadata.namespace.as_deref().unwrap_or_default();
        if self.state.replica_sets.get(namespace, &name).is_some() {
            // Another template has the same hash, or a stranger the name: the next count gives another name.
            step.collisions = Some(collisions + 1);
            return;
        }
        let replicas = object.pointer("/spec/replicas").cloned().unwrap_or_default();
        plan.push(Action::Create {
            resource: resources::replica_sets(),
            namespace: self.deployment.metadata.namespace.clone().unwrap_or_default(),
            object,
            by: Some(self.regarding()),
            tell: false,
        });
        let message = format!("Scaled up replica set {name} from 0 to {replicas}");
        plan.push(Action::Report(self.regarding().report(false, "ScalingReplicaSet", message)));
        step.created = Some(name);
    }

    /// Tells a ReplicaSet its size, and notes for which size of the Deployment.
    fn scale(&self, set: &Set, replicas: i32, plan: &mut Plan) {
        let annotations = json!({DESIRED_REPLICAS: self.replicas.to_string(), MAX_REPLICAS: (self.replicas + self.max_surge).to_string()});
        let known = set.object.metadata.annotations.as_ref();
        let noted = [DESIRED_REPLICAS, MAX_REPLICAS].iter().all(|key| {
            known.and_then(|known| known.get(*key)).map(String::as_str)
                == annotations.get(*key).and_then(|v| v.as_str())
        });
        if set.replicas == replicas && noted {
            return;
        }
        let patch = json!({"metadata": {"annotations": annotations}, "spec": {"replicas": replicas}});
        plan.patch(resources::replica_sets(), &set.object.metadata, patch);
        if set.replicas != replicas {
            let way = if replicas > set.replicas { "up" } else { "down" };
            let message = format!("Scaled {way} replica set {} from {} to {replicas}", set.name, set.replicas);
            plan.push(Action::Report(self.regarding().report(false, "ScalingReplicaSet", message)));
        }
    }
}

fn is_recreate(spec: &DeploymentSpec) -> bool {
    spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

/// `maxSurge` rounded up and `maxUnavailable` rounded down; were both 0, nothing could ever move, so one may be missing.
fn bounds(spec: &DeploymentSpec, replicas: i32) -> (i32, i32) {
    if is_recreate(spec) {
        return (0, 0);
    }
    let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let surge = resolve(rolling.and_then(|rolling| rolling.max_surge.as_ref()), replicas, true);
    let unavailable = resolve(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), replicas, false);
    match (surge, unavailable) {
        (0, 0) => (0, 1.min(replicas)),
        (surge, unavailable) => (surge, unavailable.min(replicas)),
    }
}

fn resolve(value: Option<&IntOrString>, replicas: i32, up: bool) -> i32 {
    let percent = match value {
        Some(IntOrString::Int(number)) => return (*number).max(0),
        Some(IntOrString::String(text)) => {
            text.strip_suffix('%').and_then(|text| text.parse::<i32>().ok()).unwrap_or(0)
        }
        None => 25,
    };
    let share = replicas.saturating_mul(percent.max(0));
    if up { share.saturating_add(99) / 100 } else { share / 100 }
}

/// Whether an object may be removed: nobody waits for it.
fn is_free(set: &Set) -> bool {
    set.object.metadata.deletion_timestamp.is_none() && owners::controller_of(&set.object.metadata).is_some()
}

#[cfg(test)]
mod tests;
