//! Whom a mesh trusts, and whether a peer's chain proves an identity of it.

use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExpirationPolicy, KeyUsage, RevocationOptionsBuilder};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::pem_blocks::roots_from_pem;
use crate::{Error, RevocationLists, SpiffeId};

/// Root certificates, and what their issuers have taken back.
#[derive(Clone)]
pub struct TrustBundle {
    pem: String,
    roots: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
    revoked: Option<Arc<RevocationLists>>,
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
        let roots = roots_from_pem(text)?;
        let anchors = roots.iter().map(anchor).collect::<Result<Vec<_>, _>>().map_err(|_| Error::Material {
            what: "the trust bundle",
            reason: "one of its certificates cannot be a trust anchor",
        })?;
        Ok(Self { pem: text.to_owned(), roots, anchors, revoked: None })
    }

    /// A bundle that an operating system keeps: what in it cannot be a trust anchor is left out.
    ///
    /// # Errors
    /// [`Error::Material`] if nothing remains.
    pub fn from_system_pem(text: &str) -> Result<Self, Error> {
        let mut roots = roots_from_pem(text)?;
        roots.retain(|root| anchor(root).is_ok());
        let anchors: Vec<_> = roots.iter().filter_map(|root| anchor(root).ok()).collect();
        if anchors.is_empty() {
            return Err(Error::Material { what: "the trust bundle", reason: "none of it can be a trust anchor" });
        }
        Ok(Self { pem: text.to_owned(), roots, anchors, revoked: None })
    }

    /// The same, with what its issuers have taken back.
    #[must_use]
    pub fn with_revocation_lists(self, lists: RevocationLists) -> Self {
        Self { revoked: Some(Arc::new(lists)), ..self }
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

    /// Whether `chain` (leaf first) leads to this bundle at `now` for `purpose`, whatever its names. `revoked`: lists to ask in
    /// place of the bundle's own.
    ///
    /// # Errors
    /// [`Error::NoCertificate`], [`Error::Untrusted`].
    pub fn verify_chain(
        &self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
        purpose: Purpose,
        revoked: Option<&RevocationLists>,
    ) -> Result<(), Error> {
        let (first, intermediates) = chain.split_first().ok_or(Error::NoCertificate)?;
        let leaf = EndEntityCert::try_from(first).map_err(Error::Untrusted)?;
        let usage = match purpose {
            Purpose::Client => KeyUsage::client_auth(),
            Purpose::Server => KeyUsage::server_auth(),
        };
        let lists = revoked.or(self.revoked.as_deref()).map(RevocationLists::all);
        let revocation = lists.as_deref().and_then(|l| RevocationOptionsBuilder::new(l).ok());
        let revocation = revocation.map(|r| r.with_expiration_policy(ExpirationPolicy::Enforce).build());
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time = UnixTime::since_unix_epoch(since);
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        match leaf.verify_for_usage(algorithms, &self.anchors, intermediates, time, usage, revocation, None) {
            Ok(_) => Ok(()),
            // A server's own certificate as its trust anchor; who makes one with openssl makes it one of an authority.
            Err(webpki::Error::CaUsedAsEndEntity) if lists.is_none() && self.roots.iter().any(|root| root == first) => {
                itself(first, time, purpose)
            }
            Err(e) => Err(Error::Untrusted(e)),
        }
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
        self.verify_chain(chain, now, purpose, None)?;
        let leaf = chain.first().ok_or(Error::NoCertificate)?;
        let leaf = EndEntityCert::try_from(leaf).map_err(Error::Untrusted)?;
        let mut uris = leaf.valid_uri_names();
        match (uris.next(), uris.count()) {
            (Some(uri), 0) => Ok(VerifiedPeer { uri: uri.to_owned(), id: uri.parse().ok() }),
            (first, rest) => Err(Error::UriNames(usize::from(first.is_some()) + rest)),
        }
    }
}

fn anchor(root: &CertificateDer<'static>) -> Result<TrustAnchor<'static>, webpki::Error> {
    webpki::anchor_from_trusted_cert(root).map(|anchor| anchor.to_owned())
}

/// A certificate that is trusted for itself must still be in its time and for its purpose.
fn itself(leaf: &CertificateDer<'_>, now: UnixTime, purpose: Purpose) -> Result<(), Error> {
    let refuse = |why| Err(Error::Untrusted(why));
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return refuse(webpki::Error::BadDer) };
    let now = i64::try_from(now.as_secs()).ok().and_then(|secs| ASN1Time::from_timestamp(secs).ok());
    if !now.is_some_and(|now| certificate.validity().is_valid_at(now)) {
        return refuse(webpki::Error::InvalidCertValidity);
    }
    let Ok(usage) = certificate.extended_key_usage() else { return refuse(webpki::Error::BadDer) };
    let fits = usage.is_none_or(|extension| {
        let usage = extension.value;
        usage.any
            || match purpose {
                Purpose::Client => usage.client_auth,
                Purpose::Server => usage.server_auth,
            }
    });
    if fits {
        return Ok(());
    }
    Err(Error::Material { what: "the peer's certificate", reason: "its extended key usage is for another purpose" })
}

impl std::fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrustBundle").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
