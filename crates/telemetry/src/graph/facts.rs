//! What is known of the environment when a graph is made: plain data that the caller fills from its resources.
//!
//! Only what a graph asks for is here, already read: whether a VirtualService shifts traffic, not its routes. All of it is
//! as it is now, or as it was at the time that the graph is about; the caller decides.

use std::collections::BTreeMap;

use serde::Serialize;

/// Labels or annotations.
pub type Map = BTreeMap<String, String>;

/// Everything that is known.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Namespaces that may be looked at. What lies in another one is shown as not accessible.
    pub namespaces: Vec<Namespace>,
    /// Services.
    pub services: Vec<Service>,
    /// Deployments and the like, and pods that belong to none.
    pub workloads: Vec<Workload>,
    /// ServiceEntries.
    pub service_entries: Vec<ServiceEntry>,
    /// WorkloadEntries.
    pub workload_entries: Vec<WorkloadEntry>,
    /// VirtualServices.
    pub virtual_services: Vec<VirtualService>,
    /// DestinationRules.
    pub destination_rules: Vec<DestinationRule>,
    /// Istio's Gateways.
    pub gateways: Vec<Gateway>,
    /// Gateways of the Gateway API.
    pub kubernetes_gateways: Vec<KubernetesGateway>,
    /// Ingresses.
    pub ingresses: Vec<Ingress>,
    /// Waypoint proxies.
    pub waypoints: Vec<Waypoint>,
    /// Domain of services; empty means `cluster.local`.
    pub cluster_domain: String,
}

impl Facts {
    /// `svc.DOMAIN`.
    #[must_use]
    pub fn service_suffix(&self) -> String {
        let domain = if self.cluster_domain.is_empty() { "cluster.local" } else { &self.cluster_domain };
        format!("svc.{domain}")
    }
}

/// A namespace that may be looked at.
#[derive(Debug, Clone, Default)]
pub struct Namespace {
    /// Cluster of Kubernetes.
    pub cluster: String,
    /// Name.
    pub name: String,
    /// Seconds since the epoch; 0: not known.
    pub created: i64,
    /// Label `istio.io/dataplane-mode: ambient`.
    pub ambient: bool,
    /// Holds the control plane, whose pods need no sidecar.
    pub control_plane: bool,
}

/// A Service.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// Cluster of Kubernetes.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Map,
    /// Annotations.
    pub annotations: Map,
    /// Selector; empty: none.
    pub selector: Map,
    /// Ports.
    pub ports: Vec<Port>,
    /// Addresses.
    pub addresses: Vec<String>,
    /// When it last had traffic, in seconds since the epoch; `None`: never, as far as is stored.
    pub last_seen: Option<i64>,
}

/// A port of a Service.
#[derive(Debug, Clone, Default)]
pub struct Port {
    /// Name.
    pub name: String,
    /// Number.
    pub number: u16,
}

/// A workload.
#[derive(Debug, Clone, Default)]
pub struct Workload {
    /// Cluster of Kubernetes.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Name, as in `source_workload`.
    pub name: String,
    /// Labels of its pods.
    pub labels: Map,
    /// Its annotations.
    pub annotations: Map,
    /// Annotations of its pods.
    pub pod_annotations: Map,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// Every pod has a sidecar.
    pub sidecar: bool,
    /// Captured by ambient.
    pub ambient: bool,
    /// How many pods there should be, are, and are ready.
    pub replicas: Option<Replicas>,
    /// When it last had traffic, in seconds since the epoch; `None`: never, as far as is stored.
    pub last_seen: Option<i64>,
}

impl Workload {
    /// Whether it is a gateway, by the labels and annotations that installers use.
    #[must_use]
    pub fn is_gateway(&self) -> bool {
        let is = |key: &str, values: &[&str]| self.labels.get(key).is_some_and(|v| values.contains(&v.as_str()));
        is("operator.istio.io/component", &["IngressGateways", "EgressGateways"])
            || is("istio", &["ingressgateway", "egressgateway"])
            || is("gateway.istio.io/managed", &["istio.io-gateway-controller"])
            || self.labels.contains_key("istio.io/gateway-name")
            || self.pod_annotations.get("inject.istio.io/templates").is_some_and(|t| t == "gateway")
    }

    /// Scaled to zero on purpose.
    #[must_use]
    pub fn is_scaled_to_zero(&self) -> bool {
        self.replicas.is_some_and(|replicas| replicas.desired == 0)
    }
}

/// A pod.
#[derive(Debug, Clone, Default)]
pub struct Pod {
    /// Name.
    pub name: String,
    /// Addresses.
    pub addresses: Vec<String>,
}

/// How many pods of a workload there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replicas {
    /// Asked for.
    pub desired: i32,
    /// There.
    pub current: i32,
    /// Ready.
    pub available: i32,
    /// Whose proxies hold the newest configuration; -1: it has no sidecars, or is a gateway.
    pub synced_proxies: i32,
}

/// A ServiceEntry.
#[derive(Debug, Clone, Default)]
pub struct ServiceEntry {
    /// Cluster of Kubernetes.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `spec.hosts`.
    pub hosts: Vec<String>,
    /// Namespaces that see it; empty: what the mesh says, which is all.
    pub export_to: Vec<String>,
    /// `MESH_INTERNAL`; else external.
    pub internal: bool,
    /// Numbers of its ports.
    pub ports: Vec<u16>,
    /// `spec.addresses`.
    pub addresses: Vec<String>,
}

/// A WorkloadEntry.
#[derive(Debug, Clone, Default)]
pub struct WorkloadEntry {
    /// Cluster of Kubernetes.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `spec.labels`.
    pub labels: Map,
}

/// What a VirtualService does.
#[derive(Debug, Clone, Default)]
pub struct VirtualService {
    /// Cluster of Kubernetes.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `spec.hosts`.
    pub hosts: Vec<String>,
    /// Hosts of the destinations of all its routes, of HTTP, TCP and TLS.
    pub destinations: Vec<String>,
    /// It has a route with a destination.
    pub request_routing: bool,
    /// An HTTP route has a timeout.
    pub request_timeout: bool,
    /// An HTTP route has a fault.
    pub fault_injection: bool,
    /// An HTTP route has more than one destination.
    pub traffic_shifting: bool,
    /// A TCP route has more than one destination.
    pub tcp_traffic_shifting: bool,
    /// An HTTP route has a mirror.
    pub mirroring: bool,
    /// Made from a route of the Gateway API.
    pub from_gateway_api: bool,
}

/// What a DestinationRule says about circuit breakers: connection pools and outlier detection.
#[derive(Debug, Clone, Default)]
pub struct DestinationRule {
    /// Cluster of Kubernetes.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `spec.host`.
    pub host: String,
    /// `spec.trafficPolicy` has one.
    pub circuit_breaker: bool,
    /// Labels of subsets that have one.
    pub subsets_with_circuit_breaker: Vec<Map>,
}

/// A Gateway of Istio.
#[derive(Debug, Clone, Default)]
pub struct Gateway {
    /// Cluster of Kubernetes.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `spec.selector`.
    pub selector: Map,
    /// Hosts of all its servers.
    pub hosts: Vec<String>,
}

/// A Gateway of the Gateway API.
#[derive(Debug, Clone, Default)]
pub struct KubernetesGateway {
    /// Cluster of Kubernetes.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Host names of its listeners; empty: all.
    pub hosts: Vec<String>,
}

/// An Ingress.
#[derive(Debug, Clone, Default)]
pub struct Ingress {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Hosts of its rules.
    pub hosts: Vec<String>,
}

/// A waypoint proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Waypoint {
    /// Cluster of Kubernetes.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Name of its workload.
    pub name: String,
}

/// Labels that may name the app, the one that counts first.
const APP_LABELS: [&str; 3] = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
/// Labels that may name the version.
const VERSION_LABELS: [&str; 3] = ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"];

/// The label that names the app, and what it says.
#[must_use]
pub fn app_label(labels: &Map) -> Option<(&'static str, &str)> {
    first_of(labels, APP_LABELS)
}

/// The label that names the version, and what it says.
#[must_use]
pub fn version_label(labels: &Map) -> Option<(&'static str, &str)> {
    first_of(labels, VERSION_LABELS)
}

fn first_of<'m>(labels: &'m Map, names: [&'static str; 3]) -> Option<(&'static str, &'m str)> {
    names.into_iter().find_map(|name| Some((name, labels.get(name)?.as_str())))
}

/// Whether labels are chosen by a selector.
#[must_use]
pub fn selects(selector: &Map, labels: &Map) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}
