//! The client's side of one request, whichever HTTP it speaks.

use std::task::{Context, Poll};

use super::h1::ServerConn;
use super::h2::ServerStream;
use super::message::ResponseHead;
use crate::pump::{Broken, Frame, Sink, Source};

/// A request's way back to its client.
#[derive(Debug)]
pub(crate) enum Downstream {
    /// HTTP/1: the whole connection, for the time of this request.
    H1(Box<ServerConn>),
    /// HTTP/2: one stream.
    H2(Box<ServerStream>),
}

impl Downstream {
    /// Whether the whole request has been received.
    pub(crate) fn received(&self) -> bool {
        match self {
            Self::H1(c) => c.received(),
            Self::H2(s) => s.received(),
        }
    }

    /// Sends the response head. `end`: there is no body.
    pub(crate) fn send_head(&mut self, head: &ResponseHead, end: bool) -> Result<(), Broken> {
        match self {
            Self::H1(c) => {
                c.send_head(head, end);
                Ok(())
            }
            Self::H2(s) => s.send_head(head, end),
        }
    }

    /// The client's connection ends after this response (HTTP/1).
    pub(crate) fn close_after(&mut self) {
        if let Self::H1(c) = self {
            c.close_after();
        }
    }

    /// Ready when the client has gone away.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::H1(c) => c.poll_gone(cx),
            Self::H2(s) => s.poll_gone(cx),
        }
    }

    /// Whether the client took this request back, and did not go away.
    pub(crate) fn was_reset(&mut self) -> bool {
        match self {
            Self::H1(_) => false,
            Self::H2(s) => s.was_reset(),
        }
    }

    /// The response cannot be completed: the client must not take it for complete.
    pub(crate) fn abort(&mut self) {
        match self {
            Self::H1(c) => c.abort(),
            Self::H2(s) => s.reset(h2::Reason::INTERNAL_ERROR),
        }
    }
}

impl Source for Downstream {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Broken>> {
        match self {
            Self::H1(c) => c.poll_recv(cx),
            Self::H2(s) => s.poll_recv(cx),
        }
    }
}

impl Sink for Downstream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self {
            Self::H1(c) => c.poll_ready(cx),
            Self::H2(s) => s.poll_ready(cx),
        }
    }

    fn send(&mut self, frame: Frame) -> Result<(), Broken> {
        match self {
            Self::H1(c) => c.send(frame),
            Self::H2(s) => s.send(frame),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self {
            Self::H1(c) => c.poll_flush(cx),
            Self::H2(s) => s.poll_flush(cx),
        }
    }
}
