//! Who talks to whom in the running system, as its sidecars count it: also those that say nothing of themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use varka_e2e::{System, skipped};

const HOST: &str = "https://blog.jiminhome.shop";
const LIMIT: Duration = Duration::from_secs(30);
const REQUESTS: u64 = 50;

/// A line of Prometheus' text format.
#[derive(Debug)]
struct Series {
    labels: BTreeMap<String, String>,
    value: u64,
}

impl Series {
    fn is(&self, wanted: &[(&str, &str)]) -> bool {
        wanted.iter().all(|(label, value)| self.labels.get(*label).is_some_and(|v| v == value))
    }
}

/// All series of a metric.
fn series(text: &str, metric: &str) -> Vec<Series> {
    text.lines()
        .filter_map(|line| {
            let (labels, value) = line.strip_prefix(metric)?.strip_prefix('{')?.rsplit_once("} ")?;
            let pairs = labels.split("\",").filter_map(|pair| pair.split_once("=\""));
            let labels = pairs.map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned()));
            Some(Series { labels: labels.collect(), value: value.trim().parse().ok()? })
        })
        .collect()
}

fn sum<'a>(series: impl IntoIterator<Item = &'a Series>) -> u64 {
    series.into_iter().map(|s| s.value).sum()
}

/// What the sidecar of an application shows, to a scraper that knows its pod's address.
fn scrape(system: &System, app: &str) -> Result<String> {
    let address =
        system.sh(&format!("kubectl get pod -n blog-system -l app={app} -o jsonpath='{{.items[0].status.podIP}}'"))?;
    Ok(format!("curl -sSf http://{address}:15020/stats/prometheus"))
}

#[test]
fn those_who_say_nothing_are_known_from_their_first_request() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let system = System::blog()?;
    let (web, was) = (scrape(&system, "web")?, scrape(&system, "was")?);
    let inbound = [("reporter", "destination"), ("destination_workload", "web")];
    let before = sum(series(&system.sh(&web)?, "istio_requests_total").iter().filter(|s| s.is(&inbound)));
    ensure!(before == 0, "{before} requests have come before the first one was sent");
    system.sh(&format!("for i in $(seq {REQUESTS}); do curl -sSf -o /dev/null {HOST}/; done"))?;

    let ingress = system
        .sh("kubectl get pod -n ingress-nginx -o jsonpath='{.items[0].metadata.labels.app\\.kubernetes\\.io/name}'")?;
    system
        .until(&web, LIMIT, |t| sum(series(t, "istio_requests_total").iter().filter(|s| s.is(&inbound))) >= REQUESTS)?;
    let text = system.sh(&web)?;
    let found: Vec<Series> = series(&text, "istio_requests_total").into_iter().filter(|s| s.is(&inbound)).collect();
    let [only] = found.as_slice() else { anyhow::bail!("not all of one kind: {found:#?}") };
    ensure!(only.value == REQUESTS, "each request counts once: {only:#?}");
    let from = [
        ("source_workload_namespace", "ingress-nginx"),
        ("source_app", ingress.trim()),
        ("source_canonical_service", ingress.trim()),
        // It came in plain text: nobody has shown who it is.
        ("source_principal", "unknown"),
        ("connection_security_policy", "none"),
    ];
    ensure!(only.is(&from), "{only:#?}");
    let workload = only.labels.get("source_workload").context("no source_workload")?;
    ensure!(workload.starts_with("ingress-nginx"), "{only:#?}");

    database(&system, &was)
}

/// The database has no sidecar: its client's counts it.
fn database(system: &System, was: &str) -> Result<()> {
    system.sh(&format!("curl -sSf -o /dev/null {HOST}/api/posts"))?;
    let to_mysql = [
        ("reporter", "source"),
        ("source_workload", "was"),
        ("destination_workload", "mysql"),
        ("destination_workload_namespace", "blog-system"),
        ("destination_canonical_service", "mysql"),
        ("destination_principal", "unknown"),
    ];
    let opened = |text: &str| series(text, "istio_tcp_connections_opened_total");
    // Open connections are counted every few seconds.
    system.until(was, LIMIT, |t| opened(t).iter().any(|s| s.is(&to_mysql) && s.value > 0))?;
    let text = system.sh(was)?;
    // While there was no endpoint yet, nobody could be reached.
    for one in opened(&text).iter().filter(|s| s.is(&[("reporter", "source"), ("response_flags", "-")])) {
        ensure!(one.is(&to_mysql), "a connection of was is with somebody else: {one:#?}");
    }
    direct(system, was)
}

/// A pod that is called by its own address is known too, though that is no service.
fn direct(system: &System, was: &str) -> Result<()> {
    let address = system.sh("kubectl get pod -n blog-system -l app=mysql -o jsonpath='{.items[0].status.podIP}'")?;
    system.sh(&format!(
        "kubectl exec -n blog-system deploy/was -- bash -c 'exec 3<>/dev/tcp/{address}/3306 && head -c 1 <&3 >/dev/null'"
    ))?;
    let passed = [
        ("reporter", "source"),
        ("destination_service_name", "PassthroughCluster"),
        ("destination_workload", "mysql"),
        ("destination_app", "mysql"),
        ("destination_workload_namespace", "blog-system"),
        ("destination_principal", "unknown"),
    ];
    system.until(was, LIMIT, |t| {
        series(t, "istio_tcp_connections_opened_total").iter().any(|s| s.is(&passed) && s.value == 1)
    })?;
    Ok(())
}
