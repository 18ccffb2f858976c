//! Routes that need no database, and what they say when it is not there.

use super::router;
use crate::config::Config;
use crate::posts::Store;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

/// A port that nobody listens on, because we hold it without listening.
fn without_database() -> (axum::Router, std::net::UdpSocket) {
    let guard = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = guard.local_addr().unwrap().port();
    let config = Config::from_lookup(|name| match name {
        "DATABASE_HOST" => Some("127.0.0.1".into()),
        "DATABASE_PORT" => Some(port.to_string()),
        "DATABASE_USER" | "DATABASE_PASSWORD" => Some("hush".into()),
        _ => None,
    });
    (router(Store::new(&config.ok().unwrap())), guard)
}

async fn send(request: Request<Body>) -> (StatusCode, Value) {
    let (router, _guard) = without_database();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

fn post(body: &'static str) -> Request<Body> {
    Request::post("/api/posts").header("content-type", "application/json").body(Body::from(body)).unwrap()
}

#[tokio::test]
async fn health_is_down_but_liveness_is_up() {
    let (status, body) = send(Request::get("/actuator/health").body(Body::empty()).unwrap()).await;
    assert_eq!((status, &body["components"]["db"]["status"]), (StatusCode::SERVICE_UNAVAILABLE, &Value::from("DOWN")));
    let (status, body) = send(Request::get("/actuator/health/liveness").body(Body::empty()).unwrap()).await;
    assert_eq!((status, &body["status"]), (StatusCode::OK, &Value::from("UP")));
}

#[tokio::test]
async fn a_missing_database_is_a_503_that_says_nothing_about_it() {
    let (status, body) = send(Request::get("/api/posts").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["message"], "The database cannot be reached. Try again in a moment.");
}

#[tokio::test]
async fn bad_input_is_answered_before_the_database_is_asked() {
    let (status, body) = send(post(r#"{"title":"","content":"c","author":"a"}"#)).await;
    assert_eq!((status, &body["fields"][0]["field"]), (StatusCode::BAD_REQUEST, &Value::from("title")));
    assert_eq!(send(post("{")).await.0, StatusCode::BAD_REQUEST);
    let plain = Request::post("/api/posts").header("content-type", "text/plain").body(Body::from("x")).unwrap();
    assert_eq!(send(plain).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(send(Request::get("/api/posts/abc").body(Body::empty()).unwrap()).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn unknown_paths_and_methods_answer_in_json() {
    assert_eq!(send(Request::get("/nowhere").body(Body::empty()).unwrap()).await.0, StatusCode::NOT_FOUND);
    let patch = Request::patch("/api/posts").body(Body::empty()).unwrap();
    assert_eq!(send(patch).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn whoami_shows_headers_and_hides_what_authenticates() {
    let request = Request::get("/api/whoami")
        .header("x-forwarded-client-cert", "By=spiffe://a;Hash=b")
        .header("authorization", "Bearer secret")
        .body(Body::empty())
        .unwrap();
    let (status, body) = send(request).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["headers"]["x-forwarded-client-cert"][0], "By=spiffe://a;Hash=b");
    assert_eq!(body["headers"]["authorization"][0], "(hidden)");
}
