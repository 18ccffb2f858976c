//! The objects of the cluster that telemetry is read with: who there is, and what Istio was told.
//!
//! Objects are kept as they are, in memory, by watching them. A kind that the cluster does not have is looked for again now and then.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A kind that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Empty: the core group.
    pub group: &'static str,
    /// Which is asked for.
    pub version: &'static str,
    /// In the singular.
    pub kind: &'static str,
    /// In addresses.
    pub plural: &'static str,
}

const fn kind(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind { group, version, kind, plural }
}

/// Every kind that is watched.
pub const KINDS: [Kind; 20] = [
    kind("", "v1", "Namespace", "namespaces"),
    kind("", "v1", "Service", "services"),
    kind("", "v1", "Pod", "pods"),
    kind("apps", "v1", "Deployment", "deployments"),
    kind("apps", "v1", "ReplicaSet", "replicasets"),
    kind("apps", "v1", "StatefulSet", "statefulsets"),
    kind("apps", "v1", "DaemonSet", "daemonsets"),
    kind("networking.k8s.io", "v1", "Ingress", "ingresses"),
    kind("networking.istio.io", "v1", "VirtualService", "virtualservices"),
    kind("networking.istio.io", "v1", "DestinationRule", "destinationrules"),
    kind("networking.istio.io", "v1", "Gateway", "gateways"),
    kind("networking.istio.io", "v1", "ServiceEntry", "serviceentries"),
    kind("networking.istio.io", "v1", "WorkloadEntry", "workloadentries"),
    kind("networking.istio.io", "v1", "Sidecar", "sidecars"),
    kind("security.istio.io", "v1", "PeerAuthentication", "peerauthentications"),
    kind("security.istio.io", "v1", "RequestAuthentication", "requestauthentications"),
    kind("security.istio.io", "v1", "AuthorizationPolicy", "authorizationpolicies"),
    kind("telemetry.istio.io", "v1", "Telemetry", "telemetries"),
    kind("gateway.networking.k8s.io", "v1", "Gateway", "gateways"),
    kind("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
];

/// A kind that is not there is looked for again after this.
const AGAIN: Duration = Duration::from_secs(30);

/// Namespace (empty: none) and name.
pub type Name = (String, String);

type Objects = BTreeMap<(&'static str, &'static str), BTreeMap<Name, Arc<serde_json::Value>>>;

/// The objects as they are now; cheap to clone.
#[derive(Debug, Clone)]
pub struct World {
    objects: Arc<RwLock<Objects>>,
    version: watch::Sender<u64>,
}

impl Default for World {
    fn default() -> Self {
        Self { objects: Arc::default(), version: watch::Sender::new(0) }
    }
}

impl World {
    /// The objects of a kind, by namespace and name.
    pub fn of(&self, group: &str, kind: &str) -> Vec<Arc<serde_json::Value>> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let found = objects.iter().find(|((g, k), _)| *g == group && *k == kind);
        found.map(|(_, named)| named.values().cloned().collect()).unwrap_or_default()
    }

    /// Grows with every change.
    pub fn version(&self) -> u64 {
        *self.version.borrow()
    }

    /// Tells of changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Puts an object in its place.
    pub fn put(&self, kind: Kind, object: serde_json::Value) {
        let name = name_of(&object);
        self.change(|objects| {
            objects.entry((kind.group, kind.kind)).or_default().insert(name, Arc::new(object));
        });
    }

    /// Takes an object away.
    pub fn remove(&self, kind: Kind, name: &Name) {
        self.change(|objects| {
            if let Some(named) = objects.get_mut(&(kind.group, kind.kind)) {
                named.remove(name);
            }
        });
    }

    fn keep(&self, kind: Kind, listed: &HashSet<Name>) {
        self.change(|objects| {
            if let Some(named) = objects.get_mut(&(kind.group, kind.kind)) {
                named.retain(|name, _| listed.contains(name));
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Objects)) {
        change(&mut self.objects.write().unwrap_or_else(PoisonError::into_inner));
        self.version.send_modify(|version| *version += 1);
    }

    /// Watches every kind, for as long as the program runs.
    pub async fn run(self, client: Client) {
        let mut watches = JoinSet::new();
        for kind in KINDS {
            watches.spawn(follow(self.clone(), client.clone(), kind));
        }
        while watches.join_next().await.is_some() {}
    }
}

async fn follow(world: World, client: Client, kind: Kind) {
    let api_version = match kind.group {
        "" => kind.version.to_owned(),
        group => format!("{group}/{}", kind.version),
    };
    let resource = ApiResource {
        group: kind.group.to_owned(),
        version: kind.version.to_owned(),
        api_version,
        kind: kind.kind.to_owned(),
        plural: kind.plural.to_owned(),
    };
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    loop {
        let events = watcher(api.clone(), watcher::Config::default()).default_backoff();
        let mut events = std::pin::pin!(events);
        let mut listed = HashSet::new();
        loop {
            let event = events.try_next().await;
            match event {
                Ok(Some(Event::Init)) => listed.clear(),
                Ok(Some(event @ (Event::InitApply(_) | Event::Apply(_)))) => {
                    let (Event::InitApply(object) | Event::Apply(object)) = event else { continue };
                    let Ok(object) = serde_json::to_value(object) else { continue };
                    listed.insert(name_of(&object));
                    world.put(kind, object);
                }
                Ok(Some(Event::InitDone)) => world.keep(kind, &listed),
                Ok(Some(Event::Delete(object))) => {
                    let name =
                        (object.metadata.namespace.unwrap_or_default(), object.metadata.name.unwrap_or_default());
                    world.remove(kind, &name);
                }
                Ok(None) => break,
                Err(watcher::Error::InitialListFailed(kube::Error::Api(status))) if status.code == 404 => {
                    tracing::debug!(kind = kind.kind, group = kind.group, "there is no such kind here");
                    break;
                }
                Err(problem) => tracing::warn!(%problem, kind = kind.kind, "not watched at the moment"),
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn name_of(object: &serde_json::Value) -> Name {
    let of = |field: &str| object.pointer(field).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    (of("/metadata/namespace"), of("/metadata/name"))
}
