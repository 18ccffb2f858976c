//! What a route attaches to, and whether it may.

use std::collections::BTreeSet;

use varka_api::ObjectMeta;
use varka_api::kube::{GATEWAY_API, ParentReference};

use super::listeners::{Listener, Served};
use super::{Problem, World, parent_kind};
use crate::hosts;

/// What all routes have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route<'r> {
    pub(super) kind: &'static str,
    pub(super) metadata: &'r ObjectMeta,
    pub(super) references: &'r [ParentReference],
    pub(super) hostnames: &'r [String],
}

/// A reference of a route, to one listener or to the mesh.
#[derive(Debug)]
pub(super) struct Attachment<'m> {
    pub(super) reference: ParentReference,
    pub(super) to: Parent<'m>,
    /// Why it is refused.
    pub(super) denied: Option<Problem>,
    /// Hosts of other listeners on the same port, which are not this one's to serve.
    others: BTreeSet<&'m str>,
}

/// What is attached to.
#[derive(Debug)]
pub(super) enum Parent<'m> {
    /// Clients in the mesh, of a Service.
    Service { namespace: String, name: String },
    /// Clients in the mesh, of a ServiceEntry.
    ServiceEntry { namespace: String, name: String },
    /// A listener of a Gateway.
    Listener { gateway: (&'m str, &'m str), listener: &'m Listener },
}

impl Attachment<'_> {
    pub(super) fn is_mesh(&self) -> bool {
        !matches!(self.to, Parent::Listener { .. })
    }

    /// `mesh`, or the Gateway that is made of the listener.
    pub(super) fn internal_name(&self) -> &str {
        match &self.to {
            Parent::Listener { listener, .. } => &listener.internal_name,
            _ => "mesh",
        }
    }

    /// Whether requests for `host` are this listener's, and not those of one whose host is more exact.
    pub(super) fn serves(&self, host: &str) -> bool {
        let Parent::Listener { listener, .. } = &self.to else { return true };
        let own = listener.hostname.as_str();
        if !own.is_empty() && !hosts::is_wildcard(own) {
            return true;
        }
        if !own.is_empty() && !hosts::matches(host, own) {
            return false;
        }
        !self.others.iter().any(|other| own.len() <= other.len() && hosts::is_subset(host, other))
    }
}

/// `GROUP/KIND/NAME/SECTION/PORT.NAMESPACE`: what makes two references the same.
pub(super) fn key(reference: &ParentReference, namespace: &str) -> String {
    let (group, kind) = parent_kind(reference);
    let section = reference.section_name.as_deref().unwrap_or_default();
    let port = reference.port.unwrap_or_default();
    let namespace = reference.namespace.as_deref().unwrap_or(namespace);
    format!("{group}/{kind}/{}/{section}/{port}.{namespace}", reference.name)
}

/// Every listener and Service that the references of a route lead to. References to kinds or Gateways that are not ours are left
/// out: they are another controller's.
pub(super) fn attachments<'m>(world: &World<'_>, served: &'m [Served], route: Route<'_>) -> Vec<Attachment<'m>> {
    let own = route.metadata.namespace.as_str();
    let mut out = Vec::new();
    for reference in route.references {
        let namespace = reference.namespace.as_deref().unwrap_or(own).to_owned();
        let name = reference.name.clone();
        let mesh = |to, denied| Attachment { reference: reference.clone(), to, denied, others: BTreeSet::new() };
        match parent_kind(reference) {
            ("", "Service") => {
                let there = world.stores.services.get(&namespace, &name).is_some();
                let denied = (!there).then(|| not_there(&format!("Service {namespace}/{name}")));
                out.push(mesh(Parent::Service { namespace, name }, denied));
            }
            ("networking.istio.io", "ServiceEntry") => {
                let there = world.stores.service_entries.get(&namespace, &name).is_some();
                let denied = (!there).then(|| not_there(&format!("ServiceEntry {namespace}/{name}")));
                out.push(mesh(Parent::ServiceEntry { namespace, name }, denied));
            }
            (GATEWAY_API, "Gateway") => {
                let meta = |s: &'m Served| (s.object.metadata.namespace.as_str(), s.object.metadata.name.as_str());
                let Some(gateway) = served.iter().find(|s| meta(s) == (&*namespace, &*name)) else { continue };
                let listeners: Vec<&Listener> = gateway.listeners.iter().filter(|l| l.server.is_some()).collect();
                for listener in &listeners {
                    let others = listeners.iter().filter(|o| {
                        o.name != listener.name && o.port == listener.port && o.protocol == listener.protocol
                    });
                    out.push(Attachment {
                        reference: reference.clone(),
                        to: Parent::Listener { gateway: meta(gateway), listener },
                        denied: denied(listener, reference, route),
                        others: others.map(|o| o.hostname.as_str()).filter(|h| *h != listener.hostname).collect(),
                    });
                }
            }
            _ => {}
        }
    }
    out.sort_by_cached_key(|a| key(&a.reference, own));
    out
}

fn not_there(what: &str) -> Problem {
    Problem::new("NoMatchingParent", format!("there is no {what}"))
}

/// Why a listener refuses a route.
fn denied(listener: &Listener, reference: &ParentReference, route: Route<'_>) -> Option<Problem> {
    if let Some(port) = reference.port.filter(|p| *p != 0 && *p != listener.port) {
        return Some(Problem::new("NoMatchingParent", format!("no listener has port {port}")));
    }
    if let Some(section) = reference.section_name.as_deref().filter(|s| !s.is_empty() && *s != listener.name) {
        return Some(Problem::new("NoMatchingParent", format!("no listener is called {section:?}")));
    }
    let own = route.metadata.namespace.as_str();
    let all = ["*".to_owned()];
    let wanted = if route.hostnames.is_empty() { &all[..] } else { route.hostnames };
    let mut shares_host = false;
    let mut allowed = false;
    for host in &listener.hosts {
        let (namespace, host) = host.split_once('/').unwrap_or(("*", host));
        if wanted.iter().any(|w| hosts::matches(host, w)) {
            shares_host = true;
            allowed |= namespace == "*" || namespace == own;
        }
    }
    let place = || format!("listener {:?}", listener.name);
    if !shares_host {
        let message = format!("{} serves {:?}, and none of the route's hostnames is of it", place(), listener.hostname);
        return Some(Problem::new("NoMatchingListenerHostname", message));
    }
    if !allowed {
        let message = format!("{} does not take routes of namespace {own} (allowedRoutes.namespaces)", place());
        return Some(Problem::new("NotAllowedByListeners", message));
    }
    if !listener.kinds.contains(&route.kind) {
        let message = format!("{} does not take a {} (allowedRoutes.kinds, protocol)", place(), route.kind);
        return Some(Problem::new("NotAllowedByListeners", message));
    }
    None
}
