//! The console's pictures in the terminal, each asked of the running system through its kubeconfig.

#![expect(clippy::indexing_slicing, reason = "what is missing in an answer fails the test")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use varka_e2e::{System, binary, skipped};

const HOST: &str = "https://blog.jiminhome.shop";
const REQUESTS: usize = 20;
/// Under load it takes longer than what is told.
const LIMIT: Duration = Duration::from_secs(30);

/// A line that runs the binary under test inside, where KUBECONFIG leads to the system.
fn varka(arguments: &str) -> Result<String> {
    Ok(format!("{} {arguments}", binary()?.display()))
}

#[test]
fn terminals_show_what_the_pages_show() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let system = System::blog()?;
    system.sh(&format!("for i in $(seq {REQUESTS}); do curl -sSf -o /dev/null {HOST}/api/posts; done"))?;
    graph(&system).context("varka graph")?;
    top(&system).context("varka top")?;
    trace(&system).context("varka trace")?;
    logs(&system).context("varka logs")?;
    metrics(&system).context("varka metrics")?;
    elsewhere(&system).context("a console whose metrics and traces lie elsewhere")?;
    refusals(&system).context("refusals")
}

/// The line of a table that has these words in this order.
fn line<'t>(text: &'t str, words: &[&str]) -> Option<&'t str> {
    text.lines().find(|line| {
        let mut rest = *line;
        words.iter().all(|word| {
            rest.split_once(word).is_some_and(|(_, after)| {
                rest = after;
                true
            })
        })
    })
}

fn graph(system: &System) -> Result<()> {
    let edges = varka("graph --duration 10m")?;
    let web = ["blog-system/web ", "blog-system/was ", " http ", "/s", "0.0 %", " mTLS ", "Healthy"];
    let mysql = ["blog-system/was ", "blog-system/mysql", " tcp ", "B/s"];
    system.until(&edges, LIMIT, |text| line(text, &web).is_some() && line(text, &mysql).is_some())?;
    let tree = system.sh(&varka("graph --duration 10m -n blog-system -o tree")?)?;
    ensure!(line(&tree, &["└─ blog-system/was", "http", "p95", "mTLS"]).is_some(), "{tree}");
    let json: Value = serde_json::from_str(&system.sh(&varka("graph --duration 10m --type service -o json")?)?)?;
    ensure!(
        json["graphType"] == "service" && json["edges"].as_array().is_some_and(|edges| !edges.is_empty()),
        "{json}"
    );
    let before = system.sh(&varka("graph --at 2020-01-01T00:00:00Z --duration 1m")?)?;
    ensure!(before.contains("no traffic in that time") && before.contains("2020-01-01T00:00:00Z"), "{before}");
    Ok(())
}

fn top(system: &System) -> Result<()> {
    let once = varka("top --duration 10m")?;
    system.until(&once, LIMIT, |text| line(text, &["blog-system/was ", "/s"]).is_some())?;
    let edges = system.sh(&varka("top --once --edges --duration 10m --sort latency")?)?;
    ensure!(line(&edges, &["blog-system/web", "blog-system/was", "http"]).is_some(), "{edges}");
    // On a terminal it fills the screen until `q`, and the terminal is as it was.
    let command = varka("top --duration 10m")?;
    let typed =
        format!("stty -g > before; {command}; echo ended $?; stty -g > after; cmp before after && echo restored");
    let screen = system.sh(&format!(
        "cd $(mktemp -d) && (while ! grep -q blog-system/was screen 2>/dev/null; do sleep 0.2; done; printf q) | \
         timeout 60 script -qfec '{typed}' screen > /dev/null; cat screen"
    ))?;
    ensure!(screen.contains("\u{1b}[?1049h") && screen.contains("\u{1b}[?1049l"), "{screen:?}");
    ensure!(screen.contains("ended 0") && screen.contains("restored"), "{screen:?}");
    Ok(())
}

fn trace(system: &System) -> Result<()> {
    let list = varka("trace --service was.blog-system --limit 100")?;
    // The newest trace whose statement was seen.
    let whole = format!(
        "for id in $({list} | awk 'NR > 1 {{print $NF}}'); do {} | grep -q 'FROM posts' && {} && break; done",
        varka("trace $id")?,
        varka("trace --tags $id")?
    );
    system.until(&whole, LIMIT, |text| text.contains("FROM posts"))?;
    let text = system.sh(&whole)?;
    for words in [
        &["trace ", "spans: ", "services: 3", "errors: 0"][..],
        &["*", "│", "█", "│", "was.blog-system"],
        &["FROM posts", "(of which request: inferred)"],
        &["db.query.text = "],
    ] {
        ensure!(line(&text, words).is_some(), "{words:?}: {text}");
    }
    let slowest = system.sh(&varka("trace --service was.blog-system --slowest --limit 3")?)?;
    ensure!(slowest.lines().count() == 4, "{slowest}");
    Ok(())
}

fn logs(system: &System) -> Result<()> {
    let both = varka("logs web.blog-system --tail 1000")?;
    system.until(&both, LIMIT, |text| text.contains("/istio-proxy") && text.contains("GET /api/posts"))?;
    let sidecar = system.sh(&varka("logs web.blog-system -c istio-proxy -o json")?)?;
    for line in sidecar.lines() {
        let line: Value = serde_json::from_str(line)?;
        ensure!(line["container"] == "istio-proxy" && line["at"].as_u64().is_some(), "{line}");
    }
    // What comes while somebody looks is shown.
    let mark = "/api/posts?followed";
    let follow = format!(
        "cd $(mktemp -d) && ({} > lines & echo $! > pid; \
         for i in $(seq 100); do curl -sSf -o /dev/null '{HOST}{mark}'; grep -q followed lines && break; sleep 0.2; done; \
         kill $(cat pid); cat lines)",
        varka("logs web.blog-system --tail 1 --follow")?
    );
    let lines = system.sh(&follow)?;
    ensure!(lines.contains(mark), "{lines}");
    Ok(())
}

fn metrics(system: &System) -> Result<()> {
    let sum =
        varka("metrics 'sum(istio_requests_total{reporter=\"source\",destination_workload=\"was\"}) >= bool 20'")?;
    system.until(&sum, LIMIT, |text| line(text, &["1", "{}"]).is_some())?;
    // Seconds ago there was less than now: the curve rises to its highest.
    let curve = varka("metrics 'sum(istio_requests_total)' --since 2m --step 1s")?;
    system
        .until(&curve, LIMIT, |text| line(text, &["LAST", "LEAST", "MOST", "CURVE"]).is_some() && text.contains('█'))?;
    let json: Value = serde_json::from_str(&system.sh(&varka("metrics 1+1 -o json")?)?)?;
    ensure!(json["data"]["result"][1] == "2", "{json}");
    Ok(())
}

/// Another console, which has the system's own for a Prometheus and a Jaeger, shows the same and keeps neither.
fn elsewhere(system: &System) -> Result<()> {
    let kept = system.sh("kubectl get pod -n istio-system -l app=console -o jsonpath='{.items[0].status.podIP}'")?;
    let there = "--console http://127.0.0.1:20001";
    let console = varka(&format!(
        "console --data $place --listen 127.0.0.1 --prometheus http://{kept}:20001 --jaeger http://{kept}:16686"
    ))?;
    let text = system.sh(&format!(
        "place=$(mktemp -d); {console} 2> $place/log & trap \"kill $!\" EXIT; \
         for i in $(seq 300); do {} > $place/graph 2>&1; grep -q 'blog-system/was .* http' $place/graph && break; sleep 0.2; done; \
         cat $place/log $place/graph; {}; {}; timeout 5 bash -c '< /dev/tcp/127.0.0.1/4317' 2> /dev/null || echo closed",
        varka(&format!("graph {there} --duration 10m"))?,
        varka(&format!("trace {there} --service was.blog-system --limit 3"))?,
        varka(&format!("metrics {there} 'count(istio_requests_total) > bool 0'"))?,
    ))?;
    for words in [
        &["blog-system/web ", "blog-system/was ", " http ", " mTLS "][..],
        &["blog-system/was ", "blog-system/mysql", " tcp ", "B/s"],
        &["START", "ROOT", "TRACE"],
        &["1", "{}"],
        &["closed"],
    ] {
        ensure!(line(&text, words).is_some(), "{words:?}: {text}");
    }
    Ok(())
}

/// What is wrong is said, with what to do.
fn refusals(system: &System) -> Result<()> {
    for (arguments, why) in [
        ("metrics 'sum('", "parse error"),
        ("logs nobody", "there is no workload nobody; there are: "),
        ("trace --service nobody", "there are those of: "),
        ("trace 00000000000000000000000000000001", "trace not found"),
        ("graph --console http://127.0.0.1:1", "there is no console where --console says"),
        ("graph --kubeconfig /nowhere", "which cluster is meant is not known"),
    ] {
        let output = system.shell(&varka(arguments)?)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && text.contains(why), "{arguments}: {text}");
    }
    // Without a kubeconfig the system that runs here is meant; without a console that is said.
    let output =
        system.shell(&format!("kubectl delete service kiali -n istio-system > /dev/null && {}", varka("graph")?))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        !output.status.success() && text.contains("there is no console: the cluster has no Service kiali"),
        "{text}"
    );
    Ok(())
}
