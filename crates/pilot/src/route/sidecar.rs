//! Outbound route tables of a sidecar: one for each HTTP port, and one for each service whose protocol is detected.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use varka_engine::host::RouteIndex;
use varka_engine::ir::{Action, Route, RouteConfiguration, Str, VirtualHost};
use varka_engine::trace::Trace;

use super::asked::Asked;
use super::translate::hash_of;
use super::{Target, catch_all_virtual_host, default_outbound_route, domains, routes};
use crate::cluster::effective_policy;
use crate::context::{Ctx, s};
use crate::gateway_api::has_gateway_semantics;
use crate::hosts;
use crate::listener::entries;
use crate::registry::{Resolution, Service};
use crate::scope::{Egress, destination_rule};
use crate::snapshot::Prepared;

/// RDS names that the listeners refer to.
pub(crate) fn names(ctx: &Ctx<'_>) -> Vec<Str> {
    let mut names: Vec<Str> =
        entries(ctx, None).values().flat_map(|e| e.routes().cloned().collect::<Vec<_>>()).collect();
    names.sort();
    names.dedup();
    names
}

/// A table by name: `80`, or `host:80` for one service alone.
pub(crate) fn build(ctx: &Ctx<'_>, name: &str) -> Option<Arc<RouteConfiguration>> {
    let (host, port) = match name.rsplit_once(':') {
        Some((host, port)) => (Some(host), port),
        None => (None, name),
    };
    let port: u16 = port.parse().ok()?;
    let egress = ctx.scope().egress_for(port)?;
    if host.is_none() && ctx.proxy.on_demand {
        return Some(Arc::new(table(name, vec![catch_all_virtual_host(ctx)], true)));
    }
    let mut virtual_hosts = virtual_hosts(ctx, egress, port, None);
    match host {
        Some(host) => {
            virtual_hosts.retain(|v| v.domains.iter().any(|d| &**d == host));
            if let [only] = virtual_hosts.as_mut_slice() {
                only.domains = vec![s("*")];
            }
        }
        None => {
            virtual_hosts.sort_by(|a, b| a.name.cmp(&b.name));
            virtual_hosts.push(catch_all_virtual_host(ctx));
        }
    }
    Some(Arc::new(table(name, virtual_hosts, false)))
}

fn table(name: &str, virtual_hosts: Vec<VirtualHost>, on_demand: bool) -> RouteConfiguration {
    RouteConfiguration {
        name: s(name),
        virtual_hosts,
        ignore_port_in_host: true,
        on_demand,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
    }
}

/// The virtual host of a port's table that an authority means, by `PORT/AUTHORITY`; `None`: only the one for all others does.
/// The search is the proxy's own, on that part of the table in which the authority can be found.
pub(crate) fn virtual_host(ctx: &Ctx<'_>, name: &str) -> Option<Arc<VirtualHost>> {
    let (port, authority) = name.split_once('/')?;
    let number: u16 = port.parse().ok()?;
    let egress = ctx.scope().egress_for(number)?;
    let of_port = egress.services.iter().filter(|v| v.port(number).is_some());
    let asked = Asked::of(authority, of_port.map(|v| &**v));
    let index = RouteIndex::new(Arc::new(table(port, virtual_hosts(ctx, egress, number, Some(&asked)), false)));
    index.find(authority, &mut Trace::off()).cloned().map(Arc::new)
}

/// Routes with the hosts and services that share them.
struct Group {
    hosts: Vec<String>,
    services: Vec<Arc<Service>>,
    routes: Vec<Route>,
}

/// All virtual hosts of a port's table, or those that can have a say in what is asked.
fn virtual_hosts(ctx: &Ctx<'_>, egress: &Egress, port: u16, asked: Option<&Asked>) -> Vec<VirtualHost> {
    // Services that have the port.
    let of_port = egress.services.iter().filter(|v| v.port(port).is_some());
    let mut registry: BTreeMap<Str, Arc<Service>> = of_port.map(|v| (v.host.clone(), Arc::clone(v))).collect();
    let mut groups = Vec::new();
    for vs in egress.virtual_services.iter().filter(|vs| asked.is_none_or(|a| a.concerns_virtual_service(vs))) {
        // On port 80 a VirtualService may speak for hosts that no service has.
        if port == 80 || means_a_service(vs, &registry) {
            groups.extend(of_virtual_service(ctx, egress, vs, &registry, port));
        }
    }
    for group in &groups {
        for service in &group.services {
            registry.remove(&service.host);
        }
    }
    let is_meant = |service: &Service| asked.is_none_or(|a| a.concerns(service));
    for service in registry.into_values().filter(|v| is_meant(v)) {
        if service.resolution != Resolution::Alias && speaks_http(&service, port) {
            groups.push(of_service(ctx, service, port));
        }
    }
    groups.iter_mut().for_each(|group| group.services.retain(|v| is_meant(v)));
    finish(ctx, groups, port)
}

fn speaks_http(service: &Service, port: u16) -> bool {
    service.port(port).is_some_and(|p| p.protocol.is_http_or_auto())
}

fn means_a_service(vs: &Prepared, registry: &BTreeMap<Str, Arc<Service>>) -> bool {
    vs.spec.hosts.iter().any(|h| {
        registry.contains_key(h.as_str())
            || registry.keys().any(|r| (hosts::is_wildcard(h) || hosts::is_wildcard(r)) && hosts::matches(h, r))
    })
}

fn of_virtual_service(
    ctx: &Ctx<'_>,
    egress: &Egress,
    vs: &Prepared,
    registry: &BTreeMap<Str, Arc<Service>>,
    port: u16,
) -> Option<Group> {
    let mesh = ["mesh".to_owned()];
    let made = routes(ctx, vs, &Target { port, gateways: &mesh, tls: false });
    if made.is_empty() {
        return None;
    }
    if has_gateway_semantics(&vs.object.metadata) {
        // For clients in its own namespace, or of Services in it; and only for a Service that has the port.
        let own = *vs.namespace() == *ctx.proxy.namespace;
        let services = vs.spec.hosts.iter().filter_map(|host| registry.get(host.as_str()));
        let mut services: Vec<Arc<Service>> =
            services.filter(|v| own || *v.namespace == *vs.namespace()).cloned().collect();
        services.retain(|v| speaks_http(v, port));
        return (!services.is_empty()).then_some(Group { hosts: Vec::new(), services, routes: made });
    }
    let mut unknown = Vec::new();
    let mut services: Vec<Arc<Service>> = Vec::new();
    for host in &vs.spec.hosts {
        if !hosts::is_wildcard(host) {
            match registry.get(host.as_str()) {
                Some(service) => services.push(service.clone()),
                None => unknown.push(host.clone()),
            }
            continue;
        }
        let mut any = false;
        for (name, service) in registry {
            if !hosts::matches(name, host) {
                continue;
            }
            any = true;
            let best = egress.best_wildcard.get(name);
            if best.is_some_and(|(namespace, n)| namespace == vs.namespace() && n == vs.name()) {
                services.push(service.clone());
            }
        }
        if !any {
            unknown.push(host.clone());
        }
    }
    if port != 80 && !services.iter().any(|v| speaks_http(v, port)) {
        return None;
    }
    services.retain(|v| speaks_http(v, port));
    Some(Group { hosts: unknown, services, routes: made })
}

fn of_service(ctx: &Ctx<'_>, service: Arc<Service>, port: u16) -> Group {
    let cluster = s(format!("outbound|{port}||{}", service.host));
    let mut route = default_outbound_route(ctx, &cluster, &service.host, port);
    if let (Some(rule), Action::Forward(action)) = (destination_rule(ctx, &service, true), &mut route.action) {
        let policy = effective_policy(ctx.mesh(), Some(&rule), port, None);
        let hash = policy.load_balancer.as_ref().and_then(|l| l.consistent_hash.as_ref()).and_then(hash_of);
        action.hash_policy = hash.into_iter().collect();
    }
    Group { hosts: Vec::new(), services: vec![service], routes: vec![route] }
}

/// Virtual hosts of the groups: the first that claims a name or a domain has it.
fn finish(ctx: &Ctx<'_>, groups: Vec<Group>, port: u16) -> Vec<VirtualHost> {
    let full: HashSet<Str> = groups.iter().flat_map(|g| g.services.iter().map(|v| v.host.clone())).collect();
    let mut names = HashSet::new();
    let mut taken: HashSet<Str> = HashSet::new();
    let mut out = Vec::new();
    let mut add = |host: &str, domains: Vec<Str>, short: &HashSet<Str>, routes: &[Route]| {
        let name = s(format!("{host}:{port}"));
        if !names.insert(name.clone()) {
            return;
        }
        let free: Vec<Str> = domains
            .into_iter()
            // A short form never takes the place of a service that is really called so.
            .filter(|d| !(short.contains(d) && full.contains(d)))
            .filter(|d| taken.insert(s(d.to_ascii_lowercase())))
            .collect();
        if !free.is_empty() {
            out.push(VirtualHost {
                name,
                domains: free,
                routes: routes.to_vec(),
                require_tls: false,
                include_attempt_count: true,
                request_headers: Vec::new(),
                response_headers: Vec::new(),
            });
        }
    };
    for group in &groups {
        for host in &group.hosts {
            add(host, vec![s(host)], &HashSet::new(), &group.routes);
        }
        for service in &group.services {
            let (domains, short) = domains::of_service(service, ctx.proxy);
            add(&service.host, domains, &short, &group.routes);
        }
    }
    out
}
