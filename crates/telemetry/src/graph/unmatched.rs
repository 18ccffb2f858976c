//! Why a request went to PassthroughCluster or BlackHoleCluster: what was asked for, and what was probably meant.
//!
//! A pure function from what the client asked and what is registered to a reason and a suggestion. It knows nothing of routes:
//! that no service was found is taken as given.

use std::fmt;

use serde::Serialize;

use super::facts::{Facts, Service, ServiceEntry};
use super::key::known;

mod similar;

/// What a client asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Asked<'a> {
    /// Cluster of the client.
    pub cluster: &'a str,
    /// Namespace of the client.
    pub namespace: &'a str,
    /// Host of the request, with or without port; empty: not known.
    pub host: &'a str,
    /// Address that it dialled; empty: not known.
    pub address: &'a str,
    /// Port that it dialled; `None`: not known.
    pub port: Option<u16>,
}

/// Traffic that no service was found for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unmatched {
    /// Host of the request; empty: not known.
    pub host: String,
    /// Address that was dialled; empty: not known.
    pub address: String,
    /// Port that was dialled.
    pub port: Option<u16>,
    /// Requests or bytes a second.
    pub rate: f64,
    /// Why no service was found.
    pub reason: Reason,
    /// What was probably meant.
    pub meant: Option<Meant>,
    /// A workload that tells of requests from this client which the client's proxy sent to no service: where they arrived.
    pub arrived: Option<Arrived>,
    /// All of it in words.
    pub message: String,
}

/// Where traffic arrived that the client's proxy found no service for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Arrived {
    /// Namespace.
    pub namespace: String,
    /// Workload.
    pub workload: String,
    /// The service that the server takes itself to be asked under.
    pub service: String,
}

/// A Service or ServiceEntry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Meant {
    /// `Service` or `ServiceEntry`.
    pub kind: &'static str,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The host to ask for.
    pub host: String,
}

/// Why no service was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "code")]
pub enum Reason {
    /// Neither host nor address is reported.
    NothingKnown,
    /// It is a name for clients outside, of an Ingress, Gateway or VirtualService (named), that was passed on.
    PublicHost {
        /// `Gateway NAMESPACE/NAME`.
        resource: String,
    },
    /// A pod was dialled, not a service.
    PodAddress {
        /// Its workload.
        workload: String,
    },
    /// The service is there and does not have the port.
    PortNotServed {
        /// The ports that it has.
        ports: Vec<u16>,
    },
    /// A short name means a service of the client's namespace; there is one in another.
    OtherNamespace,
    /// It is registered, and this client does not see it or did not when it asked.
    NotVisible,
    /// It looks like a registered name.
    Similar,
    /// Nothing like it is registered.
    NotRegistered,
}

/// Says what a client that found no service probably wanted.
#[must_use]
pub fn explain(asked: &Asked<'_>, facts: &Facts) -> (Reason, Option<Meant>) {
    let (host, port) = split(asked.host);
    let asked = Asked { port: asked.port.or(port), ..*asked };
    if !known(&host) {
        return if asked.address.is_empty() { (Reason::NothingKnown, None) } else { by_address(&asked, facts) };
    }
    if host.parse::<std::net::IpAddr>().is_ok() {
        return by_address(&Asked { address: &host, ..asked }, facts);
    }
    let (reason, meant) = by_service(&host, &asked, facts)
        .or_else(|| by_service_entry(&host, &asked, facts))
        .or_else(|| by_public_host(&host, facts))
        .or_else(|| similar::find(&host, &asked, facts).map(|meant| (Reason::Similar, Some(meant))))
        .unwrap_or((Reason::NotRegistered, None));
    // Where the host does not say it, the address does: it is what the client's own resolver made of the right name.
    let dialled = || (!asked.address.is_empty()).then(|| by_address(&asked, facts).1).flatten();
    (reason, meant.or_else(dialled))
}

/// Host in small letters, and port.
fn split(host: &str) -> (String, Option<u16>) {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, port.parse().ok()),
        _ => (host, None),
    };
    (name.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase(), port)
}

fn by_address(asked: &Asked<'_>, facts: &Facts) -> (Reason, Option<Meant>) {
    let has = |addresses: &[String]| addresses.iter().any(|a| a == asked.address);
    if let Some(service) = facts.services.iter().find(|s| has(&s.addresses)) {
        return (port_reason(service, asked.port), Some(meant(service, facts)));
    }
    let workload = facts.workloads.iter().find(|w| w.pods.iter().any(|pod| has(&pod.addresses)));
    if let Some(workload) = workload {
        let chosen = |s: &&Service| {
            (&s.cluster, &s.namespace) == (&workload.cluster, &workload.namespace)
                && !s.selector.is_empty()
                && super::facts::selects(&s.selector, &workload.labels)
        };
        let service = facts.services.iter().find(chosen).map(|service| meant(service, facts));
        return (Reason::PodAddress { workload: workload.name.clone() }, service);
    }
    match facts.service_entries.iter().find(|entry| has(&entry.addresses)) {
        Some(entry) => (entry_reason(entry, asked.port), Some(meant_entry(entry, entry.hosts.first()))),
        None => (Reason::NotRegistered, None),
    }
}

fn port_reason(service: &Service, port: Option<u16>) -> Reason {
    let ports: Vec<u16> = service.ports.iter().map(|port| port.number).collect();
    match port {
        Some(port) if !ports.contains(&port) => Reason::PortNotServed { ports },
        _ => Reason::NotVisible,
    }
}

fn entry_reason(entry: &ServiceEntry, port: Option<u16>) -> Reason {
    match port {
        Some(port) if !entry.ports.is_empty() && !entry.ports.contains(&port) => {
            Reason::PortNotServed { ports: entry.ports.clone() }
        }
        _ => Reason::NotVisible,
    }
}

/// The host is the name of a service, long or short.
fn by_service(host: &str, asked: &Asked<'_>, facts: &Facts) -> Option<(Reason, Option<Meant>)> {
    let mut labels = host.splitn(3, '.');
    let (name, namespace, rest) = (labels.next()?, labels.next(), labels.next());
    if rest.is_some_and(|rest| rest != "svc" && rest != facts.service_suffix()) {
        return None;
    }
    let mut of_name = facts.services.iter().filter(|service| service.name == name).peekable();
    of_name.peek()?;
    let wanted = namespace.unwrap_or(asked.namespace);
    let mut services: Vec<&Service> = of_name.collect();
    // Of the client's cluster first, then by name, so that the answer does not depend on an order.
    services.sort_by_key(|s| (s.cluster != asked.cluster, &s.namespace));
    if let Some(service) = services.iter().find(|service| service.namespace == wanted) {
        return Some((port_reason(service, asked.port), Some(meant(service, facts))));
    }
    services.first().map(|service| (Reason::OtherNamespace, Some(meant(service, facts))))
}

fn by_service_entry(host: &str, asked: &Asked<'_>, facts: &Facts) -> Option<(Reason, Option<Meant>)> {
    let of = |entry: &&ServiceEntry| entry.hosts.iter().any(|pattern| covers(pattern, host));
    let entry = facts.service_entries.iter().find(of)?;
    Some((entry_reason(entry, asked.port), Some(meant_entry(entry, Some(&host.to_owned())))))
}

/// A proxy in front of the client's application, or the application, passed on the Host that it was asked for. The host says
/// where the request came in, not where it was to go on.
fn by_public_host(host: &str, facts: &Facts) -> Option<(Reason, Option<Meant>)> {
    let of = |hosts: &[String]| hosts.iter().any(|pattern| covers(public(pattern), host));
    let name = |kind: &str, namespace: &str, name: &str| Some(format!("{kind} {namespace}/{name}"));
    let ingress = facts.ingresses.iter().find(|i| of(&i.hosts)).and_then(|i| name("Ingress", &i.namespace, &i.name));
    let gateway = || facts.gateways.iter().find(|g| of(&g.hosts)).and_then(|g| name("Gateway", &g.namespace, &g.name));
    let kubernetes = || {
        let gateway = facts.kubernetes_gateways.iter().find(|g| of(&g.hosts))?;
        name("Gateway", &gateway.namespace, &gateway.name)
    };
    let service = || {
        let service = facts.virtual_services.iter().find(|s| of(&s.hosts))?;
        name("VirtualService", &service.namespace, &service.name)
    };
    let resource = ingress.or_else(gateway).or_else(kubernetes).or_else(service)?;
    Some((Reason::PublicHost { resource }, None))
}

/// Host of a Gateway's server without its namespace; `*` says nothing about one host.
fn public(host: &str) -> &str {
    let host = host.split_once('/').map_or(host, |(_, host)| host);
    if host == "*" { "" } else { host }
}

/// Whether a pattern, whole or with a leading `*.`, covers a host.
fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => !suffix.is_empty() && host.len() > suffix.len() && host.ends_with(suffix),
        None => pattern == host,
    }
}

fn meant(service: &Service, facts: &Facts) -> Meant {
    Meant {
        kind: "Service",
        namespace: service.namespace.clone(),
        name: service.name.clone(),
        host: format!("{}.{}.{}", service.name, service.namespace, facts.service_suffix()),
    }
}

fn meant_entry(entry: &ServiceEntry, host: Option<&String>) -> Meant {
    Meant {
        kind: "ServiceEntry",
        namespace: entry.namespace.clone(),
        name: entry.name.clone(),
        host: host.cloned().unwrap_or_default(),
    }
}

impl fmt::Display for Unmatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if known(&self.host) { &self.host } else { &self.address };
        match &self.reason {
            Reason::NothingKnown => write!(f, "neither the host nor the address that was asked for is reported")?,
            Reason::PublicHost { resource } => write!(
                f,
                "{what} is a host of {resource}, for clients outside: whoever passed the request on kept its Host header \
                 (in nginx: proxy_set_header Host $host)"
            )?,
            Reason::PodAddress { workload } => {
                write!(f, "{what} is the address of a pod of {workload}; a sidecar knows services, not pods")?;
            }
            Reason::PortNotServed { ports } => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                let port = self.port.map(|port| port.to_string()).unwrap_or_default();
                write!(f, "{what} has no port {port}; it has {}", ports.join(", "))?;
            }
            Reason::OtherNamespace => write!(f, "{what} means a service of the client's namespace, which has none")?,
            Reason::NotVisible => write!(
                f,
                "{what} is registered, and the client does not see it (exportTo, a Sidecar resource), or it came later"
            )?,
            Reason::Similar => write!(f, "nothing is registered as {what}")?,
            Reason::NotRegistered => {
                write!(
                    f,
                    "nothing is registered as {what}; a ServiceEntry would name it in metrics, routes and policies"
                )?;
            }
        }
        if let Some(meant) = &self.meant {
            write!(f, "; probably {} {}/{} is meant: ask for {}", meant.kind, meant.namespace, meant.name, meant.host)?;
        }
        if let Some(arrived) = &self.arrived {
            write!(f, "; requests of this client arrive at {}/{}", arrived.namespace, arrived.workload)?;
            if known(&arrived.service) {
                write!(f, ", of the service {}", arrived.service)?;
            }
        }
        Ok(())
    }
}
