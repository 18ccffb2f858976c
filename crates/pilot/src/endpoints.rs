//! Endpoints of a service's port, with what a client must know of each.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use varka_api::Object;
use varka_api::istio::{Labels, LocalityLb, ServiceEntry, WorkloadEntry};
use varka_api::kube::{Pod, TopologyZone};
use varka_engine::ir::{ClusterLoadAssignment, Endpoint, HealthStatus, Locality, LocalityEndpoints, Str};

use crate::context::{Ctx, s};
use crate::diagnostic::Severity;
use crate::key::contains;
use crate::policy::Mode;
use crate::reads::ReadKey;
use crate::registry::{Port, Resolution, Service, Source, TargetPort};
use crate::snapshot::Kind;
use crate::workload;

/// One endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) address: Option<IpAddr>,
    /// Host name, where the address is one.
    pub(crate) host: Option<Str>,
    pub(crate) port: u16,
    pub(crate) labels: Labels,
    pub(crate) namespace: Str,
    pub(crate) service_account: Str,
    pub(crate) locality: TopologyZone,
    pub(crate) weight: u32,
    /// Workload name.
    pub(crate) workload: Str,
    /// Has a sidecar, as its labels say.
    pub(crate) meshed: bool,
}

/// All endpoints of a port.
pub(crate) fn instances(ctx: &Ctx<'_>, service: &Service, port: &Port) -> Vec<Instance> {
    match &service.source {
        Source::Kubernetes { publish_not_ready, target_ports } => {
            kubernetes(ctx, service, port, *publish_not_ready, target_ports)
        }
        Source::External(entry) => external(ctx, service, entry, port),
    }
}

fn kubernetes(
    ctx: &Ctx<'_>,
    service: &Service,
    port: &Port,
    publish_not_ready: bool,
    target_ports: &BTreeMap<u16, TargetPort>,
) -> Vec<Instance> {
    ctx.read(ReadKey::Endpoints(service.namespace.clone(), service.name.clone()));
    let mut found = Vec::new();
    for name in ctx.snapshot.slices_of(&service.namespace, &service.name) {
        let Some(slice) = ctx.snapshot.stores.endpoint_slices.get(&service.namespace, name) else { continue };
        let declared = slice.spec.ports.iter().find(|p| p.name == *port.name).map(|p| p.port);
        let number = match (declared, target_ports.get(&port.number)) {
            (Some(n), _) => u16::try_from(n).unwrap_or_default(),
            (None, Some(TargetPort::Number(n))) if slice.spec.ports.is_empty() => *n,
            _ => continue,
        };
        for endpoint in &slice.spec.endpoints {
            let ready = endpoint.conditions.ready.unwrap_or(true) && !endpoint.conditions.terminating.unwrap_or(false);
            let Some(address) = endpoint.addresses.first().and_then(|a| a.parse::<IpAddr>().ok()) else { continue };
            if !ready && !publish_not_ready {
                continue;
            }
            let pod = endpoint.target_ref.as_ref().filter(|r| r.kind == "Pod").and_then(|r| {
                let namespace = if r.namespace.is_empty() { &*service.namespace } else { r.namespace.as_str() };
                ctx.object(Kind::Pod, &ctx.snapshot.stores.pods, namespace, &r.name)
            });
            let mut instance = pod.map_or_else(|| unknown(service), |pod| of_pod(ctx, pod));
            instance.address = Some(address);
            instance.port = number;
            if instance.locality.zone.is_empty() {
                instance.locality.zone.clone_from(&endpoint.zone);
            }
            found.push(instance);
        }
    }
    found.extend(workload_entries(ctx, service, port, target_ports));
    found
}

/// WorkloadEntries that a Service selects like pods. A headless Service has none: its clients dial pods by their addresses.
fn workload_entries(
    ctx: &Ctx<'_>,
    service: &Service,
    port: &Port,
    target_ports: &BTreeMap<u16, TargetPort>,
) -> Vec<Instance> {
    if service.selector.is_empty() || service.resolution != Resolution::Endpoints {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (entry, labels) in selected(ctx, &service.namespace, &service.selector) {
        let number = match target_ports.get(&port.number) {
            Some(TargetPort::Name(name)) => entry.spec.ports.get(&**name).copied(),
            Some(TargetPort::Number(n)) => Some(entry.spec.ports.get(&*port.name).copied().unwrap_or((*n).into())),
            None => None,
        };
        let Some(number) = number else { continue };
        let instance = of_entry(&entry.spec, labels, number, &entry.metadata.name, &entry.metadata.namespace);
        if instance.address.is_some() {
            found.push(instance);
        }
    }
    found
}

/// Whether a WorkloadEntry's address is one, and not a name.
pub(crate) fn has_address(entry: &WorkloadEntry) -> bool {
    entry.address.parse::<IpAddr>().is_ok()
}

/// Says which Services select a WorkloadEntry in vain, for want of an address.
pub(crate) fn check_entry(ctx: &Ctx<'_>, entry: &Entry) {
    if has_address(&entry.spec) {
        return;
    }
    let mut labels = entry.metadata.labels.clone();
    labels.extend(entry.spec.labels.clone());
    let namespace = entry.metadata.namespace.as_str();
    for service in ctx.namespace(Kind::Service, &ctx.snapshot.stores.services, namespace) {
        let selector = &service.spec.selector;
        let has_endpoints = service.spec.r#type != "ExternalName" && service.spec.cluster_ip != "None";
        if !selector.is_empty() && has_endpoints && contains(&labels, selector) {
            ctx.report(
                Severity::Warning,
                "workload-without-address",
                entry,
                "spec.address",
                format!("`{}` is not an IP address, which endpoints of a Service must have", entry.spec.address),
                format!("it is no endpoint of Service {namespace}/{}", service.metadata.name),
            );
        }
    }
}

type Entry = Arc<Object<WorkloadEntry>>;

/// WorkloadEntries of a namespace by label, each with its labels.
fn selected<'a, 's>(
    ctx: &Ctx<'a>,
    namespace: &str,
    selector: &'s Labels,
) -> impl Iterator<Item = (&'a Entry, Labels)> + use<'a, 's> {
    let entries = ctx.namespace(Kind::WorkloadEntry, &ctx.snapshot.stores.workload_entries, namespace);
    let labelled = entries.map(|entry| {
        let mut labels = entry.metadata.labels.clone();
        labels.extend(entry.spec.labels.clone());
        (entry, labels)
    });
    labelled.filter(|(_, labels)| contains(labels, selector))
}

fn of_entry(e: &WorkloadEntry, labels: Labels, number: u32, name: &str, namespace: &str) -> Instance {
    let address = e.address.parse::<IpAddr>().ok();
    let mut zone = e.locality.split('/').map(str::to_owned);
    Instance {
        host: address.is_none().then(|| s(&e.address)),
        address,
        port: u16::try_from(number).unwrap_or_default(),
        namespace: s(namespace),
        service_account: s(&e.service_account),
        locality: TopologyZone {
            region: zone.next().unwrap_or_default(),
            zone: zone.next().unwrap_or_default(),
            sub_zone: zone.next().unwrap_or_default(),
        },
        weight: e.weight.max(1),
        workload: s(name),
        meshed: match labels.get("security.istio.io/tlsMode") {
            Some(mode) => mode == "istio",
            None => !e.service_account.is_empty(),
        },
        labels,
    }
}

fn unknown(service: &Service) -> Instance {
    Instance {
        address: None,
        host: None,
        port: 0,
        labels: Labels::new(),
        namespace: service.namespace.clone(),
        service_account: s(""),
        locality: TopologyZone::default(),
        weight: 1,
        workload: s(""),
        meshed: false,
    }
}

fn of_pod(ctx: &Ctx<'_>, pod: &Object<Pod>) -> Instance {
    let spec = &pod.spec.spec;
    let node = ctx.object(Kind::Node, &ctx.snapshot.stores.nodes, "", &spec.node_name);
    let account = if spec.service_account_name.is_empty() { "default" } else { spec.service_account_name.as_str() };
    Instance {
        address: None,
        host: None,
        port: 0,
        labels: pod.metadata.labels.clone(),
        namespace: s(&pod.metadata.namespace),
        service_account: s(account),
        locality: node.map(|n| TopologyZone::of(&n.metadata.labels)).unwrap_or_default(),
        weight: 1,
        workload: s(workload::owner(&pod.metadata).0),
        meshed: is_meshed(&pod.metadata.labels),
    }
}

fn is_meshed(labels: &Labels) -> bool {
    labels.get("security.istio.io/tlsMode").is_some_and(|m| m == "istio")
}

fn external(ctx: &Ctx<'_>, service: &Service, entry: &Object<ServiceEntry>, port: &Port) -> Vec<Instance> {
    let Some(declared) = entry.spec.ports.iter().find(|p| p.number == u32::from(port.number)) else {
        return Vec::new();
    };
    let target = if declared.target_port > 0 { declared.target_port } else { declared.number };
    let mut found = Vec::new();
    let port_of = |e: &WorkloadEntry| e.ports.get(&declared.name).copied().unwrap_or(target);
    let (name, namespace) = (&entry.metadata.name, &entry.metadata.namespace);
    for endpoint in &entry.spec.endpoints {
        found.push(of_entry(endpoint, endpoint.labels.clone(), port_of(endpoint), name, namespace));
    }
    if entry.spec.workload_selector.is_some() {
        let stores = &ctx.snapshot.stores;
        for (other, labels) in selected(ctx, namespace, &service.selector) {
            found.push(of_entry(&other.spec, labels, port_of(&other.spec), &other.metadata.name, namespace));
        }
        for pod in ctx.namespace(Kind::Pod, &stores.pods, namespace) {
            let Ok(address) = pod.spec.status.pod_ip.parse() else { continue };
            if contains(&pod.metadata.labels, &service.selector) && is_ready(&pod.spec) {
                let port = u16::try_from(target).unwrap_or_default();
                found.push(Instance { address: Some(address), port, ..of_pod(ctx, pod) });
            }
        }
    }
    if found.is_empty() && entry.spec.endpoints.is_empty() && entry.spec.workload_selector.is_none() {
        // DNS of the host itself.
        let port = u16::try_from(target).unwrap_or_default();
        found.push(Instance { host: Some(service.host.clone()), port, ..unknown(service) });
    }
    found
}

fn is_ready(pod: &Pod) -> bool {
    pod.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True")
}

/// How an assignment is ordered.
#[derive(Default)]
pub(crate) struct Order<'a> {
    /// Locality settings in force; `None`: one priority.
    pub(crate) locality: Option<&'a LocalityLb>,
    /// Only with outlier detection does a farther locality take over.
    pub(crate) failover: bool,
}

/// The assignment of a cluster: `instances` that have `labels`, by locality.
pub(crate) fn assignment(
    ctx: &Ctx<'_>,
    name: &Str,
    service: &Service,
    instances: Vec<Instance>,
    labels: &Labels,
    order: &Order<'_>,
) -> ClusterLoadAssignment {
    let mut groups: BTreeMap<(u32, TopologyKey), Vec<Endpoint>> = BTreeMap::new();
    let own = own_locality(ctx);
    for instance in instances.into_iter().filter(|i| contains(&i.labels, labels)) {
        let priority = if order.failover { priority(ctx, &own, &instance, order.locality) } else { 0 };
        let key = (priority, TopologyKey::of(&instance.locality));
        groups.entry(key).or_default().push(endpoint(ctx, service, &instance));
    }
    compact_priorities(&mut groups);
    let localities = groups
        .into_iter()
        .filter_map(|((priority, key), endpoints)| {
            // A place that `distribute` gives nothing is left out, as in Istio: a weight of 0 is none that a proxy takes.
            let weight = share(&own, &key, order.locality, &endpoints).filter(|share| *share > 0)?;
            let locality = Locality { region: s(key.0), zone: s(key.1), sub_zone: s(key.2) };
            Some(LocalityEndpoints { weight: Some(weight), locality, priority, endpoints })
        })
        .collect();
    ClusterLoadAssignment { cluster_name: name.clone(), localities }
}

/// Region, zone, sub-zone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct TopologyKey(String, String, String);

impl TopologyKey {
    fn of(z: &TopologyZone) -> Self {
        Self(z.region.clone(), z.zone.clone(), z.sub_zone.clone())
    }

    /// Whether `pattern` (`region/zone/sub-zone`, `*` for any) means this place.
    fn is_in(&self, pattern: &str) -> bool {
        let parts = [&self.0, &self.1, &self.2];
        pattern.split('/').zip(parts).all(|(p, part)| p == "*" || p == part.as_str())
    }
}

fn endpoint(ctx: &Ctx<'_>, service: &Service, i: &Instance) -> Endpoint {
    let disabled = i.meshed && ctx.peer_mode(&i.namespace, &i.labels, Some(i.port)) == Mode::Disable;
    let (canonical, revision) = workload::canonical(&i.labels, &i.workload);
    let workload = (!i.workload.is_empty())
        .then(|| s(format!("{};{};{canonical};{revision};{}", i.workload, i.namespace, ctx.proxy.cluster_id)));
    Endpoint {
        address: i.address.map(|ip| SocketAddr::new(ip, i.port)),
        host: i.host.clone().map(|h| (h, i.port)),
        weight: i.weight,
        health: HealthStatus::Unknown,
        tls_mode: (i.meshed && !disabled && !service.mesh_external).then(|| s("istio")),
        workload,
    }
}

/// Where the proxy is: where it says so itself, or else where its pod's node is.
fn own_locality(ctx: &Ctx<'_>) -> TopologyZone {
    let proxy = ctx.proxy;
    if !proxy.locality.region.is_empty() {
        return proxy.locality.clone();
    }
    let pod = ctx.object(Kind::Pod, &ctx.snapshot.stores.pods, &proxy.namespace, &proxy.name);
    let node = pod.and_then(|pod| ctx.object(Kind::Node, &ctx.snapshot.stores.nodes, "", &pod.spec.spec.node_name));
    node.map(|n| TopologyZone::of(&n.metadata.labels)).unwrap_or_default()
}

/// Farther localities come later: same sub-zone, zone, region, a region named for failover, others; or by `failoverPriority`.
fn priority(ctx: &Ctx<'_>, own: &TopologyZone, i: &Instance, settings: Option<&LocalityLb>) -> u32 {
    if let Some(labels) = settings.map(|s| &s.failover_priority).filter(|l| !l.is_empty()) {
        let same = labels.iter().take_while(|entry| {
            let (key, value) = entry.split_once('=').map_or((entry.as_str(), None), |(k, v)| (k, Some(v)));
            let wanted = value.or_else(|| ctx.proxy.labels.get(key).map(String::as_str));
            wanted.is_some() && i.labels.get(key).map(String::as_str) == wanted
        });
        return u32::try_from(labels.len() - same.count()).unwrap_or(u32::MAX);
    }
    if settings.is_some_and(|s| s.enabled == Some(false) || !s.distribute.is_empty()) || own.region.is_empty() {
        return 0;
    }
    let there = &i.locality;
    match (there.region == own.region, there.zone == own.zone, there.sub_zone == own.sub_zone) {
        (true, true, true) => 0,
        (true, true, false) => 1,
        (true, false, _) => 2,
        (false, ..) => {
            let named = settings.and_then(|s| s.failover.iter().find(|f| f.from == own.region)).map(|f| &f.to);
            if named.is_some_and(|to| *to == there.region) { 3 } else { 4 }
        }
    }
}

/// Envoy wants priorities without gaps.
fn compact_priorities(groups: &mut BTreeMap<(u32, TopologyKey), Vec<Endpoint>>) {
    let mut used: Vec<u32> = groups.keys().map(|(p, _)| *p).collect();
    used.dedup();
    let old = std::mem::take(groups);
    for ((priority, key), endpoints) in old {
        let rank = used.iter().position(|p| *p == priority).unwrap_or(0);
        groups.insert((u32::try_from(rank).unwrap_or(0), key), endpoints);
    }
}

/// Share of a locality: as `distribute` says, else the sum of its endpoints' weights.
fn share(own: &TopologyZone, key: &TopologyKey, settings: Option<&LocalityLb>, endpoints: &[Endpoint]) -> Option<u32> {
    let own = TopologyKey::of(own);
    let distribute = settings.filter(|s| s.enabled != Some(false)).map(|s| &s.distribute);
    if let Some(rule) = distribute.and_then(|d| d.iter().find(|d| own.is_in(&d.from))) {
        return Some(rule.to.iter().find(|(to, _)| key.is_in(to)).map_or(0, |(_, share)| *share));
    }
    Some(endpoints.iter().map(|e| e.weight).sum())
}

#[cfg(test)]
mod tests;
