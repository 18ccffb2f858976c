//! Core and discovery kinds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Resource;

/// Declares views: plain data, all members optional, camelCase.
macro_rules! views {
    ($($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $ty,)*
        }
    )*};
}
pub(super) use views;

views! {
    /// `v1 Service`.
    Service {
        /// Type: `ClusterIP`, `NodePort`, `LoadBalancer`, `ExternalName`.
        r#type: String,
        /// Address, `None` for headless services.
        #[serde(rename = "clusterIP")]
        cluster_ip: String,
        /// Addresses by family.
        #[serde(rename = "clusterIPs")]
        cluster_ips: Vec<String>,
        /// Ports.
        ports: Vec<ServicePort>,
        /// Labels of its pods.
        selector: BTreeMap<String, String>,
        /// Target of `ExternalName`.
        external_name: String,
        /// Whether pods that are not ready count.
        publish_not_ready_addresses: bool,
        /// Prefer near endpoints.
        traffic_distribution: String,
    }
    /// A port of a Service.
    ServicePort {
        /// Name; its prefix tells the protocol.
        name: String,
        /// Number.
        port: u32,
        /// `TCP`, `UDP` or `SCTP`; empty: TCP.
        protocol: String,
        /// Port of the pods, by number or name.
        target_port: Option<IntOrString>,
        /// Protocol, before the name.
        app_protocol: String,
        /// Port of every node.
        node_port: u32,
    }
    /// `discovery.k8s.io/v1 EndpointSlice`.
    EndpointSlice {
        /// `IPv4`, `IPv6` or `FQDN`.
        address_type: String,
        /// Endpoints.
        endpoints: Vec<KubeEndpoint>,
        /// Ports of every endpoint.
        ports: Vec<EndpointPort>,
    }
    /// An endpoint of a slice.
    KubeEndpoint {
        /// Addresses of the one endpoint; the first is used.
        addresses: Vec<String>,
        /// State.
        conditions: EndpointConditions,
        /// The pod behind it.
        target_ref: Option<ObjectReference>,
        /// Node that it runs on.
        node_name: String,
        /// Zone.
        zone: String,
        /// Host name.
        hostname: String,
    }
    /// State of an endpoint; absent means yes, yes and no.
    EndpointConditions {
        /// Ready for traffic.
        ready: Option<bool>,
        /// Serving, though it may be terminating.
        serving: Option<bool>,
        /// Terminating.
        terminating: Option<bool>,
    }
    /// A port of a slice.
    EndpointPort {
        /// Name of the Service's port.
        name: String,
        /// Number.
        port: u32,
        /// `TCP`, `UDP` or `SCTP`.
        protocol: String,
        /// Protocol of the application.
        app_protocol: String,
    }
    /// A reference to an object.
    ObjectReference {
        /// Kind.
        kind: String,
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
    }
    /// `v1 Pod`.
    Pod {
        /// Specification.
        spec: PodSpec,
        /// State.
        status: PodStatus,
    }
    /// Specification of a pod.
    PodSpec {
        /// Service account.
        service_account_name: String,
        /// Node.
        node_name: String,
        /// Containers.
        containers: Vec<Container>,
        /// Containers that run before, or beside with `restartPolicy: Always`.
        init_containers: Vec<Container>,
        /// Whether it shares its node's network.
        host_network: bool,
        /// Host name.
        hostname: String,
        /// Domain below the namespace.
        subdomain: String,
    }
    /// A container.
    Container {
        /// Name.
        name: String,
        /// Image.
        image: String,
        /// Declared ports.
        ports: Vec<ContainerPort>,
    }
    /// A declared port of a container.
    ContainerPort {
        /// Name.
        name: String,
        /// Number.
        container_port: u32,
        /// `TCP`, `UDP` or `SCTP`.
        protocol: String,
    }
    /// State of a pod.
    PodStatus {
        /// `Pending`, `Running`, `Succeeded`, `Failed`.
        phase: String,
        /// First address.
        #[serde(rename = "podIP")]
        pod_ip: String,
        /// Addresses.
        #[serde(rename = "podIPs")]
        pod_ips: Vec<PodIp>,
        /// Conditions.
        conditions: Vec<PodCondition>,
    }
    /// An address of a pod.
    PodIp {
        /// Address.
        ip: String,
    }
    /// A condition of a pod.
    PodCondition {
        /// Name.
        r#type: String,
        /// `True`, `False` or `Unknown`.
        status: String,
    }
    /// `v1 Namespace`; its labels are in the metadata.
    Namespace {
        /// Nothing of it is read.
        #[serde(skip)]
        nothing: (),
    }
    /// `v1 Secret`.
    Secret {
        /// Base64 by key.
        data: BTreeMap<String, String>,
        /// Text by key, before the server has merged it into `data`.
        string_data: BTreeMap<String, String>,
        /// Type.
        r#type: String,
    }
    /// `v1 ConfigMap`.
    ConfigMap {
        /// Text by key.
        data: BTreeMap<String, String>,
        /// Base64 by key.
        binary_data: BTreeMap<String, String>,
    }
    /// `v1 Node`; locality is in its labels.
    Node {
        /// Nothing of it is read.
        #[serde(skip)]
        nothing: (),
    }
}

/// A region and zone, from a node's labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopologyZone {
    /// `topology.kubernetes.io/region`.
    pub region: String,
    /// `topology.kubernetes.io/zone`.
    pub zone: String,
    /// `topology.istio.io/subzone`.
    pub sub_zone: String,
}

impl TopologyZone {
    /// From the labels of a node.
    pub fn of(labels: &BTreeMap<String, String>) -> Self {
        let get = |key: &str| labels.get(key).cloned().unwrap_or_default();
        Self {
            region: get("topology.kubernetes.io/region"),
            zone: get("topology.kubernetes.io/zone"),
            sub_zone: get("topology.istio.io/subzone"),
        }
    }
}

/// A port by number or by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// Number.
    Int(u32),
    /// Name of a container's port, or a number as text.
    String(String),
}

macro_rules! core_kinds {
    ($($ty:ident $group:literal $whole:literal $cluster:literal,)*) => {$(
        impl Resource for $ty {
            const GROUP: &'static str = $group;
            const KIND: &'static str = stringify!($ty);
            const WHOLE: bool = $whole;
            const CLUSTER_SCOPED: bool = $cluster;
        }
    )*};
}

core_kinds! {
    Service "" false false,
    EndpointSlice "discovery.k8s.io" true false,
    Pod "" true false,
    Namespace "" true true,
    Secret "" true false,
    ConfigMap "" true false,
    Node "" true true,
}
