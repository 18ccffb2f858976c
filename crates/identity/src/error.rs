//! What can go wrong with identities and certificates, sorted by what the caller can do about it.

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not of the form `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`.
    #[error(
        "\"{id}\" is not a workload identity ({reason}); expected spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT"
    )]
    SpiffeId {
        /// What was given, cut to a printable length.
        id: String,
        /// Which part is wrong.
        reason: &'static str,
    },
    /// A certificate request that cannot be signed; the fault is the requester's.
    #[error("the certificate request is refused: {0}")]
    Request(&'static str),
    /// A lifetime of zero, or one that the authority cannot grant because its own certificate ends before.
    #[error("no certificate can be issued: {0}")]
    Validity(&'static str),
    /// A name that cannot stand in a certificate.
    #[error("\"{0}\" is neither a DNS name nor an IP address, so no certificate can carry it")]
    ServerName(String),
    /// PEM text, a certificate or a key that does not parse, or parts that do not belong together.
    #[error("{what} cannot be used: {reason}")]
    Material {
        /// Which input.
        what: &'static str,
        /// Why not, and what it must be.
        reason: &'static str,
    },
    /// A peer's chain does not prove an identity of this mesh.
    #[error("the peer's certificate is not accepted: {0}")]
    Untrusted(#[source] webpki::Error),
    /// A peer's leaf certificate names no identity, or several.
    #[error("the peer's certificate has {0} URI names; a workload's has exactly one")]
    UriNames(usize),
    /// The peer sent no certificate.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// The random number generator or the signature primitive failed.
    #[error("the cryptographic library failed to {0}")]
    Crypto(&'static str),
}
