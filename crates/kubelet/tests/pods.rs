//! Pods on this machine, as root and as an ordinary user: started, asked, ended, killed, and nothing left of them.
//!
//! This program is four things. As itself it starts the others and checks what they leave behind; with the argument `scenarios` it enters the sandbox
//! and runs the scenarios against an API server and a pod runtime in its own process; with `stay` it does so with one pod until it is killed; and
//! process 1 of every container is this program as well.
//!
//! Needs the right to make namespaces: run as root, it tests both ways. Fails without, unless `SKIP_NETNS=1`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test ends where something is not as it must be"
)]

#[path = "pods/data.rs"]
mod data;
#[path = "pods/scenarios.rs"]
mod scenarios;
#[path = "pods/world.rs"]
mod world;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// An ordinary user that every Linux has.
const NOBODY: u32 = 65534;

fn main() -> ExitCode {
    if let Some(code) = varka_kubelet::init::main() {
        return code;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["scenarios", state, filter @ ..] => scenarios::run(Path::new(state), filter),
        ["stay", state] => scenarios::stay(Path::new(state)),
        ["again", state] => scenarios::again(Path::new(state)),
        _ if std::env::var_os("SKIP_NETNS").is_some_and(|v| v == "1") => {
            eprintln!("skipped on request");
            ExitCode::SUCCESS
        }
        filter => both_ways(filter),
    }
}

fn both_ways(filter: &[&str]) -> ExitCode {
    let root = nix::unistd::Uid::effective().is_root();
    let users: &[Option<u32>] = if root { &[None, Some(NOBODY)] } else { &[None] };
    let mut good = true;
    for user in users {
        eprintln!("--- as {}", if user.is_some() || !root { "an ordinary user" } else { "root" });
        let state = tempfile::tempdir().unwrap();
        let program = program(state.path(), *user);
        let status = command(&program, state.path(), *user)
            .arg("scenarios")
            .arg(state.path().join("state"))
            .args(filter)
            .status()
            .unwrap();
        good &= status.success();
        good &= nothing_left(&program);
        if filter.is_empty() {
            good &= survives_a_kill(&program, state.path(), *user);
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A copy of this program that the user can read and that can be told from all others.
fn program(state: &Path, user: Option<u32>) -> std::path::PathBuf {
    let program = state.join("pods-under-test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    if let Some(user) = user {
        chown(state, Some(user), Some(user)).unwrap();
    }
    program
}

fn command(program: &Path, state: &Path, user: Option<u32>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(state).env("TMPDIR", state);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command
}

fn running(program: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ours = processes.filter(|p| std::fs::read_link(p.path().join("exe")).is_ok_and(|exe| exe == program));
    ours.map(|p| p.file_name().to_string_lossy().into_owned()).collect()
}

fn nothing_left(program: &Path) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !running(program).is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let processes = running(program);
    let mounts: Vec<String> = std::fs::read_to_string("/proc/self/mounts")
        .unwrap()
        .lines()
        .filter(|line| line.contains(&program.parent().unwrap().display().to_string()))
        .map(ToOwned::to_owned)
        .collect();
    let bridge = Path::new("/sys/class/net").join(varka_kubelet::sandbox::BRIDGE).exists();
    if processes.is_empty() && mounts.is_empty() && !bridge {
        return true;
    }
    eprintln!("LEFT BEHIND: processes {processes:?}, mounts {mounts:?}, bridge {bridge}");
    false
}

/// Kills the whole runtime while a pod with data runs; the next start must find the data and run the pod again.
fn survives_a_kill(program: &Path, state: &Path, user: Option<u32>) -> bool {
    let kept = state.join("kept");
    let mut child: Child = command(program, state, user).arg("stay").arg(&kept).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.any(|line| line.unwrap() == "READY");
    child.kill().unwrap();
    child.wait().unwrap();
    let clean = nothing_left(program);
    let again = command(program, state, user).arg("again").arg(&kept).status().unwrap().success();
    for (what, good) in
        [("ready before the kill", ready), ("nothing left after the kill", clean), ("back with its data", again)]
    {
        eprintln!("{} kill -9: {what}", if good { "ok    " } else { "FAILED" });
    }
    ready && clean && again && nothing_left(program)
}
