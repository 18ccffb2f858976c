//! A real Envoy in our data plane's place: this process starts it, gives it its certificate, and answers for it to the kubelet.
//!
//! What stays here is what Istio's agent does: the workload's key is made and certified in this process and handed over a
//! socket that only this user can open; probes, readiness and metrics are served. Configuration is none of our business:
//! Envoy asks the control plane itself, over delta ADS and with the certificate as its credential. Envoy is given no socket
//! mark, so interception must know it by its user.

mod bootstrap;
mod process;
mod secrets;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::sync::watch;

use crate::bootstrap::Bootstrap;
use crate::control::{WorkloadIdentity, keep_identity};
use crate::state::{State, SyncStatus};
use crate::{Error, status};

pub(crate) use process::metrics;

/// Runs Envoy until it is told to end (SIGTERM, SIGINT, `/quitquitquit`) and has drained.
///
/// # Errors
/// It cannot be started, or it ended by itself.
pub(crate) fn run(bootstrap: Bootstrap, program: &Path) -> Result<(), Error> {
    if let Some(limit) = bootstrap.traces_per_second {
        tracing::warn!(
            "TRACES_PER_SECOND: Envoy knows no such limit and traces what is sampled, beyond {limit} a second as well; \
             randomSamplingPercentage of a Telemetry is what it follows"
        );
    }
    let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
    let state = Arc::new(State::new(bootstrap));
    let source = state.bootstrap.discovery_address.clone();
    state.sync.store(Arc::new(SyncStatus { source, ..SyncStatus::default() }));
    runtime.block_on(serve(&state, program))
}

async fn serve(state: &Arc<State>, program: &Path) -> Result<(), Error> {
    let directory = Directory::new()?;
    let (identity, obtained) = watch::channel::<Option<Arc<WorkloadIdentity>>>(None);
    let keeping = async {
        keep_identity(state, identity).await;
        std::future::pending().await
    };
    tokio::select! {
        () = keeping => Ok(()),
        ended = secrets::serve(directory.socket(), obtained.clone()) => ended,
        Err(e) = status::run(state) => Err(e),
        ended = process::run(state, program, &directory, obtained) => ended,
    }
}

/// What Envoy is started with and reaches us by; readable by this user alone, and gone with this process.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self, Error> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = std::env::temp_dir().join(format!("varka-envoy-{:016x}", rand::random::<u64>()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| Error::File { path: path.clone(), source })?;
        Ok(Self(path))
    }

    fn socket(&self) -> PathBuf {
        self.0.join("sds")
    }

    fn bootstrap(&self) -> PathBuf {
        self.0.join("envoy.json")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Nothing secret is left in it: keys go over the socket only.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
