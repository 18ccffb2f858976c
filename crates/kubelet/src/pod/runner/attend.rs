//! A running container: its hooks, its probes, and its end, whoever brings it about.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Probe;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::prepare::Prepared;
use super::{Runner, Started, Stop, told};
use crate::events::Kind;
use crate::init::protocol::{Ended, MAIN};
use crate::logs::Log;
use crate::pod::context::Context;
use crate::pod::hooks;
use crate::pod::probe::{self, Schedule, Target, Verdict};
use crate::pod::status::Terminated;

/// As much of a container's last words as its status holds.
const LAST_WORDS: usize = 4096;

/// Why a container that runs must end.
enum Cause {
    Ended(Result<Ended, tokio::sync::oneshot::error::RecvError>),
    Unhealthy(String, Option<i64>),
    Told(Instant),
}

impl Runner {
    /// Stays with a container until it has ended. True beside its end when it was told to.
    pub(super) async fn attend(&self, started: Started, prepared: &Prepared, stop: &mut Stop) -> (Terminated, bool) {
        let Started { live, mut ended, exit, pumps, at } = started;
        let address = self.context.namespaces().map_or(std::net::Ipv4Addr::LOCALHOST, |n| n.address);
        let target = Target::new(address, Arc::clone(&live.handle), prepared.run.clone(), &self.container);
        let (unhealthy, mut complaints) = mpsc::channel(4);
        // Ends with the container: dropping the set aborts what is in it.
        let mut tasks = JoinSet::new();
        tasks.spawn(watch_over(
            Arc::clone(&self.context),
            self.container.clone(),
            self.role,
            target.clone(),
            unhealthy,
        ));
        let cause = tokio::select! {
            result = &mut ended => Cause::Ended(result),
            Some((why, grace)) = complaints.recv() => Cause::Unhealthy(why, grace),
            deadline = told(stop) => Cause::Told(deadline),
        };
        let mut stopped = false;
        let result = match cause {
            Cause::Ended(result) => result,
            Cause::Unhealthy(why, grace) => {
                let name = &self.container.name;
                self.event(Kind::Normal, "Killing", format!("Container {name} failed {why}, will be restarted"));
                let own = grace.and_then(|s| u64::try_from(s).ok()).map(Duration::from_secs);
                let deadline = Instant::now() + own.unwrap_or_else(|| self.context.grace());
                let mut soonest = stop.clone();
                tokio::select! {
                    result = self.shut_down(&target, prepared, &mut ended, deadline) => result,
                    deadline = told(&mut soonest) => {
                        stopped = true;
                        self.shut_down(&target, prepared, &mut ended, deadline).await
                    }
                }
            }
            Cause::Told(deadline) => {
                stopped = true;
                self.event(Kind::Normal, "Killing", format!("Stopping container {}", self.container.name));
                self.context.update_container(&self.container.name, |record| record.ready = false);
                self.shut_down(&target, prepared, &mut ended, deadline).await
            }
        };
        drop(tasks);
        live.handle.gone().await;
        for pump in pumps {
            drop(pump.await);
        }
        live.log.close();
        // The runtime killed the whole container, or its process 1 was killed from outside.
        let end = result.unwrap_or(Ended::Signal(nix::libc::SIGKILL));
        exit.send_replace(Some(end.code()));
        self.context.set_live(&self.container.name, None);
        (self.terminated(end, at, prepared, &live.log), stopped)
    }

    /// Asks the container to end, and ends it at the deadline.
    async fn shut_down(
        &self,
        target: &Target,
        prepared: &Prepared,
        ended: &mut tokio::sync::oneshot::Receiver<Ended>,
        deadline: Instant,
    ) -> Result<Ended, tokio::sync::oneshot::error::RecvError> {
        let hook = self.container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref());
        if let Some(hook) = hook.filter(|_| deadline > Instant::now()) {
            tokio::select! {
                result = &mut *ended => return result,
                done = tokio::time::timeout_at(deadline, hooks::run(target, hook)) => match done {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => self.event(Kind::Warning, "FailedPreStopHook", format!("PreStopHook failed: {error}")),
                    Err(_) => self.event(Kind::Warning, "FailedPreStopHook", "PreStopHook did not end within the grace period"),
                }
            }
        }
        target.container.signal(MAIN, prepared.stop_signal).await;
        match tokio::time::timeout_at(deadline, &mut *ended).await {
            Ok(result) => result,
            Err(_) => {
                target.container.kill();
                ended.await
            }
        }
    }

    fn terminated(&self, end: Ended, started: Timestamp, prepared: &Prepared, log: &Log) -> Terminated {
        let mut said = std::fs::read(&prepared.last_words).unwrap_or_default();
        if said.is_empty()
            && end.code() != 0
            && self.container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError")
        {
            said = log.tail(LAST_WORDS);
        }
        let tail = said.get(said.len().saturating_sub(LAST_WORDS)..).unwrap_or_default();
        let message = Some(String::from_utf8_lossy(tail).into_owned()).filter(|text| !text.is_empty());
        let signal = match end {
            Ended::Signal(signal) => Some(signal),
            Ended::Code(_) => None,
        };
        let reason = if end.code() == 0 { "Completed" } else { "Error" };
        Terminated {
            code: end.code(),
            signal,
            reason: reason.to_owned(),
            message,
            started: Some(started),
            finished: Timestamp::now(),
        }
    }
}

type Complaint = (String, Option<i64>);

/// The hook after the start, then the probes, for as long as the container runs.
async fn watch_over(
    context: Arc<Context>,
    container: k8s_openapi::api::core::v1::Container,
    role: crate::pod::status::Role,
    target: Target,
    unhealthy: mpsc::Sender<Complaint>,
) {
    let name = container.name.clone();
    let init = role != crate::pod::status::Role::App;
    if let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref())
        && let Err(error) = hooks::run(&target, hook).await
    {
        context.event(
            Some((&container, init)),
            Kind::Warning,
            "FailedPostStartHook",
            format!("PostStartHook failed: {error}"),
        );
        drop(unhealthy.send(("its postStart hook".to_owned(), None)).await);
        return;
    }
    let watch = Watch { context: &context, container: &container, init, target: &target };
    if let Some(probe) = &container.startup_probe
        && !watch.until_success(probe, "Startup").await
    {
        drop(unhealthy.send(("startup probe".to_owned(), probe.termination_grace_period_seconds)).await);
        return;
    }
    context.update_container(&name, |record| {
        record.started = true;
        record.ready = container.readiness_probe.is_none();
    });
    let readiness = async {
        if let Some(probe) = &container.readiness_probe {
            watch
                .keep(probe, "Readiness", |ready| {
                    context.update_container(&name, |record| record.ready = ready);
                    true
                })
                .await;
        }
    };
    let liveness = async {
        if let Some(probe) = &container.liveness_probe {
            watch.keep(probe, "Liveness", |alive| alive).await;
            drop(unhealthy.send(("liveness probe".to_owned(), probe.termination_grace_period_seconds)).await);
        }
    };
    tokio::join!(readiness, liveness);
}

struct Watch<'a> {
    context: &'a Context,
    container: &'a k8s_openapi::api::core::v1::Container,
    init: bool,
    target: &'a Target,
}

impl Watch<'_> {
    /// Asks until the verdict is a success (true) or a failure (false).
    async fn until_success(&self, probe: &Probe, name: &str) -> bool {
        let mut success = false;
        self.keep(probe, name, |answer| {
            success = answer;
            false
        })
        .await;
        success
    }

    /// Asks on and on, and tells each verdict that is one, until `heard` says that it is enough.
    async fn keep(&self, probe: &Probe, name: &str, mut heard: impl FnMut(bool) -> bool) {
        let mut schedule = Schedule::new(probe, name != "Liveness");
        let begun = Instant::now();
        loop {
            tokio::time::sleep(schedule.pause()).await;
            let answer = probe::ask(self.target, probe).await;
            let verdict = schedule.answer(answer.is_ok(), begun.elapsed());
            if let (Verdict::Failing | Verdict::Failure, Err(reason)) = (verdict, &answer) {
                let about = Some((self.container, self.init));
                self.context.event(about, Kind::Warning, "Unhealthy", format!("{name} probe failed: {reason}"));
            }
            let go_on = match verdict {
                Verdict::Success => heard(true),
                Verdict::Failure => heard(false),
                Verdict::Failing | Verdict::Undecided => true,
            };
            if !go_on {
                return;
            }
        }
    }
}
