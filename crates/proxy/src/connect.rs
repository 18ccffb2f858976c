//! Making connections to endpoints.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};
use varka_engine::ir::Cluster;
use varka_engine::outcome::ResetReason;

use crate::conn::Seen;
use crate::net::{Io, Socket};
use crate::peer::{self, Secured};
use crate::state::State;
use crate::tls::{ClientTls, NotSupplied};

/// How a connection is to be made.
#[derive(Debug)]
pub(crate) struct Dial<'a> {
    /// Where to.
    pub address: SocketAddr,
    /// Timeout, keep-alive and source address.
    pub cluster: &'a Cluster,
    /// TLS, if any.
    pub tls: Option<&'a ClientTls>,
    /// Host of the request, for clusters that send it as server name.
    pub host: Option<&'a str>,
    /// Socket mark and certificates.
    pub state: &'a State,
    /// Whose connection a PROXY header speaks of, where the cluster has one; `None`: our own.
    pub proxy: Option<&'a Seen>,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectError {
    /// Envoy's reason.
    pub reason: ResetReason,
    /// `%UPSTREAM_TRANSPORT_FAILURE_REASON%`; empty: none.
    pub transport: String,
}

/// A connection that was made.
#[derive(Debug)]
pub(crate) struct Dialled {
    /// The connection.
    pub io: Io,
    /// Whose certificates were shown; `None`: plain text.
    pub secured: Option<Rc<Secured>>,
    /// Both sides agreed to say who they are before anything else.
    pub exchange: bool,
}

/// Connects, and performs the TLS handshake.
pub(crate) async fn connect(dial: &Dial<'_>) -> Result<Dialled, ConnectError> {
    let limit = match dial.cluster.connect_timeout {
        Duration::ZERO => Duration::from_secs(10),
        limit => limit,
    };
    match tokio::time::timeout(limit, establish(dial)).await {
        Ok(done) => done,
        Err(_) => Err(ConnectError { reason: ResetReason::ConnectionTimeout, transport: String::new() }),
    }
}

async fn establish(dial: &Dial<'_>) -> Result<Dialled, ConnectError> {
    let stream = open(dial).await.map_err(|e| refused(&e))?;
    let mut socket = Socket::new(stream);
    if let Some(version) = dial.cluster.proxy_protocol {
        use tokio::io::AsyncWriteExt as _;
        let header = proxy_header(version, dial.proxy, &socket).map_err(|e| refused(&e))?;
        socket.write_all(&header).await.map_err(|e| refused(&e))?;
    }
    let Some(tls) = dial.tls else { return Ok(Dialled { io: Io::Plain(socket), secured: None, exchange: false }) };
    match tls.connect(socket, dial.host).await {
        Ok(stream) => {
            let session = stream.get_ref().1;
            let own = tls.certificate().and_then(|name| dial.state.secrets.uri(name));
            let secured = Secured {
                peer: crate::tls::peer_uri(session).unwrap_or_default(),
                own: own.unwrap_or_default(),
                mesh: tls.is_mesh(),
            };
            let exchange = session.alpn_protocol() == Some(peer::ALPN);
            Ok(Dialled { io: Io::Tls(Box::new(stream.into())), secured: Some(Rc::new(secured)), exchange })
        }
        Err(e) => Err(handshake_failed(&e)),
    }
}

async fn open(dial: &Dial<'_>) -> io::Result<TcpStream> {
    let socket = RawSocket::new(Domain::for_address(dial.address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(mark) = dial.state.mark() {
        varka_sys::socket::set_mark(&socket, mark)?;
    }
    if let Some(source) = dial.cluster.bind_source.filter(|s| s.is_ipv4() == dial.address.is_ipv4()) {
        bind(&socket, source)?;
    }
    if let Some(keepalive) = &dial.cluster.tcp_keepalive {
        let mut options = TcpKeepalive::new();
        if let Some(time) = keepalive.time {
            options = options.with_time(time);
        }
        if let Some(interval) = keepalive.interval {
            options = options.with_interval(interval);
        }
        if let Some(probes) = keepalive.probes {
            options = options.with_retries(probes);
        }
        SockRef::from(&socket).set_tcp_keepalive(&options)?;
    }
    TcpSocket::from_std_stream(socket.into()).connect(dial.address).await
}

fn bind(socket: &RawSocket, source: IpAddr) -> io::Result<()> {
    varka_sys::socket::bind_source(socket, source)
}

/// Envoy words a refused connection after `strerror`.
fn refused(e: &io::Error) -> ConnectError {
    let why = match e.kind() {
        io::ErrorKind::ConnectionRefused => "Connection refused",
        io::ErrorKind::HostUnreachable => "No route to host",
        io::ErrorKind::NetworkUnreachable => "Network is unreachable",
        io::ErrorKind::TimedOut => "Connection timed out",
        io::ErrorKind::ConnectionReset => "Connection reset by peer",
        io::ErrorKind::AddrNotAvailable => "Cannot assign requested address",
        io::ErrorKind::PermissionDenied => "Operation not permitted",
        _ => "connection error",
    };
    let local = matches!(e.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::PermissionDenied);
    let reason = if local { ResetReason::LocalConnectionFailure } else { ResetReason::RemoteConnectionFailure };
    ConnectError { reason, transport: format!("delayed connect error: {why}") }
}

fn handshake_failed(e: &io::Error) -> ConnectError {
    if let Some(missing) = e.get_ref().and_then(|inner| inner.downcast_ref::<NotSupplied>()) {
        let transport = format!("TLS_error: {missing}");
        return ConnectError { reason: ResetReason::RemoteConnectionFailure, transport };
    }
    let tls = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let transport = match tls {
        // What comes back is no TLS at all: Envoy names no reason either.
        Some(rustls::Error::InvalidMessage(_)) | None => String::new(),
        // Ours, in its own words.
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(why))) => {
            format!("TLS_error: {}", why.0)
        }
        Some(error) => format!("TLS_error: {error}"),
    };
    ConnectError { reason: ResetReason::RemoteConnectionFailure, transport }
}

/// A PROXY protocol header. A connection that nobody asked for is our own: by version 2 without addresses.
fn proxy_header(version: u8, whose: Option<&Seen>, socket: &Socket) -> io::Result<Vec<u8>> {
    let (source, destination) = match whose {
        Some(client) => (client.peer, client.original_dst),
        None if version == 2 => return Ok(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec()),
        None => (socket.tcp().local_addr()?, socket.tcp().peer_addr()?),
    };
    if version != 2 {
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let (s, d) = (source, destination);
        return Ok(format!("PROXY {family} {} {} {} {}\r\n", s.ip(), d.ip(), s.port(), d.port()).into_bytes());
    }
    let mut out = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    let mut addresses = Vec::with_capacity(36);
    match (source, destination) {
        (SocketAddr::V4(s), SocketAddr::V4(d)) => {
            out.push(0x11);
            addresses.extend(s.ip().octets());
            addresses.extend(d.ip().octets());
        }
        (s, d) => {
            out.push(0x21);
            let v6 = |a: SocketAddr| match a.ip() {
                IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
                IpAddr::V6(a) => a.octets(),
            };
            addresses.extend(v6(s));
            addresses.extend(v6(d));
        }
    }
    addresses.extend(source.port().to_be_bytes());
    addresses.extend(destination.port().to_be_bytes());
    out.extend(u16::try_from(addresses.len()).unwrap_or(0).to_be_bytes());
    out.extend(addresses);
    Ok(out)
}
