//! Tells what is started as it starts, and knows when everything is Ready.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

use super::detach::say;
use super::given::Given;
use crate::control::Listening;
use crate::state::State;

/// Watches pods and deployments.
pub(super) struct Progress {
    pods: reflector::Store<Pod>,
    deployments: reflector::Store<Deployment>,
    changed: watch::Receiver<u64>,
    told: BTreeSet<String>,
    started: Instant,
}

impl Progress {
    /// Starts to watch.
    pub(super) fn start(client: Client, started: Instant) -> Self {
        let (tick, changed) = watch::channel(0);
        let pods = follow(Api::all(client.clone()), tick.clone());
        let deployments = follow(Api::all(client), tick);
        Self { pods, deployments, changed, told: BTreeSet::new(), started }
    }

    /// Waits for one deployment to be available. What it said of itself in an earlier run does not count without a pod that is ready now.
    pub(super) async fn until_available(&mut self, namespace: &str, name: &str, limit: Duration) -> anyhow::Result<()> {
        let available = |p: &Self| {
            let deployments = p.deployments.state();
            let mut named =
                deployments.iter().filter(|d| d.name_any() == name && d.namespace().as_deref() == Some(namespace));
            named.any(|d| is_available(d) && p.pods.state().iter().any(|pod| is_ready(pod) && selects(d, pod)))
        };
        if self.until(limit, available).await {
            return Ok(());
        }
        anyhow::bail!(
            "{namespace}/{name} was not available after {} s, and nothing of the mesh can start without it: see `kubectl logs -n {namespace} deploy/{name}`",
            limit.as_secs()
        )
    }

    /// Waits for what was applied, and for every deployment and every pod; else names what is waited for.
    pub(super) async fn until_ready(&mut self, given: &[Given], limit: Duration) -> Result<(), String> {
        if self.until(limit, |p| p.waiting(given).is_empty()).await {
            return Ok(());
        }
        Err(self.waiting(given).join(", "))
    }

    fn waiting(&self, given: &[Given]) -> Vec<String> {
        let deployments = self.deployments.state();
        let pods = self.pods.state();
        let missing = given.iter().filter_map(|given| given.missing(&pods, &deployments));
        let late = deployments
            .iter()
            .filter(|d| !is_available(d))
            .map(|d| format!("deployment {}/{}", d.namespace().unwrap_or_default(), d.name_any()));
        let unready = pods.iter().filter(|p| !is_ready(p) && !is_finished(p)).map(|p| format!("pod {}", key(p)));
        missing.chain(late).chain(unready).collect()
    }

    async fn until(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let deadline = tokio::time::sleep(limit);
        tokio::pin!(deadline);
        loop {
            self.tell();
            if condition(self) {
                return true;
            }
            tokio::select! {
                changed = self.changed.changed() => if changed.is_err() { return false },
                () = &mut deadline => return false,
            }
        }
    }

    fn tell(&mut self) {
        for pod in self.pods.state() {
            let key = key(&pod);
            if is_ready(&pod) && self.told.insert(key.clone()) {
                say(&format!("{:>6.2} s  {key} ready{}", self.started.elapsed().as_secs_f32(), sidecar_note(&pod)));
            }
        }
    }
}

fn follow<K>(api: Api<K>, tick: watch::Sender<u64>) -> reflector::Store<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let stream = reflector(writer, watcher(api, watcher::Config::default())).default_backoff();
    tokio::spawn(stream.for_each(move |_| {
        tick.send_modify(|n| *n += 1);
        std::future::ready(())
    }));
    store
}

/// The short table at the end.
pub(super) fn summary(listening: Listening, state: &State, hosts: &[String], started: Instant) {
    let option = state.option();
    say(&format!("\nup after {:.2} s", started.elapsed().as_secs_f32()));
    for host in hosts {
        say(&format!(
            "  public host  https://{host}/   here: curl -k --resolve {host}:{port}:{ip} https://{host}:{port}/",
            port = listening.https.port(),
            ip = listening.https.ip()
        ));
    }
    say(&format!("  API          https://{}", listening.api));
    say(&format!("  inside       varka shell{option}   (kubectl, curl and the public hosts just work there)"));
    say(&format!(
        "  console      varka dashboard{option}   (in a browser; in the terminal varka graph{option}, top, trace, logs, metrics)"
    ));
}

/// Condition Ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn is_finished(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        || pod.status.as_ref().and_then(|s| s.phase.as_deref()).is_some_and(|p| p == "Succeeded" || p == "Failed")
}

fn is_available(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let status = deployment.status.as_ref();
    let observed = status.and_then(|s| s.observed_generation) >= deployment.metadata.generation;
    let updated = status.and_then(|s| s.updated_replicas).unwrap_or(0);
    let available = status.and_then(|s| s.available_replicas).unwrap_or(0);
    observed && updated >= wanted && available >= wanted
}

/// By labels, which is how the system's own deployments select.
fn selects(deployment: &Deployment, pod: &Pod) -> bool {
    let wanted = deployment.spec.iter().flat_map(|spec| spec.selector.match_labels.iter().flatten());
    deployment.namespace() == pod.namespace()
        && wanted.into_iter().all(|(name, value)| pod.labels().get(name) == Some(value))
}

fn key(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

fn sidecar_note(pod: &Pod) -> &'static str {
    let has = pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten()).any(|c| c.name == "istio-proxy");
    if has { " with its sidecar" } else { "" }
}
