//! Puts the mesh of the recorded Envoy cases behind Varka: API server and control plane in this process, and a sidecar in each of
//! the namespaces `ed-web`, `ed-other` and `ed-was`.
//!
//! It runs in the namespace that routes between those (`ip netns exec ed-hub`). The way of the configuration is the only one that
//! there is: objects go into the API server, the control plane watches it, sidecars ask the control plane. It writes `OUT/up` when
//! every sidecar is ready and in sync, and runs until SIGTERM.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::Parser;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use varka_apiserver::ApiServer;
use varka_control_plane::{Config, ControlPlane};
use varka_identity::{Authority, SpiffeId, SystemRandom, WorkloadKey};

/// Address of the routing namespace, as every other one reaches it.
const HUB: Ipv4Addr = Ipv4Addr::new(169, 254, 77, 1);
/// Name in the control plane's certificate.
const DISCOVERY: &str = "istiod.istio-system.svc";
/// User of sidecars, whose connections are not intercepted.
const SIDECAR_USER: u32 = 1337;
/// Of the certificates that are handed out.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(3600);
/// Guards against waiting for ever.
const LIMIT: Duration = Duration::from_secs(30);

/// Puts the mesh of the recorded cases behind Varka.
#[derive(Debug, Parser)]
struct Args {
    /// The registry: services, endpoints, workloads.
    #[arg(long)]
    mesh: PathBuf,
    /// Istio resources.
    #[arg(long)]
    resources: PathBuf,
    /// Mesh configuration, JSON.
    #[arg(long)]
    mesh_config: PathBuf,
    /// Where logs, tokens and state go.
    #[arg(long)]
    out: PathBuf,
    /// Where the certificates of the workloads go, for clients that speak mTLS themselves (`NAME.pem`, `NAME.key`).
    #[arg(long)]
    certs: Option<PathBuf>,
    /// The `varka` binary.
    #[arg(long)]
    varka: PathBuf,
}

/// `mesh.yaml`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mesh {
    trust_domain: String,
    services: Vec<Service>,
    workloads: BTreeMap<String, Workload>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Service {
    name: String,
    namespace: String,
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    port: u16,
    port_name: String,
    target_port: u16,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Endpoint {
    ip: String,
    labels: BTreeMap<String, String>,
    sidecar: bool,
    sa: Option<String>,
}

/// What a sidecar stands beside.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Workload {
    ip: String,
    namespace: String,
    sa: String,
    labels: BTreeMap<String, String>,
    #[serde(rename = "services")]
    _services: Vec<String>,
}

/// One proxy in `/debug/syncz`.
#[derive(Debug, Deserialize)]
struct Synced {
    pod: String,
    synced: bool,
    nacks: Vec<Value>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    // An error means that a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new("warn"))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mesh: Mesh = serde_saphyr::from_str(&std::fs::read_to_string(&args.mesh)?)
        .with_context(|| format!("cannot read {}", args.mesh.display()))?;
    let state = tempfile::Builder::new().prefix("varka-envoy-").tempdir()?;
    let api = ApiServer::open(varka_apiserver::Config {
        data_dir: state.path().join("api"),
        service_cidr: (Ipv4Addr::new(10, 96, 0, 0), 16),
        advertise: Vec::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
    .await?;
    let client = api.client("varka-envoy-driver");
    fill(&client, &mesh).await?;
    configure(&client, &args).await?;
    let mut config = Config::new(client.clone(), "istio-system", &mesh.trust_domain);
    config.xds_address = SocketAddr::from((HUB, 15012));
    config.monitoring_address = SocketAddr::from((HUB, 15014));
    config.webhook_address = SocketAddr::from((HUB, 0));
    config.register_webhooks = false;
    let monitoring = config.monitoring_address;
    let plane = ControlPlane::bind(config).await?;
    let plane = tokio::spawn(plane.run(std::future::pending()));
    let result = tokio::select! {
        _ = terminate.recv() => Ok(Vec::new()),
        _ = interrupt.recv() => Ok(Vec::new()),
        started = tokio::time::timeout(LIMIT, start(&client, &mesh, &args, monitoring)) => started.unwrap_or_else(|_| bail!("the sidecars did not come up in {} s: see */proxy.log", LIMIT.as_secs())),
    };
    let sidecars = match result {
        Ok(sidecars) => sidecars,
        Err(e) => {
            std::fs::write(args.out.join("failed"), format!("{e:#}\n"))?;
            return Err(e);
        }
    };
    if !sidecars.is_empty() {
        std::fs::write(args.out.join("up"), "")?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            ended = plane => bail!("the control plane ended: {ended:?}"),
        }
    }
    // Dropping a sidecar kills it: connections that a case left open are not waited for.
    drop(sidecars);
    api.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// What Kubernetes would hold.
async fn fill(client: &Client, mesh: &Mesh) -> Result<()> {
    let mut namespaces: Vec<&str> = mesh.services.iter().map(|s| s.namespace.as_str()).collect();
    namespaces.extend(mesh.workloads.values().map(|w| w.namespace.as_str()));
    namespaces.sort_unstable();
    namespaces.dedup();
    for name in namespaces {
        put(client, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await?;
    }
    for service in &mesh.services {
        put(client, service_object(service)).await?;
        for endpoint in &service.endpoints {
            let sa = endpoint.sa.as_deref().unwrap_or("default");
            pod(client, &service.namespace, &endpoint.ip, sa, &endpoint.labels, endpoint.sidecar).await?;
        }
        put(client, slice_object(service)).await?;
    }
    for workload in mesh.workloads.values() {
        pod(client, &workload.namespace, &workload.ip, &workload.sa, &workload.labels, true).await?;
    }
    Ok(())
}

fn service_object(service: &Service) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": service.name, "namespace": service.namespace},
        "spec": {
            "clusterIP": service.cluster_ip,
            "ports": [{"name": service.port_name, "port": service.port, "targetPort": service.target_port}],
        },
    })
}

fn slice_object(service: &Service) -> Value {
    let endpoint = |e: &Endpoint| {
        let target = json!({"kind": "Pod", "name": pod_name(&e.ip), "namespace": service.namespace});
        json!({"addresses": [e.ip], "conditions": {"ready": true}, "targetRef": target})
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{}-1", service.name), "namespace": service.namespace,
            "labels": {"kubernetes.io/service-name": service.name},
        },
        "endpoints": service.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": service.port_name, "port": service.target_port, "protocol": "TCP"}],
    })
}

fn pod_name(ip: &str) -> String {
    format!("pod-{}", ip.replace('.', "-"))
}

async fn pod(
    client: &Client,
    namespace: &str,
    ip: &str,
    sa: &str,
    labels: &BTreeMap<String, String>,
    sidecar: bool,
) -> Result<()> {
    put(
        client,
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": sa, "namespace": namespace}}),
    )
    .await?;
    let name = pod_name(ip);
    let mut labels = labels.clone();
    if sidecar {
        labels.insert("security.istio.io/tlsMode".to_owned(), "istio".to_owned());
    }
    put(
        client,
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"serviceAccountName": sa, "containers": [{"name": "app", "image": "app"}]},
        }),
    )
    .await?;
    let status = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": "True"}]},
    });
    let pods: Api<DynamicObject> = Api::namespaced_with(
        client.clone(),
        namespace,
        &ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod")),
    );
    pods.patch_status(&name, &PatchParams::apply("driver").force(), &Patch::Apply(&status)).await?;
    Ok(())
}

/// Mesh configuration and Istio resources. What the API server refuses is told in the log: the cases will show what it means.
async fn configure(client: &Client, args: &Args) -> Result<()> {
    let mut config: Value = serde_json::from_slice(&std::fs::read(&args.mesh_config)?)?;
    if let Some(config) = config.as_object_mut() {
        config.entry("accessLogFile").or_insert_with(|| "/dev/stdout".into());
    }
    put(
        client,
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"},
            "data": {"mesh": config.to_string()},
        }),
    )
    .await?;
    let text = std::fs::read_to_string(&args.resources)?;
    let (objects, problems) = varka_api::read(&args.resources.display().to_string(), &text);
    for problem in problems {
        eprintln!("not read: {problem}");
    }
    for object in objects {
        if let Err(e) = put(client, object.value).await {
            eprintln!("not applied: {e:#}");
        }
    }
    Ok(())
}

async fn put(client: &Client, object: Value) -> Result<()> {
    let text = |field: &str| object.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let (resource, capabilities) = pinned_kind(client, &GroupVersionKind::gvk(group, version, &kind)).await?;
    let namespace = Some(text("/metadata/namespace")).filter(|n| !n.is_empty()).unwrap_or_else(|| "default".to_owned());
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), &namespace, &resource),
    };
    api.patch(&name, &PatchParams::apply("driver").force(), &Patch::Apply(&object))
        .await
        .with_context(|| format!("{kind} {name}"))?;
    Ok(())
}

/// Starts the sidecars and waits until each is ready and has all that there is for it.
async fn start(client: &Client, mesh: &Mesh, args: &Args, monitoring: SocketAddr) -> Result<Vec<Child>> {
    let mut sidecars = Vec::new();
    for (name, workload) in &mesh.workloads {
        sidecars.push(sidecar(client, mesh, args, name, workload).await?);
    }
    for (name, workload) in &mesh.workloads {
        let readiness = SocketAddr::from((workload.ip.parse::<Ipv4Addr>()?, 15021));
        let ready = || async { get(readiness, "/healthz/ready").await.is_ok() };
        until(&mut sidecars, &format!("{name} is ready"), ready).await?;
    }
    let pods: Vec<_> = mesh.workloads.values().map(|w| pod_name(&w.ip)).collect();
    let synced = || async {
        let Ok(body) = get(monitoring, "/debug/syncz").await else { return false };
        let all: Vec<Synced> = serde_json::from_str(&body).unwrap_or_default();
        pods.iter().all(|pod| all.iter().any(|s| s.pod == *pod && s.synced))
    };
    until(&mut sidecars, "all are in sync", synced).await?;
    let all: Vec<Synced> = serde_json::from_str(&get(monitoring, "/debug/syncz").await?)?;
    for refused in all.iter().filter(|s| !s.nacks.is_empty()) {
        eprintln!("{} refused: {:?}", refused.pod, refused.nacks);
    }
    if let Some(certs) = &args.certs {
        issue(client, mesh, certs).await?;
    }
    Ok(sidecars)
}

/// Certificates as the sidecars have them, by the control plane's authority.
async fn issue(client: &Client, mesh: &Mesh, dir: &Path) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "istio-system");
    let data = secrets.get("istio-ca-secret").await?.data.unwrap_or_default();
    let text = |key: &str| data.get(key).and_then(|v| std::str::from_utf8(&v.0).ok()).unwrap_or_default();
    let authority = Authority::from_pem(text("ca-cert.pem"), text("ca-key.pem"))?;
    let rng = SystemRandom::new();
    for (name, workload) in &mesh.workloads {
        let id = SpiffeId::new(&mesh.trust_domain, &workload.namespace, &workload.sa)?;
        let key = WorkloadKey::generate(&rng)?;
        let csr = key.csr(&id)?;
        let issued = authority.sign_csr(&csr, &id, SystemTime::now(), CERTIFICATE_LIFE, &rng)?;
        std::fs::write(dir.join(format!("{name}.pem")), issued.chain.concat())?;
        std::fs::write(dir.join(format!("{name}.key")), key.to_pem().as_bytes())?;
    }
    Ok(())
}

async fn sidecar(client: &Client, mesh: &Mesh, args: &Args, name: &str, workload: &Workload) -> Result<Child> {
    let dir = args.out.join(name);
    std::fs::create_dir_all(&dir)?;
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777))?;
    let hosts = dir.join("hosts");
    std::fs::write(&hosts, format!("127.0.0.1 localhost\n{HUB} {DISCOVERY}\n"))?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &workload.namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec { audiences: vec!["istio-ca".to_owned()], ..TokenRequestSpec::default() },
        ..TokenRequest::default()
    };
    let answer = accounts.create_token_request(&workload.sa, &PostParams::default(), &request).await?;
    let token = dir.join("token");
    private(&token, &answer.status.context("no token was issued")?.token)?;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &workload.namespace);
    let published = |map: Option<&ConfigMap>| map.is_some();
    let map = kube::runtime::wait::await_condition(maps, "istio-ca-root-cert", published).await?;
    let root = map.and_then(|m| m.data).and_then(|mut d| d.remove("root-cert.pem")).context("no root certificate")?;
    let root_cert = dir.join("root-cert.pem");
    std::fs::write(&root_cert, root)?;
    let log = std::fs::File::create(dir.join("proxy.log"))?;
    let user = SIDECAR_USER.to_string();
    // The mount namespace of `ip netns exec` is its own, so the hosts file is this sidecar's alone.
    let line = format!(
        "mount --bind '{}' /etc/hosts && exec setpriv --reuid={user} --regid={user} --clear-groups --inh-caps +net_admin --ambient-caps +net_admin \"$@\"",
        hosts.display()
    );
    let labels: Vec<_> = workload.labels.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect();
    Command::new("ip")
        .args(["netns", "exec", &format!("ed-{name}"), "sh", "-c", &line, "sh"])
        .arg(&args.varka)
        .args(["proxy", "sidecar", "--domain", &format!("{}.svc.cluster.local", workload.namespace)])
        .env("POD_NAME", pod_name(&workload.ip))
        .env("POD_NAMESPACE", &workload.namespace)
        .env("INSTANCE_IP", &workload.ip)
        .env("SERVICE_ACCOUNT", &workload.sa)
        .env("TRUST_DOMAIN", &mesh.trust_domain)
        .env("DISCOVERY_ADDRESS", format!("{DISCOVERY}:15012"))
        .env("CA_ADDR", format!("{DISCOVERY}:15012"))
        .env("VARKA_TOKEN_FILE", &token)
        .env("VARKA_ROOT_CERT_FILE", &root_cert)
        .env("VARKA_ACCESS_LOG", dir.join("access.text"))
        .env("ISTIO_METAJSON_LABELS", Value::Object(labels.into_iter().collect()).to_string())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start the sidecar of {name}"))
}

/// A file that only the sidecars' user can read.
fn private(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    std::os::unix::fs::chown(path, Some(SIDECAR_USER), Some(SIDECAR_USER))?;
    Ok(())
}

/// Waits for a condition, as long as every sidecar runs.
async fn until<F: Future<Output = bool>>(sidecars: &mut [Child], what: &str, condition: impl Fn() -> F) -> Result<()> {
    while !condition().await {
        for sidecar in sidecars.iter_mut() {
            if let Some(status) = sidecar.try_wait()? {
                bail!("a sidecar ended ({status}) before {what}: see */proxy.log");
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Body of a page that answers 200.
async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
    anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
    Ok(body.to_owned())
}
