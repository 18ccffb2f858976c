//! The local pod runtime: pods as Linux namespaces on one machine, without Docker, without images, without root.
//!
//! It is a node as Kubernetes knows one, and speaks the Kubernetes API only: it takes pods from the API server, runs their containers as processes in
//! namespaces of their own, mounts their volumes, asks their probes, and writes their status, events and logs. It also has the parts of the node's
//! neighbours that one machine needs: binding pods (the scheduler), service addresses (kube-proxy), cluster DNS, and volumes of a built-in class.
//!
//! The way of a pod: [`pods`] follows the API server and has a task for each; [`pod`] makes its network ([`network`]) and volumes ([`volumes`]) and
//! starts its containers in order; each container is started through [`container`], whose other side is [`init`], process 1 of the container.
//! All of it lives in namespaces that [`sandbox`] has made, and ends with them.
//!
//! It does not pull or unpack images ([`image`] says what a name stands for), does not account for resources, and knows nothing of meshes.
#![forbid(unsafe_code)]

mod base;
mod claims;
mod cluster;
mod container;
mod dns;
mod egress;
mod events;
mod exec;
pub mod image;
pub mod init;
pub mod input;
mod logs;
mod network;
mod node;
mod pod;
mod pods;
mod quantity;
pub mod sandbox;
mod services;
mod streams;
mod volumes;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use kube::Client;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

pub use exec::StreamError;
pub use logs::LogOptions;
pub use streams::{ExecOptions, ExecSession};

use base::Base;
use cluster::Cluster;
use events::Recorder;
use network::Addresses;
use node::{Node, Tokens};
use pods::Pods;
use sandbox::{HostAgent, Unavailable};

/// An IPv4 network: an address and the length of its prefix.
pub type Network = (Ipv4Addr, u8);

/// How the runtime is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where pods' files, logs and persistent volumes are; made with mode 0700.
    pub state_dir: PathBuf,
    /// This program's file: process 1 of every container, and what the image `varka` stands for.
    pub self_exe: PathBuf,
    /// Addresses of pods; [`sandbox::GATEWAY`] is the node's own among them.
    pub pod_cidr: Network,
    /// Addresses of Services. The last but one stands for the host's loopback.
    pub service_cidr: Network,
    /// The address of cluster DNS, one of the services'.
    pub dns_ip: Ipv4Addr,
    /// The node's name.
    pub node_name: String,
    /// The way to the host's network.
    pub agent: HostAgent,
}

impl Config {
    /// The address inside that stands for the host's loopback (`host.varka.internal`): the last usable one of the services' network.
    #[must_use]
    pub fn host_ip(&self) -> Ipv4Addr {
        let (network, prefix) = self.service_cidr;
        let hosts = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        Ipv4Addr::from((u32::from(network) | hosts).saturating_sub(1))
    }
}

/// Why the runtime could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refuses namespaces.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// An address of the host cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// [`sandbox::enter`] was called when the process had threads already.
    #[error("namespaces must be entered before any thread is started")]
    Threads,
    /// The host agent could not be set up.
    #[error("host agent: {0}")]
    Host(#[source] std::io::Error),
    /// The state directory or what is mounted in it cannot be used.
    #[error("{path}: {source}", path = path.display())]
    State {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The base namespace's network cannot be set up.
    #[error("network of the node: {0}")]
    Network(#[from] varka_sys::NetlinkError),
    /// A service of the node cannot listen on its own address.
    #[error("{service} of the node: {source}")]
    Service {
        /// Which one.
        service: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The node's object cannot be written.
    #[error("registering the node: {0}")]
    Register(#[source] Box<kube::Error>),
}

/// The running pod runtime. Cheap to clone; all clones are the same runtime.
#[derive(Debug, Clone)]
pub struct Kubelet {
    node: Arc<Node>,
    pods: Arc<Pods>,
    tasks: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Kubelet {
    /// Starts the runtime: registers the node, and runs the API server's pods from here on. The process must have [entered](sandbox::enter) the
    /// sandbox.
    ///
    /// # Errors
    /// When the state directory, the node's network or its services cannot be set up, or the API server refuses the node.
    pub async fn start(mut config: Config, client: Client) -> Result<Self, Error> {
        let state = |path: &std::path::Path| {
            let path = path.to_path_buf();
            move |source| Error::State { path, source }
        };
        make_private(&config.state_dir).map_err(state(&config.state_dir))?;
        config.state_dir = config.state_dir.canonicalize().map_err(state(&config.state_dir))?;
        config.self_exe = config.self_exe.canonicalize().map_err(state(&config.self_exe))?;
        prepare_network(&config)?;
        let run = config.state_dir.join("run");
        let place = run.clone();
        let base = tokio::task::spawn_blocking(move || Base::prepare(&place));
        let cluster = Cluster::start(&client);
        let (base, cluster) = tokio::join!(base, cluster);
        let base = base.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(state(&run))?;
        let service = |service| move |source| Error::Service { service, source };
        let sockets = dns::listen(config.dns_ip).await.map_err(service("cluster DNS"))?;
        let relay = egress::listen().await.map_err(service("the relay to the outside"))?;
        let node = Arc::new(Node {
            events: Recorder::start(client.clone(), config.node_name.clone()),
            addresses: Addresses::new(config.pod_cidr.0, config.pod_cidr.1),
            tokens: Tokens::default(),
            single_identity: single_identity(),
            config,
            client,
            cluster,
            base,
        });
        let registered = async {
            node::register(&node).await?;
            pods::none_is_ready(&node).await
        };
        registered.await.map_err(|error| Error::Register(Box::new(error)))?;
        let pods = Arc::new(Pods::default());
        let tasks = [
            tokio::spawn(dns::run(Arc::clone(&node), sockets)).abort_handle(),
            tokio::spawn(egress::run(Arc::clone(&node), relay)).abort_handle(),
            tokio::spawn(services::run(Arc::clone(&node))).abort_handle(),
            tokio::spawn(claims::run(Arc::clone(&node))).abort_handle(),
            tokio::spawn(Arc::clone(&pods).follow(Arc::clone(&node))).abort_handle(),
        ];
        Ok(Self { node, pods, tasks: Arc::new(Mutex::new(tasks.into())) })
    }

    /// Ends every pod, its application first and its sidecars last, within `grace`, and then the node's services. The pods' objects stay, so that the
    /// next start runs them again.
    pub async fn stop(&self, grace: Duration) {
        self.pods.stop(grace).await;
        node::unregister(&self.node).await;
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
        self.node.cluster.stop();
    }

    fn find(&self, namespace: &str, pod: &str, uid: Option<&str>) -> Result<Arc<pod::Context>, StreamError> {
        let missing = || StreamError::NotFound(format!("pod {namespace}/{pod} does not run on this node"));
        self.pods.find(namespace, pod, uid).ok_or_else(missing)
    }

    /// The log of a container; of the pod's first container when `container` is empty. With `uid`, only of that incarnation of the pod.
    ///
    /// # Errors
    /// When there is no such container or no such log.
    pub async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        uid: Option<&str>,
        container: &str,
        options: LogOptions,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>, StreamError> {
        let context = self.find(namespace, pod, uid)?;
        exec::read_log(&context, container, options).map(|lines| Box::pin(lines) as BoxStream<'static, _>)
    }

    /// Starts a command in a container.
    ///
    /// # Errors
    /// When the container does not run, or the command cannot be started in it.
    pub async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        uid: Option<&str>,
        container: &str,
        options: ExecOptions,
    ) -> Result<ExecSession, StreamError> {
        let context = self.find(namespace, pod, uid)?;
        exec::exec(&context, container, options).await
    }

    /// Joins the streams of a container's own program.
    ///
    /// # Errors
    /// When the container does not run, or its input is taken.
    pub async fn attach(
        &self,
        namespace: &str,
        pod: &str,
        uid: Option<&str>,
        container: &str,
        options: ExecOptions,
    ) -> Result<ExecSession, StreamError> {
        let context = self.find(namespace, pod, uid)?;
        exec::attach(&context, container, &options)
    }

    /// Connects to a port on the pod's loopback address.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn port_forward(
        &self,
        namespace: &str,
        pod: &str,
        uid: Option<&str>,
        port: u16,
    ) -> Result<TcpStream, StreamError> {
        let context = self.find(namespace, pod, uid)?;
        exec::port_forward(&context, port).await
    }
}

fn make_private(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

/// The addresses and routes of the base namespace that depend on the configuration.
fn prepare_network(config: &Config) -> Result<(), Error> {
    let links = varka_sys::link::Links::open()?;
    let bridge = varka_sys::link::index_of(sandbox::BRIDGE)?;
    links.add_address(bridge, config.dns_ip, 32)?;
    // Only so that the base's own processes find a way to service addresses; the rules take them from there.
    links.add_route(bridge, config.service_cidr.0, config.service_cidr.1, varka_sys::link::Via::Link)?;
    Ok(())
}

/// Whether the user namespace holds one identity only.
fn single_identity() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut lines =
        map.lines().map(|line| line.split_whitespace().next_back().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0));
    lines.next() == Some(1) && lines.next().is_none()
}
