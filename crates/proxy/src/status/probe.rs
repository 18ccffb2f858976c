//! One question to the application, in the kubelet's stead.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use http::{Method, Request};
use tokio::net::{TcpSocket, TcpStream};
use varka_engine::ir::UpstreamTls;

use crate::bootstrap::{GrpcProbe, HttpGet, Prober};
use crate::http::RequestHead;
use crate::http::h1::ClientConn;
use crate::net::{Io, Socket};
use crate::own_server::OwnAnswer;
use crate::pump::{Frame, Source as _, flush};
use crate::state::State;
use crate::tls::ClientTls;

/// Interception leaves connections from here alone.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
/// Largest body of an answer that is read.
const MAX_BODY: usize = 8 << 20;

/// Asks, and says what the kubelet is told.
pub(super) async fn probe(state: &State, prober: &Prober, incoming: &HeaderMap) -> OwnAnswer {
    let limit = Duration::from_secs(prober.timeout_seconds.max(1));
    let asking = async {
        if let Some(get) = &prober.http_get {
            http(state, get, incoming).await
        } else if let Some(tcp) = &prober.tcp_socket {
            connect(state, tcp.port).await.map(|_| 200)
        } else if let Some(grpc) = &prober.grpc {
            self::grpc(state, grpc).await
        } else {
            None
        }
    };
    match tokio::time::timeout(limit, asking).await {
        Ok(Some(status)) => OwnAnswer::text(status, ""),
        Ok(None) => OwnAnswer::text(500, "the application cannot be reached\n"),
        Err(_) => OwnAnswer::text(500, format!("the application did not answer within {limit:?}\n")),
    }
}

async fn connect(state: &State, port: u16) -> Option<TcpStream> {
    let address = SocketAddr::new(state.bootstrap.ip, port);
    let socket = match address.ip() {
        IpAddr::V4(_) => {
            let socket = TcpSocket::new_v4().ok()?;
            socket.bind(SocketAddr::from((SOURCE, 0))).ok()?;
            socket
        }
        IpAddr::V6(_) => TcpSocket::new_v6().ok()?,
    };
    if let Some(mark) = state.mark() {
        varka_sys::socket::set_mark(&socket, mark).ok()?;
    }
    socket.connect(address).await.ok()
}

/// Only the status counts, as for the kubelet.
async fn http(state: &State, get: &HttpGet, incoming: &HeaderMap) -> Option<u16> {
    let mut head = RequestHead {
        method: Method::GET,
        path: if get.path.is_empty() { "/".to_owned() } else { get.path.clone() }.into(),
        authority: format!("{}:{}", state.bootstrap.ip, get.port).into(),
        headers: incoming.clone(),
        ..RequestHead::default()
    };
    if let Some(host) = incoming.get(HOST).and_then(|h| h.to_str().ok()) {
        head.authority = host.into();
    }
    if !get.host.is_empty() {
        head.authority = get.host.as_str().into();
    }
    for header in &get.http_headers {
        if header.name.eq_ignore_ascii_case("host") {
            head.authority = header.value.as_str().into();
        } else if let (Ok(name), Ok(value)) = (header.name.parse::<HeaderName>(), HeaderValue::from_str(&header.value))
        {
            head.headers.insert(name, value);
        }
    }
    head.headers.entry(USER_AGENT).or_insert(HeaderValue::from_static("kube-probe/varka"));
    let stream = connect(state, get.port).await?;
    let io = if get.scheme.eq_ignore_ascii_case("https") {
        let tls = ClientTls::new(&UpstreamTls::default(), None, &state.secrets).ok()?;
        Io::Tls(Box::new(tls.connect(Socket::new(stream), None).await.ok()?.into()))
    } else {
        Io::Plain(Socket::new(stream))
    };
    exchange(io, &head).await.map(|(status, _)| status)
}

/// A GET on the application's own port, with its body.
pub(super) async fn get(state: &State, port: u16, path: &str) -> Option<(u16, Vec<u8>)> {
    let head = RequestHead {
        method: Method::GET,
        path: path.into(),
        authority: format!("{}:{port}", state.bootstrap.ip).into(),
        ..RequestHead::default()
    };
    exchange(Io::Plain(Socket::new(connect(state, port).await?)), &head).await
}

/// A question to a server on this pod's loopback, such as Envoy's admin server.
pub(crate) async fn on_loopback(port: u16, method: Method, path: &str) -> Option<(u16, Vec<u8>)> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
    let head = RequestHead {
        method,
        path: path.into(),
        authority: format!("127.0.0.1:{port}").into(),
        ..RequestHead::default()
    };
    exchange(Io::Plain(Socket::new(stream)), &head).await
}

async fn exchange(io: Io, head: &RequestHead) -> Option<(u16, Vec<u8>)> {
    let mut client = ClientConn::new(io);
    client.start(head, true);
    flush(&mut client).await.ok()?;
    let response = poll_fn(|cx| client.poll_response(cx)).await.ok()?;
    let mut body = Vec::new();
    while let Ok(Frame::Data(data)) = poll_fn(|cx| client.poll_recv(cx)).await {
        if body.len() + data.len() > MAX_BODY {
            break;
        }
        body.extend_from_slice(&data);
    }
    Some((response.status, body))
}

/// `grpc.health.v1.Health/Check`: 200 for SERVING.
async fn grpc(state: &State, probe: &GrpcProbe) -> Option<u16> {
    let stream = connect(state, probe.port).await?;
    let (sender, connection) = h2::client::handshake(stream).await.ok()?;
    let driver = tokio::spawn(connection);
    let request = Request::post(format!("http://{}:{}/grpc.health.v1.Health/Check", state.bootstrap.ip, probe.port))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(())
        .ok()?;
    let mut sender = sender.ready().await.ok()?;
    let (response, mut body) = sender.send_request(request, false).ok()?;
    body.send_data(health_request(probe.service.as_deref().unwrap_or_default()), true).ok()?;
    let mut answer = response.await.ok()?.into_body();
    let mut message = BytesMut::new();
    while let Some(Ok(data)) = answer.data().await {
        let _ = answer.flow_control().release_capacity(data.len());
        message.extend_from_slice(&data);
    }
    driver.abort();
    // A frame header of five bytes, then field 1: SERVING is 1.
    Some(if message.get(5..7) == Some(&[0x08, 1]) { 200 } else { 500 })
}

/// A gRPC frame with a `HealthCheckRequest`.
fn health_request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut len = service.len();
        while len > 0x7f {
            message.put_u8(u8::try_from(len & 0x7f).unwrap_or(0) | 0x80);
            len >>= 7;
        }
        message.put_u8(u8::try_from(len).unwrap_or(0));
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(0));
    frame.extend_from_slice(&message);
    frame.freeze()
}
