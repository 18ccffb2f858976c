//! What is known of a request or connection at its end, and what the operators take from it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use varka_engine::facts::Connection;
use varka_engine::headers::protocol_name;
use varka_engine::outcome::Outcome;

use super::{Header, Value, time};
use crate::text::Buffer;

/// What is known of one request, or of one connection without HTTP, at its end. Empty text and `None` mean: not known.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// When it began.
    pub start: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// From the beginning to the last byte of the request.
    pub request_duration: Option<Duration>,
    /// From the beginning to the first byte of the upstream's response.
    pub response_duration: Option<Duration>,
    /// The connection.
    pub connection: &'a Connection<'a>,
    /// The client's address, by X-Forwarded-For where that is believed.
    pub client: SocketAddr,
    /// HTTP version of the client; `None` for TCP.
    pub version: Option<Version>,
    /// Method.
    pub method: &'a str,
    /// Path and query as they were sent on; the original is in `x-envoy-original-path`.
    pub path: &'a str,
    /// Authority as it was sent on.
    pub authority: &'a str,
    /// Scheme.
    pub scheme: &'a str,
    /// Request headers as they were sent on.
    pub request: Option<&'a HeaderMap>,
    /// Response headers as the client got them.
    pub response: Option<&'a HeaderMap>,
    /// Response trailers as the client got them.
    pub trailers: Option<&'a HeaderMap>,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// Why we closed the client's connection.
    pub termination: &'a str,
    /// Why the upstream's connection failed.
    pub transport_failure: &'a str,
    /// Payload from the client.
    pub bytes_received: u64,
    /// Payload to the client.
    pub bytes_sent: u64,
    /// Endpoint.
    pub upstream_host: Option<SocketAddr>,
    /// Our end of the connection to it.
    pub upstream_local: Option<SocketAddr>,
    /// Cluster.
    pub cluster: &'a str,
    /// Attempts that were made upstream.
    pub attempts: u32,
    /// Route.
    pub route: &'a str,
    /// Filter chain.
    pub chain: &'a str,
    /// Name of this host.
    pub hostname: &'a str,
}

macro_rules! fields {
    ($($variant:ident $name:literal $number:literal,)*) => {
        /// An operator without argument.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Field {
            $($variant,)*
        }

        impl Field {
            pub(super) fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Whether JSON shows it as a number.
            pub(super) fn is_number(self) -> bool {
                match self {
                    $(Self::$variant => $number,)*
                }
            }
        }
    };
}

fields! {
    Protocol "PROTOCOL" false,
    ResponseCode "RESPONSE_CODE" true,
    ResponseFlags "RESPONSE_FLAGS" false,
    ResponseFlagsLong "RESPONSE_FLAGS_LONG" false,
    Details "RESPONSE_CODE_DETAILS" false,
    Termination "CONNECTION_TERMINATION_DETAILS" false,
    TransportFailure "UPSTREAM_TRANSPORT_FAILURE_REASON" false,
    BytesReceived "BYTES_RECEIVED" true,
    BytesSent "BYTES_SENT" true,
    Duration "DURATION" true,
    RequestDuration "REQUEST_DURATION" true,
    ResponseDuration "RESPONSE_DURATION" true,
    ResponseTxDuration "RESPONSE_TX_DURATION" true,
    UpstreamHost "UPSTREAM_HOST" false,
    UpstreamRemoteAddress "UPSTREAM_REMOTE_ADDRESS" false,
    UpstreamRemoteAddressWithoutPort "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" false,
    UpstreamRemotePort "UPSTREAM_REMOTE_PORT" true,
    UpstreamLocalAddress "UPSTREAM_LOCAL_ADDRESS" false,
    UpstreamLocalAddressWithoutPort "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" false,
    UpstreamLocalPort "UPSTREAM_LOCAL_PORT" true,
    UpstreamCluster "UPSTREAM_CLUSTER" false,
    UpstreamClusterRaw "UPSTREAM_CLUSTER_RAW" false,
    UpstreamAttempts "UPSTREAM_REQUEST_ATTEMPT_COUNT" true,
    DownstreamLocalAddress "DOWNSTREAM_LOCAL_ADDRESS" false,
    DownstreamLocalAddressWithoutPort "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" false,
    DownstreamLocalPort "DOWNSTREAM_LOCAL_PORT" true,
    DownstreamRemoteAddress "DOWNSTREAM_REMOTE_ADDRESS" false,
    DownstreamRemoteAddressWithoutPort "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" false,
    DownstreamRemotePort "DOWNSTREAM_REMOTE_PORT" true,
    DownstreamDirectRemoteAddress "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" false,
    DownstreamDirectRemoteAddressWithoutPort "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" false,
    DownstreamDirectRemotePort "DOWNSTREAM_DIRECT_REMOTE_PORT" true,
    RequestedServerName "REQUESTED_SERVER_NAME" false,
    PeerUriSan "DOWNSTREAM_PEER_URI_SAN" false,
    PeerDnsSan "DOWNSTREAM_PEER_DNS_SAN" false,
    PeerSubject "DOWNSTREAM_PEER_SUBJECT" false,
    PeerFingerprint "DOWNSTREAM_PEER_FINGERPRINT_256" false,
    LocalUriSan "DOWNSTREAM_LOCAL_URI_SAN" false,
    RouteName "ROUTE_NAME" false,
    FilterChainName "FILTER_CHAIN_NAME" false,
    Hostname "HOSTNAME" false,
    GrpcStatusNumber "GRPC_STATUS_NUMBER" true,
}

impl Record<'_> {
    /// Appends a value; `false` if there is none, with nothing appended.
    // As what calls it.
    #[inline(always)]
    pub(super) fn write(&self, value: &Value, out: &mut Buffer) -> bool {
        match value {
            Value::Nothing => true,
            Value::StartTime(format) => time::write_formatted(self.start, format.as_deref(), out),
            Value::Request(first, second) => {
                self.request_header(first, out) || second.as_ref().is_some_and(|h| self.request_header(h, out))
            }
            Value::Response(first, second) => {
                self.response_header(self.response, first, out)
                    || second.as_ref().is_some_and(|h| self.response_header(self.response, h, out))
            }
            Value::Trailer(first, second) => {
                self.response_header(self.trailers, first, out)
                    || second.as_ref().is_some_and(|h| self.response_header(self.trailers, h, out))
            }
            Value::Field(field) => self.field(*field, out),
        }
    }

    fn request_header(&self, name: &Header, out: &mut Buffer) -> bool {
        match name {
            Header::Method => text(self.method, out),
            Header::Path => text(self.path, out),
            Header::Authority => text(self.authority, out),
            Header::Scheme => text(self.scheme, out),
            Header::Status => false,
            Header::Name(name) => self.request.is_some_and(|headers| lines(headers, name, out)),
        }
    }

    fn response_header(&self, headers: Option<&HeaderMap>, name: &Header, out: &mut Buffer) -> bool {
        match name {
            Header::Name(name) => headers.is_some_and(|headers| lines(headers, name, out)),
            Header::Status => self.outcome.status > 0 && put(self.outcome.status, out),
            Header::Method | Header::Path | Header::Authority | Header::Scheme => false,
        }
    }

    // As what calls it.
    #[inline(always)]
    fn field(&self, field: Field, out: &mut Buffer) -> bool {
        match field {
            Field::Protocol => self.version.is_some_and(|version| text(protocol_name(version), out)),
            Field::ResponseCode => put(self.outcome.status, out),
            Field::ResponseFlags => {
                self.outcome.flags.pieces(|piece| out.push(piece.as_bytes()));
                true
            }
            Field::ResponseFlagsLong => self.long_flags(out),
            Field::Details => text(&self.outcome.details, out),
            Field::Termination => text(self.termination, out),
            Field::TransportFailure => underscored(self.transport_failure, out),
            Field::BytesReceived => put(self.bytes_received, out),
            Field::BytesSent => put(self.bytes_sent, out),
            Field::Duration => put(millis(self.duration), out),
            Field::RequestDuration => some(self.request_duration.map(millis), put, out),
            Field::ResponseDuration => some(self.response_duration.map(millis), put, out),
            Field::ResponseTxDuration => {
                some(self.response_duration.map(|d| millis(self.duration.saturating_sub(d))), put, out)
            }
            Field::UpstreamCluster | Field::UpstreamClusterRaw => text(self.cluster, out),
            Field::UpstreamAttempts => put(self.attempts, out),
            Field::RouteName => text(self.route, out),
            Field::FilterChainName => text(self.chain, out),
            Field::Hostname => text(self.hostname, out),
            Field::GrpcStatusNumber => some(self.grpc_status(), put, out),
            Field::UpstreamHost
            | Field::UpstreamRemoteAddress
            | Field::UpstreamRemoteAddressWithoutPort
            | Field::UpstreamRemotePort
            | Field::UpstreamLocalAddress
            | Field::UpstreamLocalAddressWithoutPort
            | Field::UpstreamLocalPort => self.upstream_address(field, out),
            _ => self.downstream(field, out),
        }
    }

    fn upstream_address(&self, field: Field, out: &mut Buffer) -> bool {
        let (host, local) = (self.upstream_host, self.upstream_local);
        match field {
            Field::UpstreamHost | Field::UpstreamRemoteAddress => some(host, put_address, out),
            Field::UpstreamRemoteAddressWithoutPort => some(host.map(|a| a.ip()), put_ip, out),
            Field::UpstreamRemotePort => some(host.map(|a| a.port()), put, out),
            Field::UpstreamLocalAddress => some(local, put_address, out),
            Field::UpstreamLocalAddressWithoutPort => some(local.map(|a| a.ip()), put_ip, out),
            Field::UpstreamLocalPort => some(local.map(|a| a.port()), put, out),
            _ => false,
        }
    }

    fn downstream(&self, field: Field, out: &mut Buffer) -> bool {
        let c = self.connection;
        let peer = c.peer_identity;
        match field {
            Field::DownstreamLocalAddress => put_address(c.original_dst, out),
            Field::DownstreamLocalAddressWithoutPort => put_ip(c.original_dst.ip(), out),
            Field::DownstreamLocalPort => put(c.original_dst.port(), out),
            Field::DownstreamRemoteAddress => put_address(self.client, out),
            Field::DownstreamRemoteAddressWithoutPort => put_ip(self.client.ip(), out),
            Field::DownstreamRemotePort => put(self.client.port(), out),
            Field::DownstreamDirectRemoteAddress => put_address(c.peer, out),
            Field::DownstreamDirectRemoteAddressWithoutPort => put_ip(c.peer.ip(), out),
            Field::DownstreamDirectRemotePort => put(c.peer.port(), out),
            Field::RequestedServerName => text(c.sni.unwrap_or_default(), out),
            Field::PeerUriSan => text(&peer.map(|p| p.uri_sans.join(",")).unwrap_or_default(), out),
            Field::PeerDnsSan => text(&peer.map(|p| p.dns_sans.join(",")).unwrap_or_default(), out),
            Field::PeerSubject => text(peer.map_or("", |p| &p.subject), out),
            Field::PeerFingerprint => text(peer.map_or("", |p| &p.sha256), out),
            Field::LocalUriSan => text(c.local_identity.unwrap_or_default(), out),
            _ => false,
        }
    }

    fn long_flags(&self, out: &mut Buffer) -> bool {
        for (i, flag) in self.outcome.flags.iter().enumerate() {
            if i > 0 {
                out.letter(b',');
            }
            out.push(flag.long().as_bytes());
        }
        !self.outcome.flags.is_empty()
    }

    pub(super) fn grpc_status(&self) -> Option<u32> {
        let of = |headers: &HeaderMap| headers.get("grpc-status").and_then(|value| value.to_str().ok()?.parse().ok());
        let trailers = self.trailers.filter(|trailers| trailers.contains_key("grpc-status"));
        trailers.or(self.response).and_then(of)
    }
}

fn put(value: impl Into<u64>, out: &mut Buffer) -> bool {
    out.number(value.into());
    true
}

fn put_address(value: SocketAddr, out: &mut Buffer) -> bool {
    out.address(value);
    true
}

fn put_ip(value: IpAddr, out: &mut Buffer) -> bool {
    out.ip(value);
    true
}

fn some<T>(value: Option<T>, put: impl FnOnce(T, &mut Buffer) -> bool, out: &mut Buffer) -> bool {
    value.is_some_and(|value| put(value, out))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[inline]
fn text(value: &str, out: &mut Buffer) -> bool {
    out.push(value.as_bytes());
    !value.is_empty()
}

/// White space becomes `_`, so that a line stays a sequence of words.
fn underscored(value: &str, out: &mut Buffer) -> bool {
    let mut words = value.split(char::is_whitespace);
    text(words.next().unwrap_or_default(), out);
    for word in words {
        out.letter(b'_');
        text(word, out);
    }
    !value.is_empty()
}

/// All lines of a header, joined by commas. Bytes that would break a log line are shown escaped.
fn lines(headers: &HeaderMap, name: &HeaderName, out: &mut Buffer) -> bool {
    let Some(first) = headers.get(name) else { return false };
    line(first, out);
    // Hardly any message has a name twice.
    if headers.len() > headers.keys_len() {
        for value in headers.get_all(name).iter().skip(1) {
            out.letter(b',');
            line(value, out);
        }
    }
    true
}

fn line(value: &HeaderValue, out: &mut Buffer) {
    let value = value.as_bytes();
    // One look at all of them is quicker than one that ends at the first.
    let plain = value.iter().fold(true, |plain, letter| plain & matches!(letter, b' '..=b'~' | b'\t'));
    if plain {
        out.push(value);
    } else {
        out.push(value.escape_ascii().to_string().as_bytes());
    }
}
