//! A real Prometheus scrapes the running mesh, as Istio's sample configuration has it: its totals are ours, and what Istio's
//! dashboards ask is answered by our PromQL as it answers it, from the same samples.

#![expect(clippy::indexing_slicing, reason = "what is missing in an answer fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use varka_e2e::{System, load, repository, skipped, succeed};
use varka_promql::storage::{FloatSample, Memory, STALE, Samples};
use varka_promql::{Label, Labels, Options, Times, query};

/// In the network of the system, where nobody else listens.
const PORT: u16 = 9090;
const LIMIT: Duration = Duration::from_secs(60);

/// Pods are labelled as by the job `kubernetes-pods` of Istio's sample.
const CONFIGURATION: &str = r#"
global: {scrape_interval: 1s}
scrape_configs:
- job_name: kubernetes-pods
  file_sd_configs: [{files: ["@PLACE@/pods.json"], refresh_interval: 1s}]
  relabel_configs:
  - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], action: keep, regex: "true"}
  - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path], regex: (.+), target_label: __metrics_path__}
  - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_port, __meta_kubernetes_pod_ip]
    regex: (\d+);(.+)
    replacement: $2:$1
    target_label: __address__
  - {action: labelmap, regex: __meta_kubernetes_pod_label_(.+)}
  - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
  - {source_labels: [__meta_kubernetes_pod_phase], regex: Pending|Succeeded|Failed|Completed, action: drop}
"#;

/// What the dashboards' variables stand for.
const VARIABLES: [(&str, &str); 10] = [
    ("$interval", "20s"),
    ("$service", "server.counts.svc.cluster.local"),
    ("$qrep", "source|destination"),
    ("$srcwl", ".*"),
    ("$srcns", ".*"),
    ("$dstwl", ".*"),
    ("$dstns", ".*"),
    ("$dstcluster", ".*"),
    ("$namespace", "counts"),
    ("$dstsvc", ".*"),
];
/// Every series that is asked for is older: how far the growth of one that begins within a range is extrapolated to its beginning is
/// different in Prometheus 2 and 3.
const OLD: Duration = Duration::from_secs(90);
/// So many of their expressions have an answer here, at least; the others ask for what nobody in this mesh counts
/// (docs/PROMQL.md).
const ANSWERED: usize = 250;

#[test]
fn prometheus_counts_and_answers_the_same() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let manifests = directory.path().join("manifests");
    std::fs::create_dir(&manifests)?;
    std::fs::write(manifests.join("counts.yaml"), load::fill(load::MANIFESTS))?;
    let system = System::up(&manifests, None)?;
    let place = directory.path().display();
    std::fs::write(directory.path().join("prometheus.yaml"), CONFIGURATION.replace("@PLACE@", &place.to_string()))?;
    let run = format!(
        "python3 {}/e2e/python/discover.py {place}/pods.json & prometheus --config.file={place}/prometheus.yaml \
         --storage.tsdb.path={place}/data --web.listen-address=127.0.0.1:{PORT} --web.enable-lifecycle --log.level=warn",
        repository().display()
    );
    let answers = std::thread::scope(|scope| {
        let prometheus = scope.spawn(|| system.sh(&run));
        let answers = ask_everything(&system, &|| prometheus.is_finished());
        // It also ends when the test has failed.
        drop(system.shell(&format!("curl -sS -X POST http://127.0.0.1:{PORT}/-/quit")));
        let ended = prometheus.join().map_err(|_| anyhow::anyhow!("it panicked"))?;
        ended.context("prometheus").and(answers)
    })?;
    let storage = dump(&directory.path().join("data"))?;
    compare(&storage, &answers)
}

/// One question, and what Prometheus answered.
struct Asked {
    dashboard: String,
    expression: String,
    times: Times,
    answer: Value,
}

fn ask_everything(system: &System, ended: &dyn Fn() -> bool) -> Result<Vec<Asked>> {
    let ready = format!("curl -sS 'http://127.0.0.1:{PORT}/api/v1/query' --data-urlencode 'query=count(up == 1)'");
    system.until(&ready, LIMIT, |text| {
        let answer: Value = serde_json::from_str(text).unwrap_or_default();
        // Two servers, the client, and who else of the mesh is to be scraped.
        let up = answer["data"]["result"][0]["value"][1].as_str().and_then(|n| n.parse::<u32>().ok());
        ended() || up.is_some_and(|up| up >= 3)
    })?;
    ensure!(!ended(), "prometheus has ended");
    let sent = load::run(system, 1500, "0.04", "")?;
    totals(system, &sent)?;
    let delete = "kubectl delete pod -n counts $(kubectl get pod -n counts -l app=server -o jsonpath='{.items[0].metadata.name}') >&2;";
    load::run(system, 1000, "0.04", delete)?;
    let changed = Instant::now();
    while changed.elapsed() < OLD {
        load::run(system, 200, "0.04", "")?;
    }

    let now = i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?;
    let at = between_scrapes(system, now - 2000)?;
    let (mut asked, mut questions) = (Vec::new(), String::new());
    for (dashboard, expression) in expressions()? {
        for times in [Times::Instant(at), Times::Range { start: at - 60_000, end: at, step: 5_000 }] {
            let (path, parameters) = match times {
                Times::Instant(time) => ("/api/v1/query", json!({"query": expression, "time": seconds(time)})),
                Times::Range { start, end, step } => {
                    let (start, end) = (seconds(start), seconds(end));
                    (
                        "/api/v1/query_range",
                        json!({"query": expression, "start": start, "end": end, "step": step / 1000}),
                    )
                }
            };
            questions.push_str(&format!("{}\n", json!([path, parameters])));
            let (dashboard, expression) = (dashboard.clone(), expression.clone());
            asked.push(Asked { dashboard, expression, times, answer: Value::Null });
        }
    }
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), questions)?;
    let (program, file) = (repository().join("e2e/python/ask.py"), file.path().display());
    let text = system.sh(&format!("python3 {} {PORT} < {file}", program.display()))?;
    ensure!(text.lines().count() == asked.len(), "{text}");
    for (asked, line) in asked.iter_mut().zip(text.lines()) {
        asked.answer = serde_json::from_str(line).with_context(|| line.to_owned())?;
    }
    Ok(asked)
}

fn seconds(millis: i64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// A time near this one that is no whole number of seconds from any scrape: whether a sample on the edge of a range belongs to it
/// is different in Prometheus 2 and 3.
fn between_scrapes(system: &System, near: i64) -> Result<i64> {
    let text =
        system.sh(&format!("curl -sSf 'http://127.0.0.1:{PORT}/api/v1/query' --data-urlencode 'query=up[10m]'"))?;
    let answer: Value = serde_json::from_str(&text)?;
    let series = answer["data"]["result"].as_array().context("no samples of up")?;
    let times = series.iter().flat_map(|s| s["values"].as_array().into_iter().flatten()).filter_map(|v| v[0].as_f64());
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of this century")]
    let taken: Vec<i64> = times.map(|time| (time * 1000.0).round() as i64 % 1000).collect();
    ensure!(!taken.is_empty(), "{text}");
    (0..1000).map(|back| near - back).find(|at| !taken.contains(&(at % 1000))).context("scrapes at every millisecond")
}

/// What Prometheus has counted is what was sent, and what we have counted.
fn totals(system: &System, sent: &load::Counts) -> Result<()> {
    let sent: BTreeMap<&str, u64> = sent
        .iter()
        .filter(|(name, _)| name.parse::<u16>().is_ok())
        .map(|(name, count)| (name.as_str(), *count))
        .collect();
    let query = "sum by (reporter, response_code) (istio_requests_total{source_workload=\"client\"})";
    let ours = "$(kubectl get pod -n istio-system -l app=console -o jsonpath='{.items[0].status.podIP}'):20001";
    for server in [format!("127.0.0.1:{PORT}"), ours.to_owned()] {
        let line =
            format!("curl -sSf \"http://{server}/api/v1/query\" --data-urlencode '{}'", format_args!("query={query}"));
        system.until(&line, LIMIT, |text| {
            let answer: Value = serde_json::from_str(text).unwrap_or_default();
            let all = answer["data"]["result"].as_array();
            let of = |reporter: &str| -> BTreeMap<&str, u64> {
                let series = all.into_iter().flatten().filter(|s| s["metric"]["reporter"] == reporter);
                series
                    .filter_map(|s| {
                        Some((s["metric"]["response_code"].as_str()?, s["value"][1].as_str()?.parse().ok()?))
                    })
                    .collect()
            };
            of("source") == sent && of("destination") == sent
        })?;
    }
    Ok(())
}

/// Every expression of the dashboards, with its variables filled in.
fn expressions() -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(repository().join("e2e/dashboards/istio.txt"))?;
    let (mut dashboard, mut all) = (String::new(), Vec::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut dashboard);
            continue;
        }
        let mut forms = vec![line.to_owned()];
        for (variable, values) in [
            ("$quantile", &["0.50", "0.90", "0.95", "0.99"][..]),
            ("$is", &["=", "!="]),
            ("$message", &["request", "response"]),
            ("$way", &["sent", "received"]),
            ("$workload", &["client", "server"]),
        ] {
            let several = |form: String| -> Vec<String> {
                if form.contains(variable) {
                    values.iter().map(|v| form.replace(variable, v)).collect()
                } else {
                    vec![form]
                }
            };
            forms = forms.into_iter().flat_map(several).collect();
        }
        for form in forms {
            let filled = VARIABLES.iter().fold(form, |text, (variable, value)| text.replace(variable, value));
            ensure!(!filled.contains('$'), "a variable is not filled in: {filled}");
            all.push((dashboard.clone(), filled));
        }
    }
    Ok(all)
}

/// Every sample that Prometheus has, with the ends of series.
fn dump(data: &Path) -> Result<Memory> {
    let text = succeed("promtool", Command::new("promtool").args(["tsdb", "dump"]).arg(data).output()?)?;
    let mut series: BTreeMap<&str, Samples> = BTreeMap::new();
    for line in text.lines() {
        let (labels, rest) = line.rsplit_once("} ").with_context(|| line.to_owned())?;
        let (value, time) = rest.split_once(' ').with_context(|| line.to_owned())?;
        let value = match value {
            // Nothing here counts what is no number: such a value is the mark of a series' end.
            "NaN" => STALE,
            "+Inf" => f64::INFINITY,
            other => other.parse()?,
        };
        series.entry(labels).or_default().floats.push(FloatSample { time: time.parse()?, start: 0, value });
    }
    let mut storage = Memory::default();
    for (text, samples) in series {
        storage.append(labels(text)?, samples);
    }
    Ok(storage)
}

/// `{a="b", c="d"`; values are quoted as Go does it, which for what there is here is JSON.
fn labels(text: &str) -> Result<Labels> {
    let mut rest = text.strip_prefix('{').with_context(|| text.to_owned())?;
    let mut found: Vec<Label> = Vec::new();
    while let Some((name, after)) = rest.split_once('=') {
        let mut values = serde_json::Deserializer::from_str(after).into_iter::<String>();
        let value = values.next().with_context(|| text.to_owned())??;
        rest = after.get(values.byte_offset()..).unwrap_or_default().trim_start_matches([',', ' ']);
        found.push(Label { name: name.into(), value: value.into() });
    }
    Ok(found.into_iter().map(|label| (label.name, label.value)).collect())
}

fn compare(storage: &Memory, all: &[Asked]) -> Result<()> {
    let (mut different, mut counts) = (Vec::new(), BTreeMap::<&str, [usize; 2]>::new());
    for asked in all {
        let [_, answered] = counts.entry(&asked.dashboard).or_default();
        let wanted = &asked.answer;
        if wanted["status"] != "success" {
            bail!("Prometheus refuses {}: {wanted}", asked.expression);
        }
        let found = match query(&asked.expression, asked.times, storage, &Options::default()) {
            Ok(answer) => serde_json::to_value(varka_promql::answer::Response::of(answer.value))?,
            Err(error) => json!({"error": error.to_string()}),
        };
        *answered += usize::from(wanted["data"]["result"].as_array().is_some_and(|series| !series.is_empty()));
        if let Err(why) = same(&wanted["data"], &found["data"]) {
            different.push(format!("{} {:?}: {why}\nPrometheus {wanted}\nwe {found}", asked.expression, asked.times));
        }
        counts.entry(&asked.dashboard).or_default()[0] += 1;
    }
    for (dashboard, [asked, answered]) in &counts {
        eprintln!("{dashboard}: {asked} questions, {answered} with an answer that is not empty");
    }
    let silent: BTreeSet<_> = all
        .iter()
        .filter(|a| a.answer["data"]["result"].as_array().is_some_and(Vec::is_empty))
        .map(|a| format!("[{}] {}", a.dashboard, a.expression))
        .collect();
    eprintln!("nothing to answer for:\n{}", silent.into_iter().collect::<Vec<_>>().join("\n"));
    let (few, many) = (different.first(), different.len());
    ensure!(different.is_empty(), "{many} of {} answers differ, for one: {}", all.len(), few.map_or("", |d| d));
    let answered: usize = counts.values().map(|[_, answered]| answered).sum();
    ensure!(answered >= ANSWERED, "only {answered} questions had an answer");
    Ok(())
}

/// Whether two results are the same, whatever the order of series, and to what floating-point numbers can differ.
fn same(wanted: &Value, found: &Value) -> Result<()> {
    ensure!(wanted["resultType"] == found["resultType"], "another type");
    let by_labels = |result: &Value| -> BTreeMap<String, Value> {
        let series = result["result"].as_array().cloned().unwrap_or_default();
        series.into_iter().map(|series| (series["metric"].to_string(), series)).collect()
    };
    let (wanted, found) = (by_labels(wanted), by_labels(found));
    ensure!(wanted.keys().eq(found.keys()), "other series");
    for (one, other) in wanted.values().zip(found.values()) {
        for field in ["value", "values"] {
            let numbers = |value: &Value| -> Vec<(f64, f64)> {
                let one = value[field].as_array().cloned().unwrap_or_default();
                let points = if field == "value" && !one.is_empty() { vec![Value::Array(one)] } else { one };
                let number = |v: &Value| {
                    v.as_str().map_or(f64::NAN, |text| text.replace("Inf", "inf").parse().unwrap_or(f64::NAN))
                };
                points.iter().map(|point| (point[0].as_f64().unwrap_or(-1.0), number(&point[1]))).collect()
            };
            let (one, other) = (numbers(one), numbers(other));
            ensure!(one.len() == other.len(), "{} points, not {}", other.len(), one.len());
            for ((t, a), (u, b)) in one.into_iter().zip(other) {
                let near = a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
                ensure!((t - u).abs() < 1e-3 && near, "{a} at {t}, {b} at {u}");
            }
        }
    }
    Ok(())
}
