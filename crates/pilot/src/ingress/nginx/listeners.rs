//! The two ports of the ingress: plain HTTP on 80, TLS on 443 with a certificate for each host.

use std::collections::BTreeMap;

use varka_engine::ir::{
    CertificatePins, ClientCertForwarding, ConnectionFilters, DownstreamTls, FilterChain, FilterChainMatch,
    HttpConnectionManager, HttpFilter, Listener, LocalReplyMapping, RouteSource, Str, Terminal, TrafficDirection,
};

use super::{HTTP, HTTPS, is_outside, ours};
use crate::context::{Ctx, s};
use crate::listener::{Class, chain, connection_manager, listener_name, socket, strs};
use crate::policy::{Side, listener_access_logs};
use crate::secret::{has_certificate, sds_name};

pub(super) fn names(ctx: &Ctx<'_>) -> Vec<Str> {
    vec![listener_name(ctx.proxy.wildcard(), 80), listener_name(ctx.proxy.wildcard(), 443)]
}

pub(super) fn build(ctx: &Ctx<'_>, name: &str) -> Option<Listener> {
    let bind = ctx.proxy.wildcard();
    let port = [80, 443].into_iter().find(|p| *listener_name(bind, *p) == *name)?;
    let tls = port == 443;
    let filter_chains = if tls { tls_chains(ctx, name) } else { vec![plain(ctx, name, HTTP)] };
    Some(Listener {
        name: s(name),
        address: socket(bind, port),
        bind_to_port: true,
        use_original_dst: false,
        direction: TrafficDirection::Outbound,
        inspect: ConnectionFilters {
            tls,
            timeout: tls.then_some(std::time::Duration::from_secs(15)),
            ..ConnectionFilters::default()
        },
        filter_chains,
        default_filter_chain: None,
        access_log: listener_access_logs(ctx, Side::Client),
    })
}

fn plain(ctx: &Ctx<'_>, listener: &str, route: &str) -> FilterChain {
    chain("", FilterChainMatch::default(), Vec::new(), Terminal::Http(Box::new(manager(ctx, listener, route))))
}

/// One chain for each certificate; the last takes every other name.
fn tls_chains(ctx: &Ctx<'_>, listener: &str) -> Vec<FilterChain> {
    let mut by_host: BTreeMap<String, Str> = BTreeMap::new();
    for ingress in ours(ctx) {
        let namespace = &ingress.metadata.namespace;
        for tls in &ingress.spec.tls {
            let mut hosts = tls.hosts.clone();
            if hosts.is_empty() {
                hosts.extend(ingress.spec.rules.iter().map(|r| r.host.clone()).filter(|h| !h.is_empty()));
            }
            for host in hosts {
                let host = host.to_ascii_lowercase();
                let given = !tls.secret_name.is_empty() && has_certificate(ctx, namespace, &tls.secret_name);
                let name = if given { sds_name(namespace, &tls.secret_name) } else { s(format!("local-ca://{host}")) };
                by_host.entry(host).or_insert(name);
            }
        }
    }
    let mut chains: Vec<FilterChain> = by_host
        .into_iter()
        .map(|(host, certificate)| {
            let matches = FilterChainMatch { server_names: vec![s(host)], ..FilterChainMatch::default() };
            FilterChain { matches, tls: Some(serve(certificate)), ..plain(ctx, listener, HTTPS) }
        })
        .collect();
    chains.push(FilterChain { tls: Some(serve(s("local-ca://ingress.local"))), ..plain(ctx, listener, HTTPS) });
    for chain in &mut chains {
        chain.handshake_timeout = Some(std::time::Duration::from_secs(15));
    }
    chains
}

fn serve(certificate: Str) -> DownstreamTls {
    DownstreamTls {
        certificates: vec![certificate],
        validation: None,
        require_client_certificate: false,
        subject_alt_names: Vec::new(),
        pins: CertificatePins::default(),
        crl_file: None,
        alpn: strs(&["h2", "http/1.1"]),
        min_version: None,
        max_version: None,
        cipher_suites: Vec::new(),
    }
}

/// An edge: the peer is the client. A backend that refuses or resets is a bad gateway, as with nginx.
fn manager(ctx: &Ctx<'_>, listener: &str, route: &str) -> HttpConnectionManager {
    let mut manager =
        connection_manager(ctx, Class::Gateway, &format!("outbound_{listener}"), RouteSource::Rds(s(route)));
    manager.client_cert = ClientCertForwarding::Sanitize;
    manager.local_replies = vec![LocalReplyMapping { flags: strs(&["UF", "UC"]), status: None, new_status: 502 }];
    if is_outside(ctx) {
        // No identity, no peers: nothing of the mesh's own exchange leaves or enters here.
        manager.filters.retain(|f| !matches!(f, HttpFilter::Alpn(_) | HttpFilter::PeerMetadata(_)));
    }
    manager
}
