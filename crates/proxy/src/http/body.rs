//! The request body on its way to one or several attempts, and to mirrors.
//!
//! What an attempt has been sent is kept as long as it is small, so that the next attempt can be sent it again; beyond the
//! limit it is let go and the request is not retried, as in Envoy. Pieces are shared, not copied.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::mpsc;

use super::downstream::Downstream;
use super::grpc::Messages;
use crate::pump::{Broken, Frame, Source};

/// Most bytes that are kept for another attempt.
const KEEP: usize = 64 * 1024;

/// A request body and what has become of it.
#[derive(Debug)]
pub(crate) struct RequestBody {
    kept: Vec<Bytes>,
    size: usize,
    keeping: bool,
    end: Option<Option<Box<HeaderMap>>>,
    limit: Option<u64>,
    received: u64,
    too_large: bool,
    messages: Option<Messages>,
    mirrors: Vec<mpsc::Sender<Frame>>,
}

impl RequestBody {
    /// `keep`: another attempt may be made. `limit`: most bytes that are accepted. `ended`: there is no body. `grpc`:
    /// messages are counted.
    pub(crate) fn new(keep: bool, limit: Option<u64>, ended: bool, grpc: bool) -> Self {
        Self {
            kept: Vec::new(),
            size: 0,
            keeping: keep,
            end: ended.then_some(None),
            limit,
            received: 0,
            too_large: false,
            messages: grpc.then(Messages::default),
            mirrors: Vec::new(),
        }
    }

    /// Begins with what a filter has read already. Call before the first byte is read.
    pub(crate) fn begin_with(&mut self, begun: Begun) {
        self.received = begun.data.len() as u64;
        self.too_large = self.limit.is_some_and(|most| self.received > most);
        self.size = begun.data.len();
        if !begun.data.is_empty() {
            self.kept.push(begun.data);
        }
        if begun.ended {
            self.end = Some(begun.trailers);
        }
    }

    /// Sends a copy of what comes to a mirror as well. Call before the first byte is read.
    pub(crate) fn mirror_to(&mut self, mirror: mpsc::Sender<Frame>) {
        for data in &self.kept {
            let _ = mirror.try_send(Frame::Data(data.clone()));
        }
        match &self.end {
            Some(end) => drop(mirror.try_send(end.clone().map_or(Frame::End, Frame::Trailers))),
            None => self.mirrors.push(mirror),
        }
    }

    /// Whether all of it can be sent once more.
    pub(crate) fn can_repeat(&self) -> bool {
        self.keeping || self.received == 0
    }

    /// Whether there is no body at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.received == 0 && matches!(self.end, Some(None))
    }

    /// Whether the client has sent all of it.
    pub(crate) fn ended(&self) -> bool {
        self.end.is_some()
    }

    /// Bytes that the client has sent.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// gRPC messages that the client has sent.
    pub(crate) fn messages(&self) -> u64 {
        self.messages.as_ref().map_or(0, Messages::count)
    }

    /// Whether the client sent more than is accepted.
    pub(crate) fn too_large(&self) -> bool {
        self.too_large
    }

    fn take(&mut self, frame: &Frame) -> Result<(), Broken> {
        match frame {
            Frame::Data(data) => {
                self.received += data.len() as u64;
                if let Some(messages) = &mut self.messages {
                    messages.see(data);
                }
                if self.limit.is_some_and(|most| self.received > most) {
                    self.too_large = true;
                    return Err(Broken::Protocol);
                }
                if self.keeping && self.size + data.len() <= KEEP {
                    self.size += data.len();
                    self.kept.push(data.clone());
                } else if self.keeping {
                    self.keeping = false;
                    self.kept = Vec::new();
                }
                self.mirrors.retain(|m| m.try_send(Frame::Data(data.clone())).is_ok());
            }
            Frame::Trailers(trailers) => {
                self.end = Some(Some(trailers.clone()));
                self.mirrors.drain(..).for_each(|m| drop(m.try_send(Frame::Trailers(trailers.clone()))));
            }
            Frame::End => {
                self.end = Some(None);
                self.mirrors.drain(..).for_each(|m| drop(m.try_send(Frame::End)));
            }
        }
        Ok(())
    }
}

/// The beginning of a body that a filter has read, or all of it.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    /// What came.
    pub data: Bytes,
    /// Nothing more comes.
    pub ended: bool,
    /// What came last.
    pub trailers: Option<Box<HeaderMap>>,
}

/// The body as one attempt reads it: first what is kept, then what still comes.
pub(crate) struct Attempt<'a> {
    /// The client.
    pub down: &'a mut Downstream,
    /// What it has sent.
    pub body: &'a mut RequestBody,
    /// Pieces of the kept part that this attempt has read.
    pub at: &'a mut usize,
}

impl Source for Attempt<'_> {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Broken>> {
        if self.body.too_large {
            return Poll::Ready(Err(Broken::Protocol));
        }
        if let Some(data) = self.body.kept.get(*self.at) {
            *self.at += 1;
            return Poll::Ready(Ok(Frame::Data(data.clone())));
        }
        if let Some(end) = &self.body.end {
            return Poll::Ready(Ok(end.clone().map_or(Frame::End, Frame::Trailers)));
        }
        let frame = ready!(self.down.poll_recv(cx))?;
        let keeping = self.body.kept.len();
        self.body.take(&frame)?;
        if self.body.kept.len() > keeping {
            *self.at += 1;
        }
        Poll::Ready(Ok(frame))
    }
}
