//! A pod's row. The status tells the most pressing of what its containers say, as `kubectl get pods` is known for.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::object::{self, at, list_at, str_at};
use crate::table::{age, number, since};

use super::{NONE, or_none};

/// The cells of a pod.
pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let (ready, total) = readiness(pod);
    let gates = list_at(pod, &["spec", "readinessGates"]).len();
    vec![
        json!(object::name(pod)),
        json!(format!("{ready}/{total}")),
        json!(status(pod)),
        json!(restarts(pod, now)),
        json!(age(pod, now)),
        json!(or_none(str_at(pod, &["status", "podIP"]).to_owned())),
        json!(or_none(str_at(pod, &["spec", "nodeName"]).to_owned())),
        json!(or_none(str_at(pod, &["status", "nominatedNodeName"]).to_owned())),
        json!(if gates == 0 { NONE.to_owned() } else { gates.to_string() }),
    ]
}

/// Init containers that run beside the others.
fn sidecars(pod: &Value) -> impl Iterator<Item = &str> {
    list_at(pod, &["spec", "initContainers"])
        .iter()
        .filter(|c| str_at(c, &["restartPolicy"]) == "Always")
        .map(|c| str_at(c, &["name"]))
}

fn init_status<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    list_at(pod, &["status", "initContainerStatuses"]).iter().find(|s| str_at(s, &["name"]) == name)
}

fn is_ready(status: &Value) -> bool {
    status.get("ready") == Some(&Value::Bool(true)) && at(status, &["state", "running"]).is_some()
}

fn readiness(pod: &Value) -> (usize, usize) {
    let sidecars: Vec<&str> = sidecars(pod).collect();
    let ready = list_at(pod, &["status", "containerStatuses"]).iter().filter(|s| is_ready(s)).count();
    let ready_sidecars = sidecars.iter().filter(|name| init_status(pod, name).is_some_and(is_ready)).count();
    (ready + ready_sidecars, list_at(pod, &["spec", "containers"]).len() + sidecars.len())
}

fn restarts(pod: &Value, now: Timestamp) -> String {
    let mut total = 0;
    let mut last = None::<Timestamp>;
    let sidecars: Vec<&str> = sidecars(pod).collect();
    let inits =
        list_at(pod, &["status", "initContainerStatuses"]).iter().filter(|s| sidecars.contains(&str_at(s, &["name"])));
    for status in list_at(pod, &["status", "containerStatuses"]).iter().chain(inits) {
        total += number(status, &["restartCount"]);
        let finished = str_at(status, &["lastState", "terminated", "finishedAt"]).parse().ok();
        last = last.max(finished);
    }
    match last {
        Some(time) if total > 0 => format!("{total} ({} ago)", since(&object::time(time), now)),
        _ => total.to_string(),
    }
}

fn status(pod: &Value) -> String {
    let reason = str_at(pod, &["status", "reason"]);
    let mut text = if reason.is_empty() { str_at(pod, &["status", "phase"]) } else { reason }.to_owned();
    if list_at(pod, &["status", "conditions"])
        .iter()
        .any(|c| str_at(c, &["type"]) == "PodScheduled" && str_at(c, &["reason"]) == "SchedulingGated")
    {
        text = "SchedulingGated".to_owned();
    }
    match init_phase(pod) {
        Some(init) => text = init,
        None => text = container_phase(pod, text),
    }
    if object::is_terminating(pod) {
        let finished = matches!(str_at(pod, &["status", "phase"]), "Succeeded" | "Failed");
        text = if reason == "NodeLost" {
            "Unknown".to_owned()
        } else if finished {
            text
        } else {
            "Terminating".to_owned()
        };
    }
    text
}

/// What the first init container that has not done its work says.
fn init_phase(pod: &Value) -> Option<String> {
    let specs = list_at(pod, &["spec", "initContainers"]);
    for (index, status) in list_at(pod, &["status", "initContainerStatuses"]).iter().enumerate() {
        let name = str_at(status, &["name"]);
        let sidecar = sidecars(pod).any(|s| s == name);
        let started = status.get("started") == Some(&Value::Bool(true));
        if let Some(ended) = at(status, &["state", "terminated"]) {
            if number(ended, &["exitCode"]) == 0 {
                continue;
            }
            return Some(format!("Init:{}", ending(ended)));
        }
        if sidecar && started {
            continue;
        }
        let waiting = str_at(status, &["state", "waiting", "reason"]);
        if !waiting.is_empty() && waiting != "PodInitializing" {
            return Some(format!("Init:{waiting}"));
        }
        return Some(format!("Init:{index}/{}", specs.len()));
    }
    None
}

fn container_phase(pod: &Value, phase: String) -> String {
    let mut text = phase;
    let mut running = false;
    for status in list_at(pod, &["status", "containerStatuses"]).iter().rev() {
        let waiting = str_at(status, &["state", "waiting", "reason"]);
        if !waiting.is_empty() {
            text = waiting.to_owned();
        } else if let Some(ended) = at(status, &["state", "terminated"]) {
            text = ending(ended);
        } else if is_ready(status) {
            running = true;
        }
    }
    if text == "Completed" && running {
        let ready = list_at(pod, &["status", "conditions"])
            .iter()
            .any(|c| str_at(c, &["type"]) == "Ready" && str_at(c, &["status"]) == "True");
        text = if ready { "Running" } else { "NotReady" }.to_owned();
    }
    text
}

fn ending(terminated: &Value) -> String {
    let (reason, signal) = (str_at(terminated, &["reason"]), number(terminated, &["signal"]));
    if !reason.is_empty() {
        reason.to_owned()
    } else if signal != 0 {
        format!("Signal:{signal}")
    } else {
        format!("ExitCode:{}", number(terminated, &["exitCode"]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pod: &Value) -> Vec<String> {
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        cells(pod, now).iter().take(4).map(|c| c.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_sidecar_counts_as_a_container() {
        let pod = json!({
            "metadata": {"name": "web"},
            "spec": {"containers": [{"name": "web"}], "initContainers": [{"name": "istio-proxy", "restartPolicy": "Always"}]},
            "status": {"phase": "Running",
                "initContainerStatuses": [{"name": "istio-proxy", "ready": true, "started": true, "state": {"running": {}}}],
                "containerStatuses": [{"name": "web", "ready": true, "restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": {"finishedAt": "2026-01-01T00:59:00Z"}}}]},
        });
        assert_eq!(row(&pod), ["web", "2/2", "Running", "1 (60s ago)"]);
    }

    #[test]
    fn the_most_pressing_reason_shows() {
        let mut pod = json!({
            "metadata": {"name": "web"}, "spec": {"containers": [{"name": "web"}]},
            "status": {"phase": "Running", "containerStatuses": [{"name": "web", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
        });
        assert_eq!(row(&pod), ["web", "0/1", "CrashLoopBackOff", "0"]);
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(row(&pod)[2], "Terminating");
    }
}
