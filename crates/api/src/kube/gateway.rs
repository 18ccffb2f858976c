//! The Gateway API (`gateway.networking.k8s.io`): classes, gateways, grants and policies. Routes are in [`super::gateway_routes`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::core::views;
use crate::{LabelSelector, Resource};

views! {
    /// `GatewayClass`: who serves Gateways of this class.
    GatewayClass {
        /// Who serves them.
        controller_name: String,
        /// Settings of the controller.
        parameters_ref: Option<ParametersReference>,
        /// For people.
        description: String,
    }
    /// `Gateway`: the ports that an edge proxy opens.
    KubernetesGateway {
        /// Its class.
        gateway_class_name: String,
        /// Ports, protocols, hosts.
        listeners: Vec<GatewayListener>,
        /// Where it is to be reached; a single `Hostname` names a Service that is deployed by hand.
        addresses: Vec<GatewayAddress>,
        /// What is written on the objects that are made for it.
        infrastructure: Option<GatewayInfrastructure>,
        /// Who may add listeners.
        allowed_listeners: Option<AllowedListeners>,
        /// TLS towards clients and towards backends.
        tls: Option<GatewayTls>,
        /// Whether routes that name no parent attach.
        default_scope: Option<String>,
    }
    /// One port of a Gateway.
    GatewayListener {
        /// Name; what `sectionName` of a route means.
        name: String,
        /// Host, `*.suffix`, or absent for all.
        hostname: Option<String>,
        /// Port.
        port: u32,
        /// `HTTP`, `HTTPS`, `TLS`, `TCP`, `UDP`.
        protocol: String,
        /// TLS.
        tls: Option<ListenerTls>,
        /// Which routes may attach.
        allowed_routes: Option<AllowedRoutes>,
    }
    /// TLS of a listener.
    ListenerTls {
        /// `Terminate` or `Passthrough`; absent: `Terminate`.
        mode: Option<String>,
        /// Certificates.
        certificate_refs: Vec<SecretReference>,
        /// Istio's settings by name.
        options: BTreeMap<String, String>,
    }
    /// A Secret, perhaps in another namespace.
    SecretReference {
        /// Group; absent: core.
        group: Option<String>,
        /// Kind; absent: Secret.
        kind: Option<String>,
        /// Name.
        name: String,
        /// Namespace; absent: the same.
        namespace: Option<String>,
    }
    /// An object, perhaps in another namespace.
    GatewayObjectReference {
        /// Group.
        group: String,
        /// Kind.
        kind: String,
        /// Name.
        name: String,
        /// Namespace; absent: the same.
        namespace: Option<String>,
    }
    /// Which routes may attach.
    AllowedRoutes {
        /// From where.
        namespaces: Option<RouteNamespaces>,
        /// Of which kinds; empty: all that the protocol can carry.
        kinds: Vec<RouteGroupKind>,
    }
    /// From where routes may attach.
    RouteNamespaces {
        /// `All`, `Selector`, `Same`, `None`; absent: `Same`.
        from: Option<String>,
        /// For `Selector`.
        selector: Option<LabelSelector>,
    }
    /// A kind of route.
    RouteGroupKind {
        /// Group; absent: the Gateway API's.
        group: Option<String>,
        /// Kind.
        kind: String,
    }
    /// Who may add listeners to a Gateway.
    AllowedListeners {
        /// From where.
        namespaces: Option<RouteNamespaces>,
    }
    /// Where a Gateway is to be reached.
    GatewayAddress {
        /// `IPAddress`, `Hostname` or another; absent: `IPAddress`.
        r#type: Option<String>,
        /// The address.
        value: String,
    }
    /// What is written on the objects that are made for a Gateway.
    GatewayInfrastructure {
        /// Labels.
        labels: BTreeMap<String, String>,
        /// Annotations.
        annotations: BTreeMap<String, String>,
        /// Changes to the objects themselves.
        parameters_ref: Option<ParametersReference>,
    }
    /// An object with settings.
    ParametersReference {
        /// Group.
        group: String,
        /// Kind.
        kind: String,
        /// Name.
        name: String,
        /// Namespace, for classes.
        namespace: Option<String>,
    }
    /// TLS towards clients and towards backends.
    GatewayTls {
        /// Towards backends.
        backend: Option<BackendTls>,
        /// Towards clients.
        frontend: Option<FrontendTls>,
    }
    /// TLS towards backends.
    BackendTls {
        /// The certificate that the gateway shows.
        client_certificate_ref: Option<SecretReference>,
    }
    /// TLS towards clients, by port.
    FrontendTls {
        /// Where no port says otherwise.
        default: FrontendTlsConfig,
        /// By port.
        per_port: Vec<FrontendTlsPort>,
    }
    /// TLS of a port.
    FrontendTlsPort {
        /// The port.
        port: u32,
        /// Its settings.
        tls: FrontendTlsConfig,
    }
    /// What clients must show.
    FrontendTlsConfig {
        /// Absent: nothing.
        validation: Option<FrontendValidation>,
    }
    /// How certificates of clients are checked.
    FrontendValidation {
        /// Trust anchors.
        ca_certificate_refs: Vec<GatewayObjectReference>,
        /// `AllowValidOnly` or `AllowInsecureFallback`; absent: the first.
        mode: Option<String>,
    }
    /// `ReferenceGrant`: which references into its namespace are allowed.
    ReferenceGrant {
        /// Who may refer.
        from: Vec<GrantFrom>,
        /// To what.
        to: Vec<GrantTo>,
    }
    /// Who may refer.
    GrantFrom {
        /// Group.
        group: String,
        /// Kind.
        kind: String,
        /// Namespace.
        namespace: String,
    }
    /// What may be referred to.
    GrantTo {
        /// Group.
        group: String,
        /// Kind.
        kind: String,
        /// Name; absent: all.
        name: Option<String>,
    }
    /// `BackendTLSPolicy`: TLS towards the endpoints of a Service.
    BackendTlsPolicy {
        /// The Services.
        target_refs: Vec<PolicyTarget>,
        /// How the server is recognised.
        validation: BackendValidation,
        /// Settings of implementations.
        options: BTreeMap<String, String>,
    }
    /// What a policy is about.
    PolicyTarget {
        /// Group.
        group: String,
        /// Kind.
        kind: String,
        /// Name, in the policy's namespace.
        name: String,
        /// One port by name; absent: all.
        section_name: Option<String>,
    }
    /// How a server is recognised.
    BackendValidation {
        /// Trust anchors.
        ca_certificate_refs: Vec<LocalReference>,
        /// `System`.
        #[serde(rename = "wellKnownCACertificates")]
        well_known_ca_certificates: Option<String>,
        /// SNI, and the name in the certificate.
        hostname: String,
        /// Names in the certificate, instead.
        subject_alt_names: Vec<BackendName>,
    }
    /// An object in the same namespace.
    LocalReference {
        /// Group.
        group: String,
        /// Kind.
        kind: String,
        /// Name.
        name: String,
    }
    /// A name in a certificate.
    BackendName {
        /// `Hostname` or `URI`.
        r#type: String,
        /// For `Hostname`.
        hostname: String,
        /// For `URI`.
        uri: String,
    }
}

/// API group of the Gateway API.
pub const GATEWAY_API: &str = "gateway.networking.k8s.io";

impl Resource for GatewayClass {
    const GROUP: &'static str = GATEWAY_API;
    const KIND: &'static str = "GatewayClass";
    const CLUSTER_SCOPED: bool = true;
}

impl Resource for KubernetesGateway {
    const GROUP: &'static str = GATEWAY_API;
    const KIND: &'static str = "Gateway";
}

impl Resource for ReferenceGrant {
    const GROUP: &'static str = GATEWAY_API;
    const KIND: &'static str = "ReferenceGrant";
}

impl Resource for BackendTlsPolicy {
    const GROUP: &'static str = GATEWAY_API;
    const KIND: &'static str = "BackendTLSPolicy";
}
