//! A real Envoy takes what is encoded here. It needs the program: `ENVOY=/path/to/envoy cargo test -p varka-xds -- --ignored`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use varka_engine::ir::{
    self, AccessLog, AccessLogFormat, AccessLogSink, Action, HeaderAppend, HeaderMatch, HeaderMatcher, HeaderMutation,
    HttpFilter, NetworkFilter, PathMatch, Permission, Principal, Resource, ResourceType, StringMatch,
};

use super::fixture::{self, Mesh, ServerEvent};
use crate::codec::Reader;
use crate::server;

struct Running {
    process: Child,
    log: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn cluster(name: &str, port: u16) -> String {
    format!(
        r#"{{
    "name": "{name}", "type": "STATIC",
    "typed_extension_protocol_options": {{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {{
      "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
      "explicit_http_config": {{"http2_protocol_options": {{}}}}}}}},
    "load_assignment": {{"cluster_name": "{name}", "endpoints": [{{"lb_endpoints": [{{"endpoint": {{
      "address": {{"socket_address": {{"address": "127.0.0.1", "port_value": {port}}}}}}}}}]}}]}}
  }}"#
    )
}

fn start(port: u16, api: &str) -> Running {
    let program = std::env::var_os("ENVOY").expect("ENVOY must name the program");
    let directory = tempfile::tempdir().unwrap();
    let bootstrap = format!(
        r#"{{
  "node": {{"id": "sidecar~10.0.0.7~web.blog-system~x", "cluster": "web.blog-system"}},
  "dynamic_resources": {{
    "ads_config": {{"api_type": "{api}", "transport_api_version": "V3",
      "grpc_services": [{{"envoy_grpc": {{"cluster_name": "control-plane"}}}}]}},
    "cds_config": {{"ads": {{}}, "resource_api_version": "V3"}},
    "lds_config": {{"ads": {{}}, "resource_api_version": "V3"}}
  }},
  "static_resources": {{"clusters": [{0}, {1}]}}
}}"#,
        cluster("control-plane", port),
        cluster(crate::codec::OWN_SECRETS_CLUSTER, port),
    );
    let file = directory.path().join("bootstrap.json");
    std::fs::write(&file, bootstrap).unwrap();
    let log = directory.path().join("log");
    let process = Command::new(program)
        .arg("-c")
        .arg(&file)
        .args(["--use-dynamic-base-id", "--concurrency", "1", "-l", "warning", "--log-path"])
        .arg(&log)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Running { process, log, _directory: directory }
}

async fn is_accepted(api: &str) {
    let files = tempfile::tempdir().unwrap();
    let resources = everything(files.path());
    let mut mesh = Mesh::for_reader(Reader::StockEnvoy, &resources);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = tonic::transport::Server::builder()
        .add_service(server::service(mesh.source()))
        .add_service(server::secrets(mesh.source()));
    let serving = tokio::spawn(serve.serve_with_incoming(TcpListenerStream::new(listener)));
    let envoy = start(port, api);
    let mut missing = vec![
        ResourceType::Cluster,
        ResourceType::Endpoints,
        ResourceType::Listener,
        ResourceType::Route,
        ResourceType::Secret,
    ];
    while !missing.is_empty() {
        match tokio::time::timeout(Duration::from_secs(30), mesh.event()).await {
            Ok(ServerEvent::Acked(kind, _)) => missing.retain(|m| *m != kind),
            Ok(ServerEvent::Nacked(kind, message)) => panic!("Envoy refuses {kind:?}: {message}"),
            Ok(ServerEvent::Connected(..)) => {}
            Err(_) => {
                panic!(
                    "Envoy has not taken {missing:?}\n{}",
                    std::fs::read_to_string(&envoy.log)
                        .unwrap_or_default()
                        .lines()
                        .take(20)
                        .collect::<Vec<_>>()
                        .join("\n")
                )
            }
        }
    }
    // A changed cluster is taken, too, and its endpoints with it.
    mesh.set(fixture::cluster_with_timeout("outbound|8080||was", Duration::from_secs(3)));
    let mut missing = vec![ResourceType::Cluster, ResourceType::Endpoints];
    while !missing.is_empty() {
        match tokio::time::timeout(Duration::from_secs(30), mesh.event()).await {
            Ok(ServerEvent::Acked(kind, version)) if version == "3" => missing.retain(|m| *m != kind),
            Ok(ServerEvent::Nacked(kind, message)) => panic!("Envoy refuses {kind:?}: {message}"),
            Ok(_) => {}
            Err(_) => panic!("Envoy has not taken the change of {missing:?}"),
        }
    }
    serving.abort();
}

#[tokio::test]
#[ignore = "needs the program that ENVOY names"]
async fn envoy_takes_everything_as_state_of_the_world() {
    is_accepted("GRPC").await;
}

#[tokio::test]
#[ignore = "needs the program that ENVOY names"]
async fn envoy_takes_everything_as_delta() {
    is_accepted("DELTA_GRPC").await;
}

// --- one of each

fn exact(value: &str) -> StringMatch {
    StringMatch::Exact { value: value.into(), ignore_case: false }
}

fn everything(files: &Path) -> Vec<Resource> {
    let mut all = vec![
        Resource::Route(Arc::new(routes("8080"))),
        Resource::Listener(Arc::new(outbound())),
        Resource::Listener(Arc::new(inbound())),
    ];
    all.extend(secrets());
    all.extend(in_files(files));
    all.extend(clusters().into_iter().map(|c| Resource::Cluster(Arc::new(c))));
    all.push(fixture::endpoints("outbound|8080||was", 1));
    all
}

fn secrets() -> Vec<Resource> {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["web".to_owned()]).unwrap().self_signed(&key).unwrap();
    let kinds = [
        ("default", ir::SecretKind::Certificate { chain: certificate.pem(), key: key.serialize_pem() }),
        ("ROOTCA", ir::SecretKind::Validation { ca: certificate.pem(), crl: None }),
    ];
    kinds.map(|(name, kind)| Resource::Secret(Arc::new(ir::Secret { name: name.into(), kind }))).into()
}

/// A certificate, trust anchors and a revocation list in files, and those who refer to them.
fn in_files(directory: &Path) -> Vec<Resource> {
    let path = |name: &str| ir::Str::from(directory.join(name).to_str().unwrap());
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["web".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![
        rcgen::KeyUsagePurpose::DigitalSignature,
        rcgen::KeyUsagePurpose::KeyCertSign,
        rcgen::KeyUsagePurpose::CrlSign,
    ];
    let key = rcgen::KeyPair::generate().unwrap();
    write("chain.pem", &params.self_signed(&key).unwrap().pem());
    write("key.pem", &key.serialize_pem());
    let list = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2020, 1, 1),
        next_update: rcgen::date_time_ymd(2100, 1, 1),
        crl_number: rcgen::SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    write("crl.pem", &list.signed_by(&rcgen::Issuer::new(params, key)).unwrap().pem().unwrap());
    let (certificate, anchors) = (ir::Str::from("file-cert:chain~key"), ir::Str::from("file-root:chain"));
    let upstream = ir::UpstreamTls {
        certificate: Some(certificate.clone()),
        validation: Some(anchors.clone()),
        crl_file: Some(path("crl.pem")),
        auto_sni: true,
        ..Default::default()
    };
    let nothing = ir::Discovery::Static(ir::ClusterLoadAssignment { cluster_name: "files".into(), localities: vec![] });
    let cluster = ir::Cluster {
        tls: Some(upstream),
        services: vec![("files".into(), "files".into(), "a".into())],
        ..plain_cluster("files", nothing, ir::LbPolicy::RoundRobin)
    };
    let downstream = ir::DownstreamTls {
        certificates: vec![certificate.clone()],
        validation: Some(anchors.clone()),
        pins: ir::CertificatePins {
            spki: vec!["rkSKyGxOjk3sZFcpcI70GHOuecbf+E7/czYJiUh/COU=".into()],
            hashes: vec![[":00"; 32].concat()[1..].into()],
        },
        crl_file: Some(path("crl.pem")),
        ..downstream_tls()
    };
    let mut listener = inbound();
    listener.name = "files".into();
    listener.address = "127.0.0.1:0".parse().unwrap();
    listener.filter_chains.retain(|chain| chain.tls.is_some());
    listener.filter_chains.iter_mut().for_each(|chain| chain.tls = Some(downstream.clone()));
    let secret = |name: &ir::Str, kind| Resource::Secret(Arc::new(ir::Secret { name: name.clone(), kind }));
    vec![
        secret(&certificate, ir::SecretKind::CertificateFiles { chain: path("chain.pem"), key: path("key.pem") }),
        secret(&anchors, ir::SecretKind::ValidationFile { ca: path("chain.pem") }),
        Resource::Cluster(Arc::new(cluster)),
        Resource::Listener(Arc::new(listener)),
    ]
}

fn text_log() -> AccessLog {
    AccessLog {
        sink: AccessLogSink::File("/dev/null".into()),
        format: AccessLogFormat::Text(
            "[%START_TIME%] %RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_CLUSTER_RAW%\n".into(),
        ),
        only_not_found: false,
        filter: Some("response.code >= 400 || has(request.headers['x-debug'])".into()),
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

fn rbac(action: ir::PolicyAction, shadow: bool) -> ir::Rbac {
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

fn downstream_tls() -> ir::DownstreamTls {
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

fn inbound() -> ir::Listener {
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

fn outbound() -> ir::Listener {
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

fn mutations() -> Vec<HeaderMutation> {
    let add = |name: &'static str, value: &'static str, action| HeaderMutation::Append {
        name: http::HeaderName::from_static(name),
        value: http::HeaderValue::from_static(value),
        action,
    };
    vec![
        HeaderMutation::Remove(http::HeaderName::from_static("x-gone")),
        add("x-a", "%DOWNSTREAM_REMOTE_ADDRESS%", HeaderAppend::Append),
        add("x-b", "", HeaderAppend::Overwrite),
        add("x-c", "50%%", HeaderAppend::IfAbsent),
    ]
}

fn route(path: PathMatch, action: Action) -> ir::Route {
    let value = |name: &str, matches, invert| HeaderMatcher {
        name: name.into(),
        matches,
        invert,
        treat_missing_as_empty: true,
    };
    ir::Route {
        name: "default".into(),
        matches: ir::RouteMatch {
            path,
            case_sensitive: false,
            headers: vec![
                value(
                    "x-user",
                    HeaderMatch::Value(StringMatch::Contains { value: "a".into(), ignore_case: true }),
                    true,
                ),
                value("x-n", HeaderMatch::Range { start: -1, end: 10 }, false),
                value("x-p", HeaderMatch::Present(true), false),
            ],
            query: vec![
                ir::QueryMatcher { name: "q".into(), matches: ir::QueryMatch::Present },
                ir::QueryMatcher { name: "v".into(), matches: ir::QueryMatch::Value(exact("1")) },
            ],
            metadata: Vec::new(),
            grpc: false,
        },
        action,
        request_headers: mutations(),
        response_headers: mutations(),
        fault: Some(ir::Fault {
            delay: Some(ir::FaultDelay { duration: Duration::from_secs(1), parts_per_million: 1000 }),
            abort: Some(ir::FaultAbort { status: 555, grpc_status: None, parts_per_million: 1_000_000 }),
        }),
        cors: Some(ir::Cors {
            origins: vec![exact("https://a.example.com"), StringMatch::Regex(ir::Regex::new(".*").unwrap())],
            methods: "GET,POST".into(),
            headers: "x-a".into(),
            expose_headers: "x-b".into(),
            max_age: "60".into(),
            credentials: true,
            forward_unmatched_preflights: false,
        }),
        rbac: Some(rbac(ir::PolicyAction::Allow, false)),
        max_request_bytes: Some(1 << 20),
        operation: Some("was-service.blog-system.svc.cluster.local:8080/*".into()),
        origin: Some("VirtualService blog-system/was http[0]".into()),
    }
}

fn forward() -> ir::RouteAction {
    let destination = |cluster: &str, weight| ir::WeightedRoute {
        cluster: cluster.into(),
        weight,
        request_headers: mutations(),
        response_headers: mutations(),
        host_rewrite: Some("was".into()),
    };
    ir::RouteAction {
        clusters: vec![destination("outbound|8080||was", 80), destination("static", 20)],
        rewrite: ir::Rewrite {
            prefix: Some("/new".into()),
            regex: None,
            authority: Some("was".into()),
            auto_authority: false,
            append_x_forwarded_host: true,
        },
        timeout: None,
        grpc_timeout_max: Some(Duration::ZERO),
        idle_timeout: Some(Duration::from_secs(30)),
        retry: Some(ir::RetryPolicy {
            on: ir::RetryOn {
                server_error: true,
                gateway_error: true,
                reset: true,
                reset_before_request: true,
                connect_failure: true,
                envoy_rate_limited: true,
                retriable_4xx: true,
                refused_stream: true,
                status_codes: true,
                cancelled: true,
                deadline_exceeded: true,
                internal: true,
                resource_exhausted: true,
                unavailable: true,
            },
            attempts: 2,
            per_try_timeout: Some(Duration::from_secs(2)),
            status_codes: vec![503],
            back_off: Some(ir::RetryBackOff { base: Duration::from_millis(25), max: Duration::from_millis(250) }),
            avoid_previous_hosts: true,
            host_selection_attempts: 5,
            remote_localities: true,
        }),
        mirrors: vec![ir::Mirror { cluster: "static".into(), parts_per_million: 500_000, shadow_host_suffix: false }],
        hash_policy: vec![
            ir::HashPolicy { key: ir::HashKey::Header("x-user".into()), terminal: true },
            ir::HashPolicy {
                key: ir::HashKey::Cookie {
                    name: "s".into(),
                    path: "/".into(),
                    ttl: Some(Duration::ZERO),
                    attributes: vec![("SameSite".into(), "Lax".into())],
                },
                terminal: false,
            },
            ir::HashPolicy { key: ir::HashKey::SourceIp, terminal: false },
            ir::HashPolicy { key: ir::HashKey::Query("q".into()), terminal: false },
        ],
        upgrades: vec![ir::Upgrade { kind: "websocket".into(), enabled: true }],
        cluster_not_found_status: 503,
    }
}

fn routes(name: &str) -> ir::RouteConfiguration {
    let regex_rewrite = ir::Rewrite {
        regex: Some((ir::Regex::new("^/a/(.*)$").unwrap(), r"/b/\1".into())),
        auto_authority: true,
        ..Default::default()
    };
    let forward = |rewrite: Option<ir::Rewrite>| {
        let action = forward();
        Action::Forward(Box::new(ir::RouteAction { rewrite: rewrite.unwrap_or(action.rewrite.clone()), ..action }))
    };
    let redirect = Action::Redirect(ir::Redirect {
        authority: Some("b.example.com".into()),
        port: Some(8443),
        scheme: Some("https".into()),
        path: Some("/there".into()),
        prefix: None,
        status: 308,
        strip_query: true,
    });
    let direct = Action::Direct(ir::DirectResponse { status: 503, body: Some(vec![b'x'; 10_000].into()) });
    let host = |name: &str, domain: &str, routes| ir::VirtualHost {
        name: name.into(),
        domains: vec![domain.into()],
        routes,
        require_tls: false,
        include_attempt_count: true,
        request_headers: mutations(),
        response_headers: mutations(),
    };
    ir::RouteConfiguration {
        name: name.into(),
        virtual_hosts: vec![
            host(
                "was:8080",
                "was",
                vec![
                    route(PathMatch::SeparatedPrefix("/api".into()), forward(None)),
                    route(PathMatch::Exact("/old".into()), redirect),
                    route(PathMatch::Regex(ir::Regex::new("/x/[a-z]+").unwrap()), forward(Some(regex_rewrite))),
                    route(PathMatch::Template("/t/{*}/{**}".into()), forward(Some(ir::Rewrite::default()))),
                    route(PathMatch::Prefix("/".into()), direct),
                ],
            ),
            ir::VirtualHost { require_tls: true, ..host("tls", "tls.example.com", vec![]) },
        ],
        ignore_port_in_host: true,
        on_demand: false,
        request_headers: mutations(),
        response_headers: mutations(),
    }
}

fn upstream_tls() -> ir::UpstreamTls {
    ir::UpstreamTls {
        certificate: Some("default".into()),
        validation: Some("ROOTCA".into()),
        subject_alt_names: vec![
            exact("spiffe://cluster.local/ns/blog-system/sa/was"),
            exact("was.example.com"),
            StringMatch::Suffix { value: "/sa/was".into(), ignore_case: false },
        ],
        sni: Some("outbound_.8080_._.was".into()),
        crl_file: None,
        auto_sni: false,
        auto_san: false,
        alpn: vec!["istio-peer-exchange".into(), "istio".into()],
        min_version: Some(ir::TlsVersion::V1_2),
        max_version: None,
    }
}

fn assignment(name: &str, host: Option<&str>) -> ir::ClusterLoadAssignment {
    let endpoint = ir::Endpoint {
        address: host.is_none().then(|| "127.0.0.1:9".parse().unwrap()),
        host: host.map(|h| (h.into(), 9)),
        weight: 3,
        health: ir::HealthStatus::Healthy,
        tls_mode: Some("istio".into()),
        workload: Some("was;blog-system;was;v1;Kubernetes".into()),
    };
    let locality = ir::Locality { region: "r".into(), zone: "z".into(), sub_zone: "s".into() };
    let localities = vec![ir::LocalityEndpoints { locality, priority: 0, weight: Some(1), endpoints: vec![endpoint] }];
    ir::ClusterLoadAssignment { cluster_name: name.into(), localities }
}

fn plain_cluster(name: &str, discovery: ir::Discovery, lb: ir::LbPolicy) -> ir::Cluster {
    let Resource::Cluster(eds) = fixture::cluster(name) else { panic!("not a cluster") };
    ir::Cluster { discovery, lb, ..(*eds).clone() }
}

fn clusters() -> Vec<ir::Cluster> {
    let eds = ir::Cluster {
        outlier: Some(ir::OutlierDetection {
            consecutive_5xx: 5,
            consecutive_gateway: 0,
            split_local_origin: true,
            consecutive_local: 5,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejection_percent: 50,
        }),
        transport_matches: vec![
            ir::TransportSocketMatch {
                name: "tlsMode-istio".into(),
                tls_mode: Some("istio".into()),
                tls: Some(upstream_tls()),
            },
            ir::TransportSocketMatch { name: "tlsMode-disabled".into(), tls_mode: None, tls: None },
        ],
        http: ir::HttpProtocolOptions {
            protocol: ir::ClusterProtocol::Downstream,
            idle_timeout: Some(Duration::from_secs(60)),
            max_requests_per_connection: Some(10),
            max_connection_duration: Some(Duration::from_secs(600)),
            max_concurrent_streams: Some(100),
            keepalive: Some(ir::Http2Keepalive { interval: Duration::from_secs(30), timeout: Duration::from_secs(5) }),
        },
        tcp_keepalive: Some(ir::TcpKeepalive { probes: Some(3), time: Some(Duration::from_secs(60)), interval: None }),
        panic_threshold: 30,
        locality_weighted: true,
        slow_start: Some(ir::SlowStart { window: Duration::from_secs(60), aggression: 1.5, min_weight_percent: 10.0 }),
        retry_budget: Some((250_000, 3)),
        services: vec![("was.blog-system.svc.cluster.local".into(), "was".into(), "blog-system".into())],
        ..plain_cluster(
            "outbound|8080||was",
            ir::Discovery::Eds { service_name: "outbound|8080||was".into() },
            ir::LbPolicy::LeastRequest { choices: 2 },
        )
    };
    let given = ir::Discovery::Static(assignment("static", None));
    let fixed = ir::Cluster {
        http: ir::HttpProtocolOptions { protocol: ir::ClusterProtocol::Http2, ..Default::default() },
        proxy_protocol: Some(2),
        tls: Some(upstream_tls()),
        ..plain_cluster("static", given, ir::LbPolicy::RingHash { min_size: 1024 })
    };
    let names = ir::Discovery::Dns { assignment: assignment("dns", Some("localhost")), logical: false };
    let dns = ir::Cluster {
        tls: Some(ir::UpstreamTls {
            sni: None,
            auto_sni: true,
            auto_san: true,
            subject_alt_names: vec![],
            ..upstream_tls()
        }),
        dns_refresh: Some(Duration::from_secs(60)),
        metadata_exchange: true,
        ..plain_cluster("dns", names, ir::LbPolicy::Maglev { table_size: 65537 })
    };
    let original = ir::Cluster {
        bind_source: Some("127.0.0.6".parse().unwrap()),
        ..plain_cluster(
            "PassthroughCluster",
            ir::Discovery::OriginalDst { use_http_header: true, port: Some(8080) },
            ir::LbPolicy::ClusterProvided,
        )
    };
    let nothing = ir::Discovery::Static(ir::ClusterLoadAssignment {
        cluster_name: "BlackHoleCluster".into(),
        localities: vec![],
    });
    let mut all = vec![eds, fixed, dns, original, plain_cluster("BlackHoleCluster", nothing, ir::LbPolicy::Random)];
    all.extend(resolving());
    all
}

/// Clusters whose hosts are resolved as they are asked for.
fn resolving() -> [ir::Cluster; 2] {
    let dynamic = plain_cluster("dynamic", ir::Discovery::DynamicForwardProxy, ir::LbPolicy::ClusterProvided);
    let follows = ir::UpstreamTls { sni: None, auto_sni: true, auto_san: true, ..upstream_tls() };
    let dynamic_tls = ir::Cluster { name: "dynamic-tls".into(), tls: Some(follows), ..dynamic.clone() };
    [dynamic, dynamic_tls]
}
