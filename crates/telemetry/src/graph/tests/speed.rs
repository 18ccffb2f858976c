//! How long a large graph takes. It asserts what comes out, and prints how long it took.

use std::time::{Duration, Instant};

use super::super::{Appenders, Facts, GraphType, Input, Labels, Metrics, Series, build, kiali};
use super::{namespaces, options};

const SERVICES: usize = 5_000;
const VERSIONS: usize = 3;

struct Names {
    app: String,
    host: String,
    workloads: Vec<(String, String)>,
}

fn names() -> Vec<Names> {
    let of = |i: usize| Names {
        app: format!("app-{i}"),
        host: format!("app-{i}.shop.svc.cluster.local"),
        workloads: (1..=VERSIONS).map(|v| (format!("app-{i}-v{v}"), format!("v{v}"))).collect(),
    };
    (0..SERVICES).map(of).collect()
}

/// Each service's first version calls all versions of the next, reported by both sides.
fn requests(names: &[Names]) -> Vec<Series<'_>> {
    let mut requests = Vec::new();
    for (client, server) in names.iter().zip(names.iter().cycle().skip(1)) {
        let (from, version) = &client.workloads[0];
        for (workload, revision) in &server.workloads {
            for reporter in ["source", "destination"] {
                let pairs = [
                    ("reporter", reporter),
                    ("source_workload", from),
                    ("source_canonical_service", &client.app),
                    ("source_canonical_revision", version),
                    ("source_workload_namespace", "shop"),
                    ("source_principal", "spiffe://cluster.local/ns/shop/sa/default"),
                    ("source_app", &client.app),
                    ("source_version", version),
                    ("source_cluster", "Kubernetes"),
                    ("destination_workload", workload),
                    ("destination_workload_namespace", "shop"),
                    ("destination_principal", "spiffe://cluster.local/ns/shop/sa/default"),
                    ("destination_app", &server.app),
                    ("destination_version", revision),
                    ("destination_service", &server.host),
                    ("destination_canonical_service", &server.app),
                    ("destination_canonical_revision", revision),
                    ("destination_service_name", &server.app),
                    ("destination_service_namespace", "shop"),
                    ("destination_cluster", "Kubernetes"),
                    ("request_protocol", "http"),
                    ("response_code", "200"),
                    ("response_flags", "-"),
                    ("connection_security_policy", "mutual_tls"),
                ];
                requests.push(Series { labels: Labels::from_pairs(pairs, "request_operation"), rate: 2.0 });
            }
        }
    }
    requests
}

#[test]
#[ignore = "a measurement: run it with --release --ignored --nocapture"]
fn a_large_graph() {
    let names = names();
    let facts = Facts { namespaces: namespaces(&["shop"]), ..Facts::default() };
    let start = Instant::now();
    let metrics = Metrics { requests: requests(&names), ..Metrics::default() };
    println!("{} series sorted into fields: {:?}", metrics.requests.len(), start.elapsed());
    for (what, appenders) in [("traffic alone", Appenders::none()), ("with everything", Appenders::all())] {
        let mut options = options(GraphType::VersionedApp, &["shop"], &[]);
        options.appenders = appenders;
        options.inject_service_nodes = true;
        let (mut best, mut best_form) = (Duration::MAX, Duration::MAX);
        for _ in 0..5 {
            let start = Instant::now();
            let graph = build(&Input { metrics: &metrics, facts: &facts }, &options);
            best = best.min(start.elapsed());
            assert_eq!((graph.nodes.len(), graph.edges.len()), (SERVICES * 4, SERVICES * 4));
            let start = Instant::now();
            let answer = serde_json::to_vec(&kiali::render(&graph)).unwrap();
            best_form = best_form.min(start.elapsed());
            assert!(answer.len() > SERVICES);
        }
        println!("{what}: graph in {best:?}, Kiali's form of it as text in {best_form:?}");
    }
}
