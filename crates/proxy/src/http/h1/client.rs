//! One HTTP/1 connection to an endpoint: a request at a time, then back to the pool.

use std::task::{Context, Poll, ready};

use http::Method;

use super::body::{Decoder, Encoder};
use super::conn::Wire;
use super::encode;
use super::parse::{self, Limits, Shape};
use crate::http::message::{Framing, RequestHead, ResponseHead};
use crate::net::Io;
use crate::pump::{Broken, Frame, Sink, Source};

/// A connection to an endpoint.
#[derive(Debug)]
pub(crate) struct ClientConn {
    wire: Wire,
    head: bool,
    connect: bool,
    tunnel: bool,
    keep_alive: bool,
    /// A request was sent and its response head has not come.
    awaiting: bool,
}

impl ClientConn {
    /// Takes over a connection.
    pub(crate) fn new(io: Io) -> Self {
        Self { wire: Wire::new(io), head: false, connect: false, tunnel: false, keep_alive: true, awaiting: false }
    }

    /// Queues a request head. `end`: there is no body.
    pub(crate) fn start(&mut self, head: &RequestHead, end: bool) {
        self.head = head.method == Method::HEAD;
        self.connect = head.method == Method::CONNECT;
        self.tunnel = head.upgrade.is_some();
        self.keep_alive = true;
        self.awaiting = true;
        self.wire.encoder = encode::request(self.wire.out.tail(), head, end);
        self.wire.decoder = Decoder::Done;
    }

    /// Reads the response head. Interim answers other than 101 are passed over.
    pub(crate) fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Broken>> {
        let limits = Limits::default();
        loop {
            let parsed = parse::response(&mut self.wire.buf, &mut self.wire.scanned, &limits, self.head)
                .map_err(|_| Broken::Protocol)?;
            match parsed {
                Some((head, shape)) if head.status >= 200 || head.status == 101 => {
                    return Poll::Ready(self.take_response(head, shape));
                }
                Some(_) => {}
                None => {
                    if ready!(self.wire.poll_fill(cx)).map_err(Broken::from)? == 0 {
                        return Poll::Ready(Err(Broken::Closed));
                    }
                }
            }
        }
    }

    fn take_response(&mut self, head: ResponseHead, shape: Shape) -> Result<ResponseHead, Broken> {
        self.awaiting = false;
        if head.status == 101 && !self.tunnel {
            return Err(Broken::Protocol);
        }
        let tunnel = head.status == 101 || (self.connect && (200..300).contains(&head.status));
        if !tunnel && self.wire.encoder == Encoder::Raw {
            self.wire.encoder = Encoder::Done;
            self.keep_alive = false;
        }
        self.keep_alive &= shape.keep_alive && !tunnel;
        self.wire.decoder = Decoder::new(if tunnel { Framing::UntilClose } else { shape.framing });
        Ok(head)
    }

    /// Whether the response has no body left.
    pub(crate) fn received(&self) -> bool {
        self.wire.decoder.is_done()
    }

    /// Whether another request can be sent on this connection. One whose response was given up cannot be followed: what comes
    /// next on it would be taken for the answer to another request.
    pub(crate) fn reusable(&self) -> bool {
        self.keep_alive
            && !self.awaiting
            && self.wire.decoder.is_done()
            && self.wire.encoder == Encoder::Done
            && self.wire.out.is_empty()
            && self.wire.buf.is_empty()
    }

    /// Whether the endpoint still holds the idle connection open.
    pub(crate) fn is_open(&mut self) -> bool {
        self.wire.buf.is_empty() && self.wire.io.is_idle_and_open()
    }
}

impl Source for ClientConn {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Broken>> {
        self.wire.poll_frame(cx)
    }
}

impl Sink for ClientConn {
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
