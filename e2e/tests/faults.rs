//! The faults that the reference system had to overcome, reproduced on it: a wrong Host header, and STRICT in front of a client outside the mesh.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use varka_e2e::{System, skipped};

const HOST: &str = "https://blog.jiminhome.shop";

#[test]
fn wrong_host_passes_through_and_strict_refuses_the_ingress() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let system = System::blog()?;
    wrong_host(&system).context("the wrong Host header")?;
    strict(&system).context("STRICT without exception")?;
    Ok(())
}

fn wrong_host(system: &System) -> Result<()> {
    system.sh("kubectl apply --server-side --force-conflicts -f blog-system/nginx-wrong-host.yaml && kubectl rollout restart deployment/web -n blog-system && \
        kubectl rollout status deployment/web -n blog-system --timeout=60s")?;
    let code = system.sh(&format!("curl -sS -o /dev/null -w '%{{http_code}}' {HOST}/api/posts"))?;
    ensure!(code == "200", "the wrong Host header answers {code}");
    // The ingress may know the pod before for a moment longer: what is asked for until then is not in this log.
    let log = format!(
        "curl -sS -o /dev/null {HOST}/api/posts; kubectl logs -n blog-system deploy/web -c istio-proxy --tail=100"
    );
    system.until(&log, Duration::from_secs(5), |t| t.contains("PassthroughCluster") && t.contains("allow_any"))?;
    system.sh("kubectl apply --server-side --force-conflicts --field-manager=varka-up -f blog-system/web-nginx-config.yaml && \
        kubectl rollout restart deployment/web -n blog-system && kubectl rollout status deployment/web -n blog-system --timeout=60s")?;
    let code = system.sh(&format!("curl -sS -o /dev/null -w '%{{http_code}}' {HOST}/api/posts"))?;
    ensure!(code == "200", "the right Host header answers {code}");
    let ours = "outbound|8080||was-service.blog-system.svc.cluster.local";
    system.until(&log, Duration::from_secs(5), |t| t.contains(ours))?;
    let log = system.sh(&log)?;
    ensure!(log.contains(ours) && !log.contains("PassthroughCluster"), "{log}");
    Ok(())
}

fn strict(system: &System) -> Result<()> {
    let request = format!("curl -sS -o /dev/null -w '%{{http_code}}' {HOST}/");
    ensure!(system.sh(&request)? == "200");
    system.sh("kubectl apply --server-side --force-conflicts -f blog-system/mtls-strict.yaml")?;
    let refused = system.until(&request, Duration::from_secs(5), |t| t.ends_with("502"))?;
    // Pods of the rollout before may still be going away; those that stay are Ready all the while.
    let ready = "kubectl get pods -n blog-system -o jsonpath='{range .items[*]}{.metadata.deletionTimestamp}{.status.conditions[?(@.type==\"Ready\")].status} {end}'";
    let states = system.sh(ready)?;
    ensure!(
        states.split_whitespace().filter(|s| !s.starts_with("20")).all(|s| s == "True"),
        "under STRICT every pod stays Ready: {states}"
    );
    system.until(ready, Duration::from_secs(40), |t| !t.contains("20"))?;
    let pods = "kubectl get pods -n blog-system -o jsonpath='{.items[*].metadata.uid}'";
    let before = system.sh(pods)?;
    system.sh("kubectl apply --server-side --force-conflicts -f blog-system/mtls-peerauthentication.yaml")?;
    let mended = system.until(&request, Duration::from_secs(5), |t| t.ends_with("200"))?;
    ensure!(before == system.sh(pods)?, "a pod was restarted");
    eprintln!("STRICT refused after {refused:?}, PERMISSIVE mended after {mended:?}");
    Ok(())
}
