//! The real kubectl against the server, over TLS, with a home directory of its own: every version on the machine for what writes objects, the newest
//! for the rest.
//!
//! There are no controllers and no pods here; a node that answers from memory stands for the pod runtime.

#![expect(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "test helpers fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use varka_apiserver::{ApiServer, Config, Duplex, ExecOptions, ExecSession, LogOptions, Node, NodeError, PodRef};

/// The oldest kubectl that is supported.
const OLDEST: u32 = 30;
/// Longer than any command takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The kubectls of the machine, the newest last: each `kubectl.1.NN` beside the one in PATH, else that one.
fn find_kubectls() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let plain = dirs.iter().map(|d| d.join("kubectl")).find(|p| p.exists());
    if let Some(real) = plain.as_ref().and_then(|p| p.canonicalize().ok()).and_then(|p| Some(p.parent()?.to_owned())) {
        dirs.push(real);
    }
    let versioned = dirs.iter().filter_map(|d| std::fs::read_dir(d).ok()).flatten().flatten().filter_map(|entry| {
        let minor = entry.file_name().to_str()?.strip_prefix("kubectl.1.")?.parse::<u32>().ok()?;
        Some((minor, entry.path()))
    });
    let versioned: std::collections::BTreeMap<u32, PathBuf> = versioned.filter(|(minor, _)| *minor >= OLDEST).collect();
    match (versioned.is_empty(), plain) {
        (false, _) => versioned.into_values().collect(),
        (true, Some(path)) => vec![path],
        (true, None) => panic!("these tests need kubectl 1.{OLDEST} or newer in PATH; there is none"),
    }
}

struct Cluster {
    server: ApiServer,
    dir: tempfile::TempDir,
    home: PathBuf,
    kubectl: PathBuf,
    serving: tokio::task::JoinHandle<()>,
}

struct Output {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Output {
    #[track_caller]
    fn ok(&self) -> &str {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.out, self.err);
        self.out.trim_end()
    }

    #[track_caller]
    fn fails(&self) -> &str {
        assert_ne!(self.code, Some(0), "stdout: {}", self.out);
        self.err.trim_end()
    }
}

impl Cluster {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kubectl = find_kubectls().pop().unwrap();
        let data_dir = dir.path().join("state");
        let config = Config {
            data_dir,
            service_cidr: ([10, 96, 0, 0].into(), 16),
            advertise: Vec::new(),
            version: "test".to_owned(),
        };
        let server = ApiServer::open(config).await.unwrap();
        server.set_node(Arc::new(Echo));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        std::fs::write(dir.path().join("kubeconfig"), server.admin_kubeconfig(&url)).unwrap();
        let serving = tokio::spawn({
            let server = server.clone();
            async move { server.serve(listener).await.unwrap() }
        });
        Self { server, home: dir.path().to_owned(), dir, kubectl, serving }
    }

    /// The same server with another kubectl, which has a home of its own.
    fn with(&mut self, kubectl: PathBuf) {
        self.home = self.dir.path().join(kubectl.file_name().unwrap());
        std::fs::create_dir(&self.home).unwrap();
        self.kubectl = kubectl;
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.args(args).env_clear().env("HOME", &self.home).env("KUBECONFIG", self.dir.path().join("kubeconfig"));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn run(&self, args: &[&str]) -> Output {
        finish(self.command(args).spawn().unwrap()).await
    }

    /// Runs a command with text on its standard input.
    async fn pipe(&self, args: &[&str], input: &str) -> Output {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        finish(child).await
    }

    /// Runs a command line of plain words.
    async fn k(&self, line: &str) -> Output {
        self.run(&line.split(' ').collect::<Vec<_>>()).await
    }

    async fn apply(&self, manifest: &str) -> Output {
        self.pipe(&["apply", "-f", "-"], manifest).await
    }

    /// A pod that counts as running.
    async fn running_pod(&self, name: &str) {
        self.apply(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {name}}}}}, spec: {{nodeName: local, containers: [{{name: main, image: x}}]}}}}"
        ))
        .await
        .ok();
        let patch = r#"{"status":{"phase":"Running","podIP":"10.244.0.2","conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[{"name":"main","ready":true,"restartCount":0,"image":"x","imageID":"","state":{"running":{}}}]}}"#;
        self.run(&["patch", "pod", name, "--subresource=status", "--type=merge", "-p", patch]).await.ok();
    }

    async fn stop(self) {
        self.server.shutdown().await;
        self.serving.await.unwrap();
    }
}

async fn finish(child: tokio::process::Child) -> Output {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("kubectl did not end").unwrap();
    Output {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A node whose containers echo.
struct Echo;

fn session(options: ExecOptions) -> ExecSession {
    let (exit, code) = oneshot::channel();
    let (resize, _) = mpsc::channel(1);
    let (stdin, mut from_client) = tokio::io::duplex(1 << 16);
    let (stdout, mut to_client) = tokio::io::duplex(1 << 16);
    let (stderr, mut errors) = tokio::io::duplex(1 << 16);
    let command = options.command.clone();
    tokio::spawn(async move {
        to_client.write_all(format!("ran {}\n", command.join(" ")).as_bytes()).await.unwrap();
        errors.write_all(b"a warning\n").await.unwrap();
        if options.stdin {
            let mut text = String::new();
            from_client.read_to_string(&mut text).await.unwrap();
            to_client.write_all(format!("read {} bytes\n", text.len()).as_bytes()).await.unwrap();
        }
        let _ = exit.send(if command.first().is_some_and(|c| c == "false") { 7 } else { 0 });
    });
    ExecSession {
        stdin: options.stdin.then(|| Box::new(stdin) as _),
        stdout: Some(Box::new(stdout)),
        stderr: options.stderr.then(|| Box::new(stderr) as _),
        resize: Some(resize),
        exit: code,
    }
}

impl Node for Echo {
    fn logs(
        &self,
        pod: PodRef,
        opts: LogOptions,
    ) -> BoxFuture<'static, Result<BoxStream<'static, std::io::Result<Bytes>>, NodeError>> {
        Box::pin(async move {
            if opts.previous {
                return Err(NodeError::NotReady(format!(
                    "previous terminated container \"{}\" in pod \"{}\" not found",
                    opts.container, pod.name
                )));
            }
            let lines = (0..opts.tail_lines.unwrap_or(3))
                .map(move |i| Ok(Bytes::from(format!("line {i} of {}/{}\n", pod.name, opts.container))));
            Ok(futures_util::stream::iter(lines.collect::<Vec<_>>()).boxed())
        })
    }

    fn exec(&self, _: PodRef, opts: ExecOptions) -> BoxFuture<'static, Result<ExecSession, NodeError>> {
        Box::pin(async move {
            if opts.command.first().is_some_and(|c| c == "missing") {
                return Err(NodeError::Failed("exec: \"missing\": executable file not found in $PATH".to_owned()));
            }
            Ok(session(opts))
        })
    }

    fn attach(&self, _: PodRef, opts: ExecOptions) -> BoxFuture<'static, Result<ExecSession, NodeError>> {
        Box::pin(async move { Ok(session(opts)) })
    }

    fn port_forward(&self, _: PodRef, port: u16) -> BoxFuture<'static, Result<Box<dyn Duplex>, NodeError>> {
        Box::pin(async move {
            if port != 8080 {
                return Err(NodeError::Failed(format!("dial tcp 127.0.0.1:{port}: connection refused")));
            }
            let (near, mut far) = tokio::io::duplex(1 << 16);
            tokio::spawn(async move {
                let mut request = vec![0; 5];
                far.read_exact(&mut request).await.unwrap();
                far.write_all(&[b"you said ", &request[..]].concat()).await.unwrap();
            });
            Ok(Box::new(near) as Box<dyn Duplex>)
        })
    }
}

#[path = "kubectl/writes.rs"]
mod writes;

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "nginx:1", ports: [{containerPort: 80, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, name: http, targetPort: http}]}
---
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn apply_get_patch_and_delete() {
    let c = Cluster::start().await;
    let created = c.apply(WEB).await;
    assert_eq!(
        created.ok(),
        "deployment.apps/web created\nservice/web created\ndestinationrule.networking.istio.io/web created"
    );
    assert!(!c.apply(WEB).await.ok().contains("configured"));
    let changed = WEB.replace("replicas: 2", "replicas: 3").replace("ISTIO_MUTUAL", "DISABLE");
    assert!(c.pipe(&["diff", "-f", "-"], &changed).await.out.contains("+  replicas: 3"));
    let changed = c.apply(&changed).await;
    assert!(changed.ok().contains(
        "deployment.apps/web configured\nservice/web unchanged\ndestinationrule.networking.istio.io/web configured"
    ));
    let row = c.k("get deploy web --no-headers").await;
    assert!(row.ok().starts_with("web   0/3   0     0"), "{}", row.out);
    let rules = c.k("get destinationrule").await;
    assert!(rules.ok().starts_with("NAME   HOST   AGE\nweb    web    "), "{}", rules.out);
    assert_eq!(
        c.k("get destinationrules.v1alpha3.networking.istio.io web -o jsonpath={.apiVersion}").await.ok(),
        "networking.istio.io/v1alpha3"
    );
    assert!(c.k("get svc web -o jsonpath={.spec.clusterIP}").await.ok().starts_with("10.96."));
    c.run(&[
        "patch",
        "deployment",
        "web",
        "-p",
        r#"{"spec":{"template":{"metadata":{"annotations":{"sidecar.istio.io/inject":"false"}}}}}"#,
    ])
    .await
    .ok();
    c.run(&[
        "patch",
        "deployment",
        "web",
        "-p",
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"y"}]}}}}"#,
    ])
    .await
    .ok();
    assert_eq!(
        c.k("get deploy web -o jsonpath={.spec.template.spec.containers[*].name}").await.ok().split(' ').count(),
        2
    );
    assert!(
        c.run(&["patch", "dr", "web", "-p", "{}"])
            .await
            .fails()
            .contains("strategic-merge-patch+json is not supported")
    );
    assert_eq!(c.k("set image deploy/web web=nginx:2").await.ok(), "deployment.apps/web image updated");
    assert_eq!(c.k("scale deploy web --replicas=5").await.ok(), "deployment.apps/web scaled");
    let scale = c.k("get deploy web --subresource=scale").await;
    assert!(scale.ok().starts_with("NAME   DESIRED   AVAILABLE   AGE\nweb    5         0           "), "{}", scale.out);
    assert_eq!(c.k("rollout restart deploy/web").await.ok(), "deployment.apps/web restarted");
    assert_eq!(c.k("label deploy web x=y").await.ok(), "deployment.apps/web labeled");
    assert_eq!(
        c.k("wait --for=jsonpath={.spec.replicas}=5 deploy/web --timeout=30s").await.ok(),
        "deployment.apps/web condition met"
    );
    assert!(c.k("describe deploy web").await.ok().contains("5 desired"));
    assert_eq!(c.k("delete deploy web").await.ok(), "deployment.apps \"web\" deleted");
    assert_eq!(c.k("get deploy web").await.fails(), "Error from server (NotFound): deployments.apps \"web\" not found");
    c.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_sends_protobuf_and_is_understood() {
    let c = Cluster::start().await;
    assert_eq!(c.k("create ns shop").await.ok(), "namespace/shop created");
    assert_eq!(c.k("create cm conf -n shop --from-literal=a=b").await.ok(), "configmap/conf created");
    assert_eq!(c.k("get cm conf -n shop -o jsonpath={.data.a}").await.ok(), "b");
    c.k("create secret generic s -n shop --from-literal=a=b").await.ok();
    assert_eq!(c.k("get secret s -n shop -o jsonpath={.data.a}").await.ok(), "Yg==");
    c.k("create sa robot -n shop").await.ok();
    assert_eq!(c.k("create token robot -n shop --audience=istio-ca").await.ok().split('.').count(), 3);
    c.k("create deployment d -n shop --image=nginx --replicas=0").await.ok();
    assert_eq!(c.k("get deploy d -n shop -o jsonpath={.spec.replicas}").await.ok(), "0");
    assert_eq!(c.k("auth can-i create pods").await.ok(), "yes");
    assert!(c.k("auth whoami").await.ok().contains("kubernetes-admin"));
    assert_eq!(c.k("auth can-i delete pods -n shop --as=system:serviceaccount:shop:robot").await.out.trim_end(), "no");
    assert_eq!(c.k("auth can-i list pods -n shop --as=system:serviceaccount:shop:robot").await.ok(), "yes");
    let patch = "auth can-i patch virtualservices.networking.istio.io -n shop --as=system:serviceaccount:shop:robot";
    assert_eq!(c.k(patch).await.out.trim_end(), "no");
    c.k("create role editor -n shop --verb=get,patch --resource=virtualservices.networking.istio.io").await.ok();
    c.k("create rolebinding robot -n shop --role=editor --serviceaccount=shop:robot").await.ok();
    assert_eq!(c.k(patch).await.ok(), "yes");
    assert_eq!(c.k(&patch.replace("-n shop", "-n default")).await.out.trim_end(), "no");
    assert!(c.k("auth whoami --as=bob").await.ok().contains("bob"));
    assert_eq!(c.k("auth can-i list pods --as=bob").await.out.trim_end(), "no");
    c.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named() {
    let c = Cluster::start().await;
    let unknown = c.apply(&WEB.replace("replicas: 2", "replica: 2")).await;
    assert!(unknown.fails().contains("unknown field \"spec.replica\""), "{}", unknown.err);
    let selector = c.apply(&WEB.replace("labels: {app: web}}\n    spec", "labels: {app: wob}}\n    spec")).await;
    assert!(selector.fails().contains("spec.template.metadata.labels: Invalid value: "), "{}", selector.err);
    let mtls = c
        .apply("{apiVersion: security.istio.io/v1beta1, kind: PeerAuthentication, metadata: {name: default}, spec: {mtls: {mode: STRICT}, portLevelMtls: {80: {mode: PERMISSIVE}}}}")
        .await;
    assert!(
        mtls.fails().contains("spec.portLevelMtls: Invalid value: object: portLevelMtls requires a selector"),
        "{}",
        mtls.err
    );
    let warned = c.apply("{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: b}, spec: {minAvailable: 1, selector: {matchLabels: {a: b}}}}").await;
    warned.ok();
    assert!(warned.err.contains("Warning: PodDisruptionBudget is stored but not acted upon"), "{}", warned.err);
    c.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_pods() {
    let c = Cluster::start().await;
    c.running_pod("web").await;
    let pods = c.k("get pods --no-headers").await;
    assert!(pods.ok().starts_with("web   1/1   Running   0     "), "{}", pods.out);
    assert_eq!(c.k("logs web --tail=2").await.ok(), "line 0 of web/main\nline 1 of web/main");
    assert!(
        c.k("logs web -p").await.fails().contains("previous terminated container \"main\" in pod \"web\" not found")
    );
    assert!(c.k("logs web -c nope").await.fails().contains("container nope is not valid for pod web"));
    let exec = c.k("exec web -- echo hi there").await;
    assert_eq!((exec.ok(), exec.err.as_str()), ("ran echo hi there", "a warning\n"));
    let failed = c.k("exec web -- false").await;
    assert_eq!(failed.code, Some(7));
    assert!(failed.err.contains("command terminated with exit code 7"));
    assert!(c.k("exec web -- missing").await.fails().contains("executable file not found"));
    let piped = c.pipe(&["exec", "-i", "web", "--", "cat"], &"x".repeat(200_000)).await;
    assert_eq!(piped.ok(), "ran cat\nread 200000 bytes");
    c.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn port_forward_carries_connections() {
    let c = Cluster::start().await;
    c.running_pod("web").await;
    let mut child = c.command(&["port-forward", "pod/web", ":8080", ":9090"]).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut text = String::new();
    let mut ports = Vec::new();
    while ports.len() < 2 {
        let mut buffer = [0; 256];
        let length = tokio::time::timeout(PATIENCE, out.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(length, 0, "port-forward ended: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        ports = text
            .lines()
            .filter_map(|l| l.strip_prefix("Forwarding from 127.0.0.1:")?.split(' ').next()?.parse::<u16>().ok())
            .collect();
    }
    for _ in 0..2 {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", ports[0])).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer, "you said hello");
    }
    let mut refused = tokio::net::TcpStream::connect(("127.0.0.1", ports[1])).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, refused.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty());
    let mut errors = child.stderr.take().unwrap();
    let mut buffer = vec![0; 4096];
    let length = tokio::time::timeout(PATIENCE, errors.read(&mut buffer)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&buffer[..length]).contains("connection refused"));
    child.kill().await.unwrap();
    c.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn port_forward_by_channels_carries_connections() {
    let c = Cluster::start().await;
    c.running_pod("web").await;
    let kubeconfig = kube::config::Kubeconfig::read_from(c.dir.path().join("kubeconfig")).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::namespaced(kube::Client::try_from(config).unwrap(), "default");
    let mut forwarder = pods.portforward("web", &[8080, 9090]).await.unwrap();
    let mut stream = forwarder.take_stream(8080).unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 14];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"you said hello");
    let why = tokio::time::timeout(PATIENCE, forwarder.take_error(9090).unwrap()).await.unwrap().unwrap();
    assert_eq!(why, "error forwarding port 9090 to pod web: dial tcp 127.0.0.1:9090: connection refused");
    // The server ends what both connections have ended.
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.is_empty());
    assert!(pods.portforward("web", &[0]).await.is_err());
    c.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_make_kinds_at_run_time() {
    let c = Cluster::start().await;
    let definition = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: boats, kind: Boat, shortNames: [bt]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.crew, statusReplicasPath: .status.crew}}
    additionalPrinterColumns: [{name: Crew, type: integer, jsonPath: .spec.crew}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, required: [sail], properties: {sail: {type: string, enum: [red, white]}, crew: {type: integer, default: 2}}}
          status: {type: object, properties: {crew: {type: integer}}}
"#;
    c.apply(definition).await.ok();
    c.k("wait --for=condition=established crd/boats.example.com --timeout=30s").await.ok();
    let boat = |sail: &str| {
        format!("{{apiVersion: example.com/v1, kind: Boat, metadata: {{name: a}}, spec: {{sail: {sail}}}}}")
    };
    assert!(
        c.apply(&boat("blue"))
            .await
            .fails()
            .contains("spec.sail: Unsupported value: \"blue\": supported values: \"red\", \"white\"")
    );
    assert!(c.apply(&boat("red, mast: 3")).await.fails().contains("unknown field \"spec.mast\""));
    c.apply(&boat("red")).await.ok();
    assert!(c.k("get bt").await.ok().starts_with("NAME   CREW\na      2"));
    c.k("scale bt a --replicas=4").await.ok();
    assert_eq!(c.k("get bt a -o jsonpath={.spec.crew}").await.ok(), "4");
    assert!(c.k("explain boat.spec").await.ok().contains("sail"));
    c.k("delete crd boats.example.com").await.ok();
    c.k("get boats.example.com").await.fails();
    c.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_waits_for_those_responsible() {
    let c = Cluster::start().await;
    c.running_pod("web").await;
    c.k("delete pod web --wait=false").await.ok();
    assert!(c.k("get pod web --no-headers").await.ok().contains("Terminating"));
    c.k("delete pod web --grace-period=0 --force").await.ok();
    c.k("get pod web").await.fails();
    c.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: held, finalizers: [example.com/x]}}").await.ok();
    c.k("delete cm held --wait=false").await.ok();
    assert!(!c.k("get cm held -o jsonpath={.metadata.deletionTimestamp}").await.ok().is_empty());
    c.run(&["patch", "cm", "held", "--type=json", "-p", r#"[{"op":"remove","path":"/metadata/finalizers"}]"#])
        .await
        .ok();
    c.k("get cm held").await.fails();
    c.k("delete ns default").await.fails();
    c.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_survives_and_secrets_stay_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let c = Cluster::start().await;
    c.apply(WEB).await.ok();
    let address = c.k("get svc web -o jsonpath={.spec.clusterIP}").await.ok().to_owned();
    let state = c.dir.path().join("state");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    for entry in std::fs::read_dir(&state).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    c.server.shutdown().await;
    c.serving.await.unwrap();
    let config = Config {
        data_dir: state,
        service_cidr: ([10, 96, 0, 0].into(), 16),
        advertise: Vec::new(),
        version: "test".to_owned(),
    };
    let server = ApiServer::open(config).await.unwrap();
    let services: kube::Api<k8s_openapi::api::core::v1::Service> = kube::Api::default_namespaced(server.client("test"));
    let web = services.get("web").await.unwrap();
    assert_eq!(web.spec.unwrap().cluster_ip, Some(address));
    server.shutdown().await;
}
