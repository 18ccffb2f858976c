//! How long a graph of a large mesh takes, with the series that its sidecars really send: 500 workloads of which each calls ten others, every
//! call reported by both sides with Istio's histograms.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use serde_json::json;
use tower::ServiceExt as _;

use crate::graph::Source;
use crate::store::Store;
use crate::store::metrics::{Labels, Sample};
use crate::store::tests::forever;
use crate::world::{KINDS, World};

const WORKLOADS: usize = 500;
const CALLS: usize = 10;
/// Istio's bounds.
const BOUNDS: [&str; 20] = [
    "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000", "30000", "60000",
    "300000", "600000", "1800000", "3600000", "+Inf",
];
/// A scrape each.
const ROUNDS: i64 = 20;
const EVERY: i64 = 15_000;

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Labels of what one side says of one call.
fn labels(name: &str, reporter: &str, (source, target): (usize, usize), more: &[(&str, &str)]) -> Labels {
    let (from, to) = (format!("app-{source}"), format!("app-{target}"));
    let (account, other) =
        (format!("spiffe://cluster.local/ns/shop/sa/{from}"), format!("spiffe://cluster.local/ns/shop/sa/{to}"));
    let host = format!("{to}.shop.svc.cluster.local");
    let pod = format!("{}-7c9f-x", if reporter == "source" { &from } else { &to });
    let pairs = [
        ("__name__", name),
        ("reporter", reporter),
        ("job", "kubernetes-pods"),
        ("instance", "10.0.0.1:15020"),
        ("namespace", "shop"),
        ("pod", &pod),
        ("source_workload", &from),
        ("source_workload_namespace", "shop"),
        ("source_canonical_service", &from),
        ("source_canonical_revision", "v1"),
        ("source_app", &from),
        ("source_version", "v1"),
        ("source_cluster", "Kubernetes"),
        ("source_principal", &account),
        ("destination_workload", &to),
        ("destination_workload_namespace", "shop"),
        ("destination_canonical_service", &to),
        ("destination_canonical_revision", "v1"),
        ("destination_app", &to),
        ("destination_version", "v1"),
        ("destination_cluster", "Kubernetes"),
        ("destination_service", &host),
        ("destination_service_name", &to),
        ("destination_service_namespace", "shop"),
        ("destination_principal", &other),
        ("request_protocol", "http"),
        ("response_code", "200"),
        ("response_flags", "-"),
        ("connection_security_policy", if reporter == "source" { "unknown" } else { "mutual_tls" }),
    ];
    pairs.iter().chain(more).map(|(name, value)| (*name, *value)).collect()
}

fn fill(store: &Store, end: i64) {
    let mut all = Vec::new();
    for source in 0..WORKLOADS {
        for call in 1..=CALLS {
            let ends = (source, (source + call * call) % WORKLOADS);
            for reporter in ["source", "destination"] {
                let mut take = |name: &str, more: &[(&str, &str)], weight: f64| {
                    let series = store.metrics().series(&labels(name, reporter, ends, more)).unwrap();
                    all.push((series, weight));
                };
                take("istio_requests_total", &[], 1.0);
                for histogram in ["istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"]
                {
                    for (place, bound) in BOUNDS.iter().enumerate() {
                        let weight = if place < 4 { 0.0 } else { (place as f64 / 10.0).min(1.0) };
                        take(&format!("{histogram}_bucket"), &[("le", bound)], weight);
                    }
                    take(&format!("{histogram}_sum"), &[], 30.0);
                    take(&format!("{histogram}_count"), &[], 1.0);
                }
            }
        }
    }
    for round in 0..ROUNDS {
        let at = end - (ROUNDS - 1 - round) * EVERY;
        for (series, weight) in &all {
            store.metrics().append(series, Sample { at, value: (round as f64 * 100.0 * weight).floor() });
        }
    }
    println!("{} series", all.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it with --release --ignored --nocapture"]
async fn a_large_mesh() {
    let directory = tempfile::tempdir().unwrap();
    let before = resident();
    let store = Store::open(directory.path(), forever()).unwrap();
    let end = crate::api::now();
    fill(&store, end);
    println!("{} MiB resident for them", (resident() - before) / 1024);
    let world = World::default();
    world.put(KINDS[0], json!({"metadata": {"name": "shop", "creationTimestamp": "2020-01-01T00:00:00Z"}}));
    let source = Source {
        traces: store.clone().into(),
        store,
        world,
        cluster: "Kubernetes".to_owned(),
        domain: "cluster.local".to_owned(),
        drawings: crate::api::Drawings::default(),
        prometheus: None,
    };
    let routes = crate::api::routes(source);
    for path in [
        "/console/api/graph?graphType=versionedApp&duration=600&injectServiceNodes=true",
        "/console/api/graph?graphType=workload&duration=600",
        "/console/api/graph?graphType=service&duration=600",
    ] {
        let mut took = Vec::new();
        let mut bytes = 0;
        for _ in 0..40 {
            let start = Instant::now();
            let response = routes.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.status(), 200);
            let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
            took.push(start.elapsed());
            bytes = body.len();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let first = took[0];
        took.sort();
        println!(
            "{path}: {bytes} bytes; first {first:?}, then median {:?}, p95 {:?}, most {:?}",
            took[20], took[38], took[39]
        );
    }
}
