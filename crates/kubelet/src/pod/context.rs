//! What the tasks of one pod share.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::watch;

use super::downward::Facts;
use super::restart;
use super::status::{ContainerRecord, Outcome, PodRecord};
use crate::container::Handle;
use crate::events::Kind;
use crate::init::protocol::Run;
use crate::logs::Log;
use crate::network::PodNamespaces;
use crate::node::Node;
use crate::streams::Terminal;
use crate::volumes::{Refresh, Volumes};

/// A container that runs.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) handle: Arc<Handle>,
    /// How further programs run in it.
    pub(crate) run: Run,
    pub(crate) log: Arc<Log>,
    /// The writing end of its standard input, where it has one.
    pub(crate) stdin: Option<Arc<tokio::sync::Mutex<Option<tokio::net::unix::pipe::Sender>>>>,
    pub(crate) terminal: Option<Arc<Terminal>>,
    /// Its exit code once it has ended.
    pub(crate) exit: watch::Receiver<Option<i32>>,
}

/// The shared state of one pod.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) node: Arc<Node>,
    pod: watch::Receiver<Arc<Pod>>,
    record: watch::Sender<PodRecord>,
    namespaces: OnceLock<Arc<PodNamespaces>>,
    volumes: OnceLock<Arc<Volumes>>,
    refresh: Mutex<Refresh>,
    live: Mutex<HashMap<String, Live>>,
    done: watch::Sender<bool>,
}

impl Context {
    pub(crate) fn new(node: Arc<Node>, pod: watch::Receiver<Arc<Pod>>) -> Arc<Self> {
        let record = restart::record(&pod.borrow(), Timestamp::now());
        Arc::new(Self {
            node,
            pod,
            record: watch::channel(record).0,
            namespaces: OnceLock::new(),
            volumes: OnceLock::new(),
            refresh: Mutex::new(None),
            live: Mutex::new(HashMap::new()),
            done: watch::channel(false).0,
        })
    }

    /// The pod as it is now.
    pub(crate) fn pod(&self) -> Arc<Pod> {
        Arc::clone(&self.pod.borrow())
    }

    pub(crate) fn name(&self) -> String {
        let pod = self.pod.borrow();
        let part = |p: &Option<String>| p.clone().unwrap_or_default();
        format!("{}/{}", part(&pod.metadata.namespace), part(&pod.metadata.name))
    }

    /// Where the pod's files are.
    pub(crate) fn directory(&self) -> PathBuf {
        self.node.pod_directory(self.pod.borrow().metadata.uid.as_deref().unwrap_or_default())
    }

    pub(crate) fn log_directory(&self, container: &str) -> PathBuf {
        self.directory().join("logs").join(container)
    }

    /// Its own grace period.
    pub(crate) fn grace(&self) -> Duration {
        let seconds = self.pod.borrow().spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
        Duration::from_secs(seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(30))
    }

    pub(crate) fn facts(&self) -> Facts {
        self.node.facts(self.namespaces.get().map(|n| n.address))
    }

    pub(crate) fn namespaces(&self) -> Option<Arc<PodNamespaces>> {
        self.namespaces.get().cloned()
    }

    pub(crate) fn set_namespaces(&self, namespaces: PodNamespaces) {
        let address = namespaces.address;
        // Set once, by the pod's own task.
        if self.namespaces.set(Arc::new(namespaces)).is_ok() {
            self.update(|record| record.address = Some(address));
        }
    }

    pub(crate) fn volumes(&self) -> Option<Arc<Volumes>> {
        self.volumes.get().cloned()
    }

    pub(crate) fn set_volumes(&self, volumes: Volumes, refresh: Refresh) {
        // Set once, by the pod's own task.
        drop(self.volumes.set(Arc::new(volumes)));
        self.set_refresh(refresh);
    }

    pub(crate) fn refresh(&self) -> Refresh {
        *self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_refresh(&self, refresh: Refresh) {
        *self.refresh.lock().unwrap_or_else(PoisonError::into_inner) = refresh;
    }

    /// The pod's record, and word of its changes.
    pub(crate) fn record(&self) -> watch::Receiver<PodRecord> {
        self.record.subscribe()
    }

    /// Changes the record; who waits for it hears of it only when it is another than before.
    pub(crate) fn update(&self, change: impl FnOnce(&mut PodRecord)) {
        self.record.send_if_modified(|record| {
            let before = record.clone();
            change(record);
            *record != before
        });
    }

    pub(crate) fn update_container(&self, name: &str, change: impl FnOnce(&mut ContainerRecord)) {
        self.update(|record| {
            if let Some(container) = record.container_mut(name) {
                change(container);
            }
        });
    }

    pub(crate) fn set_outcome(&self, outcome: Outcome) {
        self.update(|record| {
            record.outcome = Some(outcome);
            for container in &mut record.containers {
                container.ready = false;
            }
        });
    }

    /// Waits until the record is as wanted.
    pub(crate) async fn until(&self, wanted: impl FnMut(&PodRecord) -> bool) {
        // The sender is ours, so it does not end before us.
        drop(self.record().wait_for(wanted).await);
    }

    pub(crate) fn event(
        &self,
        container: Option<(&Container, bool)>,
        kind: Kind,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let about = container.map(|(container, init)| (container.name.as_str(), init));
        self.node.events.pod(&self.pod(), about, kind, reason, message);
    }

    pub(crate) fn live(&self, container: &str) -> Option<Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).get(container).cloned()
    }

    pub(crate) fn set_live(&self, container: &str, live: Option<Live>) {
        let mut all = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        match live {
            Some(live) => drop(all.insert(container.to_owned(), live)),
            None => drop(all.remove(container)),
        }
    }

    /// Ends whatever still runs, and waits until it has.
    pub(crate) async fn kill_all(&self) {
        let all: Vec<Live> =
            self.live.lock().unwrap_or_else(PoisonError::into_inner).drain().map(|(_, live)| live).collect();
        for live in &all {
            live.handle.kill();
        }
        for live in &all {
            live.handle.gone().await;
        }
    }

    /// The pod's tasks may end.
    pub(crate) fn finish(&self) {
        self.done.send_replace(true);
    }

    pub(crate) async fn finished(&self) {
        drop(self.done.subscribe().wait_for(|done| *done).await);
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(namespaces) = self.namespaces.get() {
            self.node.addresses.give_back(namespaces.address);
        }
    }
}
