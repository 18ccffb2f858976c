//! One request and its response, from the head's arrival to the access log.

mod later;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use tracing::Level;
use varka_engine::ext_authz::Allowed;
use varka_engine::facts::split_query;
use varka_engine::facts::{Connection, Metadata, Request};
use varka_engine::ir::{HttpConnectionManager, Str};
use varka_engine::outcome::{Blame, Flag, LocalReply, Outcome, ResponseFlags};
use varka_telemetry::accesslog::Record;
use varka_telemetry::metrics::istio::Custom;

use super::body::Begun;
use super::message::RequestHead;
use crate::accesslog::UpstreamRecord;
use crate::cluster::ClusterState;
use crate::config::{Config, PreparedStats};
use crate::conn::Conn;
use crate::dimensions;
use crate::in_flight::Guard;
use crate::limit::TARGET;
use crate::metrics::{FinishedRequest, Who};
use crate::peer::Peer;
use crate::spans::{self, Traced};
use crate::worker::Worker;
use crate::workloads::{Found, Slot, look_up};

/// The configuration that a request begins with; counts it.
fn started(conn: &Conn) -> Arc<Config> {
    if let Some(http) = &conn.http_stats {
        http.counters.downstream_rq_total.inc();
    }
    conn.worker.state.config()
}

/// Why a request does not go on to the next phase.
#[derive(Debug)]
pub(crate) enum Halt {
    /// It is answered here, with the response headers of its route where it has one.
    Reply(Box<LocalReply>),
    /// A filter answers in the upstream's stead: the route's headers are not for that.
    Answer(Box<LocalReply>),
    /// The client has gone away.
    ClientGone,
    /// The response broke off after its head was sent.
    BrokeOff(Outcome),
}

impl From<LocalReply> for Halt {
    fn from(reply: LocalReply) -> Self {
        Self::Reply(Box::new(reply))
    }
}

/// One request and its response.
#[derive(Debug)]
pub(crate) struct Exchange<'c> {
    /// The connection it came on.
    pub conn: &'c Conn,
    /// The configuration it began with.
    pub config: Arc<Config>,
    /// The request, as it is after the phases so far.
    pub head: RequestHead,
    /// The client's address as far as it is to be believed.
    pub client: SocketAddr,
    /// What filters have found out.
    pub metadata: Metadata,
    /// Why a filter refused it, for people.
    pub why: Option<String>,
    /// What an authorization service wants of the response.
    pub allowed: Option<Box<Allowed>>,
    /// What of the body a filter has read.
    pub begun: Option<Box<Begun>>,
    /// Flags that were set on the way.
    pub flags: ResponseFlags,
    /// Name of the route.
    pub route: Option<Str>,
    /// What the client said of itself.
    pub peer: Option<Peer>,
    /// The client said who it is, and wants to know who we are.
    pub answer_peer: bool,
    /// Its place in a trace, where spans are configured.
    pub traced: Option<Box<Traced>>,
    /// The application is serving it, as far as statements are to be told whose they are.
    pub in_flight: Option<Guard>,
    /// Where it was sent.
    pub upstream: UpstreamRecord,
    /// Status that was sent; 0: none yet.
    pub status: u16,
    /// Headers of the response that was sent.
    pub response: HeaderMap,
    /// Trailers of the response that was sent.
    pub trailers: Option<Box<HeaderMap>>,
    /// From the beginning until the whole request was there.
    pub request_duration: Option<Duration>,
    /// From the beginning until the upstream answered.
    pub response_duration: Option<Duration>,
    /// Payload from the client.
    pub bytes_received: u64,
    /// Payload to the client.
    pub bytes_sent: u64,
    /// gRPC messages from and to the client.
    pub messages: [u64; 2],
    /// When it began.
    pub started: Instant,
    started_at: SystemTime,
    recorded: bool,
}

impl<'c> Exchange<'c> {
    /// A request whose head has arrived.
    pub(crate) fn new(conn: &'c Conn, head: RequestHead) -> Self {
        Self::with(conn, started(conn), head)
    }

    fn with(conn: &'c Conn, config: Arc<Config>, head: RequestHead) -> Self {
        Self {
            config,
            client: conn.seen.peer,
            conn,
            head,
            metadata: Metadata::default(),
            why: None,
            allowed: None,
            begun: None,
            flags: ResponseFlags::NONE,
            route: None,
            peer: None,
            answer_peer: false,
            traced: None,
            in_flight: None,
            upstream: UpstreamRecord::default(),
            status: 0,
            response: HeaderMap::new(),
            trailers: None,
            request_duration: None,
            response_duration: None,
            bytes_received: 0,
            bytes_sent: 0,
            messages: [0; 2],
            started: Instant::now(),
            started_at: SystemTime::now(),
            recorded: false,
        }
    }

    /// The worker.
    pub(crate) fn worker(&self) -> &'c std::rc::Rc<Worker> {
        &self.conn.worker
    }

    /// The connection manager.
    pub(crate) fn manager(&self) -> &'c HttpConnectionManager {
        self.conn.manager()
    }

    /// As facts for the engine.
    pub(crate) fn facts<'a>(&'a self, connection: &'a Connection<'a>) -> Request<'a> {
        request_facts(&self.head, connection, self.client, &self.metadata)
    }

    /// The last phase: writes what happened to the access log and the metrics, once.
    pub(crate) fn record(&mut self, outcome: &Outcome) {
        if std::mem::replace(&mut self.recorded, true) {
            return;
        }
        let duration = self.started.elapsed();
        let found = self.cluster().map(Arc::clone);
        let unknown = self.identify_peer(found.as_ref());
        if unknown.is_none() {
            self.count(found.as_ref(), outcome, duration);
        }
        self.leave_span(outcome, duration);
        self.explain(outcome);
        let connection = self.conn.facts();
        let state = &self.conn.worker.state;
        // A cluster that does not exist is none that the request was sent to.
        let missing = outcome.flags.contains(Flag::NoClusterFound);
        let cluster = self.upstream.cluster.as_deref().filter(|_| !missing);
        let record = Record {
            cluster: cluster.unwrap_or_default(),
            duration,
            request_duration: self.request_duration,
            response_duration: self.response_duration,
            client: self.client,
            version: Some(self.head.version),
            method: self.head.read_method(),
            path: self.head.path.as_str(),
            authority: self.head.authority.as_str(),
            scheme: self.head.scheme(),
            request: Some(&self.head.headers),
            response: Some(&self.response),
            trailers: self.trailers.as_deref(),
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
            route: self.route.as_deref().unwrap_or_default(),
            chain: self.conn.chain.chain().map_or("", |c| &c.name),
            ..self.upstream.record(self.started_at, &connection, outcome, state)
        };
        state.logs.write(self.conn.chain.logs(), &record);
        if let Some(slot) = unknown {
            self.count_later(slot, outcome, duration);
        }
    }
}

impl Exchange<'_> {
    /// When it began, on the wall clock.
    pub(crate) fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// A request that was refused, or that got no answer, leaves a line that says why; the access log has the code for it alone.
    fn explain(&self, outcome: &Outcome) {
        if !matches!(outcome.blame, Blame::Policy | Blame::Upstream | Blame::Internal)
            || !tracing::enabled!(target: TARGET, Level::INFO)
        {
            return;
        }
        let Some(left_out) = self.conn.worker.refusals.take(Instant::now()) else { return };
        let what = if outcome.blame == Blame::Policy { "refused" } else { "failed" };
        let failure = Some(&*self.upstream.failure).filter(|text| !text.is_empty());
        let why = self.why.as_deref().or(failure).unwrap_or(&outcome.details);
        tracing::info!(
            target: TARGET,
            method = self.head.method.as_str(),
            authority = self.head.authority.as_str(),
            path = split_query(self.head.path.as_str()).0,
            peer = %self.conn.seen.peer,
            client = self.conn.peer_identity.as_ref().and_then(|p| p.uri()),
            status = outcome.status,
            flags = %outcome.flags,
            details = &*outcome.details,
            cluster = self.upstream.cluster.as_deref(),
            left_out,
            "request {what}: {why}"
        );
    }

    /// Values of labels that are not standard.
    fn dimensions(
        &self,
        stats: &PreparedStats,
        who: &Who<'_>,
        outcome: &Outcome,
        duration: Duration,
    ) -> Option<Custom> {
        let request = dimensions::Request {
            head: &self.head,
            response: &self.response,
            outcome,
            duration,
            bytes: [self.bytes_received, self.bytes_sent],
            grpc_status: self.grpc_status().flatten(),
        };
        stats.of_request(who, &request)
    }

    /// Queues the request's span, if it is to have one.
    fn leave_span(&self, outcome: &Outcome, duration: Duration) {
        let Some(traced) = self.traced.as_ref().filter(|t| t.is_sampled()) else { return };
        let Some(tracing) = &self.manager().tracing else { return };
        let ended = spans::Ended {
            conn: self.conn,
            head: &self.head,
            upstream: &self.upstream,
            outcome,
            grpc: self.grpc_status(),
            start: self.started_at,
            duration,
            bytes: [self.bytes_received, self.bytes_sent],
        };
        let worker = self.worker();
        let span = spans::span(traced, tracing, &ended, worker.spans.blank());
        worker.spans.push(worker, &tracing.provider, span);
    }

    /// `grpc-status`, of a gRPC request.
    fn grpc_status(&self) -> Option<Option<u32>> {
        let status = || self.trailers.as_deref().and_then(grpc_status).or_else(|| grpc_status(&self.response));
        self.head.is_grpc().then(status)
    }

    /// Where it was sent, if there is such a cluster.
    fn cluster(&self) -> Option<&Arc<ClusterState>> {
        self.upstream.cluster.as_ref().and_then(|name| self.config.cluster(name))
    }

    /// Finds out whose the other side is where it did not say so. `Some`: that is still to come.
    fn identify_peer(&mut self, cluster: Option<&Arc<ClusterState>>) -> Option<Arc<Slot>> {
        let who = Who {
            conn: self.conn,
            client: self.peer.as_ref(),
            upstream: &self.upstream,
            cluster,
            route: self.route.as_ref(),
        };
        let (found, inbound) = (look_up(&who), who.is_inbound());
        match found {
            Found::Known(peer) => {
                *(if inbound { &mut self.peer } else { &mut self.upstream.peer }) = Some(peer);
                None
            }
            Found::NotYet(slot) => Some(slot),
            Found::Unknown => None,
        }
    }

    fn count(&self, cluster: Option<&Arc<ClusterState>>, outcome: &Outcome, duration: Duration) {
        let worker = &self.conn.worker;
        worker.series.request(
            &worker.state,
            &FinishedRequest {
                conn: self.conn,
                client: self.peer.as_ref(),
                cluster,
                upstream: &self.upstream,
                authority: self.head.authority.as_str(),
                route: self.route.as_ref(),
                outcome,
                grpc: self.grpc_status(),
                messages: self.messages,
                duration,
                received: self.bytes_received,
                sent: self.bytes_sent,
            },
            |stats, who| self.dimensions(stats, who, outcome, duration),
        );
    }
}

/// `grpc-status` of response headers or trailers.
fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A request as facts for the engine.
pub(crate) fn request_facts<'a>(
    head: &'a RequestHead,
    connection: &'a Connection<'a>,
    client: SocketAddr,
    metadata: &'a Metadata,
) -> Request<'a> {
    Request {
        method: head.method.as_str(),
        scheme: head.scheme(),
        authority: head.authority.as_str(),
        path: head.path.as_str(),
        headers: &head.headers,
        connection,
        remote_address: client,
        metadata,
        version: head.version,
    }
}

impl Drop for Exchange<'_> {
    /// Dropped before its last phase: its connection ended under it.
    fn drop(&mut self) {
        let outcome = Outcome::client_gone(self.status);
        self.record(&outcome);
    }
}
