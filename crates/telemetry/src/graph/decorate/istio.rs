//! Badges: what Istio's resources do to the traffic of services and workloads, and which workloads are gateways.

use std::collections::{HashMap, HashSet};

use super::super::draft::Draft;
use super::super::facts::{DestinationRule, Facts, VirtualService, Workload, app_label, selects, version_label};
use super::super::key::known as is_known;
use super::super::model::{GatewayKind, Node, NodeKind, ServiceName};
use super::Known;

/// The label that names the Gateway (of the Gateway API) that a workload was made for.
const GATEWAY_LABEL: &str = "gateway.networking.k8s.io/gateway-name";

/// Hands out all badges.
pub(super) fn apply(draft: &mut Draft<'_>, known: &Known<'_>) {
    let facts = draft.facts;
    let suffix = facts.service_suffix();
    let rules = by_host(&facts.destination_rules, &suffix, |r| (&r.cluster, &r.namespace, vec![&r.host]));
    let services =
        by_host(&facts.virtual_services, &suffix, |v| (&v.cluster, &v.namespace, v.destinations.iter().collect()));
    let gateways = gateways(facts);
    for node in draft.live_nodes() {
        if let Some(gateway) = gateways.get(&(node.cluster.as_str(), node.namespace.as_str(), node.workload.as_str())) {
            node.badges.gateway = Some(gateway.clone());
        }
        if node.outside {
            continue;
        }
        node.badges.circuit_breaker = has_circuit_breaker(node, &rules);
        if node.kind == NodeKind::Service {
            let name = (node.cluster.clone(), node.namespace.clone(), node.service.clone());
            if let Some(service) = services.get(&name).and_then(|all| all.first()) {
                route(node, service);
            }
            name_app(node, known);
        }
    }
}

type ByHost<'f, T> = HashMap<(String, String, String), Vec<&'f T>>;

/// Resources by the services that their hosts name: in the resource's namespace by name, in others by longer names.
fn by_host<'f, T>(
    resources: &'f [T],
    suffix: &str,
    hosts: impl Fn(&'f T) -> (&'f String, &'f String, Vec<&'f String>),
) -> ByHost<'f, T> {
    let mut found: ByHost<'f, T> = HashMap::new();
    for resource in resources {
        let (cluster, own, hosts) = hosts(resource);
        let names: HashSet<_> = hosts.into_iter().filter_map(|host| service_of(host, own, suffix)).collect();
        for (namespace, name) in names {
            found.entry((cluster.clone(), namespace, name)).or_default().push(resource);
        }
    }
    found
}

/// Namespace and name of the service that a host names.
fn service_of(host: &str, own: &str, suffix: &str) -> Option<(String, String)> {
    let Some((name, rest)) = host.split_once('.') else { return Some((own.to_owned(), host.to_owned())) };
    let (namespace, tail) = rest.split_once('.').unwrap_or((rest, ""));
    (tail.is_empty() || tail == "svc" || tail == suffix).then(|| (namespace.to_owned(), name.to_owned()))
}

fn has_circuit_breaker(node: &Node, rules: &ByHost<'_, DestinationRule>) -> bool {
    let version = is_known(&node.version).then_some(node.version.as_str());
    let has = |rule: &DestinationRule| {
        let of_version = |labels: &_| version.is_none_or(|v| version_label(labels).is_some_and(|(_, l)| l == v));
        rule.circuit_breaker || rule.subsets_with_circuit_breaker.iter().any(of_version)
    };
    let asked = |service: &ServiceName| {
        let name = (service.cluster.clone(), service.namespace.clone(), service.name.clone());
        rules.get(&name).is_some_and(|rules| rules.iter().any(|rule| has(rule)))
    };
    match node.kind {
        NodeKind::Service => asked(&ServiceName {
            cluster: node.cluster.clone(),
            namespace: node.namespace.clone(),
            name: node.service.clone(),
        }),
        NodeKind::App => node.services.iter().any(asked),
        NodeKind::Workload => version.is_some() && node.services.iter().any(asked),
        NodeKind::Unknown | NodeKind::Aggregate => false,
    }
}

fn route(node: &mut Node, service: &VirtualService) {
    let badges = &mut node.badges;
    badges.virtual_service = Some((service.name.clone(), service.hosts.clone()));
    badges.request_routing = service.request_routing;
    badges.request_timeout = service.request_timeout;
    badges.fault_injection = service.fault_injection;
    badges.traffic_shifting = service.traffic_shifting;
    badges.tcp_traffic_shifting = service.tcp_traffic_shifting;
    badges.mirroring = service.mirroring;
    badges.gateway_api = service.from_gateway_api;
}

/// A service is boxed with its app; reports of a service do not name it.
fn name_app(node: &mut Node, known: &Known<'_>) {
    if !node.app.is_empty() || node.egress.is_some() {
        return;
    }
    let app = |name: &str| {
        let service = known.service(&node.cluster, &node.namespace, name)?;
        app_label(&service.labels).map(|(_, app)| app.to_owned())
    };
    let found = match &node.service_entry {
        None => app(&node.service),
        Some(entry) => entry.hosts.iter().find_map(|host| app(host.split('.').next().unwrap_or(host))),
    };
    node.app = found.unwrap_or_default();
}

type Gateways<'f> = HashMap<(&'f str, &'f str, &'f str), (GatewayKind, Vec<String>)>;

/// Workloads that serve a Gateway, and its hosts.
fn gateways(facts: &Facts) -> Gateways<'_> {
    let mut found = HashMap::new();
    let name =
        |w: &'_ Workload| -> (String, String, String) { (w.cluster.clone(), w.namespace.clone(), w.name.clone()) };
    for gateway in &facts.gateways {
        let chosen = facts.workloads.iter().filter(|w| w.cluster == gateway.cluster);
        for workload in chosen.filter(|w| selects(&gateway.selector, &w.labels)) {
            let kind = match workload.labels.get("operator.istio.io/component").map(String::as_str) {
                Some("IngressGateways") => GatewayKind::Ingress,
                Some("EgressGateways") => GatewayKind::Egress,
                _ => continue,
            };
            found.insert(name(workload), (kind, gateway.hosts.clone()));
        }
    }
    for gateway in &facts.kubernetes_gateways {
        let mut workloads = facts.workloads.iter().filter(|w| w.cluster == gateway.cluster);
        let workload = workloads.find(|w| w.labels.get(GATEWAY_LABEL) == Some(&gateway.name));
        if let Some(workload) = workload {
            let hosts = if gateway.hosts.is_empty() { vec!["*".to_owned()] } else { gateway.hosts.clone() };
            found.insert(name(workload), (GatewayKind::GatewayApi, hosts));
        }
    }
    facts
        .workloads
        .iter()
        .filter_map(|w| {
            let gateway = found.remove(&name(w))?;
            Some(((w.cluster.as_str(), w.namespace.as_str(), w.name.as_str()), gateway))
        })
        .collect()
}
