//! Deploys the proxies of Gateways: a ServiceAccount, a Deployment and a Service for each, owned by it, so that they go with it.
//!
//! What they are to be is decided in [`render`]. They are applied when that changes, when one of them is missing, and when somebody
//! changed what is applied here. A Gateway that names a Service of its own (`addresses`, type `Hostname`) gets nothing.

mod render;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, pin_mut, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::wrappers::WatchStream;
use tracing::{info, warn};
use varka_pilot::managed_gateways;

use crate::watch::Published;
use crate::webhook::register::holds;
use render::{MANAGED, Made};

/// Owner of the fields that are applied.
const MANAGER: &str = "istio.io/gateway-controller";
/// What failed or is not seen yet is looked at again so much later.
const RETRY: Duration = Duration::from_secs(5);

/// The objects that there are, by kind, namespace and name.
struct Known {
    accounts: Store<ServiceAccount>,
    deployments: Store<Deployment>,
    services: Store<Service>,
}

impl Known {
    /// Asked, and not waited for: the listings arrive by the loop that asks.
    fn are_listed(&self) -> bool {
        let listed = [
            self.accounts.wait_until_ready().now_or_never(),
            self.deployments.wait_until_ready().now_or_never(),
            self.services.wait_until_ready().now_or_never(),
        ];
        listed.iter().all(|ready| matches!(ready, Some(Ok(()))))
    }

    fn get(&self, made: &Made) -> Option<Value> {
        fn of<K>(store: &Store<K>, made: &Made) -> Option<Value>
        where
            K: Resource<DynamicType = ()> + Clone + serde::Serialize + 'static,
        {
            let reference = reflector::ObjectRef::<K>::new(&made.name).within(&made.namespace);
            serde_json::to_value(&*store.get(&reference)?).ok()
        }
        match made.kind {
            "ServiceAccount" => of(&self.accounts, made),
            "Deployment" => of(&self.deployments, made),
            _ => of(&self.services, made),
        }
    }
}

/// Keeps the proxies of all Gateways deployed, until dropped. `service_type` is that of their Services.
pub(crate) async fn run(client: Client, published: watch::Receiver<Arc<Published>>, service_type: String) {
    let (accounts, account_events) = follow::<ServiceAccount>(&client);
    let (deployments, deployment_events) = follow::<Deployment>(&client);
    let (services, service_events) = follow::<Service>(&client);
    let known = Known { accounts, deployments, services };
    let snapshots = WatchStream::new(published.clone()).map(|_| ());
    let events = stream::select(stream::select(account_events, deployment_events), service_events);
    let touched = stream::select(snapshots, events);
    pin_mut!(touched);
    let mut applied: BTreeMap<(&'static str, String, String), Applied> = BTreeMap::new();
    let mut again = false;
    loop {
        let next = touched.next();
        let ended =
            if again { matches!(tokio::time::timeout(RETRY, next).await, Ok(None)) } else { next.await.is_none() };
        if ended {
            return;
        }
        let now = Arc::clone(&published.borrow());
        if now.number == 0 || !known.are_listed() {
            continue;
        }
        let wanted: Vec<Made> = managed_gateways(&now.snapshot)
            .iter()
            .flat_map(|gateway| render::objects(gateway, &service_type))
            .collect();
        applied.retain(|key, _| wanted.iter().any(|made| made.key() == *key));
        again = false;
        for made in wanted {
            let last = applied.get(&made.key()).filter(|last| last.value == made.value);
            if known.get(&made).is_some_and(|found| is_right(&found, &made, last)) {
                continue;
            }
            again = true;
            // What was written a moment ago is still on its way here.
            if last.is_some_and(|last| last.at.elapsed() < RETRY) {
                continue;
            }
            if let Some(version) = apply(&client, &made).await {
                applied.insert(made.key(), Applied { value: made.value, version, at: Instant::now() });
            }
        }
    }
}

/// What was applied last, so that a server that writes something in its own way is not asked again and again.
struct Applied {
    value: Value,
    /// What the object became by it.
    version: Option<String>,
    at: Instant,
}

/// Whether an object says what it is to say, or is as applying this made it.
fn is_right(found: &Value, made: &Made, last: Option<&Applied>) -> bool {
    let version = found.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    last.is_some_and(|last| last.version.as_deref() == version) || holds(found, &made.value)
}

/// The objects of a kind that are marked as managed here, and an event for each change.
fn follow<K>(client: &Client) -> (Store<K>, stream::BoxStream<'static, ()>)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + serde::de::DeserializeOwned + 'static,
{
    let (store, writer) = reflector::store::<K>();
    let marked = watcher::Config::default().labels(&format!("{}={}", MANAGED.0, MANAGED.1));
    let events = reflector::reflector(writer, watcher(Api::all(client.clone()), marked)).default_backoff();
    (store, events.map(|_| ()).boxed())
}

/// The version that the object became; `None`: it could not be applied.
async fn apply(client: &Client, made: &Made) -> Option<Option<String>> {
    let (group, version) = made.api_version.rsplit_once('/').unwrap_or(("", made.api_version));
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: made.api_version.to_owned(),
        kind: made.kind.to_owned(),
        plural: made.plural.to_owned(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &made.namespace, &resource);
    let parameters = PatchParams::apply(MANAGER).force();
    let (kind, namespace, name) = (made.kind, &made.namespace, &made.name);
    match api.patch(name, &parameters, &Patch::Apply(&made.value)).await {
        Ok(object) => {
            info!(kind, namespace, name, "applied for a Gateway");
            Some(object.resource_version())
        }
        Err(error) => {
            warn!(kind, namespace, name, %error, "cannot apply what a Gateway needs");
            None
        }
    }
}
