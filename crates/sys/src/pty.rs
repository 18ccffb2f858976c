//! Pseudo terminals for interactive commands.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

/// Opens a new pseudo terminal of the `/dev/pts` that the calling process sees: the controlling side and the terminal itself.
///
/// # Errors
/// Those of opening `/dev/ptmx` and the terminal.
pub fn open() -> io::Result<(OwnedFd, File)> {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname_r(&master)?;
    let terminal = OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(name)?;
    Ok((master.as_fd().try_clone_to_owned()?, terminal))
}

/// Sets the size of the terminal in character cells; its foreground processes get SIGWINCH.
///
/// # Errors
/// `ENOTTY` when the descriptor is no terminal.
pub fn resize(fd: &impl AsFd, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open for the length of the call, and TIOCSWINSZ reads one winsize from the pointer.
    let done = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Columns and rows of the terminal in character cells.
///
/// # Errors
/// `ENOTTY` when the descriptor is no terminal.
pub fn size(fd: &impl AsFd) -> io::Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open for the length of the call, and TIOCGWINSZ writes one winsize to the pointer.
    let done = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    if done == 0 { Ok((size.ws_col, size.ws_row)) } else { Err(io::Error::last_os_error()) }
}

/// Makes the terminal the controlling terminal of the calling process, which must lead a session without one.
///
/// # Errors
/// `EPERM` when the process is no session leader or has a terminal already.
pub fn take_control(fd: &impl AsFd) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call; TIOCSCTTY takes a plain integer.
    let done = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_terminal_has_the_size_that_it_was_given() {
        let (master, terminal) = super::open().unwrap();
        super::resize(&master, 132, 43).unwrap();
        assert_eq!(super::size(&terminal).unwrap(), (132, 43));
        assert!(super::size(&std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
