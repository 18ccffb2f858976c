//! A mesh of a few resources, a client that records what it is given, and a client made by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Status, Streaming};
use varka_engine::ir::{self, Locality, Resource, ResourceType, Str};
use varka_proto::envoy::ads;
use varka_proto::envoy::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};

use crate::client::{Client, Connection, Connector, Lookups, Rejected, Sink, Update};
use crate::server::{self, Names, Peer, Session, Source, Versioned};
use crate::{Node, codec};

// --- resources

pub(crate) fn node() -> Node {
    Node {
        id: "sidecar~10.0.0.7~web.blog-system~blog-system.svc.cluster.local".into(),
        cluster: "web.blog-system".into(),
        metadata: serde_json::json!({"LABELS": {"app": "web"}, "NAMESPACE": "blog-system", "PORTS": [80.0, null, true]}),
        locality: Locality { region: "r".into(), zone: "z".into(), sub_zone: "".into() },
    }
}

pub(crate) fn cluster(name: &str) -> Resource {
    cluster_with_timeout(name, Duration::from_secs(10))
}

pub(crate) fn cluster_with_timeout(name: &str, connect_timeout: Duration) -> Resource {
    Resource::Cluster(Arc::new(ir::Cluster {
        name: name.into(),
        discovery: ir::Discovery::Eds { service_name: name.into() },
        lb: ir::LbPolicy::RoundRobin,
        connect_timeout,
        circuit_breakers: ir::CircuitBreakers::default(),
        outlier: None,
        transport_matches: vec![],
        tls: None,
        http: ir::HttpProtocolOptions::default(),
        bind_source: None,
        tcp_keepalive: None,
        panic_threshold: 0,
        locality_weighted: false,
        slow_start: None,
        proxy_protocol: None,
        retry_budget: None,
        services: vec![],
        dns_refresh: None,
        metadata_exchange: false,
    }))
}

/// One endpoint, whose port is 8000 + `n`.
pub(crate) fn endpoints(name: &str, n: u16) -> Resource {
    let endpoint = ir::Endpoint {
        address: Some(([10, 0, 0, 1], 8000 + n).into()),
        host: None,
        weight: 1,
        health: ir::HealthStatus::Healthy,
        tls_mode: Some("istio".into()),
        workload: None,
    };
    let locality = ir::LocalityEndpoints { endpoints: vec![endpoint], ..Default::default() };
    Resource::Endpoints(Arc::new(ir::ClusterLoadAssignment { cluster_name: name.into(), localities: vec![locality] }))
}

pub(crate) fn listener(name: &str, routes: &str) -> Resource {
    let manager = ir::HttpConnectionManager {
        stat_prefix: "outbound_0.0.0.0_8080".into(),
        codec: ir::Codec::Auto,
        routes: ir::RouteSource::Rds(routes.into()),
        filters: vec![],
        server_name: "envoy".into(),
        use_remote_address: false,
        xff_trusted_hops: 0,
        skip_xff_append: true,
        client_cert: ir::ClientCertForwarding::Sanitize,
        generate_request_id: true,
        preserve_external_request_id: false,
        path: ir::PathNormalization { normalize: true, merge_slashes: false, escaped_slashes: ir::SlashesAction::Keep },
        stream_idle_timeout: None,
        request_timeout: None,
        request_headers_timeout: None,
        idle_timeout: None,
        max_connection_duration: None,
        max_request_headers_kb: None,
        max_headers: None,
        accept_http_10: false,
        max_concurrent_streams: None,
        upgrades: vec![],
        strip_trailing_host_dot: false,
        local_replies: vec![],
        tracing: None,
        access_log: vec![],
    };
    let chain = ir::FilterChain {
        name: "".into(),
        matches: ir::FilterChainMatch::default(),
        tls: None,
        filters: vec![],
        terminal: ir::Terminal::Http(Box::new(manager)),
        handshake_timeout: None,
    };
    Resource::Listener(Arc::new(ir::Listener {
        name: name.into(),
        address: ([0, 0, 0, 0], 8080).into(),
        bind_to_port: false,
        use_original_dst: false,
        direction: ir::TrafficDirection::Outbound,
        inspect: ir::ConnectionFilters::default(),
        filter_chains: vec![chain],
        default_filter_chain: None,
        access_log: vec![],
    }))
}

pub(crate) fn routes(name: &str, cluster: &str) -> Resource {
    let action = ir::RouteAction {
        clusters: vec![ir::WeightedRoute {
            cluster: cluster.into(),
            weight: 1,
            request_headers: vec![],
            response_headers: vec![],
            host_rewrite: None,
        }],
        rewrite: ir::Rewrite::default(),
        timeout: None,
        grpc_timeout_max: None,
        idle_timeout: None,
        retry: None,
        mirrors: vec![],
        hash_policy: vec![],
        upgrades: vec![],
        cluster_not_found_status: 503,
    };
    let route = ir::Route {
        name: "default".into(),
        matches: ir::RouteMatch {
            path: ir::PathMatch::Prefix("/".into()),
            case_sensitive: true,
            headers: vec![],
            query: vec![],
            metadata: Vec::new(),
            grpc: false,
        },
        action: ir::Action::Forward(Box::new(action)),
        request_headers: vec![],
        response_headers: vec![],
        fault: None,
        cors: None,
        rbac: None,
        max_request_bytes: None,
        operation: None,
        origin: None,
    };
    let host = ir::VirtualHost {
        name: "h".into(),
        domains: vec!["*".into()],
        routes: vec![route],
        require_tls: false,
        include_attempt_count: true,
        request_headers: vec![],
        response_headers: vec![],
    };
    Resource::Route(Arc::new(ir::RouteConfiguration {
        name: name.into(),
        virtual_hosts: vec![host],
        ignore_port_in_host: true,
        on_demand: false,
        request_headers: vec![],
        response_headers: vec![],
    }))
}

// --- the control plane's side

/// What begins so is given only to those who ask for it by name.
const ASKED: &str = "asked-";

type Table = BTreeMap<(ResourceType, Str), Versioned>;

#[derive(Debug, Clone, Default)]
struct State {
    number: u64,
    table: Table,
    /// How often all streams have been broken.
    breaks: u64,
    refuses: bool,
}

pub(crate) fn encoded(resource: &Resource) -> Versioned {
    Versioned {
        name: resource.name().clone(),
        version: codec::version(resource),
        body: codec::encode_bytes(resource, codec::Reader::Istio),
    }
}

/// What the server's source was told.
#[derive(Debug, PartialEq)]
pub(crate) enum ServerEvent {
    Connected(Node, Option<String>),
    Acked(ResourceType, String),
    Nacked(ResourceType, String),
}

/// A control plane.
pub(crate) struct Mesh {
    state: watch::Sender<State>,
    events: mpsc::UnboundedReceiver<ServerEvent>,
    report: mpsc::UnboundedSender<ServerEvent>,
}

impl Mesh {
    /// A service over this mesh.
    pub(crate) fn source(&self) -> impl Source {
        FakeSource { state: self.state.subscribe(), report: self.report.clone() }
    }

    /// A mesh whose resources are encoded for `reader`.
    pub(crate) fn for_reader(reader: codec::Reader, resources: &[Resource]) -> Self {
        let mesh = Self::of([]);
        mesh.change(|table| {
            for resource in resources {
                let body = codec::encode_bytes(resource, reader);
                table.insert((resource.kind(), resource.name().clone()), Versioned { body, ..encoded(resource) });
            }
        });
        mesh
    }

    pub(crate) fn of(resources: impl IntoIterator<Item = Resource>) -> Self {
        let (report, events) = mpsc::unbounded_channel();
        let mesh = Self { state: watch::Sender::new(State::default()), events, report };
        mesh.change(|table| {
            for resource in resources {
                table.insert((resource.kind(), resource.name().clone()), encoded(&resource));
            }
        });
        mesh
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Table)) {
        self.state.send_modify(|state| {
            state.number += 1;
            change(&mut state.table);
        });
    }

    pub(crate) fn set(&self, resource: Resource) {
        self.change(|table| {
            table.insert((resource.kind(), resource.name().clone()), encoded(&resource));
        });
    }

    pub(crate) fn set_raw(&self, kind: ResourceType, name: &str, body: &'static [u8]) {
        let resource = Versioned { name: name.into(), version: "raw".into(), body: Bytes::from_static(body) };
        self.change(|table| {
            table.insert((kind, name.into()), resource);
        });
    }

    pub(crate) fn remove(&self, kind: ResourceType, name: &str) {
        self.change(|table| {
            table.remove(&(kind, name.into()));
        });
    }

    pub(crate) fn break_streams(&self) {
        self.state.send_modify(|state| state.breaks += 1);
    }

    pub(crate) fn refuse_streams(&self) {
        self.state.send_modify(|state| state.refuses = true);
    }

    pub(crate) async fn event(&mut self) -> ServerEvent {
        self.events.recv().await.unwrap()
    }

    pub(crate) async fn event_but_connected(&mut self) -> ServerEvent {
        loop {
            match self.event().await {
                ServerEvent::Connected(..) => {}
                other => return other,
            }
        }
    }

    pub(crate) fn connector(&self) -> Pipe {
        let source = Arc::new(FakeSource { state: self.state.subscribe(), report: self.report.clone() });
        Pipe { source, connections: AtomicUsize::new(0) }
    }

    pub(crate) fn start(&self) -> Proxy {
        let (sink, events) = Recorder::new();
        let refused = Arc::clone(&sink.refused);
        let client = Client::new(self.connector(), node(), sink);
        Proxy { events, refused, task: tokio::spawn(client.run(std::future::pending())) }
    }

    /// A client that looks workloads up.
    pub(crate) fn start_looking(&self) -> (Proxy, Lookups) {
        let (sink, events) = Recorder::new();
        let refused = Arc::clone(&sink.refused);
        let (client, lookups) = Client::new(self.connector(), node(), sink).lookups();
        (Proxy { events, refused, task: tokio::spawn(client.run(std::future::pending())) }, lookups)
    }
}

struct FakeSource {
    state: watch::Receiver<State>,
    report: mpsc::UnboundedSender<ServerEvent>,
}

impl Source for FakeSource {
    type Session = FakeSession;

    async fn connect(&self, node: Node, peer: Peer) -> Result<FakeSession, Status> {
        let mut state = self.state.clone();
        let (breaks, refuses) = {
            let state = state.borrow_and_update();
            (state.breaks, state.refuses)
        };
        if refuses {
            return Err(Status::permission_denied("not you"));
        }
        let token = peer.token.map(|t| t.expose().to_owned());
        let _ = self.report.send(ServerEvent::Connected(node, token));
        Ok(FakeSession { state, breaks, report: self.report.clone() })
    }
}

struct FakeSession {
    state: watch::Receiver<State>,
    breaks: u64,
    report: mpsc::UnboundedSender<ServerEvent>,
}

impl Session for FakeSession {
    async fn changed(&mut self) -> Result<(), Status> {
        self.state.changed().await.map_err(|_| Status::unavailable("the mesh is gone"))?;
        if self.state.borrow().breaks == self.breaks { Ok(()) } else { Err(Status::unavailable("broken")) }
    }

    fn version(&mut self) -> Str {
        self.state.borrow().number.to_string().into()
    }

    fn resources(&mut self, kind: ResourceType, names: Names<'_>) -> Vec<Versioned> {
        let state = self.state.borrow();
        let wanted = |name: &Str, only: &BTreeSet<Str>| only.contains(name);
        let of_kind = state.table.iter().filter(|((k, _), _)| *k == kind);
        match names {
            Names::Wildcard => of_kind.filter(|((_, n), _)| !n.starts_with(ASKED)).map(|(_, r)| r.clone()).collect(),
            Names::Only(only) => of_kind.filter(|((_, n), _)| wanted(n, only)).map(|(_, r)| r.clone()).collect(),
        }
    }

    fn acked(&mut self, kind: ResourceType, version: &str) {
        let _ = self.report.send(ServerEvent::Acked(kind, version.to_owned()));
    }

    fn nacked(&mut self, kind: ResourceType, _: &str, message: &str) {
        let _ = self.report.send(ServerEvent::Nacked(kind, message.to_owned()));
    }
}

/// Connects to a server of its own through a pipe in memory.
pub(crate) struct Pipe {
    source: Arc<FakeSource>,
    connections: AtomicUsize,
}

impl Pipe {
    async fn channel(&self) -> Channel {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let service = server::shared(Arc::clone(&self.source));
        let incoming = tokio_stream::once(Ok::<_, std::io::Error>(far));
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        let mut near = Some(TokioIo::new(near));
        let connector = tower::service_fn(move |_| {
            let near = near.take().ok_or_else(|| std::io::Error::other("connected twice"));
            async move { near }
        });
        Endpoint::from_static("http://control-plane").connect_with_connector(connector).await.unwrap()
    }
}

impl Connector for Pipe {
    type Error = tonic::metadata::errors::InvalidMetadataValue;

    async fn connect(&mut self) -> Result<Connection, Self::Error> {
        let n = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        Connection::new(self.channel().await).bearer(&format!("secret-token-{n}\n"))
    }
}

// --- the proxy's side

/// What the sink was told.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    Connected(bool),
    Applied(Update),
    Synced(ResourceType),
    Rejected(ResourceType, Vec<Rejected>),
}

/// A sink that tells what it is told.
pub(crate) struct Recorder {
    events: mpsc::UnboundedSender<Event>,
    refused: Arc<watch::Sender<String>>,
}

impl Recorder {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (events, receiver) = mpsc::unbounded_channel();
        (Self { events, refused: Arc::new(watch::Sender::new(String::new())) }, receiver)
    }
}

impl Sink for Recorder {
    fn apply(&mut self, update: Update) -> Vec<Rejected> {
        let refused = self.refused.borrow().clone();
        let refused = update.upserts.iter().filter(|r| **r.name() == *refused);
        let refused =
            refused.map(|r| Rejected { name: r.name().clone(), reason: "the sink does not like it".into() }).collect();
        let _ = self.events.send(Event::Applied(update));
        refused
    }

    fn connected(&mut self, connected: bool) {
        let _ = self.events.send(Event::Connected(connected));
    }

    fn synced(&mut self, kind: ResourceType) {
        let _ = self.events.send(Event::Synced(kind));
    }

    fn rejected(&mut self, kind: ResourceType, rejected: &[Rejected]) {
        let _ = self.events.send(Event::Rejected(kind, rejected.to_vec()));
    }
}

/// A running client.
pub(crate) struct Proxy {
    events: mpsc::UnboundedReceiver<Event>,
    refused: Arc<watch::Sender<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub(crate) async fn event(&mut self) -> Event {
        self.events.recv().await.unwrap()
    }

    pub(crate) async fn event_but_synced(&mut self) -> Event {
        loop {
            match self.event().await {
                Event::Synced(_) => {}
                other => return other,
            }
        }
    }

    /// Until all types are complete.
    pub(crate) async fn synced(&mut self) {
        let mut missing = codec::TYPES.len();
        while missing > 0 {
            if let Event::Synced(_) = self.event().await {
                missing -= 1;
            }
        }
    }

    /// The next update.
    pub(crate) async fn applied(&mut self) -> Update {
        loop {
            match self.event().await {
                Event::Applied(update) => return update,
                Event::Rejected(..) => panic!("rejected"),
                Event::Connected(_) | Event::Synced(_) => {}
            }
        }
    }

    pub(crate) async fn until_applied(&mut self, resource: &Resource) {
        loop {
            if let Event::Applied(update) = self.event().await
                && update.upserts.contains(resource)
            {
                return;
            }
        }
    }

    /// From now on the sink refuses this name.
    pub(crate) fn refuse(&mut self, name: &str) {
        self.refused.send_replace(name.to_owned());
    }
}

/// A client that sends what the test says.
pub(crate) struct Raw<Request, Response> {
    requests: mpsc::Sender<Request>,
    responses: Streaming<Response>,
}

impl Raw<DeltaDiscoveryRequest, DeltaDiscoveryResponse> {
    pub(crate) async fn delta(mesh: &Mesh) -> Self {
        let (requests, receiver) = mpsc::channel(16);
        let mut client = ads::Client::new(mesh.connector().channel().await);
        let responses = client.delta_aggregated_resources(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { requests, responses }
    }
}

impl Raw<DiscoveryRequest, DiscoveryResponse> {
    pub(crate) async fn state_of_the_world(mesh: &Mesh) -> Self {
        let (requests, receiver) = mpsc::channel(16);
        let mut client = ads::Client::new(mesh.connector().channel().await);
        let responses = client.stream_aggregated_resources(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { requests, responses }
    }
}

impl<Request: std::fmt::Debug, Response: std::fmt::Debug> Raw<Request, Response> {
    pub(crate) async fn send(&self, request: Request) {
        self.requests.send(request).await.unwrap();
    }

    pub(crate) async fn receive(&mut self) -> Response {
        self.responses.message().await.unwrap().expect("the server has ended the stream")
    }

    pub(crate) async fn failure(&mut self) -> Status {
        self.responses.message().await.expect_err("the server has answered")
    }
}

/// Names of the resources in a response.
pub(crate) fn names(response: &DiscoveryResponse) -> Vec<String> {
    response.resources.iter().map(|any| codec::decode(any).unwrap().name().to_string()).collect()
}
