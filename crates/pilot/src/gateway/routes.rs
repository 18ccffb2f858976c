//! Route tables of gateways: hosts that a server and a VirtualService share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use varka_engine::ir::{Route, RouteConfiguration, Str, VirtualHost};

use super::merge::Bound;
use crate::context::{Ctx, s};
use crate::hosts;
use crate::reads::ReadKey;
use crate::route::{Target, is_catch_all, routes};
use crate::snapshot::{Kind, Prepared};

/// RDS names of all HTTP servers.
pub(crate) fn names(ctx: &Ctx<'_>) -> Vec<Str> {
    let mut names: Vec<Str> =
        ctx.gateways().ports.values().flatten().map(|b| b.route.clone()).filter(|r| !r.is_empty()).collect();
    names.sort();
    names.dedup();
    names
}

/// VirtualServices that are bound to a gateway and that the proxy sees, oldest first.
pub(super) fn bound_to(ctx: &Ctx<'_>, gateway: &str) -> Vec<Arc<Prepared>> {
    ctx.read(ReadKey::Kind(Kind::VirtualService));
    let made = ctx.gateways().ingress.iter();
    let all = ctx.snapshot.virtual_services().iter().chain(made);
    all.filter(|vs| vs.export.reaches(&ctx.proxy.namespace) && vs.spec.gateways.iter().any(|g| g == gateway))
        .cloned()
        .collect()
}

/// Hosts of a server that a VirtualService's namespace may use.
fn open_to<'a>(server: &'a Bound, vs: &'a Prepared) -> impl Iterator<Item = &'a str> {
    server.server.hosts.iter().filter_map(|h| match h.split_once('/') {
        Some((namespace, host)) => (namespace == vs.namespace()).then_some(host),
        None => Some(h.as_str()),
    })
}

/// Whether they have a host in common.
pub(super) fn shares_host(server: &Bound, vs: &Prepared) -> bool {
    open_to(server, vs).any(|h| vs.spec.hosts.iter().any(|v| hosts::matches(h, v)))
}

/// The narrower of each pair of hosts that have something in common.
fn shared_hosts(server: &Bound, vs: &Prepared) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for ours in open_to(server, vs) {
        for theirs in &vs.spec.hosts {
            let both = if hosts::is_subset(ours, theirs) {
                ours
            } else if hosts::is_subset(theirs, ours) {
                theirs
            } else {
                continue;
            };
            let both = both.to_ascii_lowercase();
            if !out.contains(&both) {
                out.push(both);
            }
        }
    }
    out
}

/// One table.
pub(crate) fn build(ctx: &Ctx<'_>, name: &str) -> Option<Arc<RouteConfiguration>> {
    let servers: Vec<&Bound> = ctx.gateways().ports.values().flatten().filter(|b| &*b.route == name).collect();
    let first_port = servers.first()?.number();
    let mut hosts: BTreeMap<String, VirtualHost> = BTreeMap::new();
    let mut cache: HashMap<(String, String), Vec<Route>> = HashMap::new();
    for server in &servers {
        let port = server.number();
        let redirect = server.server.tls.as_ref().is_some_and(|t| t.https_redirect);
        for vs in bound_to(ctx, &server.gateway_name) {
            let shared = shared_hosts(server, &vs);
            if shared.is_empty() {
                continue;
            }
            let key = (server.gateway_name.clone(), format!("{}/{}", vs.namespace(), vs.name()));
            let made = cache.entry(key).or_insert_with(|| {
                let gateways = [server.gateway_name.clone()];
                routes(ctx, &vs, &Target { port, gateways: &gateways, tls: server.server.tls.is_some() })
            });
            if made.is_empty() {
                continue;
            }
            for host in shared {
                let entry = hosts.entry(host.clone()).or_insert_with(|| virtual_host(&host, port));
                entry.routes.extend(made.iter().cloned());
                entry.require_tls |= redirect;
            }
        }
        if redirect {
            for host in server.hosts() {
                let host = host.to_ascii_lowercase();
                hosts.entry(host.clone()).or_insert_with(|| virtual_host(&host, port)).require_tls = true;
            }
        }
    }
    if hosts.is_empty() {
        // Without a route every request is answered with 404.
        let nothing = VirtualHost { domains: vec![s("*")], ..virtual_host("blackhole", first_port) };
        hosts.insert(String::new(), nothing);
    }
    let mut virtual_hosts: Vec<VirtualHost> = hosts.into_values().collect();
    for host in &mut virtual_hosts {
        // Rules of several VirtualServices: those that take everything come last.
        host.routes.sort_by_key(|r| is_catch_all(&r.matches));
    }
    Some(Arc::new(RouteConfiguration {
        name: s(name),
        virtual_hosts,
        ignore_port_in_host: true,
        on_demand: false,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
    }))
}

fn virtual_host(host: &str, port: u16) -> VirtualHost {
    VirtualHost {
        name: s(format!("{host}:{port}")),
        domains: vec![s(host)],
        routes: Vec::new(),
        require_tls: false,
        include_attempt_count: true,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
    }
}
