//! What Istio's proxy must show under Istio's names: one metric a file, with the exact set of its labels and its value.
//!
//! Files are templates (`NAME.yaml.tmpl`) with a few variables. For each, what happened is told to the functions that count, and
//! what they show must hold the metric as it is written. Files that no situation here belongs to are skipped and counted.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use varka_engine::ir::{MetricOverride, Stats, Str};
use varka_engine::outcome::ResponseFlags;
use varka_telemetry::metrics::istio::{
    Customization, ExchangeCounters, Facts, IstioMetrics, Protocol, Reporter, RequestResult, SeriesKey, Workload,
};
use varka_telemetry::metrics::{Sample, Value as Number};

use super::Report;

/// Requests or connections of every situation.
const COUNT: u64 = 10;
/// Bytes that each connection's client sends and gets.
const RECEIVED: u64 = 6;
const SENT: u64 = 12;
const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/client";
const SERVER: &str = "spiffe://cluster.local/ns/default/sa/server";
const HOST: &str = "127.0.0.1:8080";

/// What happened, as far as it differs from a request over plain text between peers that know each other.
struct Situation {
    reporter: Reporter,
    protocol: Protocol,
    /// Certificates of client and server.
    mtls: bool,
    /// How the peer is known.
    peer: Peer,
    /// Service of the cluster; `None`: the cluster says none.
    namespace: Option<&'static str>,
    host: &'static str,
    /// Payload that was moved.
    moved: bool,
    stats: Stats,
    values: BTreeMap<&'static str, &'static str>,
}

#[derive(PartialEq, Eq)]
enum Peer {
    Exchanged,
    Endpoint,
    Unknown,
}

/// Every file that a situation belongs to.
pub(super) fn run(_: &Value, directory: &Path, report: &mut Report) {
    let Ok(files) = std::fs::read_dir(directory) else { return };
    let mut files: Vec<_> = files.flatten().map(|f| f.path()).collect();
    files.sort();
    for path in files {
        let Some(name) = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.split(".yaml").next()) else {
            continue;
        };
        if !path.to_string_lossy().contains(".yaml") {
            continue;
        }
        match situation(name) {
            Some(situation) => report.count(name, check(&path, &situation)),
            None => report.skipped += 1,
        }
    }
}

fn check(path: &Path, situation: &Situation) -> Result<(), String> {
    let template = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let text = render(&template, &situation.variables())?;
    let want: Value = serde_saphyr::from_str(&text).map_err(|e| format!("{e} in\n{text}"))?;
    let mut samples = Vec::new();
    situation.metrics().samples("1.5-dev", &mut samples);
    situation.exchanges().samples(&mut samples);
    let family = want.get("name").and_then(Value::as_str).unwrap_or_default();
    let metric = want.pointer("/metric/0").ok_or("it names no metric")?;
    let labels: BTreeMap<String, String> = metric
        .get("label")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|l| Some((plain(l.get("name")?), plain(l.get("value")?))))
        .collect();
    let number = ["counter", "gauge"].iter().find_map(|kind| metric.get(kind)?.get("value")?.as_u64());
    let of_family: Vec<&Sample> = samples.iter().filter(|s| s.family == family).collect();
    let found = of_family.iter().find(|s| labels_of(s) == labels);
    match found.map(|s| value_of(s)) {
        Some(value) if number.is_none_or(|n| n == value) => Ok(()),
        Some(value) => Err(format!("{value} instead of {number:?}")),
        None => Err(format!(
            "wanted {labels:?}, shown are {:?}",
            of_family.iter().map(|s| labels_of(s)).collect::<Vec<_>>()
        )),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn labels_of(sample: &Sample) -> BTreeMap<String, String> {
    sample.labels.iter().map(|(name, value)| (name.to_string(), value.clone())).collect()
}

fn value_of(sample: &Sample) -> u64 {
    match &sample.value {
        Number::Counter(n) | Number::Gauge(n) => *n,
        Number::Histogram(h) => h.count(),
    }
}

// --- situations

fn situation(name: &str) -> Option<Situation> {
    let server = name.contains("server");
    let reporter = if server { Reporter::Destination } else { Reporter::Source };
    let usual = Situation {
        reporter,
        protocol: Protocol::Http,
        mtls: false,
        peer: Peer::Exchanged,
        namespace: Some("default"),
        host: if server { "" } else { HOST },
        moved: true,
        stats: Stats::default(),
        values: BTreeMap::new(),
    };
    let tcp = |usual: Situation| Situation { protocol: Protocol::Tcp, mtls: true, host: "", ..usual };
    let label = |label: &str, value: &'static str, usual: Situation| Situation {
        stats: labelled(label, value),
        values: [(value, value)].into(),
        ..usual
    };
    Some(match name {
        "client_request_total" | "server_request_total" | "istio_build" => usual,
        "client_request_total_endpoint_labels" => Situation { peer: Peer::Endpoint, ..usual },
        "client_request_total_cluster_metadata_precedence" => Situation { namespace: Some("server"), ..usual },
        "host_header_fallback" => Situation { namespace: None, ..usual },
        "client_disable_host_header_fallback" | "server_disable_host_header_fallback" => {
            Situation { namespace: None, host: "", ..usual }
        }
        "client_request_total_labels" => label("role", "server", usual),
        "server_request_total_labels" => label("role", "client", usual),
        "client_request_messages" | "client_response_messages" => {
            label("configurable_metric_a", "v1", Situation { protocol: Protocol::Grpc, ..usual })
        }
        "server_request_messages" | "server_response_messages" => Situation { protocol: Protocol::Grpc, ..usual },
        "tcp_server_mx_stats_alpn_found" | "tcp_server_mx_stats_metadata_added" => tcp(usual),
        "tcp_server_mx_stats_alpn_not_found" => Situation { peer: Peer::Unknown, ..tcp(usual) },
        "tcp_client_connection_open"
        | "tcp_client_connection_close"
        | "tcp_client_received_bytes"
        | "tcp_client_sent_bytes"
        | "tcp_server_connection_open"
        | "tcp_server_connection_close"
        | "tcp_server_received_bytes"
        | "tcp_server_sent_bytes" => tcp(usual),
        "tcp_server_connection_open_without_mx" => Situation { peer: Peer::Unknown, ..tcp(usual) },
        "tcp_client_sent_bytes_unknown" => {
            Situation { peer: Peer::Unknown, mtls: false, namespace: Some(""), moved: false, ..tcp(usual) }
        }
        "client_request_total_customized" => Situation { stats: customized(), values: customized_values(), ..usual },
        _ => return None,
    })
}

fn labelled(label: &str, expression: &str) -> Stats {
    let change = MetricOverride { dimensions: vec![(label.into(), expression.into())], ..MetricOverride::default() };
    Stats { metrics: vec![change], ..Stats::default() }
}

/// Labels of another choosing, most of the standard ones among them.
fn customized() -> Stats {
    let change = MetricOverride {
        name: "requests_total".into(),
        dimensions: customized_values().into_keys().map(|name| (name.into(), name.into())).collect(),
        tags_to_remove: ["response_flags", "grpc_response_status", "destination_app"].map(Str::from).to_vec(),
        ..MetricOverride::default()
    };
    Stats { metrics: vec![change], ..Stats::default() }
}

fn customized_values() -> BTreeMap<&'static str, &'static str> {
    [
        ("source_workload", "_productpage-v1"),
        ("source_workload_namespace", "_default"),
        ("source_principal", "malicious"),
        ("source_app", "_productpage"),
        ("source_version", "_productpage"),
        // An expression without a value.
        ("destination_workload", ""),
        ("destination_version", "_v1"),
        ("destination_service_namespace", "_ratings"),
        ("request_protocol", "HTTP/1.1"),
        ("configurable_metric_a", "gateway"),
        ("route_name", "client_route,server-outbound-cluster,server"),
    ]
    .into()
}

fn node(name: &str, app: &str, service: &str, cluster: &str) -> Workload {
    let labels = json!({"app": app, "version": "v1", "service.istio.io/canonical-name": service,
        "service.istio.io/canonical-revision": "version-1"});
    let metadata = json!({"WORKLOAD_NAME": name, "LABELS": labels});
    Workload::from_node(metadata.as_object().unwrap_or(&serde_json::Map::new()), "", "default", cluster)
}

impl Situation {
    fn variables(&self) -> BTreeMap<&'static str, String> {
        let grpc = if self.protocol == Protocol::Grpc { "0" } else { "" };
        [
            ("RequestCount", COUNT.to_string()),
            ("RequestMessages", COUNT.to_string()),
            ("ResponseMessages", COUNT.to_string()),
            ("GrpcResponseStatus", grpc.to_owned()),
            ("ClientPort", "8080".to_owned()),
        ]
        .into()
    }

    fn exchanges(&self) -> ExchangeCounters {
        let counters = ExchangeCounters::default();
        (0..COUNT).for_each(|_| counters.begun(self.peer == Peer::Exchanged));
        counters
    }

    fn metrics(&self) -> IstioMetrics {
        let (client, server) = (
            node("productpage-v1", "productpage", "productpage-v1", "client-cluster"),
            node("ratings-v1", "ratings", "ratings", "server-cluster"),
        );
        let endpoint = Workload::from_endpoint("ratings-v1;default;ratings;version-1;server-cluster");
        let (own, other, principals) = match self.reporter {
            Reporter::Source => (&client, &server, [CLIENT, SERVER]),
            Reporter::Destination => (&server, &client, [SERVER, CLIENT]),
        };
        let [own_principal, peer_principal] = if self.mtls { principals } else { ["", ""] };
        let service = self.namespace.map(|n| ("server.default.svc.cluster.local".into(), "server".into(), n.into()));
        let key = SeriesKey::of(&Facts {
            reporter: self.reporter,
            own,
            own_principal,
            peer: match self.peer {
                Peer::Exchanged => Some(other),
                Peer::Endpoint => endpoint.as_ref(),
                Peer::Unknown => None,
            },
            peer_principal,
            host: if service.is_none() { self.host } else { "" },
            route: "default",
            cluster: "server-outbound-cluster",
            service: service.as_ref(),
            protocol: self.protocol,
        });
        let value = |e: &str| Some(self.values.get(e).map_or(e, |v| v).to_owned()).filter(|v| !v.is_empty());
        let custom = Customization::new(&self.stats);
        let custom = custom.map(|c| c.with(c.dimensions().iter().map(|d| value(&d.expression))));
        let metrics = IstioMetrics::default();
        if self.protocol == Protocol::Tcp {
            let series = metrics.tcp(key, custom, ResponseFlags::NONE);
            for _ in 0..COUNT {
                series.opened.inc();
                series.closed.inc();
                if self.moved {
                    series.received_bytes.add(RECEIVED);
                    series.sent_bytes.add(SENT);
                }
            }
            return metrics;
        }
        let grpc_status = (self.protocol == Protocol::Grpc).then_some(0);
        let series = metrics.http(key, custom);
        for _ in 0..COUNT {
            let result = RequestResult { status: 200, flags: ResponseFlags::NONE, grpc_status };
            series.count(result, Duration::from_millis(1), 100, 100);
            series.request_messages.inc();
            series.response_messages.inc();
        }
        metrics
    }
}

// --- templates

/// Fills in a template: `{{ .Vars.NAME }}`, `{{ .Ports.NAME }}`, `if`, `if eq`, `if ne`, `else if`, `else`, `end`.
fn render(template: &str, variables: &BTreeMap<&str, String>) -> Result<String, String> {
    let mut out = String::new();
    // For each open `if`: whether a branch was taken, and whether this one is.
    let mut open: Vec<(bool, bool)> = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (action, after) = after.split_once("}}").ok_or("an action does not end")?;
        let trims = action.starts_with('-');
        let before = if trims { before.trim_end() } else { before };
        if open.iter().all(|(_, on)| *on) {
            out.push_str(before);
        }
        let words: Vec<&str> = action.trim_start_matches('-').split_whitespace().collect();
        match words.as_slice() {
            ["if", condition @ ..] => {
                let holds = holds(condition, variables)?;
                open.push((holds, holds));
            }
            ["else", "if", condition @ ..] => {
                let holds = holds(condition, variables)?;
                let last = open.last_mut().ok_or("else without if")?;
                *last = (last.0 || holds, !last.0 && holds);
            }
            ["else"] => {
                let last = open.last_mut().ok_or("else without if")?;
                *last = (true, !last.0);
            }
            ["end"] => drop(open.pop()),
            [name] if open.iter().all(|(_, on)| *on) => out.push_str(&variable(name, variables)),
            [_] => {}
            _ => return Err(format!("`{action}` is not understood")),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn variable(name: &str, variables: &BTreeMap<&str, String>) -> String {
    let name = name.rsplit('.').next().unwrap_or_default();
    variables.get(name).cloned().unwrap_or_default()
}

fn holds(condition: &[&str], variables: &BTreeMap<&str, String>) -> Result<bool, String> {
    match condition {
        [name] => Ok(!variable(name, variables).is_empty()),
        ["eq", name, value] => Ok(variable(name, variables) == value.trim_matches('"')),
        ["ne", name, value] => Ok(variable(name, variables) != value.trim_matches('"')),
        other => Err(format!("`{}` is not understood", other.join(" "))),
    }
}
