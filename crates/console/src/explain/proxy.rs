//! One proxy's configuration, compiled by name as far as it is needed.

use std::net::SocketAddr;
use std::sync::Arc;

use varka_engine::host::RouteIndex;
use varka_engine::ir::{
    self, Cluster, ClusterLoadAssignment, Listener, Resource, ResourceType, RouteConfiguration, Str,
};
use varka_engine::listener::{ListenerIndex, names as listener_names};
use varka_engine::trace::Trace;
use varka_pilot::{Common, ProxyKind, ResourceName, compile_one_of};

use super::mesh::Mesh;
use super::pod::Pod;

/// A pod's proxy.
pub(super) struct Proxy<'m> {
    pub(super) mesh: &'m Mesh,
    pub(super) pod: &'m Pod,
    common: Common,
}

impl<'m> Proxy<'m> {
    pub(super) fn new(mesh: &'m Mesh, pod: &'m Pod) -> Self {
        Self { mesh, pod, common: Common::default() }
    }

    fn resource(&self, kind: ResourceType, name: &str) -> Option<Resource> {
        let name = ResourceName { kind, name: name.into() };
        let compile = || compile_one_of(&self.common, &self.mesh.snapshot, &self.pod.key, &name).resource;
        self.mesh.made.resource(self.pod, &name, compile)
    }

    pub(super) fn listener(&self, name: &str) -> Option<Arc<Listener>> {
        match self.resource(ResourceType::Listener, name)? {
            Resource::Listener(listener) => Some(listener),
            _ => None,
        }
    }

    fn route(&self, name: &str) -> Option<Arc<RouteConfiguration>> {
        match self.resource(ResourceType::Route, name)? {
            Resource::Route(route) => Some(route),
            _ => None,
        }
    }

    /// A route table, ready to be searched.
    pub(super) fn routes(&self, name: &str) -> Option<Arc<RouteIndex>> {
        self.mesh.made.index(self.pod, name, || self.route(name))
    }

    pub(super) fn cluster(&self, name: &str) -> Option<Arc<Cluster>> {
        match self.resource(ResourceType::Cluster, name)? {
            Resource::Cluster(cluster) => Some(cluster),
            _ => None,
        }
    }

    pub(super) fn endpoints(&self, name: &str) -> Option<Arc<ClusterLoadAssignment>> {
        match self.resource(ResourceType::Endpoints, name)? {
            Resource::Endpoints(endpoints) => Some(endpoints),
            _ => None,
        }
    }

    /// The listener that gets a connection to an address, as the data plane chooses it.
    pub(super) fn outbound(&self, to: SocketAddr, trace: &mut Trace) -> Option<Arc<Listener>> {
        let accepting = self.listener("virtualOutbound")?;
        let mut all = ir::Proxy::default();
        for name in listener_names(to) {
            if let Some(listener) = self.listener(&name) {
                all.listeners.insert(Str::from(name), listener);
            }
        }
        let index = ListenerIndex::new(&all);
        Some(Arc::clone(index.choose(&accepting, to, trace)))
    }

    /// A gateway's listener on a port of its own, or of a Service in front of it.
    pub(super) fn of_gateway(&self, port: u16) -> Option<Arc<Listener>> {
        self.mesh.made.gateway(self.pod, port, || self.find_listener(port))
    }

    fn find_listener(&self, port: u16) -> Option<Arc<Listener>> {
        let named = varka_pilot::names(&self.mesh.snapshot, &self.pod.key).names;
        let listeners: Vec<Arc<Listener>> = named
            .iter()
            .filter(|name| name.kind == ResourceType::Listener)
            .filter_map(|name| self.listener(&name.name))
            .collect();
        let on = |port: u16| listeners.iter().find(|listener| listener.address.port() == port).cloned();
        on(port).or_else(|| on(self.target_of(port)?))
    }

    /// The port of the pod behind a port of a Service that selects it.
    fn target_of(&self, port: u16) -> Option<u16> {
        let services = self.mesh.snapshot.registry().services().iter();
        let selects = |selector: &std::collections::BTreeMap<String, String>| {
            !selector.is_empty() && selector.iter().all(|(k, v)| self.pod.key.labels.get(k) == Some(v))
        };
        let own = services.filter(|s| *s.namespace == *self.pod.namespace && selects(&s.selector));
        own.filter(|service| service.port(port).is_some()).find_map(|service| {
            let assignment = self.endpoints(&format!("outbound|{port}||{}", service.host))?;
            let endpoints = assignment.localities.iter().flat_map(|l| &l.endpoints);
            endpoints.filter_map(|e| e.address).find(|a| a.ip() == self.pod.ip).map(|a| a.port())
        })
    }

    pub(super) fn is_gateway(&self) -> bool {
        self.pod.proxy == Some(ProxyKind::Router)
    }
}
