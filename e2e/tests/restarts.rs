//! Traffic goes on while pods are replaced and configuration changes; what is killed comes back.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use varka_e2e::{System, repository, skipped};

const HOST: &str = "https://blog.jiminhome.shop";

/// 10,000 requests at 64 streams; none fails while web and was are restarted and every sidecar is reconfigured 50 times.
#[test]
fn no_request_fails_during_restarts_and_changes() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let system = System::blog()?;
    let load = format!("h2load -n 10000 -c 8 -m 8 {HOST}/api/posts");
    let out = system.sh(&format!(
        "{load} > \"$TMPDIR\"/h2load.$$ 2>&1 & load=$!; \
         kubectl rollout restart deployment/web deployment/was -n blog-system >&2; \
         for i in $(seq 50); do kubectl label --overwrite -n blog-system peerauthentication/default turn=$i >&2; \
           kubectl patch destinationrule was-dest-rule -n blog-system --type merge -p '{{\"spec\":{{\"trafficPolicy\":{{\"connectionPool\":{{\"http\":{{\"maxRequestsPerConnection\":'$((10 + i))'}}}}}}}}}}' >&2; done; \
         wait $load; cat \"$TMPDIR\"/h2load.$$; rm -f \"$TMPDIR\"/h2load.$$; \
         kubectl rollout status deployment/web -n blog-system --timeout=60s >&2; kubectl rollout status deployment/was -n blog-system --timeout=60s >&2"
    ).replace("\"$TMPDIR\"", "/tmp"))?;
    let requests = out.lines().find(|l| l.starts_with("requests:")).context(out.clone())?;
    ensure!(requests.contains("10000 succeeded, 0 failed, 0 errored, 0 timeout"), "{out}");
    let codes = out.lines().find(|l| l.starts_with("status codes:")).context(out.clone())?;
    ensure!(codes.contains("10000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{out}");
    Ok(())
}

/// kill -9 of each part, one after the other; then of everything, and a new start with the old state.
#[test]
fn what_is_killed_comes_back() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let system = System::blog()?;
    let get = format!("curl -sS -o /dev/null -w '%{{http_code}}' {HOST}/api/posts");
    let created = system.sh(&format!(
        "curl -sS -X POST {HOST}/api/posts -H 'content-type: application/json' -d '{{\"title\":\"kept\",\"content\":\"through every kill\",\"author\":\"test\"}}'"
    ))?;
    let id = serde_json::from_str::<serde_json::Value>(&created).with_context(|| created.clone())?["id"].clone();

    for (label, container) in [("app=web", "istio-proxy"), ("app=was", "was"), ("app=istiod", "discovery")] {
        kill_container(&system, label, container)?;
        system
            .until(&get, Duration::from_secs(40), |t| t.ends_with("200"))
            .with_context(|| format!("after kill -9 of {container} of {label}"))?;
        system
            .until_ready(Duration::from_secs(60))
            .with_context(|| format!("after kill -9 of {container} of {label}"))?;
    }

    let pid = system.pid()?;
    let state = system.state_dir();
    Command::new("kill").args(["-9", &pid.to_string()]).status()?;
    nothing_is_left(&state)?;
    system.start(&repository().join("examples/blog-system"))?;
    let again = system.sh(&format!("curl -sS {HOST}/api/posts/{id}"))?;
    ensure!(again.contains("through every kill"), "{again}");
    Ok(())
}

/// After `varka down` no process, mount, namespace or interface of it is there.
#[test]
fn nothing_is_left_after_down() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let links =
        || -> Result<String> { Ok(String::from_utf8(Command::new("ip").args(["-o", "link"]).output()?.stdout)?) };
    let (before, tables) = (links()?, nft_tables()?);
    let system = System::blog()?;
    system.down()?;
    nothing_is_left(&system.state_dir())?;
    ensure!(before == links()?, "interfaces are left: {}", links()?);
    ensure!(tables == nft_tables()?, "nftables are left: {}", nft_tables()?);
    Ok(())
}

fn nft_tables() -> Result<String> {
    Ok(String::from_utf8(Command::new("nft").args(["list", "tables"]).output()?.stdout)?)
}

fn kill_container(system: &System, label: &str, container: &str) -> Result<()> {
    let pod = system.sh(&format!("kubectl get pod -A -l {label} -o jsonpath='{{.items[0].metadata.name}}'"))?;
    let namespace =
        system.sh(&format!("kubectl get pod -A -l {label} -o jsonpath='{{.items[0].metadata.namespace}}'"))?;
    let restarts = format!(
        "kubectl get pod -n {namespace} {pod} -o jsonpath='{{.status.initContainerStatuses[?(@.name==\"{container}\")].restartCount}}{{.status.containerStatuses[?(@.name==\"{container}\")].restartCount}}'"
    );
    let before = system.sh(&restarts)?;
    system.shell(&format!(
        "kubectl exec -n {namespace} {pod} -c {container} -- sh -c 'kill -9 -1 2>/dev/null; kill -9 1'"
    ))?;
    let pids = system.processes(&format!("POD_NAME={pod}"))?;
    if system.sh(&restarts)? == before {
        for pid in pids {
            let name = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let wanted = match container {
                "istio-proxy" => name.contains("proxy\0sidecar"),
                "discovery" => name.contains("control-plane"),
                _ => name.contains(container),
            };
            if wanted {
                Command::new("kill").args(["-9", &pid.to_string()]).status()?;
            }
        }
    }
    system.until(&restarts, Duration::from_secs(30), |t| t != before).map(drop)
}

/// Waits until no process refers to the state directory and no mount lies in it.
fn nothing_is_left(state: &Path) -> Result<()> {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let needle = state.display().to_string();
    loop {
        let left: Vec<_> = std::fs::read_dir("/proc")?
            .filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| *pid != std::process::id())
            .filter(|pid| {
                let read = |f: &str| std::fs::read(format!("/proc/{pid}/{f}")).unwrap_or_default();
                let text = [read("cmdline"), read("mountinfo")].concat();
                String::from_utf8_lossy(&text).contains(&needle)
            })
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(std::time::Instant::now() < deadline, "these processes are left, or their mounts: {left:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
