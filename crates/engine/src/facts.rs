//! What is known about a connection and a request when something is decided: borrowed, without body or socket.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use serde_json::Value;

use crate::ir::{Str, TransportProtocol};

/// What is known of a downstream connection.
#[derive(Debug, Clone, Copy)]
pub struct Connection<'a> {
    /// Where the client meant to go, before interception.
    pub original_dst: SocketAddr,
    /// Our end of the socket.
    pub local: SocketAddr,
    /// The other end of the socket (or what the PROXY protocol says of it).
    pub peer: SocketAddr,
    /// TLS or not, as the first bytes show.
    pub transport: TransportProtocol,
    /// Server name of the ClientHello, lower case.
    pub sni: Option<&'a str>,
    /// Protocols that the ClientHello offers, in the client's order.
    pub alpn: &'a [Vec<u8>],
    /// What the first bytes in plain text are, where they were looked at.
    pub detected_http: Option<DetectedHttp>,
    /// Whose certificate the client showed in a finished handshake.
    pub peer_identity: Option<&'a PeerIdentity>,
    /// Our own certificate's URI SAN in that handshake.
    pub local_identity: Option<&'a str>,
}

impl<'a> Connection<'a> {
    /// A plain-text connection of which only the addresses are known.
    pub fn plain(original_dst: SocketAddr, peer: SocketAddr) -> Self {
        Self {
            original_dst,
            local: original_dst,
            peer,
            transport: TransportProtocol::RawBuffer,
            sni: None,
            alpn: &[],
            detected_http: None,
            peer_identity: None,
            local_identity: None,
        }
    }

    /// Whether TLS is terminated here with a client certificate or without.
    pub fn is_tls(&self) -> bool {
        self.transport == TransportProtocol::Tls
    }

    /// Protocol names that a filter chain can ask for: the offered ALPN, or what the HTTP inspector saw.
    pub fn application_protocols(&self) -> impl Iterator<Item = &[u8]> {
        let detected = if self.is_tls() { None } else { self.detected_http };
        self.alpn.iter().map(Vec::as_slice).chain(detected.map(|d| d.name().as_bytes()))
    }
}

/// What Envoy's HTTP inspector tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DetectedHttp {
    /// A request line that ends in `HTTP/1.0`.
    Http10,
    /// A request line that ends in `HTTP/1.1`.
    Http11,
    /// The HTTP/2 preface.
    H2c,
}

impl DetectedHttp {
    /// The name that filter chains match: `http/1.0`, `http/1.1`, `h2c`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "http/1.0",
            Self::Http11 => "http/1.1",
            Self::H2c => "h2c",
        }
    }
}

/// Who the client is, from a certificate that was verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// URI SANs; the first is the SPIFFE identity.
    pub uri_sans: Vec<Str>,
    /// DNS SANs.
    pub dns_sans: Vec<Str>,
    /// Subject, RFC 2253; mesh certificates have none.
    pub subject: Str,
    /// SHA-256 of the certificate's DER form, lower-case hex.
    pub sha256: Str,
}

impl PeerIdentity {
    /// An identity of nothing but a URI SAN.
    pub fn of_uri(uri: &str) -> Self {
        Self { uri_sans: vec![uri.into()], ..Self::default() }
    }

    /// The first URI SAN.
    pub fn uri(&self) -> Option<&str> {
        self.uri_sans.first().map(AsRef::as_ref)
    }
}

/// What filters have found out about a request, by filter name (`envoy.filters.http.jwt_authn`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata(Vec<(Str, Value)>);

impl Metadata {
    /// Nothing known.
    pub const EMPTY: &'static Self = &Self(Vec::new());

    /// Replaces what `filter` said.
    pub fn set(&mut self, filter: Str, value: Value) {
        match self.0.iter_mut().find(|(name, _)| *name == filter) {
            Some((_, old)) => *old = value,
            None => self.0.push((filter, value)),
        }
    }

    /// Adds one thing to what `filter` said.
    pub fn insert(&mut self, filter: &str, key: String, value: Value) {
        match self.0.iter_mut().find(|(name, _)| **name == *filter) {
            Some((_, Value::Object(members))) => drop(members.insert(key, value)),
            Some((_, other)) => *other = serde_json::json!({ key: value }),
            None => self.0.push((filter.into(), serde_json::json!({ key: value }))),
        }
    }

    /// What `filter` said.
    pub fn filter(&self, filter: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| &**name == filter).map(|(_, value)| value)
    }

    /// The value at `path` below what `filter` said.
    pub fn get(&self, filter: &str, path: &[Str]) -> Option<&Value> {
        path.iter().try_fold(self.filter(filter)?, |value, key| value.as_object()?.get(&**key))
    }
}

/// What is known of a request: its head after normalisation, and whence it came.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `GET`, ...
    pub method: &'a str,
    /// `http` or `https`, by `x-forwarded-proto` or the connection.
    pub scheme: &'a str,
    /// Host header or `:authority`, with port as sent.
    pub authority: &'a str,
    /// Normalised path with query.
    pub path: &'a str,
    /// All headers, without `host` and pseudo-headers.
    pub headers: &'a HeaderMap,
    /// The connection it came on.
    pub connection: &'a Connection<'a>,
    /// The client's address by X-Forwarded-For, else the peer's (port 0 where it is not known).
    pub remote_address: SocketAddr,
    /// What filters have found out.
    pub metadata: &'a Metadata,
    /// HTTP version of the client.
    pub version: http::Version,
}

impl<'a> Request<'a> {
    /// Path without query.
    pub fn path_only(&self) -> &'a str {
        split_query(self.path).0
    }

    /// Query without `?`, if there is one.
    pub fn query(&self) -> Option<&'a str> {
        split_query(self.path).1
    }

    /// `application/grpc` or `application/grpc+...`.
    pub fn is_grpc(&self) -> bool {
        self.headers.get(http::header::CONTENT_TYPE).is_some_and(|v| is_grpc_content_type(v.as_bytes()))
    }

    /// The client's address without port.
    pub fn remote_ip(&self) -> IpAddr {
        self.remote_address.ip()
    }

    /// Calls `check` with each line of a header or pseudo-header until it says true; `None` when there is no such header.
    pub fn any_line(&self, name: &str, mut check: impl FnMut(&[u8]) -> bool) -> Option<bool> {
        let pseudo = match name {
            ":method" => Some(self.method),
            ":authority" | "host" => Some(self.authority),
            ":path" => Some(self.path),
            ":scheme" => Some(self.scheme),
            _ => None,
        };
        if let Some(value) = pseudo {
            return Some(check(value.as_bytes()));
        }
        let mut lines = self.headers.get_all(name).iter().peekable();
        lines.peek()?;
        Some(lines.any(|line| check(line.as_bytes())))
    }
}

/// Splits a path at its first `?`.
pub fn split_query(path: &str) -> (&str, Option<&str>) {
    match memchr::memchr(b'?', path.as_bytes()) {
        Some(at) => match (path.get(..at), path.get(at + 1..)) {
            (Some(before), after) => (before, after),
            _ => (path, None),
        },
        None => (path, None),
    }
}

/// Whether a content type is gRPC's, as Envoy tells it: `application/grpc`, alone or followed by `+`.
pub fn is_grpc_content_type(value: &[u8]) -> bool {
    value.strip_prefix(b"application/grpc").is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
}
