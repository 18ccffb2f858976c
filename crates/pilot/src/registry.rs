//! Services, whoever registered them, with the protocol of each port.

mod convert;
mod protocol;
mod targets;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use varka_api::Object;
use varka_api::istio::{MeshConfig, ServiceEntry};
use varka_engine::ir::Str;

use crate::snapshot::{Export, Stores};

pub use protocol::Protocol;
pub(crate) use targets::{Target, targets};

/// How the endpoints of a service are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// The registry knows them (EDS).
    Endpoints,
    /// DNS, all addresses.
    Dns,
    /// DNS, one address.
    DnsRoundRobin,
    /// Where the client dialled.
    Passthrough,
    /// It is another name of a service.
    Alias,
    /// DNS of the name that the client asks for.
    DynamicDns,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Name.
    pub name: Str,
    /// Number.
    pub number: u16,
    /// Protocol, told by `appProtocol`, the name or the number.
    pub protocol: Protocol,
}

/// A service by one host name.
#[derive(Debug, Clone)]
pub struct Service {
    /// FQDN.
    pub host: Str,
    /// Namespace.
    pub namespace: Str,
    /// Name of the Service or ServiceEntry.
    pub name: Str,
    /// When it was made, RFC 3339.
    pub created: Str,
    /// Addresses or CIDRs that stand for it; empty: none.
    pub addresses: Vec<Str>,
    /// Ports.
    pub ports: Vec<Port>,
    /// How endpoints are found.
    pub resolution: Resolution,
    /// Outside the mesh: no mutual TLS by itself.
    pub mesh_external: bool,
    /// Other names of it.
    pub aliases: Vec<Str>,
    /// What it is another name of.
    pub alias_of: Option<Str>,
    /// Labels of the Service or ServiceEntry itself.
    pub labels: BTreeMap<String, String>,
    /// Labels of its pods; empty: none selected.
    pub selector: BTreeMap<String, String>,
    /// Extra SANs of its endpoints.
    pub subject_alt_names: Vec<Str>,
    /// Who registered it.
    pub(crate) source: Source,
    /// Who sees it.
    pub(crate) export: Export,
}

/// Who registered a service.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// Kubernetes, with what its endpoints need.
    Kubernetes {
        /// Target port by service port.
        target_ports: BTreeMap<u16, TargetPort>,
        /// Endpoints that are not ready count.
        publish_not_ready: bool,
    },
    /// A ServiceEntry.
    External(Arc<Object<ServiceEntry>>),
}

/// A port of pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TargetPort {
    /// By number.
    Number(u16),
    /// By name of a container port.
    Name(Str),
}

impl Service {
    /// The port of this number.
    pub fn port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|p| p.number == number)
    }

    /// Registered by Kubernetes.
    pub fn is_kubernetes(&self) -> bool {
        matches!(self.source, Source::Kubernetes { .. })
    }

    /// Whether its hosts are resolved as clients ask for them (`DYNAMIC_DNS` of a wildcard).
    pub(crate) fn is_dynamic(&self) -> bool {
        self.resolution == Resolution::DynamicDns && crate::hosts::is_wildcard(&self.host)
    }

    /// Whether its address is a CIDR.
    pub(crate) fn has_cidr(&self) -> bool {
        self.addresses.first().is_some_and(|a| a.contains('/'))
    }
}

/// All services, oldest first, and by host.
#[derive(Debug, Default)]
pub struct Registry {
    services: Vec<Arc<Service>>,
    by_host: HashMap<Str, Vec<Arc<Service>>>,
}

impl Registry {
    pub(crate) fn of(stores: &Stores, mesh: &MeshConfig, domain: &str) -> Self {
        let mut services: Vec<Service> = stores
            .services
            .iter()
            .map(|o| convert::kubernetes(o, mesh, domain))
            .chain(stores.service_entries.iter().flat_map(|o| convert::external(o, mesh)))
            .collect();
        services.sort_by(|a, b| (&a.created, &a.name, &a.namespace).cmp(&(&b.created, &b.name, &b.namespace)));
        add_aliases(&mut services);
        let services: Vec<_> = services.into_iter().map(Arc::new).collect();
        let mut by_host: HashMap<Str, Vec<Arc<Service>>> = HashMap::new();
        for service in &services {
            by_host.entry(service.host.clone()).or_default().push(service.clone());
        }
        Self { services, by_host }
    }

    /// All, oldest first.
    pub fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// Those of a host name; more than one when namespaces disagree.
    pub fn by_host(&self, host: &str) -> &[Arc<Service>] {
        self.by_host.get(host).map_or(&[], Vec::as_slice)
    }
}

/// The port of a Kubernetes Service by the port's name: `(service, port)`.
pub(crate) fn port_by_name(registry: &Registry, namespace: &str, (service, port): (&str, &str)) -> Option<u16> {
    let found =
        registry.services.iter().find(|v| v.is_kubernetes() && &*v.namespace == namespace && &*v.name == service)?;
    found.ports.iter().find(|p| &*p.name == port).map(|p| p.number)
}

/// Tells each service which other names mean it, through chains of names.
fn add_aliases(services: &mut [Service]) {
    let targets: HashMap<Str, Str> =
        services.iter().filter_map(|s| Some((s.host.clone(), s.alias_of.clone()?))).collect();
    let mut names: HashMap<Str, Vec<Str>> = HashMap::new();
    for (alias, first) in &targets {
        let mut end = first;
        // A chain that is longer than there are names is a circle and means nothing.
        for _ in 0..targets.len() {
            match targets.get(end) {
                Some(next) => end = next,
                None => break,
            }
        }
        if !targets.contains_key(end) {
            names.entry(end.clone()).or_default().push(alias.clone());
        }
    }
    for service in services {
        if let Some(aliases) = names.get(&service.host) {
            let mut aliases = aliases.clone();
            aliases.sort();
            service.aliases = aliases;
        }
    }
}
