//! Connections of any protocol, passed on byte by byte.

mod database;
mod later;
mod reporting;
mod tunnel;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite as _;
use varka_engine::ir::{
    ClusterProtocol, Discovery, FilterChain, NetworkFilter, Str, TcpProxy, Terminal, WeightedCluster,
};
use varka_engine::outcome::{Blame, Flag, Outcome, ResponseFlags};
use varka_telemetry::metrics::istio::TcpSeries;
use varka_telemetry::wire::Side;

use crate::accesslog::UpstreamRecord;
use crate::cluster::{ClusterState, Want};
use crate::conn::Conn;
use crate::metrics::Who;
use crate::net::Io;
use crate::on_demand;
use crate::peer::{Peer, Prelude, Taken};
use crate::pool::{NoConnection, Target, Upstream};
use crate::pump::{Broken, Flow, Frame, OutBuf, Sink, Source, poll_direction};

use database::Tap;
use reporting::Reporting;

/// Read at once.
const READ: usize = 64 * 1024;
/// What moves on open connections is counted so long afterwards where the configuration does not say otherwise. Istio wakes each connection
/// every five seconds for it.
const REPORT: Duration = Duration::from_secs(1);

/// One end of a raw connection.
#[derive(Debug)]
struct Raw {
    io: Io,
    buf: BytesMut,
    out: OutBuf,
    shut: bool,
    shut_done: bool,
    /// What the peer still has to say of itself before its first byte.
    prelude: Option<Prelude>,
    /// What it said.
    told: Option<Peer>,
}

impl Raw {
    /// `own`: both sides say first who they are, and this is what we say.
    fn new(io: Io, own: Option<Bytes>) -> Self {
        let mut out = OutBuf::default();
        let prelude = own.map(|own| {
            out.push(own);
            Prelude::default()
        });
        Self { io, buf: BytesMut::new(), out, shut: false, shut_done: false, prelude, told: None }
    }

    /// Looks for the peer's prelude in what has come. `true`: it is dealt with.
    fn take_prelude(&mut self, ended: bool) -> Result<bool, Broken> {
        let Some(prelude) = &mut self.prelude else { return Ok(true) };
        match prelude.take(&mut self.buf, ended) {
            Taken::More => return Ok(false),
            Taken::TooLong => return Err(Broken::Protocol),
            Taken::Done(told) => self.told = told.map(Arc::new),
        }
        self.prelude = None;
        Ok(true)
    }
}

/// What the other end of a connection says of itself.
trait Told {
    /// What it said, if that is believed, and whether there is nothing more to wait for.
    fn peer(&self, mesh: bool) -> (Option<&Peer>, bool);
}

impl Told for Raw {
    fn peer(&self, mesh: bool) -> (Option<&Peer>, bool) {
        (self.told.as_ref().filter(|_| mesh), self.prelude.is_none())
    }
}

impl Told for Upstream {
    /// A tunnel leads to no peer that would say it first.
    fn peer(&self, _: bool) -> (Option<&Peer>, bool) {
        (None, true)
    }
}

impl Source for Raw {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Broken>> {
        loop {
            self.buf.reserve(READ);
            let io = Pin::new(&mut self.io);
            let n = ready!(tokio_util::io::poll_read_buf(io, cx, &mut self.buf)).map_err(Broken::from)?;
            let settled = self.take_prelude(n == 0)?;
            if !self.buf.is_empty() && settled {
                return Poll::Ready(Ok(Frame::Data(self.buf.split().freeze())));
            }
            if n == 0 {
                return Poll::Ready(Ok(Frame::End));
            }
        }
    }
}

impl Sink for Raw {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.out.is_full() {
            ready!(self.out.poll_write_to(&mut self.io, cx)).map_err(Broken::from)?;
        }
        Poll::Ready(Ok(()))
    }

    fn send(&mut self, frame: Frame) -> Result<(), Broken> {
        match frame {
            Frame::Data(data) => self.out.push(data),
            Frame::Trailers(_) | Frame::End => self.shut = true,
        }
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        ready!(self.out.poll_write_to(&mut self.io, cx)).map_err(Broken::from)?;
        if self.shut && !self.shut_done {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx)).map_err(Broken::from)?;
            self.shut_done = true;
        }
        Poll::Ready(Ok(()))
    }
}

/// Passes a connection on until both directions have ended.
pub(crate) async fn proxy(conn: Conn, io: Io) {
    let Some(Terminal::Tcp(tcp)) = conn.chain.chain().map(|c| &c.terminal) else { return };
    let mut ending = Ending::new(&conn, tcp);
    let Some(cluster) = weighted(&tcp.clusters, rand::random()) else { return };
    ending.upstream.cluster = Some(Arc::clone(&cluster.cluster));
    let Some(cluster) = find(&conn, &cluster.cluster, &mut ending).await else { return };
    ending.cluster = Some(Arc::clone(&cluster));
    let hash = hash(&conn, tcp);
    let want = Want {
        hash,
        tried: &[],
        reselections: 0,
        leave_priorities: false,
        original_dst: conn.seen.original_dst,
        request: None,
        resolved: Box::pin(resolve(&conn, &cluster)).await,
    };
    let Some(picked) = cluster.pick(&want) else {
        ending.flags.insert(Flag::NoHealthyUpstream);
        return;
    };
    ending.upstream.host = Some(picked.address);
    ending.upstream.peer.clone_from(&picked.peer);
    let target = Target {
        address: picked.address,
        tls_mode: picked.tls_mode.as_deref(),
        http2: tcp.tunnel.is_some() && cluster.config.http.protocol == ClusterProtocol::Http2,
        alpn: None,
        host: "",
        proxy: Some(&conn.seen),
    };
    let pool = conn.worker.pools.get(&cluster, &conn.worker.state);
    let state = &conn.worker.state;
    let mut client = Raw::new(io, conn.exchange.then(|| state.own.prelude()));
    let limits = (tcp.idle_timeout, tcp.max_connection_duration);
    if let Some(tunnel) = &tcp.tunnel {
        match Box::pin(tunnel::open(&pool, &target, tunnel)).await {
            Ok(server) => through(&mut client, server, limits, &mut ending).await,
            Err(e) => {
                picked.report(Err(e.reason()));
                ending.flags.insert(e.flag());
                ending.upstream.failure = e.transport();
                client.io.socket().reset_on_close();
            }
        }
        return;
    }
    let (dialled, _permit) = match pool.dial_raw(&target).await {
        Ok(dialled) => dialled,
        Err(NoConnection::Overflow) => {
            ending.flags.insert(Flag::UpstreamOverflow);
            return;
        }
        Err(NoConnection::Failed(e)) => {
            picked.report(Err(e.reason));
            // The one attempt that there is.
            ending.flags.insert(Flag::UpstreamConnectionFailure);
            ending.flags.insert(Flag::UpstreamRetryLimitExceeded);
            ending.upstream.failure = e.transport;
            client.io.socket().reset_on_close();
            return;
        }
    };
    ending.upstream.local = dialled.io.socket().tcp().local_addr().ok();
    ending.upstream.secured = dialled.secured;
    count_exchanges(&conn, &cluster, dialled.exchange);
    let exchange = dialled.exchange && cluster.config.metadata_exchange;
    let mut server = Raw::new(dialled.io, exchange.then(|| state.own.prelude()));
    let reset = copy(&mut client, &mut server, limits, &mut ending).await;
    if reset {
        client.io.socket().reset_on_close();
        server.io.socket().reset_on_close();
    }
}

/// Counts on both sides whether metadata is exchanged, where that is configured.
fn count_exchanges(conn: &Conn, cluster: &ClusterState, upstream: bool) {
    let counters = &conn.worker.state.metrics.exchange;
    if conn.chain.chain().is_some_and(|c| c.filters.contains(&NetworkFilter::MetadataExchange)) {
        counters.begun(conn.exchange);
    }
    if cluster.config.metadata_exchange {
        counters.begun(upstream);
    }
}

/// The cluster by name, perhaps asked for now; without one the record says why.
async fn find(conn: &Conn, name: &Str, ending: &mut Ending<'_>) -> Option<Arc<ClusterState>> {
    let state = &conn.worker.state;
    let config = state.config();
    let found = match on_demand::held(state, &config, name) {
        Some(cluster) => Ok(Some(cluster)),
        None => Box::pin(on_demand::cluster(state, &config, name)).await,
    };
    match found {
        Ok(Some(cluster)) => return Some(cluster),
        Ok(None) => ending.flags.insert(Flag::NoClusterFound),
        Err(why) => {
            let outcome = why.outcome(&format!("cluster {name}"));
            ending.flags.extend(outcome.flags);
            ending.details = outcome.details.into_owned();
        }
    }
    None
}

/// Through a tunnel that stands.
async fn through(
    client: &mut Raw,
    mut server: Upstream,
    limits: (Option<Duration>, Option<Duration>),
    ending: &mut Ending<'_>,
) {
    ending.upstream.local = server.local_addr();
    ending.upstream.secured = server.secured().cloned();
    if copy(client, &mut server, limits, ending).await {
        client.io.socket().reset_on_close();
    }
}

/// Moves bytes both ways. `true`: an end broke, and the other is to be told by a reset.
async fn copy<S: Source + Sink + Told>(
    client: &mut Raw,
    server: &mut S,
    (idle, longest): (Option<Duration>, Option<Duration>),
    ending: &mut Ending<'_>,
) -> bool {
    let (mut there, mut back) = (Flow::default(), Flow::default());
    let (mut there_done, mut back_done) = (false, false);
    let mut quiet = idle.filter(|t| !t.is_zero()).map(|t| (t, Box::pin(tokio::time::sleep(t))));
    let mut total = longest.filter(|t| !t.is_zero()).map(|t| Box::pin(tokio::time::sleep(t)));
    let mut reporting = ending.interval().map(Reporting::new);
    let mut moved = 0;
    let tap = Tap::new(&ending.conn.worker);
    if ending.learn(client, server) {
        // Who says nothing is looked up by now: an answer is there before the first count.
        let _ = ending.identify_peer();
    }
    let broke = poll_fn(|cx| {
        if !there_done {
            match poll_direction(&mut tap.on(Side::Client, client), server, &mut there, cx) {
                Poll::Ready(Ok(())) => there_done = true,
                Poll::Ready(Err(_)) => return Poll::Ready(true),
                Poll::Pending => {}
            }
        }
        if !back_done {
            match poll_direction(&mut tap.on(Side::Server, server), client, &mut back, cx) {
                Poll::Ready(Ok(())) => back_done = true,
                Poll::Ready(Err(_)) => return Poll::Ready(true),
                Poll::Pending => {}
            }
        }
        for (operation, only) in tap.take() {
            ending.operation(operation, only);
        }
        if there_done && back_done {
            return Poll::Ready(false);
        }
        if let Some(reporting) = &mut reporting {
            reporting.poll(there.bytes + back.bytes, cx, || {
                (ending.received, ending.sent) = (there.bytes, back.bytes);
                let known =
                    ending.learn(client, server) && (ending.counted.is_some() || ending.identify_peer().is_none());
                if known {
                    ending.report([there.bytes, back.bytes]);
                }
                known
            });
        }
        if let Some((limit, timer)) = &mut quiet {
            if moved != there.bytes + back.bytes {
                moved = there.bytes + back.bytes;
                timer.as_mut().reset(tokio::time::Instant::now() + *limit);
            }
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(false);
            }
        }
        match &mut total {
            Some(timer) => timer.as_mut().poll(cx).map(|()| false),
            None => Poll::Pending,
        }
    })
    .await;
    ending.learn(client, server);
    ending.received = there.bytes;
    ending.sent = back.bytes;
    broke
}

/// What a TCP connection's end leaves in the log, whichever way it ends.
struct Ending<'a> {
    conn: &'a Conn,
    tcp: &'a TcpProxy,
    start: SystemTime,
    started: Instant,
    flags: ResponseFlags,
    details: String,
    upstream: UpstreamRecord,
    received: u64,
    sent: u64,
    cluster: Option<Arc<ClusterState>>,
    /// What the client said of itself.
    peer: Option<Peer>,
    /// The series that it counts in, once it has begun to be counted, and the bytes that were.
    counted: Option<(Option<Arc<TcpSeries>>, [u64; 2])>,
    /// Series of what a database was asked.
    databases: database::Known,
}

impl<'a> Ending<'a> {
    fn new(conn: &'a Conn, tcp: &'a TcpProxy) -> Self {
        let counters = conn.worker.state.metrics.tcp(&tcp.stat_prefix);
        counters.downstream_cx_total.inc();
        counters.downstream_cx_active.inc();
        Self {
            conn,
            tcp,
            start: SystemTime::now(),
            started: Instant::now(),
            flags: ResponseFlags::NONE,
            details: String::new(),
            upstream: UpstreamRecord::default(),
            received: 0,
            sent: 0,
            cluster: None,
            peer: None,
            counted: None,
            databases: database::Known::new(),
        }
    }

    /// When what moves is counted while it is open; `None`: it is not.
    fn interval(&self) -> Option<Duration> {
        let stats = self.conn.chain.stats()?;
        Some(stats.config.tcp_reporting_interval.unwrap_or(REPORT)).filter(|every| !every.is_zero())
    }

    /// Takes over what the peers said of themselves. `true`: all has been said.
    fn learn(&mut self, client: &Raw, server: &impl Told) -> bool {
        let (peer, client_done) = client.peer(self.conn.is_mesh());
        if let Some(peer) = peer {
            self.peer = Some(Arc::clone(peer));
        }
        let (peer, server_done) = server.peer(self.upstream.secured.as_ref().is_some_and(|s| s.mesh));
        if let Some(peer) = peer {
            self.upstream.peer = Some(Arc::clone(peer));
        }
        client_done && server_done
    }

    fn who(&self) -> Who<'_> {
        Who {
            conn: self.conn,
            client: self.peer.as_ref(),
            upstream: &self.upstream,
            cluster: self.cluster.as_ref(),
            route: None,
        }
    }

    /// Adds to the metrics what was not added before. The labels are those of the first time.
    fn report(&mut self, moved: [u64; 2]) {
        let (series, before) = self.counted.get_or_insert_with(|| {
            let who = Who {
                conn: self.conn,
                client: self.peer.as_ref(),
                upstream: &self.upstream,
                cluster: self.cluster.as_ref(),
                route: None,
            };
            let series = self.conn.worker.series.connection(&who, self.flags, |stats| stats.of_connection(&who));
            if let Some(series) = &series {
                series.opened.inc();
            }
            (series, [0, 0])
        });
        if let Some(series) = series {
            series.received_bytes.add(moved[0].saturating_sub(before[0]));
            series.sent_bytes.add(moved[1].saturating_sub(before[1]));
        }
        *before = moved;
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let blame = if self.flags.is_empty() { Blame::Nobody } else { Blame::Upstream };
        let details = std::mem::take(&mut self.details).into();
        let outcome = Outcome { status: 0, flags: self.flags, details, blame };
        let connection = self.conn.facts();
        let worker = &self.conn.worker;
        let mut record = self.upstream.record(self.start, &connection, &outcome, &worker.state);
        record.duration = self.started.elapsed();
        record.bytes_received = self.received;
        record.bytes_sent = self.sent;
        record.chain = self.conn.chain.chain().map_or("", |c| &c.name);
        worker.state.logs.write(self.conn.chain.logs(), &record);
        let counters = worker.state.metrics.tcp(&self.tcp.stat_prefix);
        counters.downstream_cx_rx_bytes_total.add(self.received);
        counters.downstream_cx_tx_bytes_total.add(self.sent);
        counters.downstream_cx_active.dec();
        self.count();
    }
}

/// A policy denies the connection: it is closed, and the log says which.
pub(crate) fn deny(conn: &Conn, chain: &FilterChain, details: String) {
    if let Terminal::Tcp(tcp) = &chain.terminal {
        let mut ending = Ending::new(conn, tcp);
        ending.upstream.termination.clone_from(&details);
        ending.details = details;
    }
}

fn weighted(clusters: &[WeightedCluster], random: u64) -> Option<&WeightedCluster> {
    if let [only] = clusters {
        return Some(only);
    }
    let total: u64 = clusters.iter().map(|c| u64::from(c.weight)).sum();
    let mut left = random.checked_rem(total)?;
    clusters.iter().find(|c| match left.checked_sub(u64::from(c.weight)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    })
}

/// The address of the client's server name, where a filter has it resolved for a cluster that wants it.
async fn resolve(conn: &Conn, cluster: &ClusterState) -> Option<SocketAddr> {
    if !matches!(cluster.config.discovery, Discovery::DynamicForwardProxy) {
        return None;
    }
    let port = conn.chain.chain()?.filters.iter().find_map(|filter| match filter {
        NetworkFilter::SniDynamicForwardProxy(port) => Some(*port),
        _ => None,
    })?;
    let name = conn.seen.hello.as_ref()?.sni.as_deref()?;
    conn.worker.names.resolve(name, port).await
}

fn hash(conn: &Conn, tcp: &TcpProxy) -> Option<u64> {
    let by_source = tcp.hash_policy.iter().any(|p| p.key == varka_engine::ir::HashKey::SourceIp);
    by_source.then(|| varka_engine::balance::xxhash64(conn.seen.peer.ip().to_string().as_bytes()))
}
