use super::*;

fn container(name: &str, role: Role, state: State) -> ContainerRecord {
    ContainerRecord {
        name: name.into(),
        image: "image".into(),
        role,
        started: matches!(state, State::Running { .. }),
        ready: matches!(state, State::Running { .. }),
        state,
        last: None,
        restarts: 0,
        id: None,
    }
}

fn running() -> State {
    State::Running { since: Timestamp::UNIX_EPOCH }
}

fn waiting() -> State {
    State::Waiting { reason: "ContainerCreating".into(), message: None }
}

fn ended(code: i32) -> State {
    let reason = if code == 0 { "Completed" } else { "Error" };
    let at = Timestamp::UNIX_EPOCH;
    State::Terminated(Terminated {
        code,
        signal: None,
        reason: reason.into(),
        message: None,
        started: Some(at),
        finished: at,
    })
}

fn record(containers: Vec<ContainerRecord>, initialized: bool) -> PodRecord {
    PodRecord {
        address: Some(Ipv4Addr::new(10, 244, 0, 2)),
        node_address: Ipv4Addr::new(10, 244, 0, 1),
        started: Timestamp::UNIX_EPOCH,
        containers,
        initialized,
        outcome: None,
        stopping: false,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn holds<'a>(status: &'a PodStatus, kind: &str) -> &'a PodCondition {
    status.conditions.as_ref().unwrap().iter().find(|c| c.type_ == kind).unwrap()
}

#[test]
fn a_pod_is_pending_until_its_first_container_runs_and_ready_when_all_are() {
    let mut record = record(vec![container("a", Role::App, waiting()), container("b", Role::App, running())], true);
    let pod = Pod::default();
    let first = status(&pod, &record, None, at(1));
    assert_eq!(first.phase.as_deref(), Some("Running"));
    assert_eq!(holds(&first, "Ready").message.as_deref(), Some("containers with unready status: [a]"));
    record.containers[0] = container("a", Role::App, running());
    let second = status(&pod, &record, Some(&first), at(2));
    assert_eq!(holds(&second, "Ready").status, "True");
    assert_eq!(holds(&second, "Ready").last_transition_time, Some(Time(at(2))));
    assert_eq!(
        holds(&second, "Initialized").last_transition_time,
        Some(Time(at(1))),
        "what did not change keeps its time"
    );
}

#[test]
fn init_containers_hold_the_pod_pending() {
    let record = record(
        vec![
            container("i", Role::Init, ended(0)),
            container("s", Role::Sidecar, waiting()),
            container("a", Role::App, waiting()),
        ],
        false,
    );
    let status = status(&Pod::default(), &record, None, at(1));
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(holds(&status, "Initialized").message.as_deref(), Some("containers with incomplete status: [s]"));
    assert!(status.init_container_statuses.as_ref().unwrap()[0].ready, "a completed init container counts as ready");
}

#[test]
fn a_readiness_gate_of_another_holds_ready_back() {
    let pod: Pod = serde_json::from_value(serde_json::json!({
        "spec": {"containers": [], "readinessGates": [{"conditionType": "example.org/open"}]}
    }))
    .unwrap();
    let record = record(vec![container("a", Role::App, running())], true);
    let closed = status(&pod, &record, None, at(1));
    assert_eq!(
        (holds(&closed, "Ready").status.as_str(), holds(&closed, "ContainersReady").status.as_str()),
        ("False", "True")
    );
    let mut previous = closed;
    previous.conditions.as_mut().unwrap().push(condition("example.org/open", true, None, None));
    let open = status(&pod, &record, Some(&previous), at(2));
    assert_eq!(holds(&open, "Ready").status, "True");
    assert_eq!(holds(&open, "example.org/open").status, "True", "conditions of others stay");
}

#[test]
fn an_outcome_decides_the_phase() {
    let mut record = record(vec![container("a", Role::App, ended(3))], true);
    record.outcome = Some(Outcome { succeeded: false, reason: None, message: None });
    assert_eq!(status(&Pod::default(), &record, None, at(1)).phase.as_deref(), Some("Failed"));
}
