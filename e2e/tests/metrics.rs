//! What the console has counted is what was sent, to the request and to the byte, also when those that count come and go.

#![expect(clippy::indexing_slicing, reason = "what is missing in an answer fails the test")]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use varka_e2e::{System, repository, skipped};

/// Clients and servers, all with sidecars. `@PROGRAMS@` is a directory of this machine.
const MANIFESTS: &str = r#"
apiVersion: local.varka.dev/v1alpha1
kind: LocalRuntime
metadata: {name: counts}
spec:
  images: [{image: test/python, entrypoint: [/usr/bin/python3, -u]}]
---
apiVersion: v1
kind: Namespace
metadata: {name: counts, labels: {istio-injection: enabled}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: counts}
spec: {mtls: {mode: STRICT}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server, namespace: counts}
spec:
  replicas: 2
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      containers:
      - name: app
        image: test/python
        args: [/programs/load.py, serve]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 2}}}
        volumeMounts: [{name: programs, mountPath: /programs, readOnly: true}]
      volumes: [{name: programs, hostPath: {path: "@PROGRAMS@", type: Directory}}]
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: counts, labels: {app: client}}
spec:
  containers:
  - name: app
    image: test/python
    args: ["-c", "import signal; signal.pause()"]
    volumeMounts: [{name: programs, mountPath: /programs, readOnly: true}]
  volumes: [{name: programs, hostPath: {path: "@PROGRAMS@", type: Directory}}]
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: counts}
spec:
  selector: {app: server}
  ports: [{name: http, port: 8080}, {name: tcp-echo, port: 9000}]
"#;

/// A client that ends with its work; its sidecar ends after it.
const SHORT: &str = r#"{"apiVersion": "v1", "kind": "Pod",
  "metadata": {"name": "short", "namespace": "counts", "labels": {"app": "short"}},
  "spec": {"restartPolicy": "Never",
    "containers": [{"name": "app", "image": "test/python", "args": ["/programs/load.py", "load", "server.counts", "500"],
      "volumeMounts": [{"name": "programs", "mountPath": "/programs"}]}],
    "volumes": [{"name": "programs", "hostPath": {"path": "@PROGRAMS@", "type": "Directory"}}]}}"#;

/// Under load it takes longer than the second between two scrapes.
const LIMIT: Duration = Duration::from_secs(40);

/// What was sent and came back: by status, and `sent`, `received`, `connections` of TCP.
type Counts = BTreeMap<String, u64>;

#[test]
fn what_is_counted_is_what_was_sent() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    std::fs::write(directory.path().join("counts.yaml"), fill(MANIFESTS))?;
    let system = System::up(directory.path(), None)?;
    let mut sent = Counts::new();
    let all = load(&system, 1000, "", "")?;
    add(&mut sent, &all);
    settled(&system, "client", &sent, "nothing changes")?;

    let restart = "kubectl rollout restart deployment/server -n counts >&2; \
                   kubectl rollout status deployment/server -n counts --timeout=120s >&2;";
    add(&mut sent, &load(&system, 2000, "0.01", restart)?);
    settled(&system, "client", &sent, "kubectl rollout restart")?;

    let delete = "kubectl delete pod -n counts $(kubectl get pod -n counts -l app=server -o jsonpath='{.items[0].metadata.name}') >&2;";
    add(&mut sent, &load(&system, 2000, "0.005", delete)?);
    settled(&system, "client", &sent, "kubectl delete pod")?;

    short(&system).context("a pod that ends with its work")?;
    killed(&system, &mut sent).context("kill -9 of a sidecar")
}

fn fill(text: &str) -> String {
    text.replace("@PROGRAMS@", &repository().join("e2e/python").display().to_string())
}

fn add(sent: &mut Counts, more: &Counts) {
    more.iter().for_each(|(name, count)| *sent.entry(name.clone()).or_default() += count);
}

/// Sends requests, and tenth as many TCP connections, while a line runs; none may fail.
fn load(system: &System, requests: usize, pace: &str, meanwhile: &str) -> Result<Counts> {
    let seen = disturbed(system, requests, pace, meanwhile)?;
    ensure!(!seen.contains_key("broken"), "requests or connections broke: {seen:?}");
    Ok(seen)
}

fn disturbed(system: &System, requests: usize, pace: &str, meanwhile: &str) -> Result<Counts> {
    let line = format!(
        "kubectl exec -n counts client -c app -- python3 /programs/load.py load server.counts {requests} {pace} & load=$!; \
         {meanwhile} wait $load"
    );
    let text = system.sh(&line)?;
    serde_json::from_str(&text).with_context(|| text.clone())
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
    let mut counts = Counts::new();
    for (family, title) in [
        ("istio_requests_total", None),
        ("istio_tcp_received_bytes_total", Some("sent")),
        ("istio_tcp_sent_bytes_total", Some("received")),
        ("istio_tcp_connections_closed_total", Some("connections")),
    ] {
        let query = format!(
            "{family}{{reporter=\"{reporter}\",source_workload=\"{client}\",destination_service_name=\"server\"}}[1h]"
        );
        for series in query_all(system, &query)? {
            let code = series["metric"]["response_code"].as_str().unwrap_or_default();
            let values = series["values"].as_array().context("no values")?;
            let values: Vec<f64> = values.iter().filter_map(|v| v[1].as_str()?.parse().ok()).collect();
            ensure!(values.first() == Some(&0.0), "a counter does not begin at zero: {series}");
            let grown: f64 =
                values.windows(2).map(|pair| if pair[1] < pair[0] { pair[1] } else { pair[1] - pair[0] }).sum();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole numbers, far below 2^52"
            )]
            let grown = grown as u64;
            if grown > 0 {
                *counts.entry(title.unwrap_or(code).to_owned()).or_default() += grown;
            }
        }
    }
    Ok(counts)
}

fn query_all(system: &System, query: &str) -> Result<Vec<Value>> {
    let address = system.sh("kubectl get pod -n istio-system -l app=console -o jsonpath='{.items[0].status.podIP}'")?;
    let text =
        system.sh(&format!("curl -sSf 'http://{address}:20001/api/v1/query' --data-urlencode 'query={query}'"))?;
    let answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    Ok(answer["data"]["result"].as_array().with_context(|| text.clone())?.clone())
}

/// Its sidecar ends of its own accord, while nobody has told the pod to end.
fn short(system: &System) -> Result<()> {
    system.sh(&format!("kubectl apply -f - <<'EOF'\n{}\nEOF", fill(SHORT)))?;
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
    add(sent, &load(system, 4000, "", "")?);
    settled(system, "client", sent, "a kill between two loads")?;

    let before = sent.clone();
    let during = std::thread::scope(|scope| {
        let load = scope.spawn(|| disturbed(system, 3000, "0.005", ""));
        let total = |counts: &Counts| http(counts).values().sum::<u64>();
        while total(&counted(system, "source", "client")?) < total(&before) + 500 {
            ensure!(!load.is_finished(), "all was sent before anything was killed");
        }
        Command::new("kill").args(["-9", &sidecar(system, &pod)?.to_string()]).status()?;
        load.join().map_err(|_| anyhow::anyhow!("the load panicked"))?
    })?;
    add(sent, &http(&during));
    let wanted = http(sent);
    let deadline = std::time::Instant::now() + LIMIT;
    while http(&counted(system, "source", "client")?) != wanted {
        let counted = counted(system, "source", "client")?;
        ensure!(std::time::Instant::now() < deadline, "the client's side: sent {wanted:?}, counted {counted:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let there = http(&counted(system, "destination", "client")?);
    for (code, count) in &there {
        let (most, least) = (wanted.get(code).copied().unwrap_or(0), before.get(code).copied().unwrap_or(0));
        ensure!((least..=most).contains(count), "{code}: {count} is not from {least} to {most}");
    }
    eprintln!("of {during:?} sent while a sidecar was killed, it had counted and lost {:?}", missing(&wanted, &there));
    Ok(())
}

/// Only the requests that got an answer.
fn http(counts: &Counts) -> Counts {
    counts.iter().filter(|(name, _)| name.parse::<u16>().is_ok()).map(|(name, count)| (name.clone(), *count)).collect()
}

fn missing(wanted: &Counts, there: &Counts) -> Counts {
    let lost = wanted.iter().map(|(name, count)| (name.clone(), count - there.get(name).copied().unwrap_or(0)));
    lost.filter(|(_, count)| *count > 0).collect()
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
