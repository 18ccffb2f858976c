//! Which name means what in the cluster. Pure.

use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::services::SERVICE_LABEL;

const DOMAIN: &str = "cluster.local";
/// The name of the host's own loopback.
const HOST: &str = "host.varka.internal";

/// What a name means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Addresses(Vec<Ipv4Addr>),
    /// Another name stands for it (`ExternalName`).
    Alias(String),
    /// Ports and the names that have them (SRV).
    Ports(Vec<(u16, String)>),
    /// The name of an address.
    Pointer(String),
    /// A name of the cluster that does not exist.
    Nothing,
    /// No name of the cluster.
    Outside,
}

/// The cluster at one moment.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// All Services.
    pub services: &'a [Arc<Service>],
    /// All EndpointSlices.
    pub slices: &'a [Arc<EndpointSlice>],
    /// The address that stands for the host's loopback.
    pub host: Ipv4Addr,
}

fn ready(endpoint: &Endpoint, service: &Service) -> bool {
    let publish_all = service.spec.as_ref().and_then(|s| s.publish_not_ready_addresses) == Some(true);
    publish_all || endpoint.conditions.as_ref().and_then(|c| c.ready) != Some(false)
}

fn dashed(address: &str) -> String {
    address.replace('.', "-")
}

impl View<'_> {
    /// Looks a name up, in lower case and without the last dot.
    pub(super) fn look_up(&self, name: &str) -> Answer {
        if name == HOST {
            return Answer::Addresses(vec![self.host]);
        }
        if let Some(reversed) = name.strip_suffix(".in-addr.arpa") {
            return self.pointer(reversed);
        }
        let Some(inside) = name.strip_suffix(DOMAIN) else { return Answer::Outside };
        let labels: Vec<&str> = inside.trim_end_matches('.').split('.').collect();
        match labels.as_slice() {
            [service, namespace, "svc"] => self.service(service, namespace),
            [port, protocol, service, namespace, "svc"] if port.starts_with('_') && protocol.starts_with('_') => {
                self.ports(port.trim_start_matches('_'), protocol.trim_start_matches('_'), service, namespace)
            }
            [host, service, namespace, "svc"] => self.endpoint(host, service, namespace),
            [address, _namespace, "pod"] => {
                address.replace('-', ".").parse().map_or(Answer::Nothing, |address| Answer::Addresses(vec![address]))
            }
            _ => Answer::Nothing,
        }
    }

    fn find(&self, name: &str, namespace: &str) -> Option<&Service> {
        let is = |service: &&Arc<Service>| {
            service.metadata.name.as_deref() == Some(name) && service.metadata.namespace.as_deref() == Some(namespace)
        };
        self.services.iter().find(is).map(|service| &**service)
    }

    fn endpoints<'v>(&'v self, service: &'v Service) -> impl Iterator<Item = (&'v EndpointSlice, &'v Endpoint)> {
        let (name, namespace) = (service.metadata.name.as_ref(), service.metadata.namespace.as_ref());
        let of = move |slice: &&Arc<EndpointSlice>| {
            slice.metadata.namespace.as_ref() == namespace
                && slice.metadata.labels.as_ref().and_then(|l| l.get(SERVICE_LABEL)) == name
        };
        let all = self
            .slices
            .iter()
            .filter(of)
            .flat_map(|slice| slice.endpoints.iter().map(move |endpoint| (&**slice, endpoint)));
        all.filter(move |(_, endpoint)| ready(endpoint, service))
    }

    fn service(&self, name: &str, namespace: &str) -> Answer {
        let Some(service) = self.find(name, namespace) else { return Answer::Nothing };
        let spec = service.spec.as_ref();
        if let Some(target) = spec
            .and_then(|s| s.external_name.as_ref())
            .filter(|_| spec.and_then(|s| s.type_.as_deref()) == Some("ExternalName"))
        {
            return Answer::Alias(target.trim_end_matches('.').to_lowercase());
        }
        if let Some(address) = spec.and_then(|s| s.cluster_ip.as_deref()).and_then(|ip| ip.parse().ok()) {
            return Answer::Addresses(vec![address]);
        }
        // Headless: the endpoints themselves.
        let mut addresses: Vec<Ipv4Addr> = self
            .endpoints(service)
            .flat_map(|(_, endpoint)| endpoint.addresses.iter().filter_map(|a| a.parse().ok()))
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        Answer::Addresses(addresses)
    }

    fn endpoint(&self, host: &str, name: &str, namespace: &str) -> Answer {
        let Some(service) = self.find(name, namespace) else { return Answer::Nothing };
        let named =
            |endpoint: &Endpoint, address: &str| endpoint.hostname.as_deref() == Some(host) || dashed(address) == host;
        let addresses: Vec<Ipv4Addr> = self
            .endpoints(service)
            .flat_map(|(_, endpoint)| {
                endpoint.addresses.iter().filter(|a| named(endpoint, a)).filter_map(|a| a.parse().ok())
            })
            .collect();
        if addresses.is_empty() { Answer::Nothing } else { Answer::Addresses(addresses) }
    }

    fn ports(&self, port: &str, protocol: &str, name: &str, namespace: &str) -> Answer {
        let Some(service) = self.find(name, namespace) else { return Answer::Nothing };
        let Some(spec) = &service.spec else { return Answer::Nothing };
        let full = format!("{name}.{namespace}.svc.{DOMAIN}");
        let same = |found: Option<&str>| found.unwrap_or("TCP").eq_ignore_ascii_case(protocol);
        if spec.cluster_ip.as_deref() != Some("None") {
            let ports =
                spec.ports.iter().flatten().filter(|p| p.name.as_deref() == Some(port) && same(p.protocol.as_deref()));
            let list: Vec<_> = ports.filter_map(|p| Some((u16::try_from(p.port).ok()?, full.clone()))).collect();
            return if list.is_empty() { Answer::Nothing } else { Answer::Ports(list) };
        }
        let mut list = Vec::new();
        for (slice, endpoint) in self.endpoints(service) {
            let found =
                slice.ports.iter().flatten().find(|p| p.name.as_deref() == Some(port) && same(p.protocol.as_deref()));
            let Some(number) = found.and_then(|p| u16::try_from(p.port?).ok()) else { continue };
            for address in &endpoint.addresses {
                let host = endpoint.hostname.clone().unwrap_or_else(|| dashed(address));
                list.push((number, format!("{host}.{full}")));
            }
        }
        if list.is_empty() { Answer::Nothing } else { Answer::Ports(list) }
    }

    fn pointer(&self, reversed: &str) -> Answer {
        let forward: Vec<&str> = reversed.split('.').rev().collect();
        let Ok(address) = forward.join(".").parse::<Ipv4Addr>() else { return Answer::Nothing };
        let text = address.to_string();
        let name = |service: &Service| {
            format!(
                "{}.{}.svc.{DOMAIN}",
                service.metadata.name.as_deref().unwrap_or_default(),
                service.metadata.namespace.as_deref().unwrap_or_default()
            )
        };
        for service in self.services {
            if service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some(text.as_str()) {
                return Answer::Pointer(name(service));
            }
            let headless = service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None");
            if headless && let Some((_, endpoint)) = self.endpoints(service).find(|(_, e)| e.addresses.contains(&text))
            {
                let host = endpoint.hostname.clone().unwrap_or_else(|| dashed(&text));
                return Answer::Pointer(format!("{host}.{}", name(service)));
            }
        }
        if address == self.host { Answer::Pointer(HOST.to_owned()) } else { Answer::Outside }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view<T>(body: impl FnOnce(View<'_>) -> T) -> T {
        let service = |value: serde_json::Value| Arc::new(serde_json::from_value::<Service>(value).unwrap());
        let services = [
            service(
                serde_json::json!({"metadata": {"name": "was", "namespace": "blog"}, "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 8080}]}}),
            ),
            service(
                serde_json::json!({"metadata": {"name": "db", "namespace": "blog"}, "spec": {"clusterIP": "None", "ports": [{"name": "sql", "port": 3306}]}}),
            ),
            service(
                serde_json::json!({"metadata": {"name": "out", "namespace": "blog"}, "spec": {"type": "ExternalName", "externalName": "Example.org."}}),
            ),
        ];
        let slice: EndpointSlice = serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "blog", "labels": {SERVICE_LABEL: "db"}}, "addressType": "IPv4", "ports": [{"name": "sql", "port": 3306, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["10.244.0.5"], "hostname": "db-0"}, {"addresses": ["10.244.0.6"], "conditions": {"ready": false}}]}))
        .unwrap();
        let slices = [Arc::new(slice)];
        body(View { services: &services, slices: &slices, host: Ipv4Addr::new(10, 96, 255, 254) })
    }

    #[test]
    fn services_endpoints_and_aliases() {
        view(|view| {
            let at = |a: [u8; 4]| Answer::Addresses(vec![Ipv4Addr::from(a)]);
            assert_eq!(view.look_up("was.blog.svc.cluster.local"), at([10, 96, 0, 7]));
            assert_eq!(view.look_up("db.blog.svc.cluster.local"), at([10, 244, 0, 5]), "only what is ready");
            assert_eq!(view.look_up("db-0.db.blog.svc.cluster.local"), at([10, 244, 0, 5]));
            assert_eq!(view.look_up("10-244-0-5.db.blog.svc.cluster.local"), at([10, 244, 0, 5]));
            assert_eq!(view.look_up("10-244-0-9.blog.pod.cluster.local"), at([10, 244, 0, 9]));
            assert_eq!(view.look_up("out.blog.svc.cluster.local"), Answer::Alias("example.org".into()));
            assert_eq!(view.look_up("host.varka.internal"), at([10, 96, 255, 254]));
        });
    }

    #[test]
    fn what_is_not_there_is_not_asked_outside() {
        view(|view| {
            assert_eq!(view.look_up("no.blog.svc.cluster.local"), Answer::Nothing);
            assert_eq!(view.look_up("example.org.blog.svc.cluster.local"), Answer::Nothing);
            assert_eq!(view.look_up("example.org.cluster.local"), Answer::Nothing);
            assert_eq!(view.look_up("example.org"), Answer::Outside);
        });
    }

    #[test]
    fn ports_and_pointers() {
        view(|view| {
            let full = |host: &str| format!("{host}.blog.svc.cluster.local");
            assert_eq!(view.look_up("_http._tcp.was.blog.svc.cluster.local"), Answer::Ports(vec![(8080, full("was"))]));
            assert_eq!(
                view.look_up("_sql._tcp.db.blog.svc.cluster.local"),
                Answer::Ports(vec![(3306, full("db-0.db"))])
            );
            assert_eq!(view.look_up("_no._tcp.was.blog.svc.cluster.local"), Answer::Nothing);
            assert_eq!(view.look_up("7.0.96.10.in-addr.arpa"), Answer::Pointer(full("was")));
            assert_eq!(view.look_up("5.0.244.10.in-addr.arpa"), Answer::Pointer(full("db-0.db")));
        });
    }
}
