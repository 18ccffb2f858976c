//! The proxy's own small HTTP servers: one request after another, whole bodies, on the control thread.
//!
//! They speak through the data plane's codec and share nothing else with it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::Error;
use crate::http::h1::{Limits, ServerConn};
use crate::http::{RequestHead, ResponseHead};
use crate::net::{Io, Socket};
use crate::pump::{Frame, Sink as _, Source as _, flush};

/// A request takes at most so long, and so does its answer.
const LIMIT: Duration = Duration::from_secs(30);
/// Largest body that is read.
const MAX_BODY: usize = 64 * 1024;
/// Connections at a time, per server.
const MAX_CONNECTIONS: usize = 64;

/// A request to one of the proxy's own servers.
#[derive(Debug)]
pub(crate) struct OwnRequest {
    /// Head.
    pub head: RequestHead,
    /// Body.
    pub body: Vec<u8>,
    /// Who asks.
    pub peer: SocketAddr,
    /// That it came on.
    pub connection: Connection,
}

/// Knows whether a connection is still open.
#[derive(Debug, Clone)]
pub(crate) struct Connection(watch::Receiver<()>);

impl Connection {
    /// An open one; it is closed when the sender goes.
    pub(crate) fn open() -> (watch::Sender<()>, Self) {
        let (open, here) = watch::channel(());
        (open, Self(here))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.has_changed().is_ok()
    }

    /// Resolves when it is closed.
    pub(crate) async fn closed(&mut self) {
        while self.0.changed().await.is_ok() {}
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.same_channel(&other.0)
    }
}

/// An answer of one of the proxy's own servers.
#[derive(Debug)]
pub(crate) struct OwnAnswer {
    /// Status.
    pub status: u16,
    /// Media type.
    pub content_type: &'static str,
    /// Body.
    pub body: Bytes,
    /// There is nothing more to be had: the connection closes after it, once the client has read it.
    pub last: bool,
}

impl OwnAnswer {
    /// Text.
    pub(crate) fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into(), last: false }
    }
}

/// Listens; the address that was bound.
pub(crate) async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let fail = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    Ok((listener, bound))
}

/// Serves until it is dropped.
pub(crate) async fn serve<H, F>(listener: TcpListener, handle: H)
where
    H: Fn(OwnRequest) -> F + Send + Sync + 'static,
    F: Future<Output = OwnAnswer> + Send,
{
    let handle = Arc::new(handle);
    let room = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let handle = Arc::clone(&handle);
                tokio::spawn(async move {
                    connection(stream, peer, &*handle).await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn connection<H, F>(stream: TcpStream, peer: SocketAddr, handle: &H)
where
    H: Fn(OwnRequest) -> F,
    F: Future<Output = OwnAnswer>,
{
    let _ = stream.set_nodelay(true);
    let mut server = ServerConn::new(Io::Plain(Socket::new(stream)));
    let limits = Limits { http10: true, ..Limits::default() };
    let (_open, here) = Connection::open();
    loop {
        let Ok(Ok((head, _))) = tokio::time::timeout(LIMIT, server.read_head(&limits)).await else { return };
        let Ok(Some(body)) = tokio::time::timeout(LIMIT, read_body(&mut server)).await else { return };
        let answer = handle(OwnRequest { head, body, peer, connection: here.clone() }).await;
        let last = answer.last;
        if !matches!(tokio::time::timeout(LIMIT, send(&mut server, answer)).await, Ok(true)) {
            return;
        }
        if !server.reusable() {
            server.finish().await;
            if last {
                // That it was read is known by the client's closing; a pod's network may go with its last process.
                let _ = tokio::time::timeout(LIMIT, server.drain(MAX_BODY)).await;
            }
            return;
        }
    }
}

async fn read_body(server: &mut ServerConn) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while !server.received() {
        match poll_fn(|cx| server.poll_recv(cx)).await.ok()? {
            Frame::Data(data) if body.len() + data.len() <= MAX_BODY => body.extend_from_slice(&data),
            Frame::Data(_) => return None,
            Frame::Trailers(_) | Frame::End => break,
        }
    }
    Some(body)
}

async fn send(server: &mut ServerConn, answer: OwnAnswer) -> bool {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(answer.body.len()));
    let end = answer.body.is_empty();
    if answer.last {
        server.close_after();
    }
    server.send_head(&ResponseHead { status: answer.status, headers }, end);
    if !end && (server.send(Frame::Data(answer.body)).is_err() || server.send(Frame::End).is_err()) {
        return false;
    }
    flush(server).await.is_ok()
}
