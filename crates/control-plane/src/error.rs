//! What ends the control plane.

use std::net::SocketAddr;

/// A failure that [`crate::run`] cannot work around. Whatever can be tried again is, and is logged instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port that is needed is not to be had.
    #[error("cannot listen on {address} for {what}: {source}. Stop what uses it, or give another address")]
    Bind {
        /// What would be served there.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The API server refuses something without which nothing works.
    #[error("{what}: {source}")]
    Api {
        /// What was attempted.
        what: &'static str,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// The stored root certificate cannot be used. It is never replaced by itself: every workload trusts it.
    #[error(
        "Secret {namespace}/istio-ca-secret does not hold a usable root certificate: {source}. Restore it, or delete the \
         Secret to have a new root made (workloads then need new certificates and are unreachable in STRICT mode meanwhile)"
    )]
    Root {
        /// Where the Secret is.
        namespace: String,
        /// What is wrong with it.
        source: varka_identity::Error,
    },
    /// A certificate of the control plane's own cannot be made.
    #[error("cannot make the control plane's own certificate: {0}")]
    Certificate(#[from] varka_identity::Error),
    /// TLS cannot be set up.
    #[error("cannot set TLS up: {0}")]
    Tls(#[from] rustls::Error),
    /// Client certificates cannot be checked against the root.
    #[error("cannot check client certificates: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The gRPC server broke.
    #[error("the discovery server broke: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// A part of the control plane panicked: a defect.
    #[error("a part of the control plane broke (please report this): {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    pub(crate) fn api(what: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { what, source: Box::new(source) }
    }
}
