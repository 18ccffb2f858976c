//! Listeners with one of each filter.

use std::sync::Arc;
use std::time::Duration;

use varka_engine::ir::{
    self, AccessLog, AccessLogFormat, AccessLogSink, HeaderMatch, HeaderMatcher, HttpFilter, NetworkFilter, PathMatch,
    Permission, Principal, StringMatch,
};

use super::resources::exact;
use super::routes::routes;

fn text_log() -> AccessLog {
    AccessLog {
        sink: AccessLogSink::File("/dev/null".into()),
        format: AccessLogFormat::Text(
            "[%START_TIME%] %RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_CLUSTER_RAW%\n".into(),
        ),
        only_not_found: false,
        filter: Some("response.code >= 400 || 'x-debug' in request.headers".into()),
    }
}

fn json_log() -> AccessLog {
    let keys = [("duration", "%DURATION%"), ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%")];
    AccessLog {
        sink: AccessLogSink::Stdout,
        format: AccessLogFormat::Json(keys.map(|(k, v)| (k.into(), v.into())).into()),
        only_not_found: true,
        filter: Some("connection.mtls".into()),
    }
}

pub(super) fn rbac(action: ir::PolicyAction, shadow: bool) -> ir::Rbac {
    let metadata = || ("envoy.filters.http.jwt_authn".into(), vec!["payload".into(), "groups".into()], exact("admin"));
    let (filter, path, value) = metadata();
    let permissions = vec![
        Permission::Any,
        Permission::And(vec![
            Permission::Or(vec![
                Permission::Path(exact("/admin")),
                Permission::Template(PathMatch::Template("/a/{*}".into())),
            ]),
            Permission::Not(Box::new(Permission::DestinationPort(8080))),
            Permission::DestinationIp("10.0.0.0/8".parse().unwrap()),
            Permission::ServerName(exact("x")),
            Permission::Metadata { filter, path, value },
            Permission::Header(HeaderMatcher {
                name: ":method".into(),
                matches: HeaderMatch::Value(exact("GET")),
                invert: false,
                treat_missing_as_empty: false,
            }),
        ]),
    ];
    let (filter, path, value) = metadata();
    let principals = vec![
        Principal::And(vec![
            Principal::Authenticated(Some(StringMatch::Regex(ir::Regex::new(".*/ns/blog-system/.*").unwrap()))),
            Principal::Authenticated(None),
            Principal::Not(Box::new(Principal::DirectRemoteIp("fd00::/8".parse().unwrap()))),
            Principal::RemoteIp("192.168.0.0/16".parse().unwrap()),
            Principal::Metadata { filter, path, value },
        ]),
        Principal::Or(vec![Principal::Any]),
    ];
    let policy = ir::RbacPolicy { name: "ns[a]-policy[b]-rule[0]".into(), permissions, principals };
    ir::Rbac { action, policies: vec![policy], shadow, stat_prefix: "istio_".into() }
}

fn network_rbac() -> ir::Rbac {
    let policy = ir::RbacPolicy {
        name: "ns[a]-policy[b]-rule[0]".into(),
        permissions: vec![Permission::DestinationPort(3306)],
        principals: vec![Principal::Authenticated(Some(exact("spiffe://cluster.local/ns/a/sa/b")))],
    };
    ir::Rbac { action: ir::PolicyAction::Allow, policies: vec![policy], shadow: false, stat_prefix: "".into() }
}

fn tracing() -> ir::Tracing {
    ir::Tracing {
        client_sampling: 1_000_000,
        random_sampling: 10_000,
        overall_sampling: 1_000_000,
        provider: ir::TracingProvider::OpenTelemetry {
            service_name: "was.a".into(),
            exporter: ir::OtlpExporter::Grpc {
                cluster: "static".into(),
                authority: "collector.observability".into(),
                timeout: Some(Duration::from_secs(3)),
                initial_metadata: vec![("x-tenant".into(), "a".into())],
            },
        },
        custom_tags: vec![ir::CustomTag { name: "stage".into(), value: ir::CustomTagValue::Literal("test".into()) }],
        max_path_tag_length: Some(128),
    }
}

fn manager(routes: ir::RouteSource) -> ir::HttpConnectionManager {
    ir::HttpConnectionManager {
        stat_prefix: "inbound_0.0.0.0_8080".into(),
        codec: ir::Codec::Auto,
        routes,
        filters: vec![
            HttpFilter::PeerMetadata(ir::PeerMetadata { downstream: true, upstream: false }),
            HttpFilter::Rbac(rbac(ir::PolicyAction::Deny, false)),
            HttpFilter::Rbac(rbac(ir::PolicyAction::Allow, true)),
            HttpFilter::Rbac(rbac(ir::PolicyAction::Log, false)),
            HttpFilter::GrpcStats,
            HttpFilter::Alpn(ir::AlpnOverride {
                http11: vec!["istio-http/1.1".into()],
                http2: vec!["istio-h2".into()],
            }),
            HttpFilter::Fault,
            HttpFilter::Cors,
            HttpFilter::DynamicForwardProxy,
            HttpFilter::Stats(ir::Stats::default()),
        ],
        server_name: "istio-envoy".into(),
        use_remote_address: true,
        xff_trusted_hops: 1,
        skip_xff_append: true,
        client_cert: ir::ClientCertForwarding::AppendForward,
        generate_request_id: true,
        preserve_external_request_id: true,
        path: ir::PathNormalization {
            normalize: true,
            merge_slashes: true,
            escaped_slashes: ir::SlashesAction::UnescapeAndForward,
        },
        stream_idle_timeout: Some(Duration::ZERO),
        request_timeout: Some(Duration::from_secs(60)),
        request_headers_timeout: Some(Duration::from_secs(5)),
        idle_timeout: Some(Duration::from_secs(60)),
        max_connection_duration: Some(Duration::from_secs(600)),
        max_request_headers_kb: Some(60),
        max_headers: Some(100),
        accept_http_10: true,
        max_concurrent_streams: Some(100),
        upgrades: vec!["websocket".into()],
        strip_trailing_host_dot: true,
        local_replies: vec![
            ir::LocalReplyMapping { flags: vec!["UF".into(), "UC".into()], status: Some(503), new_status: 502 },
            ir::LocalReplyMapping { flags: vec!["UH".into()], status: None, new_status: 503 },
            ir::LocalReplyMapping { flags: vec![], status: Some(418), new_status: 400 },
            ir::LocalReplyMapping { flags: vec![], status: None, new_status: 500 },
        ],
        tracing: Some(tracing()),
        access_log: vec![text_log(), json_log()],
    }
}

pub(super) fn downstream_tls() -> ir::DownstreamTls {
    ir::DownstreamTls {
        certificates: vec!["default".into()],
        validation: Some("ROOTCA".into()),
        require_client_certificate: true,
        subject_alt_names: vec![StringMatch::Prefix { value: "spiffe://cluster.local/".into(), ignore_case: false }],
        pins: ir::CertificatePins::default(),
        crl_file: None,
        alpn: vec!["istio-peer-exchange".into(), "h2".into(), "http/1.1".into()],
        min_version: Some(ir::TlsVersion::V1_2),
        max_version: Some(ir::TlsVersion::V1_3),
        cipher_suites: vec!["ECDHE-ECDSA-AES256-GCM-SHA384".into(), "ECDHE-RSA-AES256-GCM-SHA384".into()],
    }
}

fn chain(name: &str, matches: ir::FilterChainMatch, terminal: ir::Terminal) -> ir::FilterChain {
    ir::FilterChain { name: name.into(), matches, tls: None, filters: vec![], terminal, handshake_timeout: None }
}

fn tcp(clusters: &[&str]) -> ir::Terminal {
    ir::Terminal::Tcp(ir::TcpProxy {
        stat_prefix: "tcp".into(),
        clusters: clusters.iter().map(|c| ir::WeightedCluster { cluster: (*c).into(), weight: 1 }).collect(),
        idle_timeout: None,
        max_connection_duration: Some(Duration::from_secs(3600)),
        access_log: vec![text_log()],
        hash_policy: vec![ir::HashPolicy { key: ir::HashKey::SourceIp, terminal: false }],
        tunnel: Some(ir::TcpTunnel { hostname: "db.example.com:3306".into(), post: false }),
    })
}

pub(super) fn inbound() -> ir::Listener {
    let mtls = ir::FilterChain {
        tls: Some(downstream_tls()),
        filters: vec![
            NetworkFilter::MetadataExchange,
            NetworkFilter::Rbac(network_rbac()),
            NetworkFilter::Stats(ir::Stats::default()),
            NetworkFilter::SniDynamicForwardProxy(443),
        ],
        handshake_timeout: Some(Duration::from_secs(15)),
        ..chain(
            "0.0.0.0_8080",
            ir::FilterChainMatch {
                destination_port: Some(8080),
                destination_prefixes: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
                transport_protocol: Some(ir::TransportProtocol::Tls),
                application_protocols: vec!["istio-http/1.1".into(), "istio-h2".into()],
                source_type: ir::SourceType::External,
                source_prefixes: vec!["10.0.0.0/8".parse().unwrap()],
                server_names: vec!["outbound_.8080_._.was".into(), "*.example.com".into()],
            },
            ir::Terminal::Http(Box::new(manager(ir::RouteSource::Inline(Arc::new(routes("inbound|8080||")))))),
        )
    };
    let plain =
        ir::FilterChainMatch { transport_protocol: Some(ir::TransportProtocol::RawBuffer), ..Default::default() };
    ir::Listener {
        name: "virtualInbound".into(),
        address: "127.0.0.1:0".parse().unwrap(),
        bind_to_port: true,
        use_original_dst: false,
        direction: ir::TrafficDirection::Inbound,
        inspect: ir::ConnectionFilters {
            original_dst: true,
            tls: true,
            http: true,
            disabled_ports: vec![25, 3306],
            proxy_protocol: true,
            timeout: None,
            continue_on_timeout: true,
        },
        filter_chains: vec![mtls, chain("plain", plain, tcp(&["static", "outbound|8080||was"]))],
        default_filter_chain: Some(chain("virtualInbound-blackhole", Default::default(), tcp(&["PassthroughCluster"]))),
        access_log: vec![json_log()],
    }
}

pub(super) fn outbound() -> ir::Listener {
    let http = manager(ir::RouteSource::Rds("8080".into()));
    ir::Listener {
        name: "0.0.0.0_8080".into(),
        address: "0.0.0.0:8080".parse().unwrap(),
        bind_to_port: false,
        use_original_dst: false,
        direction: ir::TrafficDirection::Outbound,
        inspect: ir::ConnectionFilters {
            tls: true,
            http: true,
            disabled_ports: vec![3306],
            timeout: Some(Duration::from_secs(5)),
            ..Default::default()
        },
        filter_chains: vec![chain("", Default::default(), ir::Terminal::Http(Box::new(http)))],
        default_filter_chain: None,
        access_log: vec![],
    }
}
