//! A moment of the past is shown as it was, of a running system that was changed since: who was there, what configuration said, what became of
//! requests and what would have become of them, and what was changed.

#![expect(clippy::indexing_slicing, reason = "what is missing in an answer fails the test")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use varka_e2e::{System, skipped};

const HOST: &str = "https://blog.jiminhome.shop";
/// Under load it takes longer than what is told.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_moment_of_the_past_is_shown_as_it_was() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let system = System::blog()?;
    let address = system.sh("kubectl get pod -n istio-system -l app=console -o jsonpath='{.items[0].status.podIP}'")?;
    let console = Console { system: &system, at: format!("http://{address}:20001/console/api") };
    let pod = system.sh("kubectl get pod -n blog-system -l app=was -o jsonpath='{.items[0].metadata.name}'")?;
    system.sh(&format!("for n in $(seq 20); do curl -sSf -o /dev/null {HOST}/api/posts; done"))?;
    console.until("graph?graphType=workload&duration=60", |graph| rate(graph, "web", "was") > 0.0)?;
    console.until("workloads?namespaces=blog-system", |list| of(list, "was")["replicas"]["available"] == 1)?;
    let then = console.moment()?;
    change(&system)?;
    // It is otherwise now: nobody is left who would answer.
    console.until("workloads?namespaces=blog-system", |list| of(list, "was")["replicas"]["current"] == 0)?;
    console.until("graph?graphType=service&duration=60", |graph| faulty(graph) == Some(true))?;
    ensure!(console.explain(None)?["outcome"] == "failed");

    let past = |path: &str| console.get(&format!("{path}{}at={then}", if path.contains('?') { '&' } else { '?' }));
    let graph = past("graph?graphType=workload&duration=60")?;
    let was = of(&graph["nodes"], "was");
    ensure!(
        rate(&graph, "web", "was") > 0.0 && was["idle"].is_null() && was["health"]["status"] == "Healthy",
        "{was:#}"
    );
    ensure!(faulty(&past("graph?graphType=service&duration=60")?) == Some(false));
    let replicas = &of(&past("workloads?namespaces=blog-system")?, "was")["replicas"].clone();
    ensure!(replicas["desired"] == 1 && replicas["available"] == 1, "{replicas}");
    let told = past("config/blog-system/VirtualService/broken")?;
    ensure!(told["code"] == "notFound", "{told}");
    let told = console.explain(Some(then))?;
    ensure!(
        told["outcome"] == "ok"
            && told["podsOfNow"] == false
            && told["verdict"].as_str().is_some_and(|v| v.contains(&pod)),
        "{told:#}"
    );
    let changes = console.get(&format!("changes?from={then}&to={}", console.moment()?))?;
    let summary = |kind: &str, name: &str| {
        let mut all = changes.as_array().into_iter().flatten();
        all.find(|one| one["kind"] == kind && one["name"] == name)
            .map(|one| format!("{} {}", one["verb"], one["summary"]))
    };
    ensure!(summary("VirtualService", "broken").is_some_and(|said| said.contains("created")), "{changes:#}");
    ensure!(summary("Deployment", "was").is_some_and(|said| said.contains("spec.replicas 1 -> 0")), "{changes:#}");
    Ok(())
}

/// A fault for everybody, and nobody who would answer.
fn change(system: &System) -> Result<()> {
    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "broken", "namespace": "blog-system"},
        "spec": {"hosts": ["was-service"], "http": [{
            "fault": {"abort": {"httpStatus": 418, "percentage": {"value": 100}}}, "route": [{"destination": {"host": "was-service"}}],
        }]},
    });
    system.sh(&format!(
        "echo '{rule}' | kubectl apply -f - && kubectl scale -n blog-system deployment/was --replicas=0 && \
         kubectl wait -n blog-system --for=delete pod -l app=was --timeout=60s"
    ))?;
    Ok(())
}

struct Console<'s> {
    system: &'s System,
    at: String,
}

impl Console<'_> {
    fn get(&self, path: &str) -> Result<Value> {
        let text = self.system.sh(&format!("curl -sS '{}/{path}'", self.at))?;
        serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))
    }

    fn until(&self, path: &str, condition: impl Fn(&Value) -> bool) -> Result<()> {
        let line = format!("curl -sS '{}/{path}'", self.at);
        self.system.until(&line, LIMIT, |text| serde_json::from_str(text).is_ok_and(|told| condition(&told))).map(drop)
    }

    /// What becomes of a request of `web`, now or then.
    fn explain(&self, at: Option<u64>) -> Result<Value> {
        let to = json!({"host": "was-service", "port": 8080, "method": "GET", "path": "/api/posts", "headers": {}});
        let asked = json!({"from": {"namespace": "blog-system", "workload": "web"}, "to": to, "at": at});
        let line = format!(
            "curl -sS -H 'content-type: application/json' -H 'x-requested-with: varka-console' -d '{asked}' {}/explain",
            self.at
        );
        let text = self.system.sh(&line)?;
        serde_json::from_str(&text).context(text)
    }

    /// A second that is over.
    fn moment(&self) -> Result<u64> {
        let second: u64 = self.system.sh("date +%s")?.trim().parse()?;
        self.system.until("date +%s", LIMIT, |now| now.trim().parse::<u64>().is_ok_and(|now| now > second))?;
        Ok(second)
    }
}

/// A workload, of a list or of a graph's nodes.
fn of(list: &Value, name: &str) -> Value {
    let is = |one: &&Value| one["name"] == name || one["workload"] == name;
    list.as_array().into_iter().flatten().find(is).cloned().unwrap_or_default()
}

/// Requests a second from one workload to another.
fn rate(graph: &Value, from: &str, to: &str) -> f64 {
    let workload = |end: &Value| {
        let place = usize::try_from(end.as_u64()?).ok()?;
        graph["nodes"].get(place)?["workload"].as_str()
    };
    let mut edges = graph["edges"].as_array().into_iter().flatten();
    let found = edges.find(|edge| workload(&edge["source"]) == Some(from) && workload(&edge["target"]) == Some(to));
    found.and_then(|edge| edge["rates"]["total"].as_f64()).unwrap_or_default()
}

/// Whether the graph says of the service that faults are injected; `None`: it does not have it.
fn faulty(graph: &Value) -> Option<bool> {
    let mut nodes = graph["nodes"].as_array()?.iter();
    nodes.find(|node| node["service"] == "was-service")?["badges"]["faultInjection"].as_bool()
}
