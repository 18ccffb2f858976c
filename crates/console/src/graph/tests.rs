mod speed;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Source, routes};
use crate::store::Store;
use crate::store::metrics::Sample;
use crate::store::tests::{forever, labels};
use crate::world::{KINDS, World};

pub(crate) const END: i64 = 1_764_000_000;

pub(crate) fn source(directory: &tempfile::TempDir) -> Source {
    let store = Store::open(directory.path(), forever()).unwrap();
    for (reporter, count) in [("source", 50.0), ("destination", 50.0)] {
        let of = labels(&[
            ("__name__", "istio_requests_total"),
            ("app", "web"),
            ("pod", "web-1"),
            ("reporter", reporter),
            ("source_workload", "web"),
            ("source_workload_namespace", "blog-system"),
            ("source_canonical_service", "web"),
            ("source_canonical_revision", "latest"),
            ("source_cluster", "Kubernetes"),
            ("source_principal", "spiffe://cluster.local/ns/blog-system/sa/web"),
            ("destination_workload", "was"),
            ("destination_workload_namespace", "blog-system"),
            ("destination_canonical_service", "was"),
            ("destination_canonical_revision", "latest"),
            ("destination_cluster", "Kubernetes"),
            ("destination_service", "was-service.blog-system.svc.cluster.local"),
            ("destination_service_name", "was-service"),
            ("destination_service_namespace", "blog-system"),
            ("destination_principal", "spiffe://cluster.local/ns/blog-system/sa/was"),
            ("request_protocol", "http"),
            ("response_code", "200"),
            ("response_flags", "-"),
            ("connection_security_policy", "mutual_tls"),
        ]);
        let series = store.metrics().series(&of).unwrap();
        for (at, value) in [(END - 100, 0.0), (END - 10, count)] {
            store.metrics().append(&series, Sample { at: at * 1000, value });
        }
    }
    let world = World::default();
    world.put(KINDS[0], json!({"metadata": {"name": "blog-system", "creationTimestamp": "2020-01-01T00:00:00Z"}}));
    Source {
        traces: store.clone().into(),
        store,
        world,
        cluster: "Kubernetes".to_owned(),
        domain: "cluster.local".to_owned(),
        drawings: crate::api::Drawings::default(),
        prometheus: None,
    }
}

async fn get(source: &Source, path: &str) -> (u16, Value) {
    let response = routes(source.clone()).oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn each_request_counts_once() {
    let directory = tempfile::tempdir().unwrap();
    let source = source(&directory);
    let (status, kiali) = get(
        &source,
        &format!("/kiali/api/namespaces/graph?namespaces=blog-system&queryTime={END}&duration=50s&graphType=workload"),
    )
    .await;
    assert_eq!(status, 200, "{kiali}");
    let edges = kiali["elements"]["edges"].as_array().unwrap();
    assert_eq!(edges.len(), 1, "{kiali}");
    assert_eq!(edges[0]["data"]["traffic"]["rates"]["http"], "1.00", "50 requests in 50 s");

    let (status, refused) = get(&source, "/kiali/api/namespaces/graph?namespaces=elsewhere").await;
    assert_eq!(status, 403, "{refused}");
    let (status, refused) = get(&source, "/kiali/api/namespaces/graph?namespaces=blog-system&duration=soon").await;
    assert_eq!((status, refused["error"].as_str().unwrap().contains("duration")), (400, true));
}

#[tokio::test]
async fn classified_requests_have_a_graph_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let source = source(&directory);
    let all = source.store.metrics().select(&[("reporter", "destination")], |_| true);
    let named: Vec<(String, String)> =
        all[0].labels().iter().map(|label| (label.name.to_string(), label.value.to_string())).collect();
    let mut named: Vec<(&str, &str)> = named.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    named.push(("request_operation", "/read"));
    let series = source.store.metrics().series(&labels(&named)).unwrap();
    for (at, value) in [(END - 100, 0.0), (END - 10, 20.0)] {
        source.store.metrics().append(&series, Sample { at: at * 1000, value });
    }
    let ask = |rest: &str| {
        format!(
            "/kiali/api/namespaces/blog-system/aggregates/{rest}/graph?queryTime={END}&duration=50s&graphType=workload"
        )
    };
    for rest in ["request_operation/%2Fread", "request_operation/%2Fread/was-service"] {
        let (status, kiali) = get(&source, &ask(rest)).await;
        assert_eq!(status, 200, "{kiali}");
        let nodes = kiali["elements"]["nodes"].as_array().unwrap();
        let of = |edge: &Value, end: &str| {
            let node = &nodes.iter().find(|node| node["data"]["id"] == edge["data"][end]).unwrap()["data"];
            [&node["aggregate"], &node["workload"]].map(|name| name.as_str().unwrap_or_default().to_owned()).concat()
        };
        let edges = kiali["elements"]["edges"].as_array().unwrap();
        let mut told: Vec<_> = edges
            .iter()
            .map(|edge| {
                let rate = edge["data"]["traffic"]["rates"]["http"].as_str().unwrap();
                format!("{} -> {} {rate}", of(edge, "source"), of(edge, "target"))
            })
            .collect();
        told.sort();
        let class = "request_operation=/read";
        assert_eq!(told, [format!("{class} -> was 0.40"), format!("web -> {class} 0.40")], "{kiali}");
    }
    for rest in ["request_operation/%2Fwrite", "request_operation/%2Fread/other"] {
        let (status, kiali) = get(&source, &ask(rest)).await;
        assert_eq!(status, 200, "{kiali}");
        assert!(kiali["elements"]["edges"].as_array().is_none_or(Vec::is_empty), "{kiali}");
    }
}
