use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request};
use axum::routing::get;
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Credentials, Person, routes};
use crate::client::Stream;

/// A console in a cluster, which answers with the headers that it was asked with.
async fn console() -> std::net::SocketAddr {
    let said = |headers: HeaderMap| async move {
        let said = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        axum::Json(
            json!({"authorization": said("authorization"), "cookie": said("cookie"), "host": said("host"), "access": {"user": null}}),
        )
    };
    let routes = Router::new().route("/console/api/info", get(said)).route("/console/", get(said));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    address
}

async fn dashboard(token: Option<&str>, read_only: bool) -> (Router, String) {
    // An error means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let address = console().await;
    let connect =
        move || async move { Ok(Box::new(tokio::net::TcpStream::connect(address).await?) as Box<dyn Stream>) }.boxed();
    let client = kube::Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
    let shown = token.map(|token| format!("Bearer {token}").parse::<HeaderValue>().unwrap());
    let credentials = shown.map(|shown| {
        let show: Credentials = Arc::new(move || std::future::ready(Some(shown.clone())).boxed());
        show
    });
    routes(Person { user: "jimin".to_owned(), client, credentials, read_only, connect: Arc::new(connect) }, 9)
}

async fn ask(app: &Router, path: &str, host: &str, cookie: &str) -> (u16, HeaderMap, Value) {
    let request = Request::get(path).header("host", host).header("cookie", cookie).body(Body::empty()).unwrap();
    let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    (head.status.as_u16(), head.headers, serde_json::from_slice(&body).unwrap_or_default())
}

/// The cookie of the browser that is let in.
async fn open(app: &Router, path: &str) -> String {
    let (status, headers, _) = ask(app, path, "127.0.0.1:9", "").await;
    assert_eq!(status, 200);
    let cookie = headers["set-cookie"].to_str().unwrap();
    assert!(cookie.ends_with("; HttpOnly; SameSite=Strict"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn one_browser_is_let_in_under_one_name() {
    let (app, path) = dashboard(None, false).await;
    assert_eq!(ask(&app, "/console/", "127.0.0.1:9", "").await.0, 401);
    assert_eq!(ask(&app, "/open/guessed", "127.0.0.1:9", "").await.0, 403);
    assert_eq!(ask(&app, &path, "evil.example:9", "").await.0, 421);
    let cookie = open(&app, &path).await;
    assert_eq!(ask(&app, &path, "127.0.0.1:9", "").await.0, 403, "it is good once");
    assert_eq!(ask(&app, "/console/", "localhost:9", &cookie).await.0, 200);
    assert_eq!(ask(&app, "/console/", "evil.example:9", &cookie).await.0, 421);
    assert_eq!(ask(&app, "/console/", "127.0.0.1:9", "varka-dashboard=guessed").await.0, 401);
    assert_eq!(ask(&app, "/console/api/login/oidc", "127.0.0.1:9", &cookie).await.0, 404);
}

#[tokio::test]
async fn the_console_in_the_cluster_sees_no_cookie_and_says_who_it_is_for() {
    let (app, path) = dashboard(Some("secret"), true).await;
    let cookie = open(&app, &path).await;
    let (_, _, info) = ask(&app, "/console/api/info", "127.0.0.1:9", &cookie).await;
    assert_eq!(
        (&info["authorization"], &info["cookie"], &info["host"]),
        (&json!("Bearer secret"), &Value::Null, &json!("localhost"))
    );
    assert_eq!((&info["access"]["user"], &info["access"]["readOnly"]), (&json!("jimin"), &json!(true)));
    let (app, path) = dashboard(None, false).await;
    let cookie = open(&app, &path).await;
    let (_, _, info) = ask(&app, "/console/api/info", "127.0.0.1:9", &cookie).await;
    assert_eq!((&info["authorization"], &info["access"]["readOnly"]), (&Value::Null, &json!(false)));
}

#[tokio::test]
async fn what_is_changed_is_changed_from_here() {
    let (app, path) = dashboard(None, false).await;
    let cookie = open(&app, &path).await;
    let post = |cookie: &str, requested: &str| {
        let request = Request::post("/console/api/apply").header("host", "127.0.0.1:9").header("cookie", cookie);
        let request = request.header("content-type", "application/json").header("x-requested-with", requested);
        app.clone().oneshot(request.body(Body::from(json!({"yaml": "{", "dryRun": true}).to_string())).unwrap())
    };
    assert_eq!(post("", "varka-console").await.unwrap().status(), 401);
    assert_eq!(post(&cookie, "").await.unwrap().status(), 403);
    assert_eq!(post(&cookie, "varka-console").await.unwrap().status(), 422);
}
