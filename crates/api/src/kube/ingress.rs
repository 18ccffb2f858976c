//! `networking.k8s.io/v1` Ingress and IngressClass.

use serde::{Deserialize, Serialize};

use super::core::views;
use crate::Resource;

views! {
    /// `networking.k8s.io/v1 Ingress`.
    Ingress {
        /// Class; absent: the annotation, else the cluster's default.
        ingress_class_name: Option<String>,
        /// Where what no rule matches goes.
        default_backend: Option<IngressBackend>,
        /// Rules by host.
        rules: Vec<IngressRule>,
        /// Certificates by host.
        tls: Vec<IngressTls>,
    }
    /// A rule.
    IngressRule {
        /// Host, `*.suffix`, or empty for all.
        host: String,
        /// Paths.
        http: Option<HttpIngressRule>,
    }
    /// Paths of a rule.
    HttpIngressRule {
        /// Paths.
        paths: Vec<HttpIngressPath>,
    }
    /// A path.
    HttpIngressPath {
        /// The path.
        path: String,
        /// How it is compared.
        path_type: PathType,
        /// Where to.
        backend: IngressBackend,
    }
    /// Where to.
    IngressBackend {
        /// A Service.
        service: Option<IngressServiceBackend>,
        /// Another object; not supported.
        resource: Option<serde_json::Value>,
    }
    /// A Service and its port.
    IngressServiceBackend {
        /// Name, in the Ingress' namespace.
        name: String,
        /// Port.
        port: ServiceBackendPort,
    }
    /// A port by number or name.
    ServiceBackendPort {
        /// Number.
        number: u32,
        /// Name.
        name: String,
    }
    /// Certificates.
    IngressTls {
        /// Hosts.
        hosts: Vec<String>,
        /// Secret in the Ingress' namespace.
        secret_name: String,
    }
    /// `networking.k8s.io/v1 IngressClass`.
    IngressClass {
        /// Who implements it (`k8s.io/ingress-nginx`).
        controller: String,
    }
}

/// How a path is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PathType {
    /// Equal.
    Exact,
    /// By path elements.
    Prefix,
    /// As the class does.
    #[default]
    ImplementationSpecific,
}

impl Resource for Ingress {
    const GROUP: &'static str = "networking.k8s.io";
    const KIND: &'static str = "Ingress";
}

impl Resource for IngressClass {
    const GROUP: &'static str = "networking.k8s.io";
    const KIND: &'static str = "IngressClass";
    const CLUSTER_SCOPED: bool = true;
}
