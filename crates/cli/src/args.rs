//! Arguments of every subcommand. The help texts here are the reference of the command line.

mod asking;

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::console_client::Reach;
pub(crate) use asking::{Graph, GraphOutput, Logs, Metrics, Order, Seen, Top, Trace};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// A service mesh that speaks Istio's API, in one binary.
#[derive(Debug, Parser)]
#[command(name = "varka", version, about, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the manifests of a directory on this machine, each pod in a network namespace of its own, until Ctrl-C.
    Up(Up),
    /// Stop what `varka up` runs.
    Down(Down),
    /// Show pods, sidecars, their configuration version and whether they are in sync.
    Status(Status),
    /// Say why a request goes the way it goes: every proxy on its way, what each decides, and which object said so.
    Explain(Explain),
    /// Run a command (or an interactive shell) where kubectl, the public hosts and their certificates just work.
    Shell(Shell),
    /// Show who talks to whom, how much, and how well it goes.
    Graph(Graph),
    /// Show what has the most traffic, errors or latency, as it changes.
    Top(Top),
    /// Show the way of a request, with what was asked of databases.
    Trace(Trace),
    /// Show the lines of a workload and of its sidecars in one order.
    Logs(Logs),
    /// Ask a question in PromQL.
    Metrics(Metrics),
    /// The data plane: a sidecar or a gateway. Runs in pods.
    Proxy(Proxy),
    /// Redirect a pod's traffic to its sidecar. Runs in pods, once, before the sidecar.
    ProxyInit(ProxyInit),
    /// The control plane: configuration, certificates and injection. Runs in a pod.
    ControlPlane(ControlPlane),
    /// Open the console in a browser, and change things in it as oneself.
    Dashboard(Dashboard),
    /// Metrics, traces and the graph of the mesh: what keeps them and answers for them. Runs in a pod.
    Console(Console),
}

/// `varka up`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Up {
    /// Directory of manifests: what its kustomization.yaml lists under `resources`, or else every *.yaml in it.
    pub(crate) dir: PathBuf,
    /// Return once everything is Ready, and leave it running.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Where the cluster's objects, certificates, logs and volumes are kept [default: $XDG_STATE_HOME/varka/NAME of the directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Address of the Kubernetes API on this host.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6443")]
    pub(crate) api: SocketAddr,
    /// Address of the ingress on this host, HTTPS.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    pub(crate) https: SocketAddr,
    /// Address of the ingress on this host, HTTP.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) http: SocketAddr,
    /// Give up waiting for pods to be Ready after so many seconds; what runs keeps running.
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    pub(crate) ready_timeout: u64,
}

/// Which running system a command means.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Instance {
    /// Its state directory [default: the one that is running].
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// `varka down`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Down {
    #[command(flatten)]
    pub(crate) instance: Instance,
    /// Remove the state directory too: every object, certificate and volume.
    #[arg(long)]
    pub(crate) purge: bool,
}

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `varka status`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) instance: Instance,
    /// Form of the answer.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// `varka explain`.
#[derive(Debug, Clone, ClapArgs)]
#[command(
    after_help = "Nothing is sent: the objects of the cluster are read, what they mean for the proxies is compiled, and the functions that \
the proxies decide with decide here. Exit status 1: the request does not get where it was to go.\n\nExample:\n  \
varka explain --from deploy/web.blog-system GET http://was-service:8080/api/posts -H 'Host: blog.example'"
)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) instance: Instance,
    /// Who asks: deploy/WORKLOAD.NAMESPACE. Of a gateway: the request comes to it from outside.
    #[arg(long, value_name = "WORKLOAD")]
    pub(crate) from: String,
    /// Method.
    pub(crate) method: String,
    /// Address that is asked for. Its host is looked up as the workload would look it up.
    pub(crate) url: String,
    /// A header, NAME: VALUE. Host stands in place of that of the address.
    #[arg(long = "header", short = 'H', value_name = "HEADER")]
    pub(crate) headers: Vec<String>,
    /// Form of the answer.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    /// Name of the cluster, as the proxies know it.
    #[arg(long, default_value = "Kubernetes")]
    pub(crate) cluster: String,
    /// Domain of the cluster's names.
    #[arg(long, default_value = "cluster.local")]
    pub(crate) domain: String,
}

/// `varka shell`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Shell {
    #[command(flatten)]
    pub(crate) instance: Instance,
    /// The command and its arguments; none: an interactive shell.
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

/// `varka dashboard`.
#[derive(Debug, Clone, ClapArgs)]
#[command(
    after_help = "The console in the cluster is reached through the Kubernetes API, as with `kubectl port-forward`; what is changed in it is changed \
from here with the credentials of the kubeconfig. The address that is printed lets one browser in, once."
)]
pub(crate) struct Dashboard {
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// Port on this host; 0: any that is free.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// Print the address and open no browser.
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// Change nothing.
    #[arg(long)]
    pub(crate) read_only: bool,
}

/// Who is let in to the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccessMode {
    /// Whoever reaches it may look at everything; only changing needs a token.
    Anonymous,
    /// Who shows a token that the Kubernetes API knows, for the namespaces that it may get.
    Token,
    /// Who signs in at an identity provider that the Kubernetes API trusts, likewise.
    Oidc,
}

/// `varka console`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Console {
    /// Directory of the store.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Address on which to listen. Whoever reaches it may send spans.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(crate) listen: std::net::IpAddr,
    /// Nothing older than so many hours is kept.
    #[arg(long, value_name = "HOURS", default_value_t = 168)]
    pub(crate) keep_hours: u32,
    /// Megabytes that the store may take: a twentieth, at most 64, for what pods were, and of the rest two fifths for metrics, two for traces, one for log lines.
    #[arg(long, value_name = "MB", default_value_t = 1280)]
    pub(crate) keep_megabytes: u32,
    /// Name of the cluster, as the proxies know it.
    #[arg(long, default_value = "Kubernetes")]
    pub(crate) cluster: String,
    /// Domain of the cluster's names.
    #[arg(long, default_value = "cluster.local")]
    pub(crate) domain: String,
    /// Ask this Prometheus instead of keeping metrics: nothing is scraped then.
    #[arg(long, value_name = "URL")]
    pub(crate) prometheus: Option<String>,
    /// Ask this Jaeger instead of keeping traces: no spans are taken then.
    #[arg(long, value_name = "URL", conflicts_with = "tempo")]
    pub(crate) jaeger: Option<String>,
    /// Ask this Tempo instead of keeping traces: no spans are taken then.
    #[arg(long, value_name = "URL")]
    pub(crate) tempo: Option<String>,
    /// Who is let in [default: anonymous where it listens on this machine alone, else token].
    #[arg(long, value_enum)]
    pub(crate) access: Option<AccessMode>,
    /// A name under which people reach it, besides localhost, addresses and the names of its Services; as often as there are names.
    /// Where nobody has to sign in, others are refused (421), so that no page of another site can read the console.
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Vec<String>,
    /// Change nothing, whoever asks.
    #[arg(long)]
    pub(crate) read_only: bool,
    #[command(flatten)]
    pub(crate) oidc: Oidc,
}

/// Of `--access oidc`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Oidc {
    /// Identity provider.
    #[arg(long, value_name = "URL", env = "VARKA_OIDC_ISSUER", required_if_eq("access", "oidc"))]
    pub(crate) oidc_issuer: Option<String>,
    /// What the provider calls the console.
    #[arg(long, value_name = "ID", env = "VARKA_OIDC_CLIENT_ID", required_if_eq("access", "oidc"))]
    pub(crate) oidc_client_id: Option<String>,
    /// File with the secret that the provider knows the console by [default: a public client, which has none].
    #[arg(long, value_name = "FILE", env = "VARKA_OIDC_CLIENT_SECRET_FILE")]
    pub(crate) oidc_client_secret_file: Option<PathBuf>,
    /// What is asked for besides openid.
    #[arg(long, value_name = "SCOPES", env = "VARKA_OIDC_SCOPES", default_value = "email groups")]
    pub(crate) oidc_scopes: String,
    /// URL of the console in browsers; the provider sends them back to URL/console/api/login/oidc/callback.
    #[arg(long, value_name = "URL", env = "VARKA_PUBLIC_URL", required_if_eq("access", "oidc"))]
    pub(crate) public_url: Option<String>,
}

/// Role of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Beside an application.
    Sidecar,
    /// At the edge.
    Router,
}

/// What handles the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// Varka's own data plane.
    Varka,
    /// A real Envoy, which Varka starts, certifies and answers for; interception must know it by its user.
    Envoy,
}

/// `varka proxy`. The rest comes from the environment, under Istio's names.
#[derive(Debug, Clone, ClapArgs)]
#[command(
    after_help = "A sidecar asks the control plane for what its traffic needs, when it needs it. With ON_DEMAND=false in its \
environment (proxyMetadata: {ON_DEMAND: \"false\"}) everything that its workload may reach is pushed to it instead. With \
TRACES_PER_SECOND=N, likewise, no more than N traces begin in it each second (ten seconds' worth at once); without, sampling alone decides."
)]
pub(crate) struct Proxy {
    /// Role.
    #[arg(value_enum, default_value_t = Role::Sidecar)]
    pub(crate) role: Role,
    /// DNS domain of the workload, `NAMESPACE.svc.cluster.local`.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) domain: Option<String>,
    /// Run from this file of configuration (JSON) instead of a control plane.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Worker threads [default: at most two, never more than the processors].
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<usize>,
    /// Let the kernel choose the ports of the admin, status, readiness and metrics servers, so that several proxies run side by side.
    #[arg(long)]
    pub(crate) free_ports: bool,
    /// What handles the traffic.
    #[arg(long, value_enum, default_value_t = Engine::Varka)]
    pub(crate) engine: Engine,
    /// The program of `--engine envoy`.
    #[arg(long, value_name = "FILE", default_value = "envoy")]
    pub(crate) envoy: PathBuf,
}

/// `varka proxy-init`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ProxyInit {
    /// Port of the sidecar's outbound listener.
    #[arg(long, default_value_t = 15001)]
    pub(crate) outbound_port: u16,
    /// Port of the sidecar's inbound listener.
    #[arg(long, default_value_t = 15006)]
    pub(crate) inbound_port: u16,
    /// Socket mark of the sidecar's own connections, which are left alone.
    #[arg(long, default_value_t = 1337)]
    pub(crate) mark: u32,
    /// User of the sidecar, whose connections are left alone.
    #[arg(long)]
    pub(crate) uid: Option<u32>,
    /// Inbound ports to redirect; `*`: all.
    #[arg(long, default_value = "*", value_name = "PORTS")]
    pub(crate) include_inbound_ports: String,
    /// Inbound ports to leave alone.
    #[arg(long, default_value = "", value_name = "PORTS")]
    pub(crate) exclude_inbound_ports: String,
    /// Outbound ports to redirect whatever the address.
    #[arg(long, default_value = "", value_name = "PORTS")]
    pub(crate) include_outbound_ports: String,
    /// Outbound ports to leave alone.
    #[arg(long, default_value = "", value_name = "PORTS")]
    pub(crate) exclude_outbound_ports: String,
    /// Outbound address ranges to redirect; `*`: all.
    #[arg(long, default_value = "*", value_name = "CIDRS")]
    pub(crate) include_outbound_cidrs: String,
    /// Outbound address ranges to leave alone.
    #[arg(long, default_value = "", value_name = "CIDRS")]
    pub(crate) exclude_outbound_cidrs: String,
}

/// `varka control-plane`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ControlPlane {
    /// Root namespace.
    #[arg(long, default_value = "istio-system")]
    pub(crate) root_namespace: String,
    /// Trust domain of workload identities.
    #[arg(long, default_value = "cluster.local")]
    pub(crate) trust_domain: String,
    /// Type of the Services that are made for Gateways of the Gateway API.
    #[arg(long, value_name = "TYPE", default_value = "LoadBalancer")]
    pub(crate) gateway_service_type: String,
}
