use std::sync::Arc;

use kube::Config as Cluster;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{asked, listen};
use crate::access::tests::reviewer;
use crate::access::{Access, Mode, Rules, gate};
use crate::api::Common;
use crate::graph::Source;
use crate::graph::tests::source;

/// What is served over a source.
async fn served(source: &Source, cluster: &Cluster) -> std::net::SocketAddr {
    let (common, traces) = (Common::new(source.clone()), source.traces.clone());
    let rules = Rules { mode: Mode::Anonymous, read_only: true };
    let access = Arc::new(Access::new(cluster, source.world.clone(), rules));
    let routes = Arc::new(move |source| asked(source, traces.clone(), common.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listen(listener, gate::guard(access, source.clone(), routes)));
    address
}

/// Asks for a stream; the connection, and what was read until it has begun or was refused.
async fn stream(at: std::net::SocketAddr, token: &str) -> (TcpStream, String) {
    let mut connection = TcpStream::connect(at).await.unwrap();
    let request = format!(
        "GET /console/api/stream?topics=changes HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    while !text.contains("retry: ") && !text.contains('}') {
        let mut buffer = [0; 4096];
        let read = connection.read(&mut buffer).await.unwrap();
        assert!(read > 0, "{text}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    (connection, text)
}

#[tokio::test]
async fn who_has_many_streams_gets_no_more_until_one_ends() {
    let directory = tempfile::tempdir().unwrap();
    let source = source(&directory);
    let cluster = reviewer(|token| (token == "all").then_some(("alice", &["*"]))).await;
    let at = served(&source, &cluster).await;
    let mut open = Vec::new();
    let refused = loop {
        let (connection, text) = stream(at, "all").await;
        if !text.starts_with("HTTP/1.1 200") {
            break text;
        }
        open.push(connection);
    };
    assert_eq!(open.len(), 8);
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("\r\nretry-after: "), "{refused}");
    let body: Value = serde_json::from_str(&refused[refused.find('{').unwrap()..]).unwrap();
    assert_eq!(body["code"], "tooMany");
    assert!(body["message"].as_str().unwrap().ends_with("alice has as many."), "{body}");
    // Nobody, here, is whoever comes from there.
    assert!(stream(at, "stolen").await.1.starts_with("HTTP/1.1 200"));
    open.pop();
    loop {
        // The end of a connection is noticed when the stream has something to tell.
        let (connection, text) = stream(at, "all").await;
        if text.starts_with("HTTP/1.1 200") {
            open.push(connection);
            break;
        }
    }
    assert!(stream(at, "all").await.1.starts_with("HTTP/1.1 429"));
}
