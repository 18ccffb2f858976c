//! The client of a proxy: delta ADS.
//!
//! One stream carries every type. Listeners and clusters are subscribed to as a whole: what that is, is the control plane's to
//! say. What is not part of it the proxy asks for by name when it is needed ([`Client::on_demand`]), and virtual hosts only so;
//! endpoints, routes and secrets follow from those that refer to them. What is no configuration is looked up ([`Client::lookups`]).
//! Each resource stands for itself: a response with a bad one is refused by naming it, its last good state stays in use, and
//! what is good in the same response is applied. A lost stream loses nothing: the next one says which versions are held.
//! What is done with a resource is the [`Sink`]'s affair.

mod lookup;
mod references;
mod state;
mod waiting;

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{AsciiMetadataValue, errors::InvalidMetadataValue};
use tonic::transport::{Channel, Endpoint};
use varka_engine::ir::{Resource, ResourceType, Str};
use varka_proto::envoy::ads;
use varka_proto::envoy::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

use crate::Node;
pub use lookup::Lookups;
use state::{Reply, State};

/// Resources that came in one response.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Their type.
    pub kind: ResourceType,
    /// `system_version_info`: which state of the control plane they belong to; for people. Empty where the client itself
    /// removes what nothing refers to any more.
    pub version: Str,
    /// New and changed ones.
    pub upserts: Vec<Resource>,
    /// Names of those that are gone, and of those of which nothing is known any more.
    pub removed: Vec<Str>,
    /// Names that are subscribed to, and of which the control plane says that there is none (yet).
    pub absent: Vec<Str>,
}

/// A resource that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its name.
    pub name: Str,
    /// Why, for the person who reads the control plane's status.
    pub reason: String,
}

/// Takes what the control plane sends.
pub trait Sink: Send {
    /// Applies good resources; names those that it refuses, with the reason, and leaves their last good state in use.
    ///
    /// Called in the order in which they arrive, which is make before break: clusters, endpoints, listeners, routes,
    /// secrets; removals last.
    fn apply(&mut self, update: Update) -> Vec<Rejected>;

    /// The stream is open (`true`) or lost (`false`). What was applied stays in use.
    fn connected(&mut self, connected: bool);

    /// Everything of this type that was asked for at first has been answered. Called once for each type.
    fn synced(&mut self, kind: ResourceType);

    /// When a name was used last: of names of which there can be any number, those with the highest numbers are kept.
    fn last_use(&self, kind: ResourceType, name: &Str) -> u64 {
        let _ = (kind, name);
        0
    }

    /// What was refused of a response, by [`Self::apply`] or because it could not be decoded; the control plane is told.
    fn rejected(&mut self, kind: ResourceType, rejected: &[Rejected]) {
        let _ = (kind, rejected);
    }
}

/// A way to the control plane.
#[derive(Debug)]
pub struct Connection {
    channel: Channel,
    authorization: Option<AsciiMetadataValue>,
}

impl Connection {
    /// A connection that is authenticated by its client certificate, if at all.
    pub fn new(channel: Channel) -> Self {
        Self { channel, authorization: None }
    }

    /// Sends `token` as bearer token with the stream.
    ///
    /// # Errors
    /// The token has bytes that can not be sent.
    pub fn bearer(mut self, token: &str) -> Result<Self, InvalidMetadataValue> {
        let mut value: AsciiMetadataValue = format!("Bearer {}", token.trim()).parse()?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }
}

/// Makes a [`Connection`] each time one is needed; re-reads tokens and certificates.
pub trait Connector: Send {
    /// Why it could not.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Connects. Called again, after a pause, when the stream is lost.
    fn connect(&mut self) -> impl Future<Output = Result<Connection, Self::Error>> + Send;
}

/// Settings of a transport to the control plane: a peer that is gone without a word is noticed within 40 seconds.
pub fn keep_alive(endpoint: Endpoint) -> Endpoint {
    endpoint
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .connect_timeout(Duration::from_secs(10))
}

/// Largest response that is read; a whole mesh of some ten thousand services fits.
const MAX_RESPONSE_BYTES: usize = 64 * 1024 * 1024;
/// Requests that wait to be sent: some for each type.
const REQUESTS: usize = 64;
/// On-demand names that wait to be asked for.
const DEMANDS: usize = 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What became of a name that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It has been applied.
    Present,
    /// The control plane says that there is none. It stays subscribed to and may appear later.
    Absent,
    /// There is one, but it was refused, and no earlier good one is held.
    Unusable,
    /// It is not asked for: too many names are, or have been of late.
    TooMany,
}

/// The client has stopped: nothing will answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the xDS client has stopped")]
pub struct Stopped;

struct Demand {
    kind: ResourceType,
    name: Str,
    answer: oneshot::Sender<Answer>,
}

/// Asks for single resources.
#[derive(Debug, Clone)]
pub struct OnDemand {
    demands: mpsc::Sender<Demand>,
}

impl std::fmt::Debug for Demand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Demand").field("kind", &self.kind).field("name", &self.name).finish_non_exhaustive()
    }
}

impl OnDemand {
    /// Subscribes to a name and waits until the control plane has said what it is; at once where that is known. The
    /// caller limits how long it waits; the name stays subscribed to, and its resource goes to the [`Sink`] when it comes.
    ///
    /// # Errors
    /// The client has stopped.
    pub async fn want(&self, kind: ResourceType, name: Str) -> Result<Answer, Stopped> {
        let (answer, answered) = oneshot::channel();
        match self.demands.try_send(Demand { kind, name, answer }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Ok(Answer::TooMany),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Stopped),
        }
        answered.await.map_err(|_| Stopped)
    }
}

/// A client, from its making to its end.
#[derive(Debug)]
pub struct Client<C, S> {
    connector: C,
    sink: S,
    state: State,
    demands: Option<mpsc::Receiver<Demand>>,
    lookups: Option<Lookups>,
}

impl<C: Connector, S: Sink> Client<C, S> {
    /// A client that wants all listeners and clusters, and what they refer to.
    pub fn new(connector: C, node: Node, sink: S) -> Self {
        Self { connector, sink, state: State::new(node.encode()), demands: None, lookups: None }
    }

    /// Wants also what is asked for by name, and what that refers to.
    pub fn on_demand(mut self) -> (Self, OnDemand) {
        let (demands, receiver) = mpsc::channel(DEMANDS);
        self.demands = Some(receiver);
        (self, OnDemand { demands })
    }

    /// Wants to know also of workloads, by the names that the [`Lookups`] holds.
    pub fn lookups(mut self) -> (Self, Lookups) {
        let lookups = Lookups::default();
        self.lookups = Some(lookups.clone());
        (self, lookups)
    }

    /// Follows the control plane until `shutdown` resolves.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut pause = FIRST_PAUSE;
        loop {
            let heard = tokio::select! {
                () = &mut shutdown => return,
                heard = self.stream() => heard,
            };
            if heard {
                pause = FIRST_PAUSE;
            }
            let wait = tokio::time::sleep(jitter(pause));
            tokio::select! {
                () = &mut shutdown => return,
                () = self.idle(wait) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One stream, from connecting to its loss. Whether anything was received.
    async fn stream(&mut self) -> bool {
        let stream = match self.open().await {
            Ok(stream) => stream,
            Err(error) => {
                self.state.close();
                tracing::warn!(%error, "no stream to the control plane; what is configured stays in use");
                return false;
            }
        };
        self.sink.connected(true);
        let (heard, end) = self.follow(stream).await;
        self.state.close();
        self.sink.connected(false);
        tracing::info!(reason = %end, "the stream to the control plane ended; what is configured stays in use");
        heard
    }

    /// Connects and opens a stream, with the first requests already on their way.
    async fn open(&mut self) -> Result<Stream, OpenError> {
        let Self { connector, state, demands, sink, .. } = self;
        let connection = connector.connect();
        let (connection, _) = with_demands(demands.as_mut(), (state, sink), None, connection).await;
        let Connection { channel, authorization } = connection.map_err(|e| OpenError::Connect(e.into()))?;
        let (requests, receiver) = mpsc::channel(REQUESTS);
        for request in state.open() {
            // At most one for each type, in an empty queue.
            let _ = requests.try_send(request);
        }
        let mut request = tonic::Request::new(ReceiverStream::new(receiver));
        if let Some(authorization) = authorization {
            request.metadata_mut().insert("authorization", authorization);
        }
        let mut client = ads::Client::new(channel).max_decoding_message_size(MAX_RESPONSE_BYTES);
        // A server may hold its headers back until it has something to answer, so demands must get through meanwhile.
        let opened = client.delta_aggregated_resources(request);
        let (opened, backlog) = with_demands(demands.as_mut(), (state, sink), Some(&requests), opened).await;
        Ok(Stream { responses: opened.map_err(OpenError::Stream)?.into_inner(), requests, backlog })
    }

    async fn follow(&mut self, stream: Stream) -> (bool, End) {
        let Stream { mut responses, requests, backlog } = stream;
        let mut heard = false;
        let mut out = backlog;
        loop {
            for request in out {
                if requests.send(request).await.is_err() {
                    return (heard, End::Closed);
                }
            }
            out = tokio::select! {
                response = responses.next() => match response {
                    Some(Ok(response)) => {
                        heard = true;
                        self.receive(response)
                    }
                    Some(Err(status)) => return (heard, End::Status(Box::new(status))),
                    None => return (heard, End::Closed),
                },
                demand = next_demand(self.demands.as_mut()) => {
                    self.state.demand(demand, Instant::now(), &mut self.sink)
                }
                wanted = lookup::changed(self.lookups.as_ref()) => self.state.look_up(&wanted).into_iter().collect(),
            };
        }
    }

    fn receive(&mut self, response: DeltaDiscoveryResponse) -> Vec<DeltaDiscoveryRequest> {
        let Reply { requests, rejected } = self.state.receive(response, &mut self.sink);
        if let Some((kind, rejected)) = rejected {
            for Rejected { name, reason } in &rejected {
                tracing::warn!(?kind, %name, %reason, "refused a resource; its last good state stays in use");
            }
            self.sink.rejected(kind, &rejected);
        }
        requests
    }

    /// Waits, while names that are asked for are noted down.
    async fn idle(&mut self, wait: impl Future<Output = ()>) {
        let Self { state, demands, sink, .. } = self;
        with_demands(demands.as_mut(), (state, sink), None, wait).await;
    }
}

/// An open stream.
struct Stream {
    responses: tonic::Streaming<DeltaDiscoveryResponse>,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    /// Requests that did not fit into the queue while the stream was opened.
    backlog: Vec<DeltaDiscoveryRequest>,
}

/// Follows the control plane with all listeners and clusters, until `shutdown` resolves: [`Client::new`], then [`Client::run`].
pub async fn run<C: Connector>(connector: C, node: Node, sink: impl Sink, shutdown: impl Future<Output = ()> + Send) {
    Client::new(connector, node, sink).run(shutdown).await;
}

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("can not connect: {0}")]
    Connect(Box<dyn std::error::Error + Send + Sync>),
    #[error("the control plane refuses the stream: {0}")]
    Stream(tonic::Status),
}

/// How a stream ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("closed by the control plane")]
    Closed,
    #[error("{0}")]
    Status(Box<tonic::Status>),
}

/// Between half of a pause and all of it.
fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}

/// The next name that is asked for; never, where there is nobody to ask.
async fn next_demand(demands: Option<&mut mpsc::Receiver<Demand>>) -> Demand {
    if let Some(demands) = demands
        && let Some(demand) = demands.recv().await
    {
        return demand;
    }
    std::future::pending().await
}

/// Runs `work`, while names that are asked for are noted down, and sent where there is a stream that is being opened: else
/// they are part of the next stream's first requests. Also returns what did not fit into the queue.
async fn with_demands<T>(
    mut demands: Option<&mut mpsc::Receiver<Demand>>,
    (state, sink): (&mut State, &mut impl Sink),
    requests: Option<&mpsc::Sender<DeltaDiscoveryRequest>>,
    work: impl Future<Output = T>,
) -> (T, Vec<DeltaDiscoveryRequest>) {
    let mut work = std::pin::pin!(work);
    let mut backlog = Vec::new();
    loop {
        let demand = tokio::select! {
            out = &mut work => return (out, backlog),
            demand = next_demand(demands.as_deref_mut()) => demand,
        };
        for request in state.demand(demand, Instant::now(), sink) {
            match requests.map(mpsc::Sender::try_reserve) {
                Some(Ok(permit)) => permit.send(request),
                // Without a stream there is no request; with one, the queue is full.
                _ => backlog.push(request),
            }
        }
    }
}
