//! Which resources a resource refers to, so that they are subscribed to with it.

use varka_engine::ir::{Discovery, Listener, Resource, ResourceType, RouteSource, Str, Terminal};

/// Secrets that a workload makes for itself and never asks for.
const OWN_SECRETS: [&str; 2] = ["default", "ROOTCA"];

/// Type and name of everything that `resource` refers to, each once.
pub(super) fn of(resource: &Resource) -> Vec<(ResourceType, Str)> {
    let mut out = match resource {
        Resource::Cluster(cluster) => {
            let sockets = cluster.transport_matches.iter().filter_map(|m| m.tls.as_ref()).chain(&cluster.tls);
            let mut out: Vec<_> = sockets.flat_map(|tls| tls.secrets()).map(secret).collect();
            if let Discovery::Eds { service_name } = &cluster.discovery {
                out.push((ResourceType::Endpoints, service_name.clone()));
            }
            out
        }
        Resource::Listener(listener) => of_listener(listener),
        // A request asks for the cluster that it goes to when it gets that far.
        Resource::Route(_)
        | Resource::VirtualHost(..)
        | Resource::Endpoints(_)
        | Resource::Secret(_)
        | Resource::Workload(..) => Vec::new(),
    };
    out.retain(|(kind, name)| *kind != ResourceType::Secret || !OWN_SECRETS.contains(&&**name));
    out.sort();
    out.dedup();
    out
}

fn of_listener(listener: &Listener) -> Vec<(ResourceType, Str)> {
    let mut out = Vec::new();
    for chain in listener.filter_chains.iter().chain(&listener.default_filter_chain) {
        if let Some(tls) = &chain.tls {
            out.extend(tls.secrets().map(secret));
        }
        if let Terminal::Http(manager) = &chain.terminal
            && let RouteSource::Rds(name) = &manager.routes
        {
            out.push((ResourceType::Route, name.clone()));
        }
    }
    out
}

fn secret(name: &Str) -> (ResourceType, Str) {
    (ResourceType::Secret, name.clone())
}
