//! Which pods offer metrics, where, and what is known of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::store::Millis;
use crate::store::metrics::Labels;

const SCRAPE: &str = "prometheus.io/scrape";
const PORT: &str = "prometheus.io/port";
const PATH: &str = "prometheus.io/path";
/// As the job is called in Istio's configuration of Prometheus.
const JOB: &str = "kubernetes-pods";

/// A pod that offers metrics.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub address: SocketAddr,
    pub path: String,
    /// Namespace and name, for people.
    pub pod: String,
    /// It has been told to end.
    pub ending: bool,
    /// When the pod began, before which its counters were zero.
    pub started: Option<Millis>,
    labels: BTreeMap<Arc<str>, Arc<str>>,
}

impl Target {
    /// `None`: it offers none, or does not run.
    pub(super) fn of(pod: &Pod) -> Option<Self> {
        let meta = &pod.metadata;
        let annotation = |name| meta.annotations.as_ref().and_then(|annotations| annotations.get(name));
        if annotation(SCRAPE).map(String::as_str) != Some("true") {
            return None;
        }
        let status = pod.status.as_ref()?;
        if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let ip = status.pod_ip.as_deref()?.parse().ok()?;
        let port = annotation(PORT)?.parse().ok()?;
        let address = SocketAddr::new(ip, port);
        let path = annotation(PATH).map_or("/metrics", String::as_str).to_owned();
        let (namespace, name) = (meta.namespace.as_deref()?, meta.name.as_deref()?);
        let mut labels: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
        for (label, value) in meta.labels.iter().flatten() {
            labels.insert(sanitised(label).into(), value.as_str().into());
        }
        let own = [("job", JOB), ("namespace", namespace), ("pod", name)];
        labels.extend(own.map(|(label, value)| (label.into(), value.into())));
        labels.insert("instance".into(), address.to_string().into());
        let ending = meta.deletion_timestamp.is_some();
        let started = status.start_time.as_ref().map(|time| time.0.as_millisecond());
        Some(Self { address, path, pod: format!("{namespace}/{name}"), ending, started, labels })
    }

    /// The labels of a series of it. What it calls as we call it is told apart by `exported_`, as in Prometheus.
    pub(super) fn labels(&self, own: impl IntoIterator<Item = (Arc<str>, Arc<str>)>) -> Labels {
        let own = own.into_iter().map(|(name, value)| match self.labels.contains_key(&name) {
            true => (format!("exported_{name}").into(), value),
            false => (name, value),
        });
        let known = self.labels.iter().map(|(name, value)| (Arc::clone(name), Arc::clone(value)));
        known.chain(own).collect()
    }
}

/// A pod's label as a name that metrics may have.
fn sanitised(label: &str) -> String {
    label.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}
