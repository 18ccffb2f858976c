//! Configurations as a control plane would send them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use varka_engine::ir::{
    AccessLog, AccessLogFormat, AccessLogSink, Action, AlpnOverride, CircuitBreakers, ClientCertForwarding, Cluster,
    ClusterLoadAssignment, ClusterProtocol, Codec, ConnectionFilters, Discovery, DownstreamTls, Endpoint, FilterChain,
    FilterChainMatch, HealthStatus, HttpConnectionManager, HttpFilter, HttpProtocolOptions, LbPolicy, Listener,
    LocalityEndpoints, NetworkFilter, PathMatch, PathNormalization, PeerMetadata, Proxy, RetryOn, RetryPolicy, Rewrite,
    Route, RouteAction, RouteConfiguration, RouteMatch, RouteSource, Secret, SecretKind, SlashesAction, Stats,
    TcpProxy, Terminal, TrafficDirection, TransportProtocol, TransportSocketMatch, UpstreamTls, VirtualHost,
    WeightedCluster, WeightedRoute,
};

pub(crate) const LOG: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %DOWNSTREAM_LOCAL_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

pub(crate) fn log() -> Vec<AccessLog> {
    vec![AccessLog {
        sink: AccessLogSink::Stdout,
        format: AccessLogFormat::Text(LOG.into()),
        only_not_found: false,
        filter: None,
    }]
}

pub(crate) fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Istio's filters of a sidecar without policies.
fn filters(inbound: bool) -> Vec<HttpFilter> {
    let alpn = HttpFilter::Alpn(AlpnOverride {
        http11: ["istio-http/1.1", "istio", "http/1.1"].map(Into::into).to_vec(),
        http2: ["istio-h2", "istio", "h2"].map(Into::into).to_vec(),
    });
    let mut filters = vec![HttpFilter::PeerMetadata(PeerMetadata { downstream: inbound, upstream: !inbound })];
    filters.extend((!inbound).then_some(alpn));
    filters.push(HttpFilter::Stats(Stats { disable_host_header_fallback: inbound, ..Stats::default() }));
    filters
}

pub(crate) fn manager(inbound: bool, routes: RouteSource) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: "test".into(),
        codec: Codec::Auto,
        routes,
        filters: filters(inbound),
        server_name: if inbound { "istio-envoy" } else { "envoy" }.into(),
        use_remote_address: false,
        xff_trusted_hops: 0,
        skip_xff_append: false,
        client_cert: if inbound { ClientCertForwarding::AppendForward } else { ClientCertForwarding::Sanitize },
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
        access_log: log(),
    }
}

pub(crate) fn action(cluster: &str) -> RouteAction {
    RouteAction {
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
    }
}

pub(crate) fn retry(on: RetryOn, attempts: u32) -> RetryPolicy {
    RetryPolicy {
        on,
        attempts,
        per_try_timeout: None,
        status_codes: Vec::new(),
        back_off: None,
        avoid_previous_hosts: true,
        host_selection_attempts: 5,
        remote_localities: false,
    }
}

/// Istio's retries where nobody asks for others.
pub(crate) fn default_retry() -> RetryPolicy {
    let on = RetryOn {
        connect_failure: true,
        refused_stream: true,
        unavailable: true,
        cancelled: true,
        status_codes: true,
        ..RetryOn::default()
    };
    retry(on, 2)
}

pub(crate) fn route(action: RouteAction) -> Route {
    Route {
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
    }
}

pub(crate) fn virtual_host(name: &str, domains: &[&str], routes: Vec<Route>) -> VirtualHost {
    VirtualHost {
        name: name.into(),
        domains: domains.iter().map(|d| (*d).into()).collect(),
        routes,
        require_tls: false,
        include_attempt_count: true,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
    }
}

pub(crate) fn table(name: &str, virtual_hosts: Vec<VirtualHost>) -> Arc<RouteConfiguration> {
    Arc::new(RouteConfiguration {
        name: name.into(),
        virtual_hosts,
        ignore_port_in_host: true,
        on_demand: false,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
    })
}

pub(crate) fn chain(
    name: &str,
    matches: FilterChainMatch,
    tls: Option<DownstreamTls>,
    terminal: Terminal,
) -> FilterChain {
    FilterChain { name: name.into(), matches, tls, filters: Vec::new(), terminal, handshake_timeout: None }
}

pub(crate) fn tcp(cluster: &str) -> Terminal {
    Terminal::Tcp(TcpProxy {
        stat_prefix: cluster.into(),
        clusters: vec![WeightedCluster { cluster: cluster.into(), weight: 1 }],
        idle_timeout: None,
        max_connection_duration: None,
        access_log: log(),
        hash_policy: Vec::new(),
        tunnel: None,
    })
}

pub(crate) fn listener(name: &str, direction: TrafficDirection, chains: Vec<FilterChain>) -> Arc<Listener> {
    Arc::new(Listener {
        name: name.into(),
        address: any(),
        bind_to_port: true,
        use_original_dst: false,
        direction,
        inspect: ConnectionFilters { original_dst: true, tls: true, http: true, ..ConnectionFilters::default() },
        filter_chains: chains,
        default_filter_chain: None,
        access_log: log(),
    })
}

pub(crate) fn cluster(name: &str, discovery: Discovery) -> Cluster {
    Cluster {
        name: name.into(),
        discovery,
        lb: LbPolicy::RoundRobin,
        connect_timeout: Duration::from_secs(5),
        circuit_breakers: CircuitBreakers::default(),
        outlier: None,
        transport_matches: Vec::new(),
        tls: None,
        http: HttpProtocolOptions { protocol: ClusterProtocol::Downstream, ..HttpProtocolOptions::default() },
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

pub(crate) fn endpoints(addresses: &[SocketAddr], tls_mode: Option<&str>) -> Discovery {
    let endpoint = |address: &SocketAddr| Endpoint {
        address: Some(*address),
        host: None,
        weight: 1,
        health: HealthStatus::Unknown,
        tls_mode: tls_mode.map(Into::into),
        workload: None,
    };
    Discovery::Static(ClusterLoadAssignment {
        cluster_name: "static".into(),
        localities: vec![LocalityEndpoints {
            endpoints: addresses.iter().map(endpoint).collect(),
            ..LocalityEndpoints::default()
        }],
    })
}

pub(crate) fn original_dst() -> Discovery {
    Discovery::OriginalDst { use_http_header: false, port: None }
}

/// Istio's auto mTLS: endpoints with a sidecar get mesh TLS, others plain text.
pub(crate) fn auto_mtls(cluster: &mut Cluster, server: &str) {
    let tls = UpstreamTls {
        certificate: Some("default".into()),
        validation: Some("ROOTCA".into()),
        subject_alt_names: vec![varka_engine::ir::StringMatch::Exact { value: server.into(), ignore_case: false }],
        sni: Some("outbound_.8080_._.was-service.default.svc.cluster.local".into()),
        alpn: vec!["istio-peer-exchange".into(), "istio".into()],
        ..UpstreamTls::default()
    };
    let matches = |name: &str, mode: Option<&str>, tls| TransportSocketMatch {
        name: name.into(),
        tls_mode: mode.map(Into::into),
        tls,
    };
    cluster.transport_matches =
        vec![matches("tlsMode-istio", Some("istio"), Some(tls)), matches("tlsMode-disabled", None, None)];
}

pub(crate) fn mesh_tls() -> DownstreamTls {
    DownstreamTls {
        certificates: vec!["default".into()],
        validation: Some("ROOTCA".into()),
        require_client_certificate: true,
        subject_alt_names: Vec::new(),
        pins: varka_engine::ir::CertificatePins::default(),
        crl_file: None,
        alpn: vec!["h2".into(), "http/1.1".into()],
        min_version: None,
        max_version: None,
        cipher_suites: Vec::new(),
    }
}

pub(crate) fn istio_alpn() -> FilterChainMatch {
    FilterChainMatch {
        transport_protocol: Some(TransportProtocol::Tls),
        application_protocols: ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"]
            .map(Into::into)
            .to_vec(),
        ..FilterChainMatch::default()
    }
}

pub(crate) fn raw() -> FilterChainMatch {
    FilterChainMatch { transport_protocol: Some(TransportProtocol::RawBuffer), ..FilterChainMatch::default() }
}

/// A proxy of these parts.
pub(crate) fn proxy(
    listeners: Vec<Arc<Listener>>,
    tables: Vec<Arc<RouteConfiguration>>,
    clusters: Vec<Cluster>,
) -> Proxy {
    Proxy {
        listeners: listeners.into_iter().map(|l| (Arc::clone(&l.name), l)).collect(),
        routes: tables.into_iter().map(|t| (Arc::clone(&t.name), t)).collect(),
        clusters: clusters.into_iter().map(|c| (Arc::clone(&c.name), Arc::new(c))).collect(),
        ..Proxy::default()
    }
}

pub(crate) fn secrets(proxy: &mut Proxy, certificate: (String, String), ca: String) {
    let (chain, key) = certificate;
    let mut put = |name: &str, kind| {
        proxy.secrets.insert(name.into(), Arc::new(Secret { name: name.into(), kind }));
    };
    put("default", SecretKind::Certificate { chain, key });
    put("ROOTCA", SecretKind::Validation { ca, crl: None });
}

/// An inbound side in front of an application: its one route table, on one listener `virtualInbound`.
pub(crate) fn inbound(mode: Mode) -> Proxy {
    let mut action = action("inbound|8080||");
    action.retry = Some(retry(RetryOn { reset_before_request: true, ..RetryOn::default() }, 2));
    let mut host = virtual_host("inbound|http|8080", &["*"], vec![route(action)]);
    host.include_attempt_count = false;
    let routes = RouteSource::Inline(table("inbound|8080||", vec![host]));
    let http = || Terminal::Http(Box::new(manager(true, routes.clone())));
    let mut chains = Vec::new();
    if mode != Mode::Disable {
        let matches = if mode == Mode::Strict {
            FilterChainMatch { transport_protocol: Some(TransportProtocol::Tls), ..FilterChainMatch::default() }
        } else {
            istio_alpn()
        };
        chains.push(chain("0.0.0.0_8080", matches, Some(mesh_tls()), http()));
    }
    if mode != Mode::Strict {
        chains.push(chain("0.0.0.0_8080", raw(), None, http()));
    }
    let listener = listener("virtualInbound", TrafficDirection::Inbound, chains);
    proxy(vec![listener], Vec::new(), vec![cluster("inbound|8080||", original_dst())])
}

/// An inbound side that takes opaque bytes over mesh TLS, and in plain text.
pub(crate) fn inbound_tcp(stats: &Stats) -> Proxy {
    let exchange =
        DownstreamTls { alpn: vec!["istio-peer-exchange".into(), "h2".into(), "http/1.1".into()], ..mesh_tls() };
    let mut secure = chain("0.0.0.0_3306", istio_alpn(), Some(exchange), tcp("inbound|3306||"));
    let mut plain = chain("0.0.0.0_3306", raw(), None, tcp("inbound|3306||"));
    for chain in [&mut secure, &mut plain] {
        chain.filters = vec![NetworkFilter::MetadataExchange, NetworkFilter::Stats(stats.clone())];
    }
    let mut listener = Listener::clone(&listener("virtualInbound", TrafficDirection::Inbound, vec![secure, plain]));
    // A protocol in which the server speaks first is not looked at for HTTP.
    listener.inspect.http = false;
    listener.inspect.tls = true;
    listener.inspect.timeout = Some(Duration::from_millis(50));
    listener.inspect.continue_on_timeout = true;
    proxy(vec![Arc::new(listener)], Vec::new(), vec![cluster("inbound|3306||", original_dst())])
}

/// An outbound side that passes all connections on to one cluster.
pub(crate) fn outbound_tcp(to: Cluster, stats: &Stats) -> Proxy {
    let mut only = chain("", FilterChainMatch::default(), None, tcp(&to.name));
    only.filters = vec![NetworkFilter::Stats(stats.clone())];
    let mut listener = Listener::clone(&listener("virtualOutbound", TrafficDirection::Outbound, vec![only]));
    listener.inspect = ConnectionFilters { original_dst: true, ..ConnectionFilters::default() };
    proxy(vec![Arc::new(listener)], Vec::new(), vec![to])
}

/// PeerAuthentication's modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Strict,
    Permissive,
    Disable,
}

pub(crate) const WAS: &str = "outbound|8080||was-service.default.svc.cluster.local";

/// An outbound side that knows `was-service`, and passes everything else on.
pub(crate) fn outbound(was: Cluster, edit: impl FnOnce(&mut RouteAction)) -> Proxy {
    let mut to_was = action(WAS);
    to_was.retry = Some(default_retry());
    edit(&mut to_was);
    let mut passthrough = route(action("PassthroughCluster"));
    passthrough.name = "allow_any".into();
    let hosts = vec![
        virtual_host(
            "was-service:8080",
            &["was-service", "was-service.default.svc.cluster.local"],
            vec![route(to_was)],
        ),
        virtual_host("allow_any", &["*"], vec![passthrough]),
    ];
    let http = Terminal::Http(Box::new(manager(false, RouteSource::Rds("8080".into()))));
    let mut listener = Listener::clone(&listener("virtualOutbound", TrafficDirection::Outbound, Vec::new()));
    let http_match = FilterChainMatch {
        transport_protocol: Some(TransportProtocol::RawBuffer),
        application_protocols: vec!["http/1.1".into(), "h2c".into()],
        ..FilterChainMatch::default()
    };
    listener.filter_chains = vec![chain("http", http_match, None, http)];
    listener.default_filter_chain =
        Some(chain("PassthroughFilterChain", FilterChainMatch::default(), None, tcp("PassthroughCluster")));
    proxy(
        vec![Arc::new(listener)],
        vec![table("8080", hosts)],
        vec![was, cluster("PassthroughCluster", original_dst())],
    )
}
