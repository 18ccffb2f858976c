//! Where a Gateway is reached: the Services in front of its proxies, and which of its ports lead to one.

use std::collections::BTreeSet;

use serde_json::Value;
use varka_api::Object;
use varka_api::kube::{KubernetesGateway, Service as KubeService};

use super::{Condition, Problem, World};
use crate::registry::{Service, TargetPort};
use crate::snapshot::Snapshot;

/// Annotations that name the objects that are made for a Gateway.
const NAME: &str = "gateway.istio.io/name-override";
const ACCOUNT: &str = "gateway.istio.io/service-account";
/// Which of its addresses a Gateway tells: `IPAddress`, `Hostname`; empty: both.
const ADDRESS_TYPE: &str = "networking.istio.io/address-type";

/// Whether a Deployment and a Service are made for a Gateway: unless it names a Service by a `Hostname`.
pub(super) fn is_managed(gateway: &KubernetesGateway) -> bool {
    match gateway.addresses.as_slice() {
        [] => true,
        [one] => one.r#type.as_deref().is_none_or(|t| t == "IPAddress"),
        _ => false,
    }
}

/// Name of the Deployment and the Service that are made for a Gateway.
pub fn default_name(gateway: &Object<KubernetesGateway>) -> String {
    let given = gateway.metadata.annotations.get(NAME).filter(|n| !n.is_empty());
    given.cloned().unwrap_or_else(|| format!("{}-{}", gateway.metadata.name, gateway.spec.gateway_class_name))
}

/// Service account of the proxies that are made for a Gateway.
pub fn account(gateway: &Object<KubernetesGateway>) -> String {
    let given = gateway.metadata.annotations.get(ACCOUNT).filter(|n| !n.is_empty());
    given.cloned().unwrap_or_else(|| format!("{}-{}", gateway.metadata.name, gateway.spec.gateway_class_name))
}

/// Hosts of the Services in front of a Gateway's proxies, and which addresses mean none.
pub(super) fn services(world: &World<'_>, gateway: &Object<KubernetesGateway>) -> (Vec<String>, Option<Problem>) {
    let namespace = gateway.metadata.namespace.as_str();
    if is_managed(&gateway.spec) {
        return (vec![world.fqdn(&default_name(gateway), namespace)], None);
    }
    let is_host = |t: &Option<String>| t.as_deref().is_none_or(|t| t == "Hostname");
    let (hosts, others): (Vec<_>, Vec<_>) = gateway.spec.addresses.iter().partition(|a| is_host(&a.r#type));
    let hosts = hosts.into_iter().map(|a| match a.value.contains('.') {
        true => a.value.clone(),
        false => world.fqdn(&a.value, namespace),
    });
    let left_out: Vec<&str> = others.iter().map(|a| a.value.as_str()).collect();
    let problem = (!left_out.is_empty()).then(|| {
        let list = left_out.join(", ");
        let message = format!("addresses: only those of type Hostname name a Service; left out: {list}");
        Problem::new("UnsupportedAddress", message)
    });
    (hosts.collect(), problem)
}

/// What became of the addresses.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// `HOST:PORT` that lead to a proxy.
    internal: BTreeSet<String>,
    internal_ips: BTreeSet<String>,
    external: BTreeSet<String>,
    /// Hosts of Services that wait for an address.
    pending: BTreeSet<String>,
    warnings: BTreeSet<String>,
    unusable: bool,
}

/// Follows the Services of a Gateway in `namespace` to their endpoints. `ports` are those of its servers.
pub(super) fn resolve(snapshot: &Snapshot, namespace: &str, hosts: &[String], ports: &BTreeSet<u32>) -> Resolved {
    let mut out = Resolved::default();
    for host in hosts {
        let all = snapshot.registry().by_host(host);
        let Some(service) = all.iter().find(|s| &*s.namespace == namespace) else {
            out.warnings.insert(match all.first() {
                Some(other) => {
                    format!("Service {host} is in namespace {}, and not in that of the Gateway", other.namespace)
                }
                None => format!("there is no Service {host}"),
            });
            out.unusable = true;
            continue;
        };
        for port in ports {
            follow(snapshot, service, *port, &mut out);
        }
    }
    out
}

fn follow(snapshot: &Snapshot, service: &Service, port: u32, out: &mut Resolved) {
    let host = &service.host;
    let number = u16::try_from(port).unwrap_or_default();
    if service.port(number).is_some_and(|p| has_endpoints(snapshot, service, &p.name)) {
        out.internal.insert(format!("{host}:{port}"));
        out.internal_ips.extend(service.addresses.iter().map(ToString::to_string));
        let object = snapshot.stores.services.get(&service.namespace, &service.name);
        let external = object.map(|o| external(o)).unwrap_or_default();
        if external.is_empty() && object.is_some_and(|o| o.spec.r#type == "LoadBalancer") {
            out.warnings.insert(format!("Service {host} has no address of a load balancer yet"));
            out.pending.insert(host.to_string());
        }
        out.external.extend(external);
    } else if !service.ports.iter().any(|p| has_endpoints(snapshot, service, &p.name)) {
        out.warnings.insert(format!("Service {host} has no endpoint that is ready"));
    } else if let Some(meant) = port_with_target(service, number) {
        out.warnings.insert(format!(
            "Service {host} has no port {port}; that is what its port {meant} leads to, and the listener must name the latter"
        ));
        out.unusable = true;
    } else {
        let managed = service.labels.contains_key("gateway.istio.io/managed");
        // Of a Service that is made here, endpoints follow soon.
        if !managed || service.port(number).is_none() {
            out.warnings.insert(format!("Service {host} has no endpoint for port {port}"));
            out.unusable = true;
        }
    }
}

fn has_endpoints(snapshot: &Snapshot, service: &Service, port: &str) -> bool {
    if !service.is_kubernetes() {
        return true;
    }
    snapshot.slices_of(&service.namespace, &service.name).any(|name| {
        snapshot.stores.endpoint_slices.get(&service.namespace, name).is_some_and(|slice| {
            let ready = slice.spec.endpoints.iter().any(|e| e.conditions.ready != Some(false));
            ready && slice.spec.ports.iter().any(|p| p.name == port)
        })
    })
}

/// The service port whose endpoints listen on `number`.
fn port_with_target(service: &Service, number: u16) -> Option<u16> {
    let crate::registry::Source::Kubernetes { target_ports, .. } = &service.source else { return None };
    target_ports.iter().find(|(_, target)| **target == TargetPort::Number(number)).map(|(port, _)| *port)
}

/// Addresses of a Service's load balancer, else its external ones.
fn external(service: &Object<KubeService>) -> Vec<String> {
    let ingress = service.status.pointer("/loadBalancer/ingress").and_then(Value::as_array);
    let of = |entry: &Value| {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
        text("ip").or_else(|| text("hostname")).map(str::to_owned)
    };
    ingress.into_iter().flatten().filter_map(of).collect()
}

impl Resolved {
    /// Whether proxies are told and reachable.
    pub(super) fn programmed(&self, any_service: bool) -> Condition {
        let list = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let warnings: Vec<&str> = self.warnings.iter().map(String::as_str).collect();
        let problem = if !any_service {
            Some(Problem::new("UnsupportedAddress", "none of the addresses names a Service"))
        } else if warnings.is_empty() {
            None
        } else {
            let reason = if self.unusable { "AddressNotUsable" } else { "AddressNotAssigned" };
            Some(Problem::new(reason, warnings.join("; ")))
        };
        let message = match self.internal.is_empty() {
            true => "The proxies are told of it".to_owned(),
            false => format!("The proxies behind {} are told of it", list(&self.internal)),
        };
        Condition::unless(problem.as_ref(), "Programmed", "Programmed", message)
    }

    /// `status.addresses`; nothing before there is one.
    pub(super) fn addresses(&self, gateway: &Object<KubernetesGateway>) -> Vec<Value> {
        let mut found: Vec<String> = self.external.iter().cloned().collect();
        if found.is_empty() {
            let kind = gateway.metadata.annotations.get(ADDRESS_TYPE).map_or("Hostname", String::as_str);
            if kind != "Hostname" {
                found.extend(self.internal_ips.iter().cloned());
            }
            if kind != "IPAddress" {
                let hosts = self.internal.iter().filter_map(|h| h.rsplit_once(':')).map(|(host, _)| host.to_owned());
                for host in hosts.filter(|h| !self.pending.contains(h)) {
                    if !found.contains(&host) {
                        found.push(host);
                    }
                }
            }
        }
        let kind = |value: &str| if value.parse::<std::net::IpAddr>().is_ok() { "IPAddress" } else { "Hostname" };
        found.iter().map(|value| serde_json::json!({"type": kind(value), "value": value})).collect()
    }
}
