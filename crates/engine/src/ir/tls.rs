//! Transport sockets: what certificate is shown, and whose is accepted.

use serde::{Deserialize, Serialize};

use super::{Str, StringMatch};

/// Lowest or highest protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// `envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DownstreamTls {
    /// SDS names of the certificates to choose from by SNI. `default`: the workload's own.
    pub certificates: Vec<Str>,
    /// SDS name of the trust anchors that a client certificate must chain to. `ROOTCA`: the mesh's. `None`: no client certificate is asked for.
    pub validation: Option<Str>,
    /// Whether a client must show a certificate.
    pub require_client_certificate: bool,
    /// SANs one of which the client's certificate must have; empty: any.
    pub subject_alt_names: Vec<StringMatch>,
    /// Protocols answered in ALPN, best first.
    pub alpn: Vec<Str>,
    /// Lowest version; `None`: 1.2.
    pub min_version: Option<TlsVersion>,
    /// Highest version; `None`: 1.3.
    pub max_version: Option<TlsVersion>,
    /// TLS 1.2 suites by OpenSSL name; empty: the defaults.
    pub cipher_suites: Vec<Str>,
}

/// `envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UpstreamTls {
    /// SDS name of the certificate to show. `default`: the workload's own. `None`: none.
    pub certificate: Option<Str>,
    /// SDS name of the trust anchors. `ROOTCA`: the mesh's. `None`: the server is not verified.
    pub validation: Option<Str>,
    /// SANs one of which the server's certificate must have; empty: any.
    pub subject_alt_names: Vec<StringMatch>,
    /// SNI to send; `None`: none, unless `auto_sni`.
    pub sni: Option<Str>,
    /// Send the request's Host as SNI and verify the certificate against it.
    pub auto_sni: bool,
    /// Protocols offered in ALPN. `HttpFilter::Alpn` overrides them for HTTP over the mesh.
    pub alpn: Vec<Str>,
    /// Lowest version; `None`: 1.2.
    pub min_version: Option<TlsVersion>,
    /// Highest version; `None`: 1.3.
    pub max_version: Option<TlsVersion>,
}

/// `envoy.extensions.transport_sockets.tls.v3.Secret`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Secret {
    /// SDS name, e.g. `kubernetes://blog-tls` or `default`.
    pub name: Str,
    /// What it holds.
    pub kind: SecretKind,
}

/// Contents of a [`Secret`].
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum SecretKind {
    /// A certificate chain and its key, both PEM.
    Certificate {
        /// Leaf first.
        chain: String,
        /// PKCS#8, SEC1 or PKCS#1.
        key: String,
    },
    /// Trust anchors, PEM.
    Validation {
        /// One or more certificates.
        ca: String,
    },
}

impl std::fmt::Debug for SecretKind {
    /// Never prints a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Certificate { chain, .. } => {
                f.debug_struct("Certificate").field("chain", chain).finish_non_exhaustive()
            }
            Self::Validation { ca } => f.debug_struct("Validation").field("ca", ca).finish(),
        }
    }
}
