//! Jobs: pods that run to their end, `completions` of them, at most `parallelism` at a time, until one too many has failed.
//!
//! Indexed completion, pod failure policies and success policies are not done; a Job that asks for them is marked failed at
//! once and says so, rather than run as if it had not asked.

use crate::action::{Action, Plan, Regarding};
use crate::conditions::{deadline, time};
use crate::replicaset::pod_from;
use crate::route::Name;
use crate::state::State;
use crate::{diff, pods, resources};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::sync::Arc;

const COMPONENT: &str = "job-controller";

/// What is to be done about one Job.
pub(crate) fn plan(state: &State, name: &Name, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(job) = state.jobs.get(&name.namespace, &name.name) else { return plan };
    let Some(spec) = &job.spec else { return plan };
    if job.metadata.deletion_timestamp.is_some() || state.is_leaving(&name.namespace) {
        return plan;
    }
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let mine: Vec<&Arc<Pod>> = state.pods_of(&name.namespace, uid).collect();
    let old = job.status.clone().unwrap_or_default();
    if let Some(finished) = finished_at(&old) {
        clean_up(job, spec, finished, now, &mut plan);
        return plan;
    }

    let run = Run::of(spec, &mine);
    let mut status = JobStatus {
        active: Some(to_i32(run.active.len())),
        ready: Some(to_i32(run.active.iter().filter(|pod| pods::is_ready(pod)).count())),
        succeeded: Some(to_i32(run.succeeded)),
        failed: Some(to_i32(run.failed)),
        start_time: old.start_time.clone(),
        conditions: old.conditions.clone(),
        ..Default::default()
    };
    let suspended = spec.suspend == Some(true);
    if suspended {
        status.start_time = None;
    } else if status.start_time.is_none() {
        status.start_time = Some(time(now));
    }
    match run.outcome(spec, &status, now, &mut plan) {
        Some(outcome) => {
            for pod in &run.active {
                plan.delete(resources::pods(), &pod.metadata, None);
            }
            let regarding = Regarding::new(resources::jobs(), &job.metadata, COMPONENT);
            let (reason, warning) = (outcome.reason, outcome.kind == "Failed");
            plan.push(Action::Report(regarding.report(warning, reason, outcome.message.clone())));
            status.active = Some(0);
            status.ready = Some(0);
            status.completion_time = (!warning).then(|| time(now));
            status.conditions.get_or_insert_default().push(outcome.condition(now));
        }
        None => run.manage(job, spec, suspended, &mut plan),
    }
    if let Some(patch) = diff::merge_patch(&json!(job.status), &json!(status)) {
        plan.patch_status(resources::jobs(), &job.metadata, patch);
    }
    plan
}

fn to_i32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn finished_at(status: &JobStatus) -> Option<Timestamp> {
    let mut conditions = status.conditions.iter().flatten();
    let end = conditions.find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")?;
    end.last_transition_time.as_ref().map(|time| time.0)
}

fn clean_up(job: &Job, spec: &JobSpec, finished: Timestamp, now: Timestamp, plan: &mut Plan) {
    let Some(seconds) = spec.ttl_seconds_after_finished else { return };
    match finished.checked_add(jiff::SignedDuration::from_secs(seconds.into())) {
        Ok(end) if end <= now => plan.delete(resources::jobs(), &job.metadata, None),
        Ok(end) => plan.wake_at(end),
        Err(_) => {}
    }
}

/// How far it has come.
struct Run<'a> {
    active: Vec<&'a Arc<Pod>>,
    succeeded: usize,
    failed: usize,
    parallelism: usize,
    /// Without a number, one success ends it once no pod is active.
    completions: Option<usize>,
}

struct Outcome {
    kind: &'static str,
    reason: &'static str,
    message: String,
}

impl Outcome {
    fn condition(self, now: Timestamp) -> JobCondition {
        JobCondition {
            type_: self.kind.to_owned(),
            status: "True".to_owned(),
            reason: Some(self.reason.to_owned()),
            message: Some(self.message),
            last_probe_time: Some(time(now)),
            last_transition_time: Some(time(now)),
        }
    }
}

impl<'a> Run<'a> {
    fn of(spec: &JobSpec, mine: &[&'a Arc<Pod>]) -> Self {
        let in_phase = |phase: &str| mine.iter().filter(|pod| pods::phase(pod) == phase).count();
        let size = |value: Option<i32>| value.map(|value| usize::try_from(value).unwrap_or(0));
        Self {
            active: mine.iter().copied().filter(|pod| pods::is_active(pod)).collect(),
            succeeded: in_phase("Succeeded"),
            failed: in_phase("Failed"),
            parallelism: size(spec.parallelism).unwrap_or(1),
            completions: size(spec.completions),
        }
    }

    /// Whether it has ended, and how.
    fn outcome(&self, spec: &JobSpec, status: &JobStatus, now: Timestamp, plan: &mut Plan) -> Option<Outcome> {
        if let Some(asked) = unsupported(spec) {
            let message = format!("spec.{asked} is not supported here; remove it to have the Job run");
            return Some(Outcome { kind: "Failed", reason: "NotSupported", message });
        }
        let limit = usize::try_from(spec.backoff_limit.unwrap_or(6)).unwrap_or(0);
        if self.failed > limit {
            let message = "Job has reached the specified backoff limit".to_owned();
            return Some(Outcome { kind: "Failed", reason: "BackoffLimitExceeded", message });
        }
        if let (Some(seconds), Some(start)) = (spec.active_deadline_seconds, &status.start_time)
            && let Some(end) = deadline(start, seconds)
        {
            if end <= now {
                let message = "Job was active longer than specified deadline".to_owned();
                return Some(Outcome { kind: "Failed", reason: "DeadlineExceeded", message });
            }
            plan.wake_at(end);
        }
        let complete = match self.completions {
            Some(completions) => self.succeeded >= completions,
            None => self.succeeded > 0 && self.active.is_empty(),
        };
        let message = "Reached expected number of succeeded pods".to_owned();
        complete.then_some(Outcome { kind: "Complete", reason: "CompletionsReached", message })
    }

    fn manage(&self, job: &Job, spec: &JobSpec, suspended: bool, plan: &mut Plan) {
        let wanted = match (suspended, self.completions) {
            (true, _) => 0,
            (false, Some(completions)) => self.parallelism.min(completions - self.succeeded.min(completions)),
            // Once one has succeeded, no more are started.
            (false, None) if self.succeeded > 0 => self.active.len(),
            (false, None) => self.parallelism,
        };
        let regarding = Regarding::new(resources::jobs(), &job.metadata, COMPONENT);
        for pod in self.active.iter().skip(wanted) {
            plan.delete(resources::pods(), &pod.metadata, Some(regarding.clone()));
        }
        let mut template = spec.template.clone();
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        let (name, uid) = (job.metadata.name.clone().unwrap_or_default(), job.metadata.uid.clone().unwrap_or_default());
        for (key, value) in [("job-name", &name), ("controller-uid", &uid)] {
            labels.insert(format!("batch.kubernetes.io/{key}"), value.clone());
            labels.insert(key.to_owned(), value.clone());
        }
        for _ in self.active.len()..wanted {
            plan.push(Action::Create {
                resource: resources::pods(),
                namespace: job.metadata.namespace.clone().unwrap_or_default(),
                object: pod_from(&template, &resources::jobs(), &job.metadata),
                by: Some(regarding.clone()),
                tell: true,
            });
        }
    }
}

/// A member of the spec whose meaning is not built.
fn unsupported(spec: &JobSpec) -> Option<&'static str> {
    if spec.completion_mode.as_deref() == Some("Indexed") {
        return Some("completionMode: Indexed");
    }
    [
        (spec.pod_failure_policy.is_some(), "podFailurePolicy"),
        (spec.success_policy.is_some(), "successPolicy"),
        (spec.backoff_limit_per_index.is_some(), "backoffLimitPerIndex"),
    ]
    .into_iter()
    .find_map(|(asked, name)| asked.then_some(name))
}

#[cfg(test)]
mod tests;
