use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::routing::post;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Prometheus, routes};
use crate::facts::Seen as _;
use crate::graph::Source;
use crate::graph::tests::{END, source};
use crate::store::metrics::Sample;
use crate::store::tests::labels;

/// Serves on a port of its own; ends with the test.
async fn serve(router: Router) -> Arc<Prometheus> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Arc::new(Prometheus::new(url))
}

async fn ask(router: &Router, request: Request<Body>) -> (u16, Value) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

/// What graphs are made from, with durations.
fn measured(directory: &tempfile::TempDir) -> Source {
    let source = source(directory);
    let requests = source.store.metrics().select(&[("__name__", "istio_requests_total")], |_| true);
    for of in &requests {
        let own: Vec<(&str, &str)> =
            of.labels().iter().map(|l| (&*l.name, &*l.value)).filter(|(name, _)| *name != "__name__").collect();
        for (name, le, value) in [
            ("count", "", 50.0),
            ("sum", "", 125.0),
            ("bucket", "1", 10.0),
            ("bucket", "5", 50.0),
            ("bucket", "+Inf", 50.0),
        ] {
            let name = format!("istio_request_duration_milliseconds_{name}");
            let all = [&own[..], &[("__name__", name.as_str()), ("le", le)]].concat();
            let all: Vec<(&str, &str)> = all.into_iter().filter(|(_, value)| !value.is_empty()).collect();
            let series = source.store.metrics().series(&labels(&all)).unwrap();
            for (at, value) in [(END - 100, 0.0), (END - 10, value)] {
                source.store.metrics().append(&series, Sample { at: at * 1000, value });
            }
        }
    }
    source
}

#[tokio::test(flavor = "multi_thread")]
async fn graphs_are_those_of_the_numbers_elsewhere() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kept = measured(&directory);
    // The console has Prometheus' interface, and so is one. What is asked has no metrics of its own.
    let prometheus = serve(crate::prometheus::routes(kept.store.clone(), crate::access::sight::Sight::All)).await;
    let empty = crate::store::Store::open(other.path(), crate::store::tests::forever()).unwrap();
    let elsewhere = Source { store: empty, prometheus: Some(Arc::clone(&prometheus)), ..kept.clone() };
    let kept_pages = crate::api::routes(kept.clone()).merge(crate::graph::routes(kept));
    let elsewhere_pages = crate::api::routes(elsewhere.clone()).merge(crate::graph::routes(elsewhere));
    for path in [
        format!("/console/api/graph?at={END}&duration=50&graphType=workload"),
        format!("/console/api/graph?at={END}&duration=50&graphType=versionedApp&injectServiceNodes=true"),
        format!("/console/api/graph?at={}&duration=5&graphType=workload", END - 2),
        format!(
            "/kiali/api/namespaces/graph?namespaces=blog-system&queryTime={END}&duration=50s&graphType=workload&responseTime=95"
        ),
        format!("/console/api/workloads?at={END}"),
    ] {
        let (a, b) = (ask(&elsewhere_pages, get(&path)).await, ask(&kept_pages, get(&path)).await);
        assert_eq!(a, b, "{path}");
        assert_eq!(b.0, 200, "{path}");
    }
    let (_, graph) =
        ask(&elsewhere_pages, get(&format!("/console/api/graph?at={END}&duration=50&graphType=workload"))).await;
    assert_eq!(graph["edges"][0]["rates"]["total"], 1.0, "{graph}");
    assert!(graph["edges"][0]["responseTimes"]["p95"].as_f64().is_some_and(|p95| p95 > 1.0), "{graph}");

    prometheus.refresh((END + 3600) * 1000).await.unwrap();
    let seen = prometheus.last_seen();
    let at = seen.workload("blog-system", "was").unwrap();
    assert!((END - 400..END + 400).contains(&at), "{at}");
    assert_eq!(seen.workload("blog-system", "nobody"), None);
}

#[tokio::test]
async fn questions_are_handed_on_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let kept = crate::prometheus::routes(measured(&directory).store, crate::access::sight::Sight::All);
    let handed = routes(serve(kept.clone()).await);
    for path in [
        format!("/api/v1/query?query=sum(istio_requests_total)&time={END}"),
        "/api/v1/query?query=sum(".to_owned(),
        "/api/v1/labels".to_owned(),
        "/api/v1/label/reporter/values?match[]=istio_requests_total".to_owned(),
        "/api/v1/series?match[]=istio_requests_total".to_owned(),
        "/api/v1/status/buildinfo".to_owned(),
    ] {
        let answer = ask(&handed, get(&path)).await;
        assert_eq!(answer, ask(&kept, get(&path)).await, "{path}");
        assert!(answer.1["status"].is_string(), "{path}");
    }
    let form = |router: &Router| {
        let request =
            Request::post("/api/v1/query_range").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let body = format!("query=istio_requests_total&start={}&end={END}&step=5", END - 20);
        let (router, request) = (router.clone(), request.body(Body::from(body)).unwrap());
        async move { ask(&router, request).await }
    };
    let (handed_on, there) = (form(&handed).await, form(&kept).await);
    assert_eq!((handed_on.0, &handed_on), (200, &there));
    for path in ["/api/v1/admin/tsdb/delete_series?match[]=a", "/-/quit", "/api/v1/write"] {
        let request = Request::post(path).body(Body::empty()).unwrap();
        assert_eq!(ask(&handed, request).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn what_is_wrong_there_is_said_here() {
    let router = Router::new().route(
        "/api/v1/query",
        post(|| async {
            (
                StatusCode::UNPROCESSABLE_ENTITY,
                axum::Json(json!({"status": "error", "errorType": "execution", "error": "too many samples"})),
            )
        }),
    );
    let prometheus = serve(router).await;
    let problem = prometheus.query("a", 0).await.unwrap_err().to_string();
    assert!(
        problem.starts_with("the Prometheus at http://127.0.0.1:") && problem.ends_with("too many samples"),
        "{problem}"
    );
    let nobody = Prometheus::new("http://127.0.0.1:1".parse().unwrap());
    let (status, answer) = ask(&routes(Arc::new(nobody)), get("/api/v1/labels")).await;
    assert!(status == 502 && answer["error"].as_str().unwrap().contains("cannot be reached"), "{answer}");
}
