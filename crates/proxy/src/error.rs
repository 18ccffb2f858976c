//! What can end or prevent a proxy's run.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Errors of this crate, by what can be done about them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An environment variable or argument is missing or wrong: correct it.
    #[error("{name}: {problem}; the proxy does not start")]
    Bootstrap {
        /// Variable or argument.
        name: &'static str,
        /// What is wrong, and what is expected.
        problem: String,
    },
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration file is not what it should be.
    #[error("{}: {source}; it must be one serialized proxy configuration", path.display())]
    StaticConfig {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; is another proxy running here?")]
    Listen {
        /// Address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The Envoy that stands in our data plane's place cannot be run.
    #[error("{}: {problem}", program.display())]
    Engine {
        /// Its program.
        program: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A thread or runtime cannot be started.
    #[error("cannot start: {0}")]
    Start(#[source] std::io::Error),
    /// A secret of the configuration file is unusable.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// The control plane's address or trust anchors are unusable.
    #[error("control plane {address}: {problem}")]
    ControlPlane {
        /// `HOST:PORT`.
        address: String,
        /// What is wrong.
        problem: String,
    },
}
