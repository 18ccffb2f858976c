//! What a server's and a client's HTTP/1 connection have in common: a socket and what is on its way in and out.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::body::{Decoder, Encoder};
use crate::net::Io;
use crate::pump::{Broken, Frame, OutBuf};

/// Read at once from a socket.
const READ: usize = 16 * 1024;
/// Read at once while a body streams.
const READ_BODY: usize = 64 * 1024;

thread_local! {
    /// Where first bytes of messages are read to, so that an idle connection owns no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// A connection between two messages or within one.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) io: Io,
    pub(super) buf: BytesMut,
    pub(super) scanned: usize,
    pub(super) out: OutBuf,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    /// The write side is to be closed once everything has left.
    pub(super) shut: bool,
    shut_done: bool,
}

impl Wire {
    pub(super) fn new(io: Io) -> Self {
        Self {
            io,
            buf: BytesMut::new(),
            scanned: 0,
            out: OutBuf::default(),
            decoder: Decoder::Done,
            encoder: Encoder::Done,
            shut: false,
            shut_done: false,
        }
    }

    /// Reads what there is; 0 at the end of the stream.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.buf.is_empty() || matches!(self.decoder, Decoder::Length(_) | Decoder::Chunk(_) | Decoder::UntilClose)
        {
            self.buf.reserve(if self.decoder.is_done() { READ } else { READ_BODY });
            return tokio_util::io::poll_read_buf(Pin::new(&mut self.io), cx, &mut self.buf);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut into = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut into))?;
            self.buf.extend_from_slice(into.filled());
            Poll::Ready(Ok(into.filled().len()))
        })
    }

    /// The next frame of the body that is being received.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Broken>> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.buf)? {
                if self.buf.is_empty() {
                    self.buf = BytesMut::new();
                }
                return Poll::Ready(Ok(frame));
            }
            if ready!(self.poll_fill(cx)).map_err(Broken::from)? == 0 {
                return Poll::Ready(self.decoder.eof());
            }
        }
    }

    /// Ready when there is room for another frame.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.out.is_full() {
            ready!(self.out.poll_write_to(&mut self.io, cx)).map_err(Broken::from)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Queues a frame of the body that is being sent.
    pub(super) fn queue(&mut self, frame: Frame) -> Result<(), Broken> {
        let raw = self.encoder == Encoder::Raw;
        self.encoder.encode(frame, &mut self.out)?;
        self.shut |= raw && self.encoder == Encoder::Done;
        Ok(())
    }

    /// Ready when everything has left, and the write side is closed if that was asked for.
    pub(super) fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        ready!(self.out.poll_write_to(&mut self.io, cx)).map_err(Broken::from)?;
        if self.shut && !self.shut_done {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx)).map_err(Broken::from)?;
            self.shut_done = true;
        }
        Poll::Ready(Ok(()))
    }
}
