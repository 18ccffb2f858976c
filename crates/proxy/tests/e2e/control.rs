//! A proxy with a control plane: a certificate by CSR, configuration by delta ADS, and its own ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};
use varka_engine::ir::{Proxy as Ir, Resource, ResourceType, Str, Workload};
use varka_identity::{Authority, ServerCertificate, SpiffeId, SystemRandom};
use varka_proto::istio::certificate::{
    IstioCertificateRequest, IstioCertificateResponse, IstioCertificateService, IstioCertificateServiceServer,
};
use varka_proxy::{Bootstrap, GrpcProbe, HttpGet, Lifecycle, OriginalDst, Ports, Prober, Proxy, TcpSocketProbe};
use varka_xds::Node;
use varka_xds::codec::{self, Reader};
use varka_xds::server::{self, Names, Peer, Session, Source, Versioned};

use crate::config::{Mode, WAS, cluster, endpoints, inbound, outbound};
use crate::support::{App, Client, LIMIT, Nobody, bootstrap, log_of, until};

const TOKEN: &str = "token-of-the-pod";

/// Issues certificates to whoever has the token.
struct Ca(Arc<Authority>);

impl IstioCertificateService for Ca {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let bearer = request.metadata().get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
        if bearer != format!("Bearer {TOKEN}") {
            return Err(Status::unauthenticated("who are you?"));
        }
        let id = SpiffeId::new("cluster.local", "default", "web").unwrap();
        let csr = &request.get_ref().csr;
        let validity = Duration::from_secs(3600);
        let issued = self.0.sign_csr(csr, &id, SystemTime::now(), validity, &SystemRandom::new()).unwrap();
        Ok(Response::new(IstioCertificateResponse { cert_chain: issued.chain }))
    }
}

/// Whose addresses are, by the names that they are asked for by, and every name that was asked for.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    pub(crate) workloads: BTreeMap<Str, Arc<Workload>>,
    pub(crate) asked: BTreeSet<Str>,
}

/// Serves one configuration to everybody, and whose addresses are to who asks.
struct Mesh(watch::Sender<Ir>, Arc<Mutex<Addresses>>);

struct MeshSession(watch::Receiver<Ir>, bool, Arc<Mutex<Addresses>>);

impl Source for Mesh {
    type Session = MeshSession;

    async fn connect(&self, node: Node, peer: Peer) -> Result<MeshSession, Status> {
        assert_eq!(node.id, "sidecar~127.0.0.1~test.default~default.svc.cluster.local");
        assert_eq!(peer.token.unwrap().expose(), TOKEN);
        Ok(MeshSession(self.0.subscribe(), node.metadata["ON_DEMAND"] == "true", Arc::clone(&self.1)))
    }
}

impl Session for MeshSession {
    async fn changed(&mut self) -> Result<(), Status> {
        self.0.changed().await.map_err(|_| Status::unavailable("the end"))
    }

    fn version(&mut self) -> Str {
        "1".into()
    }

    fn resources(&mut self, kind: ResourceType, names: Names<'_>) -> Vec<Versioned> {
        let ir = self.0.borrow_and_update().clone();
        let all: Vec<Resource> = match kind {
            ResourceType::Listener => ir.listeners.into_values().map(Resource::Listener).collect(),
            ResourceType::Route => ir.routes.into_values().map(Resource::Route).collect(),
            ResourceType::Cluster => ir.clusters.into_values().map(Resource::Cluster).collect(),
            ResourceType::Endpoints => ir.endpoints.into_values().map(Resource::Endpoints).collect(),
            ResourceType::Secret => Vec::new(),
            ResourceType::VirtualHost => {
                ir.virtual_hosts.into_iter().map(|(name, host)| Resource::VirtualHost(name, host)).collect()
            }
            ResourceType::Workload => {
                let mut known = self.2.lock().unwrap();
                let Names::Only(names) = names else { panic!("all workloads are asked for") };
                known.asked.extend(names.iter().cloned());
                known.workloads.iter().map(|(n, w)| Resource::Workload(Arc::clone(n), Arc::clone(w))).collect()
            }
        };
        let is_asked_for = |r: &Resource| match r {
            Resource::Listener(l) => !l.bind_to_port,
            other => other.name().starts_with("outbound|"),
        };
        all.iter()
            .filter(|r| match names {
                Names::Wildcard => !(self.1 && is_asked_for(r)),
                Names::Only(names) => names.contains(r.name()),
            })
            .map(|r| Versioned {
                name: Arc::clone(r.name()),
                version: codec::version(r),
                body: codec::encode_bytes(r, Reader::Istio),
            })
            .collect()
    }

    fn acked(&mut self, _: ResourceType, _: &str) {}

    fn nacked(&mut self, kind: ResourceType, _: &str, message: &str) {
        panic!("{kind:?} refused: {message}");
    }
}

/// A control plane in a thread of its own.
pub(crate) struct ControlPlane {
    address: SocketAddr,
    authority: Arc<Authority>,
    pub(crate) config: watch::Sender<Ir>,
    addresses: Arc<Mutex<Addresses>>,
    /// Stops answering when it is dropped.
    running: Option<tokio::sync::oneshot::Sender<()>>,
}

impl ControlPlane {
    pub(crate) fn start(config: Ir) -> Self {
        let authority = Authority::generate("cluster.local", SystemTime::now(), &SystemRandom::new()).unwrap();
        let authority = Arc::new(authority);
        let config = watch::channel(config).0;
        let address = "127.0.0.1:0".parse().unwrap();
        let mut plane = Self { address, authority, config, addresses: Arc::default(), running: None };
        plane.again();
        plane
    }

    /// Says whose addresses are from now on.
    pub(crate) fn knows(&self, change: impl FnOnce(&mut BTreeMap<Str, Arc<Workload>>)) {
        change(&mut self.addresses.lock().unwrap().workloads);
        // Everybody looks again.
        self.config.send_modify(|_| {});
    }

    /// Every name of a workload that was asked for so far.
    pub(crate) fn asked(&self) -> BTreeSet<Str> {
        self.addresses.lock().unwrap().asked.clone()
    }

    /// Ends it; the address stays its own as far as tests go.
    pub(crate) fn stop(&mut self) {
        self.running = None;
    }

    /// Starts it anew where it was.
    pub(crate) fn again(&mut self) {
        let day = Duration::from_secs(86_400);
        let (now, random) = (SystemTime::now(), SystemRandom::new());
        let own = self.authority.issue_server_certificate(&["localhost"], now, day, &random).unwrap();
        let listener = until("its address is free", || std::net::TcpListener::bind(self.address).ok());
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        self.serve(listener, &own);
    }

    fn serve(&mut self, listener: std::net::TcpListener, own: &ServerCertificate) {
        let (running, stopped) = tokio::sync::oneshot::channel::<()>();
        self.running = Some(running);
        let (ca, mesh) = (Ca(Arc::clone(&self.authority)), Mesh(self.config.clone(), Arc::clone(&self.addresses)));
        let identity = Identity::from_pem(&own.chain_pem, own.key.to_pem().as_str());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
                let serving = Server::builder()
                    .tls_config(ServerTlsConfig::new().identity(identity))
                    .unwrap()
                    .add_service(IstioCertificateServiceServer::new(ca))
                    .add_service(server::service(mesh))
                    .serve_with_incoming(incoming);
                tokio::select! {
                    served = serving => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
    }
}

/// A proxy that follows a control plane.
pub(crate) struct Following {
    pub(crate) proxy: Option<Proxy>,
    dir: tempfile::TempDir,
}

impl Following {
    fn start(plane: &ControlPlane, token: &str, app: &App) -> Self {
        Self::start_with(plane, token, app, |_| {})
    }

    /// One that is pushed its configuration.
    pub(crate) fn pushed(plane: &ControlPlane, app: &App) -> Self {
        let sidecar = Self::start(plane, TOKEN, app);
        // A listener may be open before its routes have come.
        until("it is ready", || (sidecar.get("readiness", "/healthz/ready").0 == 200).then_some(()));
        sidecar
    }

    /// The same, whose connections were all meant for one address.
    pub(crate) fn towards(plane: &ControlPlane, app: &App, dst: SocketAddr) -> Self {
        Self::start_with(plane, TOKEN, app, |b| b.original_dst = OriginalDst::By(Arc::new(move |_| Some(dst))))
    }

    /// One that asks for outbound configuration.
    pub(crate) fn asking(plane: &ControlPlane, app: &App) -> Self {
        Self::start_with(plane, TOKEN, app, |b| drop(b.metadata.insert("ON_DEMAND".to_owned(), "true".into())))
    }

    fn start_with(plane: &ControlPlane, token: &str, app: &App, edit: impl FnOnce(&mut Bootstrap)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), token).unwrap();
        std::fs::write(dir.path().join("root.pem"), plane.authority.root_pem()).unwrap();
        let mut b = bootstrap(dir.path(), Some(app.address));
        b.static_config = None;
        b.service_account = "web".to_owned();
        b.discovery_address = format!("localhost:{}", plane.address.port());
        b.ca_address.clone_from(&b.discovery_address);
        b.token_path = dir.path().join("token");
        b.root_cert_path = dir.path().join("root.pem");
        b.ports = Ports { admin: 0, status: 0, readiness: 0, metrics: 0 };
        let get = |path: &str| HttpGet { path: path.to_owned(), port: app.address.port(), ..HttpGet::default() };
        let closed = Nobody::new();
        let tcp = |port| Prober { tcp_socket: Some(TcpSocketProbe { port }), ..Prober::default() };
        let probers = [
            ("/app-health/was/readyz", Prober { http_get: Some(get("/actuator/health")), ..Prober::default() }),
            ("/app-health/was/livez", tcp(app.address.port())),
            ("/app-health/was/startupz", tcp(closed.address().port())),
            (
                "/app-health/rpc/livez",
                Prober {
                    grpc: Some(GrpcProbe { port: app.address.port(), service: None }),
                    timeout_seconds: 1,
                    ..Prober::default()
                },
            ),
        ];
        b.app_probers = probers.into_iter().map(|(path, prober)| (path.to_owned(), prober)).collect();
        edit(&mut b);
        Self { proxy: Some(Proxy::start(b).unwrap()), dir }
    }

    /// The access log, once it has so many lines.
    pub(crate) fn log(&self, lines: usize) -> Vec<String> {
        log_of(self.dir.path(), lines)
    }

    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        until("the port is open", || self.proxy.as_ref().unwrap().address(name))
    }

    pub(crate) fn get(&self, server: &str, path: &str) -> (u16, String) {
        let response = Client::connect(self.address(server)).ask(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let status = response.line.split(' ').nth(1).unwrap().parse().unwrap();
        (status, String::from_utf8_lossy(&response.body).into_owned())
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let proxy = self.proxy.take().unwrap();
        proxy.state().advance(Lifecycle::Stopped);
        proxy.wait();
    }
}

#[test]
fn a_proxy_gets_certificate_and_configuration_and_follows_changes() {
    let app = App::start();
    let plane = ControlPlane::start(outbound(cluster(WAS, endpoints(&[], None)), |_| {}));
    let sidecar = Following::start(&plane, TOKEN, &app);
    until("it is ready", || (sidecar.get("readiness", "/healthz/ready").0 == 200).then_some(()));
    assert_eq!(sidecar.get("admin", "/ready"), (200, "LIVE\n".to_owned()));
    assert!(sidecar.get("admin", "/certs").1.contains("spiffe://cluster.local/ns/default/sa/web"));
    let request = "GET / HTTP/1.1\r\nHost: was-service\r\n\r\n";
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    assert_eq!(client.ask(request).line, "HTTP/1.1 503 Service Unavailable");
    plane.config.send_replace(outbound(cluster(WAS, endpoints(&[app.address], None)), |_| {}));
    until("the endpoint has arrived", || (client.ask(request).line == "HTTP/1.1 200 OK").then_some(()));
    let (status, metrics) = sidecar.get("metrics", "/stats/prometheus");
    assert_eq!(status, 200);
    assert!(metrics.contains("istio_requests_total{reporter=\"source\",source_workload=\"test\""), "{metrics}");
    assert!(metrics.contains("envoy_cluster_upstream_rq{response_code=\"200\",cluster_name=\"outbound|8080||was-service.default.svc.cluster.local\"") || metrics.contains("envoy_cluster_upstream_rq"), "{metrics}");
}

#[test]
fn without_credentials_nothing_is_served_and_the_reason_is_told() {
    let app = App::start();
    let plane = ControlPlane::start(inbound(Mode::Strict));
    let sidecar = Following::start(&plane, "forged", &app);
    let why = until("the certificate is refused", || {
        let (status, why) = sidecar.get("readiness", "/healthz/ready");
        assert_eq!(status, 503);
        why.contains("who are you?").then_some(why)
    });
    assert!(why.starts_with("no certificate yet: control plane localhost:"), "{why}");
    assert_eq!(sidecar.proxy.as_ref().unwrap().address("virtualInbound"), None);
}

#[test]
fn probes_are_asked_of_the_application() {
    let app = App::start();
    let plane = ControlPlane::start(inbound(Mode::Strict));
    let sidecar = Following::start(&plane, TOKEN, &app);
    assert_eq!(sidecar.get("status", "/app-health/was/readyz").0, 200);
    assert_eq!(app.last().line, "GET /actuator/health HTTP/1.1");
    assert_eq!(sidecar.get("status", "/app-health/was/livez").0, 200);
    assert_eq!(sidecar.get("status", "/app-health/was/startupz").0, 500);
    assert_eq!(sidecar.get("status", "/app-health/rpc/livez").0, 500);
    assert_eq!(sidecar.get("status", "/app-health/other/livez").0, 404);
    let response = Client::connect(sidecar.address("status"))
        .ask("POST /quitquitquit HTTP/1.1\r\nHost: x\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(response.line, "HTTP/1.1 200 OK");
    let state = Arc::clone(sidecar.proxy.as_ref().unwrap().state());
    let start = std::time::Instant::now();
    until("it ends", || (state.lifecycle() == Lifecycle::Stopped || start.elapsed() > LIMIT).then_some(()));
    assert_eq!(state.lifecycle(), Lifecycle::Stopped);
}
