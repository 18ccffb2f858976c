//! kube-rs against the server, in process: watches, and webhooks called over TLS.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use varka_apiserver::{ApiServer, Config};

const PATIENCE: Duration = Duration::from_secs(30);

async fn start() -> (ApiServer, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        data_dir: dir.path().join("state"),
        service_cidr: ([10, 96, 0, 0].into(), 16),
        advertise: Vec::new(),
        version: "test".to_owned(),
    };
    (ApiServer::open(config).await.unwrap(), dir)
}

fn map(name: &str, label: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"color": label}}, "data": {"a": "b"}})).unwrap()
}

async fn next(
    stream: &mut (impl futures_util::Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Unpin),
) -> WatchEvent<ConfigMap> {
    tokio::time::timeout(PATIENCE, stream.try_next()).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn a_watch_tells_what_enters_and_leaves_its_selector() {
    let (server, _dir) = start().await;
    let api: Api<ConfigMap> = Api::default_namespaced(server.client("test"));
    let from = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let red = WatchParams::default().labels("color=red");
    let mut stream = api.watch(&red, &from).await.unwrap().boxed();
    api.create(&PostParams::default(), &map("a", "red")).await.unwrap();
    api.create(&PostParams::default(), &map("b", "blue")).await.unwrap();
    let relabel = |color: &str| Patch::Merge(json!({"metadata": {"labels": {"color": color}}}));
    api.patch("a", &PatchParams::default(), &relabel("blue")).await.unwrap();
    api.patch("b", &PatchParams::default(), &relabel("red")).await.unwrap();
    api.delete("b", &DeleteParams::default()).await.unwrap();
    let name = |o: ConfigMap| o.metadata.name.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(match next(&mut stream).await {
            WatchEvent::Added(o) => format!("+{}", name(o)),
            WatchEvent::Modified(o) => format!("~{}", name(o)),
            WatchEvent::Deleted(o) => format!("-{}", name(o)),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen, ["+a", "-a", "+b", "-b"]);
    // What happened before is told again to who asks from then on.
    let mut again = api.watch(&WatchParams::default(), &from).await.unwrap().boxed();
    assert!(matches!(next(&mut again).await, WatchEvent::Added(o) if name(o.clone()) == "a"));
    // A version that the server never had is not silently taken for now.
    let mut lost = api.watch(&WatchParams::default(), "999999999").await.unwrap().boxed();
    assert!(matches!(next(&mut lost).await, WatchEvent::Error(e) if e.code == 410));
    server.shutdown().await;
}

#[tokio::test]
async fn a_reflector_follows_with_streamed_and_listed_state() {
    let (server, _dir) = start().await;
    let api: Api<ServiceAccount> = Api::default_namespaced(server.client("test"));
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let (reader, writer) = reflector::store();
        let mut events =
            reflector::reflector(writer, watcher(api.clone(), config)).default_backoff().applied_objects().boxed();
        let first = tokio::time::timeout(PATIENCE, events.try_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(first.metadata.name.as_deref(), Some("default"));
        // The store fills when the initial state is complete, which further events show.
        let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"generateName": "x-"}})).unwrap();
        let made = api.create(&PostParams::default(), &account).await.unwrap();
        let second = tokio::time::timeout(PATIENCE, events.try_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(second.metadata.uid, made.metadata.uid);
        assert!(reader.len() >= 2);
        api.delete(&made.metadata.name.unwrap(), &DeleteParams::default()).await.unwrap();
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_stale_replace_is_refused() {
    let (server, _dir) = start().await;
    let api: Api<ConfigMap> = Api::default_namespaced(server.client("test"));
    let one = api.create(&PostParams::default(), &map("a", "red")).await.unwrap();
    let mut two = one.clone();
    two.data.get_or_insert_default().insert("a".to_owned(), "c".to_owned());
    let stored = api.replace("a", &PostParams::default(), &two).await.unwrap();
    let conflict = api.replace("a", &PostParams::default(), &one).await.unwrap_err();
    assert!(matches!(conflict, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict"));
    let same = api.replace("a", &PostParams::default(), &stored).await.unwrap();
    assert_eq!(
        same.metadata.resource_version, stored.metadata.resource_version,
        "a replace that changes nothing is no change"
    );
    server.shutdown().await;
}

/// A webhook that labels pods, on a port of its own. Answers its address and the authority that it is to be trusted by.
async fn webhook(answer: fn(&Value) -> Value) -> (u16, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["istiod.istio-system.svc".to_owned()])
        .unwrap()
        .signed_by(&key, &Issuer::new(ca, ca_key))
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| async move {
                assert_eq!(request.uri().path(), "/inject");
                let review: Value =
                    serde_json::from_slice(&request.into_body().collect().await.unwrap().to_bytes()).unwrap();
                let mut response = answer(&review["request"]);
                response["uid"] = review["request"]["uid"].clone();
                let body =
                    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
                        .to_string();
                Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::from(body))))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (port, base64::engine::general_purpose::STANDARD.encode(ca_pem))
}

fn inject(request: &Value) -> Value {
    assert_eq!((request["operation"].as_str(), request["namespace"].as_str()), (Some("CREATE"), Some("default")));
    if request["object"]["metadata"]["name"] == "refused" {
        return json!({"allowed": false, "status": {"message": "not today", "code": 403}});
    }
    let patch = json!([{"op": "add", "path": "/spec/initContainers", "value": [{"name": "istio-proxy", "image": "proxy", "restartPolicy": "Always"}]}]);
    json!({"allowed": true, "patchType": "JSONPatch", "patch": base64::engine::general_purpose::STANDARD.encode(patch.to_string()), "warnings": ["injected"]})
}

#[tokio::test]
async fn webhooks_are_called_through_their_service() {
    let (server, _dir) = start().await;
    let client = server.client("test");
    let (port, bundle) = webhook(inject).await;
    let post = PostParams::default();
    let object = |value: Value| -> kube::core::DynamicObject { serde_json::from_value(value).unwrap() };
    let service = json!({"metadata": {"name": "istiod"}, "spec": {"ports": [{"name": "https-webhook", "port": 443, "targetPort": port}]}});
    let services: Api<k8s_openapi::api::core::v1::Service> = Api::namespaced(client.clone(), "istio-system");
    services.create(&post, &serde_json::from_value(service).unwrap()).await.unwrap();
    let configuration = json!({"metadata": {"name": "injector"}, "webhooks": [{
        "name": "namespace.sidecar-injector.istio.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"service": {"namespace": "istio-system", "name": "istiod", "path": "/inject"}, "caBundle": bundle},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        "namespaceSelector": {"matchLabels": {"istio-injection": "enabled"}},
    }]});
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    configurations.create(&post, &serde_json::from_value(configuration).unwrap()).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod = |name: &str| {
        serde_json::from_value(
            json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "x"}]}}),
        )
        .unwrap()
    };
    let plain = pods.create(&post, &pod("plain")).await.unwrap();
    assert!(plain.spec.unwrap().init_containers.is_none(), "the namespace is not selected");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let label = Patch::Merge(json!({"metadata": {"labels": {"istio-injection": "enabled"}}}));
    namespaces.patch("default", &PatchParams::default(), &label).await.unwrap();
    let unreachable = pods.create(&post, &pod("early")).await.unwrap_err().to_string();
    assert!(unreachable.contains("failed calling webhook \"namespace.sidecar-injector.istio.io\""), "{unreachable}");
    assert!(unreachable.contains("no endpoints available for service \"istio-system/istiod\""), "{unreachable}");
    let slice = json!({
        "metadata": {"name": "istiod-1", "labels": {"kubernetes.io/service-name": "istiod"}}, "addressType": "IPv4",
        "ports": [{"name": "https-webhook", "port": port}], "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
    });
    let kind = kube::core::ApiResource::erase::<k8s_openapi::api::discovery::v1::EndpointSlice>(&());
    let slices: Api<kube::core::DynamicObject> = Api::namespaced_with(client, "istio-system", &kind);
    slices.create(&post, &object(slice)).await.unwrap();
    let injected = pods.create(&post, &pod("injected")).await.unwrap();
    let container = &injected.spec.unwrap().init_containers.unwrap()[0];
    assert_eq!(container.name, "istio-proxy");
    assert_eq!(
        container.termination_message_path.as_deref(),
        Some("/dev/termination-log"),
        "what a webhook adds is defaulted too"
    );
    let refused = pods.create(&post, &pod("refused")).await.unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(s) if s.code == 403 && s.message.ends_with("denied the request: not today")),
        "{refused}"
    );
    server.shutdown().await;
}
