//! What the server asks of whoever runs the pods: streams of a running container.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

/// Streams of running containers; implemented by the pod runtime.
pub trait Node: Send + Sync + 'static {
    /// The log of a container, from its start or as `opts` limit it; goes on while it runs if `opts.follow`.
    fn logs(
        &self,
        pod: PodRef,
        opts: LogOptions,
    ) -> BoxFuture<'static, Result<BoxStream<'static, std::io::Result<Bytes>>, NodeError>>;
    /// Starts a command in a container.
    fn exec(&self, pod: PodRef, opts: ExecOptions) -> BoxFuture<'static, Result<ExecSession, NodeError>>;
    /// Joins the streams of a container's own process; `opts.command` is empty.
    fn attach(&self, pod: PodRef, opts: ExecOptions) -> BoxFuture<'static, Result<ExecSession, NodeError>>;
    /// Connects to a TCP port on the pod's loopback address.
    fn port_forward(&self, pod: PodRef, port: u16) -> BoxFuture<'static, Result<Box<dyn Duplex>, NodeError>>;
}

/// A connection.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Names a pod, and which incarnation of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// Which part of a log is wanted. See `v1.PodLogOptions`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogOptions {
    /// The container.
    pub container: String,
    /// Go on as lines are written.
    pub follow: bool,
    /// Of the container's previous run.
    pub previous: bool,
    /// Only so many lines at the end.
    pub tail_lines: Option<u64>,
    /// Only lines written at or after this time.
    pub since: Option<jiff::Timestamp>,
    /// Put the RFC 3339 time of writing before each line.
    pub timestamps: bool,
    /// At most so many bytes.
    pub limit_bytes: Option<u64>,
}

/// What to run and which streams to join. See `v1.PodExecOptions`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecOptions {
    /// The container.
    pub container: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The client will write to standard input.
    pub stdin: bool,
    /// The client wants standard output.
    pub stdout: bool,
    /// The client wants standard error.
    pub stderr: bool,
    /// Give the command a terminal; standard error then comes with standard output.
    pub tty: bool,
}

/// A running command's streams.
pub struct ExecSession {
    /// Its standard input, if asked for. Dropping it is end of file.
    pub stdin: Option<Box<dyn AsyncWrite + Unpin + Send>>,
    /// Its standard output, if asked for.
    pub stdout: Option<Box<dyn AsyncRead + Unpin + Send>>,
    /// Its standard error, if asked for and without a terminal.
    pub stderr: Option<Box<dyn AsyncRead + Unpin + Send>>,
    /// Takes (columns, rows) when the client's terminal changes its size.
    pub resize: Option<mpsc::Sender<(u16, u16)>>,
    /// The exit code. Dropped without a value if it cannot be known.
    pub exit: oneshot::Receiver<i32>,
}

impl std::fmt::Debug for ExecSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let streams = (self.stdin.is_some(), self.stdout.is_some(), self.stderr.is_some(), self.resize.is_some());
        f.debug_struct("ExecSession").field("stdin_stdout_stderr_resize", &streams).finish_non_exhaustive()
    }
}

/// Why a stream could not be had.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The pod or container does not exist or is another incarnation.
    #[error("{0}")]
    NotFound(String),
    /// The container is not running, has not started, or has no previous run. kubectl prints the text.
    #[error("{0}")]
    NotReady(String),
    /// The command could not be started; the text names the command and the cause.
    #[error("{0}")]
    Failed(String),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
