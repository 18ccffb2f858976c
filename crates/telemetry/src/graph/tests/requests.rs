//! Kiali's requests: what they ask for, and what is refused.

use super::super::facts::Namespace;
use super::super::kiali::request::{Path, Refused, parse};
use super::super::{
    Appender, Facts, GraphType, GrpcRate, NodeName, Options, ResponseTime, TcpRate, Throughput, health::Config,
    safe_duration,
};
use super::CLUSTER;

const NOW: i64 = 1_000_000;

fn facts() -> Facts {
    let of =
        |name: &str, created| Namespace { cluster: CLUSTER.into(), name: name.into(), created, ..Namespace::default() };
    Facts { namespaces: vec![of("blog", 0), of("young", NOW - 60), of("future", NOW + 1)], ..Facts::default() }
}

fn ask(path: &Path<'_>, query: &[(&str, &str)]) -> Result<Options, Refused> {
    let facts = facts();
    parse(path, query.iter().copied(), &facts, Config::default(), NOW)
}

#[test]
fn defaults_are_kialis() {
    let options = ask(&Path::default(), &[("namespaces", "blog, young")]).unwrap();
    assert_eq!(options.graph_type, GraphType::Workload);
    assert_eq!((options.duration, options.query_time), (600, NOW));
    let windows: Vec<_> = options.namespaces.iter().map(|n| (n.name.as_str(), n.duration)).collect();
    assert_eq!(windows, [("blog", 600), ("young", 60)]);
    assert!(options.rates.http && options.rates.grpc == GrpcRate::Requests && options.rates.tcp == TcpRate::Sent);
    assert!(options.appenders.has(Appender::Health) && options.node.is_none() && !options.inject_service_nodes);
    assert_eq!(options.response_time, ResponseTime::P95);
    assert_eq!(options.aggregate, "request_operation");
}

#[test]
fn everything_can_be_asked_for() {
    let query = [
        ("namespaces", "blog"),
        ("graphType", "app"),
        ("appenders", "health, sidecarsCheck,outsider,"),
        ("boxBy", "cluster,namespace"),
        ("duration", "1h30m"),
        ("queryTime", "900000"),
        ("includeIdleEdges", "1"),
        ("injectServiceNodes", "true"),
        ("rateGrpc", "total"),
        ("rateHttp", "none"),
        ("rateTcp", "received"),
        ("ambientTraffic", "none"),
        ("responseTime", "avg"),
        ("throughputType", "request"),
        ("waypoints", "false"),
        ("refreshInterval", "15000"),
        ("clusterName", "east"),
    ];
    let options = ask(&Path::default(), &query).unwrap();
    assert_eq!((options.duration, options.query_time), (5400, 900_000));
    assert!(options.appenders.has(Appender::MeshCheck) && !options.appenders.has(Appender::Istio));
    assert!(options.box_by.cluster && options.box_by.namespace && !options.box_by.app);
    assert!(options.include_idle_edges && options.inject_service_nodes && !options.show_waypoints);
    assert!(!options.rates.http && options.rates.grpc == GrpcRate::Total && options.rates.tcp == TcpRate::Received);
    assert_eq!((options.response_time, options.throughput), (ResponseTime::Average, Throughput::Request));
}

#[test]
fn paths_name_nodes() {
    let of = |path: Path<'_>, graph_type| {
        let options = ask(&Path { namespace: "blog", ..path }, &[("graphType", graph_type), ("clusterName", "east")]);
        let node = options.unwrap().node.unwrap();
        assert_eq!((node.cluster.as_str(), node.namespace.as_str()), ("east", "blog"));
        node.what
    };
    let none = Path::default;
    assert_eq!(of(Path { workload: "web", ..none() }, "workload"), NodeName::Workload("web".into()));
    assert_eq!(of(Path { app: "web", ..none() }, "app"), NodeName::App("web".into()));
    let version = Path { app: "web", version: "v1", ..none() };
    assert_eq!(of(version, "versionedApp"), NodeName::Version("web".into(), "v1".into()));
    assert_eq!(of(Path { service: "web", ..none() }, "service"), NodeName::Service("web".into()));
    let aggregate = Path { aggregate: Some(("path", "/a")), service: "web", ..none() };
    let want = NodeName::Aggregate("path".into(), "/a".into(), Some("web".into()));
    assert_eq!(of(aggregate, "workload"), want);
}

#[test]
fn what_is_no_request_is_refused() {
    for (field, value) in [
        ("graphType", "pie"),
        ("duration", "10"),
        ("duration", "10m1h"),
        ("duration", "m"),
        ("duration", "99999999999999999999y"),
        ("queryTime", "now"),
        ("appenders", "health,nothing"),
        ("boxBy", "pod"),
        ("includeIdleEdges", "maybe"),
        ("rateHttp", "sent"),
        ("rateGrpc", "all"),
        ("rateTcp", "requests"),
        ("ambientTraffic", "all"),
        ("responseTime", "42"),
        ("throughputType", "both"),
        ("refreshInterval", "5000"),
        ("configVendor", "cytoscape"),
        ("telemetryVendor", "other"),
    ] {
        let refused = ask(&Path::default(), &[("namespaces", "blog"), (field, value)]).unwrap_err();
        assert_eq!(refused.status(), 400, "{field}={value}");
        assert!(refused.to_string().starts_with(field), "{refused}");
    }
    assert_eq!(ask(&Path::default(), &[]).unwrap_err().status(), 400);
    assert_eq!(ask(&Path::default(), &[("namespaces", "blog,secret")]).unwrap_err().status(), 403);
    assert_eq!(ask(&Path::default(), &[("namespaces", "future")]).unwrap_err().status(), 400);
    let app = Path { namespace: "blog", app: "web", ..Path::default() };
    assert_eq!(ask(&app, &[("graphType", "workload")]).unwrap_err().status(), 400);
}

#[test]
fn windows_are_no_longer_than_lives() {
    assert_eq!(safe_duration(0, 600, 1000), Some(600));
    assert_eq!(safe_duration(900, 600, 1000), Some(100));
    assert_eq!(safe_duration(100, 600, 1000), Some(600));
    assert_eq!(safe_duration(1000, 600, 1000), None);
}
