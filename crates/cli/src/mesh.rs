//! The subcommands that run in pods: `proxy`, `proxy-init`, `control-plane` and `console`.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use varka_console::access::host::Names;
use varka_console::access::oidc::Settings;
use varka_console::access::{Mode, Rules};
use varka_console::jaeger::elsewhere::{Elsewhere, Kind};
use varka_console::serve::{Config, Ports};
use varka_console::store::Limits;
use varka_proxy::Bootstrap;
use varka_sys::nft::{self, SidecarRules};

use crate::args::{self, AccessMode, Console, ControlPlane, Oidc, Proxy, ProxyInit};

/// `varka proxy`.
pub(crate) fn proxy(args: Proxy) -> anyhow::Result<ExitCode> {
    install_crypto();
    // What was refused, and why, is worth a line: there is a limit on those.
    log_to_stderr("warn,policy=info");
    let role = match args.role {
        args::Role::Sidecar => varka_proxy::Role::Sidecar,
        args::Role::Router => varka_proxy::Role::Router,
    };
    let engine = match args.engine {
        args::Engine::Varka => varka_proxy::Engine::Varka,
        args::Engine::Envoy if args.config.is_some() || args.free_ports => {
            anyhow::bail!(
                "--engine envoy goes with neither --config nor --free-ports: Envoy asks the control plane, and is asked at known ports"
            );
        }
        args::Engine::Envoy => varka_proxy::Engine::Envoy(args.envoy),
    };
    let bootstrap = Bootstrap::from_env(varka_proxy::Args {
        role,
        domain: args.domain,
        config: args.config,
        concurrency: args.concurrency,
        free_ports: args.free_ports,
        engine,
    })?;
    varka_proxy::run(bootstrap)?;
    Ok(ExitCode::SUCCESS)
}

/// `varka proxy-init`.
pub(crate) fn proxy_init(args: &ProxyInit) -> anyhow::Result<ExitCode> {
    let ports = |option: &str, text: &str| {
        list(text)
            .map(|p| p.parse())
            .collect::<Result<Vec<u16>, _>>()
            .with_context(|| format!("{option} {text:?}: ports are numbers, with commas between"))
    };
    let cidrs = |option: &str, text: &str| {
        list(text).map(cidr).collect::<anyhow::Result<Vec<_>>>().with_context(|| format!("{option} {text:?}"))
    };
    let rules = SidecarRules {
        outbound_port: args.outbound_port,
        inbound_port: args.inbound_port,
        mark: args.mark,
        uid: args.uid,
        include_inbound_ports: if args.include_inbound_ports == "*" {
            None
        } else {
            Some(ports("--include-inbound-ports", &args.include_inbound_ports)?)
        },
        exclude_inbound_ports: ports("--exclude-inbound-ports", &args.exclude_inbound_ports)?,
        include_outbound_ports: ports("--include-outbound-ports", &args.include_outbound_ports)?,
        exclude_outbound_ports: ports("--exclude-outbound-ports", &args.exclude_outbound_ports)?,
        include_outbound_cidrs: if args.include_outbound_cidrs == "*" {
            None
        } else {
            Some(cidrs("--include-outbound-cidrs", &args.include_outbound_cidrs)?)
        },
        exclude_outbound_cidrs: cidrs("--exclude-outbound-cidrs", &args.exclude_outbound_cidrs)?,
    };
    nft::apply_sidecar_rules(&rules)
        .context("the pod's traffic cannot be redirected to its sidecar (is NET_ADMIN granted to this container?)")?;
    Ok(ExitCode::SUCCESS)
}

/// `varka control-plane`.
pub(crate) fn control_plane(args: ControlPlane) -> anyhow::Result<ExitCode> {
    install_crypto();
    log_to_stderr("info");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async move {
        let (client, shutdown) = (client().await?, told_to_end()?);
        let mut config = varka_control_plane::Config::new(client, &args.root_namespace, &args.trust_domain);
        config.gateway_service_type = args.gateway_service_type;
        varka_control_plane::run(config, shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// `varka console`.
pub(crate) fn console(args: Console) -> anyhow::Result<ExitCode> {
    install_crypto();
    log_to_stderr("info");
    let prometheus = args.prometheus.as_deref().map(str::parse).transpose().context("--prometheus")?;
    let traces = match (&args.jaeger, &args.tempo) {
        (Some(url), _) => Some(Elsewhere::new(url.parse().context("--jaeger")?, Kind::Jaeger)),
        (None, Some(url)) => Some(Elsewhere::new(url.parse().context("--tempo")?, Kind::Tempo)),
        (None, None) => None,
    };
    let room = u64::from(args.keep_megabytes) * 1024 * 1024;
    // A twentieth, and no more than needed.
    let observed = (room / 20).min(Limits::default().observed);
    let fifth = (room - observed) / 5;
    let limits = Limits {
        age: Duration::from_secs(u64::from(args.keep_hours) * 3600),
        metrics: 2 * fifth,
        spans: 2 * fifth,
        logs: fifth,
        observed,
    };
    let rules = rules(&args)?;
    if !args.host.is_empty() && !matches!(rules.mode, Mode::Anonymous) {
        anyhow::bail!("--host goes with --access anonymous: where one has to sign in, every name is answered");
    }
    let names = Names::new(&args.domain, &args.host).context("--host")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async move {
        let api = kube::Config::infer().await.context(NO_API)?;
        let shutdown = told_to_end()?;
        let Console { data: directory, listen: address, cluster, domain, .. } = args;
        let ports = Ports::default();
        let config = Config { directory, limits, address, ports, cluster, domain, prometheus, traces, rules, names };
        varka_console::serve::run(api, config, shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Who is let in to the console. What is reached from elsewhere is not open to everybody, unless it is said to be.
fn rules(args: &Console) -> anyhow::Result<Rules> {
    let default = if args.listen.is_loopback() { AccessMode::Anonymous } else { AccessMode::Token };
    let mode = match args.access.unwrap_or(default) {
        AccessMode::Anonymous => Mode::Anonymous,
        AccessMode::Token => Mode::Token,
        AccessMode::Oidc => {
            let Oidc { oidc_issuer, oidc_client_id, oidc_client_secret_file, oidc_scopes, public_url } =
                args.oidc.clone();
            let secret = oidc_client_secret_file.map(|file| {
                let read = std::fs::read_to_string(&file);
                read.with_context(|| format!("--oidc-client-secret-file {}", file.display()))
            });
            Mode::Oidc(Settings {
                issuer: oidc_issuer.context("--oidc-issuer is missing")?,
                client_id: oidc_client_id.context("--oidc-client-id is missing")?,
                client_secret: secret.transpose()?.unwrap_or_default().trim().to_owned(),
                scopes: oidc_scopes,
                public_url: public_url.context("--public-url is missing")?,
            })
        }
    };
    Ok(Rules { mode, read_only: args.read_only })
}

const NO_API: &str = "no Kubernetes API: neither a pod's service account nor a kubeconfig was found";

async fn client() -> anyhow::Result<kube::Client> {
    kube::Client::try_default().await.context(NO_API)
}

/// Ends with SIGTERM or SIGINT.
fn told_to_end() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// One provider for every TLS connection of the process.
pub(crate) fn install_crypto() {
    // An error means that one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Log lines of the program itself; access logs go to standard output.
pub(crate) fn log_to_stderr(default: &str) {
    let filter = std::env::var("VARKA_LOG").unwrap_or_else(|_| default.to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|p| !p.is_empty())
}

fn cidr(text: &str) -> anyhow::Result<(std::net::Ipv4Addr, u8)> {
    let (address, length) = text.split_once('/').unwrap_or((text, "32"));
    let length: u8 =
        length.parse().ok().filter(|l| *l <= 32).with_context(|| format!("{text:?} is not an IPv4 range"))?;
    Ok((address.parse().with_context(|| format!("{text:?} is not an IPv4 range"))?, length))
}
