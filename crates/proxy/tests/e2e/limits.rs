//! What a client can do too much of, or too slowly: each limit holds, and says so where there is somebody to tell.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use varka_engine::ir::{ClusterProtocol, HttpConnectionManager, Listener, Proxy, RetryOn, Terminal};

use crate::config::{Mode, WAS, cluster, endpoints, inbound, outbound, retry};
use crate::frames::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, PING, PREFACE, Peer,
    RST_STREAM, SETTINGS, field, frame, get, headers, number, post, socket,
};
use crate::mtls::Mesh;
use crate::support::{App, Client, Running, until};

/// A client's sidecar in front of an application of HTTP/1, whose listener was changed.
fn sidecar(app: &App, edit: impl FnOnce(&mut Listener)) -> Running {
    let mut was = cluster(WAS, endpoints(&[app.address], None));
    was.http.protocol = ClusterProtocol::Http1;
    let mut config = outbound(was, |_| {});
    edit_listener(&mut config, "virtualOutbound", edit);
    Running::start(&config, Some(app.address))
}

fn edit_listener(config: &mut Proxy, name: &str, edit: impl FnOnce(&mut Listener)) {
    let mut listener = Listener::clone(&config.listeners[name]);
    edit(&mut listener);
    config.listeners.insert(name.into(), Arc::new(listener));
}

/// The same, with its connection manager changed.
fn managed(app: &App, edit: impl FnOnce(&mut HttpConnectionManager)) -> Running {
    sidecar(app, |listener| match &mut listener.filter_chains[0].terminal {
        Terminal::Http(manager) => edit(manager),
        Terminal::Tcp(_) => panic!("no connection manager"),
    })
}

fn many(n: usize) -> Vec<(String, String)> {
    (0..n).map(|n| (format!("x-{n}"), "1".to_owned())).collect()
}

fn http1(fields: &[(String, String)]) -> String {
    let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET / HTTP/1.1\r\nHost: was-service\r\n{lines}\r\n")
}

fn http2(fields: &[(String, String)]) -> Vec<u8> {
    let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let block = get(&fields);
    let parts: Vec<&[u8]> = block.chunks(16_000).collect();
    let last = parts.len() - 1;
    let one = |(n, part): (usize, &&[u8])| {
        let ends = if n == last { END_HEADERS } else { 0 };
        let (kind, flags) = if n == 0 { (HEADERS, END_STREAM) } else { (CONTINUATION, 0) };
        frame(kind, flags | ends, 1, part)
    };
    parts.iter().enumerate().flat_map(one).collect()
}

#[test]
fn a_head_has_so_many_fields_whatever_the_protocol() {
    let app = App::start();
    let sidecar = managed(&app, |_| {});
    let address = sidecar.address("virtualOutbound");
    // Host is a line as well; over HTTP/2 there are four pseudo-headers.
    assert_eq!(Client::connect(address).ask(http1(&many(99))).line, "HTTP/1.1 200 OK");
    assert_eq!(Client::connect(address).ask(http1(&many(100))).line, "HTTP/1.1 431 Request Header Fields Too Large");
    for (fields, served) in [(96, true), (97, false), (1000, false)] {
        let mut peer = Peer::connect(address);
        peer.send(&http2(&many(fields)));
        let answer = peer.wait("an answer", |f| f.kind == HEADERS);
        assert_eq!(answer.payload[0] == 0x88, served, "{fields} fields");
        peer.send(&headers(3, END_STREAM, &get(&[])));
        peer.wait("the connection goes on", |f| f.kind == HEADERS && f.stream == 3);
    }
    let log = sidecar.log(7);
    assert_eq!(log.iter().filter(|l| l.contains(" 431 DPE http1.too_many_headers ")).count(), 1, "{log:?}");
    assert!(log.iter().any(|l| l.contains("\"GET / HTTP/2\" 431 ")), "{log:?}");
    assert_eq!(log.iter().filter(|l| l.contains(" 431 DPE http2.too_many_headers ")).count(), 2, "{log:?}");
    assert_eq!(app.seen.lock().unwrap().len(), 5);
}

#[test]
fn a_head_has_so_many_bytes_whatever_the_protocol() {
    let app = App::start();
    let sidecar = managed(&app, |_| {});
    let address = sidecar.address("virtualOutbound");
    let long = |n: usize| vec![("x".to_owned(), "y".repeat(n))];
    for (bytes, served) in [(59 << 10, true), (61 << 10, false)] {
        let response = Client::connect(address).ask(http1(&long(bytes)));
        assert_eq!(response.line == "HTTP/1.1 200 OK", served, "{}", response.line);
        let mut peer = Peer::connect(address);
        peer.send(&http2(&long(bytes)));
        let answer = peer.wait("an answer", |f| f.kind == HEADERS);
        assert_eq!(answer.payload[0] == 0x88, served);
    }
    assert_eq!(app.seen.lock().unwrap().len(), 2);
}

/// CVE-2023-44487. Streams that are reset before they are accepted are for h2 to count; here each has reached the application.
#[test]
fn a_client_that_opens_streams_to_reset_them_is_cut_off() {
    let app = App::start();
    let sidecar = managed(&app, |_| {});
    let mut peer = Peer::connect(sidecar.address("virtualOutbound"));
    let mut stream = 1;
    let end = loop {
        assert!(stream < 1200, "600 streams were opened and reset, and nobody minds");
        peer.send(&headers(stream, 0, &post(&[("x-hang", "1")])));
        peer.send(&frame(PING, 0, 0, &u64::from(stream).to_be_bytes()));
        let next = peer.wait("accepted", |f| matches!(f.kind, PING | GOAWAY));
        if next.kind == GOAWAY {
            break next;
        }
        peer.send(&frame(RST_STREAM, 0, stream, &number(CANCEL)));
        stream += 2;
    };
    assert_eq!(end.code(), ENHANCE_YOUR_CALM);
    assert!(stream > 200, "a client may change its mind now and then: {stream}");
    while peer.next().is_some() {}
    // Others are served.
    let mut other = Peer::connect(sidecar.address("virtualOutbound"));
    other.send(&headers(1, END_STREAM, &get(&[])));
    other.wait("an answer", |f| f.kind == HEADERS);
}

/// The same in one burst, before anything is accepted.
#[test]
fn a_burst_of_streams_and_resets_is_cut_off() {
    let app = App::start();
    let sidecar = managed(&app, |_| {});
    let mut peer = Peer::connect(sidecar.address("virtualOutbound"));
    let one = |n: u32| [headers(n, 0, &post(&[])), frame(RST_STREAM, 0, n, &number(CANCEL))].concat();
    peer.send(&(0..2000).flat_map(|n| one(2 * n + 1)).collect::<Vec<u8>>());
    assert_eq!(peer.wait("the end", |f| f.kind == GOAWAY).code(), ENHANCE_YOUR_CALM);
}

#[test]
fn floods_of_frames_that_carry_nothing_are_cut_off() {
    let app = App::start();
    let sidecar = managed(&app, |_| {});
    let first = frame(HEADERS, END_STREAM, 1, &get(&[]));
    let entered = [&[0x40, 1, b'x', 0x7f, 0xbd, 0x1e][..], &[b'y'; 4028]].concat();
    let bomb = [get(&[]), entered, vec![0xbe; 4000]].concat();
    let floods = [
        // CVE-2024-27316.
        ("CONTINUATION without bytes", [first.clone(), frame(CONTINUATION, 0, 1, &[]).repeat(3000)].concat()),
        (
            "CONTINUATION without end",
            [first, frame(CONTINUATION, 0, 1, &field("x", &"y".repeat(16_000))).repeat(30)].concat(),
        ),
        (
            "DATA without bytes",
            [headers(1, 0, &post(&[("x-hang", "1")])), frame(DATA, 0, 1, &[]).repeat(1000)].concat(),
        ),
        ("a field of the table, over and over", headers(1, END_STREAM, &bomb)),
    ];
    for (what, bytes) in floods {
        let mut peer = Peer::connect(sidecar.address("virtualOutbound"));
        peer.send(&bytes);
        assert_eq!(peer.wait(what, |f| f.kind == GOAWAY).code(), ENHANCE_YOUR_CALM, "{what}");
        while peer.next().is_some() {}
    }
}

/// Answers to PING and SETTINGS are not gathered for a client that does not read them: it is not read from either.
#[test]
fn a_client_that_does_not_read_is_not_read_from() {
    let app = App::start();
    let sidecar = managed(&app, |_| {});
    for one in [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, 0, 0, &[])] {
        let mut socket = socket(sidecar.address("virtualOutbound"));
        socket.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).unwrap();
        socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let flood = one.repeat(10_000);
        let taken = (0..2000).take_while(|_| socket.write_all(&flood).is_ok()).count();
        assert!(taken < 2000, "{} MB were read whose answers nobody reads", (taken * flood.len()) >> 20);
    }
}

#[test]
fn a_slow_head_and_an_idle_connection_end() {
    let app = App::start();
    let slow = managed(&app, |m| m.request_headers_timeout = Some(Duration::from_millis(50)));
    let response = Client::connect(slow.address("virtualOutbound")).ask("GET / HTTP/1.1\r\nHost: was-service\r\n");
    assert_eq!(response.line, "HTTP/1.1 408 Request Timeout");
    assert!(slow.log(1)[0].contains(" 408 - request_header_timeout "), "{:?}", slow.log(1));

    let idle = managed(&app, |m| m.idle_timeout = Some(Duration::from_millis(50)));
    let mut client = Client::connect(idle.address("virtualOutbound"));
    client.ask("GET / HTTP/1.1\r\nHost: was-service\r\n\r\n");
    assert_eq!(client.rest().unwrap(), b"");
    let mut peer = Peer::connect(idle.address("virtualOutbound"));
    assert_eq!(peer.wait("the end", |f| f.kind == GOAWAY).code(), 0);
    while peer.next().is_some() {}
}

#[test]
fn a_body_is_kept_for_another_attempt_up_to_64_kib() {
    let app = App::start();
    for (bytes, status) in [(64 << 10, "200 OK"), ((64 << 10) + 1, "503 Service Unavailable")] {
        let was = cluster(WAS, endpoints(&[app.address], None));
        let again = retry(RetryOn { server_error: true, ..RetryOn::default() }, 1);
        let sidecar = Running::start(&outbound(was, |action| action.retry = Some(again)), Some(app.address));
        let first = app.seen.lock().unwrap().len() + 1;
        let head = "POST / HTTP/1.1\r\nHost: was-service";
        let mut client = Client::connect(sidecar.address("virtualOutbound"));
        client.send(format!("{head}\r\ncontent-length: {bytes}\r\nx-fail: {first}\r\n\r\n"));
        assert_eq!(client.ask(vec![b'x'; bytes]).line, format!("HTTP/1.1 {status}"), "{bytes} bytes");
    }
}

#[test]
fn a_request_whose_body_does_not_come_ends() {
    let app = App::start();
    let sidecar = managed(&app, |m| m.stream_idle_timeout = Some(Duration::from_millis(100)));
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    let response = client.ask("POST / HTTP/1.1\r\nHost: was-service\r\ncontent-length: 10\r\n\r\nabc");
    assert_eq!((response.line.as_str(), &response.body[..]), ("HTTP/1.1 408 Request Timeout", &b"stream timeout"[..]));
    assert!(sidecar.log(1)[0].contains(" 408 SI "), "{:?}", sidecar.log(1));
}

#[test]
fn first_bytes_and_handshakes_take_so_long_at_most() {
    let (mesh, app) = (Mesh::new(), App::start());
    let mut config = inbound(Mode::Strict);
    mesh.identify(&mut config, "was");
    edit_listener(&mut config, "virtualInbound", |listener| {
        listener.inspect.timeout = Some(Duration::from_millis(50));
        listener.filter_chains[0].handshake_timeout = Some(Duration::from_millis(50));
    });
    let sidecar = Running::start(&config, Some(app.address));
    let address = sidecar.address("virtualInbound");
    let mut nothing = Vec::new();
    // The beginning of a TLS record, and no more.
    let mut silent = socket(address);
    silent.write_all(&[22, 3, 1]).unwrap();
    let _ = silent.read_to_end(&mut nothing);
    assert_eq!(nothing, b"");
    // A whole ClientHello, and no more.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("was-service").unwrap();
    let mut session = rustls::ClientConnection::new(Arc::new(tls), name).unwrap();
    let mut silent = socket(address);
    while session.wants_write() {
        session.write_tls(&mut silent).unwrap();
    }
    let mut flight = Vec::new();
    let _ = silent.read_to_end(&mut flight);
    assert_eq!(flight.first(), Some(&22), "the proxy had begun the handshake");
}

#[test]
fn connections_beyond_what_the_process_can_hold_are_reset() {
    let app = App::start();
    let sidecar = managed(&app, |_| {});
    let state = Arc::clone(sidecar.proxy.as_ref().unwrap().state());
    assert!(state.downstream.most.load(Ordering::Relaxed) >= 128, "by the limit of open files");
    state.downstream.most.store(2, Ordering::Relaxed);
    let address = sidecar.address("virtualOutbound");
    let request = "GET / HTTP/1.1\r\nHost: was-service\r\n\r\n";
    let mut first = Client::connect(address);
    let mut second = Client::connect(address);
    for client in [&mut first, &mut second] {
        assert_eq!(client.ask(request).line, "HTTP/1.1 200 OK");
    }
    let mut third = Client::connect(address);
    assert_eq!(third.rest().unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(state.downstream.refused.load(Ordering::Relaxed), 1);
    assert_eq!(first.ask(request).line, "HTTP/1.1 200 OK", "those that are open go on");
    drop(second);
    until("there is room again", || (state.downstream.outbound.load(Ordering::Relaxed) == 1).then_some(()));
    assert_eq!(Client::connect(address).ask(request).line, "HTTP/1.1 200 OK");
}
