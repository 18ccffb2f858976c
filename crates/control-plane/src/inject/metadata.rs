//! Labels and annotations of an injected pod.

use serde_json::{Map, Value, json};

use super::annotations::{boolean, refusal, text};
use super::workload::Workload;
use super::{Options, Refusal, STATUS, STATUS_PORT, Template};

const PROMETHEUS_SCRAPE: &str = "prometheus.io/scrape";
const PROMETHEUS_PORT: &str = "prometheus.io/port";
const PROMETHEUS_PATH: &str = "prometheus.io/path";
const MERGE: &str = "prometheus.istio.io/merge-metrics";

/// Ports of the sidecar, which an application cannot serve metrics on.
const SIDECAR_PORTS: [u16; 8] = [15000, 15001, 15004, 15006, 15008, 15020, 15021, 15090];

/// A string map of the pod's metadata.
pub(super) fn strings(pod: &Value, field: &str) -> Map<String, Value> {
    pod.get("metadata").and_then(|m| m.get(field)).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The pod's labels with the mesh's added; what the pod sets itself stays.
pub(super) fn labels(pod: &Value, workload: &Workload) -> Map<String, Value> {
    let mut labels = strings(pod, "labels");
    let first = |names: &[&str]| {
        names.iter().filter_map(|name| text(&labels, name)).find(|value| !value.is_empty()).map(str::to_owned)
    };
    let name = first(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"])
        .unwrap_or_else(|| workload.name.clone());
    let name: String = name.chars().take(63).collect();
    let name = name.trim_matches(|c| matches!(c, '-' | '_' | '.')).to_owned();
    let revision = first(&["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"])
        .unwrap_or_else(|| "latest".to_owned());
    labels.entry("security.istio.io/tlsMode").or_insert_with(|| json!("istio"));
    labels.entry("service.istio.io/canonical-name").or_insert_with(|| json!(name));
    labels.entry("service.istio.io/canonical-revision").or_insert_with(|| json!(revision));
    labels
}

/// What becomes of the pod's Prometheus annotations.
pub(super) struct Prometheus {
    /// Whether scraping is pointed at the sidecar.
    merge: bool,
    /// `ISTIO_PROMETHEUS_ANNOTATIONS`: where the application's own metrics are.
    pub(super) scrape: Option<String>,
}

/// Metrics of application and sidecar are scraped together at the sidecar, unless the pod does not want that.
pub(super) fn prometheus(annotations: &Map<String, Value>, options: &Options) -> Result<Prometheus, Refusal> {
    let wanted = |name| text(annotations, name).and_then(boolean);
    let merge = wanted(MERGE).unwrap_or(options.prometheus_merge) && wanted(PROMETHEUS_SCRAPE).unwrap_or(true);
    let mut scrape = None;
    if merge {
        let mut own = Map::new();
        for (key, name) in [("scrape", PROMETHEUS_SCRAPE), ("path", PROMETHEUS_PATH), ("port", PROMETHEUS_PORT)] {
            own.insert(key.to_owned(), json!(text(annotations, name).unwrap_or_default()));
        }
        if let Some(port) = text(annotations, PROMETHEUS_PORT) {
            let number = port.parse::<u16>().ok().filter(|port| *port != 0 && !SIDECAR_PORTS.contains(port));
            if number.is_none() {
                return Err(refusal(PROMETHEUS_PORT, port, "it must be a port of the application, not of the sidecar"));
            }
        }
        if own.values().any(|value| value != "") {
            scrape = Some(Value::Object(own).to_string());
        }
    }
    Ok(Prometheus { merge, scrape })
}

/// The pod's annotations with the mesh's added.
pub(super) fn annotations(
    pod: &Value,
    prometheus: &Prometheus,
    containers: &[Value],
    status: String,
) -> Map<String, Value> {
    let mut annotations = strings(pod, "annotations");
    annotations.entry("istio.io/rev").or_insert_with(|| json!("default"));
    let mut names = containers.iter().filter_map(|container| container.get("name"));
    // A gateway may have no other container than the proxy.
    let first = names.clone().find(|name| *name != super::PROXY_CONTAINER).or_else(|| names.next());
    if let Some(first) = first {
        for name in ["kubectl.kubernetes.io/default-container", "kubectl.kubernetes.io/default-logs-container"] {
            annotations.entry(name).or_insert_with(|| first.clone());
        }
    }
    if prometheus.merge {
        annotations.insert(PROMETHEUS_SCRAPE.to_owned(), json!("true"));
        annotations.insert(PROMETHEUS_PATH.to_owned(), json!("/stats/prometheus"));
        annotations.insert(PROMETHEUS_PORT.to_owned(), json!(STATUS_PORT.to_string()));
    }
    annotations.insert(STATUS.to_owned(), json!(status));
    annotations
}

/// `sidecar.istio.io/status`: what was added, as JSON.
pub(super) fn status(init: &[Value], template: Template, volumes: &[Value]) -> String {
    let names = |list: &[Value]| list.iter().filter_map(|item| item.get("name").cloned()).collect::<Vec<_>>();
    let containers = match template {
        Template::Sidecar => Value::Null,
        Template::Gateway => json!([super::PROXY_CONTAINER]),
    };
    let init = if init.is_empty() { Value::Null } else { json!(names(init)) };
    json!({
        "initContainers": init,
        "containers": containers,
        "volumes": names(volumes),
        "imagePullSecrets": null,
        "revision": "default",
    })
    .to_string()
}
