//! The console of the running system: the picture that it was made for, in numbers, in traces, and in a real browser.

#![expect(clippy::indexing_slicing, reason = "what is missing in an answer fails the test")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use varka_e2e::{System, repository, skipped};

const HOST: &str = "https://blog.jiminhome.shop";
const REQUESTS: usize = 50;
/// Under load it takes longer than what is told.
const LIMIT: Duration = Duration::from_secs(30);

/// A line that prints an answer of the console.
fn ask(system: &System, path: &str) -> Result<String> {
    let address = system.sh("kubectl get pod -n istio-system -l app=console -o jsonpath='{.items[0].status.podIP}'")?;
    Ok(format!("curl -sSf 'http://{address}:20001{path}'"))
}

/// Edges as `SOURCE -> TARGET PROTOCOL`, how many requests they had (of TCP: bytes a second), and the share over mTLS.
fn edges(text: &str) -> Result<Vec<(String, f64, Option<f64>)>> {
    let graph: Value = serde_json::from_str(text).with_context(|| text.to_owned())?;
    let name = |place: &Value| {
        let node = place.as_u64().and_then(|place| graph["nodes"].get(usize::try_from(place).ok()?));
        let text = |field: &str| node.and_then(|n| n[field].as_str()).unwrap_or_default().to_owned();
        match text("kind").as_str() {
            "service" => text("service"),
            "unknown" => "unknown".to_owned(),
            _ => text("app"),
        }
    };
    let all = graph["edges"].as_array().context("no edges")?;
    Ok(all
        .iter()
        .map(|edge| {
            let (source, target) = (name(&edge["source"]), name(&edge["target"]));
            let requests = edge["health"]["verdict"]["reason"]["all"].as_f64();
            let total = requests.or(edge["rates"]["total"].as_f64()).unwrap_or(0.0);
            let title = format!("{source} -> {target} {}", edge["protocol"].as_str().unwrap_or_default());
            (title, total, edge["security"]["mtls"].as_f64())
        })
        .collect())
}

#[test]
fn the_picture_is_there_from_the_first_request() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let system = System::blog()?;
    system.sh("for i in {1..50}; do curl -s https://blog.jiminhome.shop/api/posts > /dev/null; done")?;
    numbers(&system).context("the graph")?;
    traces(&system).context("traces")?;
    past(&system).context("the past")?;
    browser(&system).context("the browser")?;
    addresses(&system).context("where people look")?;
    wrong_host(&system).context("the wrong Host header")?;
    refused(&system).context("a policy that refuses the wrong one")?;
    strict(&system).context("STRICT without exception")
}

/// Each request counts once, on every edge of its way.
fn numbers(system: &System) -> Result<()> {
    let graph = ask(system, "/console/api/graph?graphType=versionedApp&injectServiceNodes=true&duration=600")?;
    let expected = [
        ("ingress-nginx -> web-service http", None),
        ("web-service -> web http", None),
        ("web -> was-service http", Some(1.0)),
        ("was-service -> was http", Some(1.0)),
    ];
    let requests = |count: f64| (count - REQUESTS as f64).abs() < 0.01;
    let complete = |text: &str| {
        let Ok(found) = edges(text) else { return false };
        expected.iter().all(|(title, _)| found.iter().any(|(t, count, _)| t == title && requests(*count)))
            && found.iter().any(|(title, bytes, _)| title == "mysql -> mysql tcp" && *bytes > 0.0)
    };
    let took = system.until(&graph, LIMIT, complete)?;
    eprintln!("{REQUESTS} requests are in the graph {took:?} after the last one");
    let found = edges(&system.sh(&graph)?)?;
    for (title, mtls) in expected {
        let all: Vec<_> = found.iter().filter(|(t, ..)| t == title).collect();
        let [(_, _, secured)] = all.as_slice() else { anyhow::bail!("{title}: {found:?}") };
        ensure!(secured.filter(|share| *share > 0.0) == mtls, "{title}: {secured:?}");
    }
    ensure!(!found.iter().any(|(title, ..)| title.contains("unknown")), "somebody is not known: {found:?}");

    let kiali = ask(system, "/kiali/api/namespaces/graph?namespaces=blog-system&graphType=workload&duration=600s")?;
    let kiali: Value = serde_json::from_str(&system.sh(&kiali)?)?;
    ensure!(kiali["elements"]["edges"].as_array().is_some_and(|edges| edges.len() >= 3), "{kiali}");
    let sum = ask(
        system,
        "/api/v1/query?query=sum(istio_requests_total%7Breporter%3D%22source%22,destination_workload%3D%22was%22%7D)",
    )?;
    let sum: Value = serde_json::from_str(&system.sh(&sum)?)?;
    ensure!(sum["data"]["result"][0]["value"][1].as_str() == Some(&*REQUESTS.to_string()), "{sum}");
    Ok(())
}

/// A request's trace goes from the ingress to the statement that it made.
fn traces(system: &System) -> Result<()> {
    let traces = ask(system, "/api/traces?service=was.blog-system&limit=100")?;
    let whole = |trace: &Value| {
        let services = trace["processes"].as_object().map_or(0, serde_json::Map::len);
        let spans = trace["spans"].as_array().into_iter().flatten();
        let statement = |span: &Value| {
            let tags = span["tags"].as_array().into_iter().flatten();
            let mut said = tags.filter(|t| t["key"] == "db.query.text");
            said.any(|t| t["value"].as_str().is_some_and(|v| v.contains("FROM posts")))
        };
        services == 3 && spans.clone().count() >= 5 && spans.into_iter().any(statement)
    };
    system.until(&traces, LIMIT, |text| {
        let answer: Value = serde_json::from_str(text).unwrap_or_default();
        answer["data"].as_array().is_some_and(|all| all.iter().any(whole))
    })?;
    Ok(())
}

/// What an object said before is kept, with who changed it.
fn past(system: &System) -> Result<()> {
    system.sh("kubectl annotate -n blog-system destinationrule web-dest-rule test/changed=yes")?;
    let object = ask(system, "/console/api/config/blog-system/DestinationRule/web-dest-rule")?;
    system.until(&object, LIMIT, |text| {
        let object: Value = serde_json::from_str(text).unwrap_or_default();
        let newest = &object["history"][0];
        newest["by"] == "kubectl-annotate" && newest["summary"].as_str().is_some_and(|s| s.contains("test/changed"))
    })?;
    Ok(())
}

/// Pages are drawn without an error, and ask nobody else.
fn browser(system: &System) -> Result<()> {
    let address = system.sh("kubectl get pod -n istio-system -l app=console -o jsonpath='{.items[0].status.podIP}'")?;
    let (repository, screenshots) = (repository(), repository().join("target/screenshots"));
    let line = format!(
        "node {0}/e2e/browser/console.mjs http://{address}:20001 {0}/crates/console/ui/node_modules/playwright-core/index.mjs {1}",
        repository.display(),
        screenshots.display()
    );
    let text = system.sh(&line)?;
    let seen: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    ensure!(seen["problems"] == Value::Array(Vec::new()), "{}", seen["problems"]);
    ensure!(seen["hosts"] == serde_json::json!([format!("{address}:20001")]), "{}", seen["hosts"]);
    let edge = |source: &str, target: &str| {
        let edges = seen["graph"]["edges"].as_array();
        let ends = |end: &Value, name: &str| end.as_str().is_some_and(|key| key.ends_with(&format!("_{name}")));
        let mut found =
            edges.into_iter().flatten().filter(|e| ends(&e["source"], source) && ends(&e["target"], target));
        found.next().map(|edge| (edge["tone"].clone(), edge["mtls"].as_f64().unwrap_or(0.0) > 0.0))
    };
    for (source, target, tone, secured) in [
        ("ingress-nginx-controller", "web-service", "plain", false),
        ("web-service", "web", "plain", false),
        ("web", "was-service", "mtls", true),
        ("was-service", "was", "mtls", true),
        ("was", "mysql", "plain", false),
    ] {
        let found = edge(source, target);
        ensure!(found == Some((tone.into(), secured)), "{source} -> {target}: {found:?} of {}", seen["graph"]["edges"]);
    }
    Ok(())
}

/// What a person sees who looks for a fault: the edge in its tone, and what the panel says of it.
fn seen(system: &System, name: &str, source: &str, target: &str, tone: &str) -> Result<String> {
    let address = system.sh("kubectl get pod -n istio-system -l app=console -o jsonpath='{.items[0].status.podIP}'")?;
    let text = system.sh(&format!(
        "node {0}/e2e/browser/fault.mjs http://{address}:20001 {0}/crates/console/ui/node_modules/playwright-core/index.mjs \
         {0}/target/screenshots/{name}.png {source} {target} {tone}",
        repository().display(),
    ))?;
    let seen: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    ensure!(seen["problems"] == Value::Array(Vec::new()), "{}", seen["problems"]);
    seen["panel"].as_str().map(ToOwned::to_owned).context("no panel")
}

/// Ask, whatever comes of it.
fn requests(count: usize) -> String {
    format!("for i in $(seq {count}); do curl -sS -o /dev/null {HOST}/api/posts; done")
}

/// Traffic that no service was found for says why, and how to mend it.
fn wrong_host(system: &System) -> Result<()> {
    system.sh("kubectl apply --server-side --force-conflicts -f blog-system/nginx-wrong-host.yaml && kubectl rollout restart deployment/web -n blog-system && \
        kubectl rollout status deployment/web -n blog-system --timeout=60s")?;
    let graph = ask(system, "/console/api/graph?graphType=workload&duration=600")?;
    let both = format!("curl -sS -o /dev/null {HOST}/api/posts; {graph}");
    system.until(&both, LIMIT, |text| {
        let graph: Value = serde_json::from_str(text).unwrap_or_default();
        let unmatched = graph["edges"].as_array().into_iter().flatten().filter_map(|edge| edge["unmatched"].as_array());
        unmatched.flatten().any(|of| of["message"].as_str().is_some_and(|message| !message.is_empty()))
    })?;
    let panel = seen(system, "fault-wrong-host", "web", "PassthroughCluster", "plain")?;
    for word in ["blog.jiminhome.shop", "was-service.blog-system", "proxy_set_header Host"] {
        ensure!(panel.contains(word), "{word}: {panel}");
    }
    system.sh("kubectl apply --server-side --force-conflicts --field-manager=varka-up -f blog-system/web-nginx-config.yaml && \
        kubectl rollout restart deployment/web -n blog-system && kubectl rollout status deployment/web -n blog-system --timeout=60s")?;
    Ok(())
}

/// A policy that refuses the wrong one: the edge fails, with the code of a refusal.
fn refused(system: &System) -> Result<()> {
    system.sh("kubectl apply -f blog-system/authz-was.yaml")?;
    let status = format!("curl -sS -o /dev/null -w '%{{http_code}}' {HOST}/api/posts");
    system.until(&status, LIMIT, |text| text.ends_with("403"))?;
    system.sh(&requests(REQUESTS))?;
    let panel = seen(system, "fault-policy", "was-service", "was", "failure")?;
    ensure!(panel.contains("403"), "{panel}");
    system.sh("kubectl delete authorizationpolicy -n blog-system was-authz")?;
    system.until(&status, LIMIT, |text| text.ends_with("200")).map(drop)
}

/// STRICT before a client outside the mesh: the ingress gets no answer, and its edge says so.
fn strict(system: &System) -> Result<()> {
    system.sh("kubectl apply --server-side --force-conflicts -f blog-system/mtls-strict.yaml")?;
    let status = format!("curl -sS -o /dev/null -w '%{{http_code}}' {HOST}/api/posts");
    system.until(&status, LIMIT, |text| text.ends_with("502"))?;
    system.sh(&requests(REQUESTS))?;
    let panel = seen(system, "fault-strict", "ingress-nginx-controller", "web-service", "failure")?;
    ensure!(panel.contains("502"), "{panel}");
    system.sh("kubectl apply --server-side --force-conflicts -f blog-system/mtls-peerauthentication.yaml")?;
    system.until(&status, LIMIT, |text| text.ends_with("200")).map(drop)
}

/// The console and the traces are where people look for Kiali and Jaeger.
fn addresses(system: &System) -> Result<()> {
    let page = system.sh(
        "kubectl port-forward -n istio-system svc/kiali 20001:20001 > /dev/null & trap 'kill $!' EXIT; \
         until curl -sSfL -o /dev/null http://localhost:20001 2> /dev/null; do kill -0 $! || exit 1; done; curl -sSfL http://localhost:20001",
    )?;
    ensure!(page.contains("<base href=\"/console/\">") && page.contains("assets/main-"), "{page}");
    let services = system
        .sh("kubectl exec -n blog-system deploy/was -c was -- curl -sSf http://jaeger-query.istio-system:16686/api/services")?;
    let services: Value = serde_json::from_str(&services)?;
    for service in ["web.blog-system", "was.blog-system"] {
        ensure!(services["data"].as_array().is_some_and(|of| of.iter().any(|name| name == service)), "{services}");
    }
    Ok(())
}
