//! Why a request goes the way it goes, asked of the running system: a good one, one with a wrong Host header, one that a policy
//! denies, and one that STRICT refuses; each thought up (by the console and by `varka explain`) and as it was made (by its trace).

#![expect(clippy::indexing_slicing, reason = "what is missing in an answer fails the test")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use varka_e2e::{System, binary, skipped};

const HOST: &str = "https://blog.jiminhome.shop";
/// Under load it takes longer than what is told.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn every_way_that_a_request_can_go_is_explained() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let system = System::blog()?;
    good(&system).context("a good request")?;
    mesh(&system).context("proxies and certificates")?;
    denied(&system).context("a request that a policy denies")?;
    strict(&system).context("STRICT towards the ingress")?;
    wrong_host(&system).context("a wrong Host header")
}

fn console(system: &System) -> Result<String> {
    let address = system.sh("kubectl get pod -n istio-system -l app=console -o jsonpath='{.items[0].status.podIP}'")?;
    Ok(format!("http://{address}:20001"))
}

/// Prints what the console answers.
fn explain(system: &System, asked: &Value) -> Result<String> {
    let headers = "-H 'Content-Type: application/json' -H 'X-Requested-With: varka-console'";
    Ok(format!("curl -sS {headers} --data '{asked}' {}/console/api/explain", console(system)?))
}

fn thought(system: &System, from: (&str, &str), host: &str, port: u16, headers: &Value) -> Result<Value> {
    let to = json!({"host": host, "port": port, "method": "GET", "path": "/api/posts", "headers": headers});
    let asked = json!({"from": {"namespace": from.0, "workload": from.1}, "to": to});
    let text = system.sh(&explain(system, &asked)?)?;
    serde_json::from_str(&text).context(text)
}

/// What `varka explain` prints.
fn command(system: &System, more: &str) -> Result<String> {
    let varka = binary()?;
    system.sh(&format!("{} explain {more} || test $? = 1", varka.display()))
}

fn step<'e>(explanation: &'e Value, hop: usize, name: &str) -> &'e Value {
    let steps = explanation["hops"][hop]["steps"].as_array();
    steps.into_iter().flatten().rev().find(|step| step["step"] == name).unwrap_or(&Value::Null)
}

/// Makes requests until the newest trace of a service is explained as is expected.
fn traced(system: &System, service: &str, url: &str, expected: impl Fn(&Value) -> bool) -> Result<()> {
    let console = console(system)?;
    let newest = format!("curl -sS '{console}/api/traces?service={service}&limit=1'");
    let mut last = Value::Null;
    let request = format!("curl -sS -o /dev/null {url}; {newest}");
    let found = system.until(&request, LIMIT, |text| {
        let answer: Value = serde_json::from_str(text).unwrap_or_default();
        let Some(trace) = answer["data"][0]["traceID"].as_str() else { return false };
        let Ok(line) = explain(system, &json!({"traceId": trace})) else { return false };
        let Ok(text) = system.sh(&line) else { return false };
        let explained: Value = serde_json::from_str(&text).unwrap_or_default();
        expected(&explained)
    });
    if found.is_err()
        && let Ok(answer) = system.sh(&newest)
    {
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let asked = json!({"traceId": answer["data"][0]["traceID"]});
        last = serde_json::from_str(&system.sh(&explain(system, &asked)?)?).unwrap_or_default();
    }
    found.map(drop).with_context(|| format!("the newest trace is explained so: {last:#}"))
}

fn good(system: &System) -> Result<()> {
    let told = thought(system, ("blog-system", "web"), "was-service", 0, &json!({}))?;
    ensure!(told["outcome"] == "ok", "{told:#}");
    ensure!(told["request"]["host"] == "was-service:8080", "{told:#}");
    ensure!(step(&told, 0, "tls")["chosen"] == "mutual TLS of the mesh", "{told:#}");
    let cluster = step(&told, 0, "cluster");
    ensure!(cluster["by"]["kind"] == "DestinationRule" && cluster["by"]["line"].as_u64() > Some(1), "{cluster:#}");
    let printed = command(system, "--from deploy/web.blog-system GET http://was-service:8080/api/posts")?;
    ensure!(printed.contains("web.blog-system outbound") && printed.contains("ok: It reaches was-"), "{printed}");
    let as_decided = |told: &Value| {
        let hops = told["hops"].as_array().map_or(0, Vec::len);
        let steps = told["hops"].as_array().into_iter().flatten().filter_map(|hop| hop["steps"].as_array()).flatten();
        let recorded: Vec<&Value> = steps.filter(|step| step["step"] == "recorded").collect();
        told["outcome"] == "ok" && hops >= 4 && recorded.len() >= 4 && recorded.iter().all(|step| step["ok"] == true)
    };
    traced(system, "web.blog-system", &format!("{HOST}/api/posts"), as_decided)
}

/// What is wrong is there by the time that the proxies know it.
fn applied(system: &System, file: &str) -> Result<()> {
    system.sh(&format!("kubectl apply --server-side --force-conflicts -f blog-system/{file}")).map(drop)
}

fn until_thought(
    system: &System,
    from: (&str, &str),
    (host, port): (&str, u16),
    headers: &Value,
    expected: impl Fn(&Value) -> bool,
) -> Result<()> {
    let to = json!({"host": host, "port": port, "method": "GET", "path": "/api/posts", "headers": headers});
    let asked = json!({"from": {"namespace": from.0, "workload": from.1}, "to": to});
    let line = explain(system, &asked)?;
    system.until(&line, LIMIT, |text| expected(&serde_json::from_str(text).unwrap_or_default())).map(drop)
}

fn denied(system: &System) -> Result<()> {
    applied(system, "authz-was.yaml")?;
    let by_policy = |told: &Value| {
        let denied = step(told, 1, "authorization");
        told["outcome"] == "denied"
            && denied["by"]["name"] == "was-authz"
            && denied["by"]["line"].as_u64() > Some(1)
            && denied["rejected"][0]["why"].as_str().is_some_and(|why| why.contains("sa/web"))
    };
    until_thought(system, ("blog-system", "web"), ("was-service", 8080), &json!({}), by_policy)?;
    let printed = command(system, "--from deploy/web.blog-system GET http://was-service:8080/api/posts")?;
    ensure!(
        printed.contains("denied: was answers 403") && printed.contains("by AuthorizationPolicy blog-system/was-authz"),
        "{printed}"
    );
    let recorded = |told: &Value| {
        let steps = told["hops"].as_array().into_iter().flatten().filter_map(|hop| hop["steps"].as_array()).flatten();
        let denied =
            |step: &Value| step["step"] == "recorded" && step["chosen"].as_str().is_some_and(|c| c.contains("rbac_"));
        told["outcome"] == "denied"
            && told["verdict"].as_str().is_some_and(|v| v.contains("was-authz"))
            && steps.clone().any(denied)
    };
    traced(system, "web.blog-system", &format!("{HOST}/api/posts"), recorded)?;
    system.sh("kubectl delete authorizationpolicy was-authz -n blog-system").map(drop)
}

fn strict(system: &System) -> Result<()> {
    applied(system, "mtls-strict.yaml")?;
    let ingress = ("ingress-nginx", "ingress-nginx-controller");
    let refused = |told: &Value| {
        told["outcome"] == "failed"
            && told["verdict"]
                .as_str()
                .is_some_and(|v| v.contains("502") && v.contains("PeerAuthentication blog-system/default"))
            && step(told, 1, "peerAuthentication")["by"]["name"] == "default"
    };
    until_thought(system, ingress, ("blog.jiminhome.shop", 443), &json!({}), refused)?;
    let printed =
        command(system, "--from deploy/ingress-nginx-controller.ingress-nginx GET https://blog.jiminhome.shop/")?;
    ensure!(printed.contains("failed: web takes mutual TLS only on port 80"), "{printed}");
    let recorded = |told: &Value| {
        let own = step(told, 0, "recorded");
        refused(told) && own["chosen"].as_str().is_some_and(|c| c.starts_with("502")) && own["ok"] == true
    };
    traced(system, "ingress-nginx.ingress-nginx", &format!("{HOST}/"), recorded)?;
    applied(system, "mtls-peerauthentication.yaml")?;
    until_thought(system, ingress, ("blog.jiminhome.shop", 443), &json!({}), |told| told["outcome"] == "ok")
}

fn wrong_host(system: &System) -> Result<()> {
    let host = json!({"Host": "blog.jiminhome.shop"});
    let passed = |told: &Value| {
        let mend = "proxy_set_header Host was-service.blog-system.svc.cluster.local;";
        told["outcome"] == "passthrough"
            && step(told, 0, "passthrough")["because"].as_str().is_some_and(|why| why.contains(mend))
    };
    let told = thought(system, ("blog-system", "web"), "was-service", 8080, &host)?;
    ensure!(passed(&told), "{told:#}");
    let printed =
        command(system, "--from deploy/web.blog-system GET http://was-service:8080/ -H 'Host: blog.jiminhome.shop'")?;
    ensure!(printed.contains("passthrough: ") && printed.contains("proxy_set_header Host was-service"), "{printed}");
    applied(system, "nginx-wrong-host.yaml")?;
    system.sh("kubectl rollout restart deployment/web -n blog-system && kubectl rollout status deployment/web -n blog-system --timeout=60s")?;
    let recorded = |told: &Value| {
        let steps = told["hops"].as_array().into_iter().flatten().filter_map(|hop| hop["steps"].as_array()).flatten();
        let passed = |step: &Value| {
            step["step"] == "passthrough" && step["because"].as_str().is_some_and(|w| w.contains("was-service"))
        };
        told["outcome"] == "passthrough" && steps.clone().any(passed)
    };
    traced(system, "web.blog-system", &format!("{HOST}/api/posts"), recorded)
}

/// Every proxy holds the newest configuration, with a version, memory and a certificate that ends.
fn mesh(system: &System) -> Result<()> {
    let known = |mesh: &Value| {
        let proxies = mesh["proxies"].as_array().cloned().unwrap_or_default();
        let of =
            |workload: &str| proxies.iter().find(|proxy| proxy["workload"] == workload).cloned().unwrap_or_default();
        let whole = |proxy: &Value| {
            proxy["sync"] == "synced"
                && proxy["version"].as_str().is_some_and(|version| !version.is_empty())
                && proxy["memory"].as_f64() > Some(1e6)
                && proxy["certificateExpires"].as_i64() > Some(1_700_000_000)
        };
        let certificates = mesh["certificates"].as_array().cloned().unwrap_or_default();
        let role =
            |role: &str| certificates.iter().any(|c| c["role"] == role && c["notAfter"].as_i64() > Some(1_700_000_000));
        let plane = &mesh["controlPlane"][0];
        whole(&of("web"))
            && whole(&of("was"))
            && role("ca")
            && role("workload")
            && role("ingress")
            && plane["convergence"].as_f64() > Some(0.0)
            && plane["memory"].as_f64() > Some(1e6)
    };
    let line = format!("curl -sS {}/console/api/mesh", console(system)?);
    system.until(&line, LIMIT, |text| known(&serde_json::from_str(text).unwrap_or_default())).map(drop)
}
