use std::time::Duration;

use axum::Router;
use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::routing::{get, post};

use super::{Error, Question, Url, encode, escape};

fn question(path: &str) -> Question<'_> {
    Question { path, form: None, within: Duration::from_secs(20), largest: 1000 }
}

async fn server() -> (Url, tokio::task::JoinHandle<()>) {
    let router = Router::new()
        .route("/below/echo", get(|RawQuery(query): RawQuery| async move { query.unwrap_or_default() }))
        .route("/below/echo", post(|body: String| async move { (StatusCode::IM_A_TEAPOT, body) }))
        .route("/below/long", get(|| async { "x".repeat(1001) }))
        .route("/below/never", get(std::future::pending::<()>));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/below/", listener.local_addr().unwrap()).parse().unwrap();
    (url, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

#[test]
fn urls_are_read() {
    let read = |text: &str| text.parse::<Url>().map(|url| url.to_string()).map_err(|e| e.to_string());
    assert_eq!(read("http://a"), Ok("http://a:80".to_owned()));
    assert_eq!(read("https://a.b/c/"), Ok("https://a.b:443/c".to_owned()));
    assert_eq!(read("http://[::1]:9090"), Ok("http://[::1]:9090".to_owned()));
    for (text, why) in [
        ("prometheus:9090", "neither"),
        ("ftp://a", "neither"),
        ("http://", "cannot be read"),
        ("http://name:secret@a", "passwords"),
        ("http://a/?b", "not part"),
    ] {
        let refused = read(text).unwrap_err();
        assert!(refused.contains(why), "{text}: {refused}");
    }
}

#[test]
fn queries_are_escaped() {
    assert_eq!(encode([("query", "a{b=\"c d\"}"), ("time", "1.5")]), "query=a%7Bb%3D%22c%20d%22%7D&time=1.5");
    assert_eq!(escape("was/é"), "was%2F%C3%A9");
}

#[tokio::test]
async fn answers_come_within_limits() {
    let (url, serving) = server().await;
    let answer = url.ask(&question("/echo?a=1")).await.unwrap();
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, &b"a=1"[..]));
    let form = Question { form: Some("a=b".to_owned()), ..question("/echo") };
    let answer = url.ask(&form).await.unwrap();
    assert_eq!((answer.status, &*answer.body), (StatusCode::IM_A_TEAPOT, &b"a=b"[..]));
    assert!(matches!(url.ask(&question("/long")).await, Err(Error::TooLong(_, 1000))));
    let hasty = Question { within: Duration::from_millis(1), ..question("/never") };
    assert!(matches!(url.ask(&hasty).await, Err(Error::Late(..))));
    assert!(matches!(url.ask(&question("/a b")).await, Err(Error::Request(..))));
    serving.abort();
    assert!(serving.await.is_err());
    let refused = url.ask(&question("/echo")).await.unwrap_err();
    assert!(matches!(refused, Error::Connect(..)), "{refused}");
}
