//! One pod's life: namespaces and volumes, init containers in order, the containers, their end, and the pod's.
//!
//! A pod is one task ([`run`]); each container is one more ([`runner`]). They share a [`PodRecord`](status::PodRecord), and a third task writes
//! the status that follows from it whenever it changes ([`report`]).

mod backoff;
mod context;
pub(crate) mod downward;
pub(crate) mod environment;
mod hooks;
pub(crate) mod probe;
mod report;
mod restart;
mod runner;
pub(crate) mod status;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub(crate) use context::{Context, Live};
use runner::Finish;
use status::{Outcome, Role};

use crate::events::Kind;
use crate::network;
use crate::node::Node;
use crate::volumes::{self, VolumeError, Volumes};

/// What the manager wants of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Run.
    Run,
    /// Its object is being deleted: end within the grace period, then remove the object.
    Delete(Duration),
    /// Its object is gone: end at once.
    Gone,
    /// The runtime stops: end within the grace period and leave the object.
    Stop(Duration),
}

/// A container's task.
struct Task {
    role: Role,
    stop: watch::Sender<Option<Instant>>,
    join: JoinHandle<Finish>,
}

/// Runs a pod until it is deleted or the runtime stops.
pub(crate) async fn run(
    node: Arc<Node>,
    pod: watch::Receiver<Arc<Pod>>,
    wish: watch::Receiver<Wish>,
    register: watch::Sender<Option<Arc<Context>>>,
) {
    let first = Arc::clone(&pod.borrow());
    let uid = first.metadata.uid.clone().unwrap_or_default();
    let context = Context::new(Arc::clone(&node), pod);
    register.send_replace(Some(Arc::clone(&context)));
    let reporter = tokio::spawn(report::run(Arc::clone(&context)));
    let mut tasks = Vec::new();
    let mut wanted = wish.clone();
    let work = async {
        if restart::finished_before(&first) {
            // It has ended in an earlier life of the runtime; only its object is left.
            context.set_outcome(restart::outcome_before(&first));
            return;
        }
        if set_up(&context).await {
            bring_up(&context, &mut tasks).await;
        }
    };
    let overdue = tokio::select! {
        () = work => false,
        _ = wanted.wait_for(|wish| *wish != Wish::Run) => false,
        () = deadline(&first) => true,
    };
    if overdue {
        // It fails as a whole, with what still runs.
        context.event(
            None,
            Kind::Normal,
            "DeadlineExceeded",
            "Pod was active on the node longer than the specified deadline",
        );
        let message = Some("Pod was active on the node longer than the specified deadline".to_owned());
        terminate(&context, std::mem::take(&mut tasks), context.grace(), wish.clone()).await;
        context.set_outcome(Outcome { succeeded: false, reason: Some("DeadlineExceeded".to_owned()), message });
    }
    // Everything has ended by itself, or somebody wants it to.
    let last = wanted.wait_for(|wish| *wish != Wish::Run).await.map_or(Wish::Gone, |wish| *wish);
    let grace = match last {
        Wish::Delete(grace) | Wish::Stop(grace) => grace,
        Wish::Gone | Wish::Run => Duration::ZERO,
    };
    context.update(|record| record.stopping = true);
    terminate(&context, tasks, grace, wish.clone()).await;
    context.finish();
    if reporter.await.is_err() {
        tracing::error!(pod = context.name(), "the status of a pod is no longer written");
    }
    clean_up(&context, &uid);
    if matches!(last, Wish::Delete(_)) {
        report::delete(&context).await;
    }
}

/// Waits until the pod has been active for as long as it may (`activeDeadlineSeconds`); for ever where it says nothing.
async fn deadline(pod: &Pod) {
    let limit = pod.spec.as_ref().and_then(|s| s.active_deadline_seconds).and_then(|s| u64::try_from(s).ok());
    match limit {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}

/// Makes the pod's namespaces and volumes. False when that can never succeed.
async fn set_up(context: &Arc<Context>) -> bool {
    let pod = context.pod();
    let mut pause = Duration::from_millis(100);
    loop {
        let made = async {
            if pod.spec.as_ref().and_then(|s| s.host_network) == Some(true) {
                return network::of_the_node();
            }
            let address = context.node.addresses.take()?;
            let hostname = volumes::hostname(&pod);
            let made = tokio::task::spawn_blocking(move || network::create(&hostname, address)).await;
            made.unwrap_or(Err(network::NetworkError::Exhausted))
                .inspect_err(|_| context.node.addresses.give_back(address))
        };
        match made.await {
            Ok(namespaces) => {
                context.set_namespaces(namespaces);
                break;
            }
            Err(error) => {
                context.event(
                    None,
                    Kind::Warning,
                    "FailedCreatePodSandBox",
                    format!("the pod has no network yet: {error}"),
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(10));
            }
        }
    }
    wait_for_volumes(context).await;
    tokio::spawn(keep_volumes_current(Arc::clone(context)));
    true
}

/// Makes the volumes; what is missing is waited for.
async fn wait_for_volumes(context: &Arc<Context>) {
    let mut changes = context.node.cluster.changes();
    loop {
        changes.mark_unchanged();
        let (pod, facts) = (context.pod(), context.facts());
        let directory = context.directory().join("volumes");
        match Volumes::prepare(&context.node, &pod, &facts, &directory).await {
            Ok((volumes, refresh)) => return context.set_volumes(volumes, refresh),
            Err((volume, error)) => {
                // A claim is bound within moments; that is no news.
                if !matches!(error, VolumeError::Unbound(_)) {
                    context.event(
                        None,
                        Kind::Warning,
                        "FailedMount",
                        format!("MountVolume.SetUp failed for volume \"{volume}\": {error}"),
                    );
                }
                // Something else than an object of the cluster may be what is missing, such as a directory of the host.
                drop(tokio::time::timeout(Duration::from_secs(5), changes.changed()).await);
            }
        }
    }
}

/// Writes files anew when what they come from changes, or a token grows old.
async fn keep_volumes_current(context: Arc<Context>) {
    let mut changes = context.node.cluster.changes();
    loop {
        let until = context.refresh().map(|at| at.duration_since(jiff::Timestamp::now()).unsigned_abs());
        tokio::select! {
            () = context.finished() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(until.unwrap_or(Duration::from_secs(3600))) => {}
        }
        let Some(volumes) = context.volumes() else { continue };
        let (refresh, failed) = volumes.update(&context.node, &context.pod(), &context.facts()).await;
        for (volume, error) in failed {
            context.event(
                None,
                Kind::Warning,
                "FailedMount",
                format!("volume \"{volume}\" keeps its content: {error}"),
            );
        }
        // A token that could not be had is asked for again soon.
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(30);
        context.set_refresh(refresh.map(|at| at.max(soon)));
    }
}

fn start(context: &Arc<Context>, container: &Container, role: Role, tasks: &mut Vec<Task>) {
    let (stop, stopped) = watch::channel(None);
    let join = tokio::spawn(runner::run(Arc::clone(context), container.clone(), role, stopped));
    tasks.push(Task { role, stop, join });
}

/// Starts the containers in their order and waits until those that end have ended for good.
async fn bring_up(context: &Arc<Context>, tasks: &mut Vec<Task>) {
    let pod = context.pod();
    let Some(spec) = pod.spec.as_ref() else { return };
    for container in spec.init_containers.iter().flatten() {
        if container.restart_policy.as_deref() == Some("Always") {
            start(context, container, Role::Sidecar, tasks);
            context.until(|record| record.container(&container.name).is_some_and(|c| c.started)).await;
            continue;
        }
        start(context, container, Role::Init, tasks);
        let Some(task) = tasks.last_mut() else { return };
        let finish = (&mut task.join).await;
        tasks.pop();
        match finish {
            Ok(Finish::Ended(0)) => {}
            Ok(Finish::Ended(code)) => {
                let message = format!("init container {} ended with {code}", container.name);
                return end(context, tasks, Outcome { succeeded: false, reason: None, message: Some(message) }).await;
            }
            Ok(Finish::Stopped) | Err(_) => return,
        }
    }
    context.update(|record| record.initialized = true);
    for container in &spec.containers {
        start(context, container, Role::App, tasks);
    }
    let mut succeeded = true;
    for task in tasks.iter_mut().filter(|t| t.role == Role::App) {
        match (&mut task.join).await {
            Ok(Finish::Ended(code)) => succeeded &= code == 0,
            Ok(Finish::Stopped) | Err(_) => return,
        }
    }
    tasks.retain(|task| task.role != Role::App);
    end(context, tasks, Outcome { succeeded, reason: None, message: None }).await;
}

/// Every container that ends has ended: the sidecars follow, and the pod has its outcome.
async fn end(context: &Arc<Context>, tasks: &mut Vec<Task>, outcome: Outcome) {
    let deadline = Instant::now() + context.grace();
    stop_sidecars(tasks, deadline).await;
    context.set_outcome(outcome);
}

async fn stop_sidecars(tasks: &mut Vec<Task>, deadline: Instant) {
    // The last started is the first to go; each waits for the one before.
    while let Some(task) = tasks.pop() {
        let soonest = Instant::now() + Duration::from_secs(2);
        task.stop.send_replace(Some(deadline.max(soonest)));
        drop(task.join.await);
    }
}

/// Ends all containers: those of the application together, then the sidecars. A later wish may shorten the grace period.
async fn terminate(context: &Arc<Context>, tasks: Vec<Task>, grace: Duration, mut wish: watch::Receiver<Wish>) {
    let deadline = Instant::now() + grace;
    let (mut sidecars, apps): (Vec<Task>, Vec<Task>) = tasks.into_iter().partition(|t| t.role == Role::Sidecar);
    let orderly = async {
        for task in &apps {
            task.stop.send_replace(Some(deadline));
        }
        for task in apps {
            drop(task.join.await);
        }
        stop_sidecars(&mut sidecars, deadline).await;
    };
    tokio::select! {
        () = orderly => {}
        _ = wish.wait_for(|wish| matches!(wish, Wish::Gone | Wish::Delete(Duration::ZERO))) => {}
    }
    context.kill_all().await;
}

fn clean_up(context: &Context, uid: &str) {
    if let Err(error) = volumes::remove(&context.directory()) {
        tracing::warn!(pod = context.name(), %error, "a pod's directory is not removed; the next start tries again");
    }
    context.node.tokens.forget(uid);
}
