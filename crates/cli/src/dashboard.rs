//! `varka dashboard`: the console in a browser, for the person who runs the command.

use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use anyhow::Context;
use futures_util::FutureExt as _;
use kube::Client;
use tokio::net::TcpListener;
use varka_console::access::callers;
use varka_console::dashboard::{self, Connect, Person};

use crate::args::Dashboard as Args;
use crate::console_client::{self, Console, Reach};
use crate::mesh::install_crypto;

const NO_TOKEN: &str = "the console in the cluster wants to know who looks at it by a token, and this kubeconfig has none (a client certificate \
cannot be passed on): use one with a token, such as that of `kubectl create token`";

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
    let config = console_client::config(&args.reach).await?;
    let client = Client::try_from(config.clone())?;
    let who = callers::who(&client).await;
    let user = who.map_err(|refusal| anyhow::anyhow!("{} {}", refusal.message, refusal.hint))?;
    let connect = leading(&args.reach, client.clone());
    let closed = dashboard::is_closed(&connect).await.map_err(|refusal| anyhow::anyhow!(refusal.message))?;
    let credentials = if closed { Some(console_client::credentials(&config)?.context(NO_TOKEN)?) } else { None };
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

/// Connects to the console, in whichever pod it is at the moment.
fn leading(reach: &Reach, client: Client) -> Connect {
    let reach = reach.clone();
    Arc::new(move || {
        let (reach, client) = (reach.clone(), client.clone());
        async move {
            let found = match reach.console {
                Some(_) => Console::find(&reach).await,
                None => Console::in_cluster(client).await,
            };
            let opened = match found {
                Ok(console) => console.open().await,
                Err(problem) => Err(problem),
            };
            opened.map(|opened| opened.stream).map_err(|problem| io::Error::other(format!("{problem:#}")))
        }
        .boxed()
    })
}

/// Opens a browser, where there is one; the address was printed for where there is none.
fn show(url: &str) {
    let mut command = Command::new("xdg-open");
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(problem) = command.spawn() {
        eprintln!("no browser was opened (xdg-open: {problem}): open the address yourself");
    }
}
