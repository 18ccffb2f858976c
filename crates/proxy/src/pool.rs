//! Connections to endpoints, kept by one worker for one cluster.
//!
//! HTTP/1 connections carry a request at a time and are reused last-in first-out, so that what is not needed ages and goes;
//! HTTP/2 connections carry many. Nothing here is shared between workers but the counters of the circuit breakers
//! ([`crate::cluster::Usage`]), which are atomic. Before a connection is reused the kernel is asked whether it is still open.

mod h1;
mod h2;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;
use varka_engine::ir::Str;
use varka_engine::outcome::ResetReason;
use varka_engine::transport;

use crate::cluster::{ClusterState, RequestPermit};
use crate::config::ByName;
use crate::conn::Seen;
use crate::connect::{self, ConnectError, Dial, Dialled};
use crate::http::{RequestHead, ResponseHead};
use crate::peer::Secured;
use crate::pump::{Broken, Frame, Sink, Source};
use crate::state::State;
use crate::tls::ClientTls;

pub(crate) use h1::H1Lease;
pub(crate) use h2::H2Lease;

/// Idle connections are closed after an hour where the cluster does not say otherwise, as Envoy does.
const IDLE: Duration = Duration::from_secs(3600);

/// All pools of a worker, by cluster.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    clusters: RefCell<ByName<Rc<ClusterPool>>>,
}

impl Pools {
    /// The pool of a cluster. A cluster that was replaced gets a new pool; the old one's idle connections are closed.
    pub(crate) fn get(&self, cluster: &Arc<ClusterState>, state: &Arc<State>) -> Rc<ClusterPool> {
        let mut clusters = self.clusters.borrow_mut();
        match clusters.get(&cluster.config.name) {
            Some(pool) if Arc::ptr_eq(&pool.cluster, cluster) => Rc::clone(pool),
            _ => {
                let pool = Rc::new(ClusterPool::new(Arc::clone(cluster), Arc::clone(state)));
                if let Some(old) = clusters.insert(Arc::clone(&cluster.config.name), Rc::clone(&pool)) {
                    old.retire();
                }
                pool
            }
        }
    }

    /// Closes what idled too long, what the peer closed, and what belongs to endpoints or clusters that are gone.
    pub(crate) fn sweep(&self, config: &crate::config::Config) {
        self.clusters.borrow_mut().retain(|name, pool| {
            let current = config.cluster(name).is_some_and(|c| Arc::ptr_eq(c, &pool.cluster));
            if current {
                pool.sweep();
            } else {
                pool.retire();
            }
            current
        });
    }

    /// Closes every idle connection.
    pub(crate) fn close_idle(&self) {
        for pool in self.clusters.borrow_mut().drain() {
            pool.1.retire();
        }
    }
}

/// Which connections can stand in for each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    address: SocketAddr,
    http2: bool,
    /// Index of the transport among the cluster's; `None`: plain text.
    transport: Option<usize>,
    /// Server name taken from the request.
    host: Option<Box<str>>,
    /// Whom a PROXY header speaks of, and where it was going, where there is one: another client's connection cannot stand in.
    proxy: Option<(SocketAddr, SocketAddr)>,
}

/// What a request needs of a connection.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    /// Endpoint.
    pub address: SocketAddr,
    /// Its `tlsMode`.
    pub tls_mode: Option<&'a str>,
    /// Speak HTTP/2.
    pub http2: bool,
    /// ALPN to offer in place of the cluster's.
    pub alpn: Option<&'a [Str]>,
    /// Host of the request without port.
    pub host: &'a str,
    /// Whom a PROXY header speaks of, where the cluster has one; `None`: nobody but us.
    pub proxy: Option<&'a Seen>,
}

/// Why a request gets no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoConnection {
    /// A circuit breaker is open.
    Overflow,
    /// None could be made.
    Failed(ConnectError),
}

/// Connections of one cluster.
#[derive(Debug)]
pub(crate) struct ClusterPool {
    cluster: Arc<ClusterState>,
    state: Arc<State>,
    hosts: RefCell<HashMap<Key, Rc<Host>, RandomState>>,
    transports: RefCell<Vec<Transport>>,
    retired: Cell<bool>,
}

/// A TLS context and what it was made for.
#[derive(Debug)]
struct Transport {
    /// Index among `transport_matches`, or their number for `cluster.tls`.
    index: usize,
    alpn: Option<Vec<Str>>,
    tls: Rc<ClientTls>,
}

/// Connections to one endpoint of one kind.
#[derive(Debug, Default)]
struct Host {
    h1: h1::Connections,
    h2: h2::Connections,
}

impl ClusterPool {
    fn new(cluster: Arc<ClusterState>, state: Arc<State>) -> Self {
        Self { cluster, state, hosts: RefCell::default(), transports: RefCell::default(), retired: Cell::new(false) }
    }

    fn retire(&self) {
        self.retired.set(true);
        for host in self.hosts.borrow().values() {
            host.h1.close_idle();
            host.h2.retire();
        }
    }

    fn sweep(&self) {
        let known = self.cluster.addresses();
        let limit = self.idle_limit();
        self.hosts.borrow_mut().retain(|key, host| {
            let gone = known.as_ref().is_some_and(|k| !k.contains(&key.address));
            if gone {
                host.h1.close_idle();
                host.h2.retire();
            } else {
                host.h1.sweep(limit);
                host.h2.sweep(limit);
            }
            !(host.h1.is_empty() && host.h2.is_empty())
        });
    }

    fn idle_limit(&self) -> Duration {
        self.cluster.config.http.idle_timeout.filter(|t| !t.is_zero()).unwrap_or(IDLE)
    }

    /// The transport of an endpoint: which of the cluster's, and its context.
    fn transport(&self, target: &Target<'_>) -> Result<Option<(usize, Rc<ClientTls>)>, ConnectError> {
        let Some((index, tls)) = transport::choose(&self.cluster.config, target.tls_mode) else { return Ok(None) };
        let mut transports = self.transports.borrow_mut();
        let known = transports.iter().find(|t| t.index == index && t.alpn.as_deref() == target.alpn);
        if let Some(known) = known {
            return Ok(Some((index, Rc::clone(&known.tls))));
        }
        let made = ClientTls::new(tls, target.alpn, &self.state.secrets)
            .map_err(|e| ConnectError { reason: ResetReason::LocalConnectionFailure, transport: e.to_string() })?;
        let tls = Rc::new(made);
        transports.push(Transport { index, alpn: target.alpn.map(<[Str]>::to_vec), tls: Rc::clone(&tls) });
        Ok(Some((index, tls)))
    }

    /// Whether endpoints of this kind are spoken to by the mesh's mutual TLS.
    pub(crate) fn is_mesh(&self, tls_mode: Option<&str>) -> bool {
        transport::is_mesh(&self.cluster.config, tls_mode)
    }

    /// A connection, reused or new, that is this request's until the lease is dropped.
    pub(crate) async fn acquire(self: &Rc<Self>, target: &Target<'_>) -> Result<Upstream, NoConnection> {
        let transport = self.transport(target).map_err(NoConnection::Failed)?;
        let by_host = transport.as_ref().is_some_and(|(_, tls)| tls.wants_host());
        let key = Key {
            address: target.address,
            http2: target.http2,
            transport: transport.as_ref().map(|(index, _)| *index),
            host: by_host.then(|| target.host.into()),
            proxy: self.cluster.config.proxy_protocol.and(target.proxy).map(|c| (c.peer, c.original_dst)),
        };
        let host = Rc::clone(self.hosts.borrow_mut().entry(key).or_default());
        let dialer = Dialer {
            pool: Rc::clone(self),
            address: target.address,
            tls: transport.map(|(_, tls)| tls),
            host: by_host.then_some(target.host),
            proxy: target.proxy,
        };
        if target.http2 {
            h2::acquire(&host, &dialer).await.map(Upstream::H2)
        } else {
            h1::acquire(&host, &dialer).await.map(Upstream::H1)
        }
    }

    /// A connection of its own, for raw bytes.
    pub(crate) async fn dial_raw(
        self: &Rc<Self>,
        target: &Target<'_>,
    ) -> Result<(Dialled, crate::cluster::ConnectionPermit), NoConnection> {
        let transport = self.transport(target).map_err(NoConnection::Failed)?;
        let permit = self.cluster.connection(false).ok_or(NoConnection::Overflow)?;
        let tls = transport.as_ref().map(|(_, tls)| &**tls);
        let dial = Dial {
            address: target.address,
            cluster: &self.cluster.config,
            tls,
            host: None,
            state: &self.state,
            proxy: target.proxy,
        };
        let dialled = connect::connect(&dial).await.map_err(|e| {
            self.cluster.totals.connect_fail();
            NoConnection::Failed(e)
        })?;
        Ok((dialled, permit))
    }
}

/// Makes connections for one endpoint.
struct Dialer<'a> {
    pool: Rc<ClusterPool>,
    address: SocketAddr,
    tls: Option<Rc<ClientTls>>,
    host: Option<&'a str>,
    proxy: Option<&'a Seen>,
}

impl Dialer<'_> {
    async fn dial(&self) -> Result<Dialled, NoConnection> {
        let dial = Dial {
            address: self.address,
            cluster: &self.pool.cluster.config,
            tls: self.tls.as_deref(),
            host: self.host,
            state: &self.pool.state,
            proxy: self.proxy,
        };
        Box::pin(connect::connect(&dial)).await.map_err(|e| {
            self.pool.cluster.totals.connect_fail();
            NoConnection::Failed(e)
        })
    }

    /// Takes part of the cluster's allowance of requests.
    fn admit(&self) -> Result<RequestPermit, NoConnection> {
        self.pool.cluster.request().ok_or(NoConnection::Overflow)
    }
}

/// Age of a connection and what it has served.
#[derive(Debug, Clone, Copy)]
struct Wear {
    born: Instant,
    served: u32,
}

impl Wear {
    fn new() -> Self {
        Self { born: Instant::now(), served: 0 }
    }

    /// Whether the cluster's limits let it serve once more.
    fn may_serve(&self, cluster: &ClusterState) -> bool {
        let http = &cluster.config.http;
        let requests = http.max_requests_per_connection.filter(|n| *n > 0);
        let age = http.max_connection_duration.filter(|d| !d.is_zero());
        requests.is_none_or(|n| self.served < n) && age.is_none_or(|d| self.born.elapsed() < d)
    }
}

/// A request's connection to its endpoint.
#[derive(Debug)]
pub(crate) enum Upstream {
    /// HTTP/1.
    H1(H1Lease),
    /// A stream of HTTP/2.
    H2(H2Lease),
}

impl Upstream {
    /// Sends the request head. `end`: there is no body.
    pub(crate) fn start(&mut self, head: &RequestHead, end: bool) -> Result<(), Broken> {
        match self {
            Self::H1(lease) => {
                lease.start(head, end);
                Ok(())
            }
            Self::H2(lease) => lease.start(head, end),
        }
    }

    /// Reads the response head.
    pub(crate) fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Broken>> {
        match self {
            Self::H1(lease) => lease.poll_response(cx),
            Self::H2(lease) => lease.poll_response(cx),
        }
    }

    /// Whether the response has no body left.
    pub(crate) fn received(&self) -> bool {
        match self {
            Self::H1(lease) => lease.received(),
            Self::H2(lease) => lease.received(),
        }
    }

    /// Whose certificates the connection was made with; `None`: plain text.
    pub(crate) fn secured(&self) -> Option<&Rc<Secured>> {
        match self {
            Self::H1(lease) => lease.secured(),
            Self::H2(lease) => lease.secured(),
        }
    }

    /// Our address on the connection.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::H1(lease) => lease.local_addr(),
            Self::H2(lease) => lease.local_addr(),
        }
    }
}

impl Source for Upstream {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Broken>> {
        match self {
            Self::H1(lease) => lease.poll_recv(cx),
            Self::H2(lease) => lease.poll_recv(cx),
        }
    }
}

impl Sink for Upstream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self {
            Self::H1(lease) => lease.poll_ready(cx),
            Self::H2(lease) => lease.poll_ready(cx),
        }
    }

    fn send(&mut self, frame: Frame) -> Result<(), Broken> {
        match self {
            Self::H1(lease) => lease.send(frame),
            Self::H2(lease) => lease.send(frame),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self {
            Self::H1(lease) => lease.poll_flush(cx),
            Self::H2(lease) => lease.poll_flush(cx),
        }
    }
}
