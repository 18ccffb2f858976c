//! Rules of TLSRoutes and TCPRoutes.

use varka_api::Object;
use varka_api::istio::{L4Match, TcpRoute, TlsMatch, TlsRoute, WeightedDestination};
use varka_api::kube::{BackendReference, KubernetesTcpRoute, KubernetesTlsRoute};

use super::backends::{self, From};
use super::routes::Conversion;
use super::{Problem, World};
use crate::hosts;

/// Every rule of a TCPRoute.
pub(super) fn tcp(world: &World<'_>, object: &Object<KubernetesTcpRoute>, mesh: bool) -> Conversion<TcpRoute> {
    let from = From { kind: "TCPRoute", namespace: &object.metadata.namespace, mesh };
    Conversion::collect(object.spec.rules.iter(), |rule| {
        let (route, problem) = destinations(world, from, &rule.backend_refs)?;
        Ok((vec![TcpRoute { route, ..TcpRoute::default() }], problem))
    })
}

/// Every rule of a TLSRoute.
pub(super) fn tls(world: &World<'_>, object: &Object<KubernetesTlsRoute>, mesh: bool) -> Conversion<TlsRoute> {
    let from = From { kind: "TLSRoute", namespace: &object.metadata.namespace, mesh };
    let names = &object.spec.hostnames;
    let sni_hosts = if names.is_empty() { vec!["*".to_owned()] } else { names.clone() };
    Conversion::collect(object.spec.rules.iter(), |rule| {
        let (route, problem) = destinations(world, from, &rule.backend_refs)?;
        let r#match = vec![TlsMatch { sni_hosts: sni_hosts.clone(), ..TlsMatch::default() }];
        Ok((vec![TlsRoute { r#match, route }], problem))
    })
}

type Destinations = (Vec<WeightedDestination>, Option<Problem>);

fn destinations(world: &World<'_>, from: From<'_>, references: &[BackendReference]) -> Result<Destinations, Problem> {
    if references.iter().all(|r| backends::weight(r) == 0) {
        let nowhere = WeightedDestination { destination: Some(backends::nowhere()), weight: 0 };
        return Ok((vec![nowhere], None));
    }
    let mut problem = None;
    let mut out = Vec::new();
    for (reference, weight) in backends::weighted(references) {
        let (destination, found) = backends::destination(world, from, reference)?;
        problem = found.or(problem);
        out.push(WeightedDestination { destination: Some(destination), weight });
    }
    Ok((out, problem))
}

/// Only on one port.
pub(super) fn tcp_on_port(mut routes: Vec<TcpRoute>, port: u32) -> Vec<TcpRoute> {
    for route in &mut routes {
        route.r#match = vec![L4Match { port, ..L4Match::default() }];
    }
    routes
}

/// For clients of a Service: its names in place of none given, only on one port, only names that it can have.
pub(super) fn tls_in_mesh(mut routes: Vec<TlsRoute>, names: &[String], port: Option<u32>, host: &str) -> Vec<TlsRoute> {
    for m in routes.iter_mut().flat_map(|r| &mut r.r#match) {
        if m.sni_hosts == ["*"] {
            m.sni_hosts = names.to_vec();
        }
        m.port = port.unwrap_or(m.port);
        if m.sni_hosts.len() > 1 {
            m.sni_hosts.retain(|name| hosts::matches(host, name));
        }
    }
    routes
}

/// Only names that the listener serves.
pub(super) fn tls_on_listener(mut routes: Vec<TlsRoute>, host: &str) -> Vec<TlsRoute> {
    for m in routes.iter_mut().flat_map(|r| &mut r.r#match) {
        m.sni_hosts = intersection(&m.sni_hosts, host);
    }
    routes.retain(|r| r.r#match.is_empty() || r.r#match.iter().any(|m| !m.sni_hosts.is_empty()));
    routes
}

/// The narrower of each pair that has something in common.
pub(super) fn intersection(names: &[String], host: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for name in names {
        let both = if hosts::is_subset(name, host) {
            name.as_str()
        } else if hosts::is_subset(host, name) {
            host
        } else {
            continue;
        };
        if !out.iter().any(|o| o == both) {
            out.push(both.to_owned());
        }
    }
    out
}
