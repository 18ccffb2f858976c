//! TLS on both sides: contexts made from configuration, certificates that change under them, peers that are verified.
//!
//! A context is built once per configuration and refers to certificates and trust anchors by name, so a renewed
//! certificate is in use with the next handshake and no connection is dropped. Sessions are never resumed where a peer
//! certificate is verified: a resumed session skips verification, and would outlive a policy or a trust anchor.

mod client;
mod files;
mod secrets;
mod server;
mod verify;

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use varka_engine::facts::PeerIdentity;
use varka_engine::ir::TlsVersion;
use varka_identity::CertificateFacts;

pub(crate) use client::{ClientTls, NotSupplied};
pub use secrets::{CertificateView, SecretStore};
pub(crate) use server::ServerTls;
pub(crate) use varka_engine::transport::MESH_ROOTS;

/// SDS name of the workload's own certificate.
pub(crate) const WORKLOAD: &str = "default";

/// Why a context cannot be made from a resource.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The secret's PEM is unusable.
    #[error("secret {name}: {what}")]
    Secret {
        /// SDS name.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The library refuses the combination.
    #[error("TLS settings: {0}")]
    Settings(#[from] rustls::Error),
    /// The trust anchors are unusable.
    #[error("secret {name}: {source}")]
    Anchors {
        /// SDS name.
        name: String,
        /// Why.
        source: varka_identity::Error,
    },
}

/// ring's algorithms.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::LazyLock<Arc<CryptoProvider>> =
        std::sync::LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    Arc::clone(&PROVIDER)
}

/// Versions between two bounds.
fn versions(min: Option<TlsVersion>, max: Option<TlsVersion>) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
    static NEW: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
    static OLD: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
    match (min, max) {
        (Some(TlsVersion::V1_3), _) => &NEW,
        (_, Some(TlsVersion::V1_2)) => &OLD,
        _ => &BOTH,
    }
}

/// Who the peer is, from the first certificate that it showed.
pub(crate) fn peer_identity(connection: &rustls::CommonState) -> Option<PeerIdentity> {
    let leaf = connection.peer_certificates()?.first()?;
    let facts = CertificateFacts::from_der(leaf).ok()?;
    Some(PeerIdentity {
        uri_sans: facts.uris.iter().map(|u| u.as_str().into()).collect(),
        dns_sans: facts.dns_names.iter().map(|d| d.as_str().into()).collect(),
        subject: facts.subject.as_str().into(),
        sha256: facts.sha256.as_str().into(),
    })
}

/// First URI SAN of the certificate that the peer showed.
pub(crate) fn peer_uri(connection: &rustls::CommonState) -> Option<varka_engine::ir::Str> {
    let facts = CertificateFacts::from_der(connection.peer_certificates()?.first()?).ok()?;
    facts.uris.first().map(|uri| uri.as_str().into())
}

#[cfg(test)]
mod tests;
