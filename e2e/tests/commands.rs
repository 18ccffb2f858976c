//! The commands that people of the reference system use, verbatim, against the running blog system.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use varka_e2e::{System, skipped};

const HOST: &str = "https://blog.jiminhome.shop";

/// One system for all: the commands are meant to be used on one, one after the other.
#[test]
fn every_command_gives_its_outcome() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let system = System::blog()?;
    public_requests(&system).context("requests through the public host")?;
    configuration(&system).context("reading configuration")?;
    logs(&system).context("logs")?;
    certificates(&system).context("certificates")?;
    changes(&system).context("changes")?;
    Ok(())
}

fn public_requests(system: &System) -> Result<()> {
    let posts: serde_json::Value = serde_json::from_str(&system.sh(&format!("curl -sS {HOST}/api/posts"))?)?;
    let posts = posts.as_array().context("not an array")?;
    ensure!(posts.iter().all(|p| p["id"].is_number() && p["title"].is_string()) && !posts.is_empty(), "{posts:?}");
    let head = system.sh(&format!("curl -sSI {HOST}/api/posts"))?;
    ensure!(head.starts_with("HTTP/2 200"), "{head}");
    ensure!(
        head.contains("content-type: application/json") && head.contains("x-envoy-upstream-service-time: "),
        "{head}"
    );
    let page = system.sh(&format!("curl -sSi {HOST}/"))?;
    ensure!(page.starts_with("HTTP/2 200") && page.contains("<html"), "{page}");
    Ok(())
}

fn configuration(system: &System) -> Result<()> {
    let host = system.sh(r#"kubectl get cm -n blog-system web-nginx-config -o yaml | grep "proxy_set_header Host""#)?;
    ensure!(host.contains("proxy_set_header Host was-service;"), "{host}");
    let pass = system.sh(r#"kubectl get cm -n blog-system web-nginx-config -o yaml | grep "proxy_pass""#)?;
    ensure!(pass.contains("proxy_pass http://was-service.blog-system.svc.cluster.local:8080;"), "{pass}");
    let rules = system.sh("kubectl get destinationrule -n blog-system")?;
    ensure!(rules.lines().next().is_some_and(|l| l.split_whitespace().eq(["NAME", "HOST", "AGE"])), "{rules}");
    ensure!(
        rules.contains("was-dest-rule") && rules.contains("web-dest-rule") && rules.contains("was-service"),
        "{rules}"
    );
    let one = system.sh("kubectl get destinationrule -n blog-system was-dest-rule")?;
    ensure!(one.lines().count() == 2, "{one}");
    let yaml = system.sh("kubectl get destinationrule -n blog-system was-dest-rule -o yaml")?;
    for part in ["mode: ISTIO_MUTUAL", "connectionPool:", "simple: ROUND_ROBIN"] {
        ensure!(yaml.contains(part), "{part} is missing in:\n{yaml}");
    }
    let peers = system.sh("kubectl get peerauthentication -n blog-system")?;
    ensure!(peers.lines().next().is_some_and(|l| l.split_whitespace().eq(["NAME", "MODE", "AGE"])), "{peers}");
    let mode = system.sh(r#"kubectl get peerauthentication -n blog-system default -o yaml | grep "mode""#)?;
    ensure!(mode.contains("mode: PERMISSIVE"), "{mode}");
    Ok(())
}

fn logs(system: &System) -> Result<()> {
    let outbound =
        system.sh(r#"kubectl logs -n blog-system deploy/web -c istio-proxy --tail=100 | grep "outbound|8080""#)?;
    ensure!(outbound.contains(r#""GET /api/posts HTTP/1.1" 200 - via_upstream"#), "{outbound}");
    ensure!(outbound.contains("outbound|8080||was-service.blog-system.svc.cluster.local"), "{outbound}");
    system.sh("kubectl logs -n blog-system deploy/web -c istio-proxy --tail=50 | grep was-service")?;
    let passthrough = system.sh(r#"kubectl logs -n blog-system deploy/web -c istio-proxy --tail=100 | grep -E "(was-service|PassthroughCluster)""#)?;
    ensure!(!passthrough.contains("PassthroughCluster"), "{passthrough}");
    let inbound = system.sh("kubectl logs -n blog-system deploy/was -c istio-proxy --tail=100")?;
    ensure!(inbound.contains("inbound|8080||"), "{inbound}");
    let follow = system.sh(&format!(
        "(sleep 0.5; for i in 1 2 3; do curl -s {HOST}/api/posts >/dev/null; done) & \
         timeout 5 kubectl logs -n blog-system deploy/web -c istio-proxy --tail=0 -f | grep --line-buffered -m3 'outbound|8080'"
    ))?;
    ensure!(follow.lines().count() == 3, "{follow}");
    Ok(())
}

fn certificates(system: &System) -> Result<()> {
    let valid = system.sh(r#"kubectl exec -n blog-system deploy/was -c istio-proxy -- curl -s localhost:15000/certs | grep "Valid Until""#)?;
    let leaf = valid.split('"').find(|p| p.starts_with("20")).with_context(|| valid.clone())?;
    let seconds = system.sh(&format!("echo $(( $(date -d '{leaf}' +%s) - $(date +%s) ))"))?;
    let seconds: i64 = seconds.trim().parse()?;
    ensure!((1..=86_400 + 60).contains(&seconds), "the workload's certificate ends in {seconds} s: {valid}");
    let inside = system.sh(r#"kubectl exec -n blog-system deploy/web -- cat /etc/nginx/conf.d/default.conf | grep "proxy_set_header Host""#)?;
    ensure!(inside.contains("proxy_set_header Host was-service;"), "{inside}");
    Ok(())
}

fn changes(system: &System) -> Result<()> {
    let restart = system.sh("kubectl rollout restart deployment/web -n blog-system")?;
    ensure!(restart.trim() == "deployment.apps/web restarted", "{restart}");
    let status = system.sh("kubectl rollout status deployment/web -n blog-system --timeout=60s")?;
    ensure!(status.contains(r#"deployment "web" successfully rolled out"#), "{status}");
    let deleted = system.sh("kubectl delete pod -n blog-system -l app=web")?;
    ensure!(deleted.contains("deleted"), "{deleted}");
    system.until(
        &format!("curl -sS -o /dev/null -w '%{{http_code}}' {HOST}/api/posts"),
        Duration::from_secs(30),
        |t| t.ends_with("200"),
    )?;
    let patched = system.sh(
        r#"kubectl patch deployment mysql -n blog-system -p '{"spec":{"template":{"metadata":{"annotations":{"sidecar.istio.io/inject":"false"}}}}}'"#,
    )?;
    ensure!(patched.starts_with("deployment.apps/mysql patched"), "{patched}");
    Ok(())
}
