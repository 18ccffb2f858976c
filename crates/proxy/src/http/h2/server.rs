//! One request on an HTTP/2 connection from a client.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderValue};
use http::{Request, Response, StatusCode, Version};

use super::{Inbound, Outbound, forbid_connection_headers};
use crate::http::message::{Ascii, RequestHead, ResponseHead};
use crate::pump::{Broken, Frame, Sink, Source};

/// A client's stream.
#[derive(Debug)]
pub(crate) struct ServerStream {
    inbound: Inbound,
    respond: SendResponse<Bytes>,
    outbound: Option<Outbound>,
}

/// Why a request is not served although h2 found nothing wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// More fields than allowed.
    TooManyFields,
    /// It says a thing twice, or what must not be said (RFC 9113 8.1.1, 8.3.1).
    Message,
}

/// What is wrong with a head. `most`: fields that it may have, pseudo-headers among them, as Envoy counts.
pub(crate) fn malformed(request: &Request<RecvStream>, most: usize) -> Option<Malformed> {
    let (uri, headers) = (request.uri(), request.headers());
    let pseudo = [uri.scheme().is_some(), uri.authority().is_some(), uri.path_and_query().is_some()];
    if headers.len() + 1 + pseudo.into_iter().filter(|is| *is).count() > most {
        return Some(Malformed::TooManyFields);
    }
    let user = uri.authority().is_some_and(|a| a.as_str().contains('@'));
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    (user || lengths > 1).then_some(Malformed::Message)
}

impl ServerStream {
    /// Takes over a stream; gives its head.
    pub(crate) fn new(request: Request<RecvStream>, respond: SendResponse<Bytes>) -> (Self, RequestHead) {
        let (parts, body) = request.into_parts();
        let mut head = RequestHead {
            method: parts.method,
            https: false,
            version: Version::HTTP_2,
            headers: parts.headers,
            path: parts.uri.path_and_query().map_or_else(Ascii::default, |p| p.as_str().into()),
            authority: parts.uri.authority().map_or_else(Ascii::default, |a| a.as_str().into()),
            upgrade: parts.extensions.get::<h2::ext::Protocol>().map(|p| p.as_str().into()),
        };
        if head.upgrade.is_some() {
            // An extended CONNECT (RFC 8441) is what HTTP/1 asks for by an upgrade.
            head.method = http::Method::GET;
        }
        if let Some(host) = head.headers.remove(HOST)
            && head.authority.as_str().is_empty()
        {
            head.authority = host.to_str().unwrap_or_default().into();
        }
        join_cookies(&mut head);
        (Self { inbound: Inbound::new(body), respond, outbound: None }, head)
    }

    /// Whether the whole request has been received.
    pub(crate) fn received(&self) -> bool {
        self.inbound.done
    }

    /// Sends the response head. `end`: there is no body.
    pub(crate) fn send_head(&mut self, head: &ResponseHead, end: bool) -> Result<(), Broken> {
        let mut response = Response::new(());
        *response.status_mut() = match head.status {
            101 => StatusCode::OK,
            status => StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
        };
        *response.version_mut() = Version::HTTP_2;
        *response.headers_mut() = head.headers.clone();
        forbid_connection_headers(response.headers_mut());
        let stream = self.respond.send_response(response, end)?;
        self.outbound = Some(Outbound::new(stream, end));
        Ok(())
    }

    /// Ready when the client has reset the stream or is gone.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.outbound {
            Some(outbound) => outbound.stream.poll_reset(cx).map(|_| ()),
            None => self.respond.poll_reset(cx).map(|_| ()),
        }
    }

    /// Whether the client has reset the stream, and not gone away.
    pub(crate) fn was_reset(&mut self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        let told = match &mut self.outbound {
            Some(outbound) => outbound.stream.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        matches!(told, Poll::Ready(Ok(_)))
    }

    /// Ends the stream before its time.
    pub(crate) fn reset(&mut self, reason: Reason) {
        match &mut self.outbound {
            Some(outbound) => outbound.stream.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }
}

/// HTTP/2 clients send a cookie line per cookie; HTTP/1 knows one line (RFC 9113 8.2.3).
fn join_cookies(head: &mut RequestHead) {
    let mut lines = head.headers.get_all(COOKIE).iter();
    if lines.next().is_none() || lines.next().is_none() {
        return;
    }
    let all: Vec<&[u8]> = head.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        head.headers.insert(COOKIE, joined);
    }
}

impl Source for ServerStream {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Broken>> {
        self.inbound.poll_frame(cx)
    }
}

impl Sink for ServerStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.poll_flush(cx)
    }

    fn send(&mut self, frame: Frame) -> Result<(), Broken> {
        match &mut self.outbound {
            Some(outbound) => outbound.queue(frame),
            None => return Err(Broken::Protocol),
        }
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match &mut self.outbound {
            Some(outbound) => outbound.poll_push(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}
