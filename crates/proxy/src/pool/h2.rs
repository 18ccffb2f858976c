//! HTTP/2 connections: many requests at a time, a further connection when streams run out.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::Notify;

use super::{Dialer, Host, NoConnection, Wear};
use crate::cluster::{ConnectionPermit, RequestPermit};
use crate::connect::{ConnectError, Dialled};
use crate::http::h2::{CONNECTION_WINDOW, ClientStream, MAX_HEADER_LIST, STREAM_WINDOW};
use crate::http::{RequestHead, ResponseHead};
use crate::peer::Secured;
use crate::pump::{Broken, Frame, Sink, Source};
use varka_engine::ir::Http2Keepalive;
use varka_engine::outcome::ResetReason;

/// Connections to one endpoint.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: RefCell<Vec<Rc<Shared>>>,
    connecting: Cell<bool>,
    changed: Notify,
}

/// One connection.
#[derive(Debug)]
struct Shared {
    sender: SendRequest<Bytes>,
    local: Option<SocketAddr>,
    secured: Option<Rc<Secured>>,
    wear: Cell<Wear>,
    active: Cell<usize>,
    most: usize,
    idle_since: Cell<Instant>,
    /// Takes no more streams: the peer said so, or it is gone.
    closing: Rc<Cell<bool>>,
    driver: tokio::task::AbortHandle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The last sender is gone: h2 ends the connection by itself once its streams are done; nobody uses it any more.
        self.driver.abort();
    }
}

impl Connections {
    pub(super) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty() && !self.connecting.get()
    }

    pub(super) fn retire(&self) {
        self.open.borrow_mut().clear();
    }

    pub(super) fn sweep(&self, limit: Duration) {
        self.open
            .borrow_mut()
            .retain(|c| !c.closing.get() && (c.active.get() > 0 || c.idle_since.get().elapsed() < limit));
    }

    /// A connection with a stream to spare.
    fn find(&self, dialer: &Dialer<'_>) -> Option<Rc<Shared>> {
        let mut open = self.open.borrow_mut();
        open.retain(|c| !c.closing.get() && c.wear.get().may_serve(&dialer.pool.cluster));
        open.iter()
            .find(|c| {
                let most = c.most.min(c.sender.current_max_send_streams());
                c.active.get() < most
            })
            .cloned()
    }
}

/// A stream for one request.
pub(super) async fn acquire(host: &Rc<Host>, dialer: &Dialer<'_>) -> Result<H2Lease, NoConnection> {
    let cluster = &dialer.pool.cluster;
    let mut pending = None;
    loop {
        if let Some(shared) = host.h2.find(dialer) {
            let request = dialer.admit()?;
            let mut wear = shared.wear.get();
            wear.served += 1;
            shared.wear.set(wear);
            shared.active.set(shared.active.get() + 1);
            return Ok(H2Lease { shared, host: Rc::clone(host), stream: None, _request: request });
        }
        if pending.is_none() {
            pending = Some(cluster.pending().ok_or(NoConnection::Overflow)?);
        }
        let changed = host.h2.changed.notified();
        let permit = if host.h2.connecting.get() { None } else { cluster.connection(host.h2.open.borrow().is_empty()) };
        match permit {
            Some(permit) => {
                let shared = open(host, dialer, permit).await?;
                host.h2.open.borrow_mut().push(shared);
            }
            None => changed.await,
        }
    }
}

/// Marks a host as connecting, and wakes those who wait when it no longer is.
struct Connecting<'a>(&'a Connections);

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(false);
        self.0.changed.notify_waiters();
    }
}

async fn open(host: &Rc<Host>, dialer: &Dialer<'_>, permit: ConnectionPermit) -> Result<Rc<Shared>, NoConnection> {
    host.h2.connecting.set(true);
    let _connecting = Connecting(&host.h2);
    let Dialled { io, secured, .. } = dialer.dial().await?;
    let local = io.socket().tcp().local_addr().ok();
    let limit = dialer.pool.cluster.config.http.max_concurrent_streams.unwrap_or(u32::MAX);
    let handshake = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .enable_push(false)
        .handshake(io);
    let (sender, mut connection) = handshake.await.map_err(|_| {
        NoConnection::Failed(ConnectError { reason: ResetReason::ProtocolError, transport: String::new() })
    })?;
    let pings = dialer.pool.cluster.config.http.keepalive.zip(connection.ping_pong());
    let closing = Rc::new(Cell::new(false));
    let (ended, holder) = (Rc::clone(&closing), Rc::clone(host));
    let driver = tokio::task::spawn_local(async move {
        let _permit = permit;
        let unanswered = async move {
            match pings {
                Some((settings, pings)) => unanswered(settings, pings).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = connection => {}
            // The connection is dropped: its streams end as those of one that was closed.
            () = unanswered => {}
        }
        ended.set(true);
        holder.h2.changed.notify_waiters();
    });
    Ok(Rc::new(Shared {
        sender,
        local,
        secured,
        wear: Cell::new(Wear::new()),
        active: Cell::new(0),
        most: usize::try_from(limit).unwrap_or(usize::MAX),
        idle_since: Cell::new(Instant::now()),
        closing,
        driver: driver.abort_handle(),
    }))
}

/// Pings the peer now and then, until it does not answer in time.
async fn unanswered(settings: Http2Keepalive, mut pings: h2::PingPong) {
    loop {
        // Up to 15 percent more, so that connections do not all ping at once.
        tokio::time::sleep(settings.interval.mul_f64(rand::random_range(1.0..=1.15))).await;
        match tokio::time::timeout(settings.timeout, pings.ping(h2::Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection is ending by itself.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return,
        }
    }
}

/// A request's stream; dropping it before its end cancels it.
#[derive(Debug)]
pub(crate) struct H2Lease {
    shared: Rc<Shared>,
    host: Rc<Host>,
    stream: Option<ClientStream>,
    _request: RequestPermit,
}

impl H2Lease {
    pub(super) fn start(&mut self, head: &RequestHead, end: bool) -> Result<(), Broken> {
        let mut sender = self.shared.sender.clone();
        let stream = ClientStream::start(&mut sender, head, end).inspect_err(|_| self.shared.closing.set(true))?;
        self.stream = Some(stream);
        Ok(())
    }

    pub(super) fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Broken>> {
        match &mut self.stream {
            Some(stream) => stream.poll_response(cx),
            None => Poll::Ready(Err(Broken::Closed)),
        }
    }

    pub(super) fn received(&self) -> bool {
        self.stream.as_ref().is_some_and(ClientStream::received)
    }

    pub(super) fn secured(&self) -> Option<&Rc<Secured>> {
        self.shared.secured.as_ref()
    }

    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.shared.local
    }
}

impl Drop for H2Lease {
    fn drop(&mut self) {
        if let Some(stream) = &mut self.stream
            && !stream.received()
        {
            stream.cancel();
        }
        self.shared.active.set(self.shared.active.get().saturating_sub(1));
        self.shared.idle_since.set(Instant::now());
        self.host.h2.changed.notify_waiters();
    }
}

impl Source for H2Lease {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Broken>> {
        match &mut self.stream {
            Some(stream) => stream.poll_recv(cx),
            None => Poll::Ready(Err(Broken::Closed)),
        }
    }
}

impl Sink for H2Lease {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match &mut self.stream {
            Some(stream) => stream.poll_ready(cx),
            None => Poll::Ready(Err(Broken::Closed)),
        }
    }

    fn send(&mut self, frame: Frame) -> Result<(), Broken> {
        self.stream.as_mut().ok_or(Broken::Closed)?.send(frame)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match &mut self.stream {
            Some(stream) => stream.poll_flush(cx),
            None => Poll::Ready(Err(Broken::Closed)),
        }
    }
}
