//! Certificates, trust anchors and revocation lists in files, read again when they change.
//!
//! A volume of a Secret is replaced by renaming a link, and a file may come long after whoever names it; so the files are looked
//! at now and then, which costs some system calls and only where files are named. What cannot be read leaves what was there
//! before in use; where there was nothing, connections are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use varka_engine::ir::{SYSTEM_ROOTS, Secret, SecretKind, Str};
use varka_identity::{RevocationLists, TrustBundle};
use zeroize::Zeroizing;

use super::{SecretStore, TlsError};

/// How often files are looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// A larger file is not read.
const MOST_BYTES: u64 = 4 * 1024 * 1024;
/// Where other systems than the one that was named keep their trust anchors.
const SYSTEM_FILES: [&str; 5] = [
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Files by what they are: the SDS name, or for revocation lists the path.
#[derive(Debug, Default)]
pub(super) struct Files {
    known: Mutex<BTreeMap<Key, Entry>>,
    added: Notify,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Secret(Str),
    Revoked(Str),
}

#[derive(Debug)]
struct Entry {
    wanted: Wanted,
    seen: Seen,
}

/// What tells that a file is another than before; `None`: it is not there.
type Seen = Vec<Option<(u64, u64, i64, i64, u64)>>;

/// What is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    Certificate { name: Str, chain: Str, key: Str },
    Anchors { name: Str, path: Str },
    Revoked { path: Str },
}

impl Wanted {
    /// The files of a secret, if it is in files.
    pub(super) fn of(secret: &Secret) -> Option<Self> {
        let name = secret.name.clone();
        match &secret.kind {
            SecretKind::CertificateFiles { chain, key } => {
                Some(Self::Certificate { name, chain: chain.clone(), key: key.clone() })
            }
            SecretKind::ValidationFile { ca } => Some(Self::Anchors { name, path: ca.clone() }),
            SecretKind::Certificate { .. } | SecretKind::Validation { .. } => None,
        }
    }

    fn key(&self) -> Key {
        match self {
            Self::Certificate { name, .. } | Self::Anchors { name, .. } => Key::Secret(name.clone()),
            Self::Revoked { path } => Key::Revoked(path.clone()),
        }
    }

    fn paths(&self) -> Vec<&str> {
        match self {
            Self::Certificate { chain, key, .. } => vec![chain, key],
            Self::Anchors { name, path } => vec![place(name, path)],
            Self::Revoked { path } => vec![path],
        }
    }

    fn seen(&self) -> Seen {
        let of = |path: &str| {
            let m = std::fs::metadata(path).ok()?;
            Some((m.dev(), m.ino(), m.mtime(), m.mtime_nsec(), m.size()))
        };
        self.paths().into_iter().map(of).collect()
    }

    fn load(&self, store: &SecretStore) -> Result<(), Failure> {
        match self {
            Self::Certificate { name, chain, key } => {
                Ok(store.put_pem(name, &read(chain)?, &Zeroizing::new(read(key)?))?)
            }
            Self::Anchors { name, path } => {
                let path = place(name, path);
                let text = read(path)?;
                let bundle = if **name == *SYSTEM_ROOTS {
                    TrustBundle::from_system_pem(&text)
                } else {
                    TrustBundle::from_pem(&text)
                };
                store.put_anchors(name, bundle.map_err(|source| Failure::Contents { path: path.to_owned(), source })?);
                Ok(())
            }
            Self::Revoked { path } => {
                let lists = RevocationLists::from_pem(&read(path)?);
                store.put_revoked(path, lists.map_err(|source| Failure::Contents { path: path.to_string(), source })?);
                Ok(())
            }
        }
    }
}

/// The system's anchors are where this system keeps them.
fn place<'a>(name: &str, path: &'a str) -> &'a str {
    if name != SYSTEM_ROOTS || std::path::Path::new(path).exists() {
        return path;
    }
    SYSTEM_FILES.into_iter().find(|p| std::path::Path::new(p).exists()).unwrap_or(path)
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{path} cannot be read: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{path} is no file, or has more than 4 MiB")]
    Size { path: String },
    #[error("{path}: {source}")]
    Contents { path: String, source: varka_identity::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

fn read(path: &str) -> Result<String, Failure> {
    let fail = |source| Failure::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(fail)?;
    if !size.is_file() || size.len() > MOST_BYTES {
        return Err(Failure::Size { path: path.to_owned() });
    }
    let mut text = String::new();
    File::open(path).map_err(fail)?.take(MOST_BYTES).read_to_string(&mut text).map_err(fail)?;
    Ok(text)
}

impl Files {
    /// Reads what is wanted, unless it is known already.
    pub(super) fn want(&self, store: &SecretStore, wanted: Wanted) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = wanted.key();
        if known.get(&key).is_some_and(|entry| entry.wanted == wanted) {
            return;
        }
        let seen = wanted.seen();
        load(store, &wanted);
        known.insert(key, Entry { wanted, seen });
        self.added.notify_one();
    }

    pub(super) fn want_revoked(&self, store: &SecretStore, paths: &BTreeSet<Str>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|key, _| !matches!(key, Key::Revoked(path) if !paths.contains(path)));
        drop(known);
        for path in paths {
            self.want(store, Wanted::Revoked { path: path.clone() });
        }
    }

    pub(super) fn forget(&self, name: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|key, _| !matches!(key, Key::Secret(own) if **own == *name));
    }

    /// Reads what has changed; whether there is anything to look at.
    pub(super) fn look(&self, store: &SecretStore) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in known.values_mut() {
            // Before reading: what changes meanwhile is read next time.
            let seen = entry.wanted.seen();
            if seen != entry.seen {
                entry.seen = seen;
                load(store, &entry.wanted);
            }
        }
        !known.is_empty()
    }

    pub(super) async fn follow(&self, store: &SecretStore) {
        loop {
            if self.look(store) {
                tokio::time::sleep(PERIOD).await;
            } else {
                self.added.notified().await;
            }
        }
    }
}

fn load(store: &SecretStore, wanted: &Wanted) {
    match wanted.load(store) {
        Ok(()) => tracing::debug!("read {}", wanted.paths().join(" and ")),
        Err(e) => tracing::warn!(
            "{e}; what was read before stays in use, without it connections that need it are refused; it is read again when it changes"
        ),
    }
}
