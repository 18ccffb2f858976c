//! A router at the edge: TLS by server name, HTTP/2 and HTTP/1.1, headers that only an edge sets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use varka_engine::ir::{
    ClusterProtocol, DownstreamTls, FilterChainMatch, HttpConnectionManager, Proxy, RouteSource, Secret, SecretKind,
    SlashesAction, Terminal, TrafficDirection,
};
use varka_identity::{Authority, SystemRandom};

use crate::config::{action, chain, cluster, endpoints, listener, manager, proxy, route, table, virtual_host};
use crate::support::{App, Client, LIMIT, Running};

fn edge() -> HttpConnectionManager {
    let mut edge = manager(true, RouteSource::Rds("https.443".into()));
    edge.filters.clear();
    edge.use_remote_address = true;
    edge.client_cert = varka_engine::ir::ClientCertForwarding::Sanitize;
    edge.path.escaped_slashes = SlashesAction::Keep;
    edge
}

/// Hosts `blog.example` and `shop.example` with a certificate each, and a plain port that redirects to TLS.
fn config(authority: &Authority, app: SocketAddr) -> Proxy {
    let tls = DownstreamTls {
        certificates: vec!["blog".into(), "shop".into()],
        validation: None,
        require_client_certificate: false,
        subject_alt_names: Vec::new(),
        pins: varka_engine::ir::CertificatePins::default(),
        crl_file: None,
        alpn: vec!["h2".into(), "http/1.1".into()],
        min_version: None,
        max_version: None,
        cipher_suites: Vec::new(),
    };
    let http = |manager| Terminal::Http(Box::new(manager));
    let secure = chain("https", FilterChainMatch::default(), Some(tls), http(edge()));
    let mut plain_edge = edge();
    plain_edge.routes = RouteSource::Rds("http.80".into());
    let plain = chain("http", FilterChainMatch::default(), None, http(plain_edge));
    let mut to_app = action("outbound|80||web");
    to_app.timeout = Some(Duration::from_secs(10));
    let mut limited = route(to_app);
    limited.max_request_bytes = Some(10);
    let mut redirecting = virtual_host("blog.example:80", &["*"], vec![limited.clone()]);
    redirecting.require_tls = true;
    let hosts = virtual_host("blog.example:443", &["blog.example", "shop.example"], vec![limited]);
    let mut web = cluster("outbound|80||web", endpoints(&[app], None));
    web.http.protocol = ClusterProtocol::Http1;
    let mut config = proxy(
        vec![
            listener("https", TrafficDirection::Outbound, vec![secure]),
            listener("http", TrafficDirection::Outbound, vec![plain]),
        ],
        vec![table("https.443", vec![hosts]), table("http.80", vec![redirecting])],
        vec![web],
    );
    for name in ["blog", "shop"] {
        let host = format!("{name}.example");
        let day = Duration::from_secs(86_400);
        let issued =
            authority.issue_server_certificate(&[&host], SystemTime::now(), day, &SystemRandom::new()).unwrap();
        let kind = SecretKind::Certificate { chain: issued.chain_pem.clone(), key: issued.key.to_pem().to_string() };
        config.secrets.insert(name.into(), Arc::new(Secret { name: name.into(), kind }));
    }
    config
}

/// One request over TLS; negotiated protocol, status, and the certificate that was shown.
async fn ask(
    router: SocketAddr,
    root: &str,
    host: &'static str,
    alpn: &str,
    body: &'static [u8],
) -> (Vec<u8>, u16, Vec<u8>) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let tcp = tokio::net::TcpStream::connect(router).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let stream = connector.connect(ServerName::try_from(host).unwrap(), tcp).await.unwrap();
    let session = stream.get_ref().1;
    let negotiated = session.alpn_protocol().unwrap_or_default().to_vec();
    let shown = session.peer_certificates().unwrap()[0].to_vec();
    let status = if alpn == "h2" {
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::post(format!("https://{host}/x")).body(()).unwrap();
        let (response, mut out) = sender.ready().await.unwrap().send_request(request, false).unwrap();
        let _ = out.send_data(Bytes::from_static(body), true);
        response.await.unwrap().status().as_u16()
    } else {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = stream;
        let head = format!(
            "POST /x HTTP/1.1\r\nHost: {host}\r\ncontent-length: {}\r\nx-forwarded-for: 6.6.6.6\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut line = [0; 12];
        stream.read_exact(&mut line).await.unwrap();
        std::str::from_utf8(&line[9..]).unwrap().parse().unwrap()
    };
    (negotiated, status, shown)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, work).await.expect("in time") })
}

#[test]
fn each_server_name_has_its_certificate_and_both_protocols_are_spoken() {
    let app = App::start();
    let authority = Authority::generate("cluster.local", SystemTime::now(), &SystemRandom::new()).unwrap();
    let router = Running::start(&config(&authority, app.address), None);
    let address = router.address("https");
    let root = authority.root_pem();
    let (h2, status, blog) = block_on(ask(address, root, "blog.example", "h2", b"12345"));
    assert_eq!((&h2[..], status), (&b"h2"[..], 200));
    let seen = app.last();
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.body, b"12345");
    let (h1, status, shop) = block_on(ask(address, root, "shop.example", "http/1.1", b"12345"));
    assert_eq!((&h1[..], status), (&b"http/1.1"[..], 200));
    assert_ne!(blog, shop);
    assert_eq!(app.last().header("x-forwarded-for"), Some("6.6.6.6,127.0.0.1"));
    let (_, status, _) = block_on(ask(address, root, "shop.example", "http/1.1", b"more than ten bytes"));
    assert_eq!(status, 413);
}

#[test]
fn plain_text_is_redirected_where_tls_is_required() {
    let app = App::start();
    let authority = Authority::generate("cluster.local", SystemTime::now(), &SystemRandom::new()).unwrap();
    let router = Running::start(&config(&authority, app.address), None);
    let response = Client::connect(router.address("http")).ask("GET /a?b=1 HTTP/1.1\r\nHost: blog.example\r\n\r\n");
    assert_eq!(response.line, "HTTP/1.1 301 Moved Permanently");
    assert_eq!(response.header("location"), Some("https://blog.example/a?b=1"));
}
