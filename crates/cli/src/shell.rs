//! `varka shell`: a command inside the running system, where kubectl, the public hosts and their certificates just work.
//!
//! It joins the network namespace of the running system (and its user namespace, where that is rootless) and gets a mount
//! namespace of its own, in which `/etc/hosts`, `/etc/resolv.conf` and the system's trusted certificates are replaced. Nothing
//! outside it changes, and nothing is left when it ends.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, anyhow};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::args::Shell;
use crate::control::{self, ShellInfo};
use crate::state::State;

/// Where Debian and most others keep the certificates that curl and openssl trust.
const TRUSTED: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Variables that would lead requests away from the system.
const PROXY_VARIABLES: [&str; 8] =
    ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"];

/// Runs the command; does not return when it could be started.
pub(crate) fn run(args: &Shell) -> anyhow::Result<ExitCode> {
    let state = State::running(args.instance.state.as_deref())?;
    let info: ShellInfo = control::ask(&state, "/shell")?;
    let directory = std::env::current_dir().context("the current directory is gone")?;
    let files = Files::write(&state, &info)?;
    enter(&info)?;
    files.mount()?;
    std::env::set_current_dir(&directory).with_context(|| format!("cannot go back to {}", directory.display()))?;
    let mut command = command(args);
    for name in PROXY_VARIABLES {
        command.env_remove(name);
    }
    command
        .env("KUBECONFIG", state.shell_kubeconfig())
        .env("SSL_CERT_FILE", &files.trusted)
        .env("VARKA_SHELL", state.root());
    let error = command.exec();
    Err(anyhow!(error).context(format!("cannot run {}", command.get_program().display())))
}

fn command(args: &Shell) -> Command {
    match args.command.split_first() {
        Some((program, rest)) => {
            let mut command = Command::new(program);
            command.args(rest);
            command
        }
        None => Command::new(std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into())),
    }
}

/// Joins the namespaces of the running system. The process has one thread, as joining a user namespace asks.
fn enter(info: &ShellInfo) -> anyhow::Result<()> {
    let open = |kind: &str| {
        let path = format!("/proc/{}/ns/{kind}", info.pid);
        File::open(&path).with_context(|| format!("cannot open {path}: is the running system another user's?"))
    };
    let network = open("net")?;
    if info.rootless {
        setns(open("user")?, CloneFlags::CLONE_NEWUSER).context("cannot join the running system's user namespace")?;
    }
    setns(network, CloneFlags::CLONE_NEWNET)
        .context("cannot join the running system's network namespace (it runs as root: use sudo)")?;
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("cannot make the mounts private")
}

/// Files that replace the system's.
struct Files {
    hosts: PathBuf,
    resolv: PathBuf,
    trusted: PathBuf,
}

impl Files {
    fn write(state: &State, info: &ShellInfo) -> anyhow::Result<Self> {
        let dir = state.root().join("shell");
        std::fs::create_dir_all(&dir)?;
        let files = Self {
            hosts: dir.join("hosts"),
            resolv: dir.join("resolv.conf"),
            trusted: dir.join("ca-certificates.crt"),
        };
        let mut hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n".to_owned();
        for (name, address) in &info.hosts {
            hosts.push_str(&format!("{address} {name}\n"));
        }
        std::fs::write(&files.hosts, hosts)?;
        std::fs::write(
            &files.resolv,
            format!(
                "nameserver {}\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n",
                info.dns
            ),
        )?;
        let system = std::fs::read_to_string(TRUSTED).unwrap_or_default();
        std::fs::write(&files.trusted, format!("{}\n{}", system.trim_end(), info.ca))?;
        Ok(files)
    }

    fn mount(&self) -> anyhow::Result<()> {
        bind(&self.hosts, Path::new("/etc/hosts"))?;
        bind(&self.resolv, &std::fs::canonicalize("/etc/resolv.conf").unwrap_or_else(|_| "/etc/resolv.conf".into()))?;
        bind(&self.trusted, Path::new(TRUSTED))
    }
}

/// Lays `source` over `target`, where there is one.
fn bind(source: &Path, target: &Path) -> anyhow::Result<()> {
    if !target.exists() {
        return Ok(());
    }
    let none: Option<&str> = None;
    mount(Some(source), target, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("cannot lay {} over {}", source.display(), target.display()))
}
