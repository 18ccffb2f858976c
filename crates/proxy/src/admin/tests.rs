//! Answers in Envoy's forms.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use varka_engine::ir::{self, ClusterLoadAssignment, Endpoint, LocalityEndpoints};
use varka_identity::{Authority, SpiffeId, SystemRandom, WorkloadKey};

use super::*;
use crate::bootstrap::{Args, Bootstrap, Role};
use crate::state::{Lifecycle, State};

const WAS: &str = "outbound|8080||was-service.blog-system.svc.cluster.local";

fn bootstrap(static_config: bool) -> Bootstrap {
    let args = Args {
        role: Role::Sidecar,
        domain: None,
        config: static_config.then(|| "x.json".into()),
        concurrency: Some(1),
        free_ports: false,
        engine: crate::Engine::Varka,
    };
    let vars = |name: &str| match name {
        "POD_NAME" => Some("web-1".to_owned()),
        "POD_NAMESPACE" => Some("blog-system".to_owned()),
        "INSTANCE_IP" => Some("10.77.0.11".to_owned()),
        _ => None,
    };
    Bootstrap::from_vars(args, &vars, std::iter::empty()).unwrap()
}

fn cluster() -> ir::Cluster {
    let endpoint = |address: &str| Endpoint {
        address: Some(address.parse().unwrap()),
        host: None,
        weight: 1,
        health: ir::HealthStatus::Healthy,
        tls_mode: Some("istio".into()),
        workload: None,
    };
    ir::Cluster {
        name: WAS.into(),
        discovery: ir::Discovery::Static(ClusterLoadAssignment {
            cluster_name: WAS.into(),
            localities: vec![LocalityEndpoints {
                endpoints: vec![endpoint("10.77.0.21:8080"), endpoint("10.77.0.22:8080")],
                ..LocalityEndpoints::default()
            }],
        }),
        lb: ir::LbPolicy::LeastRequest { choices: 2 },
        connect_timeout: Duration::from_millis(10_250),
        circuit_breakers: ir::CircuitBreakers { max_pending_requests: 100, max_requests: 100, ..Default::default() },
        outlier: None,
        transport_matches: vec![],
        tls: Some(ir::UpstreamTls { sni: Some("outbound_.8080_._.was".into()), ..Default::default() }),
        http: ir::HttpProtocolOptions::default(),
        bind_source: None,
        tcp_keepalive: None,
        panic_threshold: 0,
        locality_weighted: false,
        slow_start: None,
        proxy_protocol: None,
        retry_budget: None,
        services: vec![(
            "was-service.blog-system.svc.cluster.local".into(),
            "was-service".into(),
            "blog-system".into(),
        )],
        dns_refresh: None,
        metadata_exchange: false,
    }
}

fn listener(name: &str, address: &str) -> ir::Listener {
    let tcp = ir::TcpProxy {
        stat_prefix: "BlackHoleCluster".into(),
        clusters: vec![ir::WeightedCluster { cluster: "BlackHoleCluster".into(), weight: 1 }],
        idle_timeout: None,
        max_connection_duration: None,
        access_log: vec![],
        hash_policy: vec![],
        tunnel: None,
    };
    ir::Listener {
        name: name.into(),
        address: address.parse().unwrap(),
        bind_to_port: false,
        use_original_dst: false,
        direction: ir::TrafficDirection::Outbound,
        inspect: ir::ConnectionFilters { tls: true, ..Default::default() },
        filter_chains: vec![ir::FilterChain {
            name: "blackhole".into(),
            matches: ir::FilterChainMatch { destination_port: Some(15001), ..Default::default() },
            tls: None,
            filters: vec![],
            terminal: ir::Terminal::Tcp(tcp),
            handshake_timeout: None,
        }],
        default_filter_chain: None,
        access_log: vec![],
    }
}

fn state(static_config: bool) -> State {
    let state = State::new(bootstrap(static_config));
    let mut proxy = ir::Proxy::default();
    proxy.clusters.insert(WAS.into(), Arc::new(cluster()));
    for (name, address) in [("virtualOutbound", "0.0.0.0:15001"), ("0.0.0.0_80", "0.0.0.0:80")] {
        proxy.listeners.insert(name.into(), Arc::new(listener(name, address)));
    }
    let table = ir::RouteConfiguration {
        name: "80".into(),
        virtual_hosts: vec![],
        ignore_port_in_host: true,
        on_demand: false,
        request_headers: vec![],
        response_headers: vec![],
    };
    proxy.routes.insert("80".into(), Arc::new(table));
    state.apply(Arc::new(proxy));
    state
}

fn get(state: &State, path: &str) -> (u16, String) {
    let (status, _, body) = handle(state, "GET", path, &[]);
    (status, String::from_utf8(body).unwrap())
}

fn json(state: &State, path: &str) -> Value {
    let (status, content_type, body) = handle(state, "GET", path, &[]);
    assert_eq!((status, content_type), (200, JSON), "{path}");
    serde_json::from_slice(&body).unwrap()
}

fn types(dump: &Value) -> Vec<String> {
    let configs = dump["configs"].as_array().unwrap();
    configs.iter().map(|c| c["@type"].as_str().unwrap().rsplit('.').next().unwrap().to_owned()).collect()
}

#[test]
fn ready_follows_the_life_of_the_proxy() {
    let state = state(true);
    assert_eq!(get(&state, "/ready"), (503, "PRE_INITIALIZING\n".into()));
    state.advance(Lifecycle::Ready);
    assert_eq!(get(&state, "/ready"), (200, "LIVE\n".into()));
    assert_eq!(get(&state, "/healthcheck/fail").0, 405);
    assert_eq!(handle(&state, "POST", "/healthcheck/fail", &[]).0, 200);
    assert_eq!(get(&state, "/ready"), (503, "DRAINING\n".into()));
    handle(&state, "POST", "/healthcheck/ok", &[]);
    assert_eq!(get(&state, "/ready").0, 200);
    handle(&state, "POST", "/drain_listeners?graceful", &[]);
    assert_eq!(state.lifecycle(), Lifecycle::Draining);
    handle(&state, "POST", "/quitquitquit", &[]);
    assert_eq!(state.lifecycle(), Lifecycle::Stopped);
}

#[test]
fn what_does_not_exist_is_answered_with_what_does() {
    let state = state(true);
    let (status, text) = get(&state, "/nope");
    assert_eq!(status, 404);
    assert!(text.starts_with("invalid path. admin commands are:\n  /: Admin home page\n"), "{text}");
    assert!(text.contains("  /quitquitquit (POST): exit the server\n"));
    assert_eq!(get(&state, "/help").0, 200);
    assert_eq!(get(&state, "/quitquitquit"), (405, "Method GET not allowed, POST required.".into()));
}

#[test]
fn clusters_as_text_and_json() {
    let state = state(true);
    let (_, text) = get(&state, "/clusters");
    for line in [
        format!("{WAS}::observability_name::{WAS};"),
        format!("{WAS}::default_priority::max_connections::4294967295"),
        format!("{WAS}::default_priority::max_pending_requests::100"),
        format!("{WAS}::high_priority::max_retries::3"),
        format!("{WAS}::10.77.0.21:8080::rq_total::0"),
        format!("{WAS}::10.77.0.22:8080::health_flags::healthy"),
        format!("{WAS}::10.77.0.22:8080::weight::1"),
    ] {
        assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
    }
    assert_eq!(get(&state, "/clusters?filter=nothing").1, "");
    assert_eq!(get(&state, "/clusters?filter=(").0, 400);
    let status = &json(&state, "/clusters?format=json&filter=was-service")["cluster_statuses"][0];
    assert_eq!(status["name"], WAS);
    assert_eq!(status["host_statuses"][0]["address"]["socket_address"]["port_value"], 8080);
    assert_eq!(status["host_statuses"][0]["health_status"]["eds_health_status"], "HEALTHY");
    assert_eq!(status["circuit_breakers"]["thresholds"][1]["priority"], "HIGH");
}

#[test]
fn listeners_by_name() {
    let state = state(true);
    assert_eq!(get(&state, "/listeners").1, "0.0.0.0_80::0.0.0.0:80\nvirtualOutbound::0.0.0.0:15001\n");
    let all = json(&state, "/listeners?format=json");
    assert_eq!(all["listener_statuses"][1]["local_address"]["socket_address"]["port_value"], 15001);
}

#[test]
fn a_static_dump() {
    let dump = json(&state(true), "/config_dump");
    let all = [
        "BootstrapConfigDump",
        "ClustersConfigDump",
        "ListenersConfigDump",
        "ScopedRoutesConfigDump",
        "RoutesConfigDump",
        "SecretsConfigDump",
    ];
    assert_eq!(types(&dump), all);
    let cluster = &dump["configs"][1]["static_clusters"][0]["cluster"];
    assert_eq!(cluster["@type"], "type.googleapis.com/envoy.config.cluster.v3.Cluster");
    assert_eq!(cluster["connect_timeout"], "10.250s");
    assert_eq!(cluster["lb_policy"], "LEAST_REQUEST");
    assert_eq!(cluster["metadata"]["filter_metadata"]["istio"]["services"][0]["name"], "was-service");
    assert_eq!(cluster["transport_socket"]["typed_config"]["sni"], "outbound_.8080_._.was");
    let listener = &dump["configs"][2]["static_listeners"][0]["listener"];
    assert_eq!(listener["bind_to_port"], false);
    assert_eq!(listener["filter_chains"][0]["filter_chain_match"]["destination_port"], 15001);
    assert_eq!(listener["filter_chains"][0]["filters"][0]["typed_config"]["cluster"], "BlackHoleCluster");
    let with_endpoints = json(&state(true), "/config_dump?include_eds");
    assert_eq!(with_endpoints["configs"][2]["static_endpoint_configs"][0]["endpoint_config"]["cluster_name"], WAS);
}

#[test]
fn a_dynamic_dump_by_resource_name_and_mask() {
    let state = state(false);
    let listeners = json(&state, "/config_dump?resource=dynamic_listeners");
    assert_eq!(types(&listeners), ["DynamicListener", "DynamicListener"]);
    assert_eq!(listeners["configs"][1]["active_state"]["listener"]["name"], "virtualOutbound");
    let masked = json(&state, "/config_dump?resource=dynamic_active_clusters&mask=cluster.name");
    let expected = serde_json::json!({"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.DynamicCluster", "cluster": {"name": WAS}});
    assert_eq!(masked["configs"][0], expected);
    assert_eq!(types(&json(&state, "/config_dump?mask=bootstrap.node")), ["BootstrapConfigDump"]);
    let named = json(&state, "/config_dump?name_regex=virtual.*&resource=dynamic_listeners");
    assert_eq!(named["configs"].as_array().unwrap().len(), 1);
    assert_eq!(json(&state, "/config_dump?resource=static_clusters"), serde_json::json!({}));
    assert_eq!(get(&state, "/config_dump?resource=nothing").0, 404);
}

#[test]
fn certificates_end_on_a_line_of_their_own() {
    let state = state(true);
    assert_eq!(json(&state, "/certs")["certificates"].as_array().unwrap().len(), 0);
    let rng = SystemRandom::new();
    let authority = Authority::generate("cluster.local", SystemTime::now(), &rng).unwrap();
    let id = SpiffeId::new("cluster.local", "blog-system", "web").unwrap();
    let key = WorkloadKey::generate(&rng).unwrap();
    let csr = key.csr(&id).unwrap();
    let issued = authority.sign_csr(&csr, &id, SystemTime::now(), Duration::from_secs(3600), &rng).unwrap();
    let certificate = ir::SecretKind::Certificate { chain: issued.chain.concat(), key: key.to_pem().to_string() };
    state.secrets.put(&ir::Secret { name: "default".into(), kind: certificate }).unwrap();
    let anchors = ir::SecretKind::Validation { ca: authority.root_pem().to_owned(), crl: None };
    state.secrets.put(&ir::Secret { name: "ROOTCA".into(), kind: anchors }).unwrap();
    let (_, text) = get(&state, "/certs");
    assert!(text.lines().any(|l| l.trim_start().starts_with("\"Valid Until\": \"20") && l.contains('Z')), "{text}");
    let leaf = &json(&state, "/certs")["certificates"][0]["cert_chain"][0];
    assert_eq!(leaf["subject_alt_names"][0]["uri"], "spiffe://cluster.local/ns/blog-system/sa/web");
    assert_eq!(leaf["Valid Until"], leaf["expiration_time"]);
    let dump = get(&state, "/config_dump?resource=dynamic_active_secrets").1;
    assert!(dump.contains("W3JlZGFjdGVkXQ==") && !dump.contains("PRIVATE KEY"));
}

#[test]
fn stats_in_three_forms() {
    let state = state(true);
    state.advance(Lifecycle::Ready);
    let (_, text) = get(&state, "/stats?filter=membership_healthy$");
    assert_eq!(text, format!("cluster.{WAS};.membership_healthy: 2\n"));
    let (_, text) = get(&state, "/stats/prometheus");
    assert!(text.contains(&format!("envoy_cluster_membership_healthy{{cluster_name=\"{WAS}\"}} 2\n")), "{text}");
    assert!(text.contains("envoy_server_live{} 1\n") && text.contains("envoy_cluster_manager_active_clusters{} 1\n"));
    assert_eq!(
        get(&state, "/stats?format=prometheus&usedonly&filter=server.live").1,
        "# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n"
    );
    let stats = json(&state, "/stats?format=json&filter=server.live");
    assert_eq!(stats["stats"][0]["name"], "server.live");
    assert_eq!(get(&state, "/stats?filter=(").0, 400);
}

#[test]
fn the_server_and_its_logger() {
    let state = state(true);
    let info = json(&state, "/server_info");
    assert_eq!(info["node"]["id"], "sidecar~10.77.0.11~web-1.blog-system~blog-system.svc.cluster.local");
    assert_eq!(info["state"], "PRE_INITIALIZING");
    assert!(get(&state, "/logging").1.starts_with("active loggers:\n  admin: "));
    assert_eq!(handle(&state, "POST", "/logging?level=loud", &[]).0, 400);
    assert_eq!(handle(&state, "GET", "/logging?level=debug", &[]).0, 405);
    assert!(json(&state, "/memory")["total_physical_bytes"].as_str().unwrap().parse::<u64>().unwrap() > 0);
}
