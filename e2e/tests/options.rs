//! The next steps of the reference system on the running one: circuit breaking, policies, STRICT, canary, mirroring and tracing, as it writes
//! them and as they must be written, each with its effect.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use varka_e2e::{System, skipped};

const HOST: &str = "https://blog.jiminhome.shop";
const LIMIT: Duration = Duration::from_secs(20);

/// One system for all: the options are meant to be taken one after the other.
#[test]
fn every_option_has_its_effect() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let system = System::blog()?;
    circuit_breaking(&system).context("option 1, circuit breaking")?;
    authorization(&system).context("option 2, authorization")?;
    strict(&system).context("option 3, STRICT with exceptions")?;
    trace_headers(&system).context("option 6, trace headers")?;
    ingress_into_the_mesh(&system).context("taking the ingress into the mesh")?;
    canary(&system).context("option 4, canary")?;
    mirror(&system).context("option 5, mirroring")?;
    Ok(())
}

/// The status that the public host answers with.
fn status(path: &str) -> String {
    format!("curl -sS -o /dev/null -w '%{{http_code}}' {HOST}{path}")
}

fn until_status(system: &System, path: &str, code: &str) -> Result<()> {
    system.until(&status(path), LIMIT, |t| t.ends_with(code)).map(drop)
}

/// A request from a pod of its own in namespace default, which has no sidecar.
fn stranger(system: &System) -> Result<String> {
    system.sh("kubectl run -it --rm debug --image=curlimages/curl --restart=Never -- \
         curl -sS -m 5 http://was-service.blog-system.svc.cluster.local:8080/api/posts")
}

fn circuit_breaking(system: &System) -> Result<()> {
    let applied = system.sh("kubectl apply -f blog-system/web-destinationrule.yaml")?;
    ensure!(applied.trim() == "destinationrule.networking.istio.io/web-dest-rule configured", "{applied}");
    // Its subsets have no labels: nobody is told apart by them, and that is said where people look.
    system.until("kubectl get events -n blog-system -o jsonpath='{.items[*].message}'", LIMIT, |t| {
        t.contains("subset `canary` has no labels")
    })?;
    // A sidecar has a cluster once its workload has used it.
    system.sh("kubectl exec -n blog-system deploy/was -c was -- curl -sS -m 5 http://web-service/")?;
    let clusters = "kubectl exec -n blog-system deploy/was -c istio-proxy -- curl -s localhost:15000/clusters";
    system.until(clusters, LIMIT, |t| {
        t.contains("outbound|80||web-service.blog-system.svc.cluster.local::default_priority::max_connections::100")
            && t.contains(
                "outbound|80||web-service.blog-system.svc.cluster.local::default_priority::max_pending_requests::100",
            )
    })?;
    until_status(system, "/", "200")
}

fn authorization(system: &System) -> Result<()> {
    let before = stranger(system)?;
    ensure!(before.contains("\"title\""), "before any policy: {before}");
    // As the reference writes it: `default` is nobody's account here, so that web is refused as well.
    let created = system.sh("kubectl apply -f blog-system/authz-was.yaml")?;
    ensure!(created.trim() == "authorizationpolicy.security.istio.io/was-authz created", "{created}");
    let listed = system.sh("kubectl get authorizationpolicy -n blog-system")?;
    ensure!(listed.lines().next().is_some_and(|l| l.split_whitespace().eq(["NAME", "ACTION", "AGE"])), "{listed}");
    ensure!(listed.lines().any(|l| l.split_whitespace().take(2).eq(["was-authz", "ALLOW"])), "{listed}");
    until_status(system, "/api/posts", "403")?;
    let denied = stranger(system)?;
    ensure!(denied.contains("RBAC: access denied") && denied.contains("pod \"debug\" deleted"), "{denied}");
    let log = system.sh("kubectl logs -n blog-system deploy/was -c istio-proxy --tail=20")?;
    ensure!(log.contains("403 - rbac_access_denied_matched_policy[none]"), "{log}");
    // Mended: web may call, and nobody else.
    system.sh("kubectl apply -f blog-system/authz-was-corrected.yaml")?;
    until_status(system, "/api/posts", "200")?;
    let denied = stranger(system)?;
    ensure!(denied.contains("RBAC: access denied"), "{denied}");
    // For web: by namespace it locks the ingress out, which comes in plain text and so without an identity.
    system.sh("kubectl apply -f blog-system/authz-web.yaml")?;
    until_status(system, "/", "403")?;
    system.sh("kubectl apply -f blog-system/authz-web-corrected.yaml")?;
    until_status(system, "/", "200")?;
    let from_was = "kubectl exec -n blog-system deploy/was -c was -- curl -sS -m 5 http://web-service/";
    let denied = system.sh(from_was)?;
    ensure!(denied == "RBAC: access denied", "was calls web: {denied}");
    system.sh("kubectl delete authorizationpolicy -n blog-system web-authz was-authz")?;
    system.until(from_was, LIMIT, |t| t.contains("<html")).map(drop)
}

fn strict(system: &System) -> Result<()> {
    let refused = system.shell("kubectl apply -f blog-system/mtls-strict-as-written.yaml")?;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && why.contains("portLevelMtls requires a selector"), "{why}");
    ensure!(why.contains("portLevelMtls: {80: {mode: PERMISSIVE}}"), "it says the corrected form: {why}");
    system.sh("kubectl apply --server-side --force-conflicts -f blog-system/mtls-strict.yaml")?;
    until_status(system, "/", "502")?;
    system.sh("kubectl apply --server-side --force-conflicts -f blog-system/mtls-strict-with-exceptions.yaml")?;
    until_status(system, "/api/posts", "200")?;
    let mode = system.sh(r#"kubectl get peerauthentication -n blog-system default -o yaml | grep "mode""#)?;
    ensure!(mode.contains("mode: STRICT"), "{mode}");
    let refused = stranger(system).err().map(|e| format!("{e:#}")).unwrap_or_default();
    ensure!(refused.contains("Connection reset by peer"), "plain text under STRICT: {refused}");
    system.sh("kubectl delete peerauthentication -n blog-system web-ingress-port")?;
    system.sh("kubectl apply --server-side --force-conflicts -f blog-system/mtls-peerauthentication.yaml")?;
    until_status(system, "/", "200")
}

/// A trace that the client began reaches the application through nginx and two sidecars.
fn trace_headers(system: &System) -> Result<()> {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let seen = system.sh(&format!("curl -sSf -H 'traceparent: 00-{trace}-00f067aa0ba902b7-01' {HOST}/api/whoami"))?;
    ensure!(seen.contains(trace), "{seen}");
    Ok(())
}

fn ingress_into_the_mesh(system: &System) -> Result<()> {
    system.sh(r#"kubectl patch deployment -n ingress-nginx ingress-nginx-controller --type merge \
           -p '{"spec":{"template":{"metadata":{"labels":{"sidecar.istio.io/inject":"true"}}}}}'"#)?;
    system.sh("kubectl rollout status -n ingress-nginx deployment/ingress-nginx-controller --timeout=60s")?;
    until_status(system, "/", "200")?;
    // Now it has an identity, and a policy can name its namespace.
    system.sh("kubectl apply -f blog-system/authz-web-ingress-in-mesh.yaml")?;
    let from_was = "kubectl exec -n blog-system deploy/was -c was -- curl -sS -m 5 http://web-service/";
    system.until(from_was, LIMIT, |t| t.contains("RBAC: access denied"))?;
    until_status(system, "/", "200")?;
    system.sh("kubectl delete authorizationpolicy -n blog-system web-authz").map(drop)
}

fn canary(system: &System) -> Result<()> {
    system.sh("kubectl apply -f blog-system/web-canary.yaml")?;
    system.sh("kubectl rollout status -n blog-system deployment/web-canary --timeout=60s")?;
    system.sh(r#"kubectl patch destinationrule web-dest-rule -n blog-system --type merge -p '{"spec":{"subsets":[
           {"name":"stable","labels":{"version":"stable"}},{"name":"canary","labels":{"version":"canary"}}]}}'"#)?;
    system.sh("kubectl apply -f blog-system/web-virtualservice.yaml")?;
    let listed = system.sh("kubectl get virtualservice -n blog-system")?;
    ensure!(
        listed.lines().next().is_some_and(|l| l.split_whitespace().eq(["NAME", "GATEWAYS", "HOSTS", "AGE"])),
        "{listed}"
    );
    ensure!(listed.contains("web-vsvc"), "{listed}");
    let version = "grep -ci '^x-blog-version: canary' || true";
    let canary = format!("curl -sSi -H 'x-canary-test: true' {HOST}/ | tee /dev/stderr | {version}");
    system.until(&canary, LIMIT, |t| t.lines().next() == Some("1"))?;
    for _ in 0..10 {
        let with = system.sh(&format!("curl -sSi -H 'x-canary-test: true' {HOST}/"))?;
        ensure!(with.starts_with("HTTP/2 200") && with.contains("x-blog-version: canary"), "{with}");
        let without = system.sh(&format!("curl -sSi {HOST}/"))?;
        ensure!(without.starts_with("HTTP/2 200") && !without.contains("x-blog-version"), "{without}");
    }
    Ok(())
}

fn mirror(system: &System) -> Result<()> {
    system.sh("kubectl apply -f blog-system/web-mirror.yaml")?;
    let sent = format!("{HOST}/board?mirrored=yes");
    let log = "kubectl logs -n blog-system deploy/web-canary -c istio-proxy --tail=50 | grep -c 'mirrored=yes' || true";
    system.until(&format!("curl -sSi '{sent}' | grep -ci 'x-blog-version' >&2; {log}"), LIMIT, |t| {
        t.lines().next().is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n > 0))
    })?;
    for _ in 0..10 {
        let answer = system.sh(&format!("curl -sSi '{sent}'"))?;
        ensure!(answer.starts_with("HTTP/2 200") && !answer.contains("x-blog-version"), "{answer}");
    }
    Ok(())
}
