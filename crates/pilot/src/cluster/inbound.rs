//! Clusters that lead into the workload.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use varka_api::istio::InboundTrafficPolicyMode;
use varka_engine::ir::{
    Cluster, ClusterLoadAssignment, Discovery, Endpoint, HealthStatus, LbPolicy, Locality, LocalityEndpoints, Str,
};

use super::{downstream, effective_policy, fixed, http_options, original_dst, pools};
use crate::context::{Ctx, s};
use crate::listener::inbound_chains;
use crate::scope::destination_rule;

/// Source address by which redirection tells the proxy's own connections to the workload from others.
fn source(ctx: &Ctx<'_>) -> IpAddr {
    if ctx.proxy.is_v6_only() {
        IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6))
    } else {
        IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6))
    }
}

/// Ports without a service: to the address that was dialled.
pub(super) fn passthrough(ctx: &Ctx<'_>, name: &Str) -> Cluster {
    Cluster { bind_source: Some(source(ctx)), http: downstream(), ..fixed(name, original_dst()) }
}

/// A port of the workload; the limits of the service's DestinationRule hold here too.
pub(super) fn build(ctx: &Ctx<'_>, name: &Str) -> Option<Cluster> {
    let inbound = inbound_chains(ctx).into_iter().find(|c| c.cluster() == *name)?;
    let port = inbound.port?;
    let endpoint = declared_endpoint(ctx, port);
    let local =
        ctx.mesh().inbound_traffic_policy.as_ref().is_some_and(|p| p.mode == InboundTrafficPolicyMode::Localhost);
    let target = endpoint.unwrap_or_else(|| local.then(|| SocketAddr::from(([127, 0, 0, 1], port))));
    let mut cluster = match target {
        Some(address) => Cluster { lb: LbPolicy::RoundRobin, ..fixed(name, Discovery::Static(single(name, address))) },
        None => Cluster { bind_source: Some(source(ctx)), ..fixed(name, original_dst()) },
    };
    cluster.http = http_options(inbound.protocol);
    if let Some(target) = ctx.targets().iter().find(|t| t.number == port) {
        let service = &target.service;
        cluster.services = vec![(service.host.clone(), service.name.clone(), service.namespace.clone())];
        let rule = destination_rule(ctx, service, false);
        let policy = effective_policy(ctx.mesh(), rule.as_ref(), target.port.number, None);
        pools::connection_pool(ctx, &mut cluster, &policy.connection_pool.unwrap_or_default());
    }
    let sidecar = ctx.scope().sidecar.as_ref().map(|o| &o.spec);
    let own =
        sidecar.and_then(|x| x.ingress.iter().find(|l| l.port.as_ref().is_some_and(|p| p.number == u32::from(port))));
    let pool =
        own.and_then(|l| l.connection_pool.as_ref()).or(sidecar.and_then(|x| x.inbound_connection_pool.as_ref()));
    if let Some(pool) = pool.or(ctx.mesh().inbound_connection_pool.as_ref()) {
        pools::connection_pool(ctx, &mut cluster, pool);
    }
    Some(cluster)
}

/// `defaultEndpoint` of a Sidecar's listener. Outer `None`: not said; inner `None`: the address that was dialled.
#[expect(clippy::option_option, reason = "not said differs from said to be the original destination")]
fn declared_endpoint(ctx: &Ctx<'_>, port: u16) -> Option<Option<SocketAddr>> {
    let sidecar = ctx.scope().sidecar.clone()?;
    let listener =
        sidecar.spec.ingress.iter().find(|l| l.port.as_ref().is_some_and(|p| p.number == u32::from(port)))?;
    let address: SocketAddr = listener.default_endpoint.parse().ok()?;
    Some((!address.ip().is_unspecified()).then_some(address))
}

fn single(name: &Str, address: SocketAddr) -> ClusterLoadAssignment {
    let endpoint = Endpoint {
        address: Some(address),
        host: None,
        weight: 1,
        health: HealthStatus::Unknown,
        tls_mode: None,
        workload: None,
    };
    let group = LocalityEndpoints {
        locality: Locality { region: s(""), zone: s(""), sub_zone: s("") },
        priority: 0,
        weight: None,
        endpoints: vec![endpoint],
    };
    ClusterLoadAssignment { cluster_name: name.clone(), localities: vec![group] }
}
