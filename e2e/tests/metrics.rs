//! What the console has counted is what was sent, to the request and to the byte, also when those that count come and go.

#![expect(clippy::indexing_slicing, reason = "what is missing in an answer fails the test")]

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use varka_e2e::load::{self, Counts};
use varka_e2e::{System, skipped};

/// A client that ends with its work; its sidecar ends after it.
const SHORT: &str = r#"{"apiVersion": "v1", "kind": "Pod",
  "metadata": {"name": "short", "namespace": "counts", "labels": {"app": "short"}},
  "spec": {"restartPolicy": "Never",
    "containers": [{"name": "app", "image": "test/python", "args": ["/programs/load.py", "load", "server.counts", "300"],
      "volumeMounts": [{"name": "programs", "mountPath": "/programs"}]}],
    "volumes": [{"name": "programs", "hostPath": {"path": "@PROGRAMS@", "type": "Directory"}}]}}"#;

/// Under load it takes longer than the second between two scrapes.
const LIMIT: Duration = Duration::from_secs(40);

#[test]
fn what_is_counted_is_what_was_sent() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    std::fs::write(directory.path().join("counts.yaml"), load::fill(load::MANIFESTS))?;
    let system = System::up(directory.path(), None)?;
    let mut sent = Counts::new();
    let all = load::run(&system, 1000, "", "")?;
    add(&mut sent, &all);
    settled(&system, "client", &sent, "nothing changes")?;

    let restart = "kubectl rollout restart deployment/server -n counts >&2; \
                   kubectl rollout status deployment/server -n counts --timeout=120s >&2;";
    add(&mut sent, &load::run(&system, 1500, "0.01", restart)?);
    settled(&system, "client", &sent, "kubectl rollout restart")?;

    let delete = "kubectl delete pod -n counts $(kubectl get pod -n counts -l app=server -o jsonpath='{.items[0].metadata.name}') >&2;";
    add(&mut sent, &load::run(&system, 1000, "0.01", delete)?);
    settled(&system, "client", &sent, "kubectl delete pod")?;

    short(&system).context("a pod that ends with its work")?;
    killed(&system, &mut sent).context("kill -9 of a sidecar")
}

fn add(sent: &mut Counts, more: &Counts) {
    more.iter().for_each(|(name, count)| *sent.entry(name.clone()).or_default() += count);
}

/// Waits until both sides have counted what one client sent: no less, and never more.
fn settled(system: &System, client: &str, sent: &Counts, when: &str) -> Result<()> {
    for reporter in ["source", "destination"] {
        reaches(system, reporter, client, sent).with_context(|| format!("{when}: reporter {reporter}"))?;
    }
    Ok(())
}

fn reaches(system: &System, reporter: &str, client: &str, sent: &Counts) -> Result<()> {
    let deadline = std::time::Instant::now() + LIMIT;
    loop {
        let counted = counted(system, reporter, client)?;
        if counted == *sent {
            return Ok(());
        }
        let over: Vec<_> = counted.iter().filter(|(name, count)| sent.get(*name).is_none_or(|s| *count > s)).collect();
        ensure!(over.is_empty(), "more was counted than was sent ({sent:?}): {over:?}");
        ensure!(std::time::Instant::now() < deadline, "sent: {sent:?}\ncounted: {counted:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What the store says that one side has counted of a client's traffic. Every series begins at zero.
fn counted(system: &System, reporter: &str, client: &str) -> Result<Counts> {
    const FAMILIES: &str = "istio_requests_total|istio_tcp_(received_bytes|sent_bytes|connections_closed)_total";
    let query = format!(
        "{{__name__=~\"{FAMILIES}\",reporter=\"{reporter}\",source_workload=\"{client}\",destination_service_name=\"server\"}}[1h]"
    );
    let line = format!(
        "curl -sSf http://$(kubectl get pod -n istio-system -l app=console -o jsonpath='{{.items[0].status.podIP}}'):20001/api/v1/query \
         --data-urlencode 'query={query}'"
    );
    let text = system.sh(&line)?;
    let answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let mut counts = Counts::new();
    for series in answer["data"]["result"].as_array().with_context(|| text.clone())? {
        let name = match series["metric"]["__name__"].as_str() {
            Some("istio_tcp_received_bytes_total") => "sent",
            Some("istio_tcp_sent_bytes_total") => "received",
            Some("istio_tcp_connections_closed_total") => "connections",
            _ => series["metric"]["response_code"].as_str().context("no response_code")?,
        };
        let values = series["values"].as_array().context("no values")?;
        let values: Vec<f64> = values.iter().filter_map(|v| v[1].as_str()?.parse().ok()).collect();
        ensure!(values.first() == Some(&0.0), "a counter does not begin at zero: {series}");
        let grown: f64 =
            values.windows(2).map(|pair| if pair[1] < pair[0] { pair[1] } else { pair[1] - pair[0] }).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole numbers, far below 2^52")]
        let grown = grown as u64;
        if grown > 0 {
            *counts.entry(name.to_owned()).or_default() += grown;
        }
    }
    Ok(counts)
}

/// Its sidecar ends of its own accord, while nobody has told the pod to end.
fn short(system: &System) -> Result<()> {
    system.sh(&format!("kubectl apply -f - <<'EOF'\n{}\nEOF", load::fill(SHORT)))?;
    let phase = "kubectl get pod -n counts short -o jsonpath='{.status.phase}'";
    system.until(phase, LIMIT, |text| text == "Succeeded")?;
    let text = system.sh("kubectl logs -n counts short -c app")?;
    let sent: Counts = serde_json::from_str(&text).with_context(|| text.clone())?;
    settled(system, "short", &sent, "after its end")
}

/// What was scraped before the kill stays, and what is counted after it is added, however much it is. In between only the killed
/// sidecar's own counts can be missing: the other side's are complete.
fn killed(system: &System, sent: &mut Counts) -> Result<()> {
    let pod = system.sh("kubectl get pod -n counts -l app=server -o jsonpath='{.items[0].metadata.name}'")?;
    kill_sidecar(system, &pod)?;
    add(sent, &load::run(system, 3000, "", "")?);
    settled(system, "client", sent, "a kill between two loads")?;

    let before = sent.clone();
    let during = std::thread::scope(|scope| {
        let load = scope.spawn(|| load::disturbed(system, 1500, "0.01", ""));
        let total = |counts: &Counts| http(counts).values().sum::<u64>();
        while total(&counted(system, "source", "client")?) < total(&before) + 300 {
            ensure!(!load.is_finished(), "all was sent before anything was killed");
        }
        Command::new("kill").args(["-9", &sidecar(system, &pod)?.to_string()]).status()?;
        load.join().map_err(|_| anyhow::anyhow!("the load panicked"))?
    })?;
    let deadline = std::time::Instant::now() + LIMIT;
    // An answer that breaks off has the status that it began with.
    let answered = |counts: &Counts| http(counts).values().sum::<u64>();
    let all = answered(&before) + answered(&during) + during.get("broken").copied().unwrap_or(0);
    let source = loop {
        let source = http(&counted(system, "source", "client")?);
        let total = answered(&source);
        if total >= all {
            break source;
        }
        ensure!(std::time::Instant::now() < deadline, "the client's side has counted {total} of {all}");
        std::thread::sleep(Duration::from_millis(200));
    };
    ensure!(answered(&source) == all, "the client's side has counted {} of {all}", answered(&source));
    for (code, count) in http(&during) {
        let (there, least) = (source.get(&code).copied().unwrap_or(0), before.get(&code).copied().unwrap_or(0) + count);
        ensure!(there >= least, "{code}: the client's side has counted {there} of {least}");
    }
    let destination = http(&counted(system, "destination", "client")?);
    for (code, count) in &destination {
        let (most, least) = (source.get(code).copied().unwrap_or(0), before.get(code).copied().unwrap_or(0));
        ensure!((least..=most).contains(count), "{code}: {count} is not from {least} to {most}");
    }
    let lost = answered(&source) - answered(&destination);
    eprintln!("{during:?} while a sidecar was killed; it had not counted, or lost what it had: {lost}");
    Ok(())
}

/// Only the requests that got an answer.
fn http(counts: &Counts) -> Counts {
    counts.iter().filter(|(name, _)| name.parse::<u16>().is_ok()).map(|(name, count)| (name.clone(), *count)).collect()
}

/// The process of a pod's sidecar.
fn sidecar(system: &System, pod: &str) -> Result<u32> {
    let is = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|c| String::from_utf8_lossy(&c).contains("proxy\0sidecar"))
    };
    system.processes(&format!("POD_NAME={pod}"))?.into_iter().find(is).with_context(|| format!("no sidecar of {pod}"))
}

fn kill_sidecar(system: &System, pod: &str) -> Result<()> {
    let restarts = format!(
        "kubectl get pod -n counts {pod} -o jsonpath='{{.status.initContainerStatuses[?(@.name==\"istio-proxy\")].restartCount}}'"
    );
    let before = system.sh(&restarts)?;
    Command::new("kill").args(["-9", &sidecar(system, pod)?.to_string()]).status()?;
    system.until(&restarts, LIMIT, |text| text != before)?;
    let ready =
        format!("kubectl get pod -n counts {pod} -o jsonpath='{{.status.conditions[?(@.type==\"Ready\")].status}}'");
    system.until(&ready, LIMIT, |text| text == "True").map(drop)
}
