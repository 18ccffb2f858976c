//! The heads of requests and responses, independent of the HTTP version that carried them.

use bytes::Bytes;
use http::{HeaderMap, Method};

/// Text of a head that is known to be ASCII; cheap to clone and to cut from the bytes that were received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ascii(Bytes);

impl Ascii {
    /// `None` where it is not ASCII.
    pub fn new(bytes: Bytes) -> Option<Self> {
        bytes.is_ascii().then_some(Self(bytes))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl From<&str> for Ascii {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Ascii {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

/// The head of a request. `host` and what HTTP/2 calls pseudo-headers are members, not header lines.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    /// Method.
    pub method: Method,
    /// `https` where the connection or `x-forwarded-proto` says so.
    pub https: bool,
    /// What the client spoke.
    pub version: http::Version,
    /// Header lines, in the order in which they came, without those that concern one connection alone.
    pub headers: HeaderMap,
    /// Path with query.
    pub path: Ascii,
    /// `Host` or `:authority`; empty where there was none.
    pub authority: Ascii,
    /// The protocol that the client wants to change to (`websocket`), or of an extended CONNECT.
    pub upgrade: Option<Ascii>,
}

impl RequestHead {
    /// The method; empty where a head was refused before anything was read of it.
    pub(crate) fn read_method(&self) -> &str {
        let unread = self.path.as_str().is_empty() && self.authority.as_str().is_empty();
        if unread { "" } else { self.method.as_str() }
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// Whether this is a gRPC request.
    pub fn is_grpc(&self) -> bool {
        let kind = self.headers.get(http::header::CONTENT_TYPE);
        kind.is_some_and(|v| varka_engine::facts::is_grpc_content_type(v.as_bytes()))
    }
}

/// The head of a response.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    /// Status code.
    pub status: u16,
    /// Header lines.
    pub headers: HeaderMap,
}

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// There is none.
    #[default]
    None,
    /// By its length.
    Length(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection (responses of HTTP/1.0 kind, and tunnels).
    UntilClose,
}
