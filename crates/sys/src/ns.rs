//! Namespaces: entering, leaving, naming and mapping identities into them.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sched::CloneFlags;

/// A set of namespaces.
pub type Kinds = CloneFlags;

/// User namespace.
pub const USER: Kinds = CloneFlags::CLONE_NEWUSER;
/// Mount namespace.
pub const MOUNT: Kinds = CloneFlags::CLONE_NEWNS;
/// Network namespace.
pub const NET: Kinds = CloneFlags::CLONE_NEWNET;
/// Process-number namespace.
pub const PID: Kinds = CloneFlags::CLONE_NEWPID;
/// Host-name namespace.
pub const UTS: Kinds = CloneFlags::CLONE_NEWUTS;
/// System V and POSIX message namespace.
pub const IPC: Kinds = CloneFlags::CLONE_NEWIPC;

/// Moves the calling thread into new namespaces. A user namespace needs a process with one thread; a process namespace holds only the
/// children made afterwards.
///
/// # Errors
/// Those of `unshare`.
pub fn unshare(kinds: Kinds) -> io::Result<()> {
    Ok(nix::sched::unshare(kinds)?)
}

/// Moves the calling thread into the namespace of an open descriptor, or into several of a pidfd's process.
///
/// # Errors
/// Those of `setns`.
pub fn enter(fd: &impl AsFd, kinds: Kinds) -> io::Result<()> {
    Ok(nix::sched::setns(fd.as_fd(), kinds)?)
}

/// Opens a namespace of the calling thread by its name in `/proc/PID/ns` (`net`, `uts`, `ipc`, `mnt`, `user`, `pid`).
///
/// # Errors
/// Those of opening the file.
pub fn of_this_thread(name: &str) -> io::Result<OwnedFd> {
    Ok(File::open(format!("/proc/thread-self/ns/{name}"))?.into())
}

/// Opens a namespace of another process.
///
/// # Errors
/// `NotFound` when the process is gone, `PermissionDenied` when it is another user's.
pub fn of_process(pid: u32, name: &str) -> io::Result<OwnedFd> {
    Ok(File::open(format!("/proc/{pid}/ns/{name}"))?.into())
}

/// Maps one identity, `inside`, of the calling process's new user namespace to `outside_uid` and `outside_gid`, which must be its own.
///
/// # Errors
/// `PermissionDenied` where the system forbids unprivileged user namespaces.
pub fn map_single_identity(inside_uid: u32, outside_uid: u32, inside_gid: u32, outside_gid: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{inside_uid} {outside_uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{inside_gid} {outside_gid} 1"))
}
