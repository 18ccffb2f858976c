//! Gathers changes for a moment and publishes a snapshot that holds them all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use serde_json::{Map, Value};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::{info, warn};
#[cfg(test)]
use varka_api::RawObject;
use varka_api::istio::MeshConfig;
use varka_pilot::{Change, ChangeKey, Diagnostic, Kind, Severity, Snapshot, touched};

use super::kinds::{CONFIG_MAP, KINDS, SECRET};
use super::secrets::{Holder, Reference, References};
use super::stream::{Scope, follow};
use super::{ObjectKey, Update};
use crate::metrics::Metrics;

/// A change waits so long for others.
const QUIET: Duration = Duration::from_millis(10);
/// And never longer than this, however many come.
const LONGEST: Duration = Duration::from_millis(100);
/// Changes in flight between the watches and the snapshot.
const QUEUE: usize = 1024;
/// Batches that a reader may be behind before everything counts as changed for it.
const RECENT: usize = 64;
/// Settings of the mesh that injection reads from the text, and no type has.
const READ_ELSEWHERE: [&str; 2] = ["mesh.enablePrometheusMerge", "mesh.defaultConfig.discoveryAddress"];

/// A snapshot with what it changed.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// Counts snapshots; 0 is the empty one before the first listing is complete.
    pub(crate) number: u64,
    pub(crate) snapshot: Snapshot,
    /// Labels of all pods, by namespace and name.
    pods: Arc<Pods>,
    /// When the first change of the last batch was seen.
    pub(crate) since: Instant,
    /// The last batches, oldest first.
    recent: VecDeque<Arc<Batch>>,
}

type Pods = BTreeMap<(String, String), Arc<Labels>>;

/// Labels of a pod.
pub(crate) type Labels = BTreeMap<String, String>;

#[derive(Debug)]
struct Batch {
    number: u64,
    changes: Vec<ChangeKey>,
}

impl Published {
    /// The empty one.
    pub(crate) fn empty() -> Self {
        let snapshot = Snapshot::builder().build();
        Self { number: 0, snapshot, pods: Arc::default(), since: Instant::now(), recent: VecDeque::new() }
    }

    /// This one with `changes`.
    pub(crate) fn next(&self, changes: Vec<Change>, since: Instant) -> Self {
        let mut pods = Arc::clone(&self.pods);
        changes.iter().for_each(|change| follow_pods(&mut pods, change));
        let (snapshot, changes) = self.snapshot.apply(changes);
        let number = self.number + 1;
        let mut recent = self.recent.clone();
        recent.push_back(Arc::new(Batch { number, changes }));
        if recent.len() > RECENT {
            recent.pop_front();
        }
        Self { number, snapshot, pods, since, recent }
    }

    /// Labels of a pod, as the API server has them.
    pub(crate) fn labels(&self, namespace: &str, pod: &str) -> Option<&Labels> {
        self.pods.get(&(namespace.to_owned(), pod.to_owned())).map(|labels| &**labels)
    }

    /// Whether what was made of `reads` at snapshot `number` may be otherwise now.
    pub(crate) fn touches(&self, reads: &varka_pilot::ReadSet, number: u64) -> bool {
        if number >= self.number {
            return false;
        }
        if self.recent.front().is_none_or(|oldest| oldest.number > number + 1) {
            return true;
        }
        self.recent.iter().filter(|batch| batch.number > number).any(|batch| touched(reads, &batch.changes))
    }
}

/// Most changes of a pod leave its labels alone, and then nothing is copied.
fn follow_pods(pods: &mut Arc<Pods>, change: &Change) {
    match change {
        Change::Upsert(object) if object.kind == "Pod" => {
            let key = (object.metadata.namespace.clone(), object.metadata.name.clone());
            if pods.get(&key).is_none_or(|known| **known != object.metadata.labels) {
                Arc::make_mut(pods).insert(key, Arc::new(object.metadata.labels.clone()));
            }
        }
        Change::Delete { kind: Kind::Pod, namespace, name } => {
            Arc::make_mut(pods).remove(&(namespace.to_string(), name.to_string()));
        }
        _ => {}
    }
}

/// What of the mesh's configuration is not xDS: the part that injection needs.
pub(crate) type OnMesh = Box<dyn Fn(&MeshConfig, &Map<String, Value>) + Send>;

/// Where the mesh's configuration is, and what holds where it says nothing.
#[derive(Debug, Clone)]
pub(crate) struct MeshSource {
    pub(crate) root_namespace: String,
    pub(crate) trust_domain: String,
}

/// Watches everything and publishes until dropped.
pub(crate) async fn run(
    client: Client,
    source: MeshSource,
    on_mesh: OnMesh,
    metrics: Arc<Metrics>,
    findings: mpsc::Sender<Diagnostic>,
    publish: watch::Sender<Arc<Published>>,
) {
    let (into, mut updates) = mpsc::channel(QUEUE);
    let mut watches = JoinSet::new();
    for (number, kind) in KINDS.iter().enumerate() {
        watches.spawn(follow(client.clone(), *kind, Scope::default(), number, into.clone()));
    }
    let mesh = Scope { namespace: Some(source.root_namespace.clone()), name: Some("istio".to_owned()) };
    watches.spawn(follow(client.clone(), CONFIG_MAP, mesh, KINDS.len(), into.clone()));
    watches.spawn(super::keys::follow(publish.subscribe(), into.clone()));
    let mut gatherer = Gatherer {
        mesh_source: source,
        on_mesh,
        metrics,
        findings,
        pending: Vec::new(),
        unsynced: (0..=KINDS.len()).collect(),
        references: References::default(),
        secrets: BTreeSet::new(),
        publish,
    };
    let mut secrets = SecretWatches { client, into, watches, running: BTreeMap::new() };
    gatherer.pending.push(gatherer.mesh(&Value::Null));
    while let Some(first) = updates.recv().await {
        let since = Instant::now();
        let mut secrets_changed = gatherer.take(first);
        let end = since + LONGEST;
        while let Ok(Some(update)) = tokio::time::timeout_at(end.min(Instant::now() + QUIET), updates.recv()).await {
            secrets_changed |= gatherer.take(update);
            if Instant::now() >= end {
                break;
            }
        }
        if secrets_changed {
            let wanted = gatherer.references.all();
            gatherer.forget_secrets(&wanted);
            secrets.follow_only(wanted);
        }
        gatherer.publish(since);
    }
}

struct Gatherer {
    mesh_source: MeshSource,
    on_mesh: OnMesh,
    metrics: Arc<Metrics>,
    /// Where findings are told from.
    findings: mpsc::Sender<Diagnostic>,
    pending: Vec<Change>,
    /// Watches that have not told all that there is.
    unsynced: BTreeSet<usize>,
    references: References,
    /// The Secrets and ConfigMaps that are in the snapshot, by namespace and name.
    secrets: BTreeSet<(Holder, String, String)>,
    publish: watch::Sender<Arc<Published>>,
}

impl Gatherer {
    /// Notes an update; whether other Secrets than before may be wanted.
    fn take(&mut self, update: Update) -> bool {
        match update {
            Update::Apply(object) if self.is_mesh(&object.kind, &object.metadata.namespace, &object.metadata.name) => {
                let change = self.mesh(&object.value);
                self.pending.push(change);
                false
            }
            Update::Apply(object) => {
                let changed = self.references.apply(&object);
                if let Some(holder) = holder(&object.kind) {
                    self.secrets.insert((holder, object.metadata.namespace.clone(), object.metadata.name.clone()));
                }
                self.pending.push(Change::Upsert(*object));
                changed
            }
            Update::Delete(key) if self.is_mesh(key.kind, &key.namespace, &key.name) => {
                let change = self.mesh(&Value::Null);
                self.pending.push(change);
                false
            }
            Update::Delete(key) => {
                let changed = self.references.delete(&key);
                if let Some(holder) = holder(key.kind) {
                    self.secrets.remove(&(holder, key.namespace.clone(), key.name.clone()));
                }
                self.pending.extend(deletion(key));
                changed
            }
            Update::Keys { source, keys } => {
                self.pending.push(Change::Keys { source, keys });
                false
            }
            Update::Synced(number) => {
                self.unsynced.remove(&number);
                false
            }
        }
    }

    /// Whether an object is the ConfigMap with the mesh's configuration.
    fn is_mesh(&self, kind: &str, namespace: &str, name: &str) -> bool {
        kind == CONFIG_MAP.kind && namespace == self.mesh_source.root_namespace && name == "istio"
    }

    /// Takes Secrets and ConfigMaps that nothing names any more out of the snapshot: their watches end without telling.
    fn forget_secrets(&mut self, wanted: &BTreeSet<Reference>) {
        let is_wanted = |(holder, namespace, name): &(Holder, String, String)| {
            wanted.contains(&(*holder, Some(namespace.clone()), name.clone()))
                || wanted.contains(&(*holder, None, name.clone()))
        };
        let forgotten: Vec<_> = self.secrets.iter().filter(|secret| !is_wanted(secret)).cloned().collect();
        for secret in forgotten {
            self.secrets.remove(&secret);
            let kind = match secret.0 {
                Holder::Secret => Kind::Secret,
                Holder::ConfigMap => Kind::ConfigMap,
            };
            self.pending.push(Change::Delete { kind, namespace: secret.1.into(), name: secret.2.into() });
        }
    }

    /// The mesh's configuration from its ConfigMap. What cannot be read leaves the defaults in force, and says so.
    fn mesh(&self, config_map: &Value) -> Change {
        let place = format!("ConfigMap {}/istio", self.mesh_source.root_namespace);
        let text = config_map.pointer("/data/mesh").and_then(Value::as_str).unwrap_or("{}");
        let value: Value = serde_saphyr::from_str(text).unwrap_or_else(|error| {
            warn!(place, %error, "mesh: not YAML; the defaults are in force");
            Value::Null
        });
        let (mut mesh, unknown) = MeshConfig::from_value(value.clone()).unwrap_or_else(|error| {
            warn!(place, %error, "mesh configuration cannot be read; the defaults are in force");
            Default::default()
        });
        for path in unknown.into_iter().filter(|path| !READ_ELSEWHERE.contains(&path.as_str())) {
            self.tell(Diagnostic {
                severity: Severity::Warning,
                code: "unknown-field",
                resource: place.clone(),
                path,
                position: None,
                message: "unknown field".to_owned(),
                effect: "nothing reads it, so it has no effect".to_owned(),
            });
        }
        if mesh.root_namespace.is_empty() {
            mesh.root_namespace.clone_from(&self.mesh_source.root_namespace);
        }
        // The trust domain is in every certificate that was issued: it is the command line's, not the file's, to say.
        if !mesh.trust_domain.is_empty() && mesh.trust_domain != self.mesh_source.trust_domain {
            warn!(
                place,
                wanted = mesh.trust_domain,
                in_force = self.mesh_source.trust_domain,
                "trustDomain is ignored"
            );
        }
        mesh.trust_domain.clone_from(&self.mesh_source.trust_domain);
        let raw = value.as_object().cloned().unwrap_or_default();
        (self.on_mesh)(&mesh, &raw);
        Change::Mesh(Box::new(mesh))
    }

    /// Publishes what is pending, once everything has been listed.
    fn publish(&mut self, since: Instant) {
        if !self.unsynced.is_empty() || self.pending.is_empty() {
            return;
        }
        let changes = std::mem::take(&mut self.pending);
        let before = Arc::clone(&self.publish.borrow());
        let next = before.next(changes, since);
        self.metrics.snapshots.add(1);
        if before.number == 0 {
            info!("all resources are listed");
        }
        for problem in new_problems(&before.snapshot, &next.snapshot) {
            self.tell(Arc::unwrap_or_clone(problem));
        }
        self.publish.send_replace(Arc::new(next));
    }

    /// Has a finding told in the log and as an Event. Configuration does not wait for that: where too many findings do, the log
    /// alone has it.
    fn tell(&self, finding: Diagnostic) {
        if let Err(TrySendError::Full(finding) | TrySendError::Closed(finding)) = self.findings.try_send(finding) {
            warn!("{finding}");
        }
    }
}

/// Findings about objects that the last snapshot did not have.
fn new_problems(before: &Snapshot, after: &Snapshot) -> Vec<Arc<Diagnostic>> {
    let known: BTreeSet<_> = before.problems().collect();
    after.problems().filter(|problem| !known.contains(problem)).collect()
}

fn holder(kind: &str) -> Option<Holder> {
    match kind {
        "Secret" => Some(Holder::Secret),
        "ConfigMap" => Some(Holder::ConfigMap),
        _ => None,
    }
}

fn deletion(key: ObjectKey) -> Option<Change> {
    let kind = Kind::of(key.group, key.kind)?;
    Some(Change::Delete { kind, namespace: key.namespace.into(), name: key.name.into() })
}

/// One watch for each Secret and ConfigMap that is named somewhere.
struct SecretWatches {
    client: Client,
    into: mpsc::Sender<Update>,
    watches: JoinSet<()>,
    running: BTreeMap<Reference, AbortHandle>,
}

impl SecretWatches {
    fn follow_only(&mut self, wanted: BTreeSet<Reference>) {
        self.running.retain(|secret, watch| {
            let keep = wanted.contains(secret);
            if !keep {
                watch.abort();
            }
            keep
        });
        for (holder, namespace, name) in wanted {
            let key = (holder, namespace.clone(), name.clone());
            if !self.running.contains_key(&key) {
                let scope = Scope { namespace, name: Some(name) };
                // Secrets are not waited for: an absent one must not hold everything else back.
                let kind = match holder {
                    Holder::Secret => SECRET,
                    Holder::ConfigMap => CONFIG_MAP,
                };
                let watch = follow(self.client.clone(), kind, scope, usize::MAX, self.into.clone());
                self.running.insert(key, self.watches.spawn(watch));
            }
        }
    }
}

/// For tests of what stands on snapshots.
#[cfg(test)]
pub(crate) fn published(objects: Vec<RawObject>) -> Published {
    Published::empty().next(objects.into_iter().map(Change::Upsert).collect(), Instant::now())
}

#[cfg(test)]
mod tests;
