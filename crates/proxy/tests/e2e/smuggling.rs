//! Requests that two parsers might take for different ones: refused, or passed on in one plain form.
//!
//! What is refused here Envoy refuses with the same status, but for what [`STRICTER`] names, which Envoy takes.

use crate::config::{Mode, WAS, cluster, endpoints, inbound, outbound};
use crate::frames::{DATA, END_STREAM, GOAWAY, HEADERS, HTTP, POST, Peer, ROOT, RST_STREAM, field, frame, headers};
use crate::support::{App, Client, Running};

const STRICTER: [&str; 12] = [
    "a folded line",
    "a folded Transfer-Encoding",
    "a lone CR in a value",
    "two spaces in the request line",
    "a tab in the request line",
    "a space after the version",
    "two Host",
    "two equal Host",
    "user information in Host",
    "Content-Length named in Connection",
    "Transfer-Encoding named in Connection",
    "no line end after a chunk",
];

/// What, the request without its Host line (`@`), and the status.
const SHAPES: [(&str, &str, u16); 66] = [
    ("both framings", "POST / HTTP/1.1\r\n@Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (
        "both framings, the other way",
        "POST / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("two lengths", "POST / HTTP/1.1\r\n@Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    ("two equal lengths", "POST / HTTP/1.1\r\n@Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    ("a list of lengths", "POST / HTTP/1.1\r\n@Content-Length: 3, 3\r\n\r\nabc", 400),
    ("a length with a plus", "POST / HTTP/1.1\r\n@Content-Length: +3\r\n\r\nabc", 400),
    ("a length below zero", "POST / HTTP/1.1\r\n@Content-Length: -3\r\n\r\nabc", 400),
    ("a length in hexadecimal", "POST / HTTP/1.1\r\n@Content-Length: 0x3\r\n\r\nabc", 400),
    ("an empty length", "POST / HTTP/1.1\r\n@Content-Length: \r\n\r\n", 400),
    ("a space in a length", "POST / HTTP/1.1\r\n@Content-Length: 3 4\r\n\r\nabc", 400),
    ("a length beyond 64 bits", "POST / HTTP/1.1\r\n@Content-Length: 99999999999999999999999\r\n\r\nabc", 400),
    ("a space before a length's colon", "POST / HTTP/1.1\r\n@Content-Length : 3\r\n\r\nabc", 400),
    ("a space before a coding's colon", "POST / HTTP/1.1\r\n@Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    ("a tab before a coding's colon", "POST / HTTP/1.1\r\n@Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", 400),
    ("an unknown coding", "POST / HTTP/1.1\r\n@Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    ("the coding identity", "POST / HTTP/1.1\r\n@Transfer-Encoding: identity\r\n\r\n", 501),
    ("two codings", "POST / HTTP/1.1\r\n@Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    (
        "chunked not as the last coding",
        "POST / HTTP/1.1\r\n@Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        501,
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    (
        "chunked and identity",
        "POST / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        501,
    ),
    ("a vertical tab before a coding", "POST / HTTP/1.1\r\n@Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("a quoted coding", "POST / HTTP/1.1\r\n@Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 501),
    ("an empty coding", "POST / HTTP/1.1\r\n@Transfer-Encoding: \r\n\r\n", 501),
    ("a coding in mixed case", "POST / HTTP/1.1\r\n@Transfer-Encoding: ChUnKeD\r\n\r\n0\r\n\r\n", 200),
    ("space around a coding", "POST / HTTP/1.1\r\n@Transfer-Encoding:\tchunked \r\n\r\n0\r\n\r\n", 200),
    ("a body with GET", "GET / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200),
    ("a folded line", "GET / HTTP/1.1\r\n@X-A: 1\r\n 2\r\n\r\n", 400),
    ("a folded Transfer-Encoding", "POST / HTTP/1.1\r\n@Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    ("a folded first line", "GET / HTTP/1.1\r\n X-A: 1\r\n@\r\n", 400),
    ("a lone LF after a line", "GET / HTTP/1.1\r\n@X-A: 1\nX-B: 2\r\n\r\n", 200),
    ("a lone CR in a value", "GET / HTTP/1.1\r\n@X-A: 1\rX-B: 2\r\n\r\n", 400),
    ("a space in a name", "GET / HTTP/1.1\r\n@X A: 1\r\n\r\n", 400),
    ("a space before a colon", "GET / HTTP/1.1\r\n@X-A : 1\r\n\r\n", 400),
    ("no colon", "GET / HTTP/1.1\r\n@X-A\r\n\r\n", 400),
    ("an empty name", "GET / HTTP/1.1\r\n@: 1\r\n\r\n", 400),
    ("NUL in a name", "GET / HTTP/1.1\r\n@X\0A: 1\r\n\r\n", 400),
    ("NUL in a value", "GET / HTTP/1.1\r\n@X-A: 1\0\r\n\r\n", 400),
    ("a control character in a value", "GET / HTTP/1.1\r\n@X-A: a\x01b\r\n\r\n", 400),
    ("DEL in a value", "GET / HTTP/1.1\r\n@X-A: a\x7fb\r\n\r\n", 400),
    ("a delimiter in a name", "GET / HTTP/1.1\r\n@X(a): 1\r\n\r\n", 400),
    ("two spaces in the request line", "GET  / HTTP/1.1\r\n@\r\n", 400),
    ("a tab in the request line", "GET\t/ HTTP/1.1\r\n@\r\n", 400),
    ("a space after the version", "GET / HTTP/1.1 \r\n@\r\n", 400),
    ("a space before the method", " GET / HTTP/1.1\r\n@\r\n", 400),
    ("an empty line before the request", "\r\nGET / HTTP/1.1\r\n@\r\n", 200),
    ("HTTP in lower case", "GET / http/1.1\r\n@\r\n", 400),
    ("two Host", "GET / HTTP/1.1\r\n@Host: evil\r\n\r\n", 400),
    ("two equal Host", "GET / HTTP/1.1\r\n@@\r\n", 400),
    ("a list in Host", "GET / HTTP/1.1\r\nHost: was-service, evil\r\n\r\n", 400),
    ("user information in Host", "GET / HTTP/1.1\r\nHost: a@was-service\r\n\r\n", 400),
    ("a path in Host", "GET / HTTP/1.1\r\nHost: was-service/evil\r\n\r\n", 400),
    ("another authority in the target", "GET http://was-service/ HTTP/1.1\r\nHost: evil\r\n\r\n", 200),
    ("Host named in Connection", "GET / HTTP/1.1\r\n@Connection: host\r\n\r\n", 400),
    (
        "Content-Length named in Connection",
        "POST / HTTP/1.1\r\n@Content-Length: 3\r\nConnection: content-length\r\n\r\nabc",
        400,
    ),
    (
        "Transfer-Encoding named in Connection",
        "POST / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "a chunk's extension",
        "POST / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\n\r\n3;a=\"b;c\"\r\nabc\r\n0\r\n\r\n",
        200,
    ),
    (
        "a lone LF after an extension",
        "POST / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n",
        400,
    ),
    (
        "a lone CR in an extension",
        "POST / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n",
        400,
    ),
    ("lone LFs between chunks", "POST / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n", 400),
    (
        "a space before a chunk's size",
        "POST / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n",
        400,
    ),
    ("a chunk's size with 0x", "POST / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400),
    ("a chunk's size below zero", "POST / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", 400),
    (
        "a chunk's size beyond 64 bits",
        "POST / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        400,
    ),
    ("no size of a chunk", "POST / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", 400),
    ("no line end after a chunk", "POST / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
    (
        "a space in a trailer's name",
        "POST / HTTP/1.1\r\n@Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX A: 1\r\n\r\n",
        400,
    ),
];

fn sidecar(app: &App) -> Running {
    let mut was = cluster(WAS, endpoints(&[app.address], None));
    was.http.protocol = varka_engine::ir::ClusterProtocol::Http1;
    Running::start(&outbound(was, |_| {}), Some(app.address))
}

#[test]
fn every_shape_is_refused_or_has_one_meaning() {
    let app = App::start();
    // The application's side, which takes all that is no TLS for HTTP; the other side passes on what is none.
    let sidecar = Running::start(&inbound(Mode::Permissive), Some(app.address));
    for (what, request, status) in SHAPES {
        let mut client = Client::connect(sidecar.address("virtualInbound"));
        let response = client.ask(request.replace('@', "Host: was-service\r\n"));
        let got: u16 = response.line.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(got, status, "{what}");
        if status == 200 {
            // The next request on the connection is the next request, whatever the one before it looked like.
            let next = client.ask("GET /next HTTP/1.1\r\nHost: was-service\r\n\r\n");
            assert_eq!(next.body, b"GET /next HTTP/1.1 0", "{what}");
            let seen = app.seen.lock().unwrap().drain(..).collect::<Vec<_>>();
            assert_eq!(seen.len(), 2, "{what}: {seen:?}");
            let framed = seen[0].headers.iter().filter(|(n, _)| n == "content-length" || n == "transfer-encoding");
            assert!(framed.count() <= 1, "{what}: {seen:?}");
            assert_eq!(seen[0].header("host"), Some("was-service"), "{what}");
        } else {
            assert_eq!(response.header("connection"), Some("close"), "{what}");
            assert_eq!(client.rest().unwrap(), b"", "{what}: one answer and no more");
        }
    }
    for what in STRICTER {
        assert!(SHAPES.iter().any(|(name, _, status)| *name == what && *status == 400), "{what}");
    }
}

/// Before a body is whole the application has its head; it must never take what is left for a request.
#[test]
fn a_body_that_breaks_off_in_the_middle_is_never_completed() {
    let app = App::start();
    let sidecar = sidecar(&app);
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    client.send(
        "POST / HTTP/1.1\r\nHost: was-service\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-A: 1\n\r\n",
    );
    let response = client.response();
    assert_eq!(response.line, "HTTP/1.1 400 Bad Request", "a lone LF among the trailers");
    assert!(app.seen.lock().unwrap().is_empty(), "the application saw a whole request");
}

/// What HTTP/2 says of a message must be said once (RFC 9113 8.1.1, 8.3.1); it would be written out as HTTP/1.
#[test]
fn http2_requests_with_two_meanings_are_refused() {
    let app = App::start();
    let sidecar = sidecar(&app);
    let named = |authority: &str, more: &[(&str, &str)]| {
        let mut block = [&[POST, HTTP, ROOT][..], &field(":authority", authority)].concat();
        more.iter().for_each(|(name, value)| block.extend(field(name, value)));
        [headers(1, 0, &block), frame(DATA, END_STREAM, 1, b"abc")].concat()
    };
    let refused = [
        ("two equal lengths", named("was-service", &[("content-length", "3"), ("content-length", "3")])),
        ("user information", named("a@was-service", &[])),
    ];
    for (what, bytes) in refused {
        let mut peer = Peer::connect(sidecar.address("virtualOutbound"));
        peer.send(&bytes);
        let answer = peer.wait(what, |f| matches!(f.kind, HEADERS | RST_STREAM | GOAWAY));
        assert!(answer.kind != HEADERS || answer.payload[0] == 0x8c, "{what}: {answer:?}");
    }
    let mut peer = Peer::connect(sidecar.address("virtualOutbound"));
    peer.send(&named("was-service", &[("host", "evil"), ("content-length", "3")]));
    peer.wait("an answer", |f| f.kind == HEADERS);
    let seen = app.seen.lock().unwrap();
    assert_eq!((seen.len(), seen[0].header("host")), (1, Some("was-service")), "the authority wins: {seen:?}");
}
