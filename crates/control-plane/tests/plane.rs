//! The whole control plane against the real API server, in one process: what people write reaches a proxy, and only what it touches.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "plane/scale.rs"]
mod scale;

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Api, Client as KubeClient};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use varka_apiserver::ApiServer;
use varka_control_plane::{Addresses, Config, ControlPlane};
use varka_engine::ir::{Resource, ResourceType};
use varka_identity::{Purpose, SpiffeId, SystemRandom, TrustBundle, WorkloadKey, certificates_from_pem};
use varka_proto::istio::certificate::{IstioCertificateRequest, IstioCertificateServiceClient};
use varka_xds::Node;
use varka_xds::client::{self, Answer, Client, Connection, Connector, OnDemand, Rejected, Sink, Update};

/// Only a guard against waiting for ever: nothing is asserted about how long anything takes.
const GUARD: Duration = Duration::from_secs(60);

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(GUARD, work).await.unwrap_or_else(|_| panic!("{what}: never happened"))
}

struct World {
    _dir: tempfile::TempDir,
    api: ApiServer,
    client: KubeClient,
    addresses: Addresses,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), varka_control_plane::Error>>,
}

impl World {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = varka_apiserver::Config {
            data_dir: dir.path().join("api"),
            service_cidr: ([10, 96, 0, 0].into(), 16),
            advertise: Vec::new(),
            version: "test".to_owned(),
        };
        let api = ApiServer::open(config).await.unwrap();
        let client = api.client("test");
        let (addresses, stop, running) = plane(&client).await;
        Self { _dir: dir, api, client, addresses, stop: Some(stop), running }
    }

    async fn put(&self, object: Value) {
        let text = |field: &str| object.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let api_version = text("/apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &text("/kind")));
        let namespace = text("/metadata/namespace");
        let api: Api<DynamicObject> = match namespace.as_str() {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        let name = text("/metadata/name");
        api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await.unwrap();
    }

    async fn token(&self, namespace: &str, account: &str, audience: &str) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec { audiences: vec![audience.to_owned()], ..TokenRequestSpec::default() },
            ..TokenRequest::default()
        };
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
        answer.status.unwrap().token
    }

    /// The root certificate as a pod of `namespace` finds it.
    async fn root(&self, namespace: &str) -> String {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let condition = |map: Option<&ConfigMap>| map.is_some();
        within(
            "the root certificate is published",
            kube::runtime::wait::await_condition(maps.clone(), "istio-ca-root-cert", condition),
        )
        .await
        .unwrap();
        maps.get("istio-ca-root-cert").await.unwrap().data.unwrap().remove("root-cert.pem").unwrap()
    }

    async fn channel(&self, root: &str) -> Channel {
        let tls =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(root)).domain_name("istiod.istio-system.svc");
        let address = format!("https://127.0.0.1:{}", self.addresses.xds.port());
        Endpoint::from_shared(address).unwrap().tls_config(tls).unwrap().connect().await.unwrap()
    }

    /// A namespace with a workload `web` and a service `was`.
    async fn reference(&self) {
        self.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "blog-system"}})).await;
        for account in ["web", "was"] {
            let metadata = json!({"name": account, "namespace": "blog-system"});
            self.put(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})).await;
        }
        self.put(service("was-service", 8080)).await;
        self.put(service("other-service", 9090)).await;
        self.put(slice("was-service", "10.244.0.5", 8080)).await;
        self.put(slice("other-service", "10.244.0.6", 9090)).await;
    }

    /// The system as the API server sees it: a Service in front of the webhooks.
    async fn istiod_service(&self) {
        let metadata = json!({"name": "istiod", "namespace": "istio-system"});
        let ports = json!([{"name": "https-webhook", "port": 443, "targetPort": 15017}]);
        self.put(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}})).await;
        self.put(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "istiod-1", "namespace": "istio-system", "labels": {"kubernetes.io/service-name": "istiod"}},
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
            "ports": [{"name": "https-webhook", "port": self.addresses.webhook.port(), "protocol": "TCP"}],
        }))
        .await;
    }

    /// A page of the monitoring port, with its status.
    async fn page(&self, path: &str) -> (u16, String) {
        let stream = tokio::net::TcpStream::connect(self.addresses.monitoring).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get(path).header("host", "x").body(String::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// The monitoring page, as soon as `wanted` likes it.
    async fn page_when(&self, path: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
        within(path, async {
            loop {
                let (status, body) = self.page(path).await;
                if wanted(status, &body) {
                    return body;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        within("the control plane stops", self.running).await.unwrap().unwrap();
        self.api.shutdown().await;
    }
}

async fn plane(
    client: &KubeClient,
) -> (Addresses, oneshot::Sender<()>, JoinHandle<Result<(), varka_control_plane::Error>>) {
    let mut config = Config::new(client.clone(), "istio-system", "cluster.local");
    let any = ([127, 0, 0, 1], 0).into();
    (config.xds_address, config.webhook_address, config.monitoring_address) = (any, any, any);
    let plane = ControlPlane::bind(config).await.unwrap();
    let addresses = plane.addresses().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    (addresses, stop, tokio::spawn(plane.run(async move { drop(stopped.await) })))
}

fn service(name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "blog-system"},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": port, "targetPort": port}]},
    })
}

fn slice(service: &str, address: &str, port: u16) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{service}-1"), "namespace": "blog-system", "labels": {"kubernetes.io/service-name": service},
        },
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    })
}

fn node(namespace: &str, account: &str) -> Node {
    Node {
        id: format!("sidecar~10.244.0.4~web-1.{namespace}~{namespace}.svc.cluster.local"),
        cluster: format!("web.{namespace}"),
        metadata: json!({"NAMESPACE": namespace, "SERVICE_ACCOUNT": account, "LABELS": {"app": "web"}}),
        ..Node::default()
    }
}

struct Fixed {
    channel: Channel,
    token: String,
}

impl Connector for Fixed {
    type Error = tonic::metadata::errors::InvalidMetadataValue;

    async fn connect(&mut self) -> Result<Connection, Self::Error> {
        Connection::new(self.channel.clone()).bearer(&self.token)
    }
}

enum Told {
    Update(Update),
    Synced(ResourceType),
}

/// Tells what comes, and refuses resources of one name.
struct Recorder {
    into: mpsc::UnboundedSender<Told>,
    refuse: Option<&'static str>,
}

impl Sink for Recorder {
    fn apply(&mut self, update: Update) -> Vec<Rejected> {
        let refused = update.upserts.iter().filter(|resource| Some(&**resource.name()) == self.refuse);
        let reason = "this test does not like it".to_owned();
        let refused =
            refused.map(|resource| Rejected { name: resource.name().clone(), reason: reason.clone() }).collect();
        let _ = self.into.send(Told::Update(update));
        refused
    }

    fn connected(&mut self, _: bool) {}

    fn synced(&mut self, kind: ResourceType) {
        let _ = self.into.send(Told::Synced(kind));
    }
}

struct Proxy {
    told: mpsc::UnboundedReceiver<Told>,
    _running: JoinHandle<()>,
}

impl Proxy {
    async fn connect(world: &World, namespace: &str, account: &str, refuse: Option<&'static str>) -> Self {
        let root = world.root("blog-system").await;
        let connector =
            Fixed { channel: world.channel(&root).await, token: world.token(namespace, account, "istio-ca").await };
        let (into, told) = mpsc::unbounded_channel();
        let client =
            client::run(connector, node(namespace, account), Recorder { into, refuse }, std::future::pending());
        Self { told, _running: tokio::spawn(client) }
    }

    /// One that asks for outbound configuration by name.
    async fn asking(world: &World) -> (Self, OnDemand) {
        let root = world.root("blog-system").await;
        let token = world.token("blog-system", "web", "istio-ca").await;
        let connector = Fixed { channel: world.channel(&root).await, token };
        let (into, told) = mpsc::unbounded_channel();
        let mut node = node("blog-system", "web");
        node.metadata.as_object_mut().unwrap().insert("ON_DEMAND".to_owned(), json!("true"));
        let (client, names) = Client::new(connector, node, Recorder { into, refuse: None }).on_demand();
        (Self { told, _running: tokio::spawn(client.run(std::future::pending())) }, names)
    }

    /// Everything up to and with the first answer for every type.
    async fn first(&mut self) -> Vec<Resource> {
        let mut missing =
            vec![ResourceType::Listener, ResourceType::Cluster, ResourceType::Endpoints, ResourceType::Route];
        let mut all = Vec::new();
        while !missing.is_empty() {
            match within("the first configuration", self.told.recv()).await.unwrap() {
                Told::Update(update) => all.extend(update.upserts),
                Told::Synced(kind) => missing.retain(|missing| *missing != kind),
            }
        }
        all
    }

    async fn next(&mut self) -> Update {
        loop {
            if let Told::Update(update) = within("an update", self.told.recv()).await.unwrap() {
                return update;
            }
        }
    }

    /// Follows until the last state of `name` is as `wanted`, and returns it. What was told before counts as well.
    async fn until(
        &mut self,
        known: &mut Vec<Resource>,
        (kind, name): (ResourceType, &str),
        wanted: impl Fn(&Resource) -> bool,
    ) -> Resource {
        let is_it = |resource: &&Resource| resource.kind() == kind && &**resource.name() == name;
        loop {
            if let Some(found) = known.iter().rev().find(is_it).filter(|found| wanted(found)) {
                return found.clone();
            }
            known.extend(self.next().await.upserts);
        }
    }
}

const WAS: &str = "outbound|8080||was-service.blog-system.svc.cluster.local";
const OTHER: &str = "outbound|9090||other-service.blog-system.svc.cluster.local";

const INBOUND: (ResourceType, &str) = (ResourceType::Listener, "virtualInbound");

/// Whether a resource says `text` somewhere.
fn says(text: &str) -> impl Fn(&Resource) -> bool {
    move |resource| format!("{resource:?}").contains(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_endpoint_reaches_the_proxy_and_nothing_else_does() {
    let world = World::start().await;
    world.reference().await;
    world
        .put(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": {"name": "was-dest-rule", "namespace": "blog-system"},
            "spec": {"host": "was-service", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 77}}}},
        }))
        .await;
    let mut proxy = Proxy::connect(&world, "blog-system", "web", None).await;
    // What was written before is there, in whatever order the watches brought it.
    let mut known = proxy.first().await;
    proxy.until(&mut known, (ResourceType::Cluster, WAS), says("max_connections: 77")).await;
    proxy.until(&mut known, (ResourceType::Endpoints, WAS), says("10.244.0.5")).await;
    proxy.until(&mut known, (ResourceType::Endpoints, OTHER), says("10.244.0.6")).await;
    world.page_when("/debug/syncz", |_, page| page.contains("\"synced\":true")).await;
    while proxy.told.try_recv().is_ok() {}
    world.put(slice("was-service", "10.244.0.99", 8080)).await;
    let update = proxy.next().await;
    assert_eq!(update.kind, ResourceType::Endpoints);
    let names: Vec<_> = update.upserts.iter().map(|resource| resource.name().to_string()).collect();
    assert_eq!((names, update.removed), (vec![WAS.to_owned()], vec![]));
    assert!(says("10.244.0.99")(&update.upserts[0]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_and_back_reaches_the_workload() {
    let world = World::start().await;
    world.reference().await;
    world.put(service("web-service", 80)).await;
    let mut proxy = Proxy::connect(&world, "blog-system", "web", None).await;
    let mut known = proxy.first().await;
    let permissive = proxy.until(&mut known, INBOUND, |_| true).await;
    let policy = |mode: &str| {
        json!({
            "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": {"name": "default", "namespace": "blog-system"}, "spec": {"mtls": {"mode": mode}},
        })
    };
    world.put(policy("STRICT")).await;
    let strict = proxy.until(&mut known, INBOUND, |now| *now != permissive).await;
    world.put(policy("PERMISSIVE")).await;
    let again = proxy.until(&mut known, INBOUND, |now| *now != strict).await;
    assert_eq!(again, permissive);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_gets_its_own_certificate_and_its_own_configuration_only() {
    let world = World::start().await;
    world.reference().await;
    let root = world.root("blog-system").await;
    let id = SpiffeId::new("cluster.local", "blog-system", "was").unwrap();
    let csr = WorkloadKey::generate(&SystemRandom::new()).unwrap().csr(&id).unwrap();
    let mut certificates = IstioCertificateServiceClient::new(world.channel(&root).await);
    let mut ask = async |audience: &str| {
        let message = IstioCertificateRequest { csr: csr.clone(), validity_duration: 3600, metadata: None };
        let mut request = tonic::Request::new(message);
        let token = world.token("blog-system", "web", audience).await;
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        certificates.create_certificate(request).await
    };
    let chain = ask("istio-ca").await.unwrap().into_inner().cert_chain.concat();
    let chain = certificates_from_pem(&chain).unwrap();
    let bundle = TrustBundle::from_pem(&root).unwrap();
    let peer = bundle.verify_peer(&chain, std::time::SystemTime::now(), Purpose::Client).unwrap();
    assert_eq!(peer.uri, "spiffe://cluster.local/ns/blog-system/sa/web");
    assert_eq!(ask("https://kubernetes.default.svc").await.unwrap_err().code(), tonic::Code::Unauthenticated);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_agree_on_the_root() {
    let world = World::start().await;
    let (second, stop, running) = plane(&world.client).await;
    let root = world.root("default").await;
    for address in [world.addresses.xds, second.xds] {
        let tls =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&root)).domain_name("istiod.istio-system.svc");
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", address.port())).unwrap();
        let endpoint = endpoint.tls_config(tls).unwrap();
        // A replica answers as soon as it has the root; until then its port is open and silent.
        within("TLS by the published root", endpoint.connect()).await.unwrap();
    }
    stop.send(()).unwrap();
    within("the second one stops", running).await.unwrap().unwrap();
    world.stop().await;
}

/// The injector's registration, once it is there.
async fn registered(world: &World) -> (Api<DynamicObject>, DynamicObject) {
    let gvk = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration");
    let api: Api<DynamicObject> = Api::all_with(world.client.clone(), &ApiResource::from_gvk(&gvk));
    let there = |found: Option<&DynamicObject>| found.is_some();
    within("registration", kube::runtime::wait::await_condition(api.clone(), "istio-sidecar-injector", there))
        .await
        .unwrap();
    let found = api.get("istio-sidecar-injector").await.unwrap();
    (api, found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_webhooks_are_registered_with_the_root() {
    let world = World::start().await;
    let root = world.root("default").await;
    let (api, found) = registered(&world).await;
    let bundle = found.data.pointer("/webhooks/0/clientConfig/caBundle").and_then(Value::as_str).unwrap().to_owned();
    assert_eq!(BASE64_STANDARD.decode(bundle).unwrap(), root.as_bytes());
    // Deleted by mistake, it comes back.
    api.delete("istio-sidecar-injector", &Default::default()).await.unwrap();
    let uid = found.metadata.uid.clone();
    let again = move |now: Option<&DynamicObject>| now.is_some_and(|now| now.metadata.uid != uid);
    within("registration again", kube::runtime::wait::await_condition(api, "istio-sidecar-injector", again))
        .await
        .unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_pod_gets_its_sidecar() {
    let world = World::start().await;
    world.istiod_service().await;
    let labels = json!({"istio-injection": "enabled"});
    world.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": labels}})).await;
    world
        .put(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web", "namespace": "shop"}}))
        .await;
    registered(&world).await;
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), "shop");
    let pod = |name: &str, labels: Value| -> Pod {
        let container =
            json!({"name": "web", "image": "nginx", "readinessProbe": {"httpGet": {"path": "/", "port": 80}}});
        let spec = json!({"serviceAccountName": "web", "containers": [container]});
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "spec": spec})).unwrap()
    };
    let made = pods.create(&PostParams::default(), &pod("web", json!({"app": "web"}))).await.unwrap();
    let spec = made.spec.unwrap();
    let names: Vec<_> = spec.init_containers.unwrap().into_iter().map(|container| container.name).collect();
    assert_eq!(names, ["istio-init", "istio-proxy"]);
    let probe = spec.containers[0].readiness_probe.as_ref().and_then(|probe| probe.http_get.as_ref()).unwrap();
    assert_eq!(probe.path.as_deref(), Some("/app-health/web/readyz"));
    let plain =
        pods.create(&PostParams::default(), &pod("mysql", json!({"sidecar.istio.io/inject": "false"}))).await.unwrap();
    assert!(plain.spec.unwrap().init_containers.unwrap_or_default().is_empty());
    let bad = json!({"traffic.sidecar.istio.io/excludeInboundPorts": "http"});
    let mut refused = pod("bad", json!({}));
    refused.metadata.annotations = serde_json::from_value(bad).unwrap();
    let refused = pods.create(&PostParams::default(), &refused).await.unwrap_err().to_string();
    assert!(refused.contains("traffic.sidecar.istio.io/excludeInboundPorts"), "{refused}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_proxy_refuses_is_shown() {
    let world = World::start().await;
    world.reference().await;
    world.page_when("/ready", |status, _| status == 200).await;
    let mut proxy = Proxy::connect(&world, "blog-system", "web", Some(WAS)).await;
    let mut known = proxy.first().await;
    proxy.until(&mut known, (ResourceType::Cluster, WAS), |_| true).await;
    let page = world.page_when("/debug/syncz", |_, page| page.contains("does not like it")).await;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page[0]["namespace"], "blog-system");
    assert_eq!(page[0]["pod"], "web-1");
    assert_eq!(page[0]["nacks"][0]["kind"], "cluster");
    assert_eq!(page[0]["nacks"][0]["name"], WAS);
    let (_, metrics) = world.page("/metrics").await;
    assert!(metrics.contains("pilot_xds 1\n"), "{metrics}");
    assert!(metrics.contains("pilot_total_xds_rejects{type=\"cds\"} 1\n"), "{metrics}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_anothers_configuration() {
    let world = World::start().await;
    world.reference().await;
    let root = world.root("blog-system").await;
    let token = world.token("blog-system", "was", "istio-ca").await;
    let mut client = varka_proto::envoy::ads::Client::new(world.channel(&root).await);
    let node = varka_proto::envoy::core::Node {
        id: "sidecar~10.244.0.4~web-1.blog-system~blog-system.svc.cluster.local".to_owned(),
        metadata: Some(varka_proto::protobuf::Struct {
            fields: [("SERVICE_ACCOUNT".to_owned(), "web".to_owned())]
                .map(|(name, value)| {
                    let kind = varka_proto::protobuf::value::Kind::StringValue(value);
                    (name, varka_proto::protobuf::Value { kind: Some(kind) })
                })
                .into(),
        }),
        ..Default::default()
    };
    let request = varka_proto::envoy::discovery::DeltaDiscoveryRequest {
        node: Some(node),
        type_url: varka_xds::codec::type_url(ResourceType::Cluster).to_owned(),
        ..Default::default()
    };
    for (token, code) in [(Some(token), tonic::Code::PermissionDenied), (None, tonic::Code::Unauthenticated)] {
        let mut stream = tonic::Request::new(tokio_stream::iter([request.clone()]));
        if let Some(token) = token {
            stream.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let mut answers = client.delta_aggregated_resources(stream).await.unwrap().into_inner();
        let refused = within("the refusal", answers.message()).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
    }
    world.stop().await;
}

const ROUTES: &str = "8080/was-service";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_asks_is_told_what_it_asks_for() {
    let world = World::start().await;
    world.reference().await;
    let (mut proxy, names) = Proxy::asking(&world).await;
    let mut known = proxy.first().await;
    let mut given: Vec<String> = known.iter().map(|resource| resource.name().to_string()).collect();
    given.sort();
    let whole =
        ["BlackHoleCluster", "InboundPassthroughCluster", "PassthroughCluster", "virtualInbound", "virtualOutbound"];
    assert_eq!(given, whole, "what is there without asking");
    let want = async |kind, name: &str| within(name, names.want(kind, name.into())).await.unwrap();
    // As a request to http://was-service:8080 does it.
    assert_eq!(want(ResourceType::Listener, "10.96.1.1_8080").await, Answer::Absent);
    assert_eq!(want(ResourceType::Listener, "0.0.0.0_8080").await, Answer::Present);
    assert_eq!(want(ResourceType::VirtualHost, ROUTES).await, Answer::Present);
    assert_eq!(want(ResourceType::Cluster, WAS).await, Answer::Present);
    let host = proxy.until(&mut known, (ResourceType::VirtualHost, ROUTES), says(WAS)).await;
    assert!(says("was-service.blog-system")(&host));
    proxy.until(&mut known, (ResourceType::Endpoints, WAS), says("10.244.0.5")).await;
    let table = proxy.until(&mut known, (ResourceType::Route, "8080"), |_| true).await;
    assert!(says("on_demand: true")(&table) && says("allow_any")(&table) && !says("was-service")(&table), "{table:?}");
    assert!(!known.iter().any(says("other-service")), "nobody asked for it");
    // What there is not is said to be so, and appears when it does.
    let later = "8080/later-service.blog-system";
    assert_eq!(want(ResourceType::VirtualHost, later).await, Answer::Absent);
    world.put(service("later-service", 8080)).await;
    proxy.until(&mut known, (ResourceType::VirtualHost, later), says("later-service")).await;
    assert_eq!(want(ResourceType::VirtualHost, later).await, Answer::Present);
    world.page_when("/debug/syncz", |_, page| page.contains("\"synced\":true")).await;
    // An endpoint that nobody uses changes: nothing is told. One that is used: it alone.
    while proxy.told.try_recv().is_ok() {}
    world.put(slice("other-service", "10.244.0.77", 9090)).await;
    world.put(slice("was-service", "10.244.0.99", 8080)).await;
    let update = proxy.next().await;
    let names: Vec<_> = update.upserts.iter().map(|resource| resource.name().to_string()).collect();
    assert_eq!((update.kind, names, update.removed), (ResourceType::Endpoints, vec![WAS.to_owned()], vec![]));
    world.stop().await;
}
