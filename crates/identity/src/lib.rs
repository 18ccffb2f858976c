//! SPIFFE identities, and the certificates that prove them.
//!
//! A workload makes a [`WorkloadKey`] and a certificate request; the [`Authority`] signs it for the identity that the *caller*
//! authenticated, whatever the request claims; a peer checks the chain against a [`TrustBundle`]; [`renewal`] says when to ask
//! again. Nothing here performs IO or reads a clock: time and randomness are parameters, so that every rule can be tested at
//! any hour. (The signature of ECDSA draws its nonce from the system inside the library; no other randomness is hidden.)
#![forbid(unsafe_code)]

mod authority;
mod bundle;
mod error;
mod facts;
mod key;
mod pem_blocks;
pub mod renewal;
mod revocation;
mod spiffe;

pub use authority::{
    Authority, AuthorityPem, IssuedCertificate, MAX_CSR_BYTES, MAX_WORKLOAD_VALIDITY, ServerCertificate,
};
pub use bundle::{Purpose, TrustBundle, VerifiedPeer};
pub use error::Error;
pub use facts::CertificateFacts;
pub use key::WorkloadKey;
pub use pem_blocks::certificates_from_pem;
pub use revocation::RevocationLists;
pub use ring::rand::{SecureRandom, SystemRandom};
pub use rustls_pki_types::CertificateDer;
pub use spiffe::SpiffeId;
