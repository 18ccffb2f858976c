//! What a DestinationRule asks of connections: PROXY headers, tunnels, pings.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use varka_engine::ir::{
    ClusterProtocol, ConnectionFilters, FilterChainMatch, Http2Keepalive, Listener, Proxy, TcpTunnel, Terminal,
    TrafficDirection,
};

use crate::config::{WAS, chain, cluster, endpoints, listener, outbound, proxy, tcp};
use crate::support::{Client, Running, until};

/// A server that runs `serve` for each connection.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// An HTTP/1 application behind PROXY headers; gives what came before the first request of each connection.
fn behind_proxy_headers(length: Option<usize>) -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let headers = Arc::clone(&seen);
    let address = server(move |stream| {
        let mut reader = BufReader::new(&stream);
        let mut header = Vec::new();
        match length {
            Some(n) => {
                header.resize(n, 0);
                reader.read_exact(&mut header).unwrap();
            }
            None => drop(reader.read_until(b'\n', &mut header)),
        }
        headers.lock().unwrap().push(header);
        while crate::support::read_message(&mut reader).is_some() {
            (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        }
    });
    (address, seen)
}

fn sidecar_with(address: SocketAddr, edit: impl FnOnce(&mut varka_engine::ir::Cluster)) -> Running {
    let mut was = cluster(WAS, endpoints(&[address], None));
    was.http.protocol = ClusterProtocol::Http1;
    edit(&mut was);
    Running::start(&outbound(was, |to| to.retry = None), None)
}

fn get(client: &mut Client) -> String {
    client.ask("GET / HTTP/1.1\r\nHost: was-service\r\n\r\n").line
}

#[test]
fn requests_carry_their_clients_address_in_front_of_the_connection() {
    let (address, seen) = behind_proxy_headers(None);
    let sidecar = sidecar_with(address, |was| was.proxy_protocol = Some(1));
    let (mut one, mut two) =
        (Client::connect(sidecar.address("virtualOutbound")), Client::connect(sidecar.address("virtualOutbound")));
    assert_eq!(get(&mut one), "HTTP/1.1 200 OK");
    assert_eq!(get(&mut two), "HTTP/1.1 200 OK");
    assert_eq!(get(&mut one), "HTTP/1.1 200 OK");
    let local = |client: &Client| client.reader.get_ref().local_addr().unwrap();
    let header = |client: &Client| {
        let (from, to) = (local(client), sidecar.address("virtualOutbound"));
        format!("PROXY TCP4 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port()).into_bytes()
    };
    let seen = seen.lock().unwrap();
    assert_eq!(*seen, [header(&one), header(&two)], "each client has a connection of its own, and keeps it");
}

#[test]
fn the_second_version_is_binary() {
    let (address, seen) = behind_proxy_headers(Some(28));
    let sidecar = sidecar_with(address, |was| was.proxy_protocol = Some(2));
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    assert_eq!(get(&mut client), "HTTP/1.1 200 OK");
    let (from, to) = (client.reader.get_ref().local_addr().unwrap(), sidecar.address("virtualOutbound"));
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
    header.extend(from.port().to_be_bytes());
    header.extend(to.port().to_be_bytes());
    assert_eq!(*seen.lock().unwrap(), [header]);
}

/// A TCP listener whose connections go through a tunnel.
fn tunnelled(proxy_address: SocketAddr, protocol: ClusterProtocol, post: bool) -> Running {
    let mut to = cluster("proxy", endpoints(&[proxy_address], None));
    to.http.protocol = protocol;
    let Terminal::Tcp(mut through) = tcp("proxy") else { panic!("not TCP") };
    through.tunnel = Some(TcpTunnel { hostname: "db.example.com:3306".into(), post });
    let chain = chain("tcp", FilterChainMatch::default(), None, Terminal::Tcp(through));
    let mut listener = Listener::clone(&listener("tcp", TrafficDirection::Outbound, vec![chain]));
    // Whoever speaks first is not waited for.
    listener.inspect = ConnectionFilters::default();
    let config: Proxy = proxy(vec![Arc::new(listener)], Vec::new(), vec![to]);
    Running::start(&config, None)
}

/// The head of a request, as text.
fn head(reader: &mut impl std::io::BufRead) -> String {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") && reader.read_line(&mut text).is_ok_and(|n| n > 0) {}
    text
}

#[test]
fn a_connection_goes_through_a_tunnel_by_connect() {
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&heads);
    let address = server(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        seen.lock().unwrap().push(head(&mut reader));
        // What follows the head is the tunnel's, whatever the head says of a body.
        stream.write_all(b"HTTP/1.1 200 Established\r\ncontent-length: 0\r\n\r\nready\n").unwrap();
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        stream.write_all(&all.to_ascii_uppercase()).unwrap();
    });
    let sidecar = tunnelled(address, ClusterProtocol::Http1, false);
    let mut client = Client::connect(sidecar.address("tcp"));
    let mut ready = String::new();
    client.reader.read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    client.send("select 1");
    client.reader.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.rest().unwrap(), b"SELECT 1");
    let want = "CONNECT db.example.com:3306 HTTP/1.1\r\nhost: db.example.com:3306\r\n\r\n";
    assert_eq!(*heads.lock().unwrap(), [want]);
}

#[test]
fn by_post_the_bytes_are_a_body() {
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&heads);
    let address = server(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        seen.lock().unwrap().push(head(&mut reader));
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhi\n\r\n").unwrap();
        let mut chunk = [0; 9];
        reader.read_exact(&mut chunk).unwrap();
        assert_eq!(&chunk, b"4\r\nping\r\n");
        stream.write_all(b"4\r\npong\r\n0\r\n\r\n").unwrap();
    });
    let sidecar = tunnelled(address, ClusterProtocol::Http1, true);
    let mut client = Client::connect(sidecar.address("tcp"));
    let mut hi = [0; 3];
    client.reader.read_exact(&mut hi).unwrap();
    client.send("ping");
    let mut pong = [0; 4];
    client.reader.read_exact(&mut pong).unwrap();
    assert_eq!((&hi, &pong), (b"hi\n", b"pong"));
    let want = "POST / HTTP/1.1\r\nhost: db.example.com:3306\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(*heads.lock().unwrap(), [want]);
}

#[test]
fn a_tunnel_that_is_refused_ends_the_connection_and_the_log_says_why() {
    let address = server(|mut stream| {
        head(&mut BufReader::new(stream.try_clone().unwrap()));
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").unwrap();
        let _ = stream.read(&mut [0]);
    });
    let sidecar = tunnelled(address, ClusterProtocol::Http1, false);
    let mut client = Client::connect(sidecar.address("tcp"));
    // Whatever is done first finds out.
    let ended = client.reader.get_mut().write_all(b"select 1").and_then(|()| client.rest());
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let log = sidecar.log(1);
    assert!(log[0].contains(" 0 UF ") && log[0].contains("the_tunnel_is_refused_with_status_403"), "{}", log[0]);
}

#[test]
fn over_http2_a_tunnel_is_a_stream() {
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&heads);
    let address = server(move |stream| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        stream.set_nonblocking(true).unwrap();
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let said = format!("{} {} {:?}", request.method(), request.uri(), request.headers().len());
                seen.lock().unwrap().push(said);
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    let mut out = respond.send_response(http::Response::new(()), false).unwrap();
                    while let Some(Ok(data)) = body.data().await {
                        let _ = body.flow_control().release_capacity(data.len());
                        out.send_data(data.to_ascii_uppercase().into(), false).unwrap();
                    }
                    out.send_data(bytes::Bytes::new(), true).unwrap();
                });
            }
        });
    });
    let sidecar = tunnelled(address, ClusterProtocol::Http2, false);
    for _ in 0..2 {
        let mut client = Client::connect(sidecar.address("tcp"));
        client.send("select 1");
        client.reader.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(client.rest().unwrap(), b"SELECT 1");
    }
    assert_eq!(*heads.lock().unwrap(), ["CONNECT db.example.com:3306 0", "CONNECT db.example.com:3306 0"]);
}

#[test]
fn a_peer_that_answers_no_ping_is_given_up() {
    let pings: Arc<Mutex<usize>> = Arc::default();
    let count = Arc::clone(&pings);
    let address = server(move |mut stream| {
        // Its settings, and an acknowledgement of ours; then it only listens.
        stream.write_all(b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0").unwrap();
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).unwrap();
        let mut frame = [0; 9];
        while stream.read_exact(&mut frame).is_ok() {
            let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            if stream.read_exact(&mut payload).is_err() {
                return;
            }
            if frame[3] == 6 {
                *count.lock().unwrap() += 1;
            }
        }
    });
    let sidecar = sidecar_with(address, |was| {
        was.http.protocol = ClusterProtocol::Http2;
        was.http.keepalive =
            Some(Http2Keepalive { interval: Duration::from_millis(20), timeout: Duration::from_millis(50) });
    });
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    assert_eq!(get(&mut client), "HTTP/1.1 503 Service Unavailable");
    let log = sidecar.log(1);
    assert!(log[0].contains("503 UC upstream_reset_before_response_started{connection_termination}"), "{}", log[0]);
    until("the ping has been seen", || (*pings.lock().unwrap() > 0).then_some(()));
}
