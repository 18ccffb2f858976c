//! HTTP/1 heads to bytes.

use bytes::{BufMut as _, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderMap};
use http::{Method, Version};

use super::body::Encoder;
use crate::http::message::{RequestHead, ResponseHead};

/// One header line.
pub(super) fn line(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Writes a request head, and says how its body is to be written. `end`: there is no body.
pub(crate) fn request(out: &mut BytesMut, head: &RequestHead, end: bool) -> Encoder {
    out.reserve(512);
    out.put_slice(head.method.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(if head.method == Method::CONNECT { &head.authority } else { &head.path }.as_str().as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    line(out, b"host", head.authority.as_str().as_bytes());
    let length = length(&head.headers);
    lines(out, &head.headers);
    let encoder = if let Some(upgrade) = &head.upgrade {
        line(out, b"connection", b"upgrade");
        line(out, b"upgrade", upgrade.as_str().as_bytes());
        Encoder::Raw
    } else if head.method == Method::CONNECT {
        Encoder::Raw
    } else if end {
        // An explicit zero for methods that usually carry a body, as Envoy writes it.
        if length.is_none() && !matches!(head.method, Method::GET | Method::HEAD | Method::DELETE | Method::TRACE) {
            line(out, b"content-length", b"0");
        }
        Encoder::Done
    } else if let Some(n) = length {
        Encoder::Length(n)
    } else {
        line(out, b"transfer-encoding", b"chunked");
        Encoder::Chunked
    };
    out.put_slice(b"\r\n");
    encoder
}

/// What a response answers, as far as its form depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answering {
    /// HEAD: no body whatever the head says.
    pub head: bool,
    /// CONNECT.
    pub connect: bool,
    /// HTTP of the client.
    pub version: Version,
    /// Whether the connection stays open.
    pub keep_alive: bool,
}

/// Writes a response head. Gives back how its body is written and whether the connection can stay open.
pub(crate) fn response(out: &mut BytesMut, head: &ResponseHead, end: bool, to: Answering) -> (Encoder, bool) {
    out.reserve(512);
    out.put_slice(b"HTTP/1.1 ");
    let digits = [100, 10, 1].map(|p| b'0' + u8::try_from(head.status / p % 10).unwrap_or(0));
    out.put_slice(&digits);
    out.put_slice(b" ");
    out.put_slice(reason(head.status).as_bytes());
    out.put_slice(b"\r\n");
    let length = length(&head.headers);
    if head.status < 200 || head.status == 204 {
        // There is no body whose length could be told.
        for (name, value) in head.headers.iter().filter(|(name, _)| *name != CONTENT_LENGTH) {
            line(out, name.as_str().as_bytes(), value.as_bytes());
        }
    } else {
        lines(out, &head.headers);
    }
    let mut keep_alive = to.keep_alive;
    // In Envoy's order: what the connection manager says of the connection, then what the codec says of the body.
    let (encoder, framing): (_, Option<(&[u8], &[u8])>) =
        if head.status == 101 || (to.connect && (200..300).contains(&head.status)) {
            (Encoder::Raw, None)
        } else if head.status < 200 || head.status == 204 || head.status == 304 {
            (Encoder::Done, None)
        } else if to.head {
            // What the same request with GET might get, as far as can be told.
            let unknown = length.is_none() && to.version != Version::HTTP_10;
            (Encoder::Done, unknown.then_some((b"transfer-encoding", b"chunked")))
        } else if end {
            (Encoder::Done, length.is_none().then_some((b"content-length", b"0")))
        } else if let Some(n) = length {
            (Encoder::Length(n), None)
        } else if to.version == Version::HTTP_10 {
            keep_alive = false;
            (Encoder::Raw, None)
        } else {
            (Encoder::Chunked, Some((b"transfer-encoding", b"chunked")))
        };
    if head.status == 101 {
        line(out, b"connection", b"upgrade");
    }
    if head.status >= 200 {
        if !keep_alive {
            line(out, b"connection", b"close");
        } else if to.version == Version::HTTP_10 {
            line(out, b"connection", b"keep-alive");
        }
    }
    if let Some((name, value)) = framing {
        line(out, name, value);
    }
    out.put_slice(b"\r\n");
    (encoder, keep_alive)
}

fn lines(out: &mut BytesMut, headers: &HeaderMap) {
    for (name, value) in headers {
        line(out, name.as_str().as_bytes(), value.as_bytes());
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Envoy's reason phrases (IANA's; unknown codes are `Unknown`).
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        302 => "Found",
        413 => "Payload Too Large",
        _ => http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Unknown"),
    }
}

#[cfg(test)]
mod tests;
