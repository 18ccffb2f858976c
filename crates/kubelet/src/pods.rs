//! All pods of the node: which are to run, and the task of each.
//!
//! There is one node, so every pod without one is bound to it here: the scheduler's part.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::events::Kind;
use crate::node::Node;
use crate::pod::{self, Context, Wish};
use crate::volumes;

struct Entry {
    namespace: String,
    name: String,
    pod: watch::Sender<Arc<Pod>>,
    wish: watch::Sender<Wish>,
    context: watch::Receiver<Option<Arc<Context>>>,
    task: JoinHandle<()>,
}

/// The pods of the node by UID.
#[derive(Default)]
pub(crate) struct Pods {
    entries: Mutex<HashMap<String, Entry>>,
    stopping: std::sync::atomic::AtomicBool,
}

impl std::fmt::Debug for Pods {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pods").finish_non_exhaustive()
    }
}

impl Pods {
    /// Follows the API server's pods until the runtime stops.
    pub(crate) async fn follow(self: Arc<Self>, node: Arc<Node>) {
        let api: Api<Pod> = Api::all(node.client.clone());
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
        let mut listed: Option<Vec<String>> = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed = Some(Vec::new()),
                Ok(watcher::Event::InitApply(pod)) => {
                    if let Some(listed) = &mut listed {
                        listed.extend(pod.metadata.uid.clone());
                    }
                    self.apply(&node, pod);
                }
                Ok(watcher::Event::InitDone) => {
                    let listed = listed.take().unwrap_or_default();
                    self.forget_all_but(&listed);
                    remove_strangers(&node, &listed);
                }
                Ok(watcher::Event::Apply(pod)) => self.apply(&node, pod),
                Ok(watcher::Event::Delete(pod)) => {
                    self.wish(pod.metadata.uid.as_deref().unwrap_or_default(), Wish::Gone)
                }
                Err(error) => tracing::warn!(%error, "the watch of pods is interrupted and tried again"),
            }
        }
    }

    fn apply(&self, node: &Arc<Node>, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        match pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).filter(|n| !n.is_empty()) {
            None => return bind(node, pod),
            Some(name) if name != node.config.node_name => return,
            Some(_) => {}
        }
        let deleting = pod.metadata.deletion_timestamp.is_some();
        let grace = pod.metadata.deletion_grace_period_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(30);
        let pod = Arc::new(pod);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(&uid) {
            entry.pod.send_replace(pod);
        } else if self.stopping.load(std::sync::atomic::Ordering::SeqCst) {
            return;
        } else {
            entries.insert(uid.clone(), start(node, pod));
        }
        drop(entries);
        if deleting {
            self.wish(&uid, Wish::Delete(Duration::from_secs(grace)));
        }
    }

    fn wish(&self, uid: &str, wish: Wish) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(uid) {
            entry.wish.send_if_modified(|old| {
                // What is gone stays gone, and a stop is not undone by a deletion that it causes no more.
                let firmer = *old != Wish::Gone && *old != wish;
                if firmer {
                    *old = wish;
                }
                firmer
            });
        }
        // Tasks that have ended are forgotten on the way.
        entries.retain(|_, entry| !entry.task.is_finished());
    }

    fn forget_all_but(&self, listed: &[String]) {
        let known: Vec<String> = self.entries.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        for uid in known.iter().filter(|uid| !listed.contains(uid)) {
            self.wish(uid, Wish::Gone);
        }
    }

    /// The pod of this name that runs here; with `uid`, only that incarnation.
    pub(crate) fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<Arc<Context>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |key: &str, entry: &Entry| {
            entry.namespace == namespace && entry.name == name && uid.is_none_or(|uid| uid == key)
        };
        let found = entries.iter().filter(|(key, entry)| wanted(key, entry) && !entry.task.is_finished());
        found.filter_map(|(_, entry)| entry.context.borrow().clone()).next()
    }

    /// Ends every pod within the grace period and leaves their objects.
    pub(crate) async fn stop(&self, grace: Duration) {
        self.stopping.store(true, std::sync::atomic::Ordering::SeqCst);
        let entries: Vec<Entry> =
            self.entries.lock().unwrap_or_else(PoisonError::into_inner).drain().map(|(_, entry)| entry).collect();
        for entry in &entries {
            let own = entry.context.borrow().as_ref().map_or(grace, |context| context.grace());
            entry.wish.send_replace(Wish::Stop(grace.min(own)));
        }
        for entry in entries {
            drop(entry.task.await);
        }
    }
}

/// What an earlier run said of its pods holds no more: none of them runs, until it is started anew.
pub(crate) async fn none_is_ready(node: &Arc<Node>) -> Result<(), kube::Error> {
    let own = ListParams::default().fields(&format!("spec.nodeName={}", node.config.node_name));
    for pod in Api::<Pod>::all(node.client.clone()).list(&own).await? {
        let Some(conditions) = not_ready(&pod) else { continue };
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        // The UID makes sure that a later pod of the same name is not meant.
        let patch = serde_json::json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": conditions}});
        let api: Api<Pod> = Api::namespaced(node.client.clone(), &namespace);
        match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A pod's conditions without its readiness; `None`: it is not ready.
fn not_ready(pod: &Pod) -> Option<Vec<PodCondition>> {
    let mut conditions = pod.status.as_ref()?.conditions.clone()?;
    let is_of_readiness =
        |c: &&mut PodCondition| matches!(c.type_.as_str(), "Ready" | "ContainersReady") && c.status == "True";
    let mut was_ready = false;
    for condition in conditions.iter_mut().filter(is_of_readiness) {
        was_ready = true;
        condition.status = "False".to_owned();
        condition.reason = Some("NodeRestarted".to_owned());
        condition.message = Some("its containers ended with the node's last run".to_owned());
        condition.last_transition_time = Some(Time(Timestamp::now()));
    }
    was_ready.then_some(conditions)
}

fn start(node: &Arc<Node>, pod: Arc<Pod>) -> Entry {
    let (namespace, name) =
        (pod.metadata.namespace.clone().unwrap_or_default(), pod.metadata.name.clone().unwrap_or_default());
    let (pods, watched) = watch::channel(pod);
    let (wish, wished) = watch::channel(Wish::Run);
    let (context, made) = watch::channel(None);
    let task = tokio::spawn(pod::run(Arc::clone(node), watched, wished, context));
    Entry { namespace, name, pod: pods, wish, context: made, task }
}

/// Binds a pod to this node.
fn bind(node: &Arc<Node>, pod: Pod) {
    if pod.metadata.deletion_timestamp.is_some() {
        return;
    }
    let node = Arc::clone(node);
    tokio::spawn(async move {
        let namespace = pod.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let name = pod.metadata.name.clone().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(node.client.clone(), &namespace);
        // The UID makes sure that a later pod of the same name is not meant.
        let patch =
            serde_json::json!({"metadata": {"uid": pod.metadata.uid}, "spec": {"nodeName": node.config.node_name}});
        match api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => {
                let message = format!("Successfully assigned {namespace}/{name} to {}", node.config.node_name);
                node.events.pod(&pod, None, Kind::Normal, "Scheduled", message);
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            // The next change of the pod tries again.
            Err(error) => {
                node.events.pod(&pod, None, Kind::Warning, "FailedScheduling", format!("the pod is not bound: {error}"))
            }
        }
    });
}

/// Removes what an earlier, killed run left of pods that are no more.
fn remove_strangers(node: &Node, known: &[String]) {
    for entry in std::fs::read_dir(node.config.state_dir.join("pods")).into_iter().flatten().flatten() {
        let uid = entry.file_name().to_string_lossy().into_owned();
        if !known.contains(&uid)
            && let Err(error) = volumes::remove(&entry.path())
        {
            tracing::warn!(path = %entry.path().display(), %error, "what is left of an old pod is not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(conditions: &[(&str, &str)]) -> Pod {
        let conditions: Vec<_> =
            conditions.iter().map(|(kind, status)| json!({"type": kind, "status": status})).collect();
        serde_json::from_value(json!({"metadata": {"name": "a"}, "status": {"conditions": conditions}})).unwrap()
    }

    #[test]
    fn a_pod_of_an_earlier_run_is_not_ready() {
        let before =
            [("PodScheduled", "True"), ("Ready", "True"), ("ContainersReady", "True"), ("example.org/gate", "True")];
        let now = not_ready(&pod(&before)).unwrap();
        let now: Vec<_> = now.iter().map(|c| (c.type_.as_str(), c.status.as_str())).collect();
        let expected =
            [("PodScheduled", "True"), ("Ready", "False"), ("ContainersReady", "False"), ("example.org/gate", "True")];
        assert_eq!(now, expected);
        assert_eq!(not_ready(&pod(&[("PodScheduled", "True"), ("Ready", "False")])), None);
        assert_eq!(not_ready(&Pod::default()), None);
    }
}
