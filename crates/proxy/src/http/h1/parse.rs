//! HTTP/1 heads from bytes: strict where leniency would let two parsers disagree about where a message ends.

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::TE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use smallvec::SmallVec;

use crate::http::message::{Ascii, Framing, RequestHead, ResponseHead};

/// What a peer's head may be at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a head.
    pub bytes: usize,
    /// Header lines.
    pub lines: usize,
    /// Whether HTTP/1.0 is served.
    pub http10: bool,
}

impl Default for Limits {
    /// Envoy's.
    fn default() -> Self {
        Self { bytes: 60 * 1024, lines: 100, http10: false }
    }
}

/// Why a request head is refused; the connection ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// It is not HTTP/1.
    Codec,
    /// It has both Content-Length and Transfer-Encoding.
    LengthAndChunked,
    /// A transfer coding other than `chunked`.
    TransferEncoding,
    /// More bytes than allowed.
    TooLarge,
    /// More lines than allowed.
    TooManyLines,
    /// HTTP/1.0.
    LowVersion,
    /// It names a header in `Connection` that must not be taken out.
    Connection,
    /// A value has a byte that must not be there.
    Characters,
    /// Host has one.
    Authority,
    /// The target does not fit the method.
    Target,
    /// The target is an address that is not HTTP's.
    Scheme,
}

impl HeadError {
    /// Status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Codec
            | Self::LengthAndChunked
            | Self::Connection
            | Self::Characters
            | Self::Authority
            | Self::Target
            | Self::Scheme => 400,
            Self::TransferEncoding => 501,
            Self::TooLarge | Self::TooManyLines => 431,
            Self::LowVersion => 426,
        }
    }

    /// Envoy's response code details.
    pub fn details(self) -> &'static str {
        match self {
            Self::Codec => "http1.codec_error",
            Self::LengthAndChunked => "http1.content_length_and_chunked_not_allowed",
            Self::TransferEncoding => "http1.invalid_transfer_encoding",
            Self::TooLarge => "http1.headers_too_large",
            Self::TooManyLines => "http1.too_many_headers",
            Self::LowVersion => "low_version",
            Self::Connection => "http1.connection_header_rejected",
            Self::Characters => "http1.invalid_characters",
            Self::Authority => "http.invalid_authority",
            Self::Target => "http1.invalid_url",
            Self::Scheme => "http1.invalid_scheme",
        }
    }
}

/// What a head says about the rest of its message and connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How the body ends.
    pub framing: Framing,
    /// Whether another message may follow on the connection.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// Methods of RFC 9110 and the extensions that Envoy's parser knows. Others, and lower case, are refused.
const METHODS: [&str; 34] = [
    "GET",
    "POST",
    "PUT",
    "DELETE",
    "HEAD",
    "OPTIONS",
    "PATCH",
    "CONNECT",
    "TRACE",
    "COPY",
    "LOCK",
    "MKCOL",
    "MOVE",
    "PROPFIND",
    "PROPPATCH",
    "SEARCH",
    "UNLOCK",
    "BIND",
    "REBIND",
    "UNBIND",
    "ACL",
    "REPORT",
    "MKACTIVITY",
    "CHECKOUT",
    "MERGE",
    "M-SEARCH",
    "NOTIFY",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "PURGE",
    "MKCALENDAR",
    "LINK",
    "UNLINK",
    "SOURCE",
];

/// The length of the head at the start of `buf`, with its empty line; `from` is how far an earlier call has looked.
fn head_len(buf: &[u8], from: &mut usize) -> Option<usize> {
    let mut at = from.saturating_sub(3);
    while let Some(i) = buf.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        at += i + 1;
        match buf.get(at..) {
            Some([b'\n', ..]) => return Some(at + 1),
            Some([b'\r', b'\n', ..]) => return Some(at + 2),
            _ => {}
        }
    }
    *from = buf.len();
    None
}

/// Takes a request head off the front of `buf`. `None`: more bytes are needed.
pub fn request(
    buf: &mut BytesMut,
    scanned: &mut usize,
    limits: &Limits,
) -> Result<Option<(RequestHead, Shape)>, HeadError> {
    // An empty line before a request is tolerated (RFC 9112 2.2).
    while *scanned == 0 && matches!(buf.first(), Some(b'\r' | b'\n')) {
        match (buf.first(), buf.get(1)) {
            (Some(b'\n'), _) => buf.advance(1),
            (Some(b'\r'), Some(b'\n')) => buf.advance(2),
            (Some(b'\r'), None) => return Ok(None),
            _ => return Err(HeadError::Codec),
        }
    }
    let Some(len) = head_len(buf, scanned) else {
        return if buf.len() > limits.bytes { Err(HeadError::TooLarge) } else { early_error(buf).map(|()| None) };
    };
    *scanned = 0;
    if len > limits.bytes {
        return Err(HeadError::TooLarge);
    }
    let (line, lines) = first_line(&buf.split_to(len).freeze())?;
    let mut head = RequestHead::default();
    request_line(&line, limits, &mut head)?;
    let parsed = header_lines(&lines, limits.lines, &mut head.headers, true)?;
    finish_request(&mut head, &parsed).map(|shape| Some((head, shape)))
}

/// The first line of a head, without its end, and the lines after it.
fn first_line(head: &Bytes) -> Result<(Bytes, Bytes), HeadError> {
    let end = memchr::memchr(b'\n', head).ok_or(HeadError::Codec)?;
    let line = match end.checked_sub(1).and_then(|i| head.get(i)) {
        Some(b'\r') => head.slice(..end - 1),
        _ => head.slice(..end),
    };
    Ok((line, head.slice(end + 1..)))
}

/// Bytes that cannot become a request line are refused before the head is complete, so that garbage does not wait.
fn early_error(buf: &[u8]) -> Result<(), HeadError> {
    let method = buf.split(|b| *b == b' ').next().unwrap_or_default();
    let possible = METHODS
        .iter()
        .any(|m| if method.len() == buf.len() { m.as_bytes().starts_with(method) } else { m.as_bytes() == method });
    if possible { Ok(()) } else { Err(HeadError::Codec) }
}

fn request_line(line: &Bytes, limits: &Limits, head: &mut RequestHead) -> Result<(), HeadError> {
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadError::Codec);
    };
    if !METHODS.iter().any(|m| m.as_bytes() == method) {
        return Err(HeadError::Codec);
    }
    head.method = Method::from_bytes(method).map_err(|_| HeadError::Codec)?;
    head.version = match version {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" if limits.http10 => Version::HTTP_10,
        b"HTTP/1.0" => return Err(HeadError::LowVersion),
        _ => return Err(HeadError::Codec),
    };
    if target.iter().any(u8::is_ascii_control) {
        return Err(HeadError::Characters);
    }
    if target.is_empty() || !target.iter().all(|b| (0x21..0x7f).contains(b)) {
        return Err(HeadError::Codec);
    }
    let target = Ascii::new(line.slice_ref(target)).ok_or(HeadError::Codec)?;
    let (of_server, path) = (target.as_str() == "*", target.as_str().starts_with('/'));
    if (of_server && head.method != Method::OPTIONS) || (path && head.method == Method::CONNECT) {
        return Err(HeadError::Target);
    }
    if head.method == Method::CONNECT {
        if !is_authority(target.as_str().as_bytes()) {
            return Err(HeadError::Codec);
        }
        head.authority = target;
    } else if path || of_server {
        head.path = target;
    } else {
        absolute_form(target.as_str(), head)?;
    }
    Ok(())
}

/// What Host and the authority of a target may hold, in whatever form they come: no other parser then finds a path in it. `user@` is
/// refused although the grammar has it: what reads as the host would not be it.
fn is_authority(text: &[u8]) -> bool {
    text.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(b))
}

/// `GET http://host/path`: the authority in the target wins over Host.
fn absolute_form(target: &str, head: &mut RequestHead) -> Result<(), HeadError> {
    let (scheme, rest) = target.split_once("://").ok_or(HeadError::Codec)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(HeadError::Scheme);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).ok_or(HeadError::Codec)?;
    if authority.is_empty() || !is_authority(authority.as_bytes()) {
        return Err(HeadError::Codec);
    }
    head.authority = authority.into();
    head.path = if path.starts_with('/') { path.into() } else { format!("/{path}").into() };
    Ok(())
}

/// What the lines of a head say about its message and connection; these lines themselves go no further.
#[derive(Debug, Default)]
struct Control {
    host: Option<Bytes>,
    hosts: usize,
    lengths: usize,
    length: Option<Bytes>,
    codings: usize,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade_named: bool,
    upgrade: Option<Bytes>,
    expects_continue: bool,
    refused_name: bool,
}

/// Header lines up to and with the empty line, into `headers`, but for those that concern this connection alone.
fn header_lines(lines: &Bytes, max: usize, headers: &mut HeaderMap, of_request: bool) -> Result<Control, HeadError> {
    let mut stack = [httparse::EMPTY_HEADER; 128];
    let mut heap;
    let room = if max < stack.len() {
        &mut stack[..]
    } else {
        heap = vec![httparse::EMPTY_HEADER; max + 1];
        &mut heap[..]
    };
    let parsed: &[httparse::Header<'_>] = match httparse::parse_headers(lines, room) {
        Ok(httparse::Status::Complete((_, parsed))) => parsed,
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyLines),
        Err(httparse::Error::HeaderValue) => return Err(HeadError::Characters),
        Ok(httparse::Status::Partial) | Err(_) => return Err(HeadError::Codec),
    };
    if parsed.len() > max {
        return Err(HeadError::TooManyLines);
    }
    let mut control = Control::default();
    let mut nominated: SmallVec<[&[u8]; 4]> = SmallVec::new();
    for h in parsed.iter().filter(|h| h.name.eq_ignore_ascii_case("connection")) {
        for token in h.value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            control.connection_token(token, &mut nominated);
        }
    }
    headers.reserve(parsed.len() + 6);
    for h in parsed {
        let value = lines.slice_ref(h.value);
        if of_request && h.name.eq_ignore_ascii_case("te") {
            // Of what a client can take, only trailers can be passed on.
            let trailers = |t: &[u8]| t.trim_ascii().eq_ignore_ascii_case(b"trailers");
            if value.split(|b| *b == b',').any(trailers) {
                headers.insert(TE, HeaderValue::from_static("trailers"));
            }
            continue;
        }
        if control.takes(h.name, &value) || nominated.iter().any(|n| n.eq_ignore_ascii_case(h.name.as_bytes())) {
            continue;
        }
        let name = HeaderName::from_bytes(h.name.as_bytes()).map_err(|_| HeadError::Codec)?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| HeadError::Characters)?;
        headers.try_append(name, value).map_err(|_| HeadError::TooManyLines)?;
    }
    Ok(control)
}

impl Control {
    fn connection_token<'a>(&mut self, token: &'a [u8], nominated: &mut SmallVec<[&'a [u8]; 4]>) {
        const PROTECTED: [&[u8]; 6] = [
            b"host",
            b"content-length",
            b"transfer-encoding",
            b"x-forwarded-for",
            b"x-forwarded-host",
            b"x-forwarded-proto",
        ];
        if token.eq_ignore_ascii_case(b"close") {
            self.close = true;
        } else if token.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
        } else if token.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade_named = true;
        } else if PROTECTED.iter().any(|p| token.eq_ignore_ascii_case(p)) {
            self.refused_name = true;
        } else if !token.is_empty() && !token.eq_ignore_ascii_case(b"te") {
            nominated.push(token);
        }
    }

    /// Notes what a line says; `true`: it goes no further.
    fn takes(&mut self, name: &str, value: &Bytes) -> bool {
        let is = |n: &str| name.eq_ignore_ascii_case(n);
        match name.len() {
            4 if is("host") => {
                self.hosts += 1;
                self.host = Some(value.clone());
                true
            }
            6 if is("expect") => {
                self.expects_continue = value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
                self.expects_continue
            }
            7 if is("upgrade") => {
                self.upgrade = Some(value.clone());
                true
            }
            10 => is("connection") || is("keep-alive"),
            14 if is("content-length") => {
                self.lengths += 1;
                self.length = Some(value.clone());
                false
            }
            14 => is("http2-settings"),
            16 => is("proxy-connection"),
            17 if is("transfer-encoding") => {
                self.codings += 1;
                self.chunked = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                true
            }
            _ => false,
        }
    }

    /// What the framing headers say; `None`: nothing.
    fn framing(&self) -> Result<Option<Framing>, HeadError> {
        if self.codings > 0 {
            return match (self.lengths, self.codings, self.chunked) {
                (0, 1, true) => Ok(Some(Framing::Chunked)),
                (0, ..) => Err(HeadError::TransferEncoding),
                _ => Err(HeadError::LengthAndChunked),
            };
        }
        let Some(length) = &self.length else { return Ok(None) };
        if self.lengths > 1 || length.is_empty() || length.len() > 19 || !length.iter().all(u8::is_ascii_digit) {
            return Err(HeadError::Codec);
        }
        let n = length.iter().fold(0_u64, |n, d| n * 10 + u64::from(d - b'0'));
        Ok(Some(if n == 0 { Framing::None } else { Framing::Length(n) }))
    }
}

/// Host, body framing and the connection's fate.
fn finish_request(head: &mut RequestHead, control: &Control) -> Result<Shape, HeadError> {
    if control.hosts > 1 {
        return Err(HeadError::Codec);
    }
    if control.refused_name {
        return Err(HeadError::Connection);
    }
    if let Some(host) = &control.host {
        if !is_authority(host) {
            return Err(HeadError::Authority);
        }
        if head.authority.as_str().is_empty() {
            head.authority = Ascii::new(host.clone()).ok_or(HeadError::Codec)?;
        }
    }
    let framing = control.framing()?.unwrap_or(Framing::None);
    let keep_alive = if head.version == Version::HTTP_10 { control.keep_alive } else { !control.close };
    head.upgrade = control
        .upgrade
        .as_ref()
        .filter(|u| control.upgrade_named && !u.eq_ignore_ascii_case(b"h2c"))
        .and_then(|u| Ascii::new(u.clone()));
    Ok(Shape { framing, keep_alive, expects_continue: control.expects_continue && framing != Framing::None })
}

/// Takes a response head off the front of `buf`. `None`: more bytes are needed. `no_body`: it answers HEAD.
pub fn response(
    buf: &mut BytesMut,
    scanned: &mut usize,
    limits: &Limits,
    no_body: bool,
) -> Result<Option<(ResponseHead, Shape)>, HeadError> {
    let Some(len) = head_len(buf, scanned) else {
        let start = buf.get(..7).unwrap_or(buf);
        return if buf.len() > limits.bytes || !b"HTTP/1.".starts_with(start) {
            Err(HeadError::Codec)
        } else {
            Ok(None)
        };
    };
    *scanned = 0;
    if len > limits.bytes {
        return Err(HeadError::TooLarge);
    }
    let (line, lines) = first_line(&buf.split_to(len).freeze())?;
    let (status, old) = status_line(&line)?;
    let mut head = ResponseHead { status, headers: HeaderMap::new() };
    let control = header_lines(&lines, limits.lines, &mut head.headers, false)?;
    let framing = match control.framing()? {
        _ if no_body || status == 204 || status == 304 || status < 200 => Framing::None,
        Some(framing) => framing,
        None => Framing::UntilClose,
    };
    let keep_alive = framing != Framing::UntilClose && if old { control.keep_alive } else { !control.close };
    if status == 101
        && let Some(upgrade) = control.upgrade.and_then(|u| HeaderValue::from_maybe_shared(u).ok())
    {
        head.headers.insert(http::header::UPGRADE, upgrade);
    }
    Ok(Some((head, Shape { framing, keep_alive, expects_continue: false })))
}

/// The status, and whether it is HTTP/1.0.
fn status_line(line: &[u8]) -> Result<(u16, bool), HeadError> {
    let rest = line.strip_prefix(b"HTTP/1.").ok_or(HeadError::Codec)?;
    let Some(([minor @ (b'0' | b'1'), b' ', a, b, c], tail)) = rest.split_first_chunk() else {
        return Err(HeadError::Codec);
    };
    if ![a, b, c].iter().all(|d| d.is_ascii_digit()) || !matches!(tail.first(), None | Some(b' ')) || *a == b'0' {
        return Err(HeadError::Codec);
    }
    let status = [a, b, c].iter().fold(0, |n, d| n * 10 + u16::from(**d - b'0'));
    Ok((status, *minor == b'0'))
}

#[cfg(test)]
mod tests;
