//! Whom a mesh trusts, and whether a peer's chain proves an identity of it.

use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyUsage};

use crate::{Error, SpiffeId, certificates_from_pem};

/// The root certificates of a mesh.
#[derive(Clone)]
pub struct TrustBundle {
    pem: String,
    roots: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
}

/// In which role the peer shows its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The peer connected to us.
    Client,
    /// We connected to the peer.
    Server,
}

/// Who a peer is, proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPeer {
    /// The one URI name of the leaf, as it stands there.
    pub uri: String,
    /// The same as an identity; `None` if the URI is not of Istio's form.
    pub id: Option<SpiffeId>,
}

impl TrustBundle {
    /// A bundle from one or more PEM certificates.
    ///
    /// # Errors
    /// [`Error::Material`] if there is none or one of them cannot be a trust anchor.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let roots = certificates_from_pem(text)?;
        let anchor = |root| webpki::anchor_from_trusted_cert(root).map(|anchor| anchor.to_owned());
        let anchors = roots.iter().map(anchor).collect::<Result<Vec<_>, _>>().map_err(|_| Error::Material {
            what: "the trust bundle",
            reason: "one of its certificates cannot be a trust anchor",
        })?;
        Ok(Self { pem: text.to_owned(), roots, anchors })
    }

    /// The text it was made from.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The root certificates.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The same for a TLS stack's root store.
    pub fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// Whether `chain` (leaf first) leads to this bundle at `now` for `purpose`, whatever its names.
    ///
    /// # Errors
    /// [`Error::NoCertificate`], [`Error::Untrusted`].
    pub fn verify_chain(&self, chain: &[CertificateDer<'_>], now: SystemTime, purpose: Purpose) -> Result<(), Error> {
        let (leaf, intermediates) = chain.split_first().ok_or(Error::NoCertificate)?;
        let leaf = EndEntityCert::try_from(leaf).map_err(Error::Untrusted)?;
        let usage = match purpose {
            Purpose::Client => KeyUsage::client_auth(),
            Purpose::Server => KeyUsage::server_auth(),
        };
        self.verify_leaf(&leaf, intermediates, now, usage)
    }

    /// Who the peer that showed `chain` is.
    ///
    /// # Errors
    /// As [`Self::verify_chain`], and [`Error::UriNames`] unless the leaf has exactly one URI name (X509-SVID 2).
    pub fn verify_peer(
        &self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
        purpose: Purpose,
    ) -> Result<VerifiedPeer, Error> {
        self.verify_chain(chain, now, purpose)?;
        let leaf = chain.first().ok_or(Error::NoCertificate)?;
        let leaf = EndEntityCert::try_from(leaf).map_err(Error::Untrusted)?;
        let mut uris = leaf.valid_uri_names();
        match (uris.next(), uris.count()) {
            (Some(uri), 0) => Ok(VerifiedPeer { uri: uri.to_owned(), id: uri.parse().ok() }),
            (first, rest) => Err(Error::UriNames(usize::from(first.is_some()) + rest)),
        }
    }

    fn verify_leaf(
        &self,
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        now: SystemTime,
        usage: impl ExtendedKeyUsageValidator,
    ) -> Result<(), Error> {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time = UnixTime::since_unix_epoch(since);
        leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &self.anchors, intermediates, time, usage, None, None)
            .map(|_| ())
            .map_err(Error::Untrusted)
    }
}

impl std::fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrustBundle").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
