//! `varka dashboard`: the console in a browser, for the person who runs the command.

use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use anyhow::Context;
use futures_util::FutureExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::client::{Body, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use tokio::net::TcpListener;
use tower::{Layer as _, ServiceExt as _};
use varka_console::access::callers;
use varka_console::dashboard::{self, Connect, Credentials, Person, Stream};
use varka_console::serve::Ports;

use crate::args::Dashboard as Args;
use crate::mesh::install_crypto;
use crate::state::State;

/// Runs the command until Ctrl-C.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    install_crypto();
    crate::mesh::log_to_stderr("warn,audit=info");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            ended = open(args) => ended,
            interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn open(args: &Args) -> anyhow::Result<()> {
    let config = config(args).await?;
    let client = Client::try_from(config.clone())?;
    let who = callers::who(&client).await;
    let user = who.map_err(|refusal| anyhow::anyhow!("{} {}", refusal.message, refusal.hint))?;
    let connect = through_the_api(client.clone(), args.namespace.clone());
    let closed = dashboard::is_closed(&connect).await.map_err(|refusal| anyhow::anyhow!(refusal.message))?;
    let credentials = if closed { Some(credentials(&config)?) } else { None };
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await;
    let listener = listener.with_context(|| format!("cannot listen on 127.0.0.1:{}", args.port))?;
    let address = listener.local_addr()?;
    let person = Person { user: user.clone(), client, credentials, read_only: args.read_only, connect };
    let (routes, path) = dashboard::routes(person, address.port());
    let url = format!("http://{address}{path}");
    eprintln!("the console as {user}, until Ctrl-C; this address lets one browser in, once:\n{url}");
    if !args.no_browser {
        show(&url);
    }
    dashboard::serve(listener, routes).await.context("the listener ended")
}

/// Whose credentials are used.
async fn config(args: &Args) -> anyhow::Result<kube::Config> {
    let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
    let named = std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty());
    let file = match (&args.kubeconfig, &args.instance.state) {
        (Some(file), _) => Some(file.clone()),
        (None, Some(state)) => Some(State::running(Some(state))?.kubeconfig()),
        (None, None) if named => None,
        (None, None) => State::running(None).ok().map(|state| state.kubeconfig()),
    };
    let kubeconfig = match &file {
        Some(file) => Kubeconfig::read_from(file).with_context(|| format!("kubeconfig {}", file.display()))?,
        None => Kubeconfig::read().context("no running system, and no kubeconfig: use --kubeconfig FILE")?,
    };
    kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.context("the kubeconfig cannot be used")
}

/// Connects to the console's pod, whichever it is at the moment.
fn through_the_api(client: Client, namespace: String) -> Connect {
    let port = Ports::default().console;
    Arc::new(move || {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let namespace = namespace.clone();
        async move {
            let found = pods.list(&ListParams::default().labels("app=console")).await.map_err(io::Error::other)?;
            let running = |pod: &Pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
            let pod = found.items.into_iter().find(running).and_then(|pod| pod.metadata.name);
            let pod = pod.ok_or_else(|| io::Error::other(format!("no pod with app=console runs in {namespace}")))?;
            let mut forwarded = pods.portforward(&pod, &[port]).await.map_err(io::Error::other)?;
            let stream = forwarded.take_stream(port).ok_or_else(|| io::Error::other("no stream"))?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        }
        .boxed()
    })
}

/// What the Kubernetes API is shown by this kubeconfig, refreshed where that is how it works.
fn credentials(config: &kube::Config) -> anyhow::Result<Credentials> {
    let layer = config.auth_layer()?.context(
        "the console in the cluster wants to know who looks at it by a token, and this kubeconfig has none (a client certificate \
         cannot be passed on): use one with a token, such as that of `kubectl create token`",
    )?;
    let shown = tower::service_fn(|request: http::Request<Body>| async move {
        Ok::<_, tower::BoxError>(request.headers().get(http::header::AUTHORIZATION).cloned())
    });
    let service = layer.layer(shown);
    Ok(Arc::new(move || {
        let asked = service.clone().oneshot(http::Request::new(Body::empty()));
        async move { asked.await.ok().flatten() }.boxed()
    }))
}

/// Opens a browser, where there is one; the address was printed for where there is none.
fn show(url: &str) {
    let mut command = Command::new("xdg-open");
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(problem) = command.spawn() {
        eprintln!("no browser was opened (xdg-open: {problem}): open the address yourself");
    }
}
