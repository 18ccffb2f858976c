//! A pod's status from what its containers are doing. Pure: the clock comes in as a value.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, HostIP,
    Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What a container is in a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that stays (`restartPolicy: Always`): started before the rest, stopped after it.
    Sidecar,
    /// One of `spec.containers`.
    App,
}

/// How a run of a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terminated {
    pub(crate) code: i32,
    pub(crate) signal: Option<i32>,
    pub(crate) reason: String,
    pub(crate) message: Option<String>,
    pub(crate) started: Option<Timestamp>,
    pub(crate) finished: Timestamp,
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Waiting { reason: String, message: Option<String> },
    Running { since: Timestamp },
    Terminated(Terminated),
}

/// One container of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerRecord {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) role: Role,
    pub(crate) state: State,
    pub(crate) last: Option<Terminated>,
    pub(crate) restarts: u32,
    pub(crate) started: bool,
    pub(crate) ready: bool,
    pub(crate) id: Option<String>,
}

/// What the runtime knows of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodRecord {
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) node_address: Ipv4Addr,
    pub(crate) started: Timestamp,
    pub(crate) containers: Vec<ContainerRecord>,
    pub(crate) initialized: bool,
    /// Set once, when every container has ended for good or the pod has failed.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) stopping: bool,
}

/// How a pod ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) succeeded: bool,
    pub(crate) reason: Option<String>,
    pub(crate) message: Option<String>,
}

impl PodRecord {
    pub(crate) fn container(&self, name: &str) -> Option<&ContainerRecord> {
        self.containers.iter().find(|c| c.name == name)
    }

    pub(crate) fn container_mut(&mut self, name: &str) -> Option<&mut ContainerRecord> {
        self.containers.iter_mut().find(|c| c.name == name)
    }

    fn phase(&self) -> &'static str {
        match &self.outcome {
            Some(outcome) if outcome.succeeded => "Succeeded",
            Some(_) => "Failed",
            // A pod that has run once stays Running, whatever its containers do.
            None if self.initialized && self.containers.iter().any(ran) => "Running",
            None => "Pending",
        }
    }

    fn unready(&self) -> Vec<&str> {
        let counted = self.containers.iter().filter(|c| c.role != Role::Init);
        counted.filter(|c| !c.ready).map(|c| c.name.as_str()).collect()
    }
}

fn ran(container: &ContainerRecord) -> bool {
    container.role == Role::App && (container.last.is_some() || !matches!(container.state, State::Waiting { .. }))
}

/// The status to write. Conditions that did not change keep the time of `previous`.
pub(crate) fn status(pod: &Pod, record: &PodRecord, previous: Option<&PodStatus>, now: Timestamp) -> PodStatus {
    let statuses = |init: bool| -> Option<Vec<ContainerStatus>> {
        let wanted = record.containers.iter().filter(|c| (c.role != Role::App) == init);
        let list: Vec<ContainerStatus> = wanted.map(container_status).collect();
        (!list.is_empty()).then_some(list)
    };
    let ip = record.address.filter(|_| record.outcome.is_none() || !record.stopping).map(|a| a.to_string());
    PodStatus {
        phase: Some(record.phase().to_owned()),
        conditions: Some(conditions(pod, record, previous, now)),
        init_container_statuses: statuses(true),
        container_statuses: statuses(false),
        host_ip: Some(record.node_address.to_string()),
        host_ips: Some(vec![HostIP { ip: record.node_address.to_string() }]),
        pod_ips: ip.clone().map(|ip| vec![PodIP { ip }]),
        pod_ip: ip,
        start_time: Some(Time(record.started)),
        qos_class: Some(qos(pod).to_owned()),
        reason: record.outcome.as_ref().and_then(|o| o.reason.clone()),
        message: record.outcome.as_ref().and_then(|o| o.message.clone()),
        observed_generation: None,
        ..PodStatus::default()
    }
}

fn conditions(pod: &Pod, record: &PodRecord, previous: Option<&PodStatus>, now: Timestamp) -> Vec<PodCondition> {
    let unready = record.unready();
    let done = record.outcome.as_ref().is_some_and(|o| o.succeeded);
    let waiting = (!unready.is_empty()).then(|| format!("containers with unready status: [{}]", unready.join(" ")));
    let reason = if done { "PodCompleted" } else { "ContainersNotReady" };
    let up = unready.is_empty() && record.outcome.is_none() && record.address.is_some();
    let gates = pod.spec.iter().flat_map(|s| s.readiness_gates.iter().flatten());
    let open = |gate: &str| {
        let all = previous.and_then(|p| p.conditions.as_ref()).into_iter().flatten();
        all.into_iter().any(|c| c.type_ == gate && c.status == "True")
    };
    let closed: Vec<String> = gates.map(|g| g.condition_type.clone()).filter(|g| !open(g)).collect();
    let ready = up && closed.is_empty() && !record.stopping;
    let gate_message =
        (up && !closed.is_empty()).then(|| format!("readiness gates without status True: {}", closed.join(", ")));
    let uninitialized: Vec<&str> = record
        .containers
        .iter()
        .filter(|c| match c.role {
            Role::Init => !matches!(&c.state, State::Terminated(t) if t.code == 0),
            Role::Sidecar => !c.started,
            Role::App => false,
        })
        .map(|c| c.name.as_str())
        .collect();
    let init_message =
        (!record.initialized).then(|| format!("containers with incomplete status: [{}]", uninitialized.join(" ")));
    let mut all = vec![
        condition("PodReadyToStartContainers", record.address.is_some(), None, None),
        condition("Initialized", record.initialized, Some("ContainersNotInitialized"), init_message),
        condition(
            "Ready",
            ready,
            Some(if gate_message.is_some() { "ReadinessGatesNotReady" } else { reason }),
            gate_message.or_else(|| waiting.clone()),
        ),
        condition("ContainersReady", up, Some(reason), waiting),
        condition("PodScheduled", true, None, None),
    ];
    let before = previous.and_then(|p| p.conditions.as_deref()).unwrap_or_default();
    for condition in &mut all {
        let same = before.iter().find(|old| old.type_ == condition.type_ && old.status == condition.status);
        condition.last_transition_time = same.and_then(|old| old.last_transition_time.clone()).or(Some(Time(now)));
    }
    // Conditions of others, such as readiness gates, stay.
    let others = before.iter().filter(|old| !all.iter().any(|c| c.type_ == old.type_)).cloned().collect::<Vec<_>>();
    all.into_iter().chain(others).collect()
}

fn condition(kind: &str, holds: bool, reason: Option<&str>, message: Option<String>) -> PodCondition {
    PodCondition {
        type_: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.filter(|_| !holds).map(ToOwned::to_owned),
        message: message.filter(|_| !holds),
        ..PodCondition::default()
    }
}

fn container_status(container: &ContainerRecord) -> ContainerStatus {
    let running = matches!(container.state, State::Running { .. });
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone(),
        // Nothing is pulled, so the name is all there is to identify an image by.
        image_id: if container.id.is_some() { container.image.clone() } else { String::new() },
        container_id: container.id.clone(),
        ready: match container.role {
            Role::Init => matches!(&container.state, State::Terminated(t) if t.code == 0),
            Role::Sidecar | Role::App => container.ready && running,
        },
        started: Some(container.started && running),
        restart_count: i32::try_from(container.restarts).unwrap_or(i32::MAX),
        state: Some(container_state(container)),
        last_state: Some(container.last.as_ref().map_or_else(ContainerState::default, |t| ContainerState {
            terminated: Some(terminated(t, container.id.as_ref())),
            ..ContainerState::default()
        })),
        ..ContainerStatus::default()
    }
}

fn container_state(container: &ContainerRecord) -> ContainerState {
    match &container.state {
        State::Waiting { reason, message } => ContainerState {
            waiting: Some(ContainerStateWaiting { reason: Some(reason.clone()), message: message.clone() }),
            ..ContainerState::default()
        },
        State::Running { since } => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(*since)) }),
            ..ContainerState::default()
        },
        State::Terminated(t) => {
            ContainerState { terminated: Some(terminated(t, container.id.as_ref())), ..ContainerState::default() }
        }
    }
}

fn terminated(t: &Terminated, id: Option<&String>) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: t.code,
        signal: t.signal,
        reason: Some(t.reason.clone()),
        message: t.message.clone(),
        started_at: t.started.map(Time),
        finished_at: Some(Time(t.finished)),
        container_id: id.cloned(),
    }
}

/// The quality-of-service class by Kubernetes' rule.
fn qos(pod: &Pod) -> &'static str {
    let containers = pod.spec.iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        let of = |list: fn(
            &k8s_openapi::api::core::v1::ResourceRequirements,
        ) -> Option<
            &std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>,
        >,
                  name: &str| {
            container.resources.as_ref().and_then(list).and_then(|all| all.get(name)).map(|q| q.0.clone())
        };
        for name in ["cpu", "memory"] {
            let (request, limit) = (of(|r| r.requests.as_ref(), name), of(|r| r.limits.as_ref(), name));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests;
