//! What a proxy must know before it can ask for more, from the environment under Istio's names.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::Error;

/// Socket mark of a sidecar's own connections, which `proxy-init` exempts from interception.
const MARK: u32 = 1337;

/// Tells the proxy (environment) and by it the control plane (node metadata) whether outbound configuration is asked for.
const ON_DEMAND: &str = "ON_DEMAND";
/// How many traces the proxy may begin in a second, where sampling alone would begin more.
const TRACES_PER_SECOND: &str = "TRACES_PER_SECOND";

/// The pod's labels, mounted by injection.
const LABELS_FILE: &str = "/etc/istio/pod/labels";

/// Beside an application, or at the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `sidecar`: transparent in both directions.
    Sidecar,
    /// `router`: a gateway.
    Router,
}

impl Role {
    /// As it stands in the node id.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Router => "router",
        }
    }
}

/// What handles the traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Engine {
    /// This process.
    #[default]
    Varka,
    /// A real Envoy, this program, with the same control plane.
    Envoy(PathBuf),
}

/// What the command line adds to the environment.
#[derive(Debug, Clone)]
pub struct Args {
    /// Role.
    pub role: Role,
    /// `--domain`: `NAMESPACE.svc.cluster.local`; `None`: by POD_NAMESPACE.
    pub domain: Option<String>,
    /// `--config`: run from this file.
    pub config: Option<PathBuf>,
    /// `--concurrency`; `None`: at most two.
    pub concurrency: Option<usize>,
    /// `--free-ports`: the proxy's own servers take any free port.
    pub free_ports: bool,
    /// `--engine`.
    pub engine: Engine,
}

/// How a connection's original destination is found.
#[derive(Clone, Default)]
pub enum OriginalDst {
    /// Asked of the kernel (`SO_ORIGINAL_DST`).
    #[default]
    Netfilter,
    /// Said by a function of the peer's address, where no kernel redirects: embedding and tests.
    By(Arc<dyn Fn(SocketAddr) -> Option<SocketAddr> + Send + Sync>),
}

impl std::fmt::Debug for OriginalDst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Netfilter => "Netfilter",
            Self::By(_) => "By(..)",
        })
    }
}

/// Ports of the proxy's own servers; 0: any free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Admin, on loopback. Istio's 15000.
    pub admin: u16,
    /// Merged metrics and application probes. Istio's 15020.
    pub status: u16,
    /// Readiness. Istio's 15021.
    pub readiness: u16,
    /// The proxy's own metrics. Istio's 15090.
    pub metrics: u16,
}

impl Ports {
    /// Any free ones, so that several proxies run in one network namespace.
    pub const FREE: Self = Self { admin: 0, status: 0, readiness: 0, metrics: 0 };
}

impl Default for Ports {
    fn default() -> Self {
        Self { admin: 15000, status: 15020, readiness: 15021, metrics: 15090 }
    }
}

/// One application probe that the kubelet asks of us in the application's stead (`ISTIO_KUBE_APP_PROBERS`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Prober {
    /// An HTTP probe.
    pub http_get: Option<HttpGet>,
    /// A TCP probe.
    pub tcp_socket: Option<TcpSocketProbe>,
    /// A gRPC health probe.
    pub grpc: Option<GrpcProbe>,
    /// Seconds; 0: 1.
    pub timeout_seconds: u64,
}

/// `HTTPGetAction`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpGet {
    /// Path with query.
    pub path: String,
    /// Port of the application, as number.
    pub port: u16,
    /// `HTTP` or `HTTPS` (not verified, as the kubelet does not).
    pub scheme: String,
    /// Host header; empty: the pod's address.
    pub host: String,
    /// Further headers.
    pub http_headers: Vec<HttpHeader>,
}

/// A header of an HTTP probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HttpHeader {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// `TCPSocketAction`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TcpSocketProbe {
    /// Port of the application.
    pub port: u16,
}

/// `GRPCAction`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GrpcProbe {
    /// Port of the application.
    pub port: u16,
    /// Service of the health check; may be empty.
    pub service: Option<String>,
}

/// Everything that a proxy is started with.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// Role.
    pub role: Role,
    /// What handles the traffic.
    pub engine: Engine,
    /// `POD_NAME`.
    pub pod_name: String,
    /// `POD_NAMESPACE`.
    pub namespace: String,
    /// `INSTANCE_IP`.
    pub ip: IpAddr,
    /// `SERVICE_ACCOUNT`.
    pub service_account: String,
    /// `TRUST_DOMAIN`, default `cluster.local`.
    pub trust_domain: String,
    /// DNS domain of the node id.
    pub domain: String,
    /// `ISTIO_META_CLUSTER_ID`, default `Kubernetes`.
    pub cluster_id: String,
    /// Node metadata: `ISTIO_META_*`, `NAMESPACE`, `LABELS` and the like.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// `PROXY_CONFIG.discoveryAddress`.
    pub discovery_address: String,
    /// `CA_ADDR`, default the discovery address.
    pub ca_address: String,
    /// Bearer token towards the control plane, read anew for each use.
    pub token_path: PathBuf,
    /// PEM that the control plane's certificate must chain to.
    pub root_cert_path: PathBuf,
    /// Our own servers.
    pub ports: Ports,
    /// Probes by path (`/app-health/was/readyz`).
    pub app_probers: BTreeMap<String, Prober>,
    /// Where the application's own metrics are, if they are to be merged (`ISTIO_PROMETHEUS_ANNOTATIONS`).
    pub app_metrics: Option<AppMetrics>,
    /// Worker threads.
    pub concurrency: usize,
    /// Run from this file instead of a control plane.
    pub static_config: Option<PathBuf>,
    /// Socket mark of our own connections, which interception leaves alone.
    pub mark: Option<u32>,
    /// Every access log goes to this file instead of where the configuration says.
    pub access_log: Option<PathBuf>,
    /// How long connections may finish after SIGTERM.
    pub drain: Duration,
    /// After SIGTERM wait until no connection is active (`EXIT_ON_ZERO_ACTIVE_CONNECTIONS`), and at least `MINIMUM_DRAIN_DURATION`.
    pub exit_on_zero: bool,
    /// `MINIMUM_DRAIN_DURATION`.
    pub minimum_drain: Duration,
    /// Traces that it may begin in a second (`TRACES_PER_SECOND`); `None`: as many as are sampled.
    pub traces_per_second: Option<u32>,
    /// Where connections were meant to go.
    pub original_dst: OriginalDst,
}

/// `ISTIO_PROMETHEUS_ANNOTATIONS`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AppMetrics {
    /// `true`.
    pub scrape: String,
    /// Path, default `/metrics`.
    pub path: String,
    /// Port.
    pub port: String,
}

impl Default for AppMetrics {
    fn default() -> Self {
        Self { scrape: String::new(), path: "/metrics".to_owned(), port: "80".to_owned() }
    }
}

/// The part of `PROXY_CONFIG` (meshConfig.defaultConfig as JSON) that a running proxy needs.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ProxyConfig {
    discovery_address: Option<String>,
    concurrency: Option<usize>,
    termination_drain_duration: Option<String>,
}

impl Bootstrap {
    /// From the process's environment.
    ///
    /// # Errors
    /// A variable is missing or wrong.
    pub fn from_env(args: Args) -> Result<Self, Error> {
        Self::from_vars(args, &|name| std::env::var(name).ok().filter(|v| !v.is_empty()), std::env::vars())
    }

    /// From any environment. `all` lists every variable, for `ISTIO_META_*`.
    ///
    /// # Errors
    /// A variable is missing or wrong.
    pub fn from_vars(
        args: Args,
        var: &dyn Fn(&str) -> Option<String>,
        all: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let config: ProxyConfig = json("PROXY_CONFIG", var("PROXY_CONFIG"))?.unwrap_or_default();
        let or = |name: &str, default: &str| var(name).unwrap_or_else(|| default.to_owned());
        let namespace = or("POD_NAMESPACE", "default");
        let discovery_address = var("DISCOVERY_ADDRESS")
            .or(config.discovery_address)
            .unwrap_or_else(|| "istiod.istio-system.svc:15012".to_owned());
        let ip = match var("INSTANCE_IP") {
            Some(text) => parse::<IpAddr>("INSTANCE_IP", &text, "an IP address")?,
            None => Ipv4Addr::LOCALHOST.into(),
        };
        let mark = var("VARKA_MARK").map(|m| parse("VARKA_MARK", &m, "a number")).transpose()?;
        let mark = mark.or((args.role == Role::Sidecar).then_some(MARK));
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let concurrency = args.concurrency.or(config.concurrency).filter(|n| *n > 0).unwrap_or(2).min(processors);
        let drain = match config.termination_drain_duration {
            Some(text) => duration("PROXY_CONFIG.terminationDrainDuration", &text)?,
            None => Duration::from_secs(5),
        };
        let minimum_drain = match var("MINIMUM_DRAIN_DURATION") {
            Some(text) => duration("MINIMUM_DRAIN_DURATION", &text)?,
            None => Duration::from_secs(5),
        };
        let traces_per_second = var(TRACES_PER_SECOND)
            .map(|n| parse::<NonZeroU32>(TRACES_PER_SECOND, &n, "a number above 0"))
            .transpose()?;
        let mut metadata = metadata(all, var, &namespace)?;
        let on_demand = asks(&args, var, &metadata)?;
        metadata.insert(ON_DEMAND.to_owned(), on_demand.to_string().into());
        let app_metrics = json::<AppMetrics>("ISTIO_PROMETHEUS_ANNOTATIONS", var("ISTIO_PROMETHEUS_ANNOTATIONS"))?;
        Ok(Self {
            role: args.role,
            engine: args.engine,
            pod_name: or("POD_NAME", "unknown"),
            ip,
            service_account: or("SERVICE_ACCOUNT", "default"),
            trust_domain: or("TRUST_DOMAIN", "cluster.local"),
            domain: args.domain.unwrap_or_else(|| format!("{namespace}.svc.cluster.local")),
            cluster_id: or("ISTIO_META_CLUSTER_ID", "Kubernetes"),
            metadata,
            ca_address: var("CA_ADDR").unwrap_or_else(|| discovery_address.clone()),
            discovery_address,
            namespace,
            token_path: or("VARKA_TOKEN_FILE", "/var/run/secrets/tokens/istio-token").into(),
            root_cert_path: or("VARKA_ROOT_CERT_FILE", "/var/run/secrets/istio/root-cert.pem").into(),
            ports: if args.free_ports { Ports::FREE } else { Ports::default() },
            app_probers: json("ISTIO_KUBE_APP_PROBERS", var("ISTIO_KUBE_APP_PROBERS"))?.unwrap_or_default(),
            app_metrics: app_metrics.filter(|m| m.scrape == "true"),
            concurrency,
            static_config: args.config,
            mark,
            access_log: var("VARKA_ACCESS_LOG").map(PathBuf::from),
            drain,
            exit_on_zero: var("EXIT_ON_ZERO_ACTIVE_CONNECTIONS").is_some_and(|v| v == "true"),
            minimum_drain,
            traces_per_second: traces_per_second.map(NonZeroU32::get),
            original_dst: OriginalDst::Netfilter,
        })
    }

    /// Whether outbound configuration is asked for when it is needed, and not pushed: as the node's metadata tells the control
    /// plane, too.
    pub fn on_demand(&self) -> bool {
        self.metadata.get(ON_DEMAND).and_then(serde_json::Value::as_str) == Some("true")
    }

    /// Network of its addresses; empty: the default one.
    pub(crate) fn network(&self) -> &str {
        self.metadata.get("NETWORK").and_then(serde_json::Value::as_str).unwrap_or_default()
    }

    /// `sidecar~10.0.0.1~web-1.blog-system~blog-system.svc.cluster.local`.
    pub fn node_id(&self) -> String {
        format!("{}~{}~{}.{}~{}", self.role.as_str(), self.ip, self.pod_name, self.namespace, self.domain)
    }
}

/// Whether a proxy asks for outbound configuration: every sidecar of ours does, unless `ON_DEMAND` is `false` (`proxyMetadata`).
///
/// A gateway does not: what Gateways declare for it is all that it is there for, its first request may come as soon as it is
/// ready, and there are few of them. An Envoy cannot, and a file is all that there is.
fn asks(
    args: &Args,
    var: &dyn Fn(&str) -> Option<String>,
    metadata: &serde_json::Map<String, serde_json::Value>,
) -> Result<bool, Error> {
    let said = var(ON_DEMAND).or_else(|| metadata.get(ON_DEMAND)?.as_str().map(str::to_owned));
    let wanted = match said {
        None => true,
        Some(text) => parse(ON_DEMAND, &text, "true or false")?,
    };
    Ok(wanted && args.role == Role::Sidecar && args.engine == Engine::Varka && args.config.is_none())
}

fn metadata(
    all: impl Iterator<Item = (String, String)>,
    var: &dyn Fn(&str) -> Option<String>,
    namespace: &str,
) -> Result<serde_json::Map<String, serde_json::Value>, Error> {
    use serde_json::Value;
    let mut out = serde_json::Map::new();
    for (name, value) in all {
        if let Some(key) = name.strip_prefix("ISTIO_META_") {
            out.insert(key.to_owned(), Value::String(value));
        } else if let Some(key) = name.strip_prefix("ISTIO_METAJSON_") {
            let parsed: Value = json("ISTIO_METAJSON_*", Some(value))?.unwrap_or_default();
            out.insert(key.to_owned(), parsed);
        }
    }
    if !out.contains_key("LABELS")
        && let Ok(text) = std::fs::read_to_string(LABELS_FILE)
    {
        out.insert("LABELS".to_owned(), labels(&text));
    }
    out.insert("NAMESPACE".to_owned(), Value::String(namespace.to_owned()));
    let strings = [("NAME", "POD_NAME"), ("SERVICE_ACCOUNT", "SERVICE_ACCOUNT"), ("INSTANCE_IPS", "INSTANCE_IP")];
    for (key, name) in strings {
        if let Some(value) = var(name) {
            out.insert(key.to_owned(), Value::String(value));
        }
    }
    Ok(out)
}

/// `app="was"`, a line each, as the downward API writes them.
fn labels(text: &str) -> serde_json::Value {
    let line = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let value = serde_json::from_str::<String>(value).unwrap_or_else(|_| value.to_owned());
        Some((name.to_owned(), value.into()))
    };
    serde_json::Value::Object(text.lines().filter_map(line).collect())
}

fn json<T: serde::de::DeserializeOwned>(name: &'static str, value: Option<String>) -> Result<Option<T>, Error> {
    value
        .map(|text| {
            serde_json::from_str(&text)
                .map_err(|e| Error::Bootstrap { name, problem: format!("it is not the JSON that is expected: {e}") })
        })
        .transpose()
}

fn parse<T: std::str::FromStr>(name: &'static str, text: &str, want: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::Bootstrap { name, problem: format!("{text:?} is not {want}") })
}

/// `5s`, `1m`, `100ms`.
fn duration(name: &'static str, text: &str) -> Result<Duration, Error> {
    let bad = || Error::Bootstrap { name, problem: format!("{text:?} is not a duration such as 5s") };
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(bad()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| bad())
}

#[cfg(test)]
mod tests;
