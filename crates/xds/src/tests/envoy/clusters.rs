//! Clusters of each kind.

use std::time::Duration;

use varka_engine::ir::{self, Resource, StringMatch};

use super::resources::exact;
use crate::tests::fixture;

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

pub(super) fn plain_cluster(name: &str, discovery: ir::Discovery, lb: ir::LbPolicy) -> ir::Cluster {
    let Resource::Cluster(eds) = fixture::cluster(name) else { panic!("not a cluster") };
    ir::Cluster { discovery, lb, ..(*eds).clone() }
}

pub(super) fn clusters() -> Vec<ir::Cluster> {
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
