//! The objects: all of them in memory, each write durable before it is acknowledged, a history that watches replay.
//!
//! One writer thread orders all writes. It takes what has queued up, checks each against the state that the ones before it leave, gives each
//! the next resource version, commits the batch to disk in one transaction ([`disk`]), publishes it to readers, and only then answers. Readers
//! therefore never see what a crash could undo. History is a ring of the last [`HISTORY`] events; a watcher that asks for more is told
//! that its version has expired. What an object means, and whether a write is allowed, is decided by the callers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

mod disk;
#[cfg(test)]
mod tests;

/// Events kept for watches, in memory and on disk.
pub(crate) const HISTORY: usize = 4096;
/// Writes committed together at most.
const BATCH: usize = 256;

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    /// `pods`, `deployments.apps`.
    pub(crate) resource: Arc<str>,
    /// Empty for cluster-scoped kinds.
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl Key {
    pub(crate) fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self { resource: resource.into(), namespace: namespace.into(), name: name.into() }
    }
}

/// A stored object, in the version that its kind is stored in.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) value: Value,
    /// `value` as JSON, `apiVersion` first.
    json: Bytes,
    /// Where `json` goes on after the value of `apiVersion`.
    tail: usize,
    /// `metadata.resourceVersion` as a number.
    pub(crate) version: u64,
}

impl Object {
    fn new(mut value: Value, version: u64) -> Self {
        crate::object::set_resource_version(&mut value, version);
        let value = crate::object::in_order(value);
        let json = Bytes::from(value.to_string());
        Self::from_parts(value, json, version)
    }

    fn from_parts(value: Value, json: Bytes, version: u64) -> Self {
        let api_version = value.get("apiVersion").map_or(0, |v| v.to_string().len());
        let tail = if api_version == 0 { 0 } else { r#"{"apiVersion":"#.len() + api_version };
        Self { value, json, tail, version }
    }

    /// The object as JSON under another `apiVersion` of the same form.
    pub(crate) fn json_as(&self, api_version: &str) -> Bytes {
        if self.tail == 0 || crate::object::str_at(&self.value, &["apiVersion"]) == api_version {
            return self.json.clone();
        }
        let rest = self.json.get(self.tail..).unwrap_or_default();
        let mut out = Vec::with_capacity(rest.len() + api_version.len() + 20);
        out.extend_from_slice(br#"{"apiVersion":""#);
        out.extend_from_slice(api_version.as_bytes());
        out.push(b'"');
        out.extend_from_slice(rest);
        out.into()
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Added,
    Modified,
    Deleted,
}

/// One entry of the history.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) kind: EventKind,
    pub(crate) key: Key,
    /// The object after the event; for a deletion its last state under the deletion's version.
    pub(crate) object: Arc<Object>,
    /// The object before a modification. Unknown for the first event of an object after a restart.
    pub(crate) before: Option<Arc<Object>>,
}

/// What a writer believes to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Absent,
    Version(u64),
}

/// Why a write did not happen.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("the object already exists")]
    Exists,
    #[error("the object does not exist")]
    Missing,
    #[error("the object has been modified")]
    Conflict,
    #[error("the state could not be written to disk, the change was not made: {0}")]
    Disk(Arc<redb::Error>),
    #[error("the server is shutting down")]
    Closed,
}

/// The history no longer reaches back to the version asked for.
#[derive(Debug)]
pub(crate) struct Expired;

struct Write {
    key: Key,
    expect: Expect,
    /// `None` deletes.
    value: Option<Value>,
    done: oneshot::Sender<Result<Arc<Object>, WriteError>>,
}

type Names = BTreeMap<(Arc<str>, Arc<str>), Arc<Object>>;

#[derive(Default)]
struct State {
    objects: HashMap<Arc<str>, Names>,
    history: VecDeque<Arc<Event>>,
    /// The version of the last event.
    version: u64,
    /// Events up to this version are no longer in `history`.
    forgotten: u64,
}

/// Reads from memory and writes through the writer thread.
pub(crate) struct Store {
    state: Arc<RwLock<State>>,
    writes: std::sync::Mutex<Option<mpsc::UnboundedSender<Write>>>,
    version: watch::Receiver<u64>,
    writer: std::sync::Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Store {
    /// Opens or creates the file and loads it.
    pub(crate) fn open(path: &Path) -> Result<Self, Arc<redb::Error>> {
        let (disk, state) = disk::Disk::open(path)?;
        let (publish, version) = watch::channel(state.version);
        let state = Arc::new(RwLock::new(state));
        let (writes, queue) = mpsc::unbounded_channel();
        let writer = Writer { state: Arc::clone(&state), disk, publish };
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || writer.run(queue));
        let thread = thread.map_err(|e| Arc::new(redb::Error::Io(e)))?;
        Ok(Self {
            state,
            writes: std::sync::Mutex::new(Some(writes)),
            version,
            writer: std::sync::Mutex::new(Some(thread)),
        })
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object of that name.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Object>> {
        let state = self.read();
        state.objects.get(&key.resource)?.get(&(Arc::clone(&key.namespace), Arc::clone(&key.name))).cloned()
    }

    /// All objects of a resource (in one namespace, if given) in order of namespace and name, and the version of this view.
    pub(crate) fn list(&self, resource: &str, namespace: Option<&str>) -> (u64, Vec<Arc<Object>>) {
        let state = self.read();
        let Some(names) = state.objects.get(resource) else { return (state.version, Vec::new()) };
        let objects = match namespace {
            None => names.values().cloned().collect(),
            Some(namespace) => {
                let first: (Arc<str>, Arc<str>) = (namespace.into(), "".into());
                names.range(first..).take_while(|((ns, _), _)| **ns == *namespace).map(|(_, o)| Arc::clone(o)).collect()
            }
        };
        (state.version, objects)
    }

    /// The version of the last write.
    pub(crate) fn version(&self) -> u64 {
        self.read().version
    }

    /// Changes whenever something was written.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.clone()
    }

    /// Events of a resource after `version`, and the version up to which this is all of them.
    pub(crate) fn events_after(&self, version: u64, resource: &str) -> Result<(u64, Vec<Arc<Event>>), Expired> {
        let state = self.read();
        if version < state.forgotten || version > state.version {
            return Err(Expired);
        }
        let start = state.history.partition_point(|e| e.object.version <= version);
        let events = state.history.range(start..).filter(|e| *e.key.resource == *resource).cloned().collect();
        Ok((state.version, events))
    }

    /// Creates or replaces an object.
    pub(crate) async fn put(&self, key: Key, expect: Expect, value: Value) -> Result<Arc<Object>, WriteError> {
        self.write(key, expect, Some(value)).await
    }

    /// Deletes an object; answers its last state under the deletion's version.
    pub(crate) async fn delete(&self, key: Key, version: u64) -> Result<Arc<Object>, WriteError> {
        self.write(key, Expect::Version(version), None).await
    }

    async fn write(&self, key: Key, expect: Expect, value: Option<Value>) -> Result<Arc<Object>, WriteError> {
        let (done, answer) = oneshot::channel();
        let sender = self.writes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let write = Write { key, expect, value, done };
        sender.and_then(|s| s.send(write).ok()).ok_or(WriteError::Closed)?;
        answer.await.unwrap_or(Err(WriteError::Closed))
    }

    /// Finishes what is queued and closes the file.
    pub(crate) async fn close(&self) {
        drop(self.writes.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the writer has already answered every waiting write with `Closed`.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

struct Writer {
    state: Arc<RwLock<State>>,
    disk: disk::Disk,
    publish: watch::Sender<u64>,
}

/// A write that passed its check, waiting for the commit.
struct Accepted {
    event: Arc<Event>,
    done: oneshot::Sender<Result<Arc<Object>, WriteError>>,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::UnboundedReceiver<Write>) {
        while let Some(first) = queue.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = queue.try_recv()
            {
                batch.push(next);
            }
            self.commit(batch);
        }
    }

    fn commit(&mut self, batch: Vec<Write>) {
        let mut overlay: HashMap<Key, Option<Arc<Object>>> = HashMap::new();
        let mut accepted: Vec<Accepted> = Vec::with_capacity(batch.len());
        let mut version = self.state.read().unwrap_or_else(PoisonError::into_inner).version;
        for write in batch {
            let current = match overlay.get(&write.key) {
                Some(pending) => pending.clone(),
                None => self.current(&write.key),
            };
            if let Err(error) = check(write.expect, current.as_deref()) {
                let _ = write.done.send(Err(error));
                continue;
            }
            version += 1;
            let event = Arc::new(event(write.key.clone(), current, write.value, version));
            let stored = (event.kind != EventKind::Deleted).then(|| Arc::clone(&event.object));
            overlay.insert(write.key, stored);
            accepted.push(Accepted { event, done: write.done });
        }
        if accepted.is_empty() {
            return;
        }
        match self.disk.commit(accepted.iter().map(|a| &*a.event), version) {
            Ok(()) => self.publish(accepted, version),
            Err(error) => {
                tracing::error!(%error, "a change could not be written to disk and was refused");
                let error = Arc::new(error);
                for write in accepted {
                    let _ = write.done.send(Err(WriteError::Disk(Arc::clone(&error))));
                }
            }
        }
    }

    fn current(&self, key: &Key) -> Option<Arc<Object>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.objects.get(&key.resource)?.get(&(Arc::clone(&key.namespace), Arc::clone(&key.name))).cloned()
    }

    fn publish(&self, accepted: Vec<Accepted>, version: u64) {
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            for write in &accepted {
                state.apply(Arc::clone(&write.event));
            }
            state.version = version;
        }
        self.publish.send_replace(version);
        for write in accepted {
            // The caller may have given up; the write stands.
            let _ = write.done.send(Ok(Arc::clone(&write.event.object)));
        }
    }
}

impl State {
    fn apply(&mut self, event: Arc<Event>) {
        let names = self.objects.entry(Arc::clone(&event.key.resource)).or_default();
        let name = (Arc::clone(&event.key.namespace), Arc::clone(&event.key.name));
        match event.kind {
            EventKind::Deleted => drop(names.remove(&name)),
            EventKind::Added | EventKind::Modified => drop(names.insert(name, Arc::clone(&event.object))),
        }
        self.remember(event);
    }

    fn remember(&mut self, event: Arc<Event>) {
        self.history.push_back(event);
        if self.history.len() > HISTORY
            && let Some(oldest) = self.history.pop_front()
        {
            self.forgotten = oldest.object.version;
        }
    }
}

fn check(expect: Expect, current: Option<&Object>) -> Result<(), WriteError> {
    match (expect, current) {
        (Expect::Absent, None) => Ok(()),
        (Expect::Absent, Some(_)) => Err(WriteError::Exists),
        (Expect::Version(_), None) => Err(WriteError::Missing),
        (Expect::Version(version), Some(object)) if object.version == version => Ok(()),
        (Expect::Version(_), Some(_)) => Err(WriteError::Conflict),
    }
}

fn event(key: Key, current: Option<Arc<Object>>, value: Option<Value>, version: u64) -> Event {
    match (value, current) {
        (Some(value), None) => {
            Event { kind: EventKind::Added, key, object: Arc::new(Object::new(value, version)), before: None }
        }
        (Some(value), before) => {
            Event { kind: EventKind::Modified, key, object: Arc::new(Object::new(value, version)), before }
        }
        (None, current) => {
            let last = current.as_ref().map(|o| o.value.clone()).unwrap_or_default();
            Event { kind: EventKind::Deleted, key, object: Arc::new(Object::new(last, version)), before: current }
        }
    }
}
