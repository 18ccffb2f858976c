//! Connections of any protocol, passed on byte by byte.

mod tunnel;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use tokio::io::AsyncWrite as _;
use varka_engine::ir::{
    ClusterProtocol, Discovery, FilterChain, NetworkFilter, Str, TcpProxy, Terminal, WeightedCluster,
};
use varka_engine::outcome::{Blame, Flag, Outcome, ResponseFlags};

use crate::accesslog::UpstreamRecord;
use crate::cluster::{ClusterState, Want};
use crate::conn::Conn;
use crate::net::Io;
use crate::on_demand;
use crate::pool::{NoConnection, Target, Upstream};
use crate::pump::{Broken, Flow, Frame, OutBuf, Sink, Source, poll_direction};

/// Read at once.
const READ: usize = 64 * 1024;

/// One end of a raw connection.
#[derive(Debug)]
struct Raw {
    io: Io,
    buf: BytesMut,
    out: OutBuf,
    shut: bool,
    shut_done: bool,
}

impl Raw {
    fn new(io: Io) -> Self {
        Self { io, buf: BytesMut::new(), out: OutBuf::default(), shut: false, shut_done: false }
    }
}

impl Source for Raw {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Broken>> {
        self.buf.reserve(READ);
        let n =
            ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.io), cx, &mut self.buf)).map_err(Broken::from)?;
        Poll::Ready(Ok(if n == 0 { Frame::End } else { Frame::Data(self.buf.split().freeze()) }))
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
    ending.upstream.workload.clone_from(&picked.workload);
    let target = Target {
        address: picked.address,
        tls_mode: picked.tls_mode.as_deref(),
        http2: tcp.tunnel.is_some() && cluster.config.http.protocol == ClusterProtocol::Http2,
        alpn: None,
        host: "",
        proxy: Some(&conn.seen),
    };
    let pool = conn.worker.pools.get(&cluster, &conn.worker.state);
    let mut client = Raw::new(io);
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
    let (upstream, _permit) = match pool.dial_raw(&target).await {
        Ok(dialled) => dialled,
        Err(NoConnection::Overflow) => {
            ending.flags.insert(Flag::UpstreamOverflow);
            return;
        }
        Err(NoConnection::Failed(e)) => {
            picked.report(Err(e.reason));
            ending.flags.insert(Flag::UpstreamConnectionFailure);
            ending.upstream.failure = e.transport;
            client.io.socket().reset_on_close();
            return;
        }
    };
    ending.opened();
    ending.upstream.local = upstream.socket().tcp().local_addr().ok();
    let mut server = Raw::new(upstream);
    let reset = copy(&mut client, &mut server, limits, &mut ending).await;
    if reset {
        client.io.socket().reset_on_close();
        server.io.socket().reset_on_close();
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
    ending.opened();
    ending.upstream.local = server.local_addr();
    if copy(client, &mut server, limits, ending).await {
        client.io.socket().reset_on_close();
    }
}

/// Moves bytes both ways. `true`: an end broke, and the other is to be told by a reset.
async fn copy<S: Source + Sink>(
    client: &mut Raw,
    server: &mut S,
    (idle, longest): (Option<Duration>, Option<Duration>),
    ending: &mut Ending<'_>,
) -> bool {
    let (mut there, mut back) = (Flow::default(), Flow::default());
    let (mut there_done, mut back_done) = (false, false);
    let mut quiet = idle.filter(|t| !t.is_zero()).map(|t| (t, Box::pin(tokio::time::sleep(t))));
    let mut total = longest.filter(|t| !t.is_zero()).map(|t| Box::pin(tokio::time::sleep(t)));
    let mut moved = 0;
    let broke = poll_fn(|cx| {
        if !there_done {
            match poll_direction(client, server, &mut there, cx) {
                Poll::Ready(Ok(())) => there_done = true,
                Poll::Ready(Err(_)) => return Poll::Ready(true),
                Poll::Pending => {}
            }
        }
        if !back_done {
            match poll_direction(server, client, &mut back, cx) {
                Poll::Ready(Ok(())) => back_done = true,
                Poll::Ready(Err(_)) => return Poll::Ready(true),
                Poll::Pending => {}
            }
        }
        if there_done && back_done {
            return Poll::Ready(false);
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
        }
    }

    /// Counts a connection to an endpoint.
    fn opened(&self) {
        let series = &self.conn.worker.series;
        series.connection(self.conn, &self.upstream, self.cluster.as_ref(), ResponseFlags::NONE).opened.inc();
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let blame = if self.flags.is_empty() { Blame::Nobody } else { Blame::Upstream };
        let details = std::mem::take(&mut self.details).into();
        let outcome = Outcome { status: 0, flags: self.flags, details, blame };
        let connection = self.conn.facts();
        let worker = &self.conn.worker;
        let mut record = self.upstream.record(&connection, &outcome, &worker.state);
        record.start = self.start;
        record.duration = self.started.elapsed();
        record.bytes_received = self.received;
        record.bytes_sent = self.sent;
        record.chain = self.conn.chain.chain().map_or("", |c| &c.name);
        worker.state.logs.write(self.conn.chain.logs(), &record);
        let counters = worker.state.metrics.tcp(&self.tcp.stat_prefix);
        counters.downstream_cx_rx_bytes_total.add(self.received);
        counters.downstream_cx_tx_bytes_total.add(self.sent);
        counters.downstream_cx_active.dec();
        let series = worker.series.connection(self.conn, &self.upstream, self.cluster.as_ref(), self.flags);
        series.closed.inc();
        series.received_bytes.add(self.received);
        series.sent_bytes.add(self.sent);
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
