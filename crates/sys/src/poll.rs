//! Waiting for descriptors in tokio.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Registers a descriptor with the current tokio runtime. It should be non-blocking.
///
/// # Errors
/// When the kernel cannot poll it, as with regular files.
pub fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd always gives the same descriptor, which is open until it is dropped; its owner is the AsyncFd from here on.
    unsafe { AsyncFd::register(fd) }.map_err(|error| error.into_parts().1)
}
