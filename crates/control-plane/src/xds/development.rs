//! Development certificates: for an ingress host whose Secret does not exist, one of the mesh's own authority.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tracing::warn;
use varka_engine::ir::{Secret, SecretKind, Str};
use varka_identity::{Authority, SystemRandom, renewal};

/// What a Secret's name begins with to be made here; the host follows.
pub(crate) const PREFIX: &str = "local-ca://";
/// Life of such a certificate.
const VALIDITY: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Hosts that certificates are kept for; beyond, one is made for each who asks.
const MAX_HOSTS: usize = 1024;

/// Makes certificates and keeps them, so that every proxy shows the same one for a host.
pub(crate) struct Development {
    authority: Arc<Authority>,
    made: Mutex<HashMap<Str, (Arc<Secret>, SystemTime)>>,
}

impl Development {
    pub(crate) fn new(authority: Arc<Authority>) -> Self {
        Self { authority, made: Mutex::default() }
    }

    /// The certificate for the host in `name`, and when to ask again; `None` if there can be none for it.
    pub(crate) fn secret(&self, name: &Str, now: SystemTime) -> Option<(Arc<Secret>, SystemTime)> {
        let host = name.strip_prefix(PREFIX)?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((secret, renew_at)) = made.get(name).filter(|(_, renew_at)| *renew_at > now) {
            return Some((Arc::clone(secret), *renew_at));
        }
        let issued = self.authority.issue_server_certificate(&[host], now, VALIDITY, &SystemRandom::new());
        let issued = issued.inspect_err(|error| warn!(host, %error, "no development certificate")).ok()?;
        let kind = SecretKind::Certificate { chain: issued.chain_pem, key: issued.key.to_pem().to_string() };
        let secret = Arc::new(Secret { name: Str::clone(name), kind });
        let renew_at = renewal::renew_at(&issued.facts, 0.0);
        if made.len() < MAX_HOSTS || made.contains_key(name) {
            made.insert(Str::clone(name), (Arc::clone(&secret), renew_at));
        }
        Some((secret, renew_at))
    }
}

#[cfg(test)]
mod tests {
    use varka_identity::{CertificateFacts, certificates_from_pem};

    use super::*;

    #[test]
    fn one_certificate_for_a_host_until_half_its_life() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
        let authority = Arc::new(Authority::generate("cluster.local", now, &SystemRandom::new()).unwrap());
        let development = Development::new(authority);
        let name: Str = "local-ca://blog.example.com".into();
        let (first, renew_at) = development.secret(&name, now).unwrap();
        let SecretKind::Certificate { chain, .. } = &first.kind else { panic!("not a certificate") };
        let facts = CertificateFacts::from_der(&certificates_from_pem(chain).unwrap()[0]).unwrap();
        assert_eq!(facts.dns_names, ["blog.example.com"]);
        assert_eq!(development.secret(&name, now + Duration::from_secs(60)).unwrap().0, first);
        assert_ne!(development.secret(&name, renew_at).unwrap().0, first);
        assert!(development.secret(&"local-ca://not a host".into(), now).is_none());
        assert!(development.secret(&"kubernetes://a/b".into(), now).is_none());
    }
}
