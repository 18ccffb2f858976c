//! The node's part of Services: keeps the base namespace's rules in step with Services and their endpoints.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use varka_sys::nft::{self, Protocol, ServiceRule, ServiceRules};

use crate::egress;
use crate::node::Node;
use crate::sandbox::BRIDGE;

/// The label by which an EndpointSlice names its Service.
pub(crate) const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Puts the rules in force whenever they change.
pub(crate) async fn run(node: Arc<Node>) {
    let mut changes = node.cluster.route_changes();
    let mut in_force: Option<Vec<ServiceRule>> = None;
    loop {
        changes.mark_unchanged();
        let rules = rules(&node.cluster.services.state(), &node.cluster.endpoints.state());
        if in_force.as_ref() != Some(&rules) {
            let all = table(&node, rules.clone());
            let applied = tokio::task::spawn_blocking(move || nft::apply_service_rules(&all)).await;
            match applied {
                Ok(Ok(())) => in_force = Some(rules),
                Ok(Err(error)) => {
                    tracing::error!(%error, "service addresses keep their old endpoints; tried again in a second");
                    drop(tokio::time::timeout(Duration::from_secs(1), changes.changed()).await);
                    continue;
                }
                Err(error) => tracing::error!(%error, "service addresses keep their old endpoints"),
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

pub(crate) fn table(node: &Node, services: Vec<ServiceRule>) -> ServiceRules {
    let config = &node.config;
    ServiceRules {
        bridge: BRIDGE.to_owned(),
        inside: vec![config.pod_cidr, config.service_cidr],
        host: config.host_ip(),
        relay_port: egress::PORT,
        service_network: config.service_cidr,
        local: vec![config.dns_ip],
        services,
    }
}

/// The rules that follow from Services and their endpoints. Pure.
fn rules(services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) -> Vec<ServiceRule> {
    let mut by_service: HashMap<(String, String), Vec<&EndpointSlice>> = HashMap::new();
    for slice in slices {
        let service = slice.metadata.labels.as_ref().and_then(|l| l.get(SERVICE_LABEL));
        if let (Some(service), Some(namespace)) = (service, &slice.metadata.namespace) {
            by_service.entry((namespace.clone(), service.clone())).or_default().push(slice);
        }
    }
    let mut rules = Vec::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        let address = spec.cluster_ip.as_deref().and_then(|ip| ip.parse::<Ipv4Addr>().ok());
        let (Some(address), Some(namespace), Some(name)) =
            (address, &service.metadata.namespace, &service.metadata.name)
        else {
            continue;
        };
        let slices = by_service.get(&(namespace.clone(), name.clone())).map_or(&[][..], |list| list);
        for port in spec.ports.iter().flatten() {
            rules.extend(rule(address, port, slices));
        }
    }
    rules.sort();
    rules
}

fn rule(address: Ipv4Addr, port: &ServicePort, slices: &[&EndpointSlice]) -> Option<ServiceRule> {
    let protocol = match port.protocol.as_deref().unwrap_or("TCP") {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        _ => return None,
    };
    let mut backends: BTreeMap<SocketAddrV4, ()> = BTreeMap::new();
    for slice in slices {
        let same = |p: &&k8s_openapi::api::discovery::v1::EndpointPort| {
            p.name.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default()
        };
        let Some(number) = slice.ports.iter().flatten().find(same).and_then(|p| u16::try_from(p.port?).ok()) else {
            continue;
        };
        for endpoint in slice.endpoints.iter().filter(|e| e.conditions.as_ref().and_then(|c| c.ready) != Some(false)) {
            backends.extend(
                endpoint.addresses.iter().filter_map(|a| a.parse().ok()).map(|a| (SocketAddrV4::new(a, number), ())),
            );
        }
    }
    let port = u16::try_from(port.port).ok()?;
    Some(ServiceRule { address, port, protocol, backends: backends.into_keys().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ready_endpoints_of_the_ports_name_count() {
        let service: Service = serde_json::from_value(serde_json::json!({"metadata": {"name": "s", "namespace": "n"},
            "spec": {"clusterIP": "10.96.0.5", "ports": [{"name": "http", "port": 80}, {"name": "sync", "port": 53, "protocol": "UDP"}]}}))
        .unwrap();
        let headless: Service = serde_json::from_value(serde_json::json!({"metadata": {"name": "h", "namespace": "n"},
            "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}))
        .unwrap();
        let slice: EndpointSlice = serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "n", "labels": {SERVICE_LABEL: "s"}}, "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["10.244.0.2"], "conditions": {"ready": true}},
                          {"addresses": ["10.244.0.3"], "conditions": {"ready": false}}, {"addresses": ["10.244.0.4"]}]}))
        .unwrap();
        let rules = rules(&[Arc::new(service), Arc::new(headless)], &[Arc::new(slice)]);
        assert_eq!(rules.len(), 2);
        let http = rules.iter().find(|r| r.port == 80).unwrap();
        assert_eq!(http.backends, ["10.244.0.2:8080".parse().unwrap(), "10.244.0.4:8080".parse().unwrap()]);
        let udp = rules.iter().find(|r| r.protocol == Protocol::Udp).unwrap();
        assert!(udp.backends.is_empty(), "a port without endpoints refuses");
    }
}
