//! `varka up`: API server, controllers, pod runtime and DNS in one process, until it is told to stop.
//!
//! The order matters: builds and the directory are read outside; then, still with one thread, the process enters its namespaces;
//! only then do the services start. The control plane is waited for before the user's manifests are applied, so that no pod of the
//! mesh can come up without its sidecar.

mod apply;
mod build;
mod control;
mod detach;
mod given;
mod progress;
mod relay;
mod system;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use varka_apiserver::ApiServer;
use varka_kubelet::Kubelet;
use varka_kubelet::sandbox::{self, EnterOptions, Sandbox};

use crate::args::Up;
use crate::control::Listening;
use crate::manifests::{self, Manifest};
use crate::mesh;
use crate::node::NodeAdapter;
use crate::state::State;
pub(crate) use progress::is_ready;

/// Address of the API server inside, beside `kubernetes.default.svc`: the bridge.
const INSIDE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 244, 0, 1)), 6443);
/// Cluster DNS.
const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// Runs the command.
pub(crate) fn run(args: Up) -> anyhow::Result<ExitCode> {
    let dir =
        std::fs::canonicalize(&args.dir).with_context(|| format!("there is no directory {}", args.dir.display()))?;
    let state = State::for_manifests(args.state.as_deref(), &dir)?;
    if args.detach {
        return detach::run(&args, &state);
    }
    let lock = state.lock()?;
    let (manifests, problems) = manifests::read_dir(&dir)?;
    for problem in &problems {
        eprintln!("skipped: {problem}");
    }
    build::run(&dir, &manifests)?;
    let started = Instant::now();
    let sandbox = sandbox::enter(EnterOptions { listen: vec![args.api, args.https, args.http] })
        .context("cannot enter the namespaces that pods run in")?;
    mesh::install_crypto();
    mesh::log_to_stderr("warn");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(serve(args, dir, state, manifests, sandbox, started));
    drop(lock);
    code
}

async fn serve(
    args: Up,
    dir: PathBuf,
    state: State,
    manifests: Vec<Manifest>,
    sandbox: Sandbox,
    started: Instant,
) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = watch::channel(false);
    let stop = Arc::new(stop);
    let mut host = sandbox.host_listeners.into_iter();
    let (api_host, https_host, http_host) = (listener(host.next())?, listener(host.next())?, listener(host.next())?);
    let listening = Listening { api: api_host.local_addr()?, https: https_host.local_addr()? };

    let api = ApiServer::open(system::api_config(&state)).await.context("cannot open the API server's state")?;
    write_kubeconfigs(&api, &state, listening.api)?;
    let client = api.client("varka-up");
    let kubelet =
        Kubelet::start(system::kubelet_config(&state, sandbox.agent.clone())?, api.client("system:node:varka")).await?;
    api.set_node(Arc::new(NodeAdapter::new(kubelet.clone())));
    let inside = tokio::net::TcpListener::bind(INSIDE).await.context("cannot listen on the bridge")?;
    for listener in [api_host, inside] {
        let api = api.clone();
        tokio::spawn(async move { api.serve(listener).await });
    }
    let controllers = varka_controllers::run(
        api.client("system:controllers"),
        varka_controllers::Options { root_ca: Some(api.ca_pem().to_owned()) },
        until(stopped.clone()),
    );
    let mut controllers = tokio::spawn(controllers);
    let relay = relay::Relay::start(client.clone()).await;
    tokio::spawn(relay.clone().serve(https_host, "https"));
    tokio::spawn(relay.serve(http_host, "http"));
    let place = control::Place { pid: sandbox.inner_pid, rootless: sandbox.rootless };
    let control = control::Control { client: client.clone(), listening, place, stop: stop.clone() };
    control.listen(&state)?;

    let mut ready = stopped.clone();
    let brought_up = async {
        tokio::select! {
            result = bring_up(&client, &dir, &manifests, &args, &state, listening, started) => result,
            _ = ready.wait_for(|s| *s) => Ok(()),
        }
    };
    tokio::pin!(brought_up);
    let mut done = false;
    let mut failed = None;
    let mut told = stopped.clone();
    loop {
        tokio::select! {
            result = &mut brought_up, if !done => {
                done = true;
                if let Err(e) = result { failed = Some(e); break; }
            }
            // They run until they are told to stop; without them no pod would ever be made or replaced.
            ended = &mut controllers => {
                failed = Some(match ended {
                    Ok(Err(e)) => anyhow::Error::new(e).context("the controllers ended"),
                    _ => anyhow::anyhow!("the controllers ended"),
                });
                break;
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = told.wait_for(|s| *s) => break,
        }
    }
    eprintln!("stopping ...");
    kubelet.stop(Duration::from_secs(30)).await;
    stop.send_replace(true);
    if !controllers.is_finished() {
        let _ = controllers.await;
    }
    api.shutdown().await;
    let _ = std::fs::remove_file(state.socket());
    match failed {
        Some(e) => Err(e),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Applies what the system itself needs, waits for the control plane, applies the user's manifests and waits for their pods.
async fn bring_up(
    client: &kube::Client,
    dir: &std::path::Path,
    manifests: &[Manifest],
    args: &Up,
    state: &State,
    listening: Listening,
    started: Instant,
) -> anyhow::Result<()> {
    let limit = Duration::from_secs(args.ready_timeout);
    let mut progress = progress::Progress::start(client.clone(), started);
    let mut given = system::apply(client).await?;
    progress.until_available("istio-system", "istiod", limit).await?;
    let applied = apply::all(client, manifests, Some(dir)).await;
    for problem in applied.problems {
        eprintln!("not applied: {problem}");
    }
    given.extend(applied.given);
    let ready = progress.until_ready(&given, limit).await;
    let hosts = system::public_hosts(client).await.unwrap_or_default();
    progress::summary(listening, state, &hosts, started);
    match ready {
        Ok(()) => detach::tell_ready(),
        Err(waiting) => {
            eprintln!("after {} s these are not Ready yet (see `kubectl describe pod`): {waiting}", limit.as_secs())
        }
    }
    Ok(())
}

fn write_kubeconfigs(api: &ApiServer, state: &State, host: SocketAddr) -> anyhow::Result<()> {
    State::write_private(&state.kubeconfig(), &api.admin_kubeconfig(&format!("https://{host}")))?;
    State::write_private(&state.shell_kubeconfig(), &api.admin_kubeconfig("https://kubernetes.default.svc:443"))
}

fn listener(host: Option<std::net::TcpListener>) -> anyhow::Result<tokio::net::TcpListener> {
    let listener = host.context("the host agent opened fewer listeners than it was asked for")?;
    listener.set_nonblocking(true)?;
    Ok(tokio::net::TcpListener::from_std(listener)?)
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the process's reason to go on.
    let _ = stopped.wait_for(|s| *s).await;
}
