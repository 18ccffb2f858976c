//! `--detach`: the system goes on in a session of its own, and the command returns once everything is Ready.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};

use crate::args::Up;
use crate::state::State;

/// Set for the process that goes on: the descriptor behind it is standard output, and this line on it means Ready.
const READY: &str = "varka: ready";
const VARIABLE: &str = "VARKA_DETACHED";

/// Starts the system in the background and waits for it.
pub(super) fn run(args: &Up, state: &State) -> anyhow::Result<ExitCode> {
    if state.is_locked()? {
        bail!("a system already runs with the state directory {}", state.root().display());
    }
    // Makes the directory, tells early what is wrong with it, and lets go again.
    drop(state.lock()?);
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(state.log())?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("up").arg(&args.dir).arg("--state").arg(state.root());
    command
        .arg("--api")
        .arg(args.api.to_string())
        .arg("--https")
        .arg(args.https.to_string())
        .arg("--http")
        .arg(args.http.to_string());
    command.arg("--ready-timeout").arg(args.ready_timeout.to_string());
    // A process group of its own: Ctrl-C in this terminal is not for it.
    command.env(VARIABLE, "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0);
    let mut child = command.spawn().context("cannot start the system")?;
    let output = child.stdout.take().context("the system has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        if line == READY {
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("{line}");
    }
    let status = child.wait()?;
    let log = std::fs::read_to_string(state.log()).unwrap_or_default();
    let tail: Vec<_> = log.lines().rev().take(20).collect();
    for line in tail.iter().rev() {
        eprintln!("{line}");
    }
    bail!("the system ended before it was Ready ({status}); its log is {}", state.log().display())
}

/// Tells the waiting command, where there is one.
pub(super) fn tell_ready() {
    if std::env::var_os(VARIABLE).is_some() {
        say(READY);
    }
}

/// A line for the person who waits: on the terminal, or through the pipe of a detached start.
pub(super) fn say(line: &str) {
    if std::env::var_os(VARIABLE).is_some() {
        // Nobody reads any more once the waiting command has returned.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    } else {
        eprintln!("{line}");
    }
}
