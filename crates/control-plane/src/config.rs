//! What the control plane is told when it starts.

use std::net::{Ipv6Addr, SocketAddr};

use kube::Client;

use crate::IngressGateway;

/// Everything that is not in a resource.
#[derive(Clone)]
pub struct Config {
    /// The Kubernetes API.
    pub client: Client,
    /// Namespace of the control plane and of mesh-wide resources.
    pub root_namespace: String,
    /// SPIFFE trust domain.
    pub trust_domain: String,
    /// DNS suffix of services.
    pub cluster_domain: String,
    /// Where configuration and certificates are served, over TLS.
    pub xds_address: SocketAddr,
    /// Where the webhooks are served, over TLS.
    pub webhook_address: SocketAddr,
    /// Where readiness, metrics and `/debug/syncz` are served, over plain HTTP.
    pub monitoring_address: SocketAddr,
    /// Whether to register the webhooks with the API server.
    pub register_webhooks: bool,
    /// Image of injected containers.
    pub proxy_image: String,
    /// Type of the Services that are made for Gateways of the Gateway API.
    pub gateway_service_type: String,
    /// Gateways whose Ingresses get a status.
    pub ingress_gateways: Vec<IngressGateway>,
}

impl Config {
    /// The defaults: Istio's ports on all addresses, webhooks registered, Ingresses of ingress-nginx's class and Service.
    pub fn new(client: Client, root_namespace: &str, trust_domain: &str) -> Self {
        let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let gateway = |controller: &str, namespace: &str, service: &str| IngressGateway {
            controller: controller.to_owned(),
            namespace: namespace.to_owned(),
            service: service.to_owned(),
        };
        Self {
            client,
            root_namespace: root_namespace.to_owned(),
            trust_domain: trust_domain.to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            xds_address: any(15012),
            webhook_address: any(15017),
            monitoring_address: any(15014),
            register_webhooks: true,
            proxy_image: "varka".to_owned(),
            gateway_service_type: "LoadBalancer".to_owned(),
            ingress_gateways: vec![
                gateway("k8s.io/ingress-nginx", "ingress-nginx", "ingress-nginx-controller"),
                gateway("istio.io/ingress-controller", root_namespace, "istio-ingressgateway"),
            ],
        }
    }
}
