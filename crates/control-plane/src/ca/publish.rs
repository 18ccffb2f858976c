//! The root certificate as a ConfigMap in every namespace, where pods mount it.

use futures_util::{StreamExt, pin_mut, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, ResourceExt};
use std::collections::BTreeMap;
use tracing::warn;

/// Name and key are Istio's.
const CONFIG_MAP: &str = "istio-ca-root-cert";
const KEY: &str = "root-cert.pem";

/// Keeps the ConfigMap of every namespace right, for ever: when a namespace appears, and when somebody changes or deletes it.
pub(crate) async fn run(client: Client, root_pem: String) {
    let namespaces = watch(Api::<Namespace>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .filter_map(async |event| match event {
            Ok(Event::Apply(ns) | Event::InitApply(ns)) if ns.metadata.deletion_timestamp.is_none() => ns.metadata.name,
            _ => None,
        });
    let own = watcher::Config::default().fields(&format!("metadata.name={CONFIG_MAP}"));
    let config_maps =
        watch(Api::<ConfigMap>::all(client.clone()), own).default_backoff().filter_map(async |event| match event {
            Ok(Event::Apply(map)) if !is_right(&map, &root_pem) => map.namespace(),
            Ok(Event::Delete(map)) => map.namespace(),
            _ => None,
        });
    let touched = stream::select(namespaces, config_maps);
    pin_mut!(touched);
    while let Some(namespace) = touched.next().await {
        if let Err(error) = publish(&client, &namespace, &root_pem).await {
            warn!(namespace, %error, "cannot publish the root certificate; pods of this namespace wait for it");
        }
    }
}

fn is_right(map: &ConfigMap, root_pem: &str) -> bool {
    map.data.as_ref().and_then(|data| data.get(KEY)).is_some_and(|pem| pem == root_pem)
}

/// Creates or corrects the ConfigMap. A namespace that is gone or going needs none.
async fn publish(client: &Client, namespace: &str, root_pem: &str) -> Result<(), kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let mut wanted = ConfigMap {
        metadata: ObjectMeta {
            name: Some(CONFIG_MAP.to_owned()),
            labels: Some(BTreeMap::from([("istio.io/config".to_owned(), "true".to_owned())])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(KEY.to_owned(), root_pem.to_owned())])),
        ..ConfigMap::default()
    };
    let written = match api.get_opt(CONFIG_MAP).await? {
        Some(found) if is_right(&found, root_pem) => return Ok(()),
        Some(found) => {
            wanted.metadata.resource_version = found.metadata.resource_version;
            api.replace(CONFIG_MAP, &PostParams::default(), &wanted).await
        }
        None => api.create(&PostParams::default(), &wanted).await,
    };
    match written {
        // Somebody was faster; if what they wrote is wrong, the watch brings it back here. A namespace that ends forbids creation.
        Err(kube::Error::Api(status))
            if status.is_already_exists() || status.is_conflict() || status.is_not_found() || status.is_forbidden() =>
        {
            Ok(())
        }
        other => other.map(|_| ()),
    }
}
