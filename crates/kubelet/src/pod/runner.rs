//! One container of a pod: prepared, started, attended, and started again as its policy says, until it is told to stop.

mod attend;
mod prepare;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use tokio::sync::watch;
use tokio::time::Instant;

use super::backoff::{Backoff, again};
use super::context::{Context, Live};
use super::status::{Role, State, Terminated};
use crate::container;
use crate::events::Kind;
use crate::init::protocol::Ended;
use crate::logs::{self, Log, Stream};
use crate::streams::{self, Terminal};
use prepare::Prepared;

/// How a container's task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// Its program ended with this code, and its policy lets it stay so.
    Ended(i32),
    /// It was told to.
    Stopped,
}

/// The word to stop: by when it must have ended.
pub(super) type Stop = watch::Receiver<Option<Instant>>;

struct Runner {
    context: Arc<Context>,
    container: Container,
    role: Role,
    policy: String,
}

async fn told(stop: &mut Stop) -> Instant {
    match stop.wait_for(Option::is_some).await {
        Ok(deadline) => deadline.unwrap_or_else(Instant::now),
        // The pod's task is gone, and with it who would wait for us.
        Err(_) => Instant::now(),
    }
}

/// A container that has been started.
struct Started {
    live: Live,
    ended: tokio::sync::oneshot::Receiver<Ended>,
    exit: watch::Sender<Option<i32>>,
    pumps: Vec<tokio::task::JoinHandle<()>>,
    at: Timestamp,
}

/// Runs a container until it has ended for good or is told to stop.
pub(super) async fn run(context: Arc<Context>, container: Container, role: Role, mut stop: Stop) -> Finish {
    let policy =
        context.pod().spec.as_ref().and_then(|s| s.restart_policy.clone()).unwrap_or_else(|| "Always".to_owned());
    let runner = Runner { context, container, role, policy };
    let mut backoff = Backoff::default();
    loop {
        let begun = Instant::now();
        let prepared = tokio::select! {
            prepared = runner.prepare() => prepared,
            _ = told(&mut stop) => return Finish::Stopped,
        };
        let code = match runner.launch(&prepared).await {
            Ok(started) => {
                let (terminated, stopped) = runner.attend(started, &prepared, &mut stop).await;
                let code = terminated.code;
                runner.ended(terminated);
                if stopped {
                    return Finish::Stopped;
                }
                code
            }
            Err(reason) => {
                runner.failed_to_start(&reason);
                // What could not be started counts as ended with the code a shell gives for it.
                128
            }
        };
        if !again(runner.role, &runner.policy, code) {
            return Finish::Ended(code);
        }
        let pause = backoff.after(begun.elapsed());
        if !pause.is_zero() {
            let pod = runner.context.name();
            let text = format!(
                "back-off {}s restarting failed container={} pod={pod}",
                pause.as_secs(),
                runner.container.name
            );
            runner.event(
                Kind::Warning,
                "BackOff",
                format!("Back-off restarting failed container {} in pod {pod}", runner.container.name),
            );
            runner.waiting("CrashLoopBackOff", Some(text));
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = told(&mut stop) => return Finish::Stopped,
        }
    }
}

impl Runner {
    fn event(&self, kind: Kind, reason: &'static str, message: impl Into<String>) {
        self.context.event(Some((&self.container, self.role != Role::App)), kind, reason, message);
    }

    /// Shows the container waiting; a run that has ended becomes its last one.
    fn waiting(&self, reason: &str, message: Option<String>) {
        self.context.update_container(&self.container.name, |record| {
            if let State::Terminated(terminated) = &record.state {
                record.last = Some(terminated.clone());
                record.restarts = record.restarts.saturating_add(1);
            }
            record.state = State::Waiting { reason: reason.to_owned(), message };
            record.ready = false;
            record.started = false;
        });
    }

    fn ended(&self, terminated: Terminated) {
        self.context.update_container(&self.container.name, |record| {
            record.state = State::Terminated(terminated);
            record.ready = false;
            record.started = false;
        });
    }

    fn failed_to_start(&self, reason: &str) {
        self.event(Kind::Warning, "Failed", format!("Error: {reason}"));
        let now = Timestamp::now();
        self.ended(Terminated {
            code: 128,
            signal: None,
            reason: "StartError".to_owned(),
            message: Some(reason.to_owned()),
            started: None,
            finished: now,
        });
    }

    /// Starts the container's process 1 and its program.
    async fn launch(&self, prepared: &Prepared) -> Result<Started, String> {
        let name = &self.container.name;
        let namespaces = self.context.namespaces().ok_or("the pod has no network")?;
        let start = self.context.record().borrow().container(name).map_or(0, |record| match &record.state {
            State::Terminated(_) => record.restarts.saturating_add(1),
            _ => record.restarts,
        });
        let io = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
        let log = Log::open(&self.context.log_directory(name), start, self.container.stdin == Some(true))
            .map_err(io("log"))?;
        let program = &self.context.node.config.self_exe;
        let handle =
            container::create(program, &prepared.spec, &namespaces).await.map_err(|error| error.to_string())?;
        let image = self.container.image.as_deref().unwrap_or_default();
        self.event(Kind::Normal, "Pulled", format!("Container image \"{image}\" already present on machine"));
        self.event(Kind::Normal, "Created", format!("Created container {name}"));
        let mut pumps = Vec::new();
        let (mut streams, mut stdin) = (Vec::new(), None);
        let mut run = prepared.run.clone();
        if !run.terminal {
            run.streams = [self.container.stdin == Some(true), true, true];
            if run.streams.first() == Some(&true) {
                let (theirs, ours) = streams::input().map_err(io("standard input"))?;
                streams.push(theirs);
                stdin = Some(Arc::new(tokio::sync::Mutex::new(Some(ours))));
            }
            for stream in [Stream::Stdout, Stream::Stderr] {
                let (theirs, pump) = logs::capture(&log, stream).map_err(io("output"))?;
                streams.push(theirs);
                pumps.push(pump);
            }
        }
        let running = handle.run_main(run, &streams).await.map_err(|error| error.to_string())?;
        drop(streams);
        let terminal = running.terminal.map(Terminal::new).transpose().map_err(io("terminal"))?.map(Arc::new);
        if let Some(terminal) = &terminal {
            let reader = terminal.duplicate().map_err(io("terminal"))?;
            pumps.push(tokio::spawn(logs::pump(Arc::clone(&log), Stream::Stdout, reader)));
        }
        let (exit, exited) = watch::channel(None);
        let live = Live { handle, run: prepared.run.clone(), log, stdin, terminal, exit: exited };
        self.context.set_live(name, Some(live.clone()));
        let at = Timestamp::now();
        self.context.update_container(name, |record| {
            if let State::Terminated(terminated) = &record.state {
                record.last = Some(terminated.clone());
                record.restarts = record.restarts.saturating_add(1);
            }
            record.state = State::Running { since: at };
            record.id = Some(format!("varka://{}", uuid::Uuid::new_v4().simple()));
        });
        self.event(Kind::Normal, "Started", format!("Started container {name}"));
        Ok(Started { live, ended: running.ended, exit, pumps, at })
    }
}
