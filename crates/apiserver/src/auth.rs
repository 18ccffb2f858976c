//! Who is asking: the administrator's token, service account tokens (ES256 JWTs as Kubernetes issues them), and callers in this process.
//!
//! There is no anonymous access. What a user may do is decided in [`access`].

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::object::{self, str_at};
use crate::pki;
use crate::store::{Key, Store};

pub(crate) mod access;
pub(crate) mod rbac;
pub(crate) mod reviews;

/// Who issues service account tokens.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A caller.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    /// Namespace and name, if it is a service account.
    pub(crate) account: Option<(String, String)>,
    /// The pod that the token is bound to: name and UID.
    pub(crate) pod: Option<(String, String)>,
}

impl User {
    /// A user who may do everything.
    pub(crate) fn master(name: &str) -> Self {
        let groups = vec!["system:masters".to_owned(), "system:authenticated".to_owned()];
        Self { name: name.to_owned(), uid: String::new(), groups, account: None, pod: None }
    }

    fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            uid: uid.to_owned(),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ],
            account: Some((namespace.to_owned(), name.to_owned())),
            pod: None,
        }
    }

    /// A user of that name; a service account if the name is one's.
    pub(crate) fn named(name: &str, groups: Vec<String>) -> Self {
        let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
        let account = account.map(|(namespace, account)| (namespace.to_owned(), account.to_owned()));
        Self { name: name.to_owned(), uid: String::new(), groups, account, pod: None }
    }

    pub(crate) fn is_master(&self) -> bool {
        self.groups.iter().any(|g| g == "system:masters")
    }

    /// The user as a `UserInfo`.
    pub(crate) fn info(&self) -> Value {
        let mut info = json!({"username": self.name, "groups": self.groups});
        if !self.uid.is_empty() {
            object::set(&mut info, "uid", json!(self.uid));
        }
        if let Some((name, uid)) = &self.pod {
            let extra =
                json!({"authentication.kubernetes.io/pod-name": [name], "authentication.kubernetes.io/pod-uid": [uid]});
            object::set(&mut info, "extra", extra);
        }
        info
    }
}

/// What a token is issued for.
pub(crate) struct Grant<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) account: &'a str,
    pub(crate) account_uid: &'a str,
    pub(crate) audiences: &'a [String],
    /// Kind, name and UID of the object that the token dies with.
    pub(crate) bound: Option<(&'a str, &'a str, &'a str)>,
    pub(crate) seconds: i64,
}

/// The keys that tokens are made and checked with.
pub(crate) struct Tokens {
    key: EcdsaKeyPair,
    key_id: String,
    random: SystemRandom,
    admin: String,
}

impl Tokens {
    /// Loads or makes the signing key and the administrator's token.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let key_path = dir.join("service-account.key");
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        if !key_path.exists() {
            let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| Error::Random)?;
            pki::write_private(&key_path, pem::encode(&pem::Pem::new("PRIVATE KEY", document.as_ref())).as_bytes())?;
        }
        let parsed = pem::parse(pki::read(&key_path)?).map_err(|_| Error::Key { path: key_path.clone() })?;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, parsed.contents(), &random)
            .map_err(|_| Error::Key { path: key_path.clone() })?;
        let key_id = URL_SAFE_NO_PAD.encode(Sha256::digest(key.public_key().as_ref()));
        let admin_path = dir.join("admin.token");
        if !admin_path.exists() {
            let mut secret = [0u8; 32];
            ring::rand::SecureRandom::fill(&random, &mut secret).map_err(|_| Error::Random)?;
            pki::write_private(&admin_path, URL_SAFE_NO_PAD.encode(secret).as_bytes())?;
        }
        let admin = pki::read(&admin_path)?.trim().to_owned();
        Ok(Self { key, key_id, random, admin })
    }

    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    /// Makes a token; answers it with the time it expires.
    pub(crate) fn issue(&self, grant: &Grant<'_>, now: Timestamp) -> Result<(String, Timestamp), Error> {
        let issued = now.as_second();
        let expires = issued.saturating_add(grant.seconds);
        let mut bound =
            json!({"namespace": grant.namespace, "serviceaccount": {"name": grant.account, "uid": grant.account_uid}});
        if let Some((kind, name, uid)) = grant.bound {
            object::set(&mut bound, &kind.to_lowercase(), json!({"name": name, "uid": uid}));
        }
        let claims = json!({
            "aud": grant.audiences, "exp": expires, "iat": issued, "iss": ISSUER, "jti": uuid::Uuid::new_v4().to_string(),
            "kubernetes.io": bound, "nbf": issued, "sub": format!("system:serviceaccount:{}:{}", grant.namespace, grant.account),
        });
        let header = json!({"alg": "ES256", "kid": self.key_id, "typ": "JWT"});
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.key.sign(&self.random, signed.as_bytes()).map_err(|_| Error::Random)?;
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()));
        Ok((token, Timestamp::from_second(expires).unwrap_or(Timestamp::MAX)))
    }

    /// The user that a token stands for, and the audiences asked for that it is meant for. `None` if it is no good.
    pub(crate) fn check(
        &self,
        token: &str,
        audiences: &[String],
        store: &Store,
        now: Timestamp,
    ) -> Option<(User, Vec<String>)> {
        // Digests of equal length are compared, so that the time taken says nothing about the secret.
        if Sha256::digest(token) == Sha256::digest(&self.admin) {
            return Some((User::master("kubernetes-admin"), audiences.to_vec()));
        }
        let claims = self.claims(token)?;
        if claims.get("exp")?.as_i64()? <= now.as_second() || str_at(&claims, &["iss"]) != ISSUER {
            return None;
        }
        let meant = object::list_at(&claims, &["aud"]);
        let good: Vec<String> = audiences.iter().filter(|a| meant.iter().any(|m| m == a.as_str())).cloned().collect();
        if good.is_empty() {
            return None;
        }
        Some((user_of(&claims, store)?, good))
    }

    fn claims(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        if str_at(&header, &["alg"]) != "ES256" {
            return None;
        }
        let public =
            signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

/// The user that claims stand for, if its account and the object that the token is bound to still exist.
fn user_of(claims: &Value, store: &Store) -> Option<User> {
    let bound = claims.get("kubernetes.io")?;
    let namespace = str_at(bound, &["namespace"]);
    let (account, uid) = (str_at(bound, &["serviceaccount", "name"]), str_at(bound, &["serviceaccount", "uid"]));
    live(store, "serviceaccounts", namespace, account, uid)?;
    let mut user = User::service_account(namespace, account, uid);
    for (member, resource) in [("pod", "pods"), ("secret", "secrets")] {
        let Some(object) = bound.get(member) else { continue };
        let (name, uid) = (str_at(object, &["name"]), str_at(object, &["uid"]));
        live(store, resource, namespace, name, uid)?;
        if member == "pod" {
            user.pod = Some((name.to_owned(), uid.to_owned()));
        }
    }
    Some(user)
}

fn live(store: &Store, resource: &str, namespace: &str, name: &str, uid: &str) -> Option<Arc<crate::store::Object>> {
    let object = store.get(&Key::new(resource, namespace, name))?;
    (object::uid(&object.value) == uid).then_some(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Expect;

    #[tokio::test]
    async fn tokens_die_with_their_account_and_by_time() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).unwrap();
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web", "namespace": "ns", "uid": "u"}});
        let key = Key::new("serviceaccounts", "ns", "web");
        let stored = store.put(key.clone(), Expect::Absent, account).await.unwrap();
        let tokens = Tokens::open(dir.path()).unwrap();
        let audiences = vec!["istio-ca".to_owned()];
        let now = Timestamp::now();
        let grant = Grant {
            namespace: "ns",
            account: "web",
            account_uid: "u",
            audiences: &audiences,
            bound: None,
            seconds: 600,
        };
        let (token, expires) = tokens.issue(&grant, now).unwrap();
        assert_eq!(expires.as_second(), now.as_second() + 600);
        let (user, good) = tokens.check(&token, &["x".to_owned(), "istio-ca".to_owned()], &store, now).unwrap();
        assert_eq!(user.name, "system:serviceaccount:ns:web");
        assert_eq!(good, audiences);
        assert!(tokens.check(&token, &["x".to_owned()], &store, now).is_none());
        assert!(tokens.check(&token, &audiences, &store, expires).is_none());
        let forged = format!("{}x{}", &token[..token.len() - 5], &token[token.len() - 4..]);
        assert!(tokens.check(&forged, &audiences, &store, now).is_none());
        // The key is the same after a restart.
        assert!(Tokens::open(dir.path()).unwrap().check(&token, &audiences, &store, now).is_some());
        store.delete(key, stored.version).await.unwrap();
        assert!(tokens.check(&token, &audiences, &store, now).is_none());
    }
}
