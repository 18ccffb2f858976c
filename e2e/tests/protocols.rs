//! gRPC, WebSocket and large bodies through two sidecars, with clients and servers that others wrote, and mesh TLS between.
//!
//! What holds is for the programs in `python/` to say; here they are run, and what both sidecars did meanwhile is looked at.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use varka_e2e::{System, repository, skipped};

/// A server and a client, both with a sidecar, that speak to each other over mesh TLS alone. `@PYTHON@` and `@PROGRAMS@` are
/// directories of this machine.
const MANIFESTS: &str = r#"
apiVersion: local.varka.dev/v1alpha1
kind: LocalRuntime
metadata: {name: protocols}
spec:
  images: [{image: test/python, entrypoint: [/usr/bin/python3, -u], env: {PYTHONPATH: /python}}]
---
apiVersion: v1
kind: Namespace
metadata: {name: protocols, labels: {istio-injection: enabled}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: protocols}
spec: {mtls: {mode: STRICT}}
---
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: protocols, labels: {app: server}}
spec:
  containers:
  - name: app
    image: test/python
    args: [/programs/server.py]
    readinessProbe: {tcpSocket: {port: 9001}, periodSeconds: 1}
    volumeMounts:
    - {name: python, mountPath: /python, readOnly: true}
    - {name: programs, mountPath: /programs, readOnly: true}
  volumes:
  - {name: python, hostPath: {path: "@PYTHON@", type: Directory}}
  - {name: programs, hostPath: {path: "@PROGRAMS@", type: Directory}}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: protocols, labels: {app: client}}
spec:
  containers:
  - name: app
    image: test/python
    args: ["-c", "import signal; signal.pause()"]
    volumeMounts:
    - {name: python, mountPath: /python, readOnly: true}
    - {name: programs, mountPath: /programs, readOnly: true}
  volumes:
  - {name: python, hostPath: {path: "@PYTHON@", type: Directory}}
  - {name: programs, hostPath: {path: "@PROGRAMS@", type: Directory}}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: protocols}
spec:
  selector: {app: server}
  ports:
  - {name: grpc, port: 50051}
  - {name: http-websocket, port: 9001}
  - {name: http, port: 8080}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: server, namespace: protocols}
spec:
  hosts: [server.protocols.svc.cluster.local]
  http:
  - match: [{port: 50051, uri: {prefix: /test.Protocols/Flaky}}]
    route: [{destination: {host: server.protocols.svc.cluster.local, port: {number: 50051}}}]
    retries: {attempts: 3, retryOn: resource-exhausted}
  - match: [{port: 50051}]
    route: [{destination: {host: server.protocols.svc.cluster.local, port: {number: 50051}}}]
  - match: [{port: 9001}]
    route: [{destination: {host: server.protocols.svc.cluster.local, port: {number: 9001}}}]
    timeout: 1s
  - match: [{port: 8080}]
    route: [{destination: {host: server.protocols.svc.cluster.local, port: {number: 8080}}}]
"#;

const GRPC: [&str; 11] = [
    "grpc_unary",
    "grpc_client_streaming",
    "grpc_server_streaming",
    "grpc_bidirectional_streaming",
    "grpc_status_codes",
    "grpc_deadline",
    "grpc_cancellation",
    "grpc_large_messages",
    "grpc_compression",
    "grpc_keepalive",
    "grpc_retries",
];

const WEBSOCKET: [&str; 6] = [
    "websocket_both_ways",
    "websocket_ping",
    "websocket_close_codes",
    "websocket_large_frames",
    "websocket_outlasts_the_route_timeout",
    "websocket_half_close",
];

/// 1 GiB each, and 64 MiB with a reader or a writer that pauses.
const TRANSFERS: [&str; 8] = [
    "http1_down",
    "http1_up",
    "http2_down",
    "http2_up",
    "http1_down_slowly",
    "http1_up_slowly",
    "http2_down_slowly",
    "http2_up_slowly",
];

/// What a sidecar's anonymous memory may grow by, above its own when idle, while a body of any size passes: windows and buffers of
/// both connections, and what the allocator keeps. A body that is held anywhere is a hundred times as large.
const GROWTH: u64 = 8 << 20;

#[test]
fn grpc_websocket_and_large_bodies_pass_two_sidecars() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    std::fs::write(directory.path().join("protocols.yaml"), manifests()?)?;
    let system = System::up(directory.path(), None)?;
    checks(&system, &GRPC).context("gRPC")?;
    checks(&system, &WEBSOCKET).context("WebSocket")?;
    over_mesh_tls(&system)?;
    for transfer in TRANSFERS {
        memory_stays_flat(&system, transfer).context(transfer)?;
    }
    Ok(())
}

/// The manifests with the directories where the programs and what they need are.
fn manifests() -> Result<String> {
    let libraries = repository().join("target/python/lib");
    let missing = || format!("{} has no packages: run `scripts/setup.sh test`", libraries.display());
    let mut versions = std::fs::read_dir(&libraries).with_context(missing)?.flatten().map(|e| e.path());
    let python = versions.find(|p| p.join("site-packages/grpc").is_dir()).with_context(missing)?.join("site-packages");
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path that is no text");
    let programs = text(&repository().join("e2e/python"))?;
    Ok(MANIFESTS.replace("@PYTHON@", &text(&python)?).replace("@PROGRAMS@", &programs))
}

fn run(system: &System, names: &str) -> Result<String> {
    system.sh(&format!("kubectl exec -n protocols client -c app -- /usr/bin/python3 -u /programs/client.py {names}"))
}

/// Runs checks; each must have said that it holds.
fn checks(system: &System, names: &[&str]) -> Result<()> {
    let said = run(system, &names.join(" "))?;
    let want: Vec<String> = names.iter().map(|name| format!("ok {name}")).collect();
    ensure!(said.lines().eq(want.iter().map(String::as_str)), "{said}");
    Ok(())
}

/// Both sidecars say that what they carried was mutual TLS, and in plain text the server cannot be reached.
fn over_mesh_tls(system: &System) -> Result<()> {
    for pod in ["client", "server"] {
        let metrics = system.sh(&format!(
            "kubectl exec -n protocols {pod} -c istio-proxy -- curl -sSf localhost:15020/stats/prometheus"
        ))?;
        let requests: Vec<&str> = metrics
            .lines()
            .filter(|l| l.starts_with("istio_requests_total{") && l.contains("destination_workload=\"server\""))
            .collect();
        let grpc =
            |line: &&&str| line.contains("request_protocol=\"grpc\"") && line.contains("grpc_response_status=\"0\"");
        ensure!(requests.iter().filter(grpc).count() > 0, "{pod} counted no gRPC: {requests:?}");
        let reporter = if pod == "client" { "unknown" } else { "mutual_tls" };
        let policy = format!("connection_security_policy=\"{reporter}\"");
        ensure!(requests.iter().all(|l| l.contains(&policy)), "not all is {policy} at {pod}: {requests:?}");
    }
    let address = system.sh("kubectl get pod -n protocols server -o jsonpath='{.status.podIP}'")?;
    let plain = system.shell(&format!("curl -sS -m 5 http://{address}:8080/"))?;
    ensure!(!plain.status.success(), "plain text reaches the server: {}", String::from_utf8_lossy(&plain.stdout));
    Ok(())
}

/// Runs a transfer and watches the memory of both sidecars meanwhile.
fn memory_stays_flat(system: &System, transfer: &str) -> Result<()> {
    let pods = ["client", "server"];
    let sidecars = pods.iter().map(|pod| sidecar(system, pod)).collect::<Result<Vec<_>>>()?;
    let idle = sidecars.iter().map(|pid| anonymous(*pid)).collect::<Result<Vec<_>>>()?;
    let done = AtomicBool::new(false);
    let (said, peaks) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut peaks = idle.clone();
            let mut samples = 0_usize;
            while !done.load(Ordering::Relaxed) {
                for (peak, pid) in peaks.iter_mut().zip(&sidecars) {
                    *peak = anonymous(*pid)?.max(*peak);
                }
                samples += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            ensure!(samples >= 20, "memory was looked at only {samples} times");
            Ok(peaks)
        });
        let said = run(system, transfer);
        done.store(true, Ordering::Relaxed);
        (said, watching.join())
    });
    ensure!(said? == format!("ok {transfer}\n"));
    let peaks = peaks.ok().context("watching panicked")??;
    for ((pod, idle), peak) in pods.iter().zip(&idle).zip(&peaks) {
        let grown = peak - idle;
        eprintln!("{transfer}: the sidecar of {pod} grew by {} KiB above {} KiB", grown >> 10, idle >> 10);
        ensure!(grown < GROWTH, "the sidecar of {pod} grew by {grown} bytes above {idle}");
    }
    Ok(())
}

/// The process of a pod's sidecar; other systems on this machine may have pods of the same name.
fn sidecar(system: &System, pod: &str) -> Result<u32> {
    let outer = system.pid()?;
    let is_sidecar = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|b| *b == 0).any(|word| word == b"sidecar") && descends(*pid, outer)
    };
    let processes = system.processes(&format!("POD_NAME={pod}"))?;
    processes.into_iter().find(is_sidecar).with_context(|| format!("no sidecar of {pod}"))
}

/// Whether a process was started by another, or by one that it started.
fn descends(mut pid: u32, from: u32) -> bool {
    while pid > 1 && pid != from {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|l| l.strip_prefix("PPid:")?.trim().parse().ok());
        pid = parent.unwrap_or(0);
    }
    pid == from
}

/// Bytes of a process that no file stands behind.
fn anonymous(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).context("no RssAnon")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}
