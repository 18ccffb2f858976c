//! Writes static configurations of a sidecar pair for measuring: `out.json` and `in.json`, for `varka proxy --config`.
//!
//!     cargo run -p varka-proxy --example bench-pair -- CERTS BACKEND OUTDIR [TELEMETRY]
//!
//! CERTS holds `ca.pem`, `client.pem`/`.key` and `server.pem`/`.key`; BACKEND is HOST:PORT of a plain HTTP/1.1 server. TELEMETRY is
//! `none`, `usual` (metrics and access log; so without it) or `all` (a span of every request as well, sent over OTLP to BACKEND,
//! which has to answer POST /v1/traces). The outbound
//! proxy listens on 127.0.0.1:18100 and speaks mTLS with HTTP/1.1 to the inbound one on 127.0.0.1:18101, as Istio's pair does:
//! access log in Istio's default format, an ALLOW policy by principal on the inbound side. Listeners bind their ports; no
//! traffic is redirected.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use varka_engine::ir::{
    AccessLog, AccessLogFormat, AccessLogSink, Action, AlpnOverride, CertificatePins, CircuitBreakers,
    ClientCertForwarding, Cluster, ClusterLoadAssignment, ClusterProtocol, Codec, ConnectionFilters, Discovery,
    DownstreamTls, Endpoint, FilterChain, FilterChainMatch, HealthStatus, HttpCollector, HttpConnectionManager,
    HttpFilter, HttpProtocolOptions, ISTIO_TEXT, LbPolicy, Listener, LocalityEndpoints, OtlpExporter, PathMatch,
    PathNormalization, Permission, PolicyAction, Principal, Proxy, Rbac, RbacPolicy, Rewrite, Route, RouteAction,
    RouteConfiguration, RouteMatch, RouteSource, Secret, SecretKind, SlashesAction, Stats, StringMatch, Terminal,
    Tracing, TracingProvider, TrafficDirection, UpstreamTls, VirtualHost, WeightedRoute,
};

const BACKEND: &str = "outbound|80||backend.default.svc.cluster.local";
const OUTBOUND: ([u8; 4], u16) = ([127, 0, 0, 1], 18100);
const INBOUND: ([u8; 4], u16) = ([127, 0, 0, 1], 18101);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (certificates, backend, directory, telemetry) = match arguments.as_slice() {
        [certificates, backend, directory] => (certificates, backend, directory, "usual"),
        [certificates, backend, directory, telemetry] => (certificates, backend, directory, telemetry.as_str()),
        _ => return Err("usage: bench-pair CERTS BACKEND OUTDIR [none|usual|all]".into()),
    };
    let backend: SocketAddr = backend.parse()?;
    let (certificates, directory) = (Path::new(certificates), Path::new(directory));
    let read = |name: &str| std::fs::read_to_string(certificates.join(name));
    let ca = read("ca.pem")?;
    let log = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let mut out = outbound(&log("out.log"));
    secrets(&mut out, read("client.pem")?, read("client.key")?, ca.clone());
    let mut within = inbound(&log("in.log"), backend);
    secrets(&mut within, read("server.pem")?, read("server.key")?, ca);
    for proxy in [&mut out, &mut within] {
        match telemetry {
            "none" => without_telemetry(proxy),
            "usual" => {}
            "all" => with_spans(proxy, backend),
            other => return Err(format!("TELEMETRY is none, usual or all, not {other}").into()),
        }
    }
    for (name, proxy) in [("out.json", out), ("in.json", within)] {
        std::fs::write(directory.join(name), serde_json::to_vec_pretty(&proxy)?)?;
    }
    Ok(())
}

fn outbound(log: &str) -> Proxy {
    let alpn = AlpnOverride {
        http11: ["istio-http/1.1", "istio", "http/1.1"].map(Into::into).to_vec(),
        http2: ["istio-h2", "istio", "h2"].map(Into::into).to_vec(),
    };
    let http = manager(
        "outbound_0.0.0.0_80",
        table("80", BACKEND),
        "envoy",
        ClientCertForwarding::Sanitize,
        HttpFilter::Alpn(alpn),
        log,
    );
    let tls = UpstreamTls {
        certificate: Some("default".into()),
        validation: Some("ROOTCA".into()),
        subject_alt_names: vec![exact("spiffe://cluster.local/ns/default/sa/backend")],
        sni: Some("outbound_.80_._.backend.default.svc.cluster.local".into()),
        alpn: ["istio-peer-exchange", "istio"].map(Into::into).to_vec(),
        ..UpstreamTls::default()
    };
    proxy(
        listener("out", OUTBOUND, TrafficDirection::Outbound, http, None),
        cluster(BACKEND, INBOUND.into(), Some(tls)),
    )
}

fn inbound(log: &str, backend: SocketAddr) -> Proxy {
    let rbac = Rbac {
        action: PolicyAction::Allow,
        shadow: false,
        stat_prefix: "".into(),
        policies: vec![RbacPolicy {
            name: "ns[default]-policy[allow-client]-rule[0]".into(),
            permissions: vec![Permission::Any],
            principals: vec![Principal::Authenticated(Some(exact("spiffe://cluster.local/ns/default/sa/client")))],
        }],
    };
    let table = table("inbound|80||", "inbound|80||");
    let http = manager(
        "inbound_0.0.0.0_80",
        table,
        "istio-envoy",
        ClientCertForwarding::AppendForward,
        HttpFilter::Rbac(rbac),
        log,
    );
    let tls = DownstreamTls {
        certificates: vec!["default".into()],
        validation: Some("ROOTCA".into()),
        require_client_certificate: true,
        subject_alt_names: Vec::new(),
        pins: CertificatePins::default(),
        crl_file: None,
        alpn: ["h2", "http/1.1"].map(Into::into).to_vec(),
        min_version: None,
        max_version: None,
        cipher_suites: Vec::new(),
    };
    proxy(listener("in", INBOUND, TrafficDirection::Inbound, http, Some(tls)), cluster("inbound|80||", backend, None))
}

fn exact(value: &str) -> StringMatch {
    StringMatch::Exact { value: value.into(), ignore_case: false }
}

fn manager(
    prefix: &str,
    table: RouteConfiguration,
    server: &str,
    client_cert: ClientCertForwarding,
    first: HttpFilter,
    log: &str,
) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: prefix.into(),
        codec: Codec::Auto,
        routes: RouteSource::Inline(Arc::new(table)),
        filters: vec![
            first,
            HttpFilter::GrpcStats,
            HttpFilter::Fault,
            HttpFilter::Cors,
            HttpFilter::Stats(Stats::default()),
        ],
        server_name: server.into(),
        use_remote_address: false,
        xff_trusted_hops: 0,
        skip_xff_append: false,
        client_cert,
        generate_request_id: true,
        preserve_external_request_id: false,
        path: PathNormalization { normalize: true, merge_slashes: false, escaped_slashes: SlashesAction::Keep },
        stream_idle_timeout: Some(Duration::ZERO),
        request_timeout: None,
        request_headers_timeout: None,
        idle_timeout: None,
        max_connection_duration: None,
        max_request_headers_kb: None,
        max_headers: None,
        accept_http_10: false,
        max_concurrent_streams: None,
        upgrades: vec!["websocket".into()],
        strip_trailing_host_dot: false,
        local_replies: Vec::new(),
        tracing: None,
        access_log: vec![AccessLog {
            sink: AccessLogSink::File(log.into()),
            format: AccessLogFormat::Text(ISTIO_TEXT.into()),
            only_not_found: false,
            filter: None,
        }],
    }
}

fn table(name: &str, cluster: &str) -> RouteConfiguration {
    let action = RouteAction {
        clusters: vec![WeightedRoute {
            cluster: cluster.into(),
            weight: 1,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            host_rewrite: None,
        }],
        rewrite: Rewrite::default(),
        timeout: None,
        grpc_timeout_max: None,
        idle_timeout: None,
        retry: None,
        mirrors: Vec::new(),
        hash_policy: Vec::new(),
        upgrades: Vec::new(),
        cluster_not_found_status: 503,
    };
    let route = Route {
        name: "default".into(),
        matches: RouteMatch {
            path: PathMatch::Prefix("/".into()),
            case_sensitive: true,
            headers: Vec::new(),
            query: Vec::new(),
            metadata: Vec::new(),
            grpc: false,
        },
        action: Action::Forward(Box::new(action)),
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        fault: None,
        cors: None,
        rbac: None,
        max_request_bytes: None,
        operation: None,
        origin: None,
    };
    let host = VirtualHost {
        name: name.into(),
        domains: vec!["*".into()],
        routes: vec![route],
        require_tls: false,
        include_attempt_count: true,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
    };
    RouteConfiguration {
        name: name.into(),
        virtual_hosts: vec![host],
        ignore_port_in_host: true,
        on_demand: false,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
    }
}

fn listener(
    name: &str,
    address: ([u8; 4], u16),
    direction: TrafficDirection,
    http: HttpConnectionManager,
    tls: Option<DownstreamTls>,
) -> Listener {
    Listener {
        name: name.into(),
        address: address.into(),
        bind_to_port: true,
        use_original_dst: false,
        direction,
        inspect: ConnectionFilters { tls: tls.is_some(), ..ConnectionFilters::default() },
        filter_chains: Vec::new(),
        default_filter_chain: Some(FilterChain {
            name: "default".into(),
            matches: FilterChainMatch::default(),
            tls,
            filters: Vec::new(),
            terminal: Terminal::Http(Box::new(http)),
            handshake_timeout: None,
        }),
        access_log: Vec::new(),
    }
}

fn cluster(name: &str, address: SocketAddr, tls: Option<UpstreamTls>) -> Cluster {
    let endpoint = Endpoint {
        address: Some(address),
        host: None,
        weight: 1,
        health: HealthStatus::Unknown,
        tls_mode: None,
        workload: None,
    };
    let locality = LocalityEndpoints { endpoints: vec![endpoint], ..LocalityEndpoints::default() };
    Cluster {
        name: name.into(),
        discovery: Discovery::Static(ClusterLoadAssignment { cluster_name: name.into(), localities: vec![locality] }),
        lb: LbPolicy::LeastRequest { choices: 2 },
        connect_timeout: Duration::from_secs(10),
        circuit_breakers: CircuitBreakers {
            max_connections: u32::MAX,
            max_pending_requests: u32::MAX,
            max_requests: u32::MAX,
            max_retries: u32::MAX,
        },
        outlier: None,
        transport_matches: Vec::new(),
        tls,
        http: HttpProtocolOptions { protocol: ClusterProtocol::Http1, ..HttpProtocolOptions::default() },
        bind_source: None,
        tcp_keepalive: None,
        panic_threshold: 0,
        metadata_exchange: false,
        locality_weighted: false,
        slow_start: None,
        proxy_protocol: None,
        retry_budget: None,
        services: Vec::new(),
        dns_refresh: None,
    }
}

fn proxy(listener: Listener, cluster: Cluster) -> Proxy {
    Proxy {
        listeners: [(Arc::clone(&listener.name), Arc::new(listener))].into(),
        clusters: [(Arc::clone(&cluster.name), Arc::new(cluster))].into(),
        ..Proxy::default()
    }
}

fn managers(proxy: &mut Proxy) -> impl Iterator<Item = &mut HttpConnectionManager> {
    let chains =
        proxy.listeners.values_mut().filter_map(|listener| Arc::make_mut(listener).default_filter_chain.as_mut());
    chains.filter_map(|chain| match &mut chain.terminal {
        Terminal::Http(manager) => Some(&mut **manager),
        Terminal::Tcp(_) => None,
    })
}

fn without_telemetry(proxy: &mut Proxy) {
    for manager in managers(proxy) {
        manager.access_log.clear();
        manager.filters.retain(|filter| !matches!(filter, HttpFilter::Stats(_) | HttpFilter::GrpcStats));
    }
}

fn with_spans(proxy: &mut Proxy, collector: SocketAddr) {
    const EVERY: u32 = 1_000_000;
    for manager in managers(proxy) {
        manager.tracing = Some(Tracing {
            client_sampling: EVERY,
            random_sampling: EVERY,
            overall_sampling: EVERY,
            provider: TracingProvider::OpenTelemetry {
                service_name: "bench".into(),
                exporter: OtlpExporter::Http(HttpCollector {
                    cluster: "collector".into(),
                    uri: "http://collector/v1/traces".into(),
                    timeout: Duration::from_secs(10),
                    headers: Vec::new(),
                }),
            },
            custom_tags: Vec::new(),
            max_path_tag_length: None,
        });
    }
    proxy.clusters.insert("collector".into(), Arc::new(cluster("collector", collector, None)));
}

fn secrets(proxy: &mut Proxy, chain: String, key: String, ca: String) {
    for (name, kind) in
        [("default", SecretKind::Certificate { chain, key }), ("ROOTCA", SecretKind::Validation { ca, crl: None })]
    {
        proxy.secrets.insert(name.into(), Arc::new(Secret { name: name.into(), kind }));
    }
}

#[cfg(test)]
mod tests {
    use super::{Proxy, inbound, outbound, secrets};

    /// What `varka proxy --config` does with the file before it opens a listener.
    #[test]
    fn the_proxy_takes_what_is_written() {
        let names = vec!["pair.example".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        for mut proxy in [outbound("out.log"), inbound("in.log", "127.0.0.1:8080".parse().unwrap())] {
            let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
            secrets(&mut proxy, chain.clone(), key, chain);
            let read: Proxy = serde_json::from_slice(&serde_json::to_vec(&proxy).unwrap()).unwrap();
            assert_eq!(read, proxy);
            let store = varka_proxy::SecretStore::default();
            for secret in read.secrets.values() {
                store.put(secret).unwrap();
            }
            let names: Vec<&str> = read.clusters.keys().map(|name| &**name).collect();
            assert!(matches!(names.as_slice(), [super::BACKEND] | ["inbound|80||"]), "{names:?}");
        }
    }
}
