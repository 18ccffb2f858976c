//! One HTTP/1 connection from a client: a request at a time.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::BufMut as _;
use http::{Method, Version};

use super::body::{Decoder, Encoder};
use super::conn::Wire;
use super::encode::{self, Answering};
use super::parse::{self, HeadError, Limits, Shape};
use crate::http::message::{Framing, RequestHead, ResponseHead};
use crate::net::Io;
use crate::pump::{Broken, Frame, Sink, Source};

/// A client's connection.
#[derive(Debug)]
pub(crate) struct ServerConn {
    wire: Wire,
    answering: Answering,
    /// `100 Continue` is owed once somebody wants the body.
    owes_continue: bool,
    /// A final response head was queued.
    answered: bool,
    aborted: bool,
}

/// What came instead of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRequest {
    /// The client closed between two requests.
    Closed,
    /// The client closed or reset within a head.
    Broken,
    /// A head that is refused.
    Refused(HeadError),
}

impl ServerConn {
    /// Takes over a connection.
    pub(crate) fn new(io: Io) -> Self {
        Self {
            wire: Wire::new(io),
            answering: Answering { head: false, connect: false, version: Version::HTTP_11, keep_alive: false },
            owes_continue: false,
            answered: false,
            aborted: false,
        }
    }

    /// Ready when the first byte of the next request is there; `false`: the connection ended instead.
    pub(crate) async fn wait(&mut self) -> bool {
        !self.wire.buf.is_empty() || matches!(poll_fn(|cx| self.wire.poll_fill(cx)).await, Ok(n) if n > 0)
    }

    /// Reads the next request head.
    pub(crate) async fn read_head(&mut self, limits: &Limits) -> Result<(RequestHead, Shape), NoRequest> {
        self.answered = false;
        self.answering = Answering { head: false, connect: false, version: Version::HTTP_11, keep_alive: false };
        let (head, shape) = loop {
            let parsed = parse::request(&mut self.wire.buf, &mut self.wire.scanned, limits);
            match parsed.map_err(NoRequest::Refused)? {
                Some(parsed) => break parsed,
                None => match poll_fn(|cx| self.wire.poll_fill(cx)).await {
                    Ok(0) if self.wire.buf.is_empty() => return Err(NoRequest::Closed),
                    Ok(0) | Err(_) => return Err(NoRequest::Broken),
                    Ok(_) => {}
                },
            }
        };
        let connect = head.method == Method::CONNECT;
        let framing = if connect || head.upgrade.is_some() { Framing::UntilClose } else { shape.framing };
        self.wire.decoder = Decoder::new(framing);
        self.owes_continue = shape.expects_continue && framing != Framing::None;
        self.answering = Answering {
            head: head.method == Method::HEAD,
            connect,
            version: head.version,
            keep_alive: shape.keep_alive,
        };
        Ok((head, shape))
    }

    /// Whether the whole request has been received.
    pub(crate) fn received(&self) -> bool {
        self.wire.decoder.is_done()
    }

    /// The connection closes after this response.
    pub(crate) fn close_after(&mut self) {
        self.answering.keep_alive = false;
    }

    /// Queues a response head. `end`: there is no body.
    pub(crate) fn send_head(&mut self, head: &ResponseHead, end: bool) {
        let (encoder, keep_alive) = encode::response(self.wire.out.tail(), head, end, self.answering);
        if head.status >= 200 || head.status == 101 {
            self.answered = true;
            self.wire.encoder = encoder;
            self.answering.keep_alive = keep_alive && encoder != Encoder::Raw;
            self.owes_continue = false;
        }
    }

    /// The answer cannot be completed: the connection ends without its proper end.
    pub(crate) fn abort(&mut self) {
        self.aborted = true;
    }

    /// Whether [`ServerConn::abort`] was called.
    pub(crate) fn aborted(&self) -> bool {
        self.aborted
    }

    /// Whether another request can follow on this connection.
    pub(crate) fn reusable(&self) -> bool {
        self.answering.keep_alive
            && self.answered
            && self.wire.decoder.is_done()
            && self.wire.encoder == Encoder::Done
            && self.wire.out.is_empty()
    }

    /// Ready when the client has gone away: it closed although its answer is not complete. Pipelined bytes do not count.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.wire.decoder.is_done() || !self.wire.buf.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.wire.poll_fill(cx)) {
            Ok(n) if n > 0 => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }

    /// Writes what is queued and closes the write side, so that the client sees the end of the answer.
    pub(crate) async fn finish(&mut self) {
        self.wire.shut = true;
        let _ = poll_fn(|cx| self.wire.poll_out(cx)).await;
    }

    /// Reads and drops what the client still sends, until it closes or `most` bytes were read: closing with unread bytes
    /// would reset the connection, and the answer with it.
    pub(crate) async fn drain(&mut self, mut most: usize) {
        while most > 0 {
            self.wire.buf.clear();
            match poll_fn(|cx| self.wire.poll_fill(cx)).await {
                Ok(n) if n > 0 => most = most.saturating_sub(n),
                _ => return,
            }
        }
    }
}

impl Source for ServerConn {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Broken>> {
        if self.owes_continue {
            self.owes_continue = false;
            self.wire.out.tail().put_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            if let Poll::Ready(Err(e)) = self.wire.poll_out(cx) {
                return Poll::Ready(Err(e));
            }
        }
        self.wire.poll_frame(cx)
    }
}

impl Sink for ServerConn {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.wire.poll_room(cx)
    }

    fn send(&mut self, frame: Frame) -> Result<(), Broken> {
        self.wire.queue(frame)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.wire.poll_out(cx)
    }
}
