//! Streams between a container's programs and whoever talks to them: pipes, terminals, and the session that `exec` and `attach` give out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

/// What to run and which streams to join.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// Program and arguments; not used by attach.
    pub command: Vec<String>,
    /// Whether standard input is written to.
    pub stdin: bool,
    /// Whether standard output is read.
    pub stdout: bool,
    /// Whether standard error is read.
    pub stderr: bool,
    /// Whether the program gets a terminal; standard error then comes with standard output.
    pub tty: bool,
}

/// A running program's streams.
pub struct ExecSession {
    /// Its standard input, if asked for. Dropping it is the end of the input.
    pub stdin: Option<Box<dyn AsyncWrite + Unpin + Send>>,
    /// Its standard output, if asked for.
    pub stdout: Option<Box<dyn AsyncRead + Unpin + Send>>,
    /// Its standard error, if asked for and without a terminal.
    pub stderr: Option<Box<dyn AsyncRead + Unpin + Send>>,
    /// Takes columns and rows when the size of the asker's terminal changes.
    pub resize: Option<mpsc::Sender<(u16, u16)>>,
    /// The exit code, 128 and the signal's number for a program that was killed. Dropped when the container ended under it.
    pub exit: oneshot::Receiver<i32>,
}

impl std::fmt::Debug for ExecSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let has = (self.stdin.is_some(), self.stdout.is_some(), self.stderr.is_some(), self.resize.is_some());
        f.debug_struct("ExecSession").field("stdin_stdout_stderr_resize", &has).finish_non_exhaustive()
    }
}

/// A pipe that the program reads from: its end, and ours.
pub(crate) fn input() -> io::Result<(OwnedFd, pipe::Sender)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), pipe::Sender::from_owned_fd(writer.into())?))
}

/// A pipe that the program writes to: its end, and ours.
pub(crate) fn output() -> io::Result<(OwnedFd, pipe::Receiver)> {
    let (reader, writer) = io::pipe()?;
    Ok((writer.into(), pipe::Receiver::from_owned_fd(reader.into())?))
}

/// The controlling side of a terminal.
#[derive(Debug)]
pub(crate) struct Terminal(AsyncFd<OwnedFd>);

impl Terminal {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        fcntl(fd.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK | OFlag::O_RDWR))?;
        varka_sys::poll::register(fd).map(Self)
    }

    pub(crate) fn duplicate(&self) -> io::Result<Self> {
        varka_sys::poll::register(self.0.get_ref().try_clone()?).map(Self)
    }

    /// The way to change its size, as long as the terminal is there.
    pub(crate) fn resizer(&self) -> io::Result<mpsc::Sender<(u16, u16)>> {
        let fd = self.0.get_ref().try_clone()?;
        let (sender, mut sizes) = mpsc::channel::<(u16, u16)>(4);
        tokio::spawn(async move {
            while let Some((columns, rows)) = sizes.recv().await {
                if varka_sys::pty::resize(&fd, columns, rows).is_err() {
                    return;
                }
            }
        });
        Ok(sender)
    }
}

impl AsyncRead for Terminal {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let read = guard.try_io(|fd| Ok(nix::unistd::read(fd.get_ref(), buf.initialize_unfilled())?));
            match read {
                Ok(Ok(count)) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // The last program with the terminal has ended.
                Ok(Err(error)) if error.raw_os_error() == Some(nix::libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(result) = guard.try_io(|fd| Ok(nix::unistd::write(fd.get_ref(), bytes)?)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
