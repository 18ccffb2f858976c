//! Tables of other projects' tests, run against the product's pure functions.
//!
//! A table is a JSON file, or a file of Prometheus' test language; its name is its path below the directory without the extension. A
//! table whose feature is not built is skipped whole, with its count, and never counted as passed.

mod authorization;
mod definitions;
pub(crate) mod envoy;
mod gateway_api;
mod ingress;
mod interception;
mod istio_metrics;
mod jaeger;
mod kiali;
mod kubernetes;
mod mesh;
mod prometheus;
mod sidecar_routes;
mod simulation;
mod validation;
mod workload_policies;

pub use envoy::differential;

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

/// What came of one table.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// `istio/simulation`.
    pub table: String,
    /// Cases (or calls) that gave what they should.
    pub passed: usize,
    /// The others: which, what was wanted, what came.
    pub failures: Vec<String>,
    /// Cases of a feature that is not built.
    pub skipped: usize,
    /// Those of them in a table that runs otherwise: which, and what is not built.
    pub skips: Vec<String>,
}

impl Report {
    /// Counts one outcome.
    fn count(&mut self, case: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(why) => self.failures.push(format!("{case}: {why}")),
        }
    }

    /// Counts a case of a feature that is not built.
    fn skip(&mut self, case: &str, why: &str) {
        self.skipped += 1;
        self.skips.push(format!("{case}: {why}"));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} passed, {} failed, {} skipped", self.table, self.passed, self.failures.len(), self.skipped)
    }
}

/// Cases, the directory of the table, and what is counted.
type Runner = fn(&Value, &Path, &mut Report);

/// Every table that is known, but for Prometheus', which are found by their files; `None`: its feature is not built.
const TABLES: [(&str, Option<Runner>); 22] = [
    ("argo/argo-diff", None),
    ("argo/health", None),
    ("argo/rollouts-istio", None),
    ("envoy/cases", Some(envoy::run)),
    ("istio/analyzers", None),
    ("istio/authz-rbac", Some(authorization::run)),
    ("istio/crd-validation", Some(definitions::run)),
    ("istio/gateway-api", Some(gateway_api::run)),
    ("istio/ingress", Some(ingress::run)),
    ("istio/iptables", Some(interception::run)),
    ("istio/peerauthn", Some(workload_policies::run)),
    ("istio/sidecar-routes", Some(sidecar_routes::run)),
    ("istio/simulation", Some(simulation::run)),
    ("istio/validation", Some(validation::run)),
    // A directory of what Istio's proxy must show.
    ("istio-metrics", Some(istio_metrics::run)),
    ("jaeger/queries", Some(jaeger::run)),
    ("kiali/cases", Some(kiali::run)),
    ("kiali/health", Some(kiali::health)),
    ("kubernetes/json-merge-patch", Some(kubernetes::json_merge_patch)),
    ("kubernetes/json-patch", Some(kubernetes::json_patch)),
    ("kubernetes/ssa", Some(kubernetes::server_side_apply)),
    ("kubernetes/strategic-merge", Some(kubernetes::strategic_merge)),
];

/// Runs every known table that lies in `dir`.
///
/// # Errors
/// When a table that is there cannot be read.
pub fn run(dir: &Path, only: Option<&str>) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for (table, runner) in TABLES {
        let directory = dir.join(table);
        if let (Some(runner), true) = (runner, directory.is_dir() && only.is_none_or(|o| table.contains(o))) {
            let mut report = Report { table: table.to_owned(), ..Report::default() };
            runner(&Value::Null, &directory, &mut report);
            reports.push(report);
        }
        let path = dir.join(table).with_extension("json");
        if !path.is_file() || only.is_some_and(|o| !table.contains(o)) {
            continue;
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let cases: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
        let mut report = Report { table: table.to_owned(), ..Report::default() };
        match runner {
            Some(runner) => runner(&cases, path.parent().unwrap_or(dir), &mut report),
            None => report.skipped = count(&cases),
        }
        reports.push(report);
    }
    reports.extend(prometheus::run(dir, only)?);
    Ok(reports)
}

/// The tables that pass less often than the baseline says.
pub fn regressions(reports: &[Report], baseline: &str) -> Vec<String> {
    let line = |line: &str| {
        let (table, passed) = line.split_once(' ')?;
        let passed: usize = passed.trim().parse().ok()?;
        let now = reports.iter().find(|r| r.table == table)?.passed;
        (now < passed).then(|| format!("{table} passed {passed} before, {now} now"))
    };
    baseline.lines().filter_map(line).collect()
}

/// The list of cases, whatever it is wrapped in.
fn cases(table: &Value) -> &[Value] {
    match table {
        Value::Array(list) => list,
        Value::Object(map) => map.get("cases").or_else(|| map.get("messages")).map_or(&[], cases),
        _ => &[],
    }
}

fn count(table: &Value) -> usize {
    cases(table).len()
}

/// A text field; empty when absent.
fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Without members that say nothing: empty, zero, or the default of an enumeration.
fn bare(value: &Value) -> Value {
    let says_nothing = |v: &Value| match v {
        Value::Null | Value::Bool(false) => true,
        Value::String(s) => s.is_empty() || ["TLS_AUTO", "PASSTHROUGH"].contains(&s.as_str()),
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) => false,
    };
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(k, v)| (k.clone(), bare(v))).filter(|(_, v)| !says_nothing(v));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(list) => Value::Array(list.iter().map(bare).collect()),
        other => other.clone(),
    }
}
