use axum::body::Body;
use axum::routing::get;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::prelude::*;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

fn names() -> Names {
    Names::new("cluster.local", &["Console.Example.org.".to_owned()]).unwrap()
}

#[test]
fn it_answers_to_its_own_names_and_to_addresses() {
    let names = names();
    for own in [
        "localhost",
        "LocalHost:20001",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:20001",
        "10.244.0.7:16686",
        "[::1]",
        "[::1]:20001",
        "[fd00::7]:20001",
        "kiali",
        "kiali:20001",
        "kiali.istio-system",
        "kiali.istio-system.svc:20001",
        "kiali.istio-system.svc.cluster.local:20001",
        "kiali.istio-system.svc.cluster.local.:20001",
        "prometheus:9090",
        "prometheus.istio-system:9090",
        "jaeger-query.istio-system:16685",
        "jaeger-query.istio-system.svc.cluster.local",
        "console.example.org",
        "console.example.org:8443",
    ] {
        assert!(names.has(own), "{own}");
    }
    for foreign in [
        "",
        "evil.example",
        "evil.example:20001",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1:20001.evil.example",
        "kiali.istio-system.svc.cluster.local.evil.example",
        "evil-localhost",
        "kiali.elsewhere",
        "kiali.istio-system.svc.other.domain",
        "localhost@evil.example",
        "evil.example@localhost",
        "localhost/",
        "localhost, evil.example",
        "::1",
        "[localhost]",
        "[::1",
        "2130706433",
        "0x7f.1",
        "\u{fffd}",
    ] {
        assert!(!names.has(foreign), "{foreign}");
    }
}

#[test]
fn another_domain_has_other_names() {
    let names = Names::new("corp.internal", &[]).unwrap();
    assert!(names.has("kiali.istio-system.svc.corp.internal") && names.has("kiali.istio-system.svc"));
    assert!(!names.has("kiali.istio-system.svc.cluster.local") && !names.has("console.example.org"));
    for bad in ["", "http://a", "a:80", "a/b", "*.example.org", "a b", "[::1]"] {
        assert_eq!(Names::new("cluster.local", &[bad.to_owned()]), Err(NotAName(bad.to_owned())));
    }
}

proptest! {
    /// Whatever is before or after it, a name below another domain is never ours.
    #[test]
    fn no_name_below_another_domain_is_own(before in "[a-z0-9.-]{0,30}", port in proptest::option::of(0..=65535_u16)) {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let said = format!("{before}.evil.example{port}");
        prop_assert!(!names().has(&said), "{}", said);
    }
}

async fn served() -> std::net::SocketAddr {
    let routes = guard(&Arc::new(names()), Router::new().route("/", get(|| async { "told" })));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    address
}

/// What is answered to a request of HTTP/1, as it is on the wire.
async fn raw(at: std::net::SocketAddr, head: &str) -> String {
    let mut connection = TcpStream::connect(at).await.unwrap();
    connection.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    connection.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_request_of_http1_says_who_is_meant() {
    let at = served().await;
    for (head, status) in [
        ("GET / HTTP/1.1\r\nHost: localhost:1", "HTTP/1.1 200"),
        ("GET / HTTP/1.1\r\nHost: evil.example", "HTTP/1.1 421"),
        ("GET / HTTP/1.1\r\nHost:", "HTTP/1.1 421"),
        ("GET / HTTP/1.1\r\nHost: \u{e9}.example", "HTTP/1.1 421"),
        ("GET / HTTP/1.1\r\nAccept: */*", "HTTP/1.1 400"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example", "HTTP/1.1 400"),
        // Who asks a proxy says it twice.
        ("GET http://localhost/ HTTP/1.1\r\nHost: localhost", "HTTP/1.1 200"),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: localhost", "HTTP/1.1 421"),
        ("GET http://localhost/ HTTP/1.1\r\nHost: evil.example", "HTTP/1.1 421"),
        // Probes of old programs.
        ("GET / HTTP/1.0\r\nAccept: */*", "HTTP/1.0 200"),
        ("GET / HTTP/1.0\r\nHost: evil.example", "HTTP/1.0 421"),
    ] {
        let answer = raw(at, head).await;
        assert!(answer.starts_with(status), "{head:?}: {answer}");
    }
    let answer = raw(at, "GET / HTTP/1.1\r\nHost: evil.example:20001").await;
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let message = body["message"].as_str().unwrap();
    assert!(message.contains("\"evil.example:20001\"") && message.contains("jaeger-query"), "{message}");
    assert!(body["hint"].as_str().unwrap().contains("--host NAME"), "{body}");
}

#[tokio::test]
async fn a_request_of_http2_says_who_is_meant() {
    let at = served().await;
    for (authority, host, status) in [
        ("jaeger-query.istio-system:16685", None, 200),
        ("127.0.0.1:16685", None, 200),
        ("evil.example", None, 421),
        ("localhost", Some("evil.example"), 421),
        ("evil.example", Some("localhost"), 421),
    ] {
        let connection = TokioIo::new(TcpStream::connect(at).await.unwrap());
        let (mut sender, driver) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), connection).await.unwrap();
        tokio::spawn(driver);
        let mut request = hyper::Request::get(format!("http://{authority}/"));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "{authority} {host:?}");
        answer.into_body().collect().await.unwrap();
    }
}

#[test]
fn http2_without_any_authority_is_refused() {
    let request = Request::get("/").version(Version::HTTP_2).body(Body::empty()).unwrap();
    assert_eq!(names().check(&request).unwrap_err().status, StatusCode::BAD_REQUEST);
}
