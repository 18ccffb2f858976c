//! What a finished request or connection adds to the statistics: Envoy's and Istio's standard metrics.
//!
//! Series are found once and kept by the worker, and each connection has that of its last request at hand: the next one is
//! mostly like it. Counting takes no lock and, where the labels are the standard ones, allocates nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use varka_engine::ir::Str;
use varka_engine::outcome::{Outcome, ResponseFlags};
use varka_telemetry::metrics::istio::{
    Custom, Facts, HttpSeries, Protocol, Reporter, RequestResult, SeriesKey, TcpSeries, Workload,
};

use crate::accesslog::UpstreamRecord;
use crate::cluster::ClusterState;
use crate::config::PreparedStats;
use crate::conn::Conn;
use crate::peer::Peer;
use crate::state::State;

/// Series that a worker keeps at hand; beyond that it begins anew.
const MOST: usize = 1024;

/// A peer, told from others by where it is kept; as long as the key lives, nothing else can be there.
#[derive(Debug, Clone)]
struct Same(Option<Peer>);

impl Same {
    fn address(&self) -> *const Workload {
        self.0.as_ref().map_or(std::ptr::null(), Arc::as_ptr)
    }
}

impl PartialEq for Same {
    fn eq(&self, other: &Self) -> bool {
        self.address() == other.address()
    }
}

impl Eq for Same {}

impl Hash for Same {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address().hash(state);
    }
}

/// What distinguishes series on one proxy, cheaper to compare than all their labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Short {
    reporter: Reporter,
    peer: Same,
    principal: Option<Str>,
    secured: bool,
    cluster: Option<Str>,
    route: Option<Str>,
    protocol: Protocol,
    flags: ResponseFlags,
    custom: Option<Custom>,
}

impl Short {
    /// Whether a request of these is of this series.
    fn is(&self, who: &Who<'_>, protocol: Protocol, flags: ResponseFlags, custom: Option<&Custom>) -> bool {
        let same = |mine: &Option<Str>, other: Option<&Str>| match (mine, other) {
            (Some(mine), Some(other)) => Arc::ptr_eq(mine, other) || mine == other,
            (mine, other) => mine.is_none() && other.is_none(),
        };
        let (peer, own) = who.principals();
        self.reporter == who.reporter()
            && self.peer.address() == who.peer().map_or(std::ptr::null(), Arc::as_ptr)
            && same(&self.principal, peer)
            && self.secured == own.is_some()
            && same(&self.cluster, who.upstream.cluster.as_ref())
            && same(&self.route, who.telling_route())
            && self.protocol == protocol
            && self.flags == flags
            && self.custom.as_ref() == custom
    }
}

/// Where a connection's last request was counted, if it has had one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Last(RefCell<Option<Counted>>);

#[derive(Debug, Clone)]
struct Counted {
    short: Short,
    /// The Host that stood in for the service; empty: none.
    host: Box<str>,
    series: Arc<HttpSeries>,
}

/// Series that differ in nothing but the Host that stands in for a service; empty: it does not.
type ByHost<T> = HashMap<Box<str>, Arc<T>, RandomState>;

/// The series that a worker has used.
#[derive(Debug, Default)]
pub(crate) struct Series {
    http: RefCell<HashMap<Short, ByHost<HttpSeries>, RandomState>>,
    tcp: RefCell<HashMap<Short, Arc<TcpSeries>, RandomState>>,
}

/// One finished request.
#[derive(Debug)]
pub(crate) struct FinishedRequest<'a> {
    /// Its connection.
    pub conn: &'a Conn,
    /// What its client said of itself.
    pub client: Option<&'a Peer>,
    /// Its cluster, if it had one that exists.
    pub cluster: Option<&'a Arc<ClusterState>>,
    /// Where it was sent.
    pub upstream: &'a UpstreamRecord,
    /// Host.
    pub authority: &'a str,
    /// Name of its route.
    pub route: Option<&'a Str>,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// `grpc-status`, of a gRPC request.
    pub grpc: Option<Option<u32>>,
    /// gRPC messages from and to the client.
    pub messages: [u64; 2],
    /// How long it took.
    pub duration: Duration,
    /// Payload from the client.
    pub received: u64,
    /// Payload to the client.
    pub sent: u64,
}

impl Series {
    /// Counts a request. `custom`: values of labels that are not standard.
    pub(crate) fn request(
        &self,
        state: &State,
        r: &FinishedRequest<'_>,
        custom: impl FnOnce(&PreparedStats, &Who<'_>) -> Option<Custom>,
    ) {
        if let Some(cluster) = r.cluster {
            cluster.stats.codes.count(r.outcome.status);
            cluster.stats.counters.upstream_rq_time.record(millis(r.duration));
        }
        if let Some(http) = &r.conn.http_stats {
            http.counters.downstream_rq_completed.inc();
            http.counters.downstream_rq_time.record(millis(r.duration));
            http.codes.count(r.outcome.status);
        }
        let Some(stats) = r.conn.chain.stats() else { return };
        let who = Who { conn: r.conn, client: r.client, upstream: r.upstream, cluster: r.cluster, route: r.route };
        let protocol = if r.grpc.is_some() { Protocol::Grpc } else { Protocol::Http };
        let custom = custom(stats, &who);
        let fallback = who.service().is_none() && !stats.config.disable_host_header_fallback;
        let host = if fallback { r.authority } else { "" };
        let mut last = r.conn.last.0.borrow_mut();
        if let Some(last) = &*last
            && *last.host == *host
            && last.short.is(&who, protocol, ResponseFlags::NONE, custom.as_ref())
        {
            return count(&last.series, r);
        }
        let short = who.short(protocol, ResponseFlags::NONE, custom);
        let series = self.http(state, short.clone(), &who, protocol, host);
        count(&series, r);
        *last = Some(Counted { short, host: host.into(), series });
    }

    fn http(&self, state: &State, short: Short, who: &Who<'_>, protocol: Protocol, host: &str) -> Arc<HttpSeries> {
        let mut known = self.http.borrow_mut();
        if known.len() >= MOST {
            known.clear();
        }
        let entry = known.entry(short);
        let custom = entry.key().custom.clone();
        let by_host = entry.or_default();
        if by_host.len() >= MOST {
            by_host.clear();
        }
        let new = || state.metrics.istio.http(who.key(state, protocol, host), custom);
        match by_host.get(host) {
            Some(series) => Arc::clone(series),
            None => Arc::clone(by_host.entry(host.into()).or_insert_with(new)),
        }
    }

    /// The series of a TCP connection; `None`: it is not counted.
    pub(crate) fn connection(
        &self,
        who: &Who<'_>,
        flags: ResponseFlags,
        custom: impl FnOnce(&PreparedStats) -> Option<Custom>,
    ) -> Option<Arc<TcpSeries>> {
        let custom = custom(who.conn.chain.stats()?);
        let state = &who.conn.worker.state;
        let short = who.short(Protocol::Tcp, flags, custom);
        let mut known = self.tcp.borrow_mut();
        if known.len() >= MOST {
            known.clear();
        }
        let series = known.entry(short).or_insert_with_key(|short| {
            state.metrics.istio.tcp(who.key(state, Protocol::Tcp, ""), short.custom.clone(), flags)
        });
        Some(Arc::clone(series))
    }
}

fn count(series: &HttpSeries, r: &FinishedRequest<'_>) {
    let result = RequestResult { status: r.outcome.status, flags: r.outcome.flags, grpc_status: r.grpc.flatten() };
    series.count(result, r.duration, r.received, r.sent);
    if r.grpc.is_some() {
        let [request, response] = r.messages;
        series.request_messages.add(request);
        series.response_messages.add(response);
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// Both ends of what is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who<'a> {
    /// The client's connection.
    pub conn: &'a Conn,
    /// What the client said of itself.
    pub client: Option<&'a Peer>,
    /// The endpoint.
    pub upstream: &'a UpstreamRecord,
    /// The cluster, if there is one that exists.
    pub cluster: Option<&'a Arc<ClusterState>>,
    /// Name of the route.
    pub route: Option<&'a Str>,
}

impl<'a> Who<'a> {
    fn reporter(&self) -> Reporter {
        Reporter::of(self.conn.chain.direction())
    }

    /// The other side, as far as it is known.
    pub(crate) fn peer(&self) -> Option<&'a Peer> {
        match self.reporter() {
            Reporter::Source => self.upstream.peer.as_ref(),
            Reporter::Destination => self.client,
        }
    }

    /// Whether the other side is the client.
    pub(crate) fn is_inbound(&self) -> bool {
        self.reporter() == Reporter::Destination
    }

    /// The other side's address, and whether there was a connection with it; `None`: there is none.
    pub(crate) fn other_side(&self) -> Option<(IpAddr, bool)> {
        if self.is_inbound() {
            return Some((self.conn.seen.peer.ip(), true));
        }
        Some((self.upstream.host?.ip(), self.upstream.local.is_some()))
    }

    /// Identity that the other side has shown; empty: none.
    pub(crate) fn principal(&self) -> &'a str {
        self.principals().0.map_or("", |principal| principal)
    }

    /// Certificates of the other side and of ours.
    fn principals(&self) -> (Option<&'a Str>, Option<&'a Str>) {
        match self.reporter() {
            Reporter::Source => match &self.upstream.secured {
                Some(secured) => (Some(&secured.peer), Some(&secured.own)),
                None => (None, None),
            },
            Reporter::Destination => {
                let peer = self.conn.peer_identity.as_ref().and_then(|p| p.uri_sans.first());
                (peer, self.conn.local_identity.as_ref())
            }
        }
    }

    fn service(&self) -> Option<&'a (Str, Str, Str)> {
        self.cluster.and_then(|c| c.config.services.first())
    }

    /// Two names of routes say more than the cluster does.
    fn telling_route(&self) -> Option<&'a Str> {
        self.route.filter(|r| matches!(&***r, "block_all" | "allow_any"))
    }

    fn short(&self, protocol: Protocol, flags: ResponseFlags, custom: Option<Custom>) -> Short {
        let (peer, own) = self.principals();
        Short {
            reporter: self.reporter(),
            peer: Same(self.peer().cloned()),
            principal: peer.cloned(),
            secured: own.is_some(),
            cluster: self.upstream.cluster.clone(),
            route: self.telling_route().cloned(),
            protocol,
            flags,
            custom,
        }
    }

    /// All labels of a series.
    pub(crate) fn key(&self, state: &State, protocol: Protocol, host: &str) -> SeriesKey {
        let (peer, own) = self.principals();
        SeriesKey::of(&Facts {
            reporter: self.reporter(),
            own: &state.own.workload,
            own_principal: own.map_or("", |p| p),
            peer: self.peer().map(|p| &**p),
            peer_principal: peer.map_or("", |p| p),
            host,
            route: self.route.map_or("", |r| r),
            cluster: self.upstream.cluster.as_deref().unwrap_or_default(),
            service: self.service(),
            protocol,
        })
    }
}
