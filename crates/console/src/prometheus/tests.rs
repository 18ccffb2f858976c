use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::routes;
use crate::access::sight::Sight;
use crate::store::Store;
use crate::store::metrics::Sample;
use crate::store::tests::{forever, labels};

fn filled(directory: &tempfile::TempDir) -> Store {
    let store = Store::open(directory.path(), forever()).unwrap();
    for (code, step) in [("200", 10.0), ("503", 1.0)] {
        let series = store.metrics().series(&labels(&[("__name__", "r"), ("code", code), ("app", "web")])).unwrap();
        for minute in 0..=10_i32 {
            let at = i64::from(minute) * 60_000;
            store.metrics().append(&series, Sample { at, value: f64::from(minute) * step });
        }
    }
    store
}

async fn ask(store: &Store, request: Request<Body>) -> (u16, Value) {
    let response = routes(store.clone(), Sight::All).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn get(store: &Store, path: &str) -> (u16, Value) {
    ask(store, Request::get(path).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn queries_are_answered_as_prometheus_answers() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory);
    let (status, answer) = get(&store, "/api/v1/query?query=r%7Bcode=%22503%22%7D&time=600").await;
    let result = json!([{"metric": {"__name__": "r", "app": "web", "code": "503"}, "value": [600, "10"]}]);
    assert_eq!(
        (status, answer),
        (200, json!({"status": "success", "data": {"resultType": "vector", "result": result}}))
    );

    let form = "query=sum(rate(r%5B5m%5D))*60&start=300&end=600&step=5m";
    let request = Request::post("/api/v1/query_range").header("content-type", "application/x-www-form-urlencoded");
    let (_, answer) = ask(&store, request.body(Body::from(form)).unwrap()).await;
    assert_eq!(answer["data"]["result"][0]["values"], json!([[300, "11"], [600, "11"]]), "{answer}");

    for (path, status, kind) in [
        ("/api/v1/query", 400, "bad_data"),
        ("/api/v1/query?query=r%7B", 400, "bad_data"),
        ("/api/v1/query?query=r&time=soon", 400, "bad_data"),
        ("/api/v1/query_range?query=r&start=0&end=1&step=0", 400, "bad_data"),
        ("/api/v1/query?query=r%20*%20on()%20r&time=600", 422, "execution"),
    ] {
        let (found, answer) = get(&store, path).await;
        assert_eq!((found, answer["errorType"].as_str()), (status, Some(kind)), "{path}: {answer}");
    }
}

#[tokio::test]
async fn names_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory);
    let data = |path: &'static str| {
        let store = store.clone();
        async move { get(&store, path).await.1["data"].clone() }
    };
    assert_eq!(data("/api/v1/labels").await, json!(["__name__", "app", "code"]));
    assert_eq!(data("/api/v1/labels?match[]=nothing").await, json!([]));
    assert_eq!(data("/api/v1/label/code/values").await, json!(["200", "503"]));
    assert_eq!(data("/api/v1/label/code/values?match[]=r%7Bcode=~%225..%22%7D").await, json!(["503"]));
    assert_eq!(data("/api/v1/series?match[]=r&limit=1").await, json!([{"__name__": "r", "app": "web", "code": "200"}]));
    assert_eq!(get(&store, "/api/v1/series").await.0, 400);
}
