//! What a client's first bytes say, before any chain is chosen and without consuming them.
//!
//! TLS is told by its record header, and the ClientHello gives server name and ALPN; HTTP is told by its request line or
//! preface, as Envoy's inspectors do. Server-first protocols send nothing: the listener says on which ports not to wait.

pub(crate) mod client_hello;
pub(crate) mod proxy_protocol;

use std::net::SocketAddr;
use std::time::Duration;

use varka_engine::facts::DetectedHttp;
use varka_engine::ir::ConnectionFilters;

pub use client_hello::{ClientHello, Parsed};

use crate::net::Socket;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Sniffed {
    /// TLS, with what its ClientHello says.
    pub tls: Option<ClientHello>,
    /// HTTP in plain text.
    pub http: Option<DetectedHttp>,
}

/// Why a connection ends before a chain is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// The client closed without a byte.
    Closed,
    /// It does not begin with the PROXY protocol header that the listener asks for.
    Malformed,
    /// It said too little in the time allowed, and the listener does not go on without.
    TimedOut,
}

/// A PROXY protocol header is sent at once; it is waited for so long.
const PROXY_HEADER: Duration = Duration::from_secs(10);
/// Most bytes that are read ahead in search of a ClientHello.
const MAX_AHEAD: usize = 64 * 1024;

/// Takes a PROXY protocol header off the front: source and destination that it names.
pub(crate) async fn proxy_header(socket: &mut Socket) -> Result<Option<(SocketAddr, SocketAddr)>, Gone> {
    let reading = async {
        loop {
            match proxy_protocol::parse(socket.ahead()) {
                proxy_protocol::Header::Complete(len, addresses) => {
                    socket.consume(len);
                    return Ok(addresses);
                }
                proxy_protocol::Header::Malformed => return Err(Gone::Malformed),
                proxy_protocol::Header::Partial => match socket.read_ahead().await {
                    Ok(n) if n > 0 => {}
                    _ => return Err(Gone::Closed),
                },
            }
        }
    };
    tokio::time::timeout(PROXY_HEADER, reading).await.unwrap_or(Err(Gone::TimedOut))
}

/// Reads ahead until what the listener asks for is known.
pub(crate) async fn inspect(socket: &mut Socket, filters: &ConnectionFilters, port: u16) -> Result<Sniffed, Gone> {
    if !(filters.tls || filters.http) || filters.disabled_ports.contains(&port) {
        return Ok(Sniffed::default());
    }
    let looking = look(socket, filters);
    match filters.timeout.filter(|t| !t.is_zero()) {
        None => looking.await,
        Some(limit) => within(limit, looking, filters.continue_on_timeout).await,
    }
}

async fn within(
    limit: Duration,
    looking: impl Future<Output = Result<Sniffed, Gone>>,
    go_on: bool,
) -> Result<Sniffed, Gone> {
    match tokio::time::timeout(limit, looking).await {
        Ok(found) => found,
        Err(_) if go_on => Ok(Sniffed::default()),
        Err(_) => Err(Gone::TimedOut),
    }
}

async fn look(socket: &mut Socket, filters: &ConnectionFilters) -> Result<Sniffed, Gone> {
    let mut any = false;
    loop {
        if !socket.ahead().is_empty()
            && let Some(found) = judge(socket.ahead(), filters)
        {
            return Ok(found);
        }
        match socket.read_ahead().await {
            Ok(0) | Err(_) if any => return Ok(Sniffed::default()),
            Ok(0) | Err(_) => return Err(Gone::Closed),
            Ok(_) => any = true,
        }
    }
}

/// What the bytes so far say; `None`: more are needed.
fn judge(bytes: &[u8], filters: &ConnectionFilters) -> Option<Sniffed> {
    if filters.tls {
        match client_hello::parse(bytes) {
            Parsed::Complete(hello) => return Some(Sniffed { tls: Some(*hello), http: None }),
            Parsed::Partial if bytes.len() < MAX_AHEAD => return None,
            Parsed::Partial | Parsed::NotTls => {}
        }
    }
    if !filters.http {
        return Some(Sniffed::default());
    }
    detect_http(bytes).map(|http| Sniffed { tls: None, http })
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest request line that is waited for. A line that is taken for something else than HTTP would pass by every route and
/// policy, so it may be as long as a head.
const MAX_LINE: usize = MAX_AHEAD;

/// `tchar` of RFC 9110: any method is taken for HTTP here; whether it is known is for the codec to say.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// HTTP by its preface or request line. Outer `None`: cannot be told yet.
pub fn detect_http(bytes: &[u8]) -> Option<Option<DetectedHttp>> {
    if PREFACE.starts_with(bytes) || bytes.starts_with(PREFACE) {
        return (bytes.len() >= PREFACE.len()).then_some(Some(DetectedHttp::H2c));
    }
    let method = bytes.iter().take_while(|b| is_token(**b)).count();
    if method == 0 || bytes.get(method).is_some_and(|b| *b != b' ') {
        return Some(None);
    }
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        return (bytes.len() > MAX_LINE).then_some(None);
    };
    let line = bytes.get(..end).unwrap_or_default().trim_ascii_end();
    Some(match line.rsplit(|b| *b == b' ').next() {
        Some(b"HTTP/1.1") => Some(DetectedHttp::Http11),
        Some(b"HTTP/1.0") => Some(DetectedHttp::Http10),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
