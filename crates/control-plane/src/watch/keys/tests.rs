//! Fetches from a server on the loopback, and what becomes of keys that cannot be fetched again.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::watch::published;

const KEYS: &str = r#"{"keys": []}"#;

/// A server that answers each path with what is written for it.
async fn server(answers: &'static [(&'static str, &'static str)]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read_exact(&mut byte).await.is_err() {
                        return;
                    }
                    head.extend(byte);
                }
                let text = String::from_utf8(head).unwrap();
                let path = text.split(' ').nth(1).unwrap_or_default();
                let answer = answers.iter().find(|(p, _)| *p == path).map_or("404 Not Found\r\n\r\n", |(_, a)| a);
                let answer = answer.replace("SELF", &address.to_string());
                let _ = stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await;
            });
        }
    });
    address
}

fn source(issuer: &str, uri: &str) -> KeySource {
    KeySource { issuer: issuer.into(), uri: uri.into() }
}

async fn fetched(issuer: &str, uri: &str) -> Result<Str, String> {
    fetch::keys(&source(issuer, uri), Duration::from_secs(20)).await
}

#[tokio::test]
async fn keys_are_fetched_and_what_is_none_is_told() {
    let at = server(&[
        ("/keys", "200 OK\r\nconnection: close\r\n\r\n{\"keys\": []}"),
        ("/html", "200 OK\r\nconnection: close\r\n\r\n<html>"),
        ("/other", "200 OK\r\nconnection: close\r\n\r\n{\"password\": \"x\"}"),
        ("/moved", "302 Found\r\nlocation: /keys\r\ncontent-length: 0\r\n\r\n"),
        ("/round", "302 Found\r\nlocation: http://SELF/round\r\ncontent-length: 0\r\n\r\n"),
        ("/long", "200 OK\r\ncontent-length: 600000\r\n\r\n{"),
        (
            "/i/.well-known/openid-configuration",
            "200 OK\r\nconnection: close\r\n\r\n{\"jwks_uri\": \"http://SELF/keys\"}",
        ),
    ])
    .await;
    assert_eq!(fetched("i", &format!("http://{at}/keys")).await.as_deref(), Ok(KEYS));
    assert_eq!(fetched("i", &format!("http://{at}/moved")).await.as_deref(), Ok(KEYS));
    assert_eq!(fetched(&format!("http://{at}/i/"), "").await.as_deref(), Ok(KEYS));
    for (path, reason) in [
        ("html", "not JSON"),
        ("other", "not a key set"),
        ("round", "redirects"),
        ("long", "longer than"),
        ("absent", "404"),
    ] {
        let why = fetched("i", &format!("http://{at}/{path}")).await.unwrap_err();
        assert!(why.contains(reason), "{path}: {why}");
        assert!(!why.contains("password"), "{why}");
    }
    for (uri, reason) in [
        ("http://169.254.169.254/latest", "link-local"),
        ("http://[fe80::1]/", "link-local"),
        ("http://[::ffff:169.254.1.1]/", "link-local"),
        ("http://100.100.100.200/", "metadata"),
        ("ftp://127.0.0.1/", "neither"),
        ("keys", "neither"),
        ("http://127.0.0.1:1/", "refused"),
    ] {
        let why = fetched("i", uri).await.unwrap_err();
        assert!(why.contains(reason), "{uri}: {why}");
    }
}

#[test]
fn keys_that_were_fetched_hold_for_a_week_without_their_server() {
    let (source, start) = (source("i", "u"), Instant::now());
    let mut entry = Entry::new(start);
    let failed = || Err("gone".to_owned());
    assert_eq!(entry.take(&source, failed(), start), Some(Err("gone".into())));
    assert_eq!(entry.due, start + RETRY.0);
    assert_eq!(entry.take(&source, failed(), start), Some(Err("gone".into())));
    assert_eq!(entry.due, start + 2 * RETRY.0);
    assert_eq!(entry.take(&source, Ok(KEYS.into()), start), Some(Ok(KEYS.into())));
    assert_eq!(entry.due, start + REFRESH);
    assert_eq!(entry.take(&source, Ok(KEYS.into()), start), None);
    for _ in 0..40 {
        assert_eq!(entry.take(&source, failed(), start + LONGEST / 2), None);
    }
    assert_eq!(entry.due, start + LONGEST / 2 + RETRY.1);
    assert_eq!(entry.take(&source, failed(), start + LONGEST), Some(Err("gone".into())));
}

#[tokio::test]
async fn what_is_named_is_fetched_and_what_is_not_is_forgotten() {
    let at = server(&[("/keys", "200 OK\r\nconnection: close\r\n\r\n{\"keys\": []}")]).await;
    let text = format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: r, namespace: x}}\nspec:\n  jwtRules: [{{issuer: i, jwksUri: 'http://{at}/keys'}}]\n"
    );
    let (objects, problems) = varka_api::read("in", &text);
    assert!(problems.is_empty(), "{problems:?}");
    let with = published(objects);
    let (publish, published) = watch::channel(Arc::new(with.clone()));
    let (into, mut updates) = mpsc::channel(8);
    let following = tokio::spawn(follow(published, into));
    let uri = format!("http://{at}/keys");
    match updates.recv().await {
        Some(Update::Keys { source: found, keys: Some(Ok(keys)) }) => {
            assert_eq!((found, &*keys), (source("i", &uri), KEYS));
        }
        other => panic!("{other:?}"),
    }
    publish.send_replace(Arc::new(Published::empty()));
    match updates.recv().await {
        Some(Update::Keys { source: found, keys: None }) => assert_eq!(found, source("i", &uri)),
        other => panic!("{other:?}"),
    }
    drop(publish);
    following.await.unwrap();
}
