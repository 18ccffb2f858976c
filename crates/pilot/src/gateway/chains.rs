//! Filter chains of a gateway's port.

use std::net::IpAddr;

use varka_api::istio::GatewayTlsMode;
use varka_engine::ir::{DownstreamTls, FilterChain, FilterChainMatch, RouteSource, Str, Terminal};

use super::merge::Bound;
use super::routes;
use crate::context::{Ctx, s};
use crate::diagnostic::Severity;
use crate::gateway_api::has_gateway_semantics;
use crate::hosts;
use crate::listener::{
    Class, MESH_ANY, chain, connection_manager, listener_name, server_tls, stats, strs, tcp_proxy, weighted_tcp,
};
use crate::policy::Side;
use crate::registry::Protocol;
use crate::secret;

/// What is answered in ALPN where HTTP is within.
const HTTP: &[&str] = &["h2", "http/1.1"];

/// Chains of a port: one for all plain HTTP, else one for each server or TLS rule.
pub(super) fn build(ctx: &Ctx<'_>, bind: IpAddr, port: u16, servers: &[Bound]) -> Vec<FilterChain> {
    let name = listener_name(bind, port);
    let Some(first) = servers.first() else { return Vec::new() };
    if first.protocol.is_http() {
        return vec![http(ctx, &name, &first.route, None, FilterChainMatch::default())];
    }
    let mut chains = Vec::new();
    for server in servers {
        if server.is_https() {
            let tls = terminate(ctx, server, HTTP);
            chains.push(http(ctx, &name, &server.route, tls, names(server.hosts())));
        } else if server.terminates() {
            chains.extend(terminated(ctx, server));
        } else if server.server.tls.is_some() || server.protocol.is_tls() {
            passed_through(ctx, server, &mut chains);
        } else {
            chains.extend(opaque(ctx, server, FilterChainMatch::default(), None));
        }
    }
    chains
}

/// Chain match by SNI; `*` is no condition.
fn names<'a>(hosts: impl Iterator<Item = &'a str>) -> FilterChainMatch {
    let mut names: Vec<Str> = hosts.map(s).collect();
    if names.iter().any(|n| &**n == "*") {
        names.clear();
    }
    names.sort();
    FilterChainMatch { server_names: names, ..FilterChainMatch::default() }
}

fn http(
    ctx: &Ctx<'_>,
    listener: &str,
    route: &Str,
    tls: Option<DownstreamTls>,
    matches: FilterChainMatch,
) -> FilterChain {
    let manager =
        connection_manager(ctx, Class::Gateway, &format!("outbound_{listener}"), RouteSource::Rds(route.clone()));
    FilterChain {
        tls,
        handshake_timeout: Some(std::time::Duration::from_secs(15)),
        ..chain("", matches, Vec::new(), Terminal::Http(Box::new(manager)))
    }
}

/// TLS ends here, what is within is opaque.
fn terminated(ctx: &Ctx<'_>, server: &Bound) -> Option<FilterChain> {
    let tls = terminate(ctx, server, &[]);
    opaque(ctx, server, names(server.hosts()), tls)
}

/// To the first TCP rule that is bound to the gateway and the port.
fn opaque(ctx: &Ctx<'_>, server: &Bound, matches: FilterChainMatch, tls: Option<DownstreamTls>) -> Option<FilterChain> {
    for vs in routes::bound_to(ctx, &server.gateway_name) {
        if !routes::shares_host(server, &vs) {
            continue;
        }
        for rule in vs.spec.tcp.iter().filter(|t| !t.route.is_empty()) {
            let fits = rule.r#match.is_empty()
                || rule.r#match.iter().any(|m| {
                    (m.port == 0 || m.port == u32::from(server.number()))
                        && (m.gateways.is_empty() || m.gateways.contains(&server.gateway_name))
                });
            if fits {
                let proxy = weighted_tcp(ctx, &rule.route, server.number());
                return Some(FilterChain { tls, ..chain("", matches, stats(ctx, Side::Client), Terminal::Tcp(proxy)) });
            }
        }
        // A TLSRoute may be attached to a listener that terminates.
        if tls.is_some()
            && has_gateway_semantics(&vs.object.metadata)
            && let Some(rule) = vs.spec.tls.iter().find(|t| !t.route.is_empty())
        {
            let proxy = weighted_tcp(ctx, &rule.route, server.number());
            return Some(FilterChain { tls, ..chain("", matches, stats(ctx, Side::Client), Terminal::Tcp(proxy)) });
        }
    }
    None
}

/// TLS that is not ours, by SNI.
fn passed_through(ctx: &Ctx<'_>, server: &Bound, chains: &mut Vec<FilterChain>) {
    if server.server.tls.as_ref().is_some_and(|t| t.mode == GatewayTlsMode::AutoPassthrough) {
        return auto_passthrough(ctx, server, chains);
    }
    for vs in routes::bound_to(ctx, &server.gateway_name) {
        if !routes::shares_host(server, &vs) {
            continue;
        }
        for rule in vs.spec.tls.iter().filter(|t| !t.route.is_empty()) {
            for m in &rule.r#match {
                let fits = (m.port == 0 || m.port == u32::from(server.number()))
                    && (m.gateways.is_empty() || m.gateways.contains(&server.gateway_name));
                let matches = names(m.sni_hosts.iter().map(String::as_str));
                if fits && !chains.iter().any(|c| c.matches == matches) {
                    let proxy = weighted_tcp(ctx, &rule.route, server.number());
                    chains.push(chain("", matches, stats(ctx, Side::Client), Terminal::Tcp(proxy)));
                }
            }
        }
    }
}

/// SNI names the cluster; only the mesh's own TLS is let through.
fn auto_passthrough(ctx: &Ctx<'_>, server: &Bound, chains: &mut Vec<FilterChain>) {
    for service in ctx.scope().services().iter().filter(|v| !v.mesh_external) {
        if !server.hosts().any(|h| hosts::is_subset(&service.host, h)) {
            continue;
        }
        for port in service.ports.iter().filter(|p| p.protocol != Protocol::Udp) {
            let sni = format!("outbound_.{}_._.{}", port.number, service.host);
            let matches =
                FilterChainMatch { application_protocols: strs(MESH_ANY), ..names(std::iter::once(sni.as_str())) };
            let cluster = format!("outbound|{}||{}", port.number, service.host);
            chains.push(chain(
                "",
                matches,
                stats(ctx, Side::Client),
                Terminal::Tcp(tcp_proxy(ctx, &cluster, Side::Client)),
            ));
        }
    }
}

/// The TLS that ends at a server.
fn terminate(ctx: &Ctx<'_>, server: &Bound, alpn: &[&str]) -> Option<DownstreamTls> {
    let tls = server.server.tls.as_ref()?;
    let by_secret = !tls.credential_name.is_empty() || !tls.credential_names.is_empty();
    if by_secret && !tls.ca_crl.is_empty() {
        ctx.report(
            Severity::Warning,
            "crl-beside-credential",
            &server.gateway,
            &format!("spec.servers[{}].tls.caCrl", server.index),
            "caCrl is for trust anchors in files",
            "the file is not read; put the list into the Secret, as ca.crl beside ca.crt",
        );
    }
    let settings = server_tls(ctx, tls, alpn);
    if let Some(name) = settings.secrets().find(|name| !secret::may_name(ctx, &server.gateway.metadata, name)) {
        let own = &ctx.proxy.namespace;
        ctx.report(
            Severity::Error,
            "credential-not-given",
            &server.gateway,
            &format!("spec.servers[{}].tls", server.index),
            format!("`{name}` is not given to a proxy in namespace {own}"),
            format!(
                "TLS connections to this server fail: a credentialName is a Secret in the namespace of the gateway's proxy. Put it \
                 into {own}; a Gateway of the Gateway API can refer to others where a ReferenceGrant allows it"
            ),
        );
    }
    Some(settings)
}
