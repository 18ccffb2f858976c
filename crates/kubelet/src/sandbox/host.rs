//! The outer side: how the two processes find each other at the start, and the host agent's loop.

use std::io;
use std::net::{IpAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use varka_sys::{fdpass, process};

use super::agent::{MESSAGE, Refusal, Reply, Request, Verb};
use super::isolate::{self, Unavailable};
use crate::Error;

/// As long as Linux itself tries with its usual settings would be minutes; a client has given up long before.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
const FORWARDED: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// Tells the outer process how the namespaces came out: the number of the inner process, or why there is none.
pub(super) fn report(boot: &OwnedFd, result: Result<Pid, &Unavailable>) {
    let text = match result {
        Ok(pid) => format!("pid\u{0}{pid}"),
        Err(unavailable) => format!("no\u{0}{}", unavailable.parts().join("\u{0}")),
    };
    // Without a listener there is nobody to tell.
    drop(fdpass::send(boot, text.as_bytes(), &[]));
}

pub(super) fn receive_report(boot: &OwnedFd) -> Result<Pid, Error> {
    let mut buffer = vec![0u8; MESSAGE];
    let (length, _) = fdpass::receive(boot, &mut buffer).map_err(Error::Host)?;
    let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
    match text.split_once('\u{0}') {
        Some(("pid", number)) => {
            number.parse().map(Pid::from_raw).map_err(|_| Error::Host(io::ErrorKind::InvalidData.into()))
        }
        Some((_, rest)) => Err(Error::Unavailable(isolate::parse(rest))),
        None => Err(Error::Host(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// Lets the inner process go on, once it is our child.
pub(super) fn send_go(agent: &OwnedFd, inner: Pid) -> io::Result<()> {
    fdpass::send(agent, format!("{} {inner}", Pid::this()).as_bytes(), &[])
}

/// The inner process: waits until the outer one is its parent, ties its life to it, and learns both numbers on the host.
pub(super) fn await_go(agent: &OwnedFd, boot: &OwnedFd) -> Result<(u32, u32), Error> {
    let mut buffer = [0u8; 64];
    let (length, _) = fdpass::receive(agent, &mut buffer).map_err(Error::Host)?;
    process::die_with_parent().map_err(Error::Host)?;
    // If it died just before, nobody would kill us: its end of the socket tells.
    fdpass::send(boot, b"tied", &[]).map_err(Error::Host)?;
    let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
    let numbers = text.split_once(' ').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    numbers.ok_or(Error::Host(io::ErrorKind::UnexpectedEof.into()))
}

/// Serves the inner process until it ends; returns the exit code to end with.
pub(super) fn serve(agent: BorrowedFd<'_>, inner: Pid) -> i32 {
    match run(agent, inner) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(%error, "the host agent fails; everything it serves ends with it");
            let _ = kill(inner, Signal::SIGKILL);
            1
        }
    }
}

fn run(agent: BorrowedFd<'_>, inner: Pid) -> io::Result<i32> {
    let mut signals = SigSet::empty();
    for signal in FORWARDED.into_iter().chain([Signal::SIGCHLD]) {
        signals.add(signal);
    }
    signals.thread_block()?;
    let pending = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let socket = Arc::new(agent.try_clone_to_owned()?);
    let mut open = true;
    loop {
        let mut fds = vec![PollFd::new(pending.as_fd(), PollFlags::POLLIN)];
        if open {
            fds.push(PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::Error::EINTR) => continue,
            other => other?,
        };
        let asked = fds.get(1).and_then(PollFd::any).unwrap_or(false);
        while let Ok(Some(signal)) = pending.read_signal() {
            let number = i32::try_from(signal.ssi_signo).ok().and_then(|n| Signal::try_from(n).ok());
            match number {
                Some(Signal::SIGCHLD) => {
                    if let Some(code) = collect(inner) {
                        return Ok(code);
                    }
                }
                // The terminal has sent it to the inner process as well; only what was sent to this process alone is passed on.
                Some(other) if signal.ssi_code <= 0 => {
                    let _ = kill(inner, other);
                }
                _ => {}
            }
        }
        if asked {
            open = answer_one(&socket);
        }
    }
}

fn collect(inner: Pid) -> Option<i32> {
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == inner => return Some(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == inner => return Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// Takes one request and answers it in a thread, because connecting and resolving wait. False when the inner process has closed its end.
fn answer_one(socket: &Arc<OwnedFd>) -> bool {
    let mut buffer = vec![0u8; MESSAGE];
    let length = match fdpass::receive(&**socket, &mut buffer) {
        Ok((0, _)) | Err(_) => return false,
        Ok((length, _)) => length,
    };
    let Ok(request) = serde_json::from_slice::<Request>(buffer.get(..length).unwrap_or_default()) else { return true };
    let socket = Arc::clone(socket);
    std::thread::spawn(move || {
        let (result, fd) = match perform(request.verb) {
            Ok((addresses, fd)) => (Ok(addresses), fd),
            Err(error) => (Err(Refusal { errno: error.raw_os_error(), text: error.to_string() }), None),
        };
        if let Ok(message) = serde_json::to_vec(&Reply { id: request.id, result }) {
            let fds: Vec<BorrowedFd<'_>> = fd.iter().map(AsFd::as_fd).collect();
            // The inner process is gone: nobody waits for the answer.
            drop(fdpass::send(&*socket, &message, &fds));
        }
    });
    true
}

fn perform(verb: Verb) -> io::Result<(Vec<IpAddr>, Option<OwnedFd>)> {
    match verb {
        Verb::Listen(address) => Ok((Vec::new(), Some(TcpListener::bind(address)?.into()))),
        Verb::Dial(address) => Ok((Vec::new(), Some(TcpStream::connect_timeout(&address, DIAL_TIMEOUT)?.into()))),
        Verb::Resolve(name) => {
            let mut addresses: Vec<IpAddr> = Vec::new();
            // The library reports a name that does not exist like a resolver that failed; to the asker both mean "no address".
            for found in (name.as_str(), 0).to_socket_addrs().into_iter().flatten() {
                if !addresses.contains(&found.ip()) {
                    addresses.push(found.ip());
                }
            }
            Ok((addresses, None))
        }
    }
}
