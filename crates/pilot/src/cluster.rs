//! Clusters: every destination that a listener or route can name.

mod inbound;
mod policy;
mod pools;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use varka_api::Object;
use varka_api::istio::{DestinationRule, Labels, OutboundTrafficPolicyMode, SimpleLb};
use varka_engine::ir::{
    CircuitBreakers, Cluster, ClusterLoadAssignment, ClusterProtocol, Discovery, HttpProtocolOptions, LbPolicy, Str,
};

use crate::context::{Ctx, s};
use crate::diagnostic::Severity;
use crate::endpoints::{Order, assignment, instances};
use crate::gateway_api::is_backend_tls;
use crate::ingress::nginx;
use crate::listener::{BLACK_HOLE, DYNAMIC_DNS, INBOUND_PASSTHROUGH, PASSTHROUGH};
use crate::registry::{Port, Protocol, Resolution, Service};
use crate::scope::destination_rule;

pub(crate) use policy::effective as effective_policy;
pub(crate) use tls::{check_credential, secrets};

/// A cluster name taken apart: `outbound|PORT|SUBSET|HOST`.
struct Outbound<'a> {
    port: u16,
    subset: &'a str,
    host: &'a str,
}

impl<'a> Outbound<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let mut parts = name.splitn(4, '|');
        if parts.next()? != "outbound" {
            return None;
        }
        let port = parts.next()?.parse().ok()?;
        let subset = parts.next()?;
        Some(Self { port, subset, host: parts.next()? })
    }
}

/// Port and host of an outbound cluster's name.
pub(crate) fn outbound_parts(name: &str) -> Option<(u16, &str)> {
    Outbound::parse(name).map(|parts| (parts.port, parts.host))
}

/// Names of all clusters of the proxy.
pub(crate) fn names(ctx: &Ctx<'_>) -> Vec<Str> {
    if nginx::is_nginx(ctx) {
        return nginx::clusters(ctx);
    }
    let mut names = vec![s(BLACK_HOLE)];
    if !ctx.is_router() {
        names.push(s(PASSTHROUGH));
        names.push(s(INBOUND_PASSTHROUGH));
        if ctx.scope().outbound == OutboundTrafficPolicyMode::AllowAnyDynamicDns {
            names.push(s(DYNAMIC_DNS));
        }
        names.extend(crate::listener::inbound_chains(ctx).iter().map(crate::listener::Inbound::cluster));
    }
    if ctx.proxy.on_demand {
        return names;
    }
    for service in ctx.scope().services() {
        if service.resolution == Resolution::Alias {
            continue;
        }
        let rule = destination_rule(ctx, service, true);
        for port in service.ports.iter().filter(|p| p.protocol != Protocol::Udp) {
            if service.is_dynamic() {
                // Whose bytes name no host can go nowhere; and what is resolved has no labels.
                if port.protocol.is_http() || port.protocol == Protocol::Tls {
                    names.push(s(format!("outbound|{}||{}", port.number, service.host)));
                }
                continue;
            }
            names.push(s(format!("outbound|{}||{}", port.number, service.host)));
            for subset in rule.iter().flat_map(|r| &r.subsets) {
                names.push(s(format!("outbound|{}|{}|{}", port.number, subset.name, service.host)));
            }
        }
    }
    names
}

/// EDS names: clusters whose endpoints the registry knows.
pub(crate) fn endpoint_names(ctx: &Ctx<'_>, clusters: &[Str]) -> Vec<Str> {
    let is_eds = |name: &&Str| {
        let Some(parts) = Outbound::parse(name) else { return false };
        ctx.service(parts.host).is_some_and(|v| discovery(ctx, v, &parts).is_eds())
    };
    clusters.iter().filter(is_eds).cloned().collect()
}

/// How a cluster finds endpoints, before they are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    Eds,
    Dns { logical: bool },
    Dynamic,
    OriginalDst,
}

impl Finding {
    fn is_eds(self) -> bool {
        self == Self::Eds
    }
}

fn discovery(ctx: &Ctx<'_>, service: &Service, parts: &Outbound<'_>) -> Finding {
    if service.is_dynamic() {
        return Finding::Dynamic;
    }
    let rule = destination_rule(ctx, service, true);
    let subset = rule.as_ref().and_then(|r| r.subset(parts.subset));
    let policy = effective_policy(ctx.mesh(), rule.as_ref(), parts.port, subset);
    if policy.load_balancer.as_ref().and_then(|l| l.simple) == Some(SimpleLb::Passthrough) {
        return Finding::OriginalDst;
    }
    match service.resolution {
        Resolution::Endpoints | Resolution::Alias => Finding::Eds,
        Resolution::Dns => Finding::Dns { logical: false },
        Resolution::DnsRoundRobin => Finding::Dns { logical: true },
        // Routers do not see where a client dialled.
        Resolution::Passthrough if ctx.is_router() => Finding::Eds,
        Resolution::Passthrough | Resolution::DynamicDns => Finding::OriginalDst,
    }
}

/// One cluster.
pub(crate) fn build(ctx: &Ctx<'_>, name: &Str) -> Option<Arc<Cluster>> {
    let cluster = match &**name {
        BLACK_HOLE => fixed(name, Discovery::Static(empty(name))),
        PASSTHROUGH => Cluster { http: downstream(), ..fixed(name, original_dst()) },
        DYNAMIC_DNS => Cluster { http: downstream(), ..fixed(name, Discovery::DynamicForwardProxy) },
        INBOUND_PASSTHROUGH => inbound::passthrough(ctx, name),
        other if other.starts_with("inbound|") => inbound::build(ctx, name)?,
        _ => outbound(ctx, name)?,
    };
    Some(Arc::new(cluster))
}

fn original_dst() -> Discovery {
    Discovery::OriginalDst { use_http_header: false, port: None }
}

fn downstream() -> HttpProtocolOptions {
    HttpProtocolOptions { protocol: ClusterProtocol::Downstream, ..HttpProtocolOptions::default() }
}

fn empty(name: &Str) -> ClusterLoadAssignment {
    ClusterLoadAssignment { cluster_name: name.clone(), localities: Vec::new() }
}

/// A cluster with Istio's defaults.
fn fixed(name: &Str, discovery: Discovery) -> Cluster {
    let lb = if matches!(discovery, Discovery::OriginalDst { .. } | Discovery::DynamicForwardProxy) {
        LbPolicy::ClusterProvided
    } else {
        LbPolicy::LeastRequest { choices: 2 }
    };
    Cluster {
        name: name.clone(),
        discovery,
        lb,
        connect_timeout: Duration::from_secs(10),
        circuit_breakers: CircuitBreakers::default(),
        outlier: None,
        transport_matches: Vec::new(),
        tls: None,
        http: HttpProtocolOptions::default(),
        bind_source: None,
        tcp_keepalive: None,
        panic_threshold: 0,
        locality_weighted: false,
        slow_start: None,
        proxy_protocol: None,
        retry_budget: None,
        services: Vec::new(),
        dns_refresh: None,
        metadata_exchange: false,
    }
}

/// What is spoken towards a port of this protocol.
fn http_options(protocol: Protocol) -> HttpProtocolOptions {
    let protocol = if protocol.is_http2() {
        ClusterProtocol::Http2
    } else if protocol == Protocol::Auto {
        ClusterProtocol::Downstream
    } else {
        ClusterProtocol::Http1
    };
    HttpProtocolOptions { protocol, ..HttpProtocolOptions::default() }
}

fn outbound(ctx: &Ctx<'_>, name: &Str) -> Option<Cluster> {
    let parts = Outbound::parse(name)?;
    let service = ctx.service(parts.host)?.clone();
    let port = service.port(parts.port)?;
    if nginx::is_outside(ctx) {
        return Some(nginx::cluster(ctx, fixed(name, Discovery::Eds { service_name: name.clone() }), &service, port));
    }
    let rule = destination_rule(ctx, &service, true);
    let subset = match parts.subset {
        "" => None,
        wanted => Some(rule.as_ref()?.subset(wanted)?),
    };
    let finding = discovery(ctx, &service, &parts);
    let discovery = match finding {
        Finding::Eds => Discovery::Eds { service_name: name.clone() },
        Finding::OriginalDst => original_dst(),
        Finding::Dynamic => Discovery::DynamicForwardProxy,
        Finding::Dns { logical } => {
            let labels = subset.map(|x| x.labels.clone()).unwrap_or_default();
            let found = instances(ctx, &service, port);
            Discovery::Dns { assignment: assignment(ctx, name, &service, found, &labels, &Order::default()), logical }
        }
    };
    let mut cluster = fixed(name, discovery);
    cluster.http = http_options(port.protocol);
    cluster.metadata_exchange = !ctx.is_envoy();
    cluster.services = vec![(service.host.clone(), service.name.clone(), service.namespace.clone())];
    if matches!(finding, Finding::Dns { .. }) {
        let refresh = ctx.mesh().dns_refresh_rate.map_or(Duration::from_secs(60), |d| d.to_std());
        cluster.dns_refresh = Some(refresh);
    }
    let policy = effective_policy(ctx.mesh(), rule.as_ref(), parts.port, subset);
    pools::apply(ctx, &mut cluster, &policy, port);
    let by_backend_policy = rule.as_ref().is_some_and(|rule| is_backend_tls(&rule.object.metadata));
    let to = tls::Destination { service: &service, port, subset: parts.subset, by_backend_policy };
    tls::apply(ctx, &mut cluster, &policy, &to);
    Some(cluster)
}

/// A subset without labels is the whole service: a split between such subsets does nothing.
pub(crate) fn check_subsets(ctx: &Ctx<'_>, rule: &Object<DestinationRule>) {
    for (index, subset) in rule.spec.subsets.iter().enumerate().filter(|(_, subset)| subset.labels.is_empty()) {
        ctx.report(
            Severity::Warning,
            "subset-without-labels",
            rule,
            &format!("spec.subsets[{index}]"),
            format!("subset `{}` has no labels", subset.name),
            "it is every pod of the service, so weights between it and others change nothing",
        );
    }
}

/// Endpoints of an EDS cluster.
pub(crate) fn endpoints(ctx: &Ctx<'_>, name: &Str) -> Option<Arc<ClusterLoadAssignment>> {
    let parts = Outbound::parse(name)?;
    let service = ctx.service(parts.host)?.clone();
    let port: &Port = service.port(parts.port)?;
    let outside = nginx::is_outside(ctx);
    let rule = if outside { None } else { destination_rule(ctx, &service, true) };
    let subset = match parts.subset {
        "" => None,
        wanted => Some(rule.as_ref()?.subset(wanted)?),
    };
    let labels = subset.map(|x| x.labels.clone()).unwrap_or_else(Labels::new);
    let policy = effective_policy(ctx.mesh(), rule.as_ref(), parts.port, subset);
    let own = policy.load_balancer.as_ref().and_then(|l| l.locality_lb_setting.as_ref());
    let locality = own.or(ctx.mesh().locality_lb_setting.as_ref());
    let order = Order { locality, failover: policy.outlier_detection.is_some() };
    let found = instances(ctx, &service, port);
    Some(Arc::new(assignment(ctx, name, &service, found, &labels, &order)))
}
