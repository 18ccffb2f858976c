use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use futures_util::FutureExt as _;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use varka_apiserver::{ApiServer, Config};

use super::{Changer, Who, routes};
use crate::access::sight::Sight;
use crate::access::{Access, Mode, Refusal, Rules};
use crate::api::delete;
use crate::world::World;

/// The real API server, over TLS, and the console's handler before it.
pub(in crate::api) struct Cluster {
    server: ApiServer,
    pub(in crate::api) app: Router,
    _directory: tempfile::TempDir,
}

pub(in crate::api) const NAMESPACE: &str = "default";

pub(in crate::api) async fn cluster(read_only: bool) -> Cluster {
    // An error means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        data_dir: directory.path().join("state"),
        service_cidr: ([10, 96, 0, 0].into(), 16),
        advertise: Vec::new(),
        version: "test".to_owned(),
    };
    let server = ApiServer::open(config).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kubeconfig = server.admin_kubeconfig(&format!("https://{}", listener.local_addr().unwrap()));
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(listener).await });
    let kubeconfig = Kubeconfig::from_yaml(&kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let access = Arc::new(Access::new(&config, World::default(), Rules { mode: Mode::Anonymous, read_only }));
    let who: Who = Arc::new(move |headers| {
        let access = Arc::clone(&access);
        async move {
            let caller = access.caller(&headers).await?.ok_or_else(|| Refusal::nobody("It"))?;
            Ok(Changer { user: caller.user.clone(), client: caller.client.clone(), sight: Sight::All })
        }
        .boxed()
    });
    let source = crate::graph::tests::source(&directory);
    let foretell = crate::api::effect::foretell(source);
    let app = routes(Arc::clone(&who), read_only, Arc::clone(&foretell));
    Cluster { server, app: app.merge(delete::routes(who, read_only, foretell)), _directory: directory }
}

impl Cluster {
    fn admin(&self) -> Client {
        self.server.client("test")
    }

    /// A token of a new service account, which may change VirtualServices where it is `granted`.
    pub(in crate::api) async fn account(&self, name: &str, granted: bool) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin(), NAMESPACE);
        let account = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        accounts.create(&PostParams::default(), &account).await.unwrap();
        if granted {
            self.put(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": [
                {"verbs": ["get", "create", "patch"], "apiGroups": ["networking.istio.io"], "resources": ["virtualservices"]}]}), "admin").await;
            self.put(
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}]}),
                "admin",
            )
            .await;
        }
        let request = serde_json::from_value(json!({"metadata": {}, "spec": {"audiences": []}})).unwrap();
        accounts.create_token_request(name, &PostParams::default(), &request).await.unwrap().status.unwrap().token
    }

    /// Applies as somebody else.
    pub(in crate::api) async fn put(&self, object: Value, manager: &str) -> Value {
        let dynamic: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        let types = dynamic.types.clone().unwrap();
        let kind = kube::core::GroupVersionKind::try_from(&types).unwrap();
        let (resource, _) = kube::discovery::pinned_kind(&self.admin(), &kind).await.unwrap();
        let api: Api<DynamicObject> = Api::namespaced_with(self.admin(), NAMESPACE, &resource);
        let name = dynamic.metadata.name.unwrap();
        let written = api.patch(&name, &PatchParams::apply(manager), &Patch::Apply(&object)).await.unwrap();
        serde_json::to_value(written).unwrap()
    }

    pub(in crate::api) async fn stored(&self, name: &str) -> Option<Value> {
        let kind = kube::core::GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService");
        let (resource, _) = kube::discovery::pinned_kind(&self.admin(), &kind).await.unwrap();
        let api: Api<DynamicObject> = Api::namespaced_with(self.admin(), NAMESPACE, &resource);
        api.get_opt(name).await.unwrap().map(|object| serde_json::to_value(object).unwrap())
    }

    async fn ask(&self, token: &str, body: Value) -> (u16, Value) {
        self.post("/console/api/apply", token, body).await
    }

    pub(in crate::api) async fn post(&self, path: &str, token: &str, body: Value) -> (u16, Value) {
        let request = Request::post(path).header("content-type", "application/json");
        let request =
            request.header("x-requested-with", "varka-console").header("authorization", format!("Bearer {token}"));
        let response = self.app.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    pub(in crate::api) async fn apply(&self, token: &str, yaml: &str, dry_run: bool) -> (u16, Value) {
        self.ask(token, json!({"yaml": yaml, "dryRun": dry_run, "resourceVersion": null})).await
    }
}

pub(in crate::api) fn object(name: &str, timeout: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"hosts": [name], "http": [{"timeout": timeout, "route": [{"destination": {"host": name}}]}]},
    })
}

pub(in crate::api) fn yaml(name: &str, timeout: &str) -> String {
    serde_saphyr::to_string(&object(name, timeout)).unwrap()
}

fn verbs(answer: &Value) -> Vec<&str> {
    answer["objects"].as_array().unwrap().iter().map(|object| object["verb"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_would_be_is_told_and_then_is() {
    let cluster = cluster(false).await;
    let token = cluster.account("editor", true).await;
    let text = yaml("a", "1s");
    let (status, answer) = cluster.apply(&token, &text, true).await;
    assert_eq!((status, &answer["applied"], verbs(&answer)), (200, &json!(false), vec!["created"]), "{answer}");
    assert_eq!((answer["objects"][0]["before"].as_str(), cluster.stored("a").await), (Some(""), None));
    assert_eq!(answer["effect"]["recorded"], 0, "nobody has asked for anything: {answer}");
    let (status, answer) = cluster.apply(&token, &text, false).await;
    assert_eq!(answer["effect"], Value::Null, "it is done");
    assert_eq!((status, &answer["applied"], verbs(&answer)), (200, &json!(true), vec!["created"]), "{answer}");
    let stored = cluster.stored("a").await.unwrap();
    assert_eq!(stored["metadata"]["managedFields"][0]["manager"], super::MANAGER);
    assert_eq!(stored["metadata"]["managedFields"][0]["operation"], "Apply");

    let (_, answer) = cluster.apply(&token, &text, false).await;
    assert_eq!((&answer["applied"], verbs(&answer)), (&json!(false), vec!["unchanged"]), "{answer}");
    let (_, answer) = cluster.apply(&token, &text, true).await;
    assert_eq!((answer["effect"].is_null(), verbs(&answer)), (true, vec!["unchanged"]), "{answer}");
    let (_, answer) = cluster.apply(&token, &yaml("a", "2s"), false).await;
    let (before, after) =
        (answer["objects"][0]["before"].as_str().unwrap(), answer["objects"][0]["after"].as_str().unwrap());
    assert!(before.contains("timeout: 1s") && after.contains("timeout: 2s"), "{answer}");
    assert!(!after.contains("managedFields") && !after.contains("status"), "{answer}");
}

#[tokio::test]
async fn who_may_not_is_told_what_is_missing() {
    let cluster = cluster(false).await;
    let token = cluster.account("reader", false).await;
    for dry_run in [true, false] {
        let (status, answer) = cluster.apply(&token, &yaml("a", "1s"), dry_run).await;
        assert_eq!((status, answer["code"].as_str()), (403, Some("forbidden")), "{answer}");
        let said = "system:serviceaccount:default:reader may not create virtualservices.networking.istio.io in namespace default";
        assert!(answer["message"].as_str().unwrap().starts_with(said), "{answer}");
    }
    assert_eq!(cluster.apply("stolen", &yaml("a", "1s"), true).await.0, 401);
    assert_eq!(cluster.apply("", &yaml("a", "1s"), true).await.0, 401);
    assert_eq!(cluster.stored("a").await, None);
}

#[tokio::test]
async fn what_somebody_else_changed_or_owns_is_not_overwritten() {
    let cluster = cluster(false).await;
    let token = cluster.account("editor", true).await;
    let stored = cluster.put(object("a", "1s"), "argo").await;
    let (status, answer) = cluster.apply(&token, &yaml("a", "2s"), false).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("managed")), "{answer}");
    assert_eq!(answer["message"], "VirtualService default/a was not changed: spec.http is argo's.");
    assert_eq!(
        (&answer["findings"][0]["field"], &answer["findings"][0]["line"]),
        (&json!("spec.http"), &json!(9)),
        "{answer}"
    );
    assert_eq!(cluster.stored("a").await.unwrap()["spec"]["http"][0]["timeout"], "1s");

    // What is left out is still argo's.
    let hosts = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a, namespace: default}\nspec:\n  hosts: [a]\n  tcp: [{route: [{destination: {host: a}}]}]\n";
    let (_, answer) = cluster.apply(&token, hosts, true).await;
    assert_eq!(answer["findings"][0]["message"], "spec.http is left out, and stays: it is argo's too.", "{answer}");

    let version = stored["metadata"]["resourceVersion"].as_str().unwrap();
    cluster.put(object("a", "3s"), "argo").await;
    let ask = |version: &str| json!({"yaml": hosts, "dryRun": false, "resourceVersion": version});
    let (status, answer) = cluster.ask(&token, ask(version)).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("conflict")), "{answer}");
    assert!(
        answer["message"].as_str().unwrap().starts_with("Somebody else changed VirtualService default/a"),
        "{answer}"
    );
    let now = cluster.stored("a").await.unwrap();
    assert_eq!(cluster.ask(&token, ask(now["metadata"]["resourceVersion"].as_str().unwrap())).await.0, 200);
    let taken = json!({"yaml": yaml("a", "4s"), "dryRun": false, "force": true});
    assert_eq!(cluster.ask(&token, taken).await.0, 200);
    assert_eq!(cluster.stored("a").await.unwrap()["spec"]["http"][0]["timeout"], "4s");
    let gone = json!({"yaml": yaml("b", "1s"), "dryRun": false, "resourceVersion": "1"});
    assert_eq!(cluster.ask(&token, gone).await.0, 409);
}

#[tokio::test]
async fn of_several_documents_all_are_good_or_none_is_written() {
    let cluster = cluster(false).await;
    let token = cluster.account("editor", true).await;
    cluster.put(object("b", "1s"), "argo").await;
    let (status, _) = cluster.apply(&token, &format!("{}---\n{}", yaml("a", "1s"), yaml("b", "2s")), false).await;
    assert_eq!((status, cluster.stored("a").await), (409, None));
    let (status, answer) = cluster.apply(&token, &format!("{}---\n{}", yaml("a", "1s"), yaml("c", "2s")), false).await;
    assert_eq!((status, verbs(&answer)), (200, vec!["created", "created"]), "{answer}");
}

#[tokio::test]
async fn what_is_wrong_is_marked() {
    let cluster = cluster(false).await;
    let token = cluster.account("editor", true).await;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: default}\n";
    let nowhere = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: a\nspec:\n  hosts: [a]\n  http: [{route: [{destination: {host: a}}]}]\n";
    let kindless = yaml("a", "1s").replace("networking.istio.io/v1", "networking.istio.io/v9");
    for (text, line) in [(pod, 2), (nowhere, 3), (&yaml("a", "soon"), 10), (&kindless, 1), ("{", 1)] {
        let (status, answer) = cluster.apply(&token, text, true).await;
        assert_eq!((status, answer["code"].as_str()), (422, Some("invalid")), "{text}: {answer}");
        let lines: Vec<_> =
            answer["findings"].as_array().unwrap().iter().map(|f| f["line"].as_u64().unwrap()).collect();
        assert!(lines.contains(&line), "{text}: {answer}");
    }
    assert_eq!(cluster.apply(&token, "# nothing\n", true).await.0, 400);
}

#[tokio::test]
async fn where_it_is_read_only_changes_are_shown_and_not_made() {
    let cluster = cluster(true).await;
    let token = cluster.account("editor", true).await;
    assert_eq!(cluster.apply(&token, &yaml("a", "1s"), true).await.0, 200);
    let (status, answer) = cluster.apply(&token, &yaml("a", "1s"), false).await;
    assert_eq!((status, answer["code"].as_str(), cluster.stored("a").await), (403, Some("readOnly"), None));
}
