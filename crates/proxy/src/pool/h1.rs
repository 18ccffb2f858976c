//! HTTP/1 connections: one request at a time, reused last-in first-out.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Dialer, Host, NoConnection, Wear};
use crate::cluster::{ConnectionPermit, RequestPermit};
use crate::http::h1::ClientConn;
use crate::http::{RequestHead, ResponseHead};
use crate::peer::Secured;
use crate::pump::{Broken, Frame, Sink, Source};

/// Connections to one endpoint.
#[derive(Debug, Default)]
pub(super) struct Connections {
    idle: RefCell<Vec<Idle>>,
    /// Requests that wait because the cluster has all the connections it may have.
    waiting: RefCell<VecDeque<oneshot::Sender<Option<Idle>>>>,
    /// Open ones, idle or not.
    open: Cell<usize>,
}

/// A connection that serves nobody.
#[derive(Debug)]
struct Idle {
    connection: Box<ClientConn>,
    wear: Wear,
    since: Instant,
    secured: Option<Rc<Secured>>,
    /// Our address on it.
    local: Option<SocketAddr>,
    _permit: ConnectionPermit,
}

impl Connections {
    pub(super) fn is_empty(&self) -> bool {
        self.open.get() == 0 && self.waiting.borrow().is_empty()
    }

    pub(super) fn close_idle(&self) {
        let closed = std::mem::take(&mut *self.idle.borrow_mut()).len();
        self.open.set(self.open.get().saturating_sub(closed));
    }

    pub(super) fn sweep(&self, limit: Duration) {
        let before = self.idle.borrow().len();
        self.idle.borrow_mut().retain_mut(|i| i.since.elapsed() < limit && i.connection.is_open());
        self.open.set(self.open.get().saturating_sub(before - self.idle.borrow().len()));
    }

    /// The youngest idle connection that still serves.
    fn pop(&self, dialer: &Dialer<'_>) -> Option<Idle> {
        loop {
            let mut idle = self.idle.borrow_mut().pop()?;
            let fresh = idle.since.elapsed() < dialer.pool.idle_limit();
            if fresh && idle.wear.may_serve(&dialer.pool.cluster) && idle.connection.is_open() {
                return Some(idle);
            }
            self.open.set(self.open.get().saturating_sub(1));
        }
    }

    /// Gives a connection to whoever waits longest, else keeps it.
    fn put(&self, mut idle: Idle) {
        loop {
            let Some(waiter) = self.waiting.borrow_mut().pop_front() else { break };
            match waiter.send(Some(idle)) {
                Ok(()) => return,
                Err(Some(back)) => idle = back,
                Err(None) => return,
            }
        }
        self.idle.borrow_mut().push(idle);
    }

    /// A connection ended: whoever waits longest may try to make one.
    fn closed(&self) {
        self.open.set(self.open.get().saturating_sub(1));
        while let Some(waiter) = self.waiting.borrow_mut().pop_front() {
            if waiter.send(None).is_ok() {
                return;
            }
        }
    }
}

/// A connection for one request.
pub(super) async fn acquire(host: &Rc<Host>, dialer: &Dialer<'_>) -> Result<H1Lease, NoConnection> {
    let cluster = &dialer.pool.cluster;
    loop {
        if let Some(idle) = host.h1.pop(dialer) {
            return lease(host, dialer, idle);
        }
        let pending = cluster.pending().ok_or(NoConnection::Overflow)?;
        // An endpoint may always have one connection, whatever the cluster's limit says, as in Envoy.
        if let Some(permit) = cluster.connection(host.h1.open.get() == 0) {
            let opening = Opening::new(host);
            let dialled = dialer.dial().await?;
            drop(pending);
            opening.succeeded();
            let local = dialled.io.socket().tcp().local_addr().ok();
            let (connection, secured) = (Box::new(ClientConn::new(dialled.io)), dialled.secured);
            let (wear, since) = (Wear::new(), Instant::now());
            return lease(host, dialer, Idle { connection, wear, since, secured, local, _permit: permit });
        }
        let (sender, receiver) = oneshot::channel();
        host.h1.waiting.borrow_mut().push_back(sender);
        if let Ok(Some(idle)) = receiver.await {
            drop(pending);
            return lease(host, dialer, idle);
        }
    }
}

/// Counts a connection while it is being made; one that fails, or is given up, is counted off again.
struct Opening<'a> {
    host: &'a Rc<Host>,
    done: bool,
}

impl<'a> Opening<'a> {
    fn new(host: &'a Rc<Host>) -> Self {
        host.h1.open.set(host.h1.open.get() + 1);
        Self { host, done: false }
    }

    fn succeeded(mut self) {
        self.done = true;
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.host.h1.closed();
        }
    }
}

fn lease(host: &Rc<Host>, dialer: &Dialer<'_>, mut idle: Idle) -> Result<H1Lease, NoConnection> {
    match dialer.admit() {
        Ok(request) => {
            idle.wear.served += 1;
            Ok(H1Lease { idle: Some(idle), host: Rc::clone(host), pool: Rc::clone(&dialer.pool), _request: request })
        }
        Err(e) => {
            host.h1.put(idle);
            Err(e)
        }
    }
}

/// A request's hold on a connection; dropping it gives the connection back, or closes it where it cannot be reused.
#[derive(Debug)]
pub(crate) struct H1Lease {
    idle: Option<Idle>,
    host: Rc<Host>,
    pool: Rc<super::ClusterPool>,
    _request: RequestPermit,
}

impl H1Lease {
    fn connection(&mut self) -> Option<&mut ClientConn> {
        self.idle.as_mut().map(|i| &mut *i.connection)
    }

    pub(super) fn start(&mut self, head: &RequestHead, end: bool) {
        if let Some(connection) = self.connection() {
            connection.start(head, end);
        }
    }

    pub(super) fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Broken>> {
        match self.connection() {
            Some(connection) => connection.poll_response(cx),
            None => Poll::Ready(Err(Broken::Closed)),
        }
    }

    pub(super) fn received(&self) -> bool {
        self.idle.as_ref().is_some_and(|i| i.connection.received())
    }

    pub(super) fn secured(&self) -> Option<&Rc<Secured>> {
        self.idle.as_ref()?.secured.as_ref()
    }

    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.idle.as_ref()?.local
    }
}

impl Drop for H1Lease {
    fn drop(&mut self) {
        let Some(mut idle) = self.idle.take() else { return };
        if idle.connection.reusable() && idle.wear.may_serve(&self.pool.cluster) && !self.pool.retired.get() {
            idle.since = Instant::now();
            self.host.h1.put(idle);
        } else {
            drop(idle);
            self.host.h1.closed();
        }
    }
}

impl Source for H1Lease {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Broken>> {
        match self.connection() {
            Some(connection) => connection.poll_recv(cx),
            None => Poll::Ready(Err(Broken::Closed)),
        }
    }
}

impl Sink for H1Lease {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self.connection() {
            Some(connection) => connection.poll_ready(cx),
            None => Poll::Ready(Err(Broken::Closed)),
        }
    }

    fn send(&mut self, frame: Frame) -> Result<(), Broken> {
        self.connection().ok_or(Broken::Closed)?.send(frame)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self.connection() {
            Some(connection) => connection.poll_flush(cx),
            None => Poll::Ready(Err(Broken::Closed)),
        }
    }
}
