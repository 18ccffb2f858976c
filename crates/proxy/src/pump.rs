//! Moves bytes between two ends, each of which may be an HTTP/1 message, an HTTP/2 stream or a raw connection.
//!
//! There is one pump for all of them: an end is whatever implements [`Source`] and [`Sink`]. Nothing is buffered beyond what an end
//! accepts, so a slow reader slows the writer down. The pump counts bytes; it decides nothing about what they mean.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::AsyncWrite;

use crate::http::grpc::Messages;

/// A part of a body, or of a raw connection.
#[derive(Debug)]
pub enum Frame {
    /// Bytes; never empty.
    Data(Bytes),
    /// Trailers, after which nothing comes.
    Trailers(Box<HeaderMap>),
    /// Nothing more comes in this direction.
    End,
}

/// Why an end failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The peer closed where it should not have.
    Closed,
    /// The peer reset the connection or stream.
    Reset,
    /// The peer refused the stream: it did nothing with the request (HTTP/2 `REFUSED_STREAM`).
    Refused,
    /// The peer does not speak the protocol.
    Protocol,
}

impl From<io::Error> for Broken {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                Self::Reset
            }
            // An alert, or what TLS cannot read: of the protocol within nothing was seen.
            io::ErrorKind::InvalidData if e.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => Self::Closed,
            io::ErrorKind::InvalidData => Self::Protocol,
            _ => Self::Closed,
        }
    }
}

impl From<h2::Error> for Broken {
    fn from(e: h2::Error) -> Self {
        match e.reason() {
            Some(h2::Reason::REFUSED_STREAM) => Self::Refused,
            // The peer names the last stream that it will answer; this one came after it, and nothing was done about it.
            _ if e.is_go_away() && e.is_remote() => Self::Refused,
            _ if e.is_io() => Self::Closed,
            Some(h2::Reason::PROTOCOL_ERROR) if e.is_library() => Self::Protocol,
            _ => Self::Reset,
        }
    }
}

/// Where frames come from.
pub(crate) trait Source {
    /// The next frame from the peer. After [`Frame::End`] or [`Frame::Trailers`] it is not called again.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Broken>>;
}

/// Where frames go to.
pub(crate) trait Sink {
    /// Ready when [`Sink::send`] may be called.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;
    /// Queues a frame for the peer.
    fn send(&mut self, frame: Frame) -> Result<(), Broken>;
    /// Ready when everything queued has left.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;
}

/// How far one direction has come.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// Payload bytes moved.
    pub bytes: u64,
    /// Trailers, for the record.
    pub trailers: Option<Box<HeaderMap>>,
    /// The end was received and queued.
    pub ended: bool,
    /// gRPC messages among them, where they are counted.
    pub messages: Option<Messages>,
}

/// Which end broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The one that frames came from.
    Source,
    /// The one that frames go to.
    Sink,
}

/// Moves what can be moved now in one direction. Ready when the end has been queued and everything has left.
pub(crate) fn poll_direction<S: Source, T: Sink>(
    source: &mut S,
    sink: &mut T,
    flow: &mut Flow,
    cx: &mut Context<'_>,
) -> Poll<Result<(), (End, Broken)>> {
    while !flow.ended {
        match sink.poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(e)) => return Poll::Ready(Err((End::Sink, e))),
            Poll::Pending => return Poll::Pending,
        }
        let frame = match source.poll_recv(cx) {
            Poll::Ready(Ok(frame)) => frame,
            Poll::Ready(Err(e)) => return Poll::Ready(Err((End::Source, e))),
            Poll::Pending => break,
        };
        match &frame {
            Frame::Data(data) => {
                flow.bytes += data.len() as u64;
                if let Some(messages) = &mut flow.messages {
                    messages.see(data);
                }
            }
            Frame::Trailers(trailers) => {
                flow.ended = true;
                flow.trailers = Some(trailers.clone());
            }
            Frame::End => flow.ended = true,
        }
        if let Err(e) = sink.send(frame) {
            return Poll::Ready(Err((End::Sink, e)));
        }
    }
    match sink.poll_flush(cx) {
        Poll::Ready(Ok(())) if flow.ended => Poll::Ready(Ok(())),
        Poll::Ready(Err(e)) => Poll::Ready(Err((End::Sink, e))),
        _ => Poll::Pending,
    }
}

/// Sends all that is queued.
pub(crate) async fn flush<T: Sink>(sink: &mut T) -> Result<(), Broken> {
    poll_fn(|cx| sink.poll_flush(cx)).await
}

/// Above this an end takes no more before it has written some: bounds memory per direction.
const HIGH_WATER: usize = 64 * 1024;
/// Smaller pieces are copied together rather than queued each.
const COPY_BELOW: usize = 4096;

/// Bytes on their way out of a connection: small pieces are gathered, large ones are queued without a copy.
#[derive(Debug, Default)]
pub(crate) struct OutBuf {
    queue: VecDeque<Bytes>,
    queued: usize,
    tail: BytesMut,
}

impl OutBuf {
    /// Room for a head or small pieces.
    pub(crate) fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Queues bytes.
    pub(crate) fn push(&mut self, data: Bytes) {
        if data.len() < COPY_BELOW {
            self.tail.extend_from_slice(&data);
            return;
        }
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.queued += tail.len();
            self.queue.push_back(tail);
        }
        self.queued += data.len();
        self.queue.push_back(data);
    }

    /// Whether nothing waits to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.tail.is_empty()
    }

    /// Whether more should wait until some has been written.
    pub(crate) fn is_full(&self) -> bool {
        self.queued + self.tail.len() >= HIGH_WATER
    }

    /// Writes until all is gone (`Ready`) or the writer blocks.
    pub(crate) fn poll_write_to<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let n = if self.queue.is_empty() {
                std::task::ready!(Pin::new(&mut *io).poll_write(cx, &self.tail))?
            } else {
                let mut slices = [IoSlice::new(&[]); 8];
                let parts = self.queue.iter().map(|b| &b[..]).chain(std::iter::once(&self.tail[..]));
                for (slice, part) in slices.iter_mut().zip(parts) {
                    *slice = IoSlice::new(part);
                }
                std::task::ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices))?
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(n);
        }
        Pin::new(io).poll_flush(cx)
    }

    fn advance(&mut self, mut n: usize) {
        while let Some(first) = self.queue.front_mut() {
            let take = n.min(first.len());
            first.advance(take);
            self.queued -= take;
            n -= take;
            if !first.is_empty() {
                return;
            }
            self.queue.pop_front();
        }
        self.tail.advance(n.min(self.tail.len()));
        if self.tail.is_empty() && self.tail.capacity() > HIGH_WATER {
            self.tail = BytesMut::new();
        }
    }
}
