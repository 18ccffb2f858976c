//! Logs, commands in containers, and connections into pods: what `kubectl logs`, `exec`, `attach` and `port-forward` ask of the node.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::logs::{self, Attached, LogOptions, Stream as Side};
use crate::pod::{Context, Live};
use crate::streams::{self, ExecOptions, ExecSession, Terminal};

/// Exit code of a program that was killed: 128 and the number of SIGKILL.
const KILLED: i32 = 137;

/// Why a stream of a pod cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// No such pod here, or no such container in it.
    #[error("{0}")]
    NotFound(String),
    /// The container does not run, or has not run before.
    #[error("{0}")]
    NotReady(String),
    /// The command could not be started.
    #[error("{0}")]
    Failed(String),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The container to use: the given one, else the first of the pod.
fn container(context: &Context, name: &str) -> Result<String, StreamError> {
    let pod = context.pod();
    let spec = pod.spec.as_ref();
    let mut all = spec.into_iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    let found = if name.is_empty() { all.next() } else { all.find(|c| c.name == name) };
    let missing = || StreamError::NotFound(format!("container {name} is not valid for pod {}", context.name()));
    found.map(|c| c.name.clone()).ok_or_else(missing)
}

fn live(context: &Context, name: &str) -> Result<Live, StreamError> {
    let name = container(context, name)?;
    context
        .live(&name)
        .ok_or_else(|| StreamError::NotReady(format!("container {name} in pod {} is not running", context.name())))
}

/// The log of a container.
pub(crate) fn read_log(
    context: &Context,
    name: &str,
    options: LogOptions,
) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, StreamError> {
    let name = container(context, name)?;
    let restarts = context.record().borrow().container(&name).map_or(0, |record| record.restarts);
    let directory = context.log_directory(&name);
    let none = |what: &str| {
        StreamError::NotReady(format!("{what} container \"{name}\" in pod \"{}\" not found", context.name()))
    };
    let (path, growth) = if options.previous {
        let before = restarts.checked_sub(1).ok_or_else(|| none("previous terminated"))?;
        (logs::path_of(&directory, before), None)
    } else {
        let live = context.live(&name);
        let path = live.as_ref().map_or_else(|| logs::path_of(&directory, restarts), |l| l.log.path().to_path_buf());
        (path, live.map(|l| l.log.growth()))
    };
    if !path.exists() {
        // A container that waits for its next start shows what its last one said.
        let before = restarts
            .checked_sub(1)
            .map(|before| logs::path_of(&directory, before))
            .filter(|p| p.exists() && !options.previous);
        let path = before.ok_or_else(|| match options.previous {
            true => none("previous terminated"),
            false => {
                StreamError::NotReady(format!("container \"{name}\" in pod \"{}\" is waiting to start", context.name()))
            }
        })?;
        return Ok(Lines(logs::follow(&path, options, None)));
    }
    Ok(Lines(logs::follow(&path, options, growth)))
}

struct Lines(mpsc::Receiver<Result<Bytes, logs::LogError>>);

impl Stream for Lines {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|item| item.map(|result| result.map_err(io::Error::other)))
    }
}

/// Starts a command in a container.
pub(crate) async fn exec(context: &Context, name: &str, options: ExecOptions) -> Result<ExecSession, StreamError> {
    let live = live(context, name)?;
    let mut run =
        crate::init::protocol::Run { args: options.command.clone(), terminal: options.tty, ..live.run.clone() };
    let failed = |error: crate::container::ContainerError| StreamError::Failed(error.to_string());
    if options.tty {
        if !run.env.iter().any(|variable| variable.starts_with("TERM=")) {
            run.env.push("TERM=xterm".to_owned());
        }
        let running = live.handle.run(run, &[]).await.map_err(failed)?;
        let terminal = Terminal::new(
            running.terminal.ok_or_else(|| StreamError::Failed("the command got no terminal".to_owned()))?,
        )?;
        let resize = Some(terminal.resizer()?);
        let stdin = if options.stdin {
            Some(Box::new(terminal.duplicate()?) as Box<dyn AsyncWrite + Unpin + Send>)
        } else {
            None
        };
        return Ok(ExecSession {
            stdin,
            stdout: Some(Box::new(terminal)),
            stderr: None,
            resize,
            exit: exit_of(running.ended),
        });
    }
    run.streams = [options.stdin, options.stdout, options.stderr];
    let mut theirs = Vec::new();
    let mut stdin: Option<Box<dyn AsyncWrite + Unpin + Send>> = None;
    if options.stdin {
        let (their_end, ours) = streams::input()?;
        theirs.push(their_end);
        stdin = Some(Box::new(ours));
    }
    let mut output = |wanted: bool| -> io::Result<Option<Box<dyn AsyncRead + Unpin + Send>>> {
        if !wanted {
            return Ok(None);
        }
        let (their_end, ours) = streams::output()?;
        theirs.push(their_end);
        Ok(Some(Box::new(ours)))
    };
    let (stdout, stderr) = (output(options.stdout)?, output(options.stderr)?);
    let running = live.handle.run(run, &theirs).await.map_err(failed)?;
    Ok(ExecSession { stdin, stdout, stderr, resize: None, exit: exit_of(running.ended) })
}

fn exit_of(ended: oneshot::Receiver<crate::init::protocol::Ended>) -> oneshot::Receiver<i32> {
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        // Where the container ended first, everything in it was killed, and nobody was left to say how this ended.
        let code = ended.await.map_or(KILLED, |ended| ended.code());
        // Nobody asks any more.
        let _ = sender.send(code);
    });
    receiver
}

/// Joins the streams of a container's own program.
pub(crate) fn attach(context: &Context, name: &str, options: &ExecOptions) -> Result<ExecSession, StreamError> {
    let live = live(context, name)?;
    let Attached { early, taps: [out, errors] } = live.log.attach();
    let said = |side: Side| {
        early.iter().filter(|(from, _)| *from == side).fold(Vec::new(), |mut all, (_, bytes)| {
            all.extend_from_slice(bytes);
            all
        })
    };
    let side = |wanted: bool, side: Side, tap| -> Option<Box<dyn AsyncRead + Unpin + Send>> {
        wanted.then(|| Box::new(Tap::new(said(side).into(), tap, side)) as Box<dyn AsyncRead + Unpin + Send>)
    };
    let (stdout, stderr) = (
        side(options.stdout, Side::Stdout, out),
        side(options.stderr && live.terminal.is_none(), Side::Stderr, errors),
    );
    let stdin: Option<Box<dyn AsyncWrite + Unpin + Send>> = match (&live.terminal, &live.stdin) {
        _ if !options.stdin => None,
        (Some(terminal), _) => Some(Box::new(terminal.duplicate()?)),
        (None, Some(stdin)) => Some(Box::new(taken(stdin, context)?)),
        (None, None) => None,
    };
    let resize = live.terminal.as_ref().map(|terminal| terminal.resizer()).transpose()?;
    let (sender, exit) = oneshot::channel();
    let mut code = live.exit.clone();
    // Only what is needed is held: the container's own end must not wait for who is attached.
    drop(live);
    tokio::spawn(async move {
        if let Ok(Some(code)) = code.wait_for(Option::is_some).await.map(|code| *code) {
            let _ = sender.send(code);
        }
    });
    Ok(ExecSession { stdin, stdout, stderr, resize, exit })
}

fn taken(
    stdin: &Arc<tokio::sync::Mutex<Option<pipe::Sender>>>,
    context: &Context,
) -> Result<pipe::Sender, StreamError> {
    let busy = || StreamError::NotReady(format!("somebody else is attached to the input of pod {}", context.name()));
    stdin.try_lock().ok().and_then(|mut slot| slot.take()).ok_or_else(busy)
}

/// One stream of a container's output: what was said before, then what comes.
struct Tap {
    source: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    rest: Bytes,
}

impl Tap {
    fn new(early: Bytes, receiver: broadcast::Receiver<(Side, Bytes)>, side: Side) -> Self {
        let source = futures_util::stream::unfold(receiver, move |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok((from, bytes)) if from == side => return Some((bytes, receiver)),
                    // Who reads too slowly misses something, but holds nobody up.
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        Self { source: Box::pin(source), rest: early }
    }
}

impl AsyncRead for Tap {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Poller<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            match self.source.as_mut().poll_next(cx) {
                Poll::Ready(Some(bytes)) => self.rest = bytes,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
        let count = self.rest.len().min(buf.remaining());
        let part = self.rest.split_to(count);
        buf.put_slice(&part);
        Poll::Ready(Ok(()))
    }
}

/// Connects to a port on the pod's loopback address.
pub(crate) async fn port_forward(context: &Context, port: u16) -> Result<TcpStream, StreamError> {
    let namespaces = context
        .namespaces()
        .ok_or_else(|| StreamError::NotReady(format!("pod {} has no network yet", context.name())))?;
    crate::network::connect_inside(&namespaces.network, port, Duration::from_secs(10)).await.map_err(|error| {
        StreamError::Failed(format!("nothing accepts connections on port {port} in pod {}: {error}", context.name()))
    })
}
