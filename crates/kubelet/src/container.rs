//! One container's process 1 as the runtime sees it: start it, have it run programs, learn of their ends.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};
use varka_sys::process::{self, Process, Program};
use varka_sys::{fdpass, ns, poll};

use crate::init;
use crate::init::protocol::{Command, Ended, Event, MAIN, MESSAGE, Run, Spec};
use crate::network::PodNamespaces;

/// Why a container or a program in it did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContainerError {
    #[error("{0}")]
    Setup(String),
    #[error("{0}")]
    Run(String),
    #[error("the container has ended")]
    Gone,
}

/// A program that runs in the container.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) id: u64,
    /// How it ended. The sender's end means that the whole container was killed.
    pub(crate) ended: oneshot::Receiver<Ended>,
    /// The controlling side of its terminal, where it has one.
    pub(crate) terminal: Option<OwnedFd>,
}

type Started = Result<Running, ContainerError>;

#[derive(Debug, Default)]
struct Waiting {
    starts: HashMap<u64, oneshot::Sender<Started>>,
    ends: HashMap<u64, oneshot::Sender<Ended>>,
}

/// A container that stands. Dropping the last handle kills it.
#[derive(Debug)]
pub(crate) struct Handle {
    control: AsyncFd<OwnedFd>,
    process: Arc<Process>,
    next: AtomicU64,
    waiting: Arc<Mutex<Waiting>>,
    /// Becomes true when process 1 has been collected, and with it every process of the container is gone.
    gone: watch::Receiver<bool>,
}

/// Puts a file system together and starts process 1 on it; returns when programs can be run.
pub(crate) async fn create(program: &Path, spec: &Spec, pod: &PodNamespaces) -> Result<Arc<Handle>, ContainerError> {
    let setup = |what: &str, error: &dyn std::error::Error| ContainerError::Setup(format!("{what}: {error}"));
    let (ours, theirs) = fdpass::seqpacket_pair().map_err(|e| setup("control socket", &e))?;
    let program = launcher(program, spec, theirs, pod).map_err(|e| setup("container", &e))?;
    let spawned = tokio::task::spawn_blocking(move || process::spawn(&program)).await;
    let process = match spawned {
        Ok(Ok(process)) => Arc::new(process),
        Ok(Err(error)) => return Err(setup("starting the container's first process", &error)),
        Err(error) => return Err(setup("starting the container's first process", &error)),
    };
    nonblocking(&ours).map_err(|e| setup("control socket", &e))?;
    let control = poll::register(ours).map_err(|e| setup("control socket", &e))?;
    let waiting = Arc::new(Mutex::new(Waiting::default()));
    let (gone, watching) = watch::channel(false);
    let handle = Arc::new(Handle {
        control,
        process: Arc::clone(&process),
        next: AtomicU64::new(MAIN),
        waiting,
        gone: watching,
    });
    let (ready, stands) = oneshot::channel();
    let events = handle.events().map_err(|e| setup("control socket", &e))?;
    tokio::spawn(listen(events, Arc::clone(&handle.waiting), ready));
    tokio::spawn(collect(process, gone));
    stands.await.unwrap_or(Err(ContainerError::Gone))?;
    Ok(handle)
}

fn nonblocking(fd: &impl AsFd) -> io::Result<()> {
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

fn launcher(program: &Path, spec: &Spec, control: OwnedFd, pod: &PodNamespaces) -> io::Result<Program> {
    let description = nix::sys::memfd::memfd_create(c"container", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(description);
    serde_json::to_writer(io::BufWriter::new(&file), spec).map_err(io::Error::other)?;
    file.flush()?;
    file.rewind()?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let fds = vec![
        OwnedFd::from(null.try_clone()?),
        null.try_clone()?.into(),
        null.into(),
        control,
        file.into(),
        pod.network.try_clone()?,
        pod.hostname.try_clone()?,
        pod.messages.try_clone()?,
    ];
    let path = CString::new(program.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let argument = CString::new(init::ARGUMENT).map_err(io::Error::other)?;
    Ok(Program { args: vec![path.clone(), argument], path, env: Vec::new(), fds, namespaces: ns::PID | ns::MOUNT })
}

async fn collect(process: Arc<Process>, gone: watch::Sender<bool>) {
    match process.as_fd().try_clone_to_owned().and_then(poll::register) {
        Ok(pollable) => {
            // Readable means ended; an error leaves the blocking way below.
            drop(pollable.readable().await.map(|mut guard| guard.retain_ready()));
            drop(process.wait());
        }
        Err(_) => drop(tokio::task::spawn_blocking(move || process.wait()).await),
    }
    gone.send_replace(true);
}

async fn listen(
    control: AsyncFd<OwnedFd>,
    waiting: Arc<Mutex<Waiting>>,
    ready: oneshot::Sender<Result<(), ContainerError>>,
) {
    let mut ready = Some(ready);
    let mut buffer = vec![0u8; MESSAGE];
    loop {
        let Ok(mut guard) = control.readable().await else { break };
        let received = guard.try_io(|fd| fdpass::receive(&fd.get_ref(), &mut buffer));
        let (length, mut fds) = match received {
            Err(_would_block) => continue,
            Ok(Ok((0, _)) | Err(_)) => break,
            Ok(Ok(message)) => message,
        };
        let Ok(event) = serde_json::from_slice(buffer.get(..length).unwrap_or_default()) else { continue };
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Ready => drop(ready.take().map(|ready| ready.send(Ok(())))),
            Event::Failed(reason) => drop(ready.take().map(|ready| ready.send(Err(ContainerError::Setup(reason))))),
            Event::Started { id } => {
                if let Some(start) = waiting.starts.remove(&id) {
                    let (sender, ended) = oneshot::channel();
                    waiting.ends.insert(id, sender);
                    drop(start.send(Ok(Running { id, ended, terminal: fds.pop() })));
                }
            }
            Event::NotStarted { id, reason } => {
                drop(waiting.starts.remove(&id).map(|start| start.send(Err(ContainerError::Run(reason)))));
            }
            Event::Exited { id, ended } => drop(waiting.ends.remove(&id).map(|end| end.send(ended))),
        }
    }
    // Those who still wait are told by the end of their channels.
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.starts.clear();
    waiting.ends.clear();
}

impl Handle {
    fn events(&self) -> io::Result<AsyncFd<OwnedFd>> {
        poll::register(self.control.get_ref().try_clone()?)
    }

    /// Runs the container's own program. Its end is the container's.
    pub(crate) async fn run_main(&self, run: Run, streams: &[OwnedFd]) -> Result<Running, ContainerError> {
        self.start(MAIN, run, streams).await
    }

    /// Runs one more program in the container.
    pub(crate) async fn run(&self, run: Run, streams: &[OwnedFd]) -> Result<Running, ContainerError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.start(id, run, streams).await
    }

    async fn start(&self, id: u64, run: Run, streams: &[OwnedFd]) -> Result<Running, ContainerError> {
        let (sender, started) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).starts.insert(id, sender);
        let fds: Vec<BorrowedFd<'_>> = streams.iter().map(AsFd::as_fd).collect();
        self.send(&Command::Run { id, run }, &fds).await?;
        started.await.unwrap_or(Err(ContainerError::Gone))
    }

    async fn send(&self, command: &Command, fds: &[BorrowedFd<'_>]) -> Result<(), ContainerError> {
        let bytes = serde_json::to_vec(command).map_err(|e| ContainerError::Run(e.to_string()))?;
        if bytes.len() > MESSAGE {
            return Err(ContainerError::Run(format!("command and environment are too large ({} bytes)", bytes.len())));
        }
        loop {
            let mut guard = self.control.writable().await.map_err(|_| ContainerError::Gone)?;
            match guard.try_io(|control| fdpass::send(&control.get_ref(), &bytes, fds)) {
                Ok(sent) => return sent.map_err(|_| ContainerError::Gone),
                Err(_would_block) => {}
            }
        }
    }

    /// Sends a signal to a running program; one that has ended is no error.
    pub(crate) async fn signal(&self, id: u64, signal: i32) {
        // A container that is gone needs no signal.
        drop(self.send(&Command::Signal { id, signal }, &[]).await);
    }

    /// Ends every process of the container at once.
    pub(crate) fn kill(&self) {
        if let Err(error) = self.process.signal(nix::libc::SIGKILL) {
            tracing::warn!(%error, "a container cannot be killed");
        }
    }

    /// Waits until no process of the container is left.
    pub(crate) async fn gone(&self) {
        let mut gone = self.gone.clone();
        // The sender's end means that the runtime stops.
        drop(gone.wait_for(|gone| *gone).await);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.kill();
    }
}
