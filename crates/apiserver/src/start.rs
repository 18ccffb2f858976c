//! Opening a server: directory, keys, store, and the objects that every cluster has.

use std::os::unix::fs::DirBuilderExt as _;
use std::sync::{Arc, RwLock};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::admission::services::Addresses;
use crate::auth::Tokens;
use crate::object;
use crate::pki::Pki;
use crate::registry::custom;
use crate::schema::openapi;
use crate::server::Inner;
use crate::store::{Expect, Key, Store, WriteError};
use crate::verbs::write;
use crate::{Config, Error};

/// Namespaces that exist from the start.
const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "istio-system"];

/// Opens a server.
pub(crate) async fn open(config: Config) -> Result<Arc<Inner>, Error> {
    let dir = &config.data_dir;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| Error::File { path: dir.clone(), source })?;
    let path = dir.join("objects.redb");
    let store = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || Store::open(&path)).await
    };
    let store = match store {
        Ok(opened) => opened.map_err(|source| Error::Database { path, source })?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let addresses = Addresses::new(config.service_cidr, &store)?;
    let mut names: Vec<String> = [
        "localhost",
        "127.0.0.1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    .map(str::to_owned)
    .into();
    names.push(addresses.first().to_string());
    names.extend(config.advertise.iter().cloned());
    names.sort();
    names.dedup();
    let inner = Arc::new(Inner {
        pki: Pki::open(dir, &names)?,
        tokens: Tokens::open(dir)?,
        registry: RwLock::default(),
        store,
        addresses,
        config,
        node: RwLock::default(),
        dialer: RwLock::default(),
        stop: watch::Sender::new(false),
    });
    make_definitions(&inner).await?;
    inner.refresh_registry();
    for namespace in NAMESPACES {
        make_namespace(&inner, namespace).await?;
    }
    make_service(&inner).await?;
    Ok(inner)
}

/// Makes or renews the definitions that the server brings along; those that someone replaced stay as they are.
async fn make_definitions(inner: &Inner) -> Result<(), Error> {
    let writes = custom::ROWS.iter().map(async |row| {
        let mut definition = row.definition(&openapi::custom_spec(row.group, row.kind));
        let name = object::name(&definition).to_owned();
        let key = Key::new("customresourcedefinitions.apiextensions.k8s.io", "", &name);
        let stored = inner.store.get(&key);
        let expect = match &stored {
            None => Expect::Absent,
            Some(old) => {
                let own = object::label(&old.value, custom::OWN_LABEL.0) == Some(custom::OWN_LABEL.1);
                if !own || old.value.get("spec") == established(&definition, &old.value).get("spec") {
                    return Ok(());
                }
                definition = established(&definition, &old.value);
                Expect::Version(old.version)
            }
        };
        if stored.is_none() {
            write::stamp(&mut definition, "");
            object::set_metadata(&mut definition, "generation", Some(json!(1)));
            crate::registry::crd::establish(&mut definition);
        }
        written(inner.store.put(key, expect, definition).await, "CustomResourceDefinition", &name)
    });
    futures_util::future::try_join_all(writes).await.map(drop)
}

/// The renewed definition under the metadata and status of the old one.
fn established(new: &Value, old: &Value) -> Value {
    let mut out = old.clone();
    object::set(&mut out, "spec", new.get("spec").cloned().unwrap_or_default());
    crate::registry::crd::establish(&mut out);
    out
}

async fn make_namespace(inner: &Inner, name: &str) -> Result<(), Error> {
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
    });
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}});
    let ca = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", "namespace": name},
        "data": {"ca.crt": inner.pki.ca_pem},
    });
    let (a, b, c) = tokio::join!(
        make(inner, "namespaces", "", namespace),
        make(inner, "serviceaccounts", name, account),
        make(inner, "configmaps", name, ca)
    );
    a.and(b).and(c)
}

async fn make_service(inner: &Inner) -> Result<(), Error> {
    let address = inner.addresses.first().to_string();
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}], "clusterIP": address, "clusterIPs": [address],
            "type": "ClusterIP", "sessionAffinity": "None", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    });
    make(inner, "services", "default", service).await
}

async fn make(inner: &Inner, resource: &str, namespace: &str, mut value: Value) -> Result<(), Error> {
    let name = object::name(&value).to_owned();
    let kind = object::str_at(&value, &["kind"]).to_owned();
    write::stamp(&mut value, namespace);
    let key = Key::new(resource, namespace, &name);
    if inner.store.get(&key).is_some() {
        return Ok(());
    }
    written(inner.store.put(key, Expect::Absent, value).await, &kind, &name)
}

fn written<T>(result: Result<T, WriteError>, kind: &str, name: &str) -> Result<(), Error> {
    match result {
        Ok(_) | Err(WriteError::Exists) => Ok(()),
        Err(error) => Err(Error::Bootstrap { object: format!("{kind} {name}"), message: error.to_string() }),
    }
}

/// A kubeconfig for the administrator.
pub(crate) fn kubeconfig(inner: &Inner, server: &str) -> String {
    use base64::Engine as _;
    let ca = base64::engine::general_purpose::STANDARD.encode(&inner.pki.ca_pem);
    let token = inner.tokens.admin();
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: varka\n  cluster:\n    server: {server}\n    certificate-authority-data: {ca}\n\
         users:\n- name: admin\n  user:\n    token: {token}\n\
         contexts:\n- name: varka\n  context: {{cluster: varka, user: admin}}\ncurrent-context: varka\n"
    )
}
