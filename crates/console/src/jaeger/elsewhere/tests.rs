use axum::body::Body;
use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use prost::Message as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use varka_proto::otlp::ExportTraceServiceRequest as TracesData;

mod recorded;

use super::{Elsewhere, Kind, in_jaegers_former_words, in_jaegers_words, in_tempos_words, quoted};
use crate::jaeger::tests::filled;
use crate::jaeger::v3::resource_spans;
use crate::jaeger::{Traces, routes};
use crate::store::spans::Search;

/// Serves on a port of its own; ends with the test.
async fn serve(router: Router) -> crate::client::Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

async fn get_from(router: &Router, path: &str) -> (u16, Value) {
    let response = router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

const AROUND: &str = "start=1763999999000000&end=1764000001000000";

#[tokio::test]
async fn a_jaeger_answers_as_if_it_were_kept_here() {
    let directory = tempfile::tempdir().unwrap();
    let kept = routes(filled(&directory));
    // The console has Jaeger's interface, and so is one.
    let there = Elsewhere::new(serve(kept.clone()).await, Kind::Jaeger);
    let elsewhere = routes(Traces::Elsewhere(there));
    for path in [
        "/api/services",
        "/api/services/web.blog-system/operations",
        "/api/operations?service=was.blog-system",
        "/api/traces/ab",
        "/api/traces/ac",
        &format!("/api/traces?service=web.blog-system&{AROUND}"),
        &format!("/api/traces?service=web.blog-system&operation=nothing&{AROUND}"),
        &format!("/api/traces?service=web.blog-system&tag=http.status_code:503&minDuration=250ms&{AROUND}"),
        &format!("/api/traces?service=web.blog-system&maxDuration=1ms&{AROUND}"),
        "/api/dependencies?endTs=1764000001000",
        "/api/v3/services",
        "/api/v3/traces/ab",
    ] {
        assert_eq!(get_from(&elsewhere, path).await, get_from(&kept, path).await, "{path}");
    }
}

/// Answers as Tempo does: its search finds the one trace that there is, and traces come as protobuf.
fn tempo(trace: Vec<u8>) -> Router {
    let search = |RawQuery(query): RawQuery| async move {
        let found = query.unwrap_or_default().starts_with("tags=service.name%3D%22web.blog-system%22");
        Json(
            json!({"traces": if found { json!([{"traceID": "ab", "rootServiceName": "web.blog-system"}]) } else { json!([]) }}),
        )
    };
    let one = move |Path(id): Path<String>, headers: HeaderMap| {
        let trace = trace.clone();
        async move {
            if headers[header::ACCEPT] != "application/protobuf" || u128::from_str_radix(&id, 16) != Ok(0xab) {
                return StatusCode::NOT_FOUND.into_response();
            }
            trace.into_response()
        }
    };
    let services = || async { Json(json!({"tagValues": ["web.blog-system", "was.blog-system"]})) };
    let names = || async { Json(json!({"tagValues": [{"type": "string", "value": "was-service:8080/*"}]})) };
    Router::new()
        .route("/api/search", get(search))
        .route("/api/traces/{id}", get(one))
        .route("/api/search/tag/service.name/values", get(services))
        .route("/api/v2/search/tag/name/values", get(names))
}

#[tokio::test]
async fn a_tempo_answers_as_if_it_were_kept_here() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory);
    let spans = store.spans().trace(0xab).unwrap();
    let trace = TracesData { resource_spans: spans.iter().map(resource_spans).collect() }.encode_to_vec();
    let there = Elsewhere::new(serve(tempo(trace)).await, Kind::Tempo);
    let (kept, elsewhere) = (routes(store), routes(Traces::Elsewhere(there)));
    for path in [
        "/api/services",
        "/api/services/web.blog-system/operations",
        "/api/traces/ab",
        "/api/traces/ac",
        &format!("/api/traces?service=web.blog-system&{AROUND}"),
        &format!("/api/traces?service=nobody&{AROUND}"),
        "/api/v3/traces/ab",
    ] {
        assert_eq!(get_from(&elsewhere, path).await, get_from(&kept, path).await, "{path}");
    }
}

#[tokio::test]
async fn what_is_wrong_there_is_said_here() {
    async fn broken(Path(path): Path<String>) -> Response {
        match path.as_str() {
            "services" => (StatusCode::SERVICE_UNAVAILABLE, "no storage").into_response(),
            "operations" => "<html>".into_response(),
            "traces" => "nonsense".into_response(),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }
    let url = serve(Router::new().route("/api/v3/{path}", get(broken))).await;
    let elsewhere = routes(Traces::Elsewhere(Elsewhere::new(url, Kind::Jaeger)));
    for (path, why) in [
        ("/api/services", "it answers 503 Service Unavailable: no storage"),
        ("/api/operations?service=a", "with a page: is its interface at that URL"),
        ("/api/traces?service=a", "cannot be read"),
        ("/api/dependencies", "is it of another version?"),
    ] {
        let (status, answer) = get_from(&elsewhere, path).await;
        let said = answer["errors"][0]["msg"].as_str().unwrap();
        assert!(
            status == 502 && said.starts_with("the Jaeger at http://127.0.0.1:") && said.contains(why),
            "{path}: {said}"
        );
    }
}

#[test]
fn searches_are_written_in_the_words_of_whoever_is_asked() {
    let search = Search {
        service: "was.blog-system".to_owned(),
        operation: "GET \"x\"".to_owned(),
        tags: vec![("error".to_owned(), "true".to_owned())],
        start: 1_764_000_000_000_000,
        end: u64::MAX,
        duration_min: Some(1_500),
        duration_max: None,
        limit: 20,
    };
    let jaeger = in_jaegers_words(&search);
    for part in [
        "query.service_name=was.blog-system&query.operation_name=GET%20%22x%22&query.attributes=%7B%22error%22%3A%22true%22%7D",
        "query.start_time_min=2025-11-24T16%3A00%3A00Z&query.start_time_max=9999-",
        "query.duration_min=1500us&query.num_traces=20&query.search_depth=20",
    ] {
        assert!(jaeger.contains(part), "{part}: {jaeger}");
    }
    let tempo = in_tempos_words(&search);
    let tags = "tags=service.name%3D%22was.blog-system%22%20name%3D%22GET%20%5C%22x%5C%22%22%20error%3D%22true%22";
    assert!(
        tempo.starts_with(tags)
            && tempo.contains("&start=1764000000&")
            && tempo.ends_with("&minDuration=1500us&limit=20"),
        "{tempo}"
    );
    // Neither Go nor logfmt knows Rust's escapes.
    assert_eq!(quoted("a\u{7}\"\\돛"), r#""a\u0007\"\\돛""#);
    let former = in_jaegers_former_words(&search);
    let words = "service=was.blog-system&operation=GET%20%22x%22&tags=%7B%22error%22%3A%22true%22%7D&start=1764000000000000&end=9223372036854775&minDuration=1500us&limit=20";
    assert_eq!(former, words);
}
