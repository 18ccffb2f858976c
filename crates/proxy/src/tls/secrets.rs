//! Certificates and trust anchors by SDS name, replaced while connections run.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use varka_engine::ir::{Secret, SecretKind, Str};
use varka_identity::{CertificateFacts, TrustBundle};

use super::TlsError;

/// A certificate that can be shown.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// Chain and key.
    pub key: Arc<CertifiedKey>,
    /// Of the leaf.
    pub facts: CertificateFacts,
}

#[derive(Debug, Default, Clone)]
struct Contents {
    certificates: HashMap<Str, Arc<Certificate>>,
    anchors: HashMap<Str, Arc<TrustBundle>>,
}

/// All secrets of one proxy. Reading takes no lock.
#[derive(Debug)]
pub struct SecretStore {
    contents: ArcSwap<Contents>,
    changed: watch::Sender<u64>,
}

/// A certificate as the admin server shows it.
#[derive(Debug, Clone)]
pub struct CertificateView {
    /// SDS name.
    pub name: Str,
    /// Chain, leaf first; for trust anchors the anchors.
    pub chain: Vec<CertificateFacts>,
    /// Whether it is a set of trust anchors.
    pub is_anchor: bool,
}

impl Default for SecretStore {
    fn default() -> Self {
        Self { contents: ArcSwap::from_pointee(Contents::default()), changed: watch::channel(0).0 }
    }
}

impl SecretStore {
    /// Takes over a secret that was sent or read from a file.
    ///
    /// # Errors
    /// The PEM is unusable; what was there before stays.
    pub fn put(&self, secret: &Secret) -> Result<(), TlsError> {
        match &secret.kind {
            SecretKind::Certificate { chain, key } => {
                let fail = |what| TlsError::Secret { name: secret.name.to_string(), what };
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                    .map_err(|_| fail("its private key is not PEM of PKCS#8, SEC1 or PKCS#1"))?;
                let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|_| fail("its certificate chain is not PEM"))?;
                self.put_certificate(&secret.name, chain, key)
            }
            SecretKind::Validation { ca } => {
                let bundle = TrustBundle::from_pem(ca)
                    .map_err(|source| TlsError::Anchors { name: secret.name.to_string(), source })?;
                self.put_anchors(&secret.name, bundle);
                Ok(())
            }
        }
    }

    /// Takes over a chain (leaf first) and its key.
    ///
    /// # Errors
    /// They do not fit each other, or the chain is empty.
    pub fn put_certificate(
        &self,
        name: &Str,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<(), TlsError> {
        let fail = |what| TlsError::Secret { name: name.to_string(), what };
        let leaf = chain.first().ok_or_else(|| fail("it has no certificate"))?;
        let facts = CertificateFacts::from_der(leaf).map_err(|_| fail("its first certificate is not X.509"))?;
        let signer = rustls::crypto::ring::sign::any_supported_type(&key)
            .map_err(|_| fail("its private key is of a kind that is not supported"))?;
        let certified = CertifiedKey::new(chain, signer);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(fail("its private key does not belong to its certificate")),
        }
        let entry = Arc::new(Certificate { key: Arc::new(certified), facts });
        self.update(|c| {
            c.certificates.insert(Arc::clone(name), Arc::clone(&entry));
        });
        Ok(())
    }

    /// Takes over trust anchors.
    pub fn put_anchors(&self, name: &Str, bundle: TrustBundle) {
        let bundle = Arc::new(bundle);
        self.update(|c| {
            c.anchors.insert(Arc::clone(name), Arc::clone(&bundle));
        });
    }

    /// Forgets a secret.
    pub fn remove(&self, name: &str) {
        self.update(|c| {
            c.certificates.remove(name);
            c.anchors.remove(name);
        });
    }

    fn update(&self, change: impl Fn(&mut Contents)) {
        self.contents.rcu(|old| {
            let mut new = Contents::clone(old);
            change(&mut new);
            new
        });
        self.changed.send_modify(|n| *n += 1);
    }

    /// A certificate by name.
    pub(crate) fn certificate(&self, name: &str) -> Option<Arc<Certificate>> {
        self.contents.load().certificates.get(name).cloned()
    }

    /// Trust anchors by name.
    pub(crate) fn anchors(&self, name: &str) -> Option<Arc<TrustBundle>> {
        self.contents.load().anchors.get(name).cloned()
    }

    /// A counter that moves with every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The workload's own SPIFFE identity, once it has one.
    pub fn workload_uri(&self) -> Option<Str> {
        self.certificate(super::WORKLOAD)?.facts.uris.first().map(|u| u.as_str().into())
    }

    /// Everything that is there, without keys.
    pub fn view(&self) -> Vec<CertificateView> {
        let contents = self.contents.load();
        let facts = |chain: &[CertificateDer<'_>]| {
            chain.iter().filter_map(|der| CertificateFacts::from_der(der).ok()).collect::<Vec<_>>()
        };
        let mut all: Vec<CertificateView> = contents
            .certificates
            .iter()
            .map(|(name, c)| CertificateView { name: Arc::clone(name), chain: facts(&c.key.cert), is_anchor: false })
            .chain(contents.anchors.iter().map(|(name, a)| CertificateView {
                name: Arc::clone(name),
                chain: facts(a.roots()),
                is_anchor: true,
            }))
            .collect();
        all.sort_by(|a, b| (a.is_anchor, &a.name).cmp(&(b.is_anchor, &b.name)));
        all
    }

    /// The certificate to show for a server name among several: exact before wildcard before the first that exists.
    pub(super) fn choose(&self, names: &[Str], sni: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let contents = self.contents.load();
        let all = || names.iter().filter_map(|n| contents.certificates.get(n));
        let fits = |c: &Arc<Certificate>, name: &str| c.facts.dns_names.iter().any(|d| d.eq_ignore_ascii_case(name));
        let chosen = sni
            .filter(|_| names.len() > 1)
            .and_then(|sni| {
                let wildcard = sni.split_once('.').map(|(_, parent)| format!("*.{parent}"));
                all().find(|c| fits(c, sni)).or_else(|| all().find(|c| wildcard.as_deref().is_some_and(|w| fits(c, w))))
            })
            .or_else(|| all().next());
        chosen.map(|c| Arc::clone(&c.key))
    }
}
