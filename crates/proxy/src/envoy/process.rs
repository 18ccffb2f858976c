//! Envoy's process: started once there is a certificate, asked whether it serves, drained and ended.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::{Directory, bootstrap};
use crate::Error;
use crate::bootstrap::Bootstrap;
use crate::control::WorkloadIdentity;
use crate::own_server::OwnAnswer;
use crate::run::told_to_end;
use crate::state::{Lifecycle, State};
use crate::status::probe;

/// Between questions to Envoy.
const ASK: Duration = Duration::from_millis(50);
/// Log lines are written at least so often, as ours are.
const FLUSH_MS: &str = "100";
/// After SIGTERM, before it is killed.
const END: Duration = Duration::from_secs(5);

/// Runs it to its end.
pub(super) async fn run(
    state: &Arc<State>,
    program: &Path,
    directory: &Directory,
    mut obtained: watch::Receiver<Option<Arc<WorkloadIdentity>>>,
) -> Result<(), Error> {
    let failed = |problem: String| Error::Engine { program: program.to_owned(), problem };
    let mut lifecycle = state.follow_lifecycle();
    tokio::select! {
        () = told_to_end() => return Ok(()),
        identity = obtained.wait_for(Option::is_some) => drop(identity),
    }
    let json = bootstrap::bootstrap(&state.bootstrap, &directory.socket());
    let path = directory.bootstrap();
    std::fs::write(&path, json.to_string()).map_err(|source| Error::File { path: path.clone(), source })?;
    let mut child = command(&state.bootstrap, program, &path)?.spawn().map_err(|e| failed(e.to_string()))?;
    tokio::select! {
        ended = child.wait() => {
            let how = ended.map_or_else(|e| e.to_string(), |status| status.to_string());
            return Err(failed(format!("it ended by itself ({how}); what it said stands above")));
        }
        () = told_to_end() => {}
        () = serving(state) => {}
        _ = lifecycle.wait_for(|l| *l >= Lifecycle::Draining) => {}
    }
    state.advance(Lifecycle::Draining);
    end(state, &mut child).await;
    state.advance(Lifecycle::Stopped);
    Ok(())
}

fn command(b: &Bootstrap, program: &Path, config: &Path) -> Result<Command, Error> {
    let mut command = std::process::Command::new(program);
    command
        .arg("-c")
        .arg(config)
        .args(["--concurrency", &b.concurrency.to_string(), "--disable-hot-restart", "--log-level", "warning"])
        .args(["--file-flush-interval-msec", FLUSH_MS, "--drain-strategy", "immediate"])
        .args(["--drain-time-s", &b.drain.as_secs().to_string()])
        .stdin(Stdio::null());
    // Access logs go to standard output; the file takes its place, as it does for our own proxy.
    if let Some(path) = &b.access_log {
        let file = std::fs::File::options().create(true).append(true).open(path);
        command.stdout(file.map_err(|source| Error::File { path: path.clone(), source })?);
    }
    varka_sys::process::end_with_parent(&mut command);
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    Ok(command)
}

/// Makes us ready once Envoy is. Never resolves.
async fn serving(state: &State) {
    while !matches!(ask(state, Method::GET, "/ready").await, Some((200, _))) {
        tokio::time::sleep(ASK).await;
    }
    state.advance(Lifecycle::Ready);
    std::future::pending().await
}

/// Lets its connections finish, as long as they may, and ends it.
async fn end(state: &State, child: &mut Child) {
    ask(state, Method::POST, "/drain_listeners?graceful&inboundonly").await;
    let idle = async {
        while active(state).await.is_some_and(|n| n > 0) {
            tokio::time::sleep(ASK).await;
        }
    };
    // A limit that may not be exceeded, unless the workload wants every connection to finish.
    if state.bootstrap.exit_on_zero {
        idle.await;
    } else if tokio::time::timeout(state.bootstrap.drain, idle).await.is_err() {
        tracing::info!("connections are still open after the drain time");
    }
    state.readers.finish().await;
    if let Some(pid) = child.id().and_then(|p| i32::try_from(p).ok()) {
        let _ = varka_sys::process::terminate(pid);
    }
    if tokio::time::timeout(END, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// Connections of clients that Envoy has open; `None`: it does not answer.
async fn active(state: &State) -> Option<u64> {
    let filter = "/stats?filter=^http%5C..*%5C.downstream_cx_active$";
    let (_, body) = ask(state, Method::GET, filter).await?;
    let text = String::from_utf8_lossy(&body).into_owned();
    let counts = text
        .lines()
        .filter(|l| !l.starts_with("http.admin."))
        .filter_map(|l| l.rsplit_once(": ")?.1.parse::<u64>().ok());
    Some(counts.sum())
}

/// Its metrics.
pub(crate) async fn metrics(state: &State) -> OwnAnswer {
    match ask(state, Method::GET, "/stats/prometheus").await {
        Some((status, body)) => {
            OwnAnswer { status, content_type: "text/plain; version=0.0.4", body: body.into(), last: false }
        }
        None => OwnAnswer::text(503, "Envoy does not answer\n"),
    }
}

async fn ask(state: &State, method: Method, path: &str) -> Option<(u16, Vec<u8>)> {
    probe::on_loopback(state.bootstrap.ports.admin, method, path).await
}
