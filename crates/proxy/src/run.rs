//! Starting and stopping: threads, runtimes, signals.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{SignalKind, signal};
use varka_engine::ir;

use crate::bootstrap::{Bootstrap, Engine};
use crate::state::{Lifecycle, State, SyncStatus};
use crate::worker::Worker;
use crate::{Error, cluster, control, envoy, status};

/// Runs a proxy until it is told to end (SIGTERM, SIGINT, `/quitquitquit`) and has drained.
///
/// # Errors
/// It cannot start: see [`Error`]. What goes wrong later is logged and tried again.
pub fn run(bootstrap: Bootstrap) -> Result<(), Error> {
    if let Engine::Envoy(program) = bootstrap.engine.clone() {
        return envoy::run(bootstrap, &program);
    }
    let proxy = Proxy::start(bootstrap)?;
    proxy.wait();
    Ok(())
}

/// A proxy that runs in threads of its own.
#[derive(Debug)]
pub struct Proxy {
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Starts the threads. With a configuration file it serves at once, else when the control plane has answered.
    ///
    /// # Errors
    /// The file is unusable, or threads cannot be started.
    pub fn start(bootstrap: Bootstrap) -> Result<Self, Error> {
        let workers = bootstrap.concurrency.max(1);
        let state = Arc::new(State::new(bootstrap));
        if let Some(path) = state.bootstrap.static_config.clone() {
            let text = std::fs::read(&path).map_err(|source| Error::File { path: path.clone(), source })?;
            let ir: ir::Proxy =
                serde_json::from_slice(&text).map_err(|source| Error::StaticConfig { path: path.clone(), source })?;
            for secret in ir.secrets.values() {
                state.secrets.put(secret)?;
            }
            state.apply(Arc::new(ir));
            let source = path.display().to_string();
            state.sync.store(Arc::new(SyncStatus { source, connected: true, ..SyncStatus::default() }));
        }
        let mut threads = Vec::with_capacity(workers + 1);
        for n in 0..workers {
            let (state, working) = (Arc::clone(&state), state.begin_work());
            threads.push(spawn(format!("worker-{n}"), move || {
                work(state);
                drop(working);
            })?);
        }
        let shared = Arc::clone(&state);
        threads.push(spawn("control".to_owned(), move || control_thread(&shared))?);
        Ok(Self { state, threads })
    }

    /// What it shares with its servers.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Begins to drain, as on SIGTERM.
    pub fn stop(&self) {
        self.state.advance(Lifecycle::Draining);
    }

    /// Returns when it has ended.
    pub fn wait(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the proxy ended by a panic");
            }
        }
        self.state.logs.flush();
    }

    /// Where a listener really listens, once it does.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.state.address(listener)
    }
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new().name(name).spawn(work).map_err(Error::Start)
}

/// A thread of the data plane.
fn work(state: Arc<State>) {
    let shared = Arc::clone(&state);
    match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime.block_on(Worker::new(state).run()),
        Err(e) => {
            tracing::error!("no runtime for a worker: {e}");
            shared.advance(Lifecycle::Stopped);
        }
    }
}

/// The thread for everything that is not traffic.
fn control_thread(state: &Arc<State>) {
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(serve(state)),
        Err(e) => tracing::error!("no runtime for the control thread: {e}"),
    }
    state.advance(Lifecycle::Stopped);
}

async fn serve(state: &Arc<State>) {
    let maintaining = state.clusters.maintain(state);
    let resolving = cluster::resolve(Arc::clone(state));
    let reading = state.secrets.follow_files();
    let configuring = async {
        if state.bootstrap.static_config.is_some() {
            state.advance(Lifecycle::Ready);
        } else {
            control::run(state).await;
        }
        std::future::pending::<()>().await;
    };
    let serving = async {
        if let Err(e) = status::run(state).await {
            tracing::error!("{e}");
            state.advance(Lifecycle::Stopped);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = maintaining => {}
        () = resolving => {}
        () = reading => {}
        () = configuring => {}
        () = serving => {}
        () = ended(state) => {}
    }
}

/// Ready when the proxy may end: it was told to, its connections are done or out of time, and what was counted was read.
async fn ended(state: &State) {
    let mut lifecycle = state.follow_lifecycle();
    tokio::select! {
        () = told_to_end() => state.advance(Lifecycle::Draining),
        _ = lifecycle.wait_for(|l| *l >= Lifecycle::Draining) => {}
    }
    let limit = if state.bootstrap.exit_on_zero { None } else { Some(state.bootstrap.drain) };
    let drained = async {
        while state.active_connections() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = drained => {}
        _ = lifecycle.wait_for(|l| *l == Lifecycle::Stopped) => {}
        () = tokio::time::sleep(limit.unwrap_or_default()), if limit.is_some() => {
            tracing::info!("{} connections are still open after the drain time", state.active_connections());
        }
    }
    state.advance(Lifecycle::Stopped);
    // What is still open counts when its thread ends.
    state.no_more_work().await;
    state.readers.finish().await;
}

/// Resolves on SIGTERM and SIGINT.
pub(crate) async fn told_to_end() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        std::future::pending::<()>().await;
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
