//! The server of a control plane: delta and state-of-the-world ADS over one source of resources.
//!
//! A [`Source`] knows what each proxy should have; this module knows what each proxy *has*, and sends the difference: new
//! and changed resources type by type in make-before-break order, listeners and routes only after clusters and endpoints have
//! been answered, and what is gone only when everything else is in place. At most one response of a type is outstanding, so a slow proxy
//! holds up itself and nothing else, and changes that come meanwhile are merged. When changes are worth a look is the
//! source's affair, and so is who may connect.

mod stream;
mod watches;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use varka_engine::ir::{ResourceType, Str};
use varka_proto::envoy::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use varka_proto::envoy::{ads, sds};

use crate::Node;

/// What proxies should have.
pub trait Source: Send + Sync + 'static {
    /// What one proxy should have.
    type Session: Session;

    /// A proxy opens a stream. `node` is what it says of itself, `peer` what it can prove.
    ///
    /// An error ends the stream: `UNAUTHENTICATED` or `PERMISSION_DENIED` for a proxy that is not who it says,
    /// `UNAVAILABLE` while there is nothing to serve yet.
    fn connect(&self, node: Node, peer: Peer) -> impl Future<Output = Result<Self::Session, Status>> + Send;
}

/// What one proxy should have, for as long as its stream is open.
pub trait Session: Send + 'static {
    /// Resolves when any resource may differ from what [`Self::resources`] gave last; called again each time. Must be
    /// cancel safe: it is dropped and called anew whenever the proxy says something. Bursts are the source's to gather.
    ///
    /// An error ends the stream, for instance when the proxy's identity has expired.
    fn changed(&mut self) -> impl Future<Output = Result<(), Status>> + Send;

    /// Name of the state that [`Self::resources`] gives now, for people and for acknowledgements.
    fn version(&mut self) -> Str;

    /// The resources of a type as they are now. A name that is not among them does not exist.
    fn resources(&mut self, kind: ResourceType, names: Names<'_>) -> Vec<Versioned>;

    /// Whether the proxy asks by name for what it lacks, and holds back whatever needs it: then no type waits for another.
    fn is_on_demand(&self) -> bool {
        false
    }

    /// The proxy has applied all that it was sent of a type, in the state `version`.
    fn acked(&mut self, kind: ResourceType, version: &str);

    /// The proxy has refused some of what it was sent of a type, and uses what it had of those.
    fn nacked(&mut self, kind: ResourceType, version: &str, message: &str);
}

/// Which resources of a type are asked for.
#[derive(Debug, Clone, Copy)]
pub enum Names<'a> {
    /// All that the proxy should have.
    Wildcard,
    /// Those that exist of these.
    Only(&'a BTreeSet<Str>),
}

/// A resource, encoded once for all who get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The name it is subscribed to by.
    pub name: Str,
    /// Changes when the resource does; see [`crate::codec::version`].
    pub version: Str,
    /// The message, as [`crate::codec::encode_bytes`] makes it: shared, not copied, until it is written to a stream.
    pub body: Bytes,
}

/// What a proxy proves about itself.
#[derive(Debug)]
pub struct Peer {
    /// Bearer token of the `authorization` metadata.
    pub token: Option<Token>,
    /// What the acceptor attached to the connection: TLS session, certificates, address.
    pub extensions: tonic::Extensions,
}

/// A bearer token; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Peer {
    fn of<T>(request: Request<T>) -> (Self, T) {
        let (metadata, extensions, message) = request.into_parts();
        let token = metadata
            .get("authorization")
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| Token(token.trim().to_owned()));
        (Self { token, extensions }, message)
    }
}

/// Largest request: the names and versions of a proxy that holds everything.
const MAX_REQUEST_BYTES: usize = 8 * 1024 * 1024;
/// Responses that wait to be written: no more than one of each type can be outstanding.
const RESPONSES: usize = 8;

/// The aggregated discovery service over a source, to be added to a tonic router.
pub fn service<S: Source>(source: S) -> ads::Server<Service<S>> {
    shared(Arc::new(source))
}

/// Like [`service`], for a source that others hold, too.
pub fn shared<S: Source>(source: Arc<S>) -> ads::Server<Service<S>> {
    ads::Server::new(Service { source }).max_decoding_message_size(MAX_REQUEST_BYTES)
}

/// The secret discovery service over a source: what a process beside a proxy tells it of its own certificate.
pub fn secrets<S: Source>(source: S) -> sds::Server<Service<S>> {
    sds::Server::new(Service { source: Arc::new(source) }).max_decoding_message_size(MAX_REQUEST_BYTES)
}

/// [`ads::Service`] and [`sds::Service`] over a [`Source`].
#[derive(Debug)]
pub struct Service<S> {
    source: Arc<S>,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl<S: Source> Service<S> {
    fn serve<P: stream::Protocol>(&self, request: Request<Streaming<P::Request>>) -> Response<Responses<P::Response>> {
        let (peer, requests) = Peer::of(request);
        let (sender, receiver) = mpsc::channel(RESPONSES);
        tokio::spawn(stream::serve::<P, S>(Arc::clone(&self.source), peer, requests, sender));
        Response::new(Box::pin(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl<S: Source> ads::Service for Service<S> {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Ok(self.serve::<stream::StateOfTheWorld>(request))
    }

    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Ok(self.serve::<stream::Delta>(request))
    }
}

#[tonic::async_trait]
impl<S: Source> sds::Service for Service<S> {
    type StreamSecretsStream = Responses<DiscoveryResponse>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        Ok(self.serve::<stream::StateOfTheWorld>(request))
    }

    type DeltaSecretsStream = Responses<DeltaDiscoveryResponse>;

    async fn delta_secrets(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Ok(self.serve::<stream::Delta>(request))
    }

    async fn fetch_secrets(&self, _: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("secrets are streamed: they change"))
    }
}
