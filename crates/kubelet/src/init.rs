//! Process 1 of a container: builds its file system, runs its program and the commands that `exec` and probes add, collects what ends.
//!
//! It is this same binary, started by the runtime in new mount and process namespaces with a control socket. It has one thread and no runtime. When
//! the container's program ends it ends too, and the kernel ends whatever the program left behind. It has more capabilities than what it starts, so
//! those cannot touch it.
//!
//! It decides nothing: what to mount, whom to be and what to run come through the socket ([`protocol`]).

mod launch;
pub(crate) mod protocol;
mod rootfs;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use varka_sys::{fdpass, ns, process};

use protocol::{Command, Ended, Event, MAIN, MESSAGE, Spec};

/// The hidden first argument that makes this binary process 1 of a container.
pub const ARGUMENT: &str = "__container-init";
/// The hidden first argument that makes this binary the first program of a MariaDB container.
pub const MARIADB_ARGUMENT: &str = crate::image::mariadb::ARGUMENT;

/// Numbers of the descriptors that the runtime starts us with, after the standard three.
const CONTROL: i32 = 3;
const SPEC: i32 = 4;
const NETWORK: i32 = 5;
const HOSTNAME: i32 = 6;
const MESSAGES: i32 = 7;

/// Runs the hidden subcommand that the process's arguments name, if they name one. Call this first thing in `main`, before any thread is started: the
/// runtime starts containers by running this binary again.
#[must_use]
pub fn main() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    let first: OsString = args.next()?;
    if first == ARGUMENT {
        return Some(container());
    }
    if first == MARIADB_ARGUMENT {
        return Some(crate::image::mariadb::main(args));
    }
    None
}

fn container() -> ExitCode {
    let Ok(control) = process::take_inherited(CONTROL) else { return ExitCode::FAILURE };
    match prepare().and_then(|spec| Init::new(&control, spec)?.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            send(&control, &Event::Failed(error.to_string()), None);
            ExitCode::FAILURE
        }
    }
}

fn prepare() -> io::Result<Spec> {
    let file = std::fs::File::from(process::take_inherited(SPEC)?);
    let spec: Spec = serde_json::from_reader(io::BufReader::new(file)).map_err(io::Error::other)?;
    for (number, kind) in [(NETWORK, ns::NET), (HOSTNAME, ns::UTS), (MESSAGES, ns::IPC)] {
        ns::enter(&process::take_inherited(number)?, kind)?;
    }
    rootfs::build(&spec.root)?;
    Ok(spec)
}

fn send(control: &impl AsFd, event: &Event, fd: Option<BorrowedFd<'_>>) {
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    if let Ok(bytes) = serde_json::to_vec(event) {
        // The runtime is gone, and the kernel is about to end us as well.
        drop(fdpass::send(control, &bytes, &fds));
    }
}

struct Init<'a> {
    control: &'a OwnedFd,
    spec: Spec,
    signals: SignalFd,
    /// Commands that run, by process number.
    running: HashMap<Pid, u64>,
}

impl<'a> Init<'a> {
    fn new(control: &'a OwnedFd, spec: Spec) -> io::Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGCHLD);
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { control, spec, signals, running: HashMap::new() })
    }

    fn run(mut self) -> io::Result<()> {
        send(self.control, &Event::Ready, None);
        loop {
            let mut fds = [
                PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::Error::EINTR) => continue,
                other => other?,
            };
            let [control, signals] = fds.map(|fd| fd.any().unwrap_or(false));
            if signals {
                while let Ok(Some(_)) = self.signals.read_signal() {}
                if self.collect() {
                    return Ok(());
                }
            }
            if control && !self.obey()? {
                return Ok(());
            }
        }
    }

    /// Takes one command. False when the runtime has closed its end, which ends the container.
    fn obey(&mut self) -> io::Result<bool> {
        let mut buffer = vec![0u8; MESSAGE];
        let (length, fds) = fdpass::receive(self.control, &mut buffer)?;
        if length == 0 {
            return Ok(false);
        }
        match serde_json::from_slice(buffer.get(..length).unwrap_or_default()).map_err(io::Error::other)? {
            Command::Run { id, run } => match launch::start(&run, &self.spec.identity, &fds) {
                Ok(launch::Started { pid, terminal }) => {
                    self.running.insert(pid, id);
                    send(self.control, &Event::Started { id }, terminal.as_ref().map(AsFd::as_fd));
                }
                Err(error) => send(self.control, &Event::NotStarted { id, reason: error.to_string() }, None),
            },
            Command::Signal { id, signal } => {
                let target = self.running.iter().find(|(_, running)| **running == id).map(|(pid, _)| *pid);
                if let (Some(pid), Ok(signal)) = (target, Signal::try_from(signal)) {
                    // Ended in between: its end is reported anyway.
                    let _ = kill(pid, signal);
                }
            }
        }
        Ok(true)
    }

    /// Collects every process that has ended. True when the container's program was among them.
    fn collect(&mut self) -> bool {
        loop {
            let (pid, ended) = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Ended::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Ended::Signal(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(_) => return false,
                Ok(_) => continue,
            };
            let Some(id) = self.running.remove(&pid) else { continue };
            send(self.control, &Event::Exited { id, ended }, None);
            if id == MAIN {
                return true;
            }
        }
    }
}
