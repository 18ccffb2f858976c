//! A Kubernetes API server for one machine: good enough that kubectl and kube-rs controllers cannot tell for what people do with it.
//!
//! Objects are JSON throughout. A kind is one row of a registry; one set of verbs serves all rows, and code for a single kind exists only for
//! defaulting, validation and printing. Pods are run by others ([`Node`]), meshes are configured by others: this crate stores,
//! validates, admits and tells. Not a goal: conformance, several nodes, aggregation, conversion webhooks.
//!
//! The way of a write: [`server`] authenticates and routes, [`verbs`] decode and find what changes, [`admission`] defaults, mutates and
//! validates, [`store`] orders and persists, and every watch sees the event.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

mod admission;
mod auth;
mod client;
mod discovery;
mod listen;
mod node;
mod object;
pub mod patch;
mod pki;
mod registry;
mod request;
pub mod requests;
mod respond;
pub mod schema;
mod selector;
mod server;
mod start;
mod status;
mod store;
mod stream;
mod table;
mod verbs;
mod wire;

pub use admission::webhook::{DialError, ServiceTarget, WebhookDialer};
pub use node::{Duplex, ExecOptions, ExecSession, LogOptions, Node, NodeError, PodRef};
pub use status::{Fault, FieldError};

/// How to open a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory of its state, made with mode 0700: the database, the authority, keys and tokens.
    pub data_dir: PathBuf,
    /// Addresses of Services: network and prefix length, such as 10.96.0.0/16.
    pub service_cidr: (Ipv4Addr, u8),
    /// Names and addresses for the serving certificate, besides localhost, 127.0.0.1, the Service's names and its address.
    pub advertise: Vec<String>,
    /// The product's version, told in `/version` after the Kubernetes version.
    pub version: String,
}

/// Why a server could not be opened or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the state directory could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database could not be opened; another server may have it open.
    #[error("the database {path} cannot be opened (is another server running on this state directory?): {source}", path = path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What the database said.
        source: Arc<redb::Error>,
    },
    /// A key file holds no key.
    #[error("{path} is not a P-256 private key; restore it, or remove it to have a new one made (issued tokens then stop working)", path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// The system's random numbers failed.
    #[error("no random numbers from the system")]
    Random,
    /// A certificate could not be made.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS refused the configuration.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The range of Service addresses is too small or no network.
    #[error("service range {0}/{1}: a network with a prefix length of 8 to 28 is needed")]
    ServiceRange(Ipv4Addr, u8),
    /// An object that the server needs could not be made.
    #[error("{object}: {message}")]
    Bootstrap {
        /// Its kind and name.
        object: String,
        /// What went wrong.
        message: String,
    },
}

/// The server. Cheap to clone; all clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<server::Inner>,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer").field("data_dir", &self.inner.config.data_dir).finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Opens the state directory and makes what is missing: authority, keys, namespaces `default`, `kube-system`, `kube-public` and
    /// `istio-system` with their default accounts, the Service `default/kubernetes`, and the definitions of Istio's and the Gateway API's kinds.
    pub async fn open(config: Config) -> Result<Self, Error> {
        start::open(config).await.map(|inner| Self { inner })
    }

    /// A client in this process, without socket or TLS, that acts as `user` and may do everything. Must be called in a tokio runtime.
    #[must_use]
    pub fn client(&self, user: &str) -> kube::Client {
        client::new(&self.inner, user)
    }

    /// Serves HTTPS (HTTP/1.1 and HTTP/2) on the listener until [`shutdown`](Self::shutdown). May be called for several listeners.
    pub async fn serve(&self, listener: tokio::net::TcpListener) -> Result<(), Error> {
        listen::serve(&self.inner, listener).await
    }

    /// The authority that signed the serving certificate, as PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.inner.pki.ca_pem
    }

    /// A kubeconfig for the administrator. `server` is a URL, such as `https://127.0.0.1:6443`. It holds a secret: write it with mode 0600.
    #[must_use]
    pub fn admin_kubeconfig(&self, server: &str) -> String {
        start::kubeconfig(&self.inner, server)
    }

    /// Sets who runs pods: the source of logs, exec, attach and port-forward. Until then these answer 503.
    pub fn set_node(&self, node: Arc<dyn Node>) {
        server::set(&self.inner.node, node);
    }

    /// Sets who connects to webhooks. By default a webhook's service is looked up in EndpointSlices and dialled by TCP.
    pub fn set_webhook_dialer(&self, dialer: Arc<dyn WebhookDialer>) {
        server::set(&self.inner.dialer, dialer);
    }

    /// Ends watches and connections, finishes queued writes, and closes the database.
    pub async fn shutdown(&self) {
        self.inner.stop.send_replace(true);
        self.inner.store.close().await;
    }
}
