//! What peers send, taken apart without a socket.
//!
//! The data plane stands behind these parsers: they see the bytes of whoever connects. They are public for those who have bytes and
//! no connection, such as a fuzzer or a tool that reads a capture; what is decided with the results is the data plane's own affair.

use std::io;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;

pub use crate::admin::query::Query;
pub use crate::http::grpc::Messages;
pub use crate::http::h1::{Decoder, HeadError, Limits, Shape, parse_request, parse_response};
pub use crate::http::{Ascii, Framing, RequestHead, ResponseHead};
pub use crate::inspect::client_hello::parse as client_hello;
pub use crate::inspect::proxy_protocol::{Header as ProxyHeader, parse as proxy_header};
pub use crate::inspect::{ClientHello, Parsed, detect_http};
pub use crate::peer::{Prelude, Taken, decode as peer_metadata};
pub use crate::pump::{Broken, Frame};

use crate::http::h1::body::Encoder;
use crate::http::h1::encode::{self, Answering};
use crate::pump::OutBuf;

/// A request head as an endpoint gets it. `end`: there is no body.
pub fn request_bytes(head: &RequestHead, end: bool) -> BytesMut {
    let mut out = BytesMut::new();
    encode::request(&mut out, head, end);
    out
}

/// A response head as a client of HTTP/1.1 gets it. `end`: there is no body.
pub fn response_bytes(head: &ResponseHead, end: bool) -> BytesMut {
    let mut out = BytesMut::new();
    let to = Answering { head: false, connect: false, version: http::Version::HTTP_11, keep_alive: true };
    encode::response(&mut out, head, end, to);
    out
}

/// A body in chunks.
///
/// # Errors
/// A frame follows the end.
pub fn chunked_bytes(frames: impl IntoIterator<Item = Frame>) -> Result<Vec<u8>, Broken> {
    let (mut encoder, mut queue, mut out) = (Encoder::Chunked, OutBuf::default(), Vec::new());
    for frame in frames {
        if encoder == Encoder::Done {
            return Err(Broken::Protocol);
        }
        encoder.encode(frame, &mut queue)?;
    }
    match queue.poll_write_to(&mut out, &mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(())) => Ok(out),
        Poll::Ready(Err(error)) => Err(error.into()),
        // Memory is always ready.
        Poll::Pending => Err(io::Error::from(io::ErrorKind::WouldBlock).into()),
    }
}
