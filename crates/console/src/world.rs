//! The objects of the cluster that telemetry is read with: who there is, and what Istio was told.
//!
//! Objects are kept as they are, in memory, by watching them. A kind that the cluster does not have is looked for again now and then.
//! What they said before is in the store: configuration as revisions, pods and their like as far as views need it ([`observed`]).

mod observed;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::access::sight::Sight;
use crate::store::observed::kind_of;
use crate::store::revisions::{Reference, Revision, Verb};
use crate::store::{Error, Millis, Store};

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
pub const KINDS: [Kind; 31] = [
    kind("", "v1", "Namespace", "namespaces"),
    kind("", "v1", "Service", "services"),
    kind("", "v1", "Pod", "pods"),
    kind("", "v1", "Node", "nodes"),
    kind("", "v1", "ConfigMap", "configmaps"),
    kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
    kind("apps", "v1", "Deployment", "deployments"),
    kind("apps", "v1", "ReplicaSet", "replicasets"),
    kind("apps", "v1", "StatefulSet", "statefulsets"),
    kind("apps", "v1", "DaemonSet", "daemonsets"),
    kind("networking.k8s.io", "v1", "Ingress", "ingresses"),
    kind("networking.k8s.io", "v1", "IngressClass", "ingressclasses"),
    kind("networking.istio.io", "v1", "VirtualService", "virtualservices"),
    kind("networking.istio.io", "v1", "DestinationRule", "destinationrules"),
    kind("networking.istio.io", "v1", "Gateway", "gateways"),
    kind("networking.istio.io", "v1", "ServiceEntry", "serviceentries"),
    kind("networking.istio.io", "v1", "WorkloadEntry", "workloadentries"),
    kind("networking.istio.io", "v1", "Sidecar", "sidecars"),
    kind("networking.istio.io", "v1beta1", "ProxyConfig", "proxyconfigs"),
    kind("security.istio.io", "v1", "PeerAuthentication", "peerauthentications"),
    kind("security.istio.io", "v1", "RequestAuthentication", "requestauthentications"),
    kind("security.istio.io", "v1", "AuthorizationPolicy", "authorizationpolicies"),
    kind("telemetry.istio.io", "v1", "Telemetry", "telemetries"),
    kind("gateway.networking.k8s.io", "v1", "Gateway", "gateways"),
    kind("gateway.networking.k8s.io", "v1", "GatewayClass", "gatewayclasses"),
    kind("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
    kind("gateway.networking.k8s.io", "v1", "GRPCRoute", "grpcroutes"),
    kind("gateway.networking.k8s.io", "v1", "TLSRoute", "tlsroutes"),
    kind("gateway.networking.k8s.io", "v1alpha2", "TCPRoute", "tcproutes"),
    kind("gateway.networking.k8s.io", "v1beta1", "ReferenceGrant", "referencegrants"),
    kind("gateway.networking.k8s.io", "v1", "BackendTLSPolicy", "backendtlspolicies"),
];

/// ConfigMaps that are read: the mesh's settings, and the root of its certificates. No other is asked for.
const CONFIG_MAPS: [&str; 2] = ["istio", "istio-ca-root-cert"];
/// Where they are.
const ROOT_NAMESPACE: &str = "istio-system";

/// A kind that is not there is looked for again after this.
const AGAIN: Duration = Duration::from_secs(30);

/// Namespace (empty: none) and name.
pub type Name = (String, String);

type Objects = BTreeMap<(&'static str, &'static str), BTreeMap<Name, Arc<serde_json::Value>>>;

/// Groups whose objects are of interest later, too.
const RECORDED: [&str; 5] = [
    "networking.istio.io",
    "security.istio.io",
    "telemetry.istio.io",
    "gateway.networking.k8s.io",
    "networking.k8s.io",
];

/// The objects as they are now; cheap to clone.
#[derive(Debug, Clone)]
pub struct World {
    objects: Arc<RwLock<Objects>>,
    version: watch::Sender<u64>,
    /// Where changes are written down.
    history: Option<Store>,
    sight: Sight,
    /// Of a moment of the past, kinds whose objects are not known as they were.
    undated: BTreeSet<(&'static str, &'static str)>,
    /// Which of [`CONFIG_MAPS`] was looked for.
    looked_for: Arc<Mutex<BTreeSet<String>>>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            objects: Arc::default(),
            version: watch::Sender::new(0),
            history: None,
            sight: Sight::All,
            undated: BTreeSet::new(),
            looked_for: Arc::default(),
        }
    }
}

impl World {
    /// Nothing yet; what changes is written down.
    pub fn recording(store: Store) -> Self {
        Self { history: Some(store), ..Self::default() }
    }

    /// The same world, of which is seen what somebody may see.
    pub fn seen_by(&self, sight: Sight) -> Self {
        Self { sight, ..self.clone() }
    }

    /// All of it, for what is said of the mesh as a whole.
    pub(crate) fn whole(&self) -> Self {
        self.seen_by(Sight::All)
    }

    /// What is seen of it.
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    /// Whether what somebody sees holds an object.
    pub fn sees(&self, of: &Reference) -> bool {
        let is_namespace = of.group.is_empty() && of.kind == "Namespace";
        self.sight.sees(if is_namespace { &of.name } else { &of.namespace })
    }

    /// The objects as they were at a time. Those of which that is not known are as they are now, and their kinds [undated](Self::is_undated).
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn at(&self, time: Millis) -> Result<Self, Error> {
        let Some(history) = &self.history else { return Ok(self.clone()) };
        let then = history.observed().at(time)?;
        let (kinds, observed) = then.map(|then| (then.kinds, then.objects)).unwrap_or_default();
        let knows = |group: &str, kind: &str| kinds.contains(&kind_of(group, kind));
        let watched = KINDS.iter().filter(|kind| observed::is_observed(kind.group, kind.kind));
        let undated: BTreeSet<_> =
            watched.map(|kind| (kind.group, kind.kind)).filter(|(group, kind)| !knows(group, kind)).collect();
        let mut objects = self.objects.read().unwrap_or_else(PoisonError::into_inner).clone();
        objects.retain(|(group, kind), _| !is_recorded(group, kind) && !knows(group, kind));
        for revision in history.revisions().at(time)? {
            let Some(kind) = kind_named(&revision.of) else { continue };
            let name = (revision.of.namespace, revision.of.name);
            objects.entry((kind.group, kind.kind)).or_default().insert(name, revision.object);
        }
        for (of, object) in observed {
            let Some(kind) = kind_named(&of).filter(|kind| knows(kind.group, kind.kind)) else { continue };
            let named = objects.entry((kind.group, kind.kind)).or_default();
            let name = (of.namespace, of.name);
            if !is_recorded(kind.group, kind.kind) {
                named.insert(name, Arc::new(object));
            } else if let Some(recorded) = named.get_mut(&name)
                && let (Some(status), Some(fields)) = (object.get("status"), Arc::make_mut(recorded).as_object_mut())
            {
                fields.insert("status".to_owned(), status.clone());
            }
        }
        let past = Self { undated, history: self.history.clone(), ..Self::default().seen_by(self.sight.clone()) };
        *past.objects.write().unwrap_or_else(PoisonError::into_inner) = objects;
        Ok(past)
    }

    /// Whether this is a moment of the past of which it is not known how a kind's objects (of recorded ones: their status) were.
    pub fn is_undated(&self, group: &str, kind: &str) -> bool {
        self.undated.contains(&(group, kind))
    }

    /// Objects of a kind that were there at some time from `start` to `end` and are not here, as they were last, as far as that is known.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn departed(&self, of: (&str, &str), start: Millis, end: Millis) -> Result<Vec<serde_json::Value>, Error> {
        let Some(history) = &self.history else { return Ok(Vec::new()) };
        let here: HashSet<Name> = {
            let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
            let named = objects.iter().find(|((group, kind), _)| (*group, *kind) == of);
            named.into_iter().flat_map(|(_, named)| named.keys().cloned()).collect()
        };
        let is_gone = |object: &Reference| {
            (object.group.as_str(), object.kind.as_str()) == of
                && self.sees(object)
                && !here.contains(&(object.namespace.clone(), object.name.clone()))
        };
        Ok(history.observed().between(&is_gone, start, end)?.into_values().collect())
    }

    /// The same with objects in place of those of their names, or without them where there are none. Nothing of it is written down.
    pub fn changed(&self, changes: impl IntoIterator<Item = (Kind, Name, Option<serde_json::Value>)>) -> Self {
        let mut objects = self.objects.read().unwrap_or_else(PoisonError::into_inner).clone();
        for (kind, name, object) in changes {
            let named = objects.entry((kind.group, kind.kind)).or_default();
            match object {
                Some(object) => drop(named.insert(name, Arc::new(object))),
                None => drop(named.remove(&name)),
            }
        }
        Self { objects: Arc::new(RwLock::new(objects)), sight: self.sight.clone(), ..Self::default() }
    }

    /// The objects of a kind, by namespace and name.
    pub fn of(&self, group: &str, kind: &str) -> Vec<Arc<serde_json::Value>> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let Some((_, named)) = objects.iter().find(|((g, k), _)| *g == group && *k == kind) else { return Vec::new() };
        let is_namespace = group.is_empty() && kind == "Namespace";
        let seen =
            named.iter().filter(|((namespace, name), _)| self.sight.sees(if is_namespace { name } else { namespace }));
        seen.map(|(_, object)| Arc::clone(object)).collect()
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
        self.put_at(kind, object, now());
    }

    /// As it is from a time on.
    pub(crate) fn put_at(&self, kind: Kind, object: serde_json::Value, at: Millis) {
        let name = name_of(&object);
        self.record(kind, &name, Verb::Created, &object, at);
        self.change(|objects| {
            objects.entry((kind.group, kind.kind)).or_default().insert(name, Arc::new(object));
        });
    }

    fn record(&self, kind: Kind, name: &Name, verb: Verb, object: &serde_json::Value, at: Millis) {
        let Some(history) = &self.history else { return };
        let of = reference_of(kind, name);
        if observed::is_observed(kind.group, kind.kind) {
            let kept = (verb != Verb::Deleted).then(|| observed::reduced(&of, object));
            history.observed().tell(&of, kept.as_ref(), at);
        }
        if !is_recorded(kind.group, kind.kind) {
            return;
        }
        let version =
            object.pointer("/metadata/resourceVersion").and_then(serde_json::Value::as_str).unwrap_or_default();
        let revision = Revision {
            at,
            verb,
            of,
            version: version.to_owned(),
            // Its fields say who wrote them, not who took it away.
            by: if verb == Verb::Deleted { String::new() } else { author(object) },
            object: Arc::new(bare(object)),
        };
        history.revisions().append(revision);
    }

    /// Takes an object away.
    pub fn remove(&self, kind: Kind, name: &Name) {
        self.remove_at(kind, name, now());
    }

    /// From a time on.
    pub(crate) fn remove_at(&self, kind: Kind, name: &Name, at: Millis) {
        self.record(kind, name, Verb::Deleted, &self.last(kind, name), at);
        self.change(|objects| {
            if let Some(named) = objects.get_mut(&(kind.group, kind.kind)) {
                named.remove(name);
            }
        });
    }

    fn last(&self, kind: Kind, name: &Name) -> serde_json::Value {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let found = objects.get(&(kind.group, kind.kind)).and_then(|named| named.get(name));
        found.map(|object| (**object).clone()).unwrap_or_default()
    }

    /// Everything of a kind that is there was put in its place, and what else is known is there no more. `only`: of the objects of this name; of
    /// others nothing is said.
    pub(crate) fn keep(&self, kind: Kind, listed: &HashSet<Name>, only: Option<&str>, at: Millis) {
        let is_meant = |name: &Name| only.is_none_or(|only| name.1 == only);
        if let Some(history) = &self.history {
            // What went while nobody watched.
            let observed = history.observed().present(kind.group, kind.kind);
            let revisions = history.revisions().present().into_iter();
            let recorded = revisions.filter(|of| of.group == kind.group && of.kind == kind.kind);
            let known: HashSet<Name> = recorded.chain(observed).map(|of| (of.namespace, of.name)).collect();
            for name in known.iter().filter(|name| is_meant(name) && !listed.contains(*name)) {
                self.record(kind, name, Verb::Deleted, &self.last(kind, name), at);
            }
            if self.is_all(only) && observed::is_observed(kind.group, kind.kind) {
                history.observed().listed(kind.group, kind.kind, at);
            }
        }
        self.change(|objects| {
            if let Some(named) = objects.get_mut(&(kind.group, kind.kind)) {
                named.retain(|name, _| !is_meant(name) || listed.contains(name));
            }
        });
    }

    /// Whether with the objects of this name everything of its kind was looked for.
    fn is_all(&self, only: Option<&str>) -> bool {
        let Some(only) = only else { return true };
        let mut looked_for = self.looked_for.lock().unwrap_or_else(PoisonError::into_inner);
        looked_for.insert(only.to_owned());
        looked_for.len() == CONFIG_MAPS.len()
    }

    fn change(&self, change: impl FnOnce(&mut Objects)) {
        change(&mut self.objects.write().unwrap_or_else(PoisonError::into_inner));
        self.version.send_modify(|version| *version += 1);
    }

    /// The objects as they are now, read once. A kind that the cluster does not have has none.
    ///
    /// # Errors
    /// The cluster does not answer, or does not let the caller read a kind.
    pub async fn listed(client: Client) -> Result<Self, kube::Error> {
        let world = Self::default();
        for kind in KINDS {
            let found = if kind.kind == "ConfigMap" {
                let api = Api::<DynamicObject>::namespaced_with(client.clone(), ROOT_NAMESPACE, &resource(kind));
                let mut found = Vec::new();
                for name in CONFIG_MAPS {
                    found.extend(api.get_opt(name).await?);
                }
                found
            } else {
                let api = Api::<DynamicObject>::all_with(client.clone(), &resource(kind));
                match api.list(&kube::api::ListParams::default()).await {
                    Ok(list) => list.items,
                    Err(kube::Error::Api(status)) if status.code == 404 => continue,
                    Err(problem) => return Err(problem),
                }
            };
            found.into_iter().filter_map(|object| value_of(kind, object)).for_each(|object| world.put(kind, object));
        }
        Ok(world)
    }

    /// Watches every kind, for as long as the program runs.
    pub async fn run(self, client: Client) {
        let mut watches = JoinSet::new();
        for kind in KINDS {
            if kind.kind == "ConfigMap" {
                // One watch each, so that they are all that has to be allowed.
                for name in CONFIG_MAPS {
                    watches.spawn(follow(self.clone(), client.clone(), kind, Some(name)));
                }
                continue;
            }
            watches.spawn(follow(self.clone(), client.clone(), kind, None));
        }
        while watches.join_next().await.is_some() {}
    }
}

/// An object with its kind, which items of lists do not say.
fn value_of(kind: Kind, mut object: DynamicObject) -> Option<serde_json::Value> {
    object.types.get_or_insert_with(|| {
        let of = resource(kind);
        kube::api::TypeMeta { api_version: of.api_version, kind: of.kind }
    });
    serde_json::to_value(object).ok()
}

fn resource(kind: Kind) -> ApiResource {
    let api_version = match kind.group {
        "" => kind.version.to_owned(),
        group => format!("{group}/{}", kind.version),
    };
    ApiResource {
        group: kind.group.to_owned(),
        version: kind.version.to_owned(),
        api_version,
        kind: kind.kind.to_owned(),
        plural: kind.plural.to_owned(),
    }
}

/// `only`: nothing but the object of this name in the root namespace.
async fn follow(world: World, client: Client, kind: Kind, only: Option<&'static str>) {
    let resource = resource(kind);
    let (api, wanted): (Api<DynamicObject>, _) = match only {
        None => (Api::all_with(client, &resource), watcher::Config::default()),
        Some(name) => {
            let wanted = watcher::Config::default().fields(&format!("metadata.name={name}"));
            (Api::namespaced_with(client, ROOT_NAMESPACE, &resource), wanted)
        }
    };
    loop {
        let events = watcher(api.clone(), wanted.clone()).default_backoff();
        let mut events = std::pin::pin!(events);
        let mut listed = HashSet::new();
        loop {
            let event = events.try_next().await;
            match event {
                Ok(Some(Event::Init)) => listed.clear(),
                Ok(Some(event @ (Event::InitApply(_) | Event::Apply(_)))) => {
                    let (Event::InitApply(object) | Event::Apply(object)) = event else { continue };
                    let Some(object) = value_of(kind, object) else { continue };
                    listed.insert(name_of(&object));
                    world.put(kind, object);
                }
                Ok(Some(Event::InitDone)) => world.keep(kind, &listed, only, now()),
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

fn kind_named(of: &Reference) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.group == of.group && kind.kind == of.kind)
}

/// The object's place among revisions.
pub(crate) fn reference(kind: Kind, object: &serde_json::Value) -> Reference {
    reference_of(kind, &name_of(object))
}

fn reference_of(kind: Kind, (namespace, name): &Name) -> Reference {
    Reference {
        group: kind.group.to_owned(),
        kind: kind.kind.to_owned(),
        namespace: namespace.clone(),
        name: name.clone(),
    }
}

fn is_recorded(group: &str, kind: &str) -> bool {
    RECORDED.contains(&group)
        || matches!((group, kind), ("apps", "Deployment" | "StatefulSet" | "DaemonSet") | ("", "Service"))
}

/// An object as its YAML is shown.
pub(crate) fn written(object: &serde_json::Value) -> String {
    serde_saphyr::to_string(&bare(object)).unwrap_or_default()
}

/// Without what is about the object rather than in it.
pub(crate) fn bare(object: &serde_json::Value) -> serde_json::Value {
    let mut bare = object.clone();
    if let Some(fields) = bare.as_object_mut() {
        fields.remove("status");
        if let Some(meta) = fields.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
            meta.remove("managedFields");
            if let Some(annotations) = meta.get_mut("annotations").and_then(serde_json::Value::as_object_mut) {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            }
        }
    }
    bare
}

/// Who changed it last, as far as its managed fields say.
fn author(object: &serde_json::Value) -> String {
    let entries = object.pointer("/metadata/managedFields").and_then(serde_json::Value::as_array).into_iter().flatten();
    let of_spec = entries.filter(|entry| entry.get("subresource").is_none());
    let text = |entry: &serde_json::Value, field: &str| {
        entry.get(field).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    of_spec.max_by_key(|entry| text(entry, "time")).map(|entry| text(entry, "manager")).unwrap_or_default()
}

fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
