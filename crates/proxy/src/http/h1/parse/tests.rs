use bytes::BytesMut;
use proptest::prelude::*;

use super::{HeadError, Limits, Shape, request, response};
use crate::http::message::{Framing, RequestHead};

fn parse(text: &[u8]) -> Result<Option<(RequestHead, Shape)>, HeadError> {
    request(&mut BytesMut::from(text), &mut 0, &Limits::default())
}

#[test]
fn a_plain_request() {
    let (head, shape) =
        parse(b"GET /a?b=1 HTTP/1.1\r\nHost: was-service\r\nX-Two:  v \r\nConnection: keep-alive\r\n\r\n")
            .unwrap()
            .unwrap();
    assert_eq!((head.path.as_str(), head.authority.as_str()), ("/a?b=1", "was-service"));
    let lines: Vec<_> = head.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
    assert_eq!(lines, [("x-two", &b"v"[..])]);
    assert_eq!(shape, Shape { framing: Framing::None, keep_alive: true, expects_continue: false });
}

#[test]
fn the_target_wins_over_host() {
    let (head, _) = parse(b"GET http://was-service/abs HTTP/1.1\r\nHost: ignored\r\n\r\n").unwrap().unwrap();
    assert_eq!((head.path.as_str(), head.authority.as_str()), ("/abs", "was-service"));
}

#[test]
fn refused_shapes() {
    let cases: [(&[u8], HeadError); 23] = [
        (b"GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Codec),
        (b"CONNECT a@b:443 HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Codec),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            HeadError::LengthAndChunked,
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", HeadError::TransferEncoding),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            HeadError::TransferEncoding,
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", HeadError::Codec),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", HeadError::Codec),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", HeadError::LowVersion),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Codec),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
        (b"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
        (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Scheme),
        (b"GET / HTTP/1.1\r\nHost: \"a\"\r\n\r\n", HeadError::Authority),
        (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", HeadError::Authority),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: a\x01b\r\n\r\n", HeadError::Characters),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: a\x7fb\r\n\r\n", HeadError::Characters),
        (b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Codec),
        (b"NONSENSE\r\n\r\n", HeadError::Codec),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", HeadError::Codec),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", HeadError::Codec),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: 1\r\n folded\r\n\r\n", HeadError::Codec),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes(), HeadError::Codec),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\n",
            HeadError::Connection,
        ),
    ];
    for (text, error) in cases {
        assert_eq!(parse(text).map(|_| ()), Err(error), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn limits_hold() {
    let many = (0..101).map(|i| format!("x-{i}: 1\r\n")).collect::<String>();
    assert_eq!(parse(format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes()).map(|_| ()), Err(HeadError::TooManyLines));
    let endless = format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(62_000));
    assert_eq!(parse(endless.as_bytes()).map(|_| ()), Err(HeadError::TooLarge));
}

#[test]
fn lines_named_in_connection_go_no_further() {
    let (head, _) =
        parse(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x-hop, te\r\nX-Hop: 1\r\nTE: trailers\r\nX-End: 2\r\n\r\n")
            .unwrap()
            .unwrap();
    let names: Vec<_> = head.headers.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["te", "x-end"]);
}

#[test]
fn an_upgrade_is_noted() {
    let (head, shape) =
        parse(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").unwrap().unwrap();
    assert_eq!(head.upgrade, Some("websocket".into()));
    assert!(shape.keep_alive);
}

#[test]
fn responses() {
    let read = |text: &str, no_body: bool| {
        response(&mut BytesMut::from(text), &mut 0, &Limits::default(), no_body)
            .map(|parsed| parsed.map(|(head, shape)| (head.status, shape)).unwrap())
    };
    let shape = |framing, keep_alive| Shape { framing, keep_alive, expects_continue: false };
    let ok = |text, no_body| read(text, no_body).unwrap();
    assert_eq!(ok("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", false), (200, shape(Framing::Length(3), true)));
    assert_eq!(ok("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", true), (200, shape(Framing::None, true)));
    assert_eq!(ok("HTTP/1.1 204\r\n\r\n", false), (204, shape(Framing::None, true)));
    assert_eq!(ok("HTTP/1.0 200 OK\r\n\r\n", false), (200, shape(Framing::UntilClose, false)));
    assert_eq!(
        ok("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", false),
        (200, shape(Framing::None, false))
    );
    assert!(read("SSH-2.0-OpenSSH\r\n", false).is_err());
    assert!(read("HTTP/1.1 2x0 OK\r\n\r\n", false).is_err());
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_never_crash_and_agree(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
        let key = |parsed: Result<Option<(RequestHead, Shape)>, HeadError>| parsed.map(|o| o.map(|(h, s)| (h.path, s)));
        let (mut buf, mut scanned) = (BytesMut::from(&bytes[..cut.min(bytes.len())]), 0);
        if let Ok(None) = request(&mut buf, &mut scanned, &Limits::default()) {
            buf.extend_from_slice(&bytes[cut.min(bytes.len())..]);
            prop_assert_eq!(key(request(&mut buf, &mut scanned, &Limits::default())), key(parse(&bytes)));
        }
    }

    #[test]
    fn heads_round_trip(path in "/[a-z0-9/]{0,20}", names in prop::collection::btree_set("[a-z][a-z0-9]{0,12}", 0..20)) {
        let names: Vec<_> = names.into_iter().collect();
        let mut text = format!("GET {path} HTTP/1.1\r\nHost: h\r\n");
        for (i, name) in names.iter().enumerate() {
            text.push_str(&format!("x-{name}: v{i}\r\n"));
        }
        text.push_str("\r\n");
        let (head, _) = parse(text.as_bytes()).unwrap().unwrap();
        prop_assert_eq!(head.path.as_str(), &path);
        prop_assert_eq!(head.headers.len(), names.len());
        for (i, (name, value)) in head.headers.iter().enumerate() {
            prop_assert_eq!(name.as_str(), format!("x-{}", names[i]));
            prop_assert_eq!(value.to_str().unwrap(), format!("v{i}"));
        }
    }
}

#[test]
fn te_stays_where_it_was_and_offers_trailers_alone() {
    let names = |text: &[u8]| {
        let (head, _) = parse(text).unwrap().unwrap();
        head.headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(names(b"GET / HTTP/1.1\r\nHost: a\r\nTE: gzip, Trailers\r\nx: 1\r\n\r\n"), ["te: trailers", "x: 1"]);
    assert_eq!(names(b"GET / HTTP/1.1\r\nHost: a\r\nTE: gzip\r\nx: 1\r\n\r\n"), ["x: 1"]);
    let answer = b"HTTP/1.1 200 OK\r\nte: z\r\ncontent-length: 0\r\n\r\n";
    let (head, _) = response(&mut BytesMut::from(&answer[..]), &mut 0, &Limits::default(), false).unwrap().unwrap();
    assert_eq!(head.headers["te"], "z");
}
