//! Transport sockets: what certificate is shown, and whose is accepted.

use serde::{Deserialize, Serialize};

use super::{Str, StringMatch};

/// SDS name of the trust anchors of the proxy's own operating system.
pub const SYSTEM_ROOTS: &str = "file-root:system";

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
    /// Which of the trusted certificates are accepted at all; empty: all.
    pub pins: CertificatePins,
    /// File of revocation lists, for every certificate of the client's chain; `None`: none beyond those of `validation`.
    pub crl_file: Option<Str>,
    /// Protocols answered in ALPN, best first.
    pub alpn: Vec<Str>,
    /// Lowest version; `None`: 1.2.
    pub min_version: Option<TlsVersion>,
    /// Highest version; `None`: 1.3.
    pub max_version: Option<TlsVersion>,
    /// TLS 1.2 suites by OpenSSL name; empty: the defaults.
    pub cipher_suites: Vec<Str>,
}

impl DownstreamTls {
    /// SDS names that it refers to.
    pub fn secrets(&self) -> impl Iterator<Item = &Str> {
        self.certificates.iter().chain(&self.validation)
    }
}

impl UpstreamTls {
    /// SDS names that it refers to.
    pub fn secrets(&self) -> impl Iterator<Item = &Str> {
        self.certificate.iter().chain(&self.validation)
    }
}

/// Certificates that are accepted, by their hash or by that of their key; one match suffices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificatePins {
    /// `verify_certificate_spki`: SHA-256 of the public key info, base64.
    pub spki: Vec<Str>,
    /// `verify_certificate_hash`: SHA-256 of the certificate, hex, with or without colons.
    pub hashes: Vec<Str>,
}

impl CertificatePins {
    /// Nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.spki.is_empty() && self.hashes.is_empty()
    }
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
    /// File of revocation lists, for every certificate of the server's chain; `None`: none beyond those of `validation`.
    pub crl_file: Option<Str>,
    /// SNI to send; `None`: none, unless `auto_sni`.
    pub sni: Option<Str>,
    /// Send the request's Host as SNI. Of HTTP alone.
    pub auto_sni: bool,
    /// The certificate must be for the request's Host, beside what else is asked of its names. Of HTTP alone.
    pub auto_san: bool,
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
    /// The same in files of the proxy's, which reads them again when they change.
    CertificateFiles {
        /// PEM, leaf first.
        chain: Str,
        /// PEM.
        key: Str,
    },
    /// Trust anchors, PEM.
    Validation {
        /// One or more certificates.
        ca: String,
        /// Revocation lists of every issuer; `None`: nothing is revoked.
        crl: Option<String>,
    },
    /// Trust anchors in a file of the proxy's, which reads it again when it changes. For the secret
    /// [`SYSTEM_ROOTS`](super::SYSTEM_ROOTS) it is the first of the usual files that there is.
    ValidationFile {
        /// PEM.
        ca: Str,
    },
}

impl std::fmt::Debug for SecretKind {
    /// Never prints a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Certificate { chain, .. } => {
                f.debug_struct("Certificate").field("chain", chain).finish_non_exhaustive()
            }
            Self::CertificateFiles { chain, key } => {
                f.debug_struct("CertificateFiles").field("chain", chain).field("key", key).finish()
            }
            Self::Validation { ca, crl } => f.debug_struct("Validation").field("ca", ca).field("crl", crl).finish(),
            Self::ValidationFile { ca } => f.debug_struct("ValidationFile").field("ca", ca).finish(),
        }
    }
}
