//! The cases: what is sent, and what must come of it.

use crate::frames::{
    ACK, CANCEL, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR,
    GET, GOAWAY, HEADERS, HTTP, PADDED, PING, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, ROOT, RST_STREAM, SETTINGS,
    STREAM_CLOSED, WINDOW_UPDATE, WITH_PRIORITY, field, frame, get, headers, number, post, setting,
};

/// What a client does.
pub(super) enum Step {
    Send(Vec<u8>),
    /// Waits until the answer on a stream has ended.
    Ended(u32),
}

/// Where h2 ends the connection as it should and names the error PROTOCOL_ERROR, not what the RFC does. Nothing but the word
/// differs: the peer has done what it must not, and is told so. Whoever mends it in h2 will find these cases failing here.
const NAMED_PROTOCOL_ERROR: [&str; 22] = [
    "a field block that is no HPACK",
    "half-closed (remote): DATA",
    "half-closed (remote): HEADERS",
    "closed by our RST_STREAM: HEADERS",
    "closed: HEADERS",
    "an acknowledgement with a payload",
    "SETTINGS of no multiple of six bytes",
    "INITIAL_WINDOW_SIZE of 2^31",
    "PING of seven bytes",
    "RST_STREAM of three bytes",
    "WINDOW_UPDATE of three bytes",
    "PRIORITY of four bytes",
    "an unknown pseudo-header",
    "an index beyond both tables",
    "a literal whose name is beyond both tables",
    "a size update at the end of a block",
    "an integer without end",
    "Huffman padding of more than seven bits",
    "Huffman padding of zeros",
    "Huffman with the end of string symbol",
    "index 0",
    "a size update above SETTINGS_HEADER_TABLE_SIZE",
];

/// What h2 takes although the RFC forbids it. It drops the field, so that no endpoint ever sees it.
const TAKEN: [&str; 1] = ["a pseudo-header among the trailers"];

/// What must come of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expect {
    /// The connection ends, and says why.
    ConnectionError(u32),
    /// The stream ends, and the connection goes on.
    StreamError(u32, u32),
    /// The request on the stream is answered with 200, and the connection goes on.
    Served(u32),
    /// The request on the stream is answered as malformed (400), and the connection goes on.
    BadRequest(u32),
    /// Nothing is refused: the connection goes on.
    Ignored,
}

use Expect::{BadRequest, ConnectionError, Ignored, Served, StreamError};

pub(super) struct Case {
    pub(super) section: &'static str,
    pub(super) what: &'static str,
    pub(super) steps: Vec<Step>,
    pub(super) expect: Expect,
}

fn case(section: &'static str, what: &'static str, bytes: Vec<u8>, expect: Expect) -> Case {
    Case { section, what, steps: vec![Step::Send(bytes)], expect }
}

/// A case that goes on once the answer on stream 1 has ended.
fn after_answer(section: &'static str, what: &'static str, bytes: Vec<u8>, expect: Expect) -> Case {
    let request = Step::Send(headers(1, END_STREAM, &get(&[])));
    Case { section, what, steps: vec![request, Step::Ended(1), Step::Send(bytes)], expect }
}

/// A request that is complete and gets no answer for now.
fn unanswered() -> Vec<u8> {
    headers(1, END_STREAM, &get(&[("x-hang", "1")]))
}

/// A request whose body is still to come.
fn open() -> Vec<u8> {
    headers(1, 0, &post(&[("x-hang", "1")]))
}

fn framing() -> Vec<Case> {
    let big = vec![0; 1 << 14];
    let too_big = vec![0; (1 << 14) + 1];
    let whole = get(&[]);
    vec![
        case("3.4", "a request after the preface", headers(1, END_STREAM, &get(&[])), Served(1)),
        case("4.1", "a frame of unknown type", frame(0xff, 0, 0, b"anything"), Ignored),
        case("4.1", "flags that mean nothing", frame(PING, 0x16, 0, b"12345678"), Ignored),
        case("4.1", "the reserved bit of a stream identifier", frame(PING, 0, 1 << 31, b"12345678"), Ignored),
        case("4.2", "DATA of 2^14 bytes", [open(), frame(DATA, 0, 1, &big)].concat(), Ignored),
        case(
            "4.2",
            "DATA of more than SETTINGS_MAX_FRAME_SIZE",
            [open(), frame(DATA, 0, 1, &too_big)].concat(),
            ConnectionError(FRAME_SIZE_ERROR),
        ),
        case(
            "4.2",
            "HEADERS of more than SETTINGS_MAX_FRAME_SIZE",
            headers(1, END_STREAM, &get(&[("x", &"y".repeat(1 << 14))])),
            ConnectionError(FRAME_SIZE_ERROR),
        ),
        case(
            "4.3",
            "a field block that is no HPACK",
            headers(1, END_STREAM, &[0x40]),
            ConnectionError(COMPRESSION_ERROR),
        ),
        case(
            "4.3",
            "PRIORITY between the parts of a field block",
            [frame(HEADERS, END_STREAM, 1, &whole), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15])].concat(),
            ConnectionError(PROTOCOL_ERROR),
        ),
        case(
            "4.3",
            "HEADERS of another stream between the parts of a field block",
            [frame(HEADERS, END_STREAM, 1, &whole), headers(3, END_STREAM, &whole)].concat(),
            ConnectionError(PROTOCOL_ERROR),
        ),
        case("5.5", "a frame of unknown type on a stream", [open(), frame(0x16, 0, 1, b"12345678")].concat(), Ignored),
        case(
            "5.5",
            "a frame of unknown type between the parts of a field block",
            [frame(HEADERS, END_STREAM, 1, &whole), frame(0x16, 0, 0, b"12345678")].concat(),
            ConnectionError(PROTOCOL_ERROR),
        ),
    ]
}

fn states() -> Vec<Case> {
    let reset = |code| frame(RST_STREAM, 0, 1, &number(code));
    vec![
        case("5.1", "idle: DATA", frame(DATA, END_STREAM, 1, b"test"), ConnectionError(PROTOCOL_ERROR)),
        case("5.1", "idle: RST_STREAM", reset(CANCEL), ConnectionError(PROTOCOL_ERROR)),
        case("5.1", "idle: WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 1, &number(1)), ConnectionError(PROTOCOL_ERROR)),
        case(
            "5.1",
            "idle: CONTINUATION",
            frame(CONTINUATION, END_HEADERS, 1, &get(&[])),
            ConnectionError(PROTOCOL_ERROR),
        ),
        case("5.1", "idle: PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15]), Ignored),
        case(
            "5.1",
            "half-closed (remote): DATA",
            [unanswered(), frame(DATA, END_STREAM, 1, b"test")].concat(),
            StreamError(1, STREAM_CLOSED),
        ),
        case(
            "5.1",
            "half-closed (remote): HEADERS",
            [unanswered(), headers(1, END_STREAM, &get(&[]))].concat(),
            ConnectionError(STREAM_CLOSED),
        ),
        case(
            "5.1",
            "half-closed (remote): CONTINUATION",
            [unanswered(), frame(CONTINUATION, END_HEADERS, 1, &get(&[]))].concat(),
            ConnectionError(PROTOCOL_ERROR),
        ),
        case(
            "5.1",
            "half-closed (remote): WINDOW_UPDATE",
            [unanswered(), frame(WINDOW_UPDATE, 0, 1, &number(1))].concat(),
            Ignored,
        ),
        case("5.1", "half-closed (remote): RST_STREAM", [unanswered(), reset(CANCEL)].concat(), Ignored),
        case(
            "5.1",
            "closed by our RST_STREAM: DATA",
            [open(), reset(CANCEL), frame(DATA, END_STREAM, 1, b"test")].concat(),
            StreamError(1, STREAM_CLOSED),
        ),
        case(
            "5.1",
            "closed by our RST_STREAM: HEADERS",
            [open(), reset(CANCEL), headers(1, END_STREAM, &get(&[]))].concat(),
            ConnectionError(STREAM_CLOSED),
        ),
        after_answer("5.1", "closed: DATA", frame(DATA, END_STREAM, 1, b"test"), StreamError(1, STREAM_CLOSED)),
        after_answer("5.1", "closed: HEADERS", headers(1, END_STREAM, &get(&[])), ConnectionError(STREAM_CLOSED)),
        after_answer("5.1", "closed: PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15]), Ignored),
        after_answer("5.1", "closed: WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 1, &number(1)), Ignored),
        case("5.1.1", "an even stream identifier", headers(2, END_STREAM, &get(&[])), ConnectionError(PROTOCOL_ERROR)),
        case(
            "5.1.1",
            "a stream identifier below an earlier one",
            [headers(5, END_STREAM, &get(&[])), headers(3, END_STREAM, &get(&[]))].concat(),
            ConnectionError(PROTOCOL_ERROR),
        ),
    ]
}

fn data_and_headers() -> Vec<Case> {
    let padded = |pad: u8, block: &[u8], zeros: usize| [&[pad][..], block, &vec![0; zeros]].concat();
    let whole = get(&[]);
    vec![
        case("6.1", "DATA on stream 0", frame(DATA, END_STREAM, 0, b"test"), ConnectionError(PROTOCOL_ERROR)),
        case(
            "6.1",
            "DATA with padding",
            [headers(1, 0, &post(&[])), frame(DATA, PADDED | END_STREAM, 1, &padded(3, b"body", 3))].concat(),
            Served(1),
        ),
        case(
            "6.1",
            "DATA with more padding than payload",
            [open(), frame(DATA, PADDED | END_STREAM, 1, &padded(6, b"body", 0))].concat(),
            ConnectionError(PROTOCOL_ERROR),
        ),
        case("6.2", "HEADERS on stream 0", headers(0, END_STREAM, &whole), ConnectionError(PROTOCOL_ERROR)),
        case("6.2", "HEADERS with padding", headers(1, END_STREAM | PADDED, &padded(4, &whole, 4)), Served(1)),
        case(
            "6.2",
            "HEADERS with more padding than payload",
            headers(1, END_STREAM | PADDED, &padded(200, &whole, 0)),
            ConnectionError(PROTOCOL_ERROR),
        ),
        case(
            "6.2",
            "HEADERS with a priority",
            headers(1, END_STREAM | WITH_PRIORITY, &[&[0, 0, 0, 0, 15][..], &whole].concat()),
            Served(1),
        ),
        case("6.3", "PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0, 0, 0, 0, 15]), ConnectionError(PROTOCOL_ERROR)),
        case(
            "6.4",
            "RST_STREAM on stream 0",
            frame(RST_STREAM, 0, 0, &number(CANCEL)),
            ConnectionError(PROTOCOL_ERROR),
        ),
        case(
            "6.6",
            "PUSH_PROMISE from a client",
            [open(), frame(PUSH_PROMISE, END_HEADERS, 1, &[&number(3)[..], &whole].concat())].concat(),
            ConnectionError(PROTOCOL_ERROR),
        ),
    ]
}

fn continuations() -> Vec<Case> {
    let whole = get(&[]);
    vec![
        case(
            "6.10",
            "a field block in several CONTINUATIONs",
            [
                frame(HEADERS, END_STREAM, 1, &whole),
                frame(CONTINUATION, 0, 1, &field("x-a", "1")),
                frame(CONTINUATION, END_HEADERS, 1, &field("x-b", "2")),
            ]
            .concat(),
            Served(1),
        ),
        case(
            "6.10",
            "CONTINUATION on stream 0",
            [frame(HEADERS, END_STREAM, 1, &whole), frame(CONTINUATION, END_HEADERS, 0, &field("x-a", "1"))].concat(),
            ConnectionError(PROTOCOL_ERROR),
        ),
        case(
            "6.10",
            "CONTINUATION after HEADERS that are complete",
            [open(), frame(CONTINUATION, END_HEADERS, 1, &field("x-a", "1"))].concat(),
            ConnectionError(PROTOCOL_ERROR),
        ),
        case(
            "6.10",
            "CONTINUATION after a complete CONTINUATION",
            [
                frame(HEADERS, END_STREAM, 1, &whole),
                frame(CONTINUATION, END_HEADERS, 1, &field("x-a", "1")),
                frame(CONTINUATION, END_HEADERS, 1, &field("x-b", "2")),
            ]
            .concat(),
            ConnectionError(PROTOCOL_ERROR),
        ),
        case(
            "6.10",
            "CONTINUATION after DATA",
            [open(), frame(DATA, 0, 1, b"body"), frame(CONTINUATION, END_HEADERS, 1, &field("x-a", "1"))].concat(),
            ConnectionError(PROTOCOL_ERROR),
        ),
    ]
}

fn control() -> Vec<Case> {
    let settings = |payload: &[u8]| frame(SETTINGS, 0, 0, payload);
    vec![
        case(
            "6.5",
            "an acknowledgement with a payload",
            frame(SETTINGS, ACK, 0, &setting(3, 1)),
            ConnectionError(FRAME_SIZE_ERROR),
        ),
        case("6.5", "SETTINGS on a stream", frame(SETTINGS, 0, 1, &setting(3, 1)), ConnectionError(PROTOCOL_ERROR)),
        case("6.5", "SETTINGS of no multiple of six bytes", settings(&[0, 3, 0]), ConnectionError(FRAME_SIZE_ERROR)),
        case("6.5.2", "ENABLE_PUSH of 2", settings(&setting(2, 2)), ConnectionError(PROTOCOL_ERROR)),
        case(
            "6.5.2",
            "INITIAL_WINDOW_SIZE of 2^31",
            settings(&setting(4, 1 << 31)),
            ConnectionError(FLOW_CONTROL_ERROR),
        ),
        case("6.5.2", "MAX_FRAME_SIZE below 2^14", settings(&setting(5, 16_383)), ConnectionError(PROTOCOL_ERROR)),
        case("6.5.2", "MAX_FRAME_SIZE of 2^24", settings(&setting(5, 1 << 24)), ConnectionError(PROTOCOL_ERROR)),
        case("6.5.2", "an unknown setting", settings(&setting(0xff, 1)), Ignored),
        case("6.7", "PING on a stream", frame(PING, 0, 1, b"12345678"), ConnectionError(PROTOCOL_ERROR)),
        case("6.7", "PING of seven bytes", frame(PING, 0, 0, b"1234567"), ConnectionError(FRAME_SIZE_ERROR)),
        case("6.7", "an acknowledgement of a PING that was never sent", frame(PING, ACK, 0, b"invented"), Ignored),
        case("6.8", "GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), ConnectionError(PROTOCOL_ERROR)),
        case(
            "6.4",
            "RST_STREAM of three bytes",
            [open(), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            ConnectionError(FRAME_SIZE_ERROR),
        ),
        case(
            "6.9",
            "WINDOW_UPDATE by 0 of the connection",
            frame(WINDOW_UPDATE, 0, 0, &number(0)),
            ConnectionError(PROTOCOL_ERROR),
        ),
        case(
            "6.9",
            "WINDOW_UPDATE by 0 of a stream",
            [open(), frame(WINDOW_UPDATE, 0, 1, &number(0))].concat(),
            ConnectionError(PROTOCOL_ERROR),
        ),
        case(
            "6.3",
            "PRIORITY of four bytes",
            [open(), frame(PRIORITY, 0, 1, &[0; 4])].concat(),
            ConnectionError(FRAME_SIZE_ERROR),
        ),
        case(
            "6.9",
            "WINDOW_UPDATE of three bytes",
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1]),
            ConnectionError(FRAME_SIZE_ERROR),
        ),
        case(
            "6.9.1",
            "a window of the connection above 2^31-1",
            frame(WINDOW_UPDATE, 0, 0, &number(i32::MAX as u32)).repeat(2),
            ConnectionError(FLOW_CONTROL_ERROR),
        ),
        case(
            "6.9.1",
            "a window of a stream above 2^31-1",
            [open(), frame(WINDOW_UPDATE, 0, 1, &number(i32::MAX as u32)).repeat(2)].concat(),
            StreamError(1, FLOW_CONTROL_ERROR),
        ),
        case(
            "7",
            "RST_STREAM with an unknown code",
            [open(), frame(RST_STREAM, 0, 1, &number(0xff))].concat(),
            Ignored,
        ),
    ]
}

/// Malformed requests (8.1.1) are errors of their stream.
fn messages() -> Vec<Case> {
    let malformed = StreamError(1, PROTOCOL_ERROR);
    let fields = |fields: &[&[u8]]| headers(1, END_STREAM, &fields.concat());
    let with = |name: &str, value: &str| headers(1, END_STREAM, &get(&[(name, value)]));
    let authority = field(":authority", "was-service");
    let trailers =
        |block: &[u8]| [headers(1, 0, &post(&[])), frame(DATA, 0, 1, b"body"), headers(1, END_STREAM, block)].concat();
    vec![
        case("8.1", "a request with trailers", trailers(&field("x-a", "1")), Served(1)),
        case(
            "8.1",
            "a second HEADERS that does not end the stream",
            [open(), headers(1, 0, &field("x-a", "1"))].concat(),
            malformed,
        ),
        case("8.1", "a pseudo-header among the trailers", trailers(&field(":method", "POST")), malformed),
        case(
            "8.1.1",
            "content-length above the length of the body",
            [headers(1, 0, &post(&[("content-length", "5")])), frame(DATA, END_STREAM, 1, b"body")].concat(),
            malformed,
        ),
        case(
            "8.1.1",
            "content-length below the length of the body",
            [headers(1, 0, &post(&[("content-length", "3")])), frame(DATA, END_STREAM, 1, b"body")].concat(),
            malformed,
        ),
        case(
            "8.1.1",
            "content-length that is not the sum of several DATA",
            [
                headers(1, 0, &post(&[("content-length", "5")])),
                frame(DATA, 0, 1, b"ab"),
                frame(DATA, END_STREAM, 1, b"cd"),
            ]
            .concat(),
            malformed,
        ),
        case("8.2", "a field name in upper case", with("X-Upper", "1"), ConnectionError(PROTOCOL_ERROR)),
        case("8.2.1", "a space in a field name", with("x a", "1"), ConnectionError(PROTOCOL_ERROR)),
        case("8.2.1", "a colon in a field name", with("x:a", "1"), ConnectionError(PROTOCOL_ERROR)),
        case("8.2.1", "an empty field name", with("", "1"), ConnectionError(PROTOCOL_ERROR)),
        case("8.2.1", "NUL in a field value", with("x-a", "a\0b"), ConnectionError(PROTOCOL_ERROR)),
        case("8.2.1", "a line end in a field value", with("x-a", "a\r\nx-b: 2"), ConnectionError(PROTOCOL_ERROR)),
        case("8.2.2", "connection", with("connection", "keep-alive"), malformed),
        case("8.2.2", "keep-alive", with("keep-alive", "timeout=5"), malformed),
        case("8.2.2", "proxy-connection", with("proxy-connection", "keep-alive"), malformed),
        case("8.2.2", "transfer-encoding", with("transfer-encoding", "chunked"), malformed),
        case("8.2.2", "upgrade", with("upgrade", "websocket"), malformed),
        case("8.2.2", "te with more than trailers", with("te", "trailers, deflate"), malformed),
        case("8.2.2", "te: trailers", with("te", "trailers"), Served(1)),
        case("8.3", "an unknown pseudo-header", with(":test", "1"), ConnectionError(COMPRESSION_ERROR)),
        case("8.3", "a response's pseudo-header", with(":status", "200"), malformed),
        case(
            "8.3",
            "a pseudo-header after a field",
            fields(&[&[GET, HTTP, ROOT], &field("x-a", "1"), &authority]),
            malformed,
        ),
        case("8.3.1", "an empty :path", fields(&[&[GET, HTTP], &field(":path", ""), &authority]), malformed),
        case("8.3.1", "no :method", fields(&[&[HTTP, ROOT], &authority]), malformed),
        case("8.3.1", "no :scheme", fields(&[&[GET, ROOT], &authority]), malformed),
        case("8.3.1", "no :path", fields(&[&[GET, HTTP], &authority]), malformed),
        case("8.3.1", "two :method", fields(&[&[GET, GET, HTTP, ROOT], &authority]), malformed),
        case("8.3.1", "two :scheme", fields(&[&[GET, HTTP, HTTP, ROOT], &authority]), malformed),
        case("8.3.1", "two :path", fields(&[&[GET, HTTP, ROOT, ROOT], &authority]), malformed),
        case("8.3.1", "neither :authority nor host", fields(&[&[GET, HTTP, ROOT]]), BadRequest(1)),
        case("8.5", "CONNECT with :path", fields(&[&field(":method", "CONNECT"), &[ROOT], &authority]), malformed),
    ]
}

/// RFC 7541. What breaks the shared table ends the connection.
fn hpack() -> Vec<Case> {
    let broken = ConnectionError(COMPRESSION_ERROR);
    let ended = |block: &[u8]| headers(1, END_STREAM, block);
    let with = |more: &[u8]| ended(&[&get(&[])[..], more].concat());
    vec![
        case("HPACK 2.3.3", "an index beyond both tables", with(&[0xff, 0x00]), broken),
        case("HPACK 2.3.3", "a literal whose name is beyond both tables", with(&[0x7f, 0x7f, 1, b'1']), broken),
        case("HPACK 4.2", "a size update at the end of a block", with(&[0x20]), broken),
        case("HPACK 5.1", "an integer without end", with(&[0xff; 12]), broken),
        case(
            "HPACK 5.2",
            "Huffman padding of more than seven bits",
            with(&[0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x84, 0x49, 0x50, 0x9f, 0xff]),
            broken,
        ),
        case(
            "HPACK 5.2",
            "Huffman padding of zeros",
            with(&[0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x83, 0x49, 0x50, 0x90]),
            broken,
        ),
        case(
            "HPACK 5.2",
            "Huffman with the end of string symbol",
            with(&[0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x87, 0x49, 0x51, 0xff, 0xff, 0xff, 0xfa, 0x7f]),
            broken,
        ),
        case(
            "HPACK 5.2",
            "Huffman",
            with(&[0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x83, 0x49, 0x50, 0x9f]),
            Served(1),
        ),
        case("HPACK 6.1", "index 0", with(&[0x80]), broken),
        case(
            "HPACK 6.2.1",
            "a literal that enters the table, and its index",
            with(&[0x40, 1, b'x', 1, b'1', 0xbe]),
            Served(1),
        ),
        case("HPACK 6.2.3", "a literal that never enters a table", with(&[0x10, 1, b'x', 1, b'1']), Served(1)),
        case(
            "HPACK 6.3",
            "a size update within the limit",
            ended(&[&[0x3f, 0xe1, 0x1f][..], &get(&[])].concat()),
            Served(1),
        ),
        case(
            "HPACK 6.3",
            "a size update above SETTINGS_HEADER_TABLE_SIZE",
            ended(&[&[0x3f, 0xe2, 0x1f][..], &get(&[])].concat()),
            broken,
        ),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = [framing(), states(), data_and_headers(), continuations(), control(), messages(), hpack()]
        .into_iter()
        .flatten()
        .collect();
    let (mut named, mut taken) = (NAMED_PROTOCOL_ERROR.to_vec(), TAKEN.to_vec());
    for case in &mut all {
        if let Some(at) = named.iter().position(|what| *what == case.what) {
            named.swap_remove(at);
            case.expect = ConnectionError(PROTOCOL_ERROR);
        }
        if let Some(at) = taken.iter().position(|what| *what == case.what) {
            taken.swap_remove(at);
            case.expect = Served(1);
        }
    }
    assert!(named.is_empty() && taken.is_empty(), "no such cases: {named:?} {taken:?}");
    all
}
