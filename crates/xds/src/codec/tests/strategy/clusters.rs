//! Clusters, their endpoints, and the certificates of both ends.

use std::net::SocketAddr;
use std::time::Duration;

use varka_engine::ir::{
    CertificatePins, CircuitBreakers, Cluster, ClusterLoadAssignment, ClusterProtocol, Discovery, DownstreamTls,
    Endpoint, HealthStatus, Http2Keepalive, HttpProtocolOptions, LbPolicy, Locality, LocalityEndpoints,
    OutlierDetection, Secret, SecretKind, SlowStart, StringMatch, TcpKeepalive, TlsVersion, TransportSocketMatch,
    UpstreamTls,
};

use super::{Gen, string_match};

fn version(g: &mut Gen) -> TlsVersion {
    g.of(&[TlsVersion::V1_2, TlsVersion::V1_3])
}

fn san(g: &mut Gen) -> StringMatch {
    if g.flag() {
        let value = g.of(&["spiffe://cluster.local/ns/a/sa/b", "10.0.0.1", "db.example.com"]).into();
        StringMatch::Exact { value, ignore_case: g.flag() }
    } else {
        string_match(g)
    }
}

pub(super) fn downstream_tls(g: &mut Gen) -> DownstreamTls {
    let validation = g.opt(Gen::text);
    DownstreamTls {
        certificates: g.vec(Gen::text),
        subject_alt_names: if validation.is_some() { g.vec(san) } else { Vec::new() },
        pins: if validation.is_some() {
            CertificatePins { spki: g.vec(Gen::text), hashes: g.vec(Gen::text) }
        } else {
            CertificatePins::default()
        },
        crl_file: if validation.is_some() { g.opt(Gen::text) } else { None },
        validation,
        require_client_certificate: g.flag(),
        alpn: g.vec(Gen::text),
        min_version: g.opt(version),
        max_version: g.opt(version),
        cipher_suites: g.vec(Gen::text),
    }
}

fn upstream_tls(g: &mut Gen, (auto_sni, auto_san): (bool, bool)) -> UpstreamTls {
    let validation = g.opt(Gen::text);
    UpstreamTls {
        certificate: g.opt(Gen::text),
        subject_alt_names: if validation.is_some() { g.vec(san) } else { Vec::new() },
        crl_file: if validation.is_some() { g.opt(Gen::text) } else { None },
        validation,
        sni: g.opt(Gen::text),
        auto_sni,
        auto_san,
        alpn: g.vec(Gen::text),
        min_version: g.opt(version),
        max_version: g.opt(version),
    }
}

/// A secret.
pub(super) fn secret(g: &mut Gen) -> Secret {
    Secret {
        name: g.text(),
        kind: match g.pick(4) {
            0 => SecretKind::Validation {
                ca: g.any_text().to_string(),
                crl: if g.flag() { Some(g.any_text().to_string()) } else { None },
            },
            1 => SecretKind::ValidationFile { ca: g.text() },
            2 => SecretKind::CertificateFiles { chain: g.text(), key: g.text() },
            _ => SecretKind::Certificate { chain: g.any_text().to_string(), key: g.any_text().to_string() },
        },
    }
}

// --- clusters and endpoints

fn lb(g: &mut Gen) -> LbPolicy {
    match g.pick(6) {
        0 => LbPolicy::RoundRobin,
        1 => LbPolicy::LeastRequest { choices: g.u32() },
        2 => LbPolicy::Random,
        3 => LbPolicy::RingHash { min_size: g.u32().into() },
        4 => LbPolicy::Maglev { table_size: g.u32().into() },
        _ => LbPolicy::ClusterProvided,
    }
}

fn outlier(g: &mut Gen) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: g.pick(9).into(),
        consecutive_gateway: g.pick(9).into(),
        split_local_origin: g.flag(),
        consecutive_local: g.pick(9).into(),
        interval: g.span(),
        base_ejection: g.span(),
        max_ejection: g.span(),
        max_ejection_percent: g.pick(101).into(),
    }
}

fn breakers(g: &mut Gen) -> CircuitBreakers {
    CircuitBreakers {
        max_connections: g.u32(),
        max_pending_requests: g.u32(),
        max_requests: g.u32(),
        max_retries: g.u32(),
    }
}

fn http_options(g: &mut Gen) -> HttpProtocolOptions {
    let protocol = g.of(&[ClusterProtocol::Http1, ClusterProtocol::Http2, ClusterProtocol::Downstream]);
    HttpProtocolOptions {
        protocol,
        idle_timeout: g.opt(Gen::duration),
        max_requests_per_connection: g.opt(Gen::u32),
        max_connection_duration: g.opt(Gen::duration),
        // HTTP/1 has no streams.
        max_concurrent_streams: if protocol == ClusterProtocol::Http1 { None } else { g.opt(Gen::u32) },
        keepalive: if protocol == ClusterProtocol::Http1 {
            None
        } else {
            g.opt(|g| Http2Keepalive { interval: g.duration(), timeout: g.duration() })
        },
    }
}

/// A cluster. Slow start is for two policies only; SNI follows the request for all sockets or none.
pub(super) fn cluster(g: &mut Gen) -> Cluster {
    let discovery = match g.pick(5) {
        4 => Discovery::DynamicForwardProxy,
        0 => Discovery::Eds { service_name: g.text() },
        1 => Discovery::Static(assignment(g)),
        2 => Discovery::Dns { assignment: assignment(g), logical: g.flag() },
        _ => Discovery::OriginalDst { use_http_header: g.flag(), port: g.opt(Gen::u16) },
    };
    let given = matches!(discovery, Discovery::OriginalDst { .. } | Discovery::DynamicForwardProxy);
    let lb = if given { LbPolicy::ClusterProvided } else { lb(g) };
    let slow_start = matches!(lb, LbPolicy::RoundRobin | LbPolicy::LeastRequest { .. });
    let tls = g.opt(|g| upstream_tls(g, (false, false)));
    let mut matches = g.vec(|g| TransportSocketMatch {
        name: g.text(),
        tls_mode: g.opt(Gen::text),
        tls: g.opt(|g| upstream_tls(g, (false, false))),
    });
    let mut tls = tls;
    let auto_sni = g.flag();
    let auto_san = auto_sni && g.flag();
    for socket in matches.iter_mut().filter_map(|m| m.tls.as_mut()).chain(&mut tls) {
        socket.auto_sni = auto_sni;
        socket.auto_san = auto_san;
    }
    Cluster {
        name: g.text(),
        discovery,
        lb,
        connect_timeout: g.duration(),
        circuit_breakers: breakers(g),
        outlier: g.opt(outlier),
        transport_matches: matches,
        tls,
        http: http_options(g),
        bind_source: g.opt(Gen::ip),
        tcp_keepalive: g.opt(|g| TcpKeepalive {
            probes: g.opt(Gen::u32),
            time: g.opt(|g| Duration::from_secs(g.u16().into())),
            interval: g.opt(|g| Duration::from_secs(g.u16().into())),
        }),
        panic_threshold: g.pick(101),
        locality_weighted: g.flag(),
        slow_start: if slow_start {
            g.opt(|g| SlowStart {
                window: g.duration(),
                aggression: f64::from(g.u16()) / 8.0,
                min_weight_percent: f64::from(g.pick(101)),
            })
        } else {
            None
        },
        proxy_protocol: g.opt(|g| g.of(&[1, 2])),
        retry_budget: g.opt(|g| (g.millionths(), g.u32())),
        services: g.vec(|g| (g.text(), g.text(), g.text())),
        dns_refresh: g.opt(Gen::span),
        metadata_exchange: g.flag(),
    }
}

fn endpoint(g: &mut Gen) -> Endpoint {
    let port = g.u16();
    let (address, host) = match g.pick(3) {
        0 => (Some(SocketAddr::new(g.ip(), port)), None),
        1 => (None, Some((g.host(), port))),
        _ => (Some(SocketAddr::new(g.ip(), port)), Some((g.host(), port))),
    };
    Endpoint {
        address,
        host,
        weight: g.u32(),
        health: g.of(&[HealthStatus::Unknown, HealthStatus::Healthy, HealthStatus::Unhealthy, HealthStatus::Draining]),
        tls_mode: g.opt(Gen::text),
        workload: g.opt(Gen::text),
    }
}

/// A load assignment.
pub(super) fn assignment(g: &mut Gen) -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        cluster_name: g.text(),
        localities: g.vec(|g| LocalityEndpoints {
            locality: Locality { region: g.any_text(), zone: g.any_text(), sub_zone: g.any_text() },
            priority: g.pick(128).into(),
            weight: g.opt(Gen::u32),
            endpoints: g.vec(endpoint),
        }),
    }
}
