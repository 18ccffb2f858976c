//! What a pod's stored status means to a runtime that starts: containers of an earlier life are not running. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::status::{ContainerRecord, Outcome, PodRecord, Role, State, Terminated};
use crate::sandbox::GATEWAY;

/// Whether the pod has ended for good before.
pub(crate) fn finished_before(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// How it ended before.
pub(crate) fn outcome_before(pod: &Pod) -> Outcome {
    let status = pod.status.clone().unwrap_or_default();
    Outcome { succeeded: status.phase.as_deref() == Some("Succeeded"), reason: status.reason, message: status.message }
}

/// The first record of a pod.
pub(crate) fn record(pod: &Pod, now: Timestamp) -> PodRecord {
    let spec = pod.spec.clone().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    let over = finished_before(pod);
    let old = |name: &str| {
        let all = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
        all.into_iter().find(|s| s.name == name).cloned()
    };
    let mut containers = Vec::new();
    for container in spec.init_containers.iter().flatten() {
        let role = if container.restart_policy.as_deref() == Some("Always") { Role::Sidecar } else { Role::Init };
        containers.push(container_record(
            &container.name,
            container.image.as_ref(),
            role,
            old(&container.name),
            over,
            now,
        ));
    }
    for container in &spec.containers {
        containers.push(container_record(
            &container.name,
            container.image.as_ref(),
            Role::App,
            old(&container.name),
            over,
            now,
        ));
    }
    PodRecord {
        address: None,
        node_address: GATEWAY,
        started: status.start_time.map_or(now, |t| t.0),
        // A pod without init containers needs no initialising.
        initialized: over || spec.init_containers.iter().flatten().next().is_none(),
        containers,
        outcome: None,
        stopping: false,
    }
}

fn container_record(
    name: &str,
    image: Option<&String>,
    role: Role,
    old: Option<ContainerStatus>,
    over: bool,
    now: Timestamp,
) -> ContainerRecord {
    let state = old.as_ref().and_then(|o| o.state.clone()).unwrap_or_default();
    let ended = state.terminated.map(|t| Terminated {
        code: t.exit_code,
        signal: t.signal,
        reason: t.reason.unwrap_or_default(),
        message: t.message,
        started: t.started_at.map(|t| t.0),
        finished: t.finished_at.map_or(now, |t| t.0),
    });
    // What was running ended with the earlier runtime; how, nobody saw.
    let lost = state.running.map(|r| Terminated {
        code: 255,
        signal: None,
        reason: "Unknown".to_owned(),
        message: Some("the pod runtime was restarted".to_owned()),
        started: r.started_at.map(|t| t.0),
        finished: now,
    });
    let before = old.as_ref().and_then(|o| o.last_state.clone()?.terminated).map(|t| Terminated {
        code: t.exit_code,
        signal: t.signal,
        reason: t.reason.unwrap_or_default(),
        message: t.message,
        started: t.started_at.map(|t| t.0),
        finished: t.finished_at.map_or(now, |t| t.0),
    });
    let restarts = old.as_ref().and_then(|o| u32::try_from(o.restart_count).ok()).unwrap_or(0);
    let ran = ended.is_some() || lost.is_some();
    let (state, last) = match ended {
        Some(terminated) if over => (State::Terminated(terminated), before),
        ended => {
            let reason = if role == Role::Init { "PodInitializing" } else { "ContainerCreating" };
            (State::Waiting { reason: reason.to_owned(), message: None }, ended.or(lost).or(before))
        }
    };
    ContainerRecord {
        name: name.to_owned(),
        image: image.cloned().unwrap_or_default(),
        role,
        state,
        last,
        restarts: if ran && !over { restarts + 1 } else { restarts },
        started: false,
        ready: false,
        id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(phase: &str, state: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({
            "spec": {"containers": [{"name": "a", "image": "i"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]},
            "status": {"phase": phase, "containerStatuses": [
                {"name": "a", "image": "i", "imageID": "", "ready": true, "restartCount": 2, "state": state}]},
        }))
        .unwrap()
    }

    #[test]
    fn what_ran_before_is_started_again_and_counted() {
        let pod = pod("Running", serde_json::json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}));
        let record = record(&pod, Timestamp::UNIX_EPOCH);
        let a = record.container("a").unwrap();
        assert_eq!((a.restarts, a.last.as_ref().unwrap().code), (3, 255));
        assert!(matches!(&a.state, State::Waiting { .. }) && !record.initialized);
        assert_eq!(record.container("s").unwrap().role, Role::Sidecar);
    }

    #[test]
    fn what_has_ended_for_good_stays_so() {
        let pod = pod("Failed", serde_json::json!({"terminated": {"exitCode": 3, "reason": "Error"}}));
        let record = record(&pod, Timestamp::UNIX_EPOCH);
        assert!(finished_before(&pod) && !outcome_before(&pod).succeeded);
        assert_eq!(record.container("a").unwrap().restarts, 2);
        assert!(matches!(&record.container("a").unwrap().state, State::Terminated(t) if t.code == 3));
    }
}
