//! `varka explain`: why a request goes the way it goes, in the running system or any cluster that a kubeconfig leads to.
//!
//! Objects are read once, with the caller's own permissions; what they mean for the request is decided as the console decides it.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use varka_console::explain::{From, Mesh, Outcome, Thought, To, render, thought};
use varka_console::world::World;

use crate::args::{Explain as Args, Output};
use crate::state::State;

/// Runs the command; exit status 1 where the request does not get where it was to go.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    crate::mesh::install_crypto();
    let asked = asked(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let world = runtime.block_on(async {
        let client = client(args).await?;
        World::listed(client).await.context("the cluster's objects cannot be read")
    })?;
    let mesh = Mesh::of(&world, &args.cluster, &args.domain);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let explanation = thought(&mesh, &asked, now)?;
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&explanation)?)?,
        Output::Text => write!(out, "{}", render(&explanation))?,
    }
    Ok(if explanation.outcome == Outcome::Ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `KUBECONFIG`, or a pod's account, or the system that runs on this machine, or `~/.kube/config`.
async fn client(args: &Args) -> anyhow::Result<kube::Client> {
    let own = || State::running(args.instance.state.as_deref()).map(|state| state.kubeconfig());
    let given = std::env::var_os("KUBECONFIG").is_some() || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let path = match (&args.instance.state, given) {
        (Some(_), _) => Some(own()?),
        (None, true) => None,
        (None, false) => own().ok(),
    };
    let Some(path) = path else {
        return kube::Client::try_default()
            .await
            .context("no cluster: KUBECONFIG leads to none, and nothing runs here");
    };
    let read = Kubeconfig::read_from(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

fn asked(args: &Args) -> anyhow::Result<Thought> {
    let (host, port, path) = target(&args.url)?;
    let mut headers = BTreeMap::new();
    for header in &args.headers {
        let (name, value) = header
            .split_once(':')
            .with_context(|| format!("-H {header:?}: a header has a colon between its name and its value"))?;
        headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    let to = To { host, port, method: args.method.clone(), path, headers };
    Ok(Thought { from: client_of(&args.from)?, to })
}

/// `deploy/web.blog-system`, `web.blog-system`, or `blog-system/web`.
fn client_of(text: &str) -> anyhow::Result<From> {
    const KINDS: [&str; 8] = ["deploy", "deployment", "deployments", "statefulset", "sts", "daemonset", "ds", "pod"];
    let rest = text.split_once('/').filter(|(kind, _)| KINDS.contains(kind)).map_or(text, |(_, rest)| rest);
    let (workload, namespace) = match (rest.split_once('/'), rest.split_once('.')) {
        (Some((namespace, workload)), _) => (workload, namespace),
        (None, Some((workload, namespace))) => (workload, namespace),
        (None, None) => (rest, "default"),
    };
    if workload.is_empty() || namespace.is_empty() {
        bail!("--from {text:?}: say deploy/WORKLOAD.NAMESPACE");
    }
    Ok(From { namespace: namespace.to_owned(), workload: workload.to_owned() })
}

/// Host, port (0: none was given) and path of an address.
fn target(url: &str) -> anyhow::Result<(String, u16, String)> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let default = match scheme {
        "http" => 0,
        "https" => 443,
        other => bail!("{url:?}: requests by {other} are not explained; http and https are"),
    };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let port = port.parse().with_context(|| format!("{url:?}: {port:?} is no port"))?;
            return Ok((host.trim_matches(['[', ']']).to_owned(), port, path));
        }
        _ => authority.trim_matches(['[', ']']),
    };
    if host.is_empty() {
        bail!("{url:?}: there is no host in it");
    }
    Ok((host.to_owned(), default, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_what() {
        let from = |text: &str| client_of(text).map(|f| (f.workload, f.namespace)).ok();
        let web = Some(("web".to_owned(), "blog-system".to_owned()));
        for text in ["deploy/web.blog-system", "web.blog-system", "blog-system/web", "deployment/web.blog-system"] {
            assert_eq!(from(text), web, "{text}");
        }
        assert_eq!(from("."), None);
        let to = |url: &str| target(url).ok();
        let expected = |host: &str, port: u16, path: &str| Some((host.to_owned(), port, path.to_owned()));
        assert_eq!(to("http://was-service:8080/api/posts?a=1"), expected("was-service", 8080, "/api/posts?a=1"));
        assert_eq!(to("was-service"), expected("was-service", 0, "/"));
        assert_eq!(to("https://blog.example?x"), expected("blog.example", 443, "/?x"));
        assert_eq!(to("http://[fd00::1]:80/"), expected("fd00::1", 80, "/"));
        assert_eq!(to("http://[fd00::1]/"), expected("fd00::1", 0, "/"));
        for bad in ["ftp://a/", "http://:80", "http://a:x/", "http:///p"] {
            assert!(to(bad).is_none_or(|(host, ..)| host.is_empty()), "{bad}");
        }
    }
}
