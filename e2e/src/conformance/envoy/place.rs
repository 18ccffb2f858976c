//! A network namespace with a thread and a runtime inside.
//!
//! A network namespace belongs to threads, not to processes: what a thread of it opens stays there, and so does what the
//! threads and processes do that it starts. The namespace has no name, so that any number of them stand side by side, and
//! ends with its last thread, process and socket: nothing is left over, however this program ends.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use varka_sys::ns;

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Place {
    namespace: OwnedFd,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Place {
    /// A new one, whose loopback is still down.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let inside = || -> Result<_> {
                ns::unshare(ns::NET).context("no network namespace can be made here (root is needed)")?;
                Ok((ns::of_this_thread("net")?, Builder::new_multi_thread().worker_threads(1).enable_all().build()?))
            };
            match inside() {
                Ok((namespace, runtime)) => {
                    let _ = tell.send(Ok((namespace, runtime.handle().clone())));
                    let _ = runtime.block_on(stopped);
                    runtime.shutdown_background();
                }
                Err(e) => drop(tell.send(Err(e))),
            }
        })?;
        let (namespace, handle) = told.recv().context("the thread of a namespace ended")??;
        Ok(Self { namespace, handle, stop: Some(stop), thread: Some(thread) })
    }

    /// The namespace itself, to move interfaces into.
    pub(crate) fn namespace(&self) -> &OwnedFd {
        &self.namespace
    }

    /// Runs something inside and waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.handle.spawn(work).await.map_err(|e| anyhow!("{e}"))?
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
