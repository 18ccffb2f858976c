//! What RFC 9113 and RFC 7541 ask of a server, section by section: frames in, and the one thing that must come of them.
//!
//! Every case runs against an outbound and an inbound listener in plain text and a gateway's TLS. Where the RFC leaves a choice
//! (a stream error may be treated as one of the connection), the case says what this proxy does. What is about a peer that does
//! too much of what is allowed is in `limits`.

mod cases;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use varka_engine::ir::{
    ClusterProtocol, DownstreamTls, FilterChainMatch, RouteSource, Secret, SecretKind, Terminal, TrafficDirection,
};
use varka_identity::{Authority, SystemRandom};

use crate::config::{Mode, WAS, cluster, endpoints, inbound, outbound};
use crate::frames::{
    ACK, CANCEL, DATA, END_STREAM, GOAWAY, HEADERS, PING, Peer, REFUSED_STREAM, RST_STREAM, Received, SETTINGS, Silent,
    WINDOW_UPDATE, frame, get, headers, number, post, setting, socket,
};
use crate::support::{App, Running};
use cases::Expect::{BadRequest, ConnectionError, Ignored, Served, StreamError};
use cases::{Case, Step, cases};

/// Whether it is the head of an answer with this status, which stands in HPACK's static table.
fn answers(frame: &Received, stream: u32, status: u8) -> bool {
    frame.kind == HEADERS && frame.stream == stream && frame.payload.first() == Some(&status)
}

const OK: u8 = 0x88;
const BAD_REQUEST: u8 = 0x8c;

/// Runs a case; what was wrong.
fn run(peer: &mut Peer, case: &Case) -> Result<(), String> {
    let mut came = Vec::new();
    for step in &case.steps {
        match step {
            Step::Send(bytes) => drop(peer.send(bytes)),
            Step::Ended(stream) => drop(peer.wait("the answer", |f| f.ends(*stream))),
        }
    }
    let barrier = *b"at last!";
    peer.send(&frame(PING, 0, 0, &barrier));
    let mut alive = false;
    let mut met = false;
    loop {
        let next = match peer.read() {
            Ok(Some(next)) => next,
            Ok(None) => return Err(format!("closed; came: {came:?}")),
            Err(Silent) => return Err(format!("silence; came: {came:?}")),
        };
        let (goes_away, code) = (next.kind == GOAWAY, matches!(next.kind, GOAWAY | RST_STREAM).then(|| next.code()));
        match case.expect {
            ConnectionError(want) if goes_away => {
                return if code == Some(want) { Ok(()) } else { Err(format!("GOAWAY {code:?}")) };
            }
            _ if goes_away => return Err(format!("GOAWAY {code:?}")),
            StreamError(stream, want) if next.kind == RST_STREAM && next.stream == stream => {
                if code != Some(want) {
                    return Err(format!("RST_STREAM {code:?}"));
                }
                met = true;
            }
            Served(_) | BadRequest(_) | Ignored if next.kind == RST_STREAM && code != Some(0) => {
                return Err(format!("RST_STREAM {code:?}"));
            }
            Served(stream) => met |= answers(&next, stream, OK),
            BadRequest(stream) => met |= answers(&next, stream, BAD_REQUEST),
            Ignored => met = true,
            ConnectionError(_) | StreamError(..) => {}
        }
        alive |= next.kind == PING && next.flags & ACK != 0 && next.payload == barrier;
        if alive && met {
            return Ok(());
        }
        came.push(next);
    }
}

/// Runs all cases, each on a connection of its own, and tells of all that failed.
fn judge(connect: &dyn Fn() -> Peer) {
    let cases = cases();
    assert!(cases.len() > 100, "only {} cases", cases.len());
    let failed: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let mut peer = connect();
            peer.begin(&[]);
            let wrong = run(&mut peer, case).err()?;
            Some(format!("{} {}: expected {:?}: {wrong}", case.section, case.what, case.expect))
        })
        .collect();
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

fn outbound_to(app: &App) -> Running {
    let mut was = cluster(WAS, endpoints(&[app.address], None));
    was.http.protocol = ClusterProtocol::Http1;
    Running::start(&outbound(was, |_| {}), Some(app.address))
}

#[test]
fn an_outbound_listener() {
    let app = App::start();
    let sidecar = outbound_to(&app);
    let address = sidecar.address("virtualOutbound");
    judge(&|| Peer::over(socket(address)));
}

#[test]
fn an_inbound_listener() {
    let app = App::start();
    let mut config = inbound(Mode::Permissive);
    let name = "inbound|8080||";
    let mut to_app = varka_engine::ir::Cluster::clone(&config.clusters[name]);
    to_app.http.protocol = ClusterProtocol::Http1;
    config.clusters.insert(name.into(), Arc::new(to_app));
    let sidecar = Running::start(&config, Some(app.address));
    let address = sidecar.address("virtualInbound");
    judge(&|| Peer::over(socket(address)));
}

#[test]
fn a_gateway_with_tls() {
    let app = App::start();
    let authority = Authority::generate("cluster.local", SystemTime::now(), &SystemRandom::new()).unwrap();
    let router = Running::start(&gateway(&authority, app.address), None);
    let address = router.address("https");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.root_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let tls = Arc::new(tls);
    judge(&|| {
        let name = ServerName::try_from("was-service").unwrap();
        let session = rustls::ClientConnection::new(Arc::clone(&tls), name).unwrap();
        Peer::over(rustls::StreamOwned::new(session, socket(address)))
    });
}

/// One listener with TLS, and one application behind it.
fn gateway(authority: &Authority, app: SocketAddr) -> varka_engine::ir::Proxy {
    use crate::config::{action, chain, listener, manager, proxy, route, table, virtual_host};
    let tls = DownstreamTls {
        certificates: vec!["was".into()],
        validation: None,
        require_client_certificate: false,
        ..crate::config::mesh_tls()
    };
    let http = Terminal::Http(Box::new(manager(true, RouteSource::Rds("https.443".into()))));
    let chains = vec![chain("https", FilterChainMatch::default(), Some(tls), http)];
    let hosts = vec![virtual_host("all", &["*"], vec![route(action("outbound|80||web"))])];
    let mut web = cluster("outbound|80||web", endpoints(&[app], None));
    web.http.protocol = ClusterProtocol::Http1;
    let listeners = vec![listener("https", TrafficDirection::Outbound, chains)];
    let mut config = proxy(listeners, vec![table("https.443", hosts)], vec![web]);
    let day = Duration::from_secs(86_400);
    let issued =
        authority.issue_server_certificate(&["was-service"], SystemTime::now(), day, &SystemRandom::new()).unwrap();
    let kind = SecretKind::Certificate { chain: issued.chain_pem.clone(), key: issued.key.to_pem().to_string() };
    config.secrets.insert("was".into(), Arc::new(Secret { name: "was".into(), kind }));
    config
}

/// 3.4: what is no preface ends the connection, where HTTP/2 was agreed on.
#[test]
fn what_does_not_begin_with_the_preface_is_closed() {
    let app = App::start();
    let mut config = outbound(cluster(WAS, endpoints(&[app.address], None)), |_| {});
    let mut listener = varka_engine::ir::Listener::clone(&config.listeners["virtualOutbound"]);
    listener.inspect.http = false;
    listener.filter_chains[0].matches = FilterChainMatch::default();
    if let Terminal::Http(manager) = &mut listener.filter_chains[0].terminal {
        manager.codec = varka_engine::ir::Codec::Http2;
    }
    config.listeners.insert("virtualOutbound".into(), Arc::new(listener));
    let sidecar = Running::start(&config, Some(app.address));
    let mut peer = Peer::over(socket(sidecar.address("virtualOutbound")));
    peer.send(b"GET / HTTP/1.1\r\nHost: was-service\r\n\r\n");
    while let Some(frame) = peer.next() {
        assert!(matches!(frame.kind, SETTINGS | GOAWAY), "{frame:?}");
    }
}

/// 5.1.2: what exceeds the streams that were allowed is refused, and nothing else.
#[test]
fn streams_beyond_what_was_allowed_are_refused() {
    let app = App::start();
    let mut was = cluster(WAS, endpoints(&[app.address], None));
    // The application speaks nothing else, and a stream that it refuses makes room.
    was.http.protocol = ClusterProtocol::Http1;
    let mut config = outbound(was, |_| {});
    let mut listener = varka_engine::ir::Listener::clone(&config.listeners["virtualOutbound"]);
    if let Terminal::Http(manager) = &mut listener.filter_chains[0].terminal {
        manager.max_concurrent_streams = Some(2);
    }
    config.listeners.insert("virtualOutbound".into(), Arc::new(listener));
    let sidecar = Running::start(&config, Some(app.address));
    let mut peer = Peer::over(socket(sidecar.address("virtualOutbound")));
    let said = peer.begin(&[]);
    assert!(said.payload.chunks(6).any(|s| s == setting(3, 2)), "SETTINGS_MAX_CONCURRENT_STREAMS: {said:?}");
    for stream in [1, 3, 5] {
        peer.send(&headers(stream, 0, &post(&[("x-hang", "1")])));
    }
    let reset = peer.wait("the third stream is refused", |f| f.kind == RST_STREAM);
    assert_eq!((reset.stream, reset.code()), (5, REFUSED_STREAM));
    peer.send(&frame(RST_STREAM, 0, 1, &number(CANCEL)));
    peer.send(&headers(7, END_STREAM, &get(&[])));
    peer.wait("there is room again", |f| f.kind == HEADERS && f.stream == 7);
}

/// 6.9: DATA is sent as far as the windows reach, which may shrink below nothing (6.9.2).
#[test]
fn answers_keep_to_the_windows() {
    let app = App::start();
    let sidecar = outbound_to(&app);
    let body = "GET / HTTP/1.1 0".len();
    let mut peer = Peer::over(socket(sidecar.address("virtualOutbound")));
    peer.begin(&setting(4, 1));
    peer.send(&headers(1, END_STREAM, &get(&[])));
    let first = peer.wait("a byte", |f| f.kind == DATA);
    assert_eq!((first.payload.len(), first.flags & END_STREAM), (1, 0));
    // The window becomes 0 - 1 + 3 = 2, then 2 - 2 - 3 = -3, then 2 again.
    let change = |peer: &mut Peer, window: u32| {
        peer.send(&frame(SETTINGS, 0, 0, &setting(4, window)));
        peer.wait("acknowledged", |f| f.kind == SETTINGS && f.flags & ACK != 0)
    };
    change(&mut peer, 3);
    assert_eq!(peer.wait("two bytes more", |f| f.kind == DATA).payload.len(), 2);
    change(&mut peer, 0);
    peer.send(&frame(WINDOW_UPDATE, 0, 1, &number(5)));
    assert_eq!(peer.wait("two bytes more", |f| f.kind == DATA).payload.len(), 2);
    peer.send(&frame(WINDOW_UPDATE, 0, 1, &number(1000)));
    let mut rest = 0;
    loop {
        let next = peer.wait("the rest", |f| f.kind == DATA);
        rest += next.payload.len();
        if next.ends(1) {
            break;
        }
    }
    assert_eq!(rest, body - 5);
}
