//! One request on an HTTP/2 connection to an endpoint.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use http::{Method, Request, Uri, Version};

use super::{Inbound, Outbound, forbid_connection_headers};
use crate::http::message::{RequestHead, ResponseHead};
use crate::pump::{Broken, Frame, Sink, Source};

/// A stream to an endpoint.
#[derive(Debug)]
pub(crate) struct ClientStream {
    response: ResponseFuture,
    outbound: Outbound,
    inbound: Option<Inbound>,
}

impl ClientStream {
    /// Opens a stream. `end`: the request has no body.
    pub(crate) fn start(sender: &mut SendRequest<Bytes>, head: &RequestHead, end: bool) -> Result<Self, Broken> {
        let (response, stream) = sender.send_request(request(head)?, end)?;
        Ok(Self { response, outbound: Outbound::new(stream, end), inbound: None })
    }

    /// Reads the response head.
    pub(crate) fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Broken>> {
        let (parts, body) = ready!(Pin::new(&mut self.response).poll(cx))?.into_parts();
        self.inbound = Some(Inbound::new(body));
        Poll::Ready(Ok(ResponseHead { status: parts.status.as_u16(), headers: parts.headers }))
    }

    /// Whether the response has no body left.
    pub(crate) fn received(&self) -> bool {
        self.inbound.as_ref().is_some_and(|i| i.done)
    }

    /// Ends the stream before its time.
    pub(crate) fn cancel(&mut self) {
        self.outbound.stream.send_reset(Reason::CANCEL);
    }
}

fn request(head: &RequestHead) -> Result<Request<()>, Broken> {
    let bad = |_| Broken::Protocol;
    let uri = if head.method == Method::CONNECT && head.upgrade.is_none() {
        Uri::builder().authority(head.authority.as_str()).build().map_err(bad)?
    } else {
        Uri::builder()
            .scheme(head.scheme())
            .authority(head.authority.as_str())
            .path_and_query(head.path.as_str())
            .build()
            .map_err(bad)?
    };
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = head.headers.clone();
    forbid_connection_headers(request.headers_mut());
    if let Some(protocol) = &head.upgrade {
        // RFC 8441: an upgrade becomes an extended CONNECT.
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(h2::ext::Protocol::from(protocol.as_str()));
    }
    Ok(request)
}

impl Source for ClientStream {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Broken>> {
        match &mut self.inbound {
            Some(inbound) => inbound.poll_frame(cx),
            None => Poll::Ready(Err(Broken::Protocol)),
        }
    }
}

impl Sink for ClientStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.outbound.poll_push(cx)
    }

    fn send(&mut self, frame: Frame) -> Result<(), Broken> {
        self.outbound.queue(frame);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.outbound.poll_push(cx)
    }
}
