//! Certificates and trust anchors by SDS name, replaced while connections run.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use varka_engine::ir::{Secret, SecretKind, Str};
use varka_identity::{CertificateFacts, RevocationLists, TrustBundle};

use super::TlsError;
use super::files::{self, Files};

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
    /// By the path of their file.
    revoked: HashMap<Str, Arc<RevocationLists>>,
}

/// All secrets of one proxy. Reading takes no lock.
#[derive(Debug)]
pub struct SecretStore {
    contents: ArcSwap<Contents>,
    changed: watch::Sender<u64>,
    files: Files,
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
        Self {
            contents: ArcSwap::from_pointee(Contents::default()),
            changed: watch::channel(0).0,
            files: Files::default(),
        }
    }
}

impl SecretStore {
    /// Takes over a secret that was sent. One that is in files is read now and whenever they change; as long as they cannot be
    /// read, connections that need it are refused.
    ///
    /// # Errors
    /// The PEM is unusable; what was there before stays.
    pub fn put(&self, secret: &Secret) -> Result<(), TlsError> {
        if let Some(wanted) = files::Wanted::of(secret) {
            self.files.want(self, wanted);
            return Ok(());
        }
        self.files.forget(&secret.name);
        match &secret.kind {
            SecretKind::Certificate { chain, key } => self.put_pem(&secret.name, chain, key),
            SecretKind::Validation { ca, crl } => {
                let fail = |source| TlsError::Anchors { name: secret.name.to_string(), source };
                let mut bundle = TrustBundle::from_pem(ca).map_err(fail)?;
                if let Some(lists) = crl {
                    bundle = bundle.with_revocation_lists(RevocationLists::from_pem(lists).map_err(fail)?);
                }
                self.put_anchors(&secret.name, bundle);
                Ok(())
            }
            SecretKind::CertificateFiles { .. } | SecretKind::ValidationFile { .. } => Ok(()),
        }
    }

    /// Takes over a chain (leaf first) and its key, in PEM.
    pub(super) fn put_pem(&self, name: &Str, chain: &str, key: &str) -> Result<(), TlsError> {
        let fail = |what| TlsError::Secret { name: name.to_string(), what };
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| fail("its private key is not PEM of PKCS#8, SEC1 or PKCS#1"))?;
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| fail("its certificate chain is not PEM"))?;
        self.put_certificate(name, chain, key)
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

    pub(super) fn put_revoked(&self, path: &Str, lists: RevocationLists) {
        let lists = Arc::new(lists);
        self.update(|c| {
            c.revoked.insert(Arc::clone(path), Arc::clone(&lists));
        });
    }

    /// Reads these files of revocation lists, now and whenever they change, and no others any more.
    pub(crate) fn want_revoked(&self, paths: &BTreeSet<Str>) {
        if self.contents.load().revoked.keys().any(|path| !paths.contains(path)) {
            self.update(|c| c.revoked.retain(|path, _| paths.contains(path)));
        }
        self.files.want_revoked(self, paths);
    }

    /// Reads files anew when they change, for as long as the proxy runs.
    pub(crate) async fn follow_files(&self) {
        self.files.follow(self).await;
    }

    /// Forgets a secret.
    pub fn remove(&self, name: &str) {
        self.files.forget(name);
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

    /// Revocation lists by the path of their file.
    pub(super) fn revoked(&self, path: &str) -> Option<Arc<RevocationLists>> {
        self.contents.load().revoked.get(path).cloned()
    }

    /// A counter that moves with every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The workload's own SPIFFE identity, once it has one.
    pub fn workload_uri(&self) -> Option<Str> {
        self.uri(super::WORKLOAD)
    }

    /// First URI SAN of a certificate.
    pub(crate) fn uri(&self, name: &str) -> Option<Str> {
        self.certificate(name)?.facts.uris.first().map(|u| u.as_str().into())
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
