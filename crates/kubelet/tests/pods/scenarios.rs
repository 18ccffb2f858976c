//! What pods must do.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::DeleteParams;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use varka_kubelet::{ExecOptions, LogOptions};

use crate::data::{
    a_claim_is_bound_and_released, environment_and_downward_api, mariadb_keeps_its_data, volumes_hold_what_they_say,
};

use crate::world::{self, NAMESPACE, World, address, is_ready};

type Scenario = (&'static str, for<'w> fn(&'w World) -> LocalBoxFuture<'w, ()>);

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => { [$((stringify!($name), (|world| $name(world).boxed_local()) as for<'w> fn(&'w World) -> LocalBoxFuture<'w, ()>)),*] };
}

pub(crate) fn run(state: &Path, filter: &[&str]) -> ExitCode {
    let all: [Scenario; 20] = scenarios![
        pods_start_at_once,
        nginx_serves_a_config_map,
        an_unknown_image_waits_and_says_what_to_add,
        init_containers_and_sidecars_in_order,
        commands_run_in_containers,
        a_terminal,
        a_quick_program_is_heard,
        logs_of_now_before_and_to_come,
        probes_decide_ready_and_alive,
        a_crash_is_restarted_with_pauses,
        a_job_like_pod_ends,
        deletion_is_graceful_and_takes_everything,
        volumes_hold_what_they_say,
        environment_and_downward_api,
        names_and_service_addresses,
        the_host_is_reached_and_nothing_of_it_seen,
        port_forward_reaches_loopback,
        identity_and_capabilities,
        a_claim_is_bound_and_released,
        mariadb_keeps_its_data,
    ];
    let good = world::with(&state.join("s"), vec![SocketAddr::from(([127, 0, 0, 1], 0))], async |world| {
        let mut good = true;
        for (name, scenario) in
            all.iter().filter(|(name, _)| filter.is_empty() || filter.iter().any(|f| name.contains(f)))
        {
            let begun = Instant::now();
            let result = std::panic::AssertUnwindSafe(scenario(world)).catch_unwind().await;
            good &= result.is_ok();
            eprintln!(
                "{} {name} ({} ms)",
                if result.is_ok() { "ok    " } else { "FAILED" },
                begun.elapsed().as_millis()
            );
        }
        good
    });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

pub(crate) fn sleeper(name: &str) -> serde_json::Value {
    json!({"name": name, "image": "busybox", "command": ["sleep", "100000"]})
}

fn status<'p>(pod: &'p Pod, name: &str) -> &'p ContainerStatus {
    let status = pod.status.as_ref().unwrap();
    let mut all = status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    all.find(|s| s.name == name).unwrap()
}

/// Whether the pod's first container waits for this reason.
pub(crate) fn waits(pod: &Pod, reason: &str) -> bool {
    let first = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()?.first()?.state.clone());
    first.and_then(|state| state.waiting?.reason).as_deref() == Some(reason)
}

async fn get(address: Ipv4Addr, port: u16, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect((address, port)).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// The figure is printed, not judged: it depends on what else the machine does.
async fn pods_start_at_once(world: &World) {
    let mut took = Vec::new();
    for number in 0..5 {
        let name = format!("quick-{number}");
        let begun = Instant::now();
        world.pod(&name, json!({"containers": [sleeper("a")], "terminationGracePeriodSeconds": 1})).await;
        world.ready(&name).await;
        took.push(begun.elapsed().as_millis());
        world.delete(&name).await;
    }
    took.sort_unstable();
    eprintln!("       from creation to Ready: {took:?} ms");
}

async fn nginx_serves_a_config_map(world: &World) {
    let site = "server { listen 80; location / { default_type text/plain; return 200 \"from the map\\n\"; } }";
    world.create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "site"}, "data": {"default.conf": site}})).await;
    world
        .pod("web", json!({
            "containers": [{"name": "nginx", "image": "nginx:1.27",
                "volumeMounts": [{"name": "conf", "mountPath": "/etc/nginx/conf.d/default.conf", "subPath": "default.conf"}],
                "readinessProbe": {"httpGet": {"port": 80}}}],
            "volumes": [{"name": "conf", "configMap": {"name": "site"}}]}))
        .await;
    let pod = world.ready("web").await;
    assert!(get(address(&pod), 80, "/page").await.ends_with("from the map\n"));
    let log = world.logs("web", "nginx", LogOptions::default()).await;
    assert!(log.contains("GET /page HTTP/1.0"), "the access log is the container's output: {log}");
    world
        .pod(
            "plain",
            json!({"containers": [{"name": "nginx", "image": "nginx", "readinessProbe": {"tcpSocket": {"port": 80}}}]}),
        )
        .await;
    world.ready("plain").await;
    for pod in ["web", "plain"] {
        let begun = Instant::now();
        world.delete(pod).await;
        assert!(begun.elapsed() < Duration::from_secs(20), "nginx ends on its own signal");
    }
}

async fn an_unknown_image_waits_and_says_what_to_add(world: &World) {
    world.pod("unknown", json!({"containers": [{"name": "a", "image": "example.org/app:1"}]})).await;
    world.event("unknown", "kind: LocalRuntime").await;
    world.until("unknown", "waiting", |pod| waits(pod, "ErrImageNeverPull")).await;
    world
        .create(json!({"apiVersion": "local.varka.dev/v1alpha1", "kind": "LocalRuntime", "metadata": {"name": "apps"},
            "spec": {"images": [{"image": "example.org/app", "entrypoint": ["sleep"], "cmd": ["100000"]}]}}))
        .await;
    world.ready("unknown").await;
    world.delete("unknown").await;
}

async fn init_containers_and_sidecars_in_order(world: &World) {
    let note = |text: &str| format!("echo {text} >> /shared/order");
    let mount = json!([{"name": "shared", "mountPath": "/shared"}]);
    let staying = format!(
        "trap 'echo side-down >> /shared/order; exit 0' TERM; {}; while true; do sleep 0.05; done",
        note("side-up")
    );
    let app = format!(
        "trap 'echo app-down >> /shared/order; exit 0' TERM; {}; while true; do sleep 0.05; done",
        note("app-up")
    );
    let directory = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
    world
        .pod("ordered", json!({
            "terminationGracePeriodSeconds": 10,
            "initContainers": [
                {"name": "first", "image": "busybox", "command": ["sh", "-c", note("first")], "volumeMounts": mount},
                {"name": "side", "image": "busybox", "restartPolicy": "Always", "command": ["sh", "-c", staying], "volumeMounts": mount,
                 "startupProbe": {"exec": {"command": ["grep", "-q", "side-up", "/shared/order"]}}},
                {"name": "second", "image": "busybox", "command": ["sh", "-c", note("second")], "volumeMounts": mount}],
            "containers": [{"name": "app", "image": "busybox", "command": ["sh", "-c", app], "volumeMounts": mount,
                "readinessProbe": {"exec": {"command": ["grep", "-q", "app-up", "/shared/order"]}}}],
            "volumes": [{"name": "shared", "hostPath": {"path": directory.path()}}]}))
        .await;
    let pod = world.ready("ordered").await;
    assert!(status(&pod, "side").started == Some(true) && status(&pod, "first").ready);
    world.delete("ordered").await;
    let order = std::fs::read_to_string(directory.path().join("order")).unwrap();
    assert_eq!(
        order.split_whitespace().collect::<Vec<_>>(),
        ["first", "side-up", "second", "app-up", "app-down", "side-down"]
    );
}

async fn commands_run_in_containers(world: &World) {
    world.pod("tool", json!({"containers": [sleeper("a"), sleeper("b")]})).await;
    world.ready("tool").await;
    let (code, out, errors) = world.exec("tool", "b", &["sh", "-c", "hostname; echo wrong >&2; exit 7"]).await;
    assert_eq!((code, out.as_str(), errors.as_str()), (7, "tool\n", "wrong\n"));
    let (code, out, _) = world.exec_with("tool", "a", &["tr", "a-z", "A-Z"], Some("shout")).await;
    assert_eq!((code, out.as_str()), (0, "SHOUT"));
    let (code, _, _) = world.exec("tool", "a", &["sh", "-c", "kill -9 $$"]).await;
    assert_eq!(code, 137);
    let options = ExecOptions { command: vec!["no-such-program".into()], stdout: true, ..ExecOptions::default() };
    let error = world.kubelet.exec(NAMESPACE, "tool", None, "a", options.clone()).await.unwrap_err().to_string();
    assert!(error.contains("no-such-program") && error.contains("not found"), "{error}");
    assert!(world.kubelet.exec(NAMESPACE, "tool", None, "none", options).await.is_err());
    let processes = world.shell("tool", "ls -d /proc/[0-9]* | wc -l").await;
    assert!(processes.parse::<u32>().unwrap() <= 6, "a container sees its own processes only: {processes}");
    let (code, _, _) = world.exec("tool", "a", &["sh", "-c", "touch /usr/x || touch /dev/x"]).await;
    assert_ne!(code, 0, "the host's programs and devices are read-only");
    assert_eq!(world.shell("tool", "echo x > /tmp/f && cat /tmp/f").await, "x");
    world.delete("tool").await;
}

async fn a_terminal(world: &World) {
    world.pod("tty", json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "sh", "image": "busybox", "command": ["sh"], "stdin": true, "tty": true}]})).await;
    world.ready("tty").await;
    let options = ExecOptions { command: vec!["sh".into()], stdin: true, stdout: true, stderr: true, tty: true };
    let mut session = world.kubelet.exec(NAMESPACE, "tty", None, "", options.clone()).await.unwrap();
    session.resize.as_ref().unwrap().send((91, 33)).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    stdin.write_all(b"tty; stty size; exit 3\n").await.unwrap();
    let mut out = String::new();
    session.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
    assert!(out.contains("/dev/pts/") && out.contains("33 91"), "{out}");
    assert_eq!(session.exit.await.unwrap(), 3);
    let mut attached = world.kubelet.attach(NAMESPACE, "tty", None, "", options).await.unwrap();
    attached.stdin.take().unwrap().write_all(b"echo at''tached; exit 4\n").await.unwrap();
    let mut out = vec![0u8; 4096];
    let mut seen = String::new();
    let mut stdout = attached.stdout.take().unwrap();
    while !seen.contains("attached") {
        let count = stdout.read(&mut out).await.unwrap();
        assert!(count > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&out[..count]));
    }
    assert_eq!(attached.exit.await.unwrap(), 4);
    world.delete("tty").await;
}

/// Who attaches to a program that was quicker gets what it said before, once.
async fn a_quick_program_is_heard(world: &World) {
    let script = "echo said; echo wrong >&2; read line; echo $line";
    world
        .pod(
            "quick",
            json!({"containers": [{"name": "a", "image": "busybox", "command": ["sh", "-c", script], "stdin": true}]}),
        )
        .await;
    world.ready("quick").await;
    for _ in 0..500 {
        if world.logs("quick", "a", LogOptions::default()).await.lines().count() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let options = ExecOptions { command: Vec::new(), stdin: true, stdout: true, stderr: true, tty: false };
    let mut attached = world.kubelet.attach(NAMESPACE, "quick", None, "", options).await.unwrap();
    attached.stdin.take().unwrap().write_all(b"heard\n").await.unwrap();
    let (mut out, mut errors) = (String::new(), String::new());
    attached.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
    attached.stderr.take().unwrap().read_to_string(&mut errors).await.unwrap();
    assert_eq!((out.as_str(), errors.as_str()), ("said\nheard\n", "wrong\n"));
    world.delete("quick").await;
}

async fn logs_of_now_before_and_to_come(world: &World) {
    let script = "for n in 1 2 3; do echo line $n; done; echo oops >&2; while [ ! -e /go ]; do sleep 0.02; done; echo last; exit 1";
    world
        .pod("talker", json!({"containers": [{"name": "a", "image": "busybox", "command": ["sh", "-c", script]}]}))
        .await;
    world.ready("talker").await;
    let options = |tail| LogOptions { tail_lines: tail, ..LogOptions::default() };
    for _ in 0..500 {
        if world.logs("talker", "a", options(None)).await.contains("oops") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.logs("talker", "a", options(Some(1))).await.lines().count(), 1);
    let stamped =
        world.logs("talker", "", LogOptions { timestamps: true, limit_bytes: Some(10), ..LogOptions::default() }).await;
    assert!(stamped.starts_with("20") && stamped.len() == 10, "{stamped}");
    let follow = LogOptions { follow: true, tail_lines: Some(0), ..LogOptions::default() };
    let (followed, _) = tokio::join!(world.logs("talker", "a", follow), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.exec("talker", "a", &["touch", "/go"]).await
    });
    assert_eq!(followed, "last\n", "following ends with the container");
    world.until("talker", "restarted", |pod| status(pod, "a").restart_count == 1 && status(pod, "a").ready).await;
    let before = world.logs("talker", "a", LogOptions { previous: true, ..LogOptions::default() }).await;
    assert!(before.contains("line 1\n") && before.ends_with("last\n"), "{before}");
    world.delete("talker").await;
}

async fn probes_decide_ready_and_alive(world: &World) {
    world
        .pod("probed", json!({"containers": [{"name": "a", "image": "busybox", "command": ["sleep", "100000"],
            "readinessProbe": {"exec": {"command": ["test", "-e", "/ready"]}, "periodSeconds": 1, "failureThreshold": 1},
            "livenessProbe": {"exec": {"command": ["test", "!", "-e", "/dead"]}, "periodSeconds": 1, "failureThreshold": 1},
            "terminationGracePeriodSeconds": null}], "terminationGracePeriodSeconds": 1}))
        .await;
    world
        .until("probed", "Running", |pod| {
            pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()).is_some_and(|s| s[0].started == Some(true))
        })
        .await;
    assert!(!is_ready(&world.pods().get("probed").await.unwrap()));
    world.exec("probed", "a", &["touch", "/ready"]).await;
    let begun = Instant::now();
    world.ready("probed").await;
    eprintln!("       Ready {} ms after the probe can succeed", begun.elapsed().as_millis());
    world.exec("probed", "a", &["rm", "/ready"]).await;
    world.until("probed", "not Ready", |pod| !is_ready(pod)).await;
    world.event("probed", "Unhealthy Readiness probe failed").await;
    world.exec("probed", "a", &["touch", "/dead"]).await;
    world.until("probed", "restarted", |pod| status(pod, "a").restart_count == 1).await;
    world.event("probed", "failed liveness probe, will be restarted").await;
    world.delete("probed").await;
}

async fn a_crash_is_restarted_with_pauses(world: &World) {
    let script = "echo why > /dev/termination-log; exit 3";
    world
        .pod("crash", json!({"containers": [{"name": "a", "image": "busybox", "command": ["sh", "-c", script]}]}))
        .await;
    let pod = world.until("crash", "backed off", |pod| waits(pod, "CrashLoopBackOff")).await;
    let last = status(&pod, "a").last_state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((last.exit_code, last.message.as_deref()), (3, Some("why\n")));
    assert_eq!(status(&pod, "a").restart_count, 2, "the first restart comes at once, the second waits");
    assert_eq!(pod.status.as_ref().unwrap().phase.as_deref(), Some("Running"));
    world.event("crash", "BackOff Back-off restarting failed container").await;
    world.delete("crash").await;
}

async fn a_job_like_pod_ends(world: &World) {
    let pod = |code: u32| {
        json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "busybox", "command": ["sh", "-c", format!("exit {code}")]}],
        "initContainers": [{"name": "s", "image": "busybox", "restartPolicy": "Always", "command": ["sleep", "100000"]}]})
    };
    world.pod("good", pod(0)).await;
    world.pod("bad", pod(5)).await;
    let good = world.phase("good", "Succeeded").await;
    assert_eq!(
        status(&good, "a").state.as_ref().unwrap().terminated.as_ref().unwrap().reason.as_deref(),
        Some("Completed")
    );
    assert!(status(&good, "s").state.as_ref().unwrap().terminated.is_some(), "the sidecar ends after the application");
    let bad = world.phase("bad", "Failed").await;
    assert_eq!(status(&bad, "a").state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 5);
    world.delete("good").await;
    world.delete("bad").await;
}

async fn deletion_is_graceful_and_takes_everything(world: &World) {
    let directory = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let mounts = json!([{"name": "out", "mountPath": "/out"}]);
    // It has a child that ignores every polite signal, and a hook.
    let script =
        "(trap '' TERM; sleep 100000) & trap 'echo term >> /out/said; exit 0' TERM; while true; do sleep 0.05; done";
    world
        .pod("polite", json!({"terminationGracePeriodSeconds": 5, "volumes": [{"name": "out", "hostPath": {"path": directory.path()}}],
            "containers": [{"name": "a", "image": "busybox", "command": ["sh", "-c", script], "volumeMounts": mounts,
                "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "echo hook >> /out/said"]}}}}]}))
        .await;
    world.ready("polite").await;
    world.delete("polite").await;
    assert_eq!(std::fs::read_to_string(directory.path().join("said")).unwrap(), "hook\nterm\n");
    world
        .pod("deaf", json!({"terminationGracePeriodSeconds": 1,
            "containers": [{"name": "a", "image": "busybox", "command": ["sh", "-c", "trap '' TERM; while true; do sleep 0.1; done"]}]}))
        .await;
    world.ready("deaf").await;
    let begun = Instant::now();
    world.delete("deaf").await;
    assert!(begun.elapsed() >= Duration::from_millis(900), "it had its grace period");
    world.pod("forced", json!({"containers": [sleeper("a")]})).await;
    world.ready("forced").await;
    world.pods().delete("forced", &DeleteParams::default().grace_period(0)).await.unwrap();
    for pid in std::fs::read_dir("/proc").unwrap().flatten() {
        for _ in 0..500 {
            let line = std::fs::read(pid.path().join("cmdline")).unwrap_or_default();
            if !String::from_utf8_lossy(&line).contains("sleep\x00100000") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let line = std::fs::read(pid.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains("sleep\x00100000"), "a process outlives its pod");
    }
}

async fn names_and_service_addresses(world: &World) {
    world
        .pod(
            "server",
            json!({"containers": [{"name": "a", "image": "nginx", "readinessProbe": {"tcpSocket": {"port": 80}}}]}),
        )
        .await;
    world.pod("client", json!({"containers": [sleeper("a")]})).await;
    let server = world.ready("server").await;
    world.ready("client").await;
    world.create(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "svc"}, "spec": {"ports": [{"port": 8000, "targetPort": 80}]}})).await;
    world.create(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bare"}, "spec": {"ports": [{"port": 80}]}})).await;
    world
        .create(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "svc-1", "labels": {"kubernetes.io/service-name": "svc"}}, "ports": [{"port": 80}],
            "endpoints": [{"addresses": [address(&server).to_string()], "conditions": {"ready": true}}]}))
        .await;
    let fetch = |pod: &'static str, url: &'static str| async move {
        world.exec(pod, "", &["curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url]).await
    };
    for _ in 0..300 {
        if fetch("client", "http://svc:8000/").await.1.starts_with(['2', '4']) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for name in ["svc", "svc.default", "svc.default.svc", "svc.default.svc.cluster.local"] {
        let (code, out, errors) = world
            .exec("client", "", &["curl", "-sS", "-m", "5", "-o", "/dev/null", &format!("http://{name}:8000/")])
            .await;
        assert_eq!(code, 0, "{name}: {out}{errors}");
    }
    assert_eq!(fetch("server", "http://svc:8000/").await.0, 0, "a pod reaches itself through its Service");
    assert!(world.logs("server", "", LogOptions::default()).await.contains("curl/"));
    let begun = Instant::now();
    assert_eq!(fetch("client", "http://bare/").await.0, 7, "no endpoint: refused");
    assert_eq!(fetch("client", "http://svc:1/").await.0, 7, "no such port: refused");
    assert_eq!(fetch("client", "http://nowhere.default.svc.cluster.local/").await.0, 6);
    assert!(begun.elapsed() < Duration::from_secs(4), "all at once");
    world.delete("server").await;
    world.delete("client").await;
}

async fn the_host_is_reached_and_nothing_of_it_seen(world: &World) {
    let listener = world.sandbox.host_listeners[0].try_clone().unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0u8; 4096];
        let _ = stream.read(&mut head).await.unwrap();
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nfrom the host").await.unwrap();
    });
    world.pod("out", json!({"containers": [sleeper("a")]})).await;
    world.ready("out").await;
    assert_eq!(world.shell("out", &format!("curl -sS -m 5 http://host.varka.internal:{port}/")).await, "from the host");
    server.await.unwrap();
    let (code, _, _) = world.exec("out", "", &["curl", "-sS", "-m", "5", "http://host.varka.internal:1/"]).await;
    assert_ne!(code, 0);
    assert_eq!(world.shell("out", "ls /etc/shadow /root/.ssh 2>/dev/null | wc -l").await, "0");
    assert_eq!(world.shell("out", "ls /proc/1/root/.host 2>/dev/null | wc -l").await, "0");
    world.delete("out").await;
}

async fn port_forward_reaches_loopback(world: &World) {
    world
        .pod("local", json!({"containers": [{"name": "a", "image": "nginx", "command": ["sh", "-c",
            "echo 'server { listen 127.0.0.1:9000; return 200 here; }' > /etc/nginx/conf.d/default.conf; exec nginx -g 'daemon off;'"],
            "readinessProbe": {"exec": {"command": ["curl", "-sf", "http://127.0.0.1:9000/"]}}}]}))
        .await;
    world.ready("local").await;
    let mut stream = world.kubelet.port_forward(NAMESPACE, "local", None, 9000).await.unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("here"));
    let error = world.kubelet.port_forward(NAMESPACE, "local", None, 9001).await.unwrap_err().to_string();
    assert!(error.contains("nothing accepts connections on port 9001"), "{error}");
    world.delete("local").await;
}

async fn identity_and_capabilities(world: &World) {
    let container = |name: &str, security: serde_json::Value| json!({"name": name, "image": "busybox", "command": ["sleep", "100000"], "securityContext": security});
    world
        .pod("who", json!({"containers": [
            container("plain", json!({})), container("user", json!({"runAsUser": 1337, "runAsGroup": 1337})),
            container("net", json!({"capabilities": {"add": ["NET_ADMIN"]}})), container("fixed", json!({"readOnlyRootFilesystem": true})),
            container("none", json!({"capabilities": {"drop": ["ALL"]}}))]}))
        .await;
    world.ready("who").await;
    let id = world.exec("who", "user", &["id", "-u"]).await.1;
    assert_eq!(id.trim(), "1337");
    let bits = |name: &'static str| async move {
        let text = world.exec("who", name, &["sh", "-c", "grep CapEff /proc/self/status | cut -f2"]).await.1;
        u64::from_str_radix(text.trim(), 16).unwrap()
    };
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_ADMIN: u64 = 1 << 21;
    assert_eq!(bits("plain").await & (NET_ADMIN | SYS_ADMIN), 0);
    assert_eq!(bits("net").await & (NET_ADMIN | SYS_ADMIN), NET_ADMIN);
    assert_eq!((bits("user").await, bits("none").await), (0, 0));
    assert_ne!(world.exec("who", "fixed", &["touch", "/x"]).await.0, 0);
    world.delete("who").await;
}

pub(crate) fn claim(name: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
}

fn staying() -> serde_json::Value {
    let script = "test -e /data/f || echo before > /data/f; cat /data/f; sleep 100000";
    json!({"containers": [{"name": "a", "image": "busybox", "command": ["sh", "-c", script],
            "readinessProbe": {"exec": {"command": ["test", "-s", "/data/f"]}}, "volumeMounts": [{"name": "d", "mountPath": "/data"}]}],
        "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}], "terminationGracePeriodSeconds": 1})
}

/// Runs a pod with data until somebody kills this process.
pub(crate) fn stay(state: &Path) -> ExitCode {
    world::with(state, Vec::new(), async |world| {
        world.create(claim("data")).await;
        world.pod("stay", staying()).await;
        world.ready("stay").await;
        println!("READY");
        std::future::pending::<()>().await;
    });
    ExitCode::FAILURE
}

/// After the kill: the pod comes back by itself with its data, and its new start is counted.
pub(crate) fn again(state: &Path) -> ExitCode {
    world::with(state, Vec::new(), async |world| {
        let pod = world.until("stay", "Ready again", |pod| is_ready(pod) && status(pod, "a").restart_count == 1).await;
        assert_eq!(
            status(&pod, "a").last_state.as_ref().unwrap().terminated.as_ref().unwrap().reason.as_deref(),
            Some("Unknown")
        );
        assert_eq!(world.shell("stay", "cat /data/f").await, "before");
    });
    ExitCode::SUCCESS
}
