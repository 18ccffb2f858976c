//! Where opaque and TLS connections of an outbound listener go, by VirtualService or to the service itself.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use varka_api::istio::{L4Match, Labels, TlsMatch, WeightedDestination};
use varka_engine::ir::{HashKey, HashPolicy, Str, TcpProxy, TcpTunnel, WeightedCluster};

use super::outbound::Draft;
use super::tcp_proxy;
use crate::context::{Ctx, s};
use crate::hosts;
use crate::policy::Side;
use crate::registry::{Port, Service};
use crate::route::{alternative_names, destination_cluster};
use crate::scope::{HostRule, destination_rule};
use crate::snapshot::Prepared;

/// A service port that is not HTTP, on one listener.
pub(super) struct Opaque<'a> {
    pub(super) service: &'a Arc<Service>,
    pub(super) port: &'a Port,
    pub(super) cidrs: Vec<IpNet>,
    pub(super) bind: IpAddr,
    pub(super) virtual_services: &'a [Arc<Prepared>],
}

pub(super) fn drafts(ctx: &Ctx<'_>, on: &Opaque<'_>) -> Vec<Draft> {
    if on.port.protocol.is_tls() { tls(ctx, on) } else { tcp(ctx, on) }
}

fn matching<'a>(on: &Opaque<'a>) -> impl Iterator<Item = &'a Arc<Prepared>> {
    let host = on.service.host.clone();
    on.virtual_services.iter().filter(move |vs| vs.spec.hosts.iter().any(|h| hosts::matches(h, &host)))
}

/// What can be told of a match before any connection: gateway, labels, port, namespace.
fn holds(ctx: &Ctx<'_>, gateways: &[String], labels: &Labels, port: u32, namespace: &str, on: &Opaque<'_>) -> bool {
    (gateways.is_empty() || gateways.iter().any(|g| g == "mesh"))
        && ctx.proxy.has_labels(labels)
        && (port == 0 || port == u32::from(on.port.number))
        && (namespace.is_empty() || namespace == &*ctx.proxy.namespace)
}

fn subnets(list: &[String]) -> Vec<IpNet> {
    list.iter().filter_map(|c| c.parse().or_else(|_| c.parse::<IpAddr>().map(IpNet::from)).ok()).collect()
}

fn tls(ctx: &Ctx<'_>, on: &Opaque<'_>) -> Vec<Draft> {
    let mut out = Vec::new();
    let mut seen: HashSet<(Vec<String>, Vec<String>)> = HashSet::new();
    for vs in matching(on) {
        for route in vs.spec.tls.iter().filter(|t| !t.route.is_empty()) {
            for m in &route.r#match {
                let TlsMatch { gateways, source_labels, port, source_namespace, .. } = m;
                if !holds(ctx, gateways, source_labels, *port, source_namespace, on)
                    || !seen.insert((m.sni_hosts.clone(), m.destination_subnets.clone()))
                {
                    continue;
                }
                let cidrs =
                    if m.destination_subnets.is_empty() { on.cidrs.clone() } else { subnets(&m.destination_subnets) };
                let sni = m.sni_hosts.iter().map(s).collect();
                out.push(Draft::tcp(sni, cidrs, weighted(ctx, &route.route, on.port.number)));
            }
        }
    }
    if out.is_empty() {
        let bind_is_wildcard = on.bind.is_unspecified();
        let no_address = on.service.addresses.is_empty() || on.service.has_cidr();
        // Without an address of its own only the SNI tells the service.
        let by_name = !on.cidrs.is_empty() || (no_address && bind_is_wildcard) || on.service.is_dynamic();
        let mut sni: Vec<Str> = Vec::new();
        if by_name {
            sni.push(on.service.host.clone());
            for alias in &on.service.aliases {
                sni.push(alias.clone());
                sni.extend(alternative_names(alias, &ctx.proxy.dns_domain));
            }
        }
        out.push(Draft::tcp(sni, on.cidrs.clone(), to_service(ctx, on)));
    }
    out
}

fn tcp(ctx: &Ctx<'_>, on: &Opaque<'_>) -> Vec<Draft> {
    let mut out = Vec::new();
    for vs in matching(on) {
        for route in vs.spec.tcp.iter().filter(|t| !t.route.is_empty()) {
            let proxy = || weighted(ctx, &route.route, on.port.number);
            if route.r#match.is_empty() {
                out.push(Draft::tcp(Vec::new(), on.cidrs.clone(), proxy()));
                return out;
            }
            let mut nets = Vec::new();
            for m in &route.r#match {
                let L4Match { gateways, source_labels, port, source_namespace, .. } = m;
                if !holds(ctx, gateways, source_labels, *port, source_namespace, on) {
                    continue;
                }
                if m.destination_subnets.is_empty() {
                    out.push(Draft::tcp(Vec::new(), on.cidrs.clone(), proxy()));
                    return out;
                }
                nets.extend(subnets(&m.destination_subnets));
            }
            if !nets.is_empty() {
                out.push(Draft::tcp(Vec::new(), nets, proxy()));
            }
        }
    }
    let same = |d: &Draft| {
        let sorted = |mut n: Vec<IpNet>| {
            n.sort();
            n
        };
        !on.cidrs.is_empty() && sorted(d.cidrs.clone()) == sorted(on.cidrs.clone())
    };
    if !out.iter().any(same) {
        out.push(Draft::tcp(Vec::new(), on.cidrs.clone(), to_service(ctx, on)));
    }
    out
}

/// To the service itself. A listener that a Sidecar puts on another port goes to the service's only one.
fn to_service(ctx: &Ctx<'_>, on: &Opaque<'_>) -> TcpProxy {
    let port = match on.service.ports.as_slice() {
        [only] => only.number,
        _ => on.port.number,
    };
    let cluster = format!("outbound|{port}||{}", on.service.host);
    with_rule(tcp_proxy(ctx, &cluster, Side::Client), destination_rule(ctx, on.service, true).as_ref(), "")
}

/// To the destinations of a VirtualService.
pub(crate) fn weighted(ctx: &Ctx<'_>, routes: &[WeightedDestination], port: u16) -> TcpProxy {
    let destinations: Vec<_> = routes
        .iter()
        .filter_map(|r| Some((r.destination.as_ref()?, r.weight)))
        .filter(|(_, weight)| routes.len() == 1 || *weight > 0)
        .collect();
    let clusters: Vec<WeightedCluster> = destinations
        .iter()
        .map(|(d, weight)| WeightedCluster {
            cluster: destination_cluster(d, ctx.service(&d.host).map(|v| &**v), port),
            weight: if routes.len() == 1 { 1 } else { u32::try_from(*weight).unwrap_or(0) },
        })
        .collect();
    let first = clusters.first().map_or_else(|| s(super::BLACK_HOLE), |c| c.cluster.clone());
    let mut proxy = tcp_proxy(ctx, &first, Side::Client);
    if !clusters.is_empty() {
        proxy.clusters = clusters;
    }
    // The listener has one set of settings: those of the first destination, and of its subset where it is the only one.
    let Some(first) = routes.first().and_then(|r| r.destination.as_ref()) else { return proxy };
    let rule = ctx.service(&first.host).and_then(|v| destination_rule(ctx, v, true));
    with_rule(proxy, rule.as_ref(), if routes.len() == 1 { &first.subset } else { "" })
}

/// Timeouts, hashing and the tunnel of a DestinationRule that a TCP proxy applies.
fn with_rule(mut proxy: TcpProxy, rule: Option<&HostRule>, subset: &str) -> TcpProxy {
    let Some(rule) = rule else { return proxy };
    let tcp = rule.policy.as_ref().and_then(|p| p.connection_pool.as_ref()).and_then(|c| c.tcp.as_ref());
    proxy.idle_timeout = tcp.and_then(|t| t.idle_timeout).map(|d| d.to_std());
    proxy.max_connection_duration = tcp.and_then(|t| t.max_connection_duration).map(|d| d.to_std());
    let policy = rule.subset(subset).and_then(|x| x.traffic_policy.as_ref()).or(rule.policy.as_ref());
    let hash = policy.and_then(|p| p.load_balancer.as_ref()).and_then(|l| l.consistent_hash.as_ref());
    if hash.is_some_and(|h| h.use_source_ip == Some(true)) {
        proxy.hash_policy = vec![HashPolicy { key: HashKey::SourceIp, terminal: false }];
    }
    let tunnel = match subset {
        "" => rule.policy.as_ref().and_then(|p| p.tunnel.as_ref()),
        named => rule.subset(named).and_then(|x| x.traffic_policy.as_ref()).and_then(|p| p.tunnel.as_ref()),
    };
    proxy.tunnel = tunnel.map(|t| {
        let is_v6 = t.target_host.contains(':') && !t.target_host.starts_with('[');
        let host = if is_v6 { format!("[{}]", t.target_host) } else { t.target_host.clone() };
        TcpTunnel { hostname: s(format!("{host}:{}", t.target_port)), post: t.protocol == "POST" }
    });
    proxy
}
