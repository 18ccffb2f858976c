//! The namespaces in which everything of one `varka up` lives, and the small process that stays outside of them.
//!
//! [`enter`] splits the calling process. The outer one keeps its place on the host and becomes the *host agent*: it opens listeners, dials and
//! resolves names for the inner one, passes on signals, and ends with its exit code. The inner one is process 1 of a new process namespace and has
//! network and mount namespaces of its own (and, for an ordinary user, a user namespace in which it is root). When either of the two ends, by
//! whatever means, the kernel ends everything inside, and with it mounts, interfaces and rules.
//!
//! It does not run pods: that is the rest of this crate.

mod agent;
mod host;
mod isolate;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use nix::unistd::{Gid, Pid, Uid};
use varka_sys::process::{Forked, fork};
use varka_sys::{fdpass, process};

pub use agent::{AgentError, HostAgent};
pub use isolate::{BRIDGE, GATEWAY, Unavailable};

use crate::Error;

/// What to prepare on the host before leaving it.
#[derive(Debug, Default)]
pub struct EnterOptions {
    /// Addresses to listen on, on the host.
    pub listen: Vec<SocketAddr>,
}

/// What the inner process has in hand after [`enter`].
#[derive(Debug)]
pub struct Sandbox {
    /// The listeners of [`EnterOptions::listen`], in its order.
    pub host_listeners: Vec<TcpListener>,
    /// The way to the host's network.
    pub agent: HostAgent,
    /// Whether an ordinary user runs this: one identity is all there is inside.
    pub rootless: bool,
    /// The number of the outer process on the host. A signal to it reaches the inner one; its end is the end of everything.
    pub outer_pid: u32,
    /// The number of the inner process on the host, whose `/proc/N/ns` are the namespaces of the base.
    pub inner_pid: u32,
}

/// Enters the namespaces. Must be called before any thread is started. Returns in the inner process only; the outer one serves as host agent and
/// exits with the inner one's code. Returns in the calling process when namespaces cannot be had.
///
/// # Errors
/// [`Error::Listen`] for a busy address, [`Error::Unavailable`] when the system refuses namespaces, [`Error::Threads`] in a process with threads.
pub fn enter(options: EnterOptions) -> Result<Sandbox, Error> {
    if !process::is_single_threaded().map_err(Error::Host)? {
        return Err(Error::Threads);
    }
    let mut listeners = Vec::with_capacity(options.listen.len());
    for address in options.listen {
        listeners.push(TcpListener::bind(address).map_err(|source| Error::Listen { address, source })?);
    }
    let identity = (Uid::effective(), Gid::effective());
    let rootless = !identity.0.is_root();
    let (outside, inside) = fdpass::seqpacket_pair().map_err(Error::Host)?;
    let (boot_outer, boot_inner) = fdpass::seqpacket_pair().map_err(Error::Host)?;
    // The process in between ends at once; its child then belongs to the outer process.
    nix::sys::prctl::set_child_subreaper(true).map_err(|e| Error::Host(e.into()))?;
    match fork().map_err(Error::Host)? {
        Forked::Parent(between) => {
            drop((inside, boot_inner, listeners));
            Err(outer(&outside, &boot_outer, between))
        }
        Forked::Child => {
            drop((outside, boot_outer));
            split(&boot_inner, rootless, identity);
            host::await_go(&inside, &boot_inner).and_then(|(outer_pid, inner_pid)| {
                isolate::furnish().map_err(Error::Unavailable)?;
                Ok(Sandbox { host_listeners: listeners, agent: HostAgent::new(inside), rootless, outer_pid, inner_pid })
            })
        }
    }
}

/// The outer process: waits until the inner one stands, then serves it until it ends. Returns only with the reason why it does not stand.
fn outer(agent: &OwnedFd, boot: &OwnedFd, between: Pid) -> Error {
    let report = host::receive_report(boot);
    let _ = nix::sys::wait::waitpid(between, None);
    match report {
        Ok(inner) => match host::send_go(agent, inner) {
            Ok(()) => std::process::exit(host::serve(agent.as_fd(), inner)),
            Err(error) => Error::Host(error),
        },
        Err(error) => error,
    }
}

/// The process in between: makes the namespaces and the inner process in them. Returns in the inner process.
fn split(boot: &OwnedFd, rootless: bool, identity: (Uid, Gid)) {
    let made = isolate::unshare(rootless, identity)
        .and_then(|()| fork().map_err(|e| Unavailable::new("starting a process in the new namespaces", &e)));
    match made {
        Ok(Forked::Child) => {}
        Ok(Forked::Parent(inner)) => {
            host::report(boot, Ok(inner));
            std::process::exit(0)
        }
        Err(unavailable) => {
            host::report(boot, Err(&unavailable));
            std::process::exit(1)
        }
    }
}

/// Whether [`enter`] would succeed here, found out by trying all of it in a child process.
///
/// # Errors
/// What is refused, why, and what to do about it.
pub fn probe() -> Result<(), Unavailable> {
    isolate::probe()
}
