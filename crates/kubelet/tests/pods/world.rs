//! An API server and a pod runtime in this process, and short words for what the scenarios do with them.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use varka_apiserver::ApiServer;
use varka_kubelet::sandbox::{self, EnterOptions, Sandbox};
use varka_kubelet::{Config, ExecOptions, Kubelet, LogOptions};

pub(crate) const NAMESPACE: &str = "default";

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) kubelet: Kubelet,
    pub(crate) sandbox: Sandbox,
    api: ApiServer,
}

/// Enters the sandbox and runs the body in a runtime with a world.
pub(crate) fn with<T>(state: &Path, listen: Vec<std::net::SocketAddr>, body: impl AsyncFnOnce(&World) -> T) -> T {
    let sandbox = sandbox::enter(EnterOptions { listen })
        .expect("run as root, or where user namespaces are allowed, or set SKIP_NETNS=1");
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(std::env::var("LOG").unwrap_or_else(|_| "warn".into()))
            .with_writer(std::io::stderr)
            .try_init(),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let config = varka_apiserver::Config {
            data_dir: state.join("api"),
            service_cidr: (Ipv4Addr::new(10, 96, 0, 0), 16),
            advertise: Vec::new(),
            version: "v1.33.1".into(),
        };
        let api = ApiServer::open(config).await.unwrap();
        let client = api.client("test");
        let config = Config {
            state_dir: state.join("kubelet"),
            self_exe: std::env::current_exe().unwrap(),
            pod_cidr: (Ipv4Addr::new(10, 244, 0, 0), 16),
            service_cidr: (Ipv4Addr::new(10, 96, 0, 0), 16),
            dns_ip: Ipv4Addr::new(10, 96, 0, 10),
            node_name: "varka".into(),
            agent: sandbox.agent.clone(),
        };
        let kubelet = Kubelet::start(config, api.client("system:node:varka")).await.unwrap();
        let world = World { client, kubelet, sandbox, api };
        let result = body(&world).await;
        world.kubelet.stop(Duration::from_secs(10)).await;
        world.api.shutdown().await;
        result
    })
}

impl World {
    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Creates any object.
    pub(crate) async fn create(&self, object: Value) {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let types = object.types.clone().unwrap();
        let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
        let gvk = kube::core::GroupVersionKind::gvk(group, version, &types.kind);
        let resource = kube::core::ApiResource::from_gvk(&gvk);
        let cluster = matches!(types.kind.as_str(), "LocalRuntime");
        let api: Api<DynamicObject> = if cluster {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), NAMESPACE, &resource)
        };
        api.create(&PostParams::default(), &object).await.unwrap_or_else(|e| panic!("{types:?}: {e}"));
    }

    /// Creates a pod of this specification.
    pub(crate) async fn pod(&self, name: &str, spec: Value) {
        self.create(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})).await;
    }

    /// Waits until the pod is as wanted.
    pub(crate) async fn until(&self, name: &str, what: &str, mut wanted: impl FnMut(&Pod) -> bool) -> Pod {
        let mut last = None;
        for _ in 0..15000 {
            let pod = self.pods().get_opt(name).await.unwrap();
            if let Some(pod) = &pod
                && wanted(pod)
            {
                return pod.clone();
            }
            last = pod;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let status = last.map(|pod| serde_json::to_string_pretty(&pod.status).unwrap());
        panic!("pod {name} never became {what}: {}\n{:#?}", status.unwrap_or_default(), self.events(name).await)
    }

    pub(crate) async fn ready(&self, name: &str) -> Pod {
        self.until(name, "Ready", is_ready).await
    }

    pub(crate) async fn phase(&self, name: &str, phase: &str) -> Pod {
        self.until(name, phase, |pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some(phase)).await
    }

    /// Deletes the pod and waits until its object is gone.
    pub(crate) async fn delete(&self, name: &str) {
        self.pods().delete(name, &DeleteParams::default()).await.unwrap();
        for _ in 0..3000 {
            if self.pods().get_opt(name).await.unwrap().is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("pod {name} is never gone");
    }

    /// The events of a pod, as "Reason message".
    pub(crate) async fn events(&self, name: &str) -> Vec<String> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), NAMESPACE);
        let list = api.list(&ListParams::default()).await.unwrap();
        let about = list.items.into_iter().filter(|e| e.involved_object.name.as_deref() == Some(name));
        about.map(|e| format!("{} {}", e.reason.unwrap_or_default(), e.message.unwrap_or_default())).collect()
    }

    /// Waits for an event of a pod that holds the text.
    pub(crate) async fn event(&self, name: &str, text: &str) {
        for _ in 0..1000 {
            if self.events(name).await.iter().any(|event| event.contains(text)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no event of {name} has {text:?}: {:#?}", self.events(name).await);
    }

    pub(crate) async fn logs(&self, name: &str, container: &str, options: LogOptions) -> String {
        let mut stream = self.kubelet.logs(NAMESPACE, name, None, container, options).await.unwrap();
        let mut text = Vec::new();
        while let Some(part) = stream.next().await {
            text.extend_from_slice(&part.unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    /// Runs a command in a container: exit code, output, errors.
    pub(crate) async fn exec(&self, name: &str, container: &str, command: &[&str]) -> (i32, String, String) {
        self.exec_with(name, container, command, None).await
    }

    pub(crate) async fn exec_with(
        &self,
        name: &str,
        container: &str,
        command: &[&str],
        input: Option<&str>,
    ) -> (i32, String, String) {
        let options = ExecOptions {
            command: command.iter().map(ToString::to_string).collect(),
            stdin: input.is_some(),
            stdout: true,
            stderr: true,
            tty: false,
        };
        let mut session = self.kubelet.exec(NAMESPACE, name, None, container, options).await.unwrap();
        if let (Some(mut stdin), Some(text)) = (session.stdin.take(), input) {
            stdin.write_all(text.as_bytes()).await.unwrap();
        }
        let (mut out, mut errors) = (String::new(), String::new());
        let (mut stdout, mut stderr) = (session.stdout.take().unwrap(), session.stderr.take().unwrap());
        let (a, b) = tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut errors));
        a.and(b).unwrap();
        (session.exit.await.unwrap(), out, errors)
    }

    /// The output of a shell line in a container, which must succeed.
    pub(crate) async fn shell(&self, name: &str, line: &str) -> String {
        let (code, out, errors) = self.exec(name, "", &["sh", "-c", line]).await;
        assert_eq!(code, 0, "{line}: {out}{errors}");
        out.trim().to_owned()
    }
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

pub(crate) fn address(pod: &Pod) -> Ipv4Addr {
    pod.status.as_ref().and_then(|s| s.pod_ip.as_ref()).and_then(|ip| ip.parse().ok()).unwrap()
}
