//! Listeners: filter chains, filters, what they log and trace.

use std::sync::Arc;

use varka_engine::ir::{
    AccessLog, AccessLogFormat, AccessLogSink, AlpnOverride, ClientCertForwarding, Codec, ConnectionFilters, CustomTag,
    CustomTagValue, FilterChain, FilterChainMatch, HashKey, HashPolicy, HttpCollector, HttpConnectionManager,
    HttpFilter, Listener, LocalReplyMapping, MetricOverride, NetworkFilter, OtlpExporter, PathMatch, PathNormalization,
    PeerMetadata, Permission, PolicyAction, Principal, Rbac, RbacPolicy, RouteSource, SlashesAction, SourceType, Stats,
    Str, TcpProxy, TcpTunnel, Terminal, Tracing, TracingProvider, TrafficDirection, TransportProtocol, WeightedCluster,
};

use super::clusters::downstream_tls;
use super::routes::routes;
use super::{Gen, header_matcher, security, string_match, template};

fn permission(g: &mut Gen, depth: u8) -> Permission {
    let below = |g: &mut Gen| permission(g, depth - 1);
    match g.pick(if depth == 0 { 8 } else { 11 }) {
        0 => Permission::Any,
        1 => Permission::Header(header_matcher(g)),
        2 => Permission::Path(string_match(g)),
        3 => Permission::Template(PathMatch::Template(template(g))),
        4 => Permission::DestinationIp(g.net()),
        5 => Permission::DestinationPort(g.u16()),
        6 => Permission::ServerName(string_match(g)),
        7 => Permission::Metadata { filter: g.text(), path: g.vec1(Gen::text), value: string_match(g) },
        8 => Permission::And(g.vec1(below)),
        9 => Permission::Or(g.vec1(below)),
        _ => Permission::Not(Box::new(below(g))),
    }
}

fn principal(g: &mut Gen, depth: u8) -> Principal {
    let below = |g: &mut Gen| principal(g, depth - 1);
    match g.pick(if depth == 0 { 6 } else { 9 }) {
        0 => Principal::Any,
        1 => Principal::Authenticated(g.opt(string_match)),
        2 => Principal::DirectRemoteIp(g.net()),
        3 => Principal::RemoteIp(g.net()),
        4 => Principal::Header(header_matcher(g)),
        5 => Principal::Metadata { filter: g.text(), path: g.vec1(Gen::text), value: string_match(g) },
        6 => Principal::And(g.vec1(below)),
        7 => Principal::Or(g.vec1(below)),
        _ => Principal::Not(Box::new(below(g))),
    }
}

/// Policies have distinct names and come sorted.
pub(super) fn rbac(g: &mut Gen) -> Rbac {
    let mut policies = g.vec(|g| RbacPolicy {
        name: g.text(),
        permissions: g.vec1(|g| permission(g, 2)),
        principals: g.vec1(|g| principal(g, 2)),
    });
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    policies.dedup_by(|a, b| a.name == b.name);
    Rbac {
        action: g.of(&[PolicyAction::Allow, PolicyAction::Deny, PolicyAction::Log]),
        policies,
        shadow: g.flag(),
        stat_prefix: g.any_text(),
    }
}

// --- listeners

fn access_log(g: &mut Gen) -> AccessLog {
    AccessLog {
        sink: if g.flag() { AccessLogSink::File(g.text()) } else { AccessLogSink::Stdout },
        format: if g.flag() {
            let mut keys: Vec<(Str, Str)> = g.vec(|g| (g.text(), g.any_text()));
            keys.sort();
            keys.dedup_by(|a, b| a.0 == b.0);
            AccessLogFormat::Json(keys)
        } else {
            AccessLogFormat::Text(g.any_text())
        },
        only_not_found: g.flag(),
        filter: g.flag().then(|| "response.code >= 400".into()),
    }
}

fn http_filter(g: &mut Gen) -> HttpFilter {
    match g.pick(10) {
        9 => HttpFilter::DynamicForwardProxy,
        0 => HttpFilter::Fault,
        1 => HttpFilter::Rbac(rbac(g)),
        2 => HttpFilter::Cors,
        3 => HttpFilter::Alpn(AlpnOverride { http11: g.vec(Gen::text), http2: g.vec(Gen::text) }),
        4 => HttpFilter::GrpcStats,
        5 => HttpFilter::PeerMetadata(PeerMetadata { downstream: g.flag(), upstream: g.flag() }),
        6 => HttpFilter::ExtAuthz(Box::new(security::ext_authz(g))),
        7 => HttpFilter::Jwt(Box::new(security::jwt(g))),
        _ => HttpFilter::Stats(stats(g)),
    }
}

fn stats(g: &mut Gen) -> Stats {
    let pairs = |g: &mut Gen| {
        let mut pairs: Vec<(Str, Str)> = g.vec(|g| (g.text(), g.any_text()));
        pairs.sort();
        pairs.dedup_by(|a, b| a.0 == b.0);
        pairs
    };
    Stats {
        disable_host_header_fallback: g.flag(),
        tcp_reporting_interval: g.opt(Gen::duration),
        metrics: g.vec(|g| MetricOverride {
            name: g.any_text(),
            drop: g.flag(),
            dimensions: pairs(g),
            tags_to_remove: g.vec(Gen::text),
        }),
    }
}

fn tracing(g: &mut Gen) -> Tracing {
    let pair = |g: &mut Gen| (g.text(), g.any_text());
    let collector =
        |g: &mut Gen| HttpCollector { cluster: g.text(), uri: g.text(), timeout: g.duration(), headers: g.vec(pair) };
    let provider = match g.pick(3) {
        0 => TracingProvider::Zipkin {
            cluster: g.text(),
            hostname: g.any_text(),
            path: g.text(),
            trace_id_128bit: g.flag(),
            w3c: g.flag(),
        },
        1 => TracingProvider::OpenTelemetry { service_name: g.any_text(), exporter: OtlpExporter::Http(collector(g)) },
        _ => TracingProvider::OpenTelemetry {
            service_name: g.any_text(),
            exporter: OtlpExporter::Grpc {
                cluster: g.text(),
                authority: g.any_text(),
                timeout: g.opt(Gen::duration),
                initial_metadata: g.vec(pair),
            },
        },
    };
    Tracing {
        client_sampling: g.millionths(),
        random_sampling: g.millionths(),
        overall_sampling: g.millionths(),
        provider,
        custom_tags: g.vec(|g| CustomTag {
            name: g.text(),
            value: match g.pick(3) {
                0 => CustomTagValue::Literal(g.any_text()),
                1 => CustomTagValue::Environment { name: g.text(), default: g.any_text() },
                _ => CustomTagValue::Header { name: g.text(), default: g.any_text() },
            },
        }),
        max_path_tag_length: g.opt(Gen::u32),
    }
}

fn local_reply(g: &mut Gen) -> LocalReplyMapping {
    LocalReplyMapping {
        flags: g.vec(|g| g.of(&["UF", "UC", "UH", "NR"]).into()),
        status: g.opt(|g| 400 + u16::from(g.byte())),
        new_status: 400 + u16::from(g.byte()),
    }
}

fn manager(g: &mut Gen) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: g.text(),
        codec: g.of(&[Codec::Auto, Codec::Http1, Codec::Http2]),
        routes: if g.flag() { RouteSource::Inline(Arc::new(routes(g))) } else { RouteSource::Rds(g.text()) },
        filters: g.vec(http_filter),
        server_name: g.any_text(),
        use_remote_address: g.flag(),
        xff_trusted_hops: g.u32(),
        skip_xff_append: g.flag(),
        client_cert: g.of(&[
            ClientCertForwarding::Sanitize,
            ClientCertForwarding::ForwardOnly,
            ClientCertForwarding::AppendForward,
            ClientCertForwarding::SanitizeSet,
            ClientCertForwarding::AlwaysForward,
        ]),
        generate_request_id: g.flag(),
        preserve_external_request_id: g.flag(),
        path: PathNormalization {
            normalize: g.flag(),
            merge_slashes: g.flag(),
            escaped_slashes: g.of(&[
                SlashesAction::Keep,
                SlashesAction::Reject,
                SlashesAction::UnescapeAndRedirect,
                SlashesAction::UnescapeAndForward,
            ]),
        },
        stream_idle_timeout: g.opt(Gen::duration),
        request_timeout: g.opt(Gen::duration),
        request_headers_timeout: g.opt(Gen::duration),
        idle_timeout: g.opt(Gen::duration),
        max_connection_duration: g.opt(Gen::duration),
        max_request_headers_kb: g.opt(Gen::u32),
        max_headers: g.opt(Gen::u32),
        accept_http_10: g.flag(),
        max_concurrent_streams: g.opt(Gen::u32),
        upgrades: g.vec(Gen::text),
        strip_trailing_host_dot: g.flag(),
        local_replies: g.vec(local_reply),
        tracing: g.opt(tracing),
        access_log: g.vec(access_log),
    }
}

fn tcp_proxy(g: &mut Gen) -> TcpProxy {
    let mut clusters = g.vec1(|g| WeightedCluster { cluster: g.text(), weight: g.u32() });
    if let [one] = clusters.as_mut_slice() {
        one.weight = 1;
    }
    TcpProxy {
        stat_prefix: g.text(),
        clusters,
        idle_timeout: g.opt(Gen::span),
        max_connection_duration: g.opt(Gen::duration),
        access_log: g.vec(access_log),
        hash_policy: g.opt(|_| HashPolicy { key: HashKey::SourceIp, terminal: false }).into_iter().collect(),
        tunnel: g.opt(|g| TcpTunnel { hostname: g.host(), post: g.flag() }),
    }
}

fn network_filter(g: &mut Gen) -> NetworkFilter {
    match g.pick(4) {
        3 => NetworkFilter::SniDynamicForwardProxy(g.u16()),
        0 => NetworkFilter::MetadataExchange,
        1 => NetworkFilter::Stats(stats(g)),
        _ => NetworkFilter::Rbac(rbac(g)),
    }
}

fn chain_match(g: &mut Gen) -> FilterChainMatch {
    FilterChainMatch {
        destination_port: g.opt(Gen::u16),
        destination_prefixes: g.vec(Gen::net),
        server_names: g.vec(Gen::host),
        transport_protocol: g.opt(|g| g.of(&[TransportProtocol::Tls, TransportProtocol::RawBuffer])),
        application_protocols: g.vec(Gen::text),
        source_prefixes: g.vec(Gen::net),
        source_type: g.of(&[SourceType::Any, SourceType::SameIpOrLoopback, SourceType::External]),
    }
}

fn chain(g: &mut Gen) -> FilterChain {
    FilterChain {
        name: g.any_text(),
        matches: chain_match(g),
        tls: g.opt(downstream_tls),
        filters: g.vec(network_filter),
        terminal: if g.flag() { Terminal::Http(Box::new(manager(g))) } else { Terminal::Tcp(tcp_proxy(g)) },
        handshake_timeout: g.opt(Gen::duration),
    }
}

/// A listener.
pub(crate) fn listener(g: &mut Gen) -> Listener {
    let (tls, http) = (g.flag(), g.flag());
    Listener {
        name: g.text(),
        address: g.socket(),
        bind_to_port: g.flag(),
        use_original_dst: g.flag(),
        direction: g.of(&[TrafficDirection::Inbound, TrafficDirection::Outbound, TrafficDirection::Unspecified]),
        inspect: ConnectionFilters {
            original_dst: g.flag(),
            tls,
            http,
            // Nothing else could be kept from looking.
            disabled_ports: if tls || http { g.vec(Gen::u16) } else { Vec::new() },
            proxy_protocol: g.flag(),
            timeout: g.opt(Gen::span),
            continue_on_timeout: g.flag(),
        },
        filter_chains: g.vec(chain),
        default_filter_chain: g.opt(chain),
        access_log: g.vec(access_log),
    }
}

// --- TLS and secrets
