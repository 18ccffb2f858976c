//! Puts Varka behind a lab: API server and control plane on the node, and a sidecar in each of the pods that have one.
//!
//! The way of the configuration is the only one that there is: objects go into the API server, the control plane watches it,
//! sidecars ask the control plane.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use varka_apiserver::ApiServer;
use varka_control_plane::{Config, ControlPlane};
use varka_identity::{Authority, SpiffeId, SystemRandom, WorkloadKey};

use super::lab::{HUB, Lab, SIDECAR_USER};
use super::mesh::{Mesh, Workload, create, fill, pod_name, put};

/// Name in the control plane's certificate.
pub(crate) const DISCOVERY: &str = "istiod.istio-system.svc";
/// Of the certificates that are handed out.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(3600);
/// Guards against waiting for ever.
const LIMIT: Duration = Duration::from_secs(120);

/// What a mesh is started with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setting {
    /// The registry.
    pub mesh: Mesh,
    /// Further objects of its namespaces, such as many Services.
    pub objects: Vec<Value>,
    /// Istio resources, YAML.
    pub resources: String,
    /// Mesh configuration.
    pub mesh_config: Value,
    /// Where state and logs go.
    pub directory: PathBuf,
    /// The `varka` binary.
    pub varka: PathBuf,
    /// A real Envoy in our data plane's place.
    pub envoy: Option<PathBuf>,
    /// Further environment of sidecars.
    pub environment: Vec<(String, String)>,
    /// How long sidecars may take until they have everything, instead of [`LIMIT`].
    pub limit: Option<Duration>,
    /// One worker in our sidecars, as in Envoy: each has a load balancer of its own.
    pub single: bool,
}

/// A mesh that serves.
pub(crate) struct Running {
    sidecars: Vec<Child>,
    client: Client,
    trust_domain: String,
    /// What a proxy refused when it started.
    pub refused: Vec<String>,
}

/// One proxy in `/debug/syncz`.
#[derive(Debug, Deserialize)]
struct Synced {
    pod: String,
    synced: bool,
    nacks: Vec<Value>,
}

impl Setting {
    /// The access log of a sidecar.
    pub(crate) fn log(&self, sidecar: &str) -> PathBuf {
        self.directory.join(sidecar).join("access.text")
    }
}

/// Starts everything; returns when each sidecar is ready and has all that there is for it.
pub(crate) async fn start(lab: &Lab, setting: &Setting) -> Result<Running> {
    let shared = setting.clone();
    let (client, monitoring) = lab.hub.run(async move { control_plane(&shared).await }).await?;
    let trust_domain = setting.mesh.trust_domain.clone();
    let mut running = Running { sidecars: Vec::new(), client, trust_domain, refused: Vec::new() };
    for (name, workload) in &setting.mesh.workloads {
        let directory = setting.directory.join(name);
        let (client, workload_, directory_) = (running.client.clone(), workload.clone(), directory.clone());
        lab.hub.run(async move { credentials(&client, &workload_, &directory_).await }).await?;
        let command = command(setting, name, workload, &directory)?;
        let spawn = async move { spawn(command) };
        running.sidecars.push(lab.pod(name)?.run(spawn).await.with_context(|| format!("the sidecar of {name}"))?);
    }
    let ips: Vec<String> = setting.mesh.workloads.values().map(|w| w.ip.clone()).collect();
    let wait = lab.hub.run(async move { in_sync(&ips, monitoring).await });
    let limit = setting.limit.unwrap_or(LIMIT);
    tokio::select! {
        result = wait => running.refused = result?,
        () = one_ended(&mut running.sidecars) => bail!("a sidecar ended before it was in sync"),
        () = tokio::time::sleep(limit) => bail!("the sidecars are not in sync after {} s", limit.as_secs()),
    }
    Ok(running)
}

/// API server and control plane with all objects; where the control plane says who is in sync.
async fn control_plane(setting: &Setting) -> Result<(Client, SocketAddr)> {
    let api = ApiServer::open(varka_apiserver::Config {
        data_dir: setting.directory.join("api"),
        service_cidr: (Ipv4Addr::new(10, 96, 0, 0), 16),
        advertise: Vec::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
    .await?;
    let client = api.client("conformance");
    fill(&client, &setting.mesh).await?;
    for object in &setting.objects {
        create(&client, object.clone()).await?;
    }
    configure(&client, setting).await?;
    let mut config = Config::new(client.clone(), "istio-system", &setting.mesh.trust_domain);
    config.xds_address = SocketAddr::from((HUB, 15012));
    config.monitoring_address = SocketAddr::from((HUB, 15014));
    config.webhook_address = SocketAddr::from((HUB, 0));
    config.register_webhooks = false;
    let monitoring = config.monitoring_address;
    let plane = ControlPlane::bind(config).await?;
    tokio::spawn(async move {
        // It lasts as long as the lab.
        let _api = api;
        if let Err(e) = plane.run(std::future::pending()).await {
            eprintln!("the control plane ended: {e}");
        }
    });
    Ok((client, monitoring))
}

/// Mesh configuration and Istio resources. What the API server refuses is told: the cases will show what it means.
async fn configure(client: &Client, setting: &Setting) -> Result<()> {
    let mut config = setting.mesh_config.clone();
    if config.is_null() {
        config = json!({});
    }
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
    for object in as_recorded(&setting.resources)? {
        match put(client, object).await {
            Ok(()) => {}
            Err(e) if setting.single => return Err(e),
            Err(e) => eprintln!("{}: not applied: {e:#}", setting.directory.display()),
        }
    }
    Ok(())
}

/// The objects of a stream as the recording read them: `n` was a text and `off` was none, and a rule whose name is no text
/// got none.
fn as_recorded(stream: &str) -> Result<Vec<Value>> {
    let options = serde_saphyr::options! { strict_booleans: true };
    let mut objects: Vec<Value> = serde_saphyr::from_multiple_with_options(stream, options)?;
    objects.retain(Value::is_object);
    for object in &mut objects {
        for rule in object.pointer_mut("/spec/http").and_then(Value::as_array_mut).into_iter().flatten() {
            let is_text = |name: &str| !["on", "off", "yes", "no"].contains(&name.to_ascii_lowercase().as_str());
            if let Some(rule) = rule.as_object_mut()
                && rule.get("name").is_some_and(|name| !name.as_str().is_some_and(is_text))
            {
                rule.remove("name");
            }
        }
    }
    Ok(objects)
}

/// Until every sidecar is ready and has what the control plane has for it; what was refused.
async fn in_sync(ips: &[String], monitoring: SocketAddr) -> Result<Vec<String>> {
    for ip in ips {
        let readiness = SocketAddr::from((ip.parse::<Ipv4Addr>()?, 15021));
        while get(readiness, "/healthz/ready").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    loop {
        let body = get(monitoring, "/debug/syncz").await.unwrap_or_default();
        let all: Vec<Synced> = serde_json::from_str(&body).unwrap_or_default();
        let is_synced = |ip: &String| all.iter().any(|s| s.pod == pod_name(ip) && s.synced);
        if ips.iter().all(is_synced) {
            let refused = all.iter().filter(|s| !s.nacks.is_empty());
            let refused: Vec<_> = refused.map(|s| format!("{} refused: {:?}", s.pod, s.nacks)).collect();
            refused.iter().for_each(|line| eprintln!("{line}"));
            return Ok(refused);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn one_ended(sidecars: &mut [Child]) {
    loop {
        for sidecar in &mut *sidecars {
            if !matches!(sidecar.try_wait(), Ok(None)) {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A sidecar's token and what it verifies the control plane by.
async fn credentials(client: &Client, workload: &Workload, directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    // The sidecar's own user writes its access log here.
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o777))?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &workload.namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec { audiences: vec!["istio-ca".to_owned()], ..TokenRequestSpec::default() },
        ..TokenRequest::default()
    };
    let answer = accounts.create_token_request(&workload.sa, &PostParams::default(), &request).await?;
    let token = directory.join("token");
    std::fs::write(&token, &answer.status.context("no token was issued")?.token)?;
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600))?;
    std::os::unix::fs::chown(&token, Some(SIDECAR_USER), Some(SIDECAR_USER))?;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &workload.namespace);
    let published = |map: Option<&ConfigMap>| map.is_some();
    let map = kube::runtime::wait::await_condition(maps, "istio-ca-root-cert", published).await?;
    let root = map.and_then(|m| m.data).and_then(|mut d| d.remove("root-cert.pem")).context("no root certificate")?;
    std::fs::write(directory.join("root-cert.pem"), root)?;
    Ok(())
}

/// How a sidecar is started: as its own user, and dead when its namespace's thread is, so that none is left over.
fn command(setting: &Setting, name: &str, workload: &Workload, directory: &Path) -> Result<Command> {
    let user = SIDECAR_USER.to_string();
    let labels: Vec<_> = workload.labels.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect();
    let log = std::fs::File::create(directory.join("proxy.log"))?;
    let domain = format!("{}.svc.cluster.local", workload.namespace);
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &user, "--regid", &user, "--clear-groups", "--pdeathsig", "KILL"])
        .args(["--inh-caps", "+net_admin", "--ambient-caps", "+net_admin"])
        .arg(&setting.varka)
        .args(["proxy", if workload.gateway { "router" } else { "sidecar" }, "--domain", &domain]);
    if setting.single || setting.envoy.is_some() {
        // As it was recorded: each worker has a load balancer of its own.
        command.args(["--concurrency", "1"]);
    }
    if let Some(program) = &setting.envoy {
        command.args(["--engine", "envoy", "--envoy"]).arg(program);
    }
    command
        .env("POD_NAME", pod_name(&workload.ip))
        .env("POD_NAMESPACE", &workload.namespace)
        .env("INSTANCE_IP", &workload.ip)
        .env("SERVICE_ACCOUNT", &workload.sa)
        .env("TRUST_DOMAIN", &setting.mesh.trust_domain)
        .env("DISCOVERY_ADDRESS", format!("{DISCOVERY}:15012"))
        .env("CA_ADDR", format!("{DISCOVERY}:15012"))
        .env("VARKA_TOKEN_FILE", directory.join("token"))
        .env("VARKA_ROOT_CERT_FILE", directory.join("root-cert.pem"))
        // It is killed, and leaves what it keeps beside Envoy.
        .env("TMPDIR", directory)
        .env("VARKA_ACCESS_LOG", setting.log(name))
        .envs(setting.environment.iter().cloned())
        .env("ISTIO_METAJSON_LABELS", Value::Object(labels.into_iter().collect()).to_string())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true);
    Ok(command)
}

fn spawn(mut command: Command) -> Result<Child> {
    command.spawn().context("setpriv (util-linux) is needed")
}

impl Running {
    /// Process ids of the sidecars.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.sidecars.iter().filter_map(Child::id).collect()
    }

    /// Certificate chain and key of a workload, as its sidecar has them, by the control plane's authority.
    pub(crate) async fn identity(&self, workload: &Workload) -> Result<(String, String)> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "istio-system");
        let data = secrets.get("istio-ca-secret").await?.data.unwrap_or_default();
        let text = |key: &str| data.get(key).and_then(|v| std::str::from_utf8(&v.0).ok()).unwrap_or_default();
        let authority = Authority::from_pem(text("ca-cert.pem"), text("ca-key.pem"))?;
        let rng = SystemRandom::new();
        let id = SpiffeId::new(&self.trust_domain, &workload.namespace, &workload.sa)?;
        let key = WorkloadKey::generate(&rng)?;
        let issued = authority.sign_csr(&key.csr(&id)?, &id, SystemTime::now(), CERTIFICATE_LIFE, &rng)?;
        Ok((issued.chain.concat(), key.to_pem().as_str().to_owned()))
    }

    /// Applies objects; those that are refused are left out.
    pub(super) async fn apply(&self, lab: &Lab, objects: Vec<Value>) -> Result<()> {
        let client = self.client.clone();
        lab.hub
            .run(async move {
                for object in objects {
                    // A refused one has no route, on either side.
                    drop(put(&client, object).await);
                }
                Ok(())
            })
            .await
    }

    /// Kills the sidecars: connections that a case left open are not waited for.
    pub(crate) async fn stop(mut self) {
        for sidecar in &mut self.sidecars {
            let _ = sidecar.kill().await;
        }
    }
}

/// Body of a page that answers 200.
async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
    Ok(body.to_owned())
}
