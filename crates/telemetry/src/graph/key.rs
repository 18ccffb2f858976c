//! What a node is called, and what kind of node a set of labels stands for.
//!
//! The names are Kiali's: its form hashes them. Which labels make the name depends on the graph's type and on which of them
//! are known.

use super::model::NodeKind;
use super::options::GraphType;

/// Istio's word for what is not known.
pub(super) const UNKNOWN: &str = "unknown";

/// Neither empty nor unknown.
pub(super) fn known(value: &str) -> bool {
    !value.is_empty() && value != UNKNOWN
}

/// A version; Istio calls one that is not known `latest`.
pub(super) fn known_version(value: &str) -> bool {
    known(value) && value != "latest"
}

/// The labels that a node may stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Identity<'a> {
    pub(super) cluster: &'a str,
    pub(super) service_namespace: &'a str,
    pub(super) service: &'a str,
    pub(super) workload_namespace: &'a str,
    pub(super) workload: &'a str,
    pub(super) app: &'a str,
    pub(super) version: &'a str,
}

impl<'a> Identity<'a> {
    /// A service and nothing else.
    pub(super) const fn service(cluster: &'a str, namespace: &'a str, service: &'a str) -> Self {
        Self {
            cluster,
            service_namespace: namespace,
            service,
            workload_namespace: "",
            workload: "",
            app: "",
            version: "",
        }
    }

    /// The workload's namespace, or the service's.
    pub(super) fn namespace(&self) -> &'a str {
        if known(self.workload_namespace) { self.workload_namespace } else { self.service_namespace }
    }

    /// Name and kind of the node; `None`: nothing is known that could name one.
    pub(super) fn key(&self, graph: GraphType) -> Option<(String, NodeKind)> {
        let (cluster, namespace) = (self.cluster, self.namespace());
        let (workload, app, service) = (self.workload, self.app, self.service);
        if [namespace, workload, app].iter().all(|v| *v == UNKNOWN) && service.is_empty() {
            return Some((format!("{cluster}_unknown_source"), NodeKind::Unknown));
        }
        let service_key = |name: &str| Some((format!("svc_{cluster}_{namespace}_{name}"), NodeKind::Service));
        // A request to what nobody knows: one such node for each namespace.
        if [workload, app, service].iter().all(|v| *v == UNKNOWN) {
            return service_key(UNKNOWN);
        }
        if ![workload, app, service].iter().any(|v| known(v)) {
            return None;
        }
        if matches!(graph, GraphType::Workload | GraphType::Service) {
            return match (known(workload), known(service)) {
                (true, _) => Some((format!("wl_{cluster}_{namespace}_{workload}"), NodeKind::Workload)),
                (false, true) => service_key(service),
                // Only the app is known.
                (false, false) => service_key(UNKNOWN),
            };
        }
        if known(app) {
            let key = match graph {
                GraphType::VersionedApp if known(workload) => format!("vapp_{cluster}_{namespace}_{workload}"),
                GraphType::VersionedApp if known_version(self.version) => {
                    format!("vapp_{cluster}_{namespace}_{app}_{}", self.version)
                }
                _ => format!("app_{cluster}_{namespace}_{app}"),
            };
            return Some((key, NodeKind::App));
        }
        if known(workload) {
            return Some((format!("wl_{cluster}_{namespace}_{workload}"), NodeKind::Workload));
        }
        service_key(service)
    }
}

/// Name of a node of classified requests.
pub(super) fn aggregate_key(cluster: &str, namespace: &str, label: &str, value: &str, service: &str) -> String {
    if service.is_empty() {
        format!("agg_{cluster}_{namespace}_{label}_{value}")
    } else {
        format!("agg_{cluster}_{namespace}_{label}_{value}_{service}")
    }
}
