//! Lets the API server ask the pod runtime: the same streams under the types of either crate, which do not know each other.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use varka_apiserver::{Duplex, ExecOptions, ExecSession, LogOptions, Node, NodeError, PodRef};
use varka_kubelet::{Kubelet, StreamError};

/// The pod runtime as the API server sees it.
#[derive(Debug)]
pub(crate) struct NodeAdapter {
    kubelet: Kubelet,
}

impl NodeAdapter {
    /// Over this runtime.
    pub(crate) fn new(kubelet: Kubelet) -> Self {
        Self { kubelet }
    }
}

impl Node for NodeAdapter {
    fn logs(
        &self,
        pod: PodRef,
        opts: LogOptions,
    ) -> BoxFuture<'static, Result<BoxStream<'static, std::io::Result<bytes::Bytes>>, NodeError>> {
        let kubelet = self.kubelet.clone();
        let options = varka_kubelet::LogOptions {
            follow: opts.follow,
            previous: opts.previous,
            timestamps: opts.timestamps,
            tail_lines: opts.tail_lines,
            since: opts.since,
            limit_bytes: opts.limit_bytes,
        };
        async move { kubelet.logs(&pod.namespace, &pod.name, uid(&pod), &opts.container, options).await.map_err(refuse) }.boxed()
    }

    fn exec(&self, pod: PodRef, opts: ExecOptions) -> BoxFuture<'static, Result<ExecSession, NodeError>> {
        let kubelet = self.kubelet.clone();
        async move {
            let session = kubelet.exec(&pod.namespace, &pod.name, uid(&pod), &opts.container, options(&opts)).await;
            session.map(session_of).map_err(refuse)
        }
        .boxed()
    }

    fn attach(&self, pod: PodRef, opts: ExecOptions) -> BoxFuture<'static, Result<ExecSession, NodeError>> {
        let kubelet = self.kubelet.clone();
        async move {
            let session = kubelet.attach(&pod.namespace, &pod.name, uid(&pod), &opts.container, options(&opts)).await;
            session.map(session_of).map_err(refuse)
        }
        .boxed()
    }

    fn port_forward(&self, pod: PodRef, port: u16) -> BoxFuture<'static, Result<Box<dyn Duplex>, NodeError>> {
        let kubelet = self.kubelet.clone();
        async move {
            let stream = kubelet.port_forward(&pod.namespace, &pod.name, uid(&pod), port).await.map_err(refuse)?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        }
        .boxed()
    }
}

fn uid(pod: &PodRef) -> Option<&str> {
    (!pod.uid.is_empty()).then_some(pod.uid.as_str())
}

fn options(opts: &ExecOptions) -> varka_kubelet::ExecOptions {
    varka_kubelet::ExecOptions {
        command: opts.command.clone(),
        stdin: opts.stdin,
        stdout: opts.stdout,
        stderr: opts.stderr,
        tty: opts.tty,
    }
}

fn session_of(session: varka_kubelet::ExecSession) -> ExecSession {
    ExecSession {
        stdin: session.stdin,
        stdout: session.stdout,
        stderr: session.stderr,
        resize: session.resize,
        exit: session.exit,
    }
}

fn refuse(error: StreamError) -> NodeError {
    match error {
        StreamError::NotFound(text) => NodeError::NotFound(text),
        StreamError::NotReady(text) => NodeError::NotReady(text),
        StreamError::Failed(text) => NodeError::Failed(text),
        StreamError::Io(error) => NodeError::Io(error),
    }
}
