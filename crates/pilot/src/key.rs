//! Whose configuration is compiled.

use std::collections::BTreeMap;
use std::net::IpAddr;

use varka_api::kube::TopologyZone;
use varka_engine::ir::{ResourceType, Str};

/// A proxy, as far as its configuration depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyKey {
    /// Beside a workload, or at the edge.
    pub kind: ProxyKind,
    /// First address of the pod.
    pub ip: IpAddr,
    /// All addresses of the pod.
    pub ips: Vec<IpAddr>,
    /// Namespace of the pod.
    pub namespace: Str,
    /// Labels of the pod.
    pub labels: BTreeMap<String, String>,
    /// Service account of the pod.
    pub service_account: Str,
    /// Name of the pod.
    pub name: Str,
    /// Suffix of short names: `NAMESPACE.svc.cluster.local`.
    pub dns_domain: Str,
    /// Network that it is in; empty: the default one.
    pub network: Str,
    /// Cluster that it is in.
    pub cluster_id: Str,
    /// How traffic gets to it.
    pub interception: Interception,
    /// Which program it is.
    pub engine: ProxyEngine,
    /// It asks for outbound configuration by name when it needs it, as our sidecars do: what it is given without asking leaves that
    /// out.
    pub on_demand: bool,
    /// Declared ports of the pod's containers; target ports that are names are looked up here, then in the snapshot's pod.
    pub ports: Vec<ProxyPort>,
    /// Where it runs.
    pub locality: TopologyZone,
}

/// What a proxy stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyKind {
    /// Beside a workload: outbound and inbound.
    Sidecar,
    /// At the edge: listeners of Gateways and Ingresses.
    Router,
}

/// How traffic gets to a sidecar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Interception {
    /// Redirected, the original destination asked from the kernel.
    #[default]
    Redirect,
    /// Delivered with its destination.
    Tproxy,
    /// The application dials the proxy.
    None,
}

/// Which program a proxy is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ProxyEngine {
    /// Varka's own, which has Istio's filters.
    #[default]
    Varka,
    /// The stock Envoy, which has not.
    Envoy,
}

/// A declared container port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyPort {
    /// Name; may be empty.
    pub name: Str,
    /// Number.
    pub port: u16,
}

/// A resource by type and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceName {
    /// Which discovery service carries it.
    pub kind: ResourceType,
    /// Its name.
    pub name: Str,
}

impl ProxyKey {
    /// A sidecar or router with everything else at its default.
    pub fn new(kind: ProxyKind, name: &str, namespace: &str, ip: IpAddr) -> Self {
        Self {
            kind,
            ip,
            ips: vec![ip],
            namespace: namespace.into(),
            labels: BTreeMap::new(),
            service_account: "default".into(),
            name: name.into(),
            dns_domain: format!("{namespace}.svc.cluster.local").into(),
            network: "".into(),
            cluster_id: "Kubernetes".into(),
            interception: Interception::default(),
            engine: ProxyEngine::default(),
            on_demand: false,
            ports: Vec::new(),
            locality: TopologyZone::default(),
        }
    }

    /// Whether its labels include all of `selector`.
    pub(crate) fn has_labels(&self, selector: &BTreeMap<String, String>) -> bool {
        contains(&self.labels, selector)
    }

    /// Whether it has IPv6 addresses only.
    pub(crate) fn is_v6_only(&self) -> bool {
        self.ips.iter().all(IpAddr::is_ipv6)
    }

    /// `0.0.0.0`, or `::` where the pod has no IPv4 address.
    pub(crate) fn wildcard(&self) -> IpAddr {
        if self.is_v6_only() {
            IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)
        }
    }
}

/// Whether `labels` include all of `selector`.
pub(crate) fn contains(labels: &BTreeMap<String, String>, selector: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(k, v)| labels.get(k) == Some(v))
}
