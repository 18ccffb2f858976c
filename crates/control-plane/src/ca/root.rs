//! The root certificate and its key, kept in a Secret so that it outlives every process.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tracing::info;
use varka_identity::{Authority, SystemRandom};

use crate::Error;

/// Name and keys are Istio's, so that an existing mesh keeps its root.
const SECRET: &str = "istio-ca-secret";
const CERTIFICATE: &str = "ca-cert.pem";
const KEY: &str = "ca-key.pem";

/// The mesh's root: the one in the Secret, or a new one where there is no Secret. Whoever creates the Secret first decides;
/// all others take what they find, so any number of replicas agree.
pub(crate) async fn load_or_create(client: &Client, namespace: &str, trust_domain: &str) -> Result<Authority, Error> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let reading = "cannot read the Secret with the root certificate";
    if let Some(found) = secrets.get_opt(SECRET).await.map_err(Error::api(reading))? {
        return read(&found, namespace);
    }
    let authority = Authority::generate(trust_domain, SystemTime::now(), &SystemRandom::new())?;
    match secrets.create(&PostParams::default(), &secret(&authority)).await {
        Ok(_) => {
            info!(namespace, secret = SECRET, "made a new root certificate");
            Ok(authority)
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() || status.is_conflict() => {
            let found = secrets.get(SECRET).await.map_err(Error::api(reading))?;
            read(&found, namespace)
        }
        Err(error) => Err(Error::api("cannot store the root certificate")(error)),
    }
}

fn secret(authority: &Authority) -> Secret {
    let pem = authority.to_pem();
    let data = BTreeMap::from([
        (CERTIFICATE.to_owned(), ByteString(pem.certificate.into_bytes())),
        (KEY.to_owned(), ByteString(pem.key.as_bytes().to_vec())),
    ]);
    Secret {
        metadata: ObjectMeta { name: Some(SECRET.to_owned()), ..ObjectMeta::default() },
        type_: Some("istio.io/ca-root".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

fn read(secret: &Secret, namespace: &str) -> Result<Authority, Error> {
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        bytes.and_then(|bytes| std::str::from_utf8(&bytes.0).ok()).unwrap_or_default()
    };
    Authority::from_pem(text(CERTIFICATE), text(KEY))
        .map_err(|source| Error::Root { namespace: namespace.to_owned(), source })
}
