//! What clients and endpoints send to a proxy before and while it speaks HTTP with them, and what they say of themselves.

use std::net::SocketAddr;

use bytes::BytesMut;
use varka_engine::facts::DetectedHttp;
use varka_proxy::wire::{
    Broken, Decoder, Frame, Framing, HeadError, Limits, Messages, Parsed, Prelude, ProxyHeader, Query, RequestHead,
    ResponseHead, Shape, Taken, chunked_bytes, detect_http, parse_request, parse_response, proxy_header, request_bytes,
    response_bytes,
};
use varka_telemetry::metrics::istio::Workload;

use crate::{choice, pieces};

/// Longest header of version 2 that is taken, with its head.
const LONGEST_PROXY: usize = 16 + 4096;

pub(crate) fn proxy_protocol(data: &[u8]) {
    match proxy_header(data) {
        ProxyHeader::Complete(length, addresses) => {
            assert!(length <= data.len() && length <= LONGEST_PROXY, "{length} bytes");
            let own = data.get(..length).unwrap();
            assert_eq!(proxy_header(own), ProxyHeader::Complete(length, addresses), "what follows matters");
            for cut in 0..length {
                assert_eq!(proxy_header(own.get(..cut).unwrap()), ProxyHeader::Partial, "after {cut} bytes");
            }
            if let Some((source, destination)) = addresses {
                let printed = printed(source, destination);
                let again = proxy_header(printed.as_bytes());
                assert_eq!(again, ProxyHeader::Complete(printed.len(), addresses), "{printed}");
            }
        }
        ProxyHeader::Partial => assert!(data.len() < LONGEST_PROXY, "{} bytes are not enough", data.len()),
        ProxyHeader::Malformed => {
            let more = [data, b"\r\n"].concat();
            assert_eq!(proxy_header(&more), ProxyHeader::Malformed, "more bytes mend it");
        }
    }
}

fn printed(source: SocketAddr, destination: SocketAddr) -> String {
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port())
}

pub(crate) fn client_hello(data: &[u8]) {
    let found = varka_proxy::wire::client_hello(data);
    if let Parsed::Complete(hello) = &found {
        let more = [data, b"\x16\x03\x01"].concat();
        assert_eq!(varka_proxy::wire::client_hello(&more), found, "what follows matters");
        if let Some(sni) = &hello.sni {
            assert!(sni.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()), "{sni:?}");
        }
        let parts = hello.alpn.iter().map(Vec::len).sum::<usize>() + hello.sni.as_ref().map_or(0, String::len);
        assert!(parts <= data.len(), "more was found than was sent");
    }
    // Once it is told, fewer bytes tell nothing else, and none tells of another hello.
    for cut in [data.len() / 2, data.len().saturating_sub(1)] {
        match varka_proxy::wire::client_hello(data.get(..cut).unwrap()) {
            Parsed::Partial => {}
            decided => assert_eq!(decided, found, "after {cut} bytes of {}", data.len()),
        }
    }
    agrees_with_rustls(data, &found);
}

/// The TLS library reads the same bytes afterwards: a chain must not be chosen by another name than the one that it takes.
fn agrees_with_rustls(data: &[u8], found: &Parsed) {
    let mut acceptor = rustls::server::Acceptor::default();
    let mut rest = data;
    while !rest.is_empty() {
        match acceptor.read_tls(&mut rest) {
            Ok(read) if read > 0 => {}
            _ => return,
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let theirs = accepted.client_hello();
                let Parsed::Complete(ours) = found else { panic!("rustls reads a hello here, and not {found:?}") };
                let name = theirs.server_name().map(str::to_ascii_lowercase);
                assert!(name.is_none() || name == ours.sni, "{name:?}, {:?}", ours.sni);
                let alpn: Option<Vec<Vec<u8>>> = theirs.alpn().map(|all| all.map(<[u8]>::to_vec).collect());
                assert_eq!(alpn.unwrap_or_default(), ours.alpn);
                return;
            }
            Err(_) => return,
        }
    }
}

pub(crate) fn http_detect(data: &[u8]) {
    let whole = detect_http(data);
    for cut in 0..data.len() {
        let part = detect_http(data.get(..cut).unwrap());
        assert!(part.is_none() || part == whole, "{part:?} after {cut} bytes, {whole:?} after all");
    }
    if whole == Some(Some(DetectedHttp::Http11)) {
        let line = data.split(|b| *b == b'\n').next().unwrap().trim_ascii_end();
        assert!(line.ends_with(b" HTTP/1.1"));
    }
}

type Heads<T> = (Vec<(T, Shape, usize)>, Result<(), HeadError>);

/// Heads one after another, as they come in pieces; each with the bytes that it took.
fn heads<T>(
    data: &[u8],
    sizes: [usize; 3],
    mut parse: impl FnMut(&mut BytesMut, &mut usize) -> Result<Option<(T, Shape)>, HeadError>,
) -> Heads<T> {
    let (mut buf, mut scanned, mut out) = (BytesMut::new(), 0, Vec::new());
    for piece in pieces(data, sizes) {
        buf.extend_from_slice(piece);
        loop {
            let before = buf.len();
            match parse(&mut buf, &mut scanned) {
                Ok(Some((head, shape))) => out.push((head, shape, before - buf.len())),
                Ok(None) => break,
                Err(error) => return (out, Err(error)),
            }
        }
    }
    (out, Ok(()))
}

fn sizes(choice: u8) -> [usize; 3] {
    [1 + usize::from(choice & 7), 1 + usize::from(choice >> 3 & 7), 1 + usize::from(choice >> 5)]
}

pub(crate) fn http1_request(data: &[u8]) {
    let limits = Limits { bytes: 60 * 1024, lines: 8, http10: true };
    let parse = |buf: &mut BytesMut, scanned: &mut usize| parse_request(buf, scanned, &limits);
    let whole = heads(data, [usize::MAX; 3], parse);
    let seed = data.iter().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
    let split = heads(data, sizes(seed), parse);
    assert_eq!(whole.0.len(), split.0.len(), "in pieces: {:?}, whole: {:?}", split.1, whole.1);
    assert_eq!(whole.1.is_ok(), split.1.is_ok(), "in pieces: {:?}, whole: {:?}", split.1, whole.1);
    let mut at = 0;
    for ((head, shape, taken), (other, other_shape, _)) in whole.0.iter().zip(&split.0) {
        same_request(head, other);
        assert_eq!(shape, other_shape);
        let bytes = data.get(at..).unwrap();
        at += taken;
        check_request(head, *shape, bytes, *taken);
    }
}

fn same_request(a: &RequestHead, b: &RequestHead) {
    assert_eq!((&a.method, &a.path, &a.authority, &a.upgrade), (&b.method, &b.path, &b.authority, &b.upgrade));
    assert_eq!(a.headers, b.headers);
}

fn check_request(head: &RequestHead, shape: Shape, bytes: &[u8], taken: usize) {
    let bad = |b: u8| !(0x21..0x7f).contains(&b) || matches!(b, b'/' | b'?' | b'#' | b'@' | b'\\');
    let authority = head.authority.as_str();
    assert!(!authority.bytes().any(bad), "{authority:?} cannot be a host");
    // Another parser finds the end of the head at the same place: nobody can hide a second request from one of the two.
    let mut room = [httparse::EMPTY_HEADER; 32];
    let mut theirs = httparse::Request::new(&mut room);
    assert_eq!(theirs.parse(bytes), Ok(httparse::Status::Complete(taken)), "{head:?}");
    assert_eq!(theirs.method, Some(head.method.as_str()));
    let lengths = theirs.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("content-length"));
    let codings = theirs.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("transfer-encoding"));
    match shape.framing {
        Framing::Chunked => assert_eq!((lengths.count(), codings.count()), (0, 1)),
        Framing::Length(n) => {
            assert_eq!(codings.count(), 0);
            let all: Vec<&[u8]> = lengths.map(|h| h.value).collect();
            assert_eq!(all.len(), 1);
            assert_eq!(std::str::from_utf8(all.concat().as_slice()).ok().and_then(|t| t.parse().ok()), Some(n));
        }
        _ => {}
    }
    // What an endpoint is sent means the same.
    let end = shape.framing == Framing::None;
    let mut sent = request_bytes(head, end);
    let limits = Limits { bytes: 1 << 20, lines: 100, http10: true };
    let again = parse_request(&mut sent, &mut 0, &limits).map(|parsed| parsed.unwrap());
    let (again, again_shape) = again.unwrap_or_else(|e| panic!("{e:?}: {head:?}"));
    assert!(sent.is_empty(), "more than one request was sent: {sent:?}");
    assert_eq!((&again.method, &again.authority, &again.upgrade), (&head.method, &head.authority, &head.upgrade));
    if head.method != http::Method::CONNECT {
        assert_eq!(again.path, head.path);
    }
    if head.upgrade.is_none() && head.method != http::Method::CONNECT {
        assert_eq!(again_shape.framing, shape.framing);
    }
    let (mut ours, mut theirs) = (head.headers.clone(), again.headers);
    if end {
        ours.remove(http::header::CONTENT_LENGTH);
        theirs.remove(http::header::CONTENT_LENGTH);
    }
    assert_eq!(ours, theirs);
}

pub(crate) fn http1_response(data: &[u8]) {
    let (first, data) = choice(data);
    let limits = Limits::default();
    let no_body = first & 1 == 1;
    let parse = |buf: &mut BytesMut, scanned: &mut usize| parse_response(buf, scanned, &limits, no_body);
    let whole = heads(data, [usize::MAX; 3], parse);
    let split = heads(data, sizes(first), parse);
    assert_eq!(whole.0.len(), split.0.len(), "in pieces: {:?}, whole: {:?}", split.1, whole.1);
    assert_eq!(whole.1.is_ok(), split.1.is_ok(), "in pieces: {:?}, whole: {:?}", split.1, whole.1);
    let mut at = 0;
    for (head, shape, taken) in &whole.0 {
        let bytes = data.get(at..).unwrap();
        at += taken;
        check_response(head, *shape, bytes, *taken, no_body);
    }
}

fn check_response(head: &ResponseHead, shape: Shape, bytes: &[u8], taken: usize, no_body: bool) {
    assert!((100..1000).contains(&head.status));
    let mut room = [httparse::EMPTY_HEADER; 128];
    let mut theirs = httparse::Response::new(&mut room);
    // The library is stricter about reasons, which nobody reads.
    if let Ok(status) = theirs.parse(bytes) {
        assert_eq!(status, httparse::Status::Complete(taken), "{head:?}");
        assert_eq!(theirs.code, Some(head.status));
    }
    let bodiless = no_body || head.status < 200 || matches!(head.status, 204 | 304);
    assert!(!bodiless || shape.framing == Framing::None, "{:?}", shape.framing);
    if head.status == 101 {
        return;
    }
    let mut sent = response_bytes(head, shape.framing == Framing::None);
    // It may have said nothing of its framing, which the client is told in a line more.
    let defaults = Limits::default();
    let limits = Limits { lines: defaults.lines + 1, bytes: defaults.bytes + 64, ..defaults };
    let again = parse_response(&mut sent, &mut 0, &limits, false).map(|parsed| parsed.unwrap());
    let (again, again_shape) = again.unwrap_or_else(|e| panic!("{e:?}: {head:?}"));
    assert!(sent.is_empty(), "more than one response was sent: {sent:?}");
    assert_eq!(again.status, head.status);
    match shape.framing {
        // How long a body is that ends with the connection, the client is told in chunks.
        Framing::UntilClose | Framing::Chunked => assert_eq!(again_shape.framing, Framing::Chunked),
        Framing::Length(n) => assert_eq!(again_shape.framing, Framing::Length(n)),
        Framing::None => {}
    }
    let (mut ours, mut theirs) = (head.headers.clone(), again.headers);
    ours.remove(http::header::CONTENT_LENGTH);
    theirs.remove(http::header::CONTENT_LENGTH);
    assert_eq!(ours, theirs);
}

#[derive(Debug, PartialEq)]
struct Body {
    data: Vec<u8>,
    trailers: Option<http::HeaderMap>,
    /// Bytes that it took, once it has ended.
    taken: Result<Option<usize>, Broken>,
}

fn body(data: &[u8], framing: Framing, sizes: [usize; 3]) -> Body {
    let (mut decoder, mut buf, mut fed) = (Decoder::new(framing), BytesMut::new(), 0);
    let mut out = Body { data: Vec::new(), trailers: None, taken: Ok(None) };
    for piece in pieces(data, sizes) {
        buf.extend_from_slice(piece);
        fed += piece.len();
        loop {
            match decoder.decode(&mut buf) {
                Ok(Some(Frame::Data(data))) => {
                    assert!(!data.is_empty());
                    out.data.extend_from_slice(&data);
                }
                Ok(Some(Frame::Trailers(trailers))) => {
                    assert!(decoder.is_done());
                    out.trailers = Some(*trailers);
                }
                Ok(Some(Frame::End)) => {
                    assert!(decoder.is_done());
                    out.taken = Ok(Some(fed - buf.len()));
                    return out;
                }
                Ok(None) => break,
                Err(broken) => {
                    out.taken = Err(broken);
                    return out;
                }
            }
        }
    }
    out
}

pub(crate) fn http1_body(data: &[u8]) {
    let (first, data) = choice(data);
    let framing = match first & 3 {
        0 => Framing::Length(u64::from(first >> 2)),
        1 => Framing::UntilClose,
        _ => Framing::Chunked,
    };
    let whole = body(data, framing, [usize::MAX; 3]);
    let split = body(data, framing, sizes(first));
    assert_eq!(whole.taken, split.taken);
    if whole.taken.is_ok() {
        assert_eq!(whole, split);
    }
    let Ok(Some(taken)) = whole.taken else { return };
    match framing {
        Framing::Length(n) => assert_eq!(whole.data.len() as u64, n),
        Framing::Chunked => {
            assert_eq!(by_httparse(data.get(..taken).unwrap()), Some(whole.data.clone()));
        }
        _ => {}
    }
    // Sent on in chunks, it is the same.
    let parts = pieces(&whole.data, sizes(first)).into_iter().map(|part| Frame::Data(part.to_vec().into()));
    let end = match &whole.trailers {
        Some(trailers) => Frame::Trailers(Box::new(trailers.clone())),
        None => Frame::End,
    };
    let sent = chunked_bytes(parts.chain([end])).unwrap();
    let again = body(&sent, Framing::Chunked, [usize::MAX; 3]);
    assert_eq!(again.taken, Ok(Some(sent.len())));
    assert_eq!((again.data, again.trailers), (whole.data, whole.trailers));
}

/// The same by another parser, which has to find its end where we found it.
fn by_httparse(mut data: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((at, size))) = httparse::parse_chunk_size(data) else { return None };
        data = data.get(at..)?;
        if size == 0 {
            let mut room = [httparse::EMPTY_HEADER; 64];
            let Ok(httparse::Status::Complete((end, _))) = httparse::parse_headers(data, &mut room) else {
                return None;
            };
            return (end == data.len()).then_some(out);
        }
        let (chunk, rest) = data.split_at_checked(usize::try_from(size).ok()?)?;
        out.extend_from_slice(chunk);
        data = rest.strip_prefix(b"\r\n")?;
    }
}

pub(crate) fn grpc_frames(data: &[u8]) {
    let (first, data) = choice(data);
    let mut split = Messages::default();
    pieces(data, sizes(first)).into_iter().for_each(|piece| split.see(piece));
    let (mut rest, mut count) = (data, 0);
    while let Some(([_, length @ ..], after)) = rest.split_first_chunk::<5>() {
        count += 1;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
        rest = after.get(length..).unwrap_or_default();
    }
    assert_eq!(split.count(), count);
}

/// Whatever a peer says of itself becomes labels of metrics.
fn check_workload(workload: &Workload) {
    let w = workload;
    for text in [&w.name, &w.namespace, &w.app, &w.version, &w.canonical_service, &w.canonical_revision, &w.cluster] {
        assert!(text.len() <= 253 && !text.chars().any(char::is_control), "{text:?}");
    }
}

pub(crate) fn peer_metadata(data: &[u8]) {
    if let Some(workload) = varka_proxy::wire::peer_metadata(data) {
        check_workload(&workload);
        // Padding says nothing.
        let bare = data.strip_suffix(b"==").or_else(|| data.strip_suffix(b"=")).unwrap_or(data);
        assert_eq!(varka_proxy::wire::peer_metadata(bare), Some(workload));
    }
}

pub(crate) fn peer_prelude(data: &[u8]) {
    let (first, data) = choice(data);
    let take = |sizes: [usize; 3]| {
        let (mut prelude, mut buf) = (Prelude::default(), BytesMut::new());
        let mut taken = Taken::More;
        for piece in pieces(data, sizes) {
            buf.extend_from_slice(piece);
            if taken == Taken::More {
                taken = prelude.take(&mut buf, false);
            }
        }
        if taken == Taken::More {
            taken = prelude.take(&mut buf, true);
        }
        (taken, buf)
    };
    let (whole, rest) = take([usize::MAX; 3]);
    assert_eq!(take(sizes(first)), take([usize::MAX; 3]), "in pieces");
    match &whole {
        Taken::Done(Some(workload)) => check_workload(workload),
        Taken::Done(None) => {}
        Taken::TooLong => assert!(data.len() >= 8),
        Taken::More => panic!("at its end it asks for more"),
    }
    assert!(data.ends_with(&rest), "the application's bytes changed");
}

pub(crate) fn admin_query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (path, query) = Query::split(text);
    assert!(text.starts_with(path) && !path.contains('?'));
    let pairs: Vec<_> = query.pairs().collect();
    assert_eq!(query.is_empty(), text.split_once('?').is_none_or(|(_, query)| query.is_empty()));
    for (name, value) in &pairs {
        assert!(query.has(name));
        assert!(name.len() + value.len() <= 3 * text.len());
    }
    // Written out again with everything encoded, it means the same.
    let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let printed: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    let printed = format!("?{}", printed.join("&"));
    assert_eq!(Query::split(&printed).1.pairs().collect::<Vec<_>>(), pairs);
}
