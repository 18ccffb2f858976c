//! HTTP/2 as bytes: frames written by hand, so that a test can send what no library would, and what comes back, frame by frame.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::LIMIT;

/// What a client sends first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 0x20;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// A number as a frame's payload.
pub(crate) fn number(n: u32) -> [u8; 4] {
    n.to_be_bytes()
}

/// One setting.
pub(crate) fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// A field of a header block as a literal that enters no table, without Huffman coding.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        integer(&mut out, 7, 0, text.len());
        out.extend(text.as_bytes());
    }
    out
}

/// HPACK's integer with a prefix of so many bits (RFC 7541 5.1).
fn integer(out: &mut Vec<u8>, bits: u8, first: u8, n: usize) {
    let most = (1 << bits) - 1;
    if n < most {
        out.push(first | u8::try_from(n).unwrap());
        return;
    }
    out.push(first | u8::try_from(most).unwrap());
    let mut rest = n - most;
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
}

/// `:method GET`, `:scheme http`, `:path /`, as they stand in HPACK's static table.
pub(crate) const GET: u8 = 0x82;
pub(crate) const POST: u8 = 0x83;
pub(crate) const ROOT: u8 = 0x84;
pub(crate) const HTTP: u8 = 0x86;

/// The header block of `GET /` with further fields.
pub(crate) fn get(more: &[(&str, &str)]) -> Vec<u8> {
    block(&[GET, HTTP, ROOT], more)
}

/// The header block of `POST /` with further fields.
pub(crate) fn post(more: &[(&str, &str)]) -> Vec<u8> {
    block(&[POST, HTTP, ROOT], more)
}

fn block(pseudo: &[u8], more: &[(&str, &str)]) -> Vec<u8> {
    let mut out = pseudo.to_vec();
    out.extend(field(":authority", "was-service"));
    for (name, value) in more {
        out.extend(field(name, value));
    }
    out
}

/// A whole HEADERS frame.
pub(crate) fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, block)
}

/// A frame from the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Received {
    /// The error code of a RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// Whether it is a stream's last frame.
    pub(crate) fn ends(&self, stream: u32) -> bool {
        self.stream == stream && matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// A connection in plain text or over TLS.
pub(crate) trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// A socket that does not block for ever.
pub(crate) fn socket(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.set_write_timeout(Some(LIMIT)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// Nothing came, and the connection did not end.
#[derive(Debug)]
pub(crate) struct Silent;

/// A client that speaks in frames.
pub(crate) struct Peer {
    wire: Box<dyn Wire>,
}

impl Peer {
    /// Over this connection, on which nothing has been sent.
    pub(crate) fn over(wire: impl Wire + 'static) -> Self {
        Self { wire: Box::new(wire) }
    }

    /// Connects, and is through with the preface and the settings of both sides.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut peer = Self::over(socket(address));
        peer.begin(&[]);
        peer
    }

    /// Sends the preface with settings, and is through with the settings of both sides; the proxy's.
    pub(crate) fn begin(&mut self, settings: &[u8]) -> Received {
        self.send(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat());
        let first = self.next().expect("settings");
        assert_eq!((first.kind, first.flags & ACK), (SETTINGS, 0), "the first frame is SETTINGS: {first:?}");
        self.send(&frame(SETTINGS, ACK, 0, &[]));
        self.wait("our settings are acknowledged", |f| f.kind == SETTINGS && f.flags & ACK != 0);
        first
    }

    /// Sends bytes; `false`: the proxy has closed in the meantime, as the reader will notice too.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.wire.write_all(bytes).and_then(|()| self.wire.flush()).is_ok()
    }

    /// The next frame; `None`: the proxy closed.
    pub(crate) fn next(&mut self) -> Option<Received> {
        self.read().unwrap_or_else(|_: Silent| panic!("the proxy neither answers nor closes"))
    }

    /// The same, for whoever has more to say about a proxy that does neither.
    pub(crate) fn read(&mut self) -> Result<Option<Received>, Silent> {
        let mut head = [0; 9];
        if !self.exactly(&mut head)? {
            return Ok(None);
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if !self.exactly(&mut payload)? {
            return Ok(None);
        }
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Ok(Some(Received { kind: head[3], flags: head[4], stream, payload }))
    }

    /// `false`: the proxy closed.
    fn exactly(&mut self, into: &mut [u8]) -> Result<bool, Silent> {
        match self.wire.read_exact(into) {
            Ok(()) => Ok(true),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(Silent),
            Err(_) => Ok(false),
        }
    }

    /// Reads up to a frame like this one.
    pub(crate) fn wait(&mut self, what: &str, is: impl Fn(&Received) -> bool) -> Received {
        let mut before = Vec::new();
        loop {
            let Some(next) = self.next() else { panic!("closed before {what}; came: {before:?}") };
            if is(&next) {
                return next;
            }
            before.push(next);
        }
    }
}
