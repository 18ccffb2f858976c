//! HTTP/2 streams as ends of the body pump, and heads to and from the h2 crate's.

mod client;
mod server;

pub(crate) use client::ClientStream;
pub(crate) use server::{Malformed, ServerStream, malformed};

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::HeaderMap;

use crate::pump::{Broken, Frame};

/// Flow-control window of a stream, and of a connection.
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;
pub(crate) const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Largest header block that is taken, as for HTTP/1.
pub(crate) const MAX_HEADER_LIST: u32 = 60 * 1024;

/// The receiving half of a stream.
#[derive(Debug)]
struct Inbound {
    stream: RecvStream,
    /// Bytes that were given out and whose window is not given back yet: that happens once they have been passed on.
    owed: usize,
    data_done: bool,
    done: bool,
}

impl Inbound {
    fn new(stream: RecvStream) -> Self {
        let done = stream.is_end_stream();
        Self { stream, owed: 0, data_done: false, done }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Broken>> {
        if self.owed > 0 {
            let _ = self.stream.flow_control().release_capacity(self.owed);
            self.owed = 0;
        }
        while !self.data_done {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.owed = data.len();
                    return Poll::Ready(Ok(Frame::Data(data)));
                }
                Some(Err(e)) => return Poll::Ready(Err(e.into())),
                None => self.data_done = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        self.done = true;
        Poll::Ready(Ok(trailers.map_or(Frame::End, |t| Frame::Trailers(Box::new(t)))))
    }
}

/// How a message ends once its data has left.
#[derive(Debug, Default)]
enum Ending {
    #[default]
    Open,
    End,
    Trailers(Box<HeaderMap>),
    Sent,
}

/// The sending half of a stream.
#[derive(Debug)]
struct Outbound {
    stream: SendStream<Bytes>,
    pending: Bytes,
    ending: Ending,
}

impl Outbound {
    fn new(stream: SendStream<Bytes>, ended: bool) -> Self {
        Self { stream, pending: Bytes::new(), ending: if ended { Ending::Sent } else { Ending::Open } }
    }

    /// Hands to h2 what the peer's window allows. Ready when nothing is left here.
    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while !self.pending.is_empty() {
            self.stream.reserve_capacity(self.pending.len());
            let room = match ready!(self.stream.poll_capacity(cx)) {
                Some(room) => room?,
                None => return Poll::Ready(Err(Broken::Reset)),
            };
            let part = self.pending.split_to(room.min(self.pending.len()));
            let last = self.pending.is_empty() && matches!(self.ending, Ending::End);
            self.stream.send_data(part, last)?;
            if last {
                self.ending = Ending::Sent;
            }
        }
        match std::mem::take(&mut self.ending) {
            Ending::Open => {}
            Ending::End => {
                self.ending = Ending::Sent;
                self.stream.send_data(Bytes::new(), true)?;
            }
            Ending::Trailers(trailers) => {
                self.ending = Ending::Sent;
                self.stream.send_trailers(*trailers)?;
            }
            Ending::Sent => self.ending = Ending::Sent,
        }
        Poll::Ready(Ok(()))
    }

    fn queue(&mut self, frame: Frame) {
        match frame {
            Frame::Data(data) => self.pending = data,
            Frame::Trailers(trailers) if matches!(self.ending, Ending::Open) => {
                self.ending = Ending::Trailers(trailers)
            }
            Frame::End if matches!(self.ending, Ending::Open) => self.ending = Ending::End,
            Frame::Trailers(_) | Frame::End => {}
        }
    }
}

/// Takes out what HTTP/2 forbids (RFC 9113 8.2.2).
fn forbid_connection_headers(headers: &mut HeaderMap) {
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        headers.remove(name);
    }
}
