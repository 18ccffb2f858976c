//! The controllers against the embedded API server, in process. Pods are "run" by a stand-in for the kubelet that makes
//! every pod Ready and lets every pod go that was asked to.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::future::Future;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Much longer than anything takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

struct Cluster {
    client: Client,
    server: varka_apiserver::ApiServer,
    tasks: JoinSet<()>,
    _stop: oneshot::Sender<()>,
    _directory: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = varka_apiserver::Config {
            data_dir: directory.path().to_owned(),
            service_cidr: (Ipv4Addr::new(10, 96, 0, 0), 16),
            advertise: Vec::new(),
            version: "test".into(),
        };
        let server = varka_apiserver::ApiServer::open(config).await.unwrap();
        let client = server.client("test");
        let mut tasks = JoinSet::new();
        let (stop, stopped) = oneshot::channel::<()>();
        let options = varka_controllers::Options { root_ca: Some(server.ca_pem().to_owned()) };
        let controllers = server.client("system:controllers");
        tasks.spawn(async move {
            let stopped = async { drop(stopped.await) };
            varka_controllers::run(controllers, options, stopped).await.unwrap();
        });
        tasks.spawn(kubelet(server.client("system:kubelet")));
        let cluster = Self { client, server, tasks, _stop: stop, _directory: directory };
        cluster.create::<Namespace>("", json!({"metadata": {"name": "shop"}})).await;
        cluster
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), "shop")
    }

    async fn create<K>(&self, namespace: &str, object: Value) -> K
    where
        K: kube::Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + std::fmt::Debug,
    {
        let resource = kube::core::discovery::ApiResource::erase::<K>(&());
        let api: Api<kube::core::DynamicObject> = if namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        };
        let mut object: kube::core::DynamicObject = serde_json::from_value(object).unwrap();
        object.types = Some(kube::core::TypeMeta { api_version: resource.api_version, kind: resource.kind });
        let created = api.create(&PostParams::default(), &object).await.unwrap();
        created.try_parse().unwrap()
    }

    async fn patch<K>(&self, name: &str, patch: Value)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    async fn names<K>(&self) -> Vec<String>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let list = self.api::<K>().list(&ListParams::default()).await.unwrap();
        list.items.iter().map(ResourceExt::name_any).collect()
    }

    async fn stop(mut self) {
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        self.server.shutdown().await;
    }
}

/// Makes every pod Ready, and lets go of each that was asked to go.
async fn kubelet(client: Client) {
    let all: Api<Pod> = Api::all(client.clone());
    let mut pods = std::pin::pin!(watcher(all, watcher::Config::default()).touched_objects());
    let mut address = 0u8;
    while let Some(Ok(pod)) = pods.next().await {
        let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
        let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
        if pod.metadata.deletion_timestamp.is_some() {
            let _ = api.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await;
        } else if phase != "Running" && phase != "Succeeded" {
            address = address.wrapping_add(1).max(1);
            let once = pod.spec.as_ref().unwrap().restart_policy.as_deref() == Some("Never");
            let status = json!({"status": {
                "phase": if once { "Succeeded" } else { "Running" },
                "podIP": format!("10.244.0.{address}"),
                "podIPs": [{"ip": format!("10.244.0.{address}")}],
                "conditions": [{"type": "Ready", "status": if once { "False" } else { "True" }, "lastTransitionTime": jiff::Timestamp::now()}],
            }});
            let _ = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status)).await;
        }
    }
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut is: impl FnMut() -> F) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "it never happened: {what}");
}

fn web(image: &str, replicas: i32) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]},
            },
        },
    })
}

async fn rolled_out(cluster: &Cluster, replicas: i32) {
    eventually("the rollout is complete", || async {
        let deployment = cluster.api::<Deployment>().get("web").await.unwrap();
        let status = deployment.status.unwrap_or_default();
        status.observed_generation == deployment.metadata.generation
            && status.updated_replicas == Some(replicas)
            && status.replicas == Some(replicas)
            && status.available_replicas == Some(replicas)
    })
    .await;
}

/// The names of the ready endpoints, each time the slices change.
fn ready_endpoints(cluster: &Cluster) -> impl Stream<Item = usize> + use<> {
    let selector = watcher::Config::default().labels("kubernetes.io/service-name=web");
    let slices = watcher(cluster.api::<EndpointSlice>(), selector).touched_objects();
    slices.filter_map(|slice| async {
        let slice = slice.ok()?;
        let ready = slice.endpoints.iter().filter(|endpoint| endpoint.conditions.as_ref().unwrap().ready == Some(true));
        Some(ready.count())
    })
}

#[tokio::test]
async fn a_rollout_never_leaves_a_service_with_fewer_endpoints() {
    let cluster = Cluster::start().await;
    cluster
        .create::<Service>(
            "shop",
            json!({
                "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
            }),
        )
        .await;
    cluster.create::<Deployment>("shop", web("nginx:1", 2)).await;
    rolled_out(&cluster, 2).await;
    let mut ready = std::pin::pin!(ready_endpoints(&cluster));
    let both = async { while ready.next().await != Some(2) {} };
    tokio::time::timeout(PATIENCE, both).await.expect("both pods are endpoints");
    let old: Vec<String> = cluster.names::<Pod>().await;

    // What `kubectl rollout restart` writes.
    let restart =
        json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}});
    cluster.patch::<Deployment>("web", restart).await;
    let mut seen = Vec::new();
    let watched = async {
        loop {
            seen.push(ready.next().await.unwrap());
        }
    };
    let finished = async {
        rolled_out(&cluster, 2).await;
        eventually("only new pods are left", || async {
            let pods = cluster.names::<Pod>().await;
            pods.len() == 2 && pods.iter().all(|pod| !old.contains(pod))
        })
        .await;
    };
    tokio::select! { () = watched => {}, () = finished => {} }
    assert!(!seen.is_empty() && seen.iter().all(|ready| *ready >= 2), "{seen:?}");

    let sets = cluster.api::<ReplicaSet>().list(&ListParams::default()).await.unwrap();
    let mut revisions: Vec<_> =
        sets.iter().map(|set| set.annotations()["deployment.kubernetes.io/revision"].clone()).collect();
    revisions.sort();
    assert_eq!(revisions, ["1", "2"]);
    eventually("the older form says the same", || async {
        let legacy = cluster.api::<Endpoints>().get("web").await.unwrap();
        legacy.subsets.unwrap()[0].addresses.as_ref().unwrap().len() == 2
    })
    .await;
    eventually("Events tell of it", || async {
        let events = cluster.api::<Event>().list(&ListParams::default()).await.unwrap();
        ["ScalingReplicaSet", "SuccessfulCreate", "SuccessfulDelete"]
            .iter()
            .all(|reason| events.iter().any(|event| event.reason.as_deref() == Some(*reason)))
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn at_rest_nothing_is_written() {
    let cluster = Cluster::start().await;
    cluster.create::<Deployment>("shop", web("nginx:1", 1)).await;
    rolled_out(&cluster, 1).await;
    // A write of our own shows what the last version is; were there others, the numbers between would be taken.
    let accounts = cluster.api::<ServiceAccount>();
    let mut last = 0;
    let mut alone = 0;
    for round in 0..100 {
        let marker = Patch::Merge(json!({"metadata": {"annotations": {"marker": round.to_string()}}}));
        let written = accounts.patch("default", &PatchParams::default(), &marker).await.unwrap();
        let version: u64 = written.resource_version().unwrap().parse().unwrap();
        alone = if version == last + 1 { alone + 1 } else { 0 };
        last = version;
        if alone == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(alone, 5, "something is written again and again although nothing changes");
    cluster.stop().await;
}

#[tokio::test]
async fn deletion_cascades_in_each_of_the_three_ways() {
    let cluster = Cluster::start().await;
    let deployments = cluster.api::<Deployment>();

    cluster.create::<Deployment>("shop", web("nginx:1", 2)).await;
    rolled_out(&cluster, 2).await;
    deployments.delete("web", &DeleteParams::background()).await.unwrap();
    eventually("everything is collected", || async {
        cluster.names::<ReplicaSet>().await.is_empty() && cluster.names::<Pod>().await.is_empty()
    })
    .await;

    cluster.create::<Deployment>("shop", web("nginx:1", 2)).await;
    rolled_out(&cluster, 2).await;
    deployments.delete("web", &DeleteParams::foreground()).await.unwrap();
    eventually("the owner goes last", || async {
        let gone = deployments.get_opt("web").await.unwrap().is_none();
        assert!(!gone || cluster.names::<Pod>().await.is_empty());
        gone
    })
    .await;

    cluster.create::<Deployment>("shop", web("nginx:1", 2)).await;
    rolled_out(&cluster, 2).await;
    deployments.delete("web", &DeleteParams::orphan()).await.unwrap();
    eventually("the owner goes alone", || async { deployments.get_opt("web").await.unwrap().is_none() }).await;
    let sets = cluster.api::<ReplicaSet>().list(&ListParams::default()).await.unwrap();
    assert_eq!(sets.items.len(), 1);
    assert!(sets.items[0].owner_references().is_empty());

    // A Deployment of the same template takes the orphans in.
    let pods = cluster.names::<Pod>().await;
    cluster.create::<Deployment>("shop", web("nginx:1", 2)).await;
    rolled_out(&cluster, 2).await;
    assert_eq!(cluster.names::<Pod>().await, pods);
    cluster.stop().await;
}

#[tokio::test]
async fn a_namespace_is_furnished_and_emptied() {
    let cluster = Cluster::start().await;
    eventually("it has an account and the authority", || async {
        let authority = cluster.api::<ConfigMap>().get_opt("kube-root-ca.crt").await.unwrap();
        let account = cluster.api::<ServiceAccount>().get_opt("default").await.unwrap();
        account.is_some() && authority.is_some_and(|map| map.data.unwrap()["ca.crt"] == cluster.server.ca_pem())
    })
    .await;
    cluster.create::<Deployment>("shop", web("nginx:1", 1)).await;
    let job = json!({
        "metadata": {"name": "once", "namespace": "shop"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}},
    });
    cluster.create::<Job>("shop", job).await;
    rolled_out(&cluster, 1).await;
    eventually("the Job completes", || async {
        let job = cluster.api::<Job>().get("once").await.unwrap();
        job.status.and_then(|status| status.succeeded) == Some(1)
    })
    .await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
    eventually("the namespace is gone", || async { namespaces.get_opt("shop").await.unwrap().is_none() }).await;
    assert!(cluster.names::<Pod>().await.is_empty());
    assert!(cluster.names::<ConfigMap>().await.is_empty());
    cluster.stop().await;
}

/// A webhook whose server is not there holds every pod back.
fn hold_pods() -> Value {
    json!({
        "metadata": {"name": "hold"},
        "webhooks": [{
            "name": "hold.example.com",
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "nobody", "namespace": "shop", "path": "/"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        }],
    })
}

#[tokio::test]
async fn pods_that_cannot_be_made_are_told_and_made_once_they_can_be() {
    let cluster = Cluster::start().await;
    cluster.create::<MutatingWebhookConfiguration>("", hold_pods()).await;
    cluster.create::<Deployment>("shop", web("nginx:1", 1)).await;
    let told = |deployment: Deployment| {
        let conditions = deployment.status.and_then(|status| status.conditions).unwrap_or_default();
        conditions.into_iter().any(|condition| {
            condition.type_ == "ReplicaFailure" && condition.message.is_some_and(|m| m.contains("hold.example.com"))
        })
    };
    eventually("the Deployment says why", || async { told(cluster.api::<Deployment>().get("web").await.unwrap()) })
        .await;
    eventually("an Event says why", || async {
        let events = cluster.api::<Event>().list(&ListParams::default()).await.unwrap();
        events
            .iter()
            .any(|event| event.reason.as_deref() == Some("FailedCreate") && event.type_.as_deref() == Some("Warning"))
    })
    .await;
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    webhooks.delete("hold", &DeleteParams::default()).await.unwrap();
    rolled_out(&cluster, 1).await;
    eventually("nothing is wrong any more", || async { !told(cluster.api::<Deployment>().get("web").await.unwrap()) })
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn the_real_kubectl_follows_and_undoes_a_rollout() {
    let cluster = Cluster::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kubeconfig = cluster.server.admin_kubeconfig(&format!("https://{}", listener.local_addr().unwrap()));
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("config"), kubeconfig).unwrap();
    let server = cluster.server.clone();
    let serving = tokio::spawn(async move { server.serve(listener).await });
    let kubectl = async |arguments: &str| {
        let output = tokio::process::Command::new("kubectl")
            .args(["--namespace", "shop"])
            .args(arguments.split_whitespace())
            .env("KUBECONFIG", home.path().join("config"))
            .env("HOME", home.path())
            .output()
            .await
            .unwrap();
        let (told, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {arguments}: {told}{failed}");
        told.into_owned()
    };
    cluster.create::<Deployment>("shop", web("nginx:1", 2)).await;
    let status = "rollout status deployment/web --timeout=30s";
    assert!(kubectl(status).await.contains("deployment \"web\" successfully rolled out"));
    kubectl("set image deployment/web c=nginx:2").await;
    assert!(kubectl(status).await.contains("successfully rolled out"));
    let history = kubectl("rollout history deployment/web").await;
    assert!(history.lines().filter(|line| line.starts_with(['1', '2'])).count() == 2, "{history}");
    assert_eq!(kubectl("rollout undo deployment/web").await, "deployment.apps/web rolled back\n");
    assert!(kubectl(status).await.contains("successfully rolled out"));
    let images = kubectl("get pods -o jsonpath={.items[*].spec.containers[*].image}").await;
    assert!(images.split(' ').all(|image| image == "nginx:1"), "{images}");
    kubectl("rollout pause deployment/web").await;
    kubectl("rollout resume deployment/web").await;
    kubectl("scale deployment/web --replicas=3").await;
    kubectl("wait deployment/web --for=jsonpath={.status.readyReplicas}=3 --timeout=30s").await;
    kubectl("wait deployment/web --for=condition=Available --timeout=30s").await;
    kubectl("delete deployment/web --cascade=foreground --timeout=30s").await;
    assert!(cluster.names::<Pod>().await.is_empty());
    serving.abort();
    cluster.stop().await;
}
