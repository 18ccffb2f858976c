//! A pod as its proxy describes itself to the control plane, and which of its traffic the proxy gets.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;
use varka_api::kube::TopologyZone;
use varka_pilot::{Interception, ProxyKey, ProxyKind, ProxyPort};

/// A pod that runs.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) workload: String,
    pub(super) ip: IpAddr,
    /// `None`: it has no proxy.
    pub(super) proxy: Option<ProxyKind>,
    /// As its proxy is known by; of a pod without one, as one would be.
    pub(super) key: ProxyKey,
    annotations: BTreeMap<String, String>,
    /// It takes requests.
    pub(super) ready: bool,
}

fn text<'o>(object: &'o Value, path: &str) -> &'o str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn list<'o>(object: &'o Value, path: &str) -> impl Iterator<Item = &'o Value> {
    object.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

fn map(object: &Value, path: &str) -> BTreeMap<String, String> {
    let fields = object.pointer(path).and_then(Value::as_object).into_iter().flatten();
    fields.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

impl Pod {
    /// `None`: it does not run, or has no address yet.
    pub(super) fn of(object: &Value, workload: &str, cluster: &str, domain: &str, zone: TopologyZone) -> Option<Self> {
        if matches!(text(object, "/status/phase"), "Succeeded" | "Failed") {
            return None;
        }
        let (namespace, name) = (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
        let ip: IpAddr = text(object, "/status/podIP").parse().ok()?;
        let proxy = proxy_of(object);
        let annotations = map(object, "/metadata/annotations");
        let mut key = ProxyKey::new(proxy.unwrap_or(ProxyKind::Sidecar), name, namespace, ip);
        key.ips.extend(list(object, "/status/podIPs").filter_map(|ip| text(ip, "/ip").parse::<IpAddr>().ok()));
        key.ips.dedup();
        key.labels = map(object, "/metadata/labels");
        let account = text(object, "/spec/serviceAccountName");
        key.service_account = if account.is_empty() { "default" } else { account }.into();
        key.dns_domain = format!("{namespace}.svc.{domain}").into();
        key.cluster_id = cluster.into();
        key.locality = zone;
        key.ports = list(object, "/spec/containers")
            .flat_map(|container| list(container, "/ports"))
            .filter_map(|port| {
                let number = port.get("containerPort").and_then(Value::as_u64)?;
                Some(ProxyPort { name: text(port, "/name").into(), port: u16::try_from(number).ok()? })
            })
            .collect();
        key.interception = match annotations.get("sidecar.istio.io/interceptionMode").map(String::as_str) {
            Some("TPROXY") => Interception::Tproxy,
            Some("NONE") => Interception::None,
            _ => Interception::Redirect,
        };
        let is_ready = |c: &Value| text(c, "/type") == "Ready" && text(c, "/status") == "True";
        let ready = list(object, "/status/conditions").any(is_ready);
        let (namespace, name, workload) = (namespace.to_owned(), name.to_owned(), workload.to_owned());
        Some(Self { namespace, name, workload, ip, proxy, key, annotations, ready })
    }

    /// `spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT`.
    pub(super) fn identity(&self, trust_domain: &str) -> String {
        format!("spiffe://{trust_domain}/ns/{}/sa/{}", self.namespace, self.key.service_account)
    }

    /// Why its sidecar does not get what it sends to an address; `None`: it does.
    pub(super) fn leaves_alone_outbound(&self, address: IpAddr, port: u16) -> Option<String> {
        let of = |name: &str| self.annotations.get(&format!("traffic.sidecar.istio.io/{name}")).map(String::as_str);
        let has_port = |list: &str| list.split(',').any(|p| p.trim().parse() == Ok(port));
        let covers = |list: &str| {
            let contains = |net: &str| net.parse::<ipnet::IpNet>().is_ok_and(|net| net.contains(&address));
            list.split(',').any(|net| net.trim() == "*" || contains(net.trim()))
        };
        if let Some(list) = of("excludeOutboundPorts").filter(|list| has_port(list)) {
            return Some(format!("annotation traffic.sidecar.istio.io/excludeOutboundPorts: {list}"));
        }
        if let Some(list) = of("excludeOutboundIPRanges").filter(|list| covers(list)) {
            return Some(format!("annotation traffic.sidecar.istio.io/excludeOutboundIPRanges: {list}"));
        }
        let included = of("includeOutboundIPRanges").is_none_or(covers)
            || of("includeOutboundPorts").is_some_and(|list| list == "*" || has_port(list));
        let list = of("includeOutboundIPRanges").unwrap_or_default();
        (!included).then(|| format!("annotation traffic.sidecar.istio.io/includeOutboundIPRanges: {list:?}"))
    }

    /// Why its sidecar does not get what comes to a port; `None`: it does.
    pub(super) fn leaves_alone_inbound(&self, port: u16) -> Option<String> {
        let of = |name: &str| self.annotations.get(&format!("traffic.sidecar.istio.io/{name}")).map(String::as_str);
        let has_port = |list: &str| list.split(',').any(|p| p.trim().parse() == Ok(port));
        if let Some(list) = of("excludeInboundPorts").filter(|list| has_port(list)) {
            return Some(format!("annotation traffic.sidecar.istio.io/excludeInboundPorts: {list}"));
        }
        let list = of("includeInboundPorts").filter(|list| list.trim() != "*" && !has_port(list))?;
        Some(format!("annotation traffic.sidecar.istio.io/includeInboundPorts: {list:?}"))
    }
}

/// A native sidecar is an init container; a gateway is told its role by its arguments.
fn proxy_of(pod: &Value) -> Option<ProxyKind> {
    let containers = || list(pod, "/spec/containers").chain(list(pod, "/spec/initContainers"));
    let is_router = |container: &Value| {
        let mut args = list(container, "/args").filter_map(Value::as_str);
        args.next() == Some("proxy") && args.next() == Some("router")
    };
    if containers().any(is_router) {
        return Some(ProxyKind::Router);
    }
    containers().any(|container| text(container, "/name") == "istio-proxy").then_some(ProxyKind::Sidecar)
}
