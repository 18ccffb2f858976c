//! Hosts that are resolved as they are asked for: by Host over HTTP, by server name over TLS.

use std::io::Read as _;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use rustls::pki_types::ServerName;
use varka_engine::ir::{
    Discovery, FilterChainMatch, HttpFilter, LbPolicy, NetworkFilter, Proxy, RouteSource, Terminal, TrafficDirection,
};

use crate::config::{action, chain, cluster, listener, manager, proxy, route, table, tcp, virtual_host};
use crate::support::{App, Client, Running, until};

/// An outbound side whose every host is resolved; `filter`: the connection manager has the filter for it.
fn config(filter: bool) -> Proxy {
    let mut http = manager(false, RouteSource::Rds("80".into()));
    if filter {
        http.filters.push(HttpFilter::DynamicForwardProxy);
    }
    let chain = chain("http", FilterChainMatch::default(), None, Terminal::Http(Box::new(http)));
    let mut any = cluster("dynamic", Discovery::DynamicForwardProxy);
    any.lb = LbPolicy::ClusterProvided;
    let hosts = table("80", vec![virtual_host("any", &["*"], vec![route(action("dynamic"))])]);
    proxy(vec![listener("out", TrafficDirection::Outbound, vec![chain])], vec![hosts], vec![any])
}

#[test]
fn a_requests_host_is_resolved_and_its_port_dialled() {
    let app = App::start();
    let sidecar = Running::start(&config(true), Some("192.0.2.1:80".parse().unwrap()));
    let mut client = Client::connect(sidecar.address("out"));
    for host in ["localhost", "LOCALHOST", "127.0.0.1"] {
        let response = client.ask(format!("GET / HTTP/1.1\r\nHost: {host}:{}\r\n\r\n", app.address.port()));
        assert_eq!(response.line, "HTTP/1.1 200 OK", "{host}");
    }
    let log = sidecar.log(1);
    assert!(log[0].contains(&format!("\"{}\" dynamic", app.address)), "{}", log[0]);
}

#[test]
fn a_host_without_an_address_is_answered_with_the_reason() {
    let sidecar = Running::start(&config(true), Some("192.0.2.1:80".parse().unwrap()));
    let response = Client::connect(sidecar.address("out")).ask("GET / HTTP/1.1\r\nHost: nowhere.invalid\r\n\r\n");
    assert_eq!(response.line, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(String::from_utf8_lossy(&response.body), "DNS resolution failure");
    let log = sidecar.log(1);
    assert!(log[0].contains("503 DF dns_resolution_failure"), "{}", log[0]);
}

#[test]
fn without_the_filter_nothing_is_resolved() {
    let sidecar = Running::start(&config(false), Some("192.0.2.1:80".parse().unwrap()));
    let response = Client::connect(sidecar.address("out")).ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(String::from_utf8_lossy(&response.body), "no healthy upstream");
}

#[test]
fn a_server_name_is_resolved_and_the_bytes_are_passed_on() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
    let first = Arc::clone(&seen);
    std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut head = [0; 6];
        stream.read_exact(&mut head).unwrap();
        first.lock().unwrap().extend(head);
    });
    let mut names = chain("tls", FilterChainMatch::default(), None, tcp("dynamic"));
    names.filters.push(NetworkFilter::SniDynamicForwardProxy(port));
    let mut config = config(true);
    config.listeners.clear();
    let out = listener("out", TrafficDirection::Outbound, vec![names]);
    config.listeners.insert("out".into(), out);
    let sidecar = Running::start(&config, Some("192.0.2.1:443".parse().unwrap()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let address = sidecar.address("out");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
        // The server hangs up: only that it was asked counts here.
        assert!(connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.is_err());
    });
    let head =
        until("the server has seen the greeting", || Some(seen.lock().unwrap().clone()).filter(|s| !s.is_empty()));
    assert_eq!((head[0], head[5]), (0x16, 0x01), "a ClientHello");
}
