//! One thread of the data plane: its listening sockets, connections and pools. Workers share nothing mutable but atomics.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use varka_engine::ir::{Listener, Str, TrafficDirection};

use crate::accept;
use crate::limit::Limit;
use crate::metrics::Series;
use crate::names::Names;
use crate::peer;
use crate::pool::Pools;
use crate::spans::Exporter;
use crate::state::{Lifecycle, State};
use crate::workloads;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// How often idle upstream connections are looked after.
const SWEEP: Duration = Duration::from_secs(5);
/// Pause after an address could not be listened on, or a connection not be accepted.
const RETRY: Duration = Duration::from_millis(200);

/// The last spans may take so long to be sent, and what is still to be counted so long to be known.
const LAST_WORK: Duration = Duration::from_millis(500);

/// One thread of the data plane.
#[derive(Debug)]
pub(crate) struct Worker {
    /// What all threads share.
    pub state: Arc<State>,
    /// Connections to endpoints.
    pub pools: Pools,
    /// Istio's series that its requests counted in.
    pub series: Series,
    /// How many lines about refused requests and connections it may still write.
    pub refusals: Limit,
    /// Likewise, about what policies that are not enforced would have done.
    pub shadows: Limit,
    /// Addresses of hosts that requests and connections named.
    pub names: Names,
    /// Peers that told who they are.
    pub peers: peer::Known,
    /// Those that did not, by their addresses.
    pub workloads: workloads::Near,
    /// Spans that are still to be sent.
    pub spans: Exporter,
}

impl Worker {
    /// A worker without connections.
    pub(crate) fn new(state: Arc<State>) -> Rc<Self> {
        Rc::new(Self {
            state,
            pools: Pools::default(),
            series: Series::default(),
            peers: peer::Known::default(),
            workloads: workloads::Near::default(),
            spans: Exporter::default(),
            refusals: Limit::default(),
            shadows: Limit::default(),
            names: Names::default(),
        })
    }

    /// Runs until the proxy stops.
    pub(crate) async fn run(self: Rc<Self>) {
        let sweeper = Rc::clone(&self);
        let sweeping = tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                sweeper.pools.sweep(&sweeper.state.config());
            }
        });
        let listening = tokio::task::spawn_local(Rc::clone(&self).listen());
        let mut lifecycle = self.state.follow_lifecycle();
        let _ = lifecycle.wait_for(|l| *l == Lifecycle::Stopped).await;
        listening.abort();
        sweeping.abort();
        // What the last requests left; who does not answer is not waited for.
        tokio::join!(async { drop(tokio::time::timeout(LAST_WORK, self.spans.finish(&self)).await) }, async {
            drop(tokio::time::timeout(LAST_WORK, self.workloads.all_counted()).await)
        },);
        self.workloads.count_at_once();
        self.pools.close_idle();
    }

    /// Keeps a socket open for every listener that wants one.
    async fn listen(self: Rc<Self>) {
        let mut open: HashMap<Str, (SocketAddr, JoinHandle<()>)> = HashMap::new();
        let (mut changes, mut lifecycle) = (self.state.changes(), self.state.follow_lifecycle());
        loop {
            let config = self.state.config();
            let draining = self.state.lifecycle() >= Lifecycle::Draining;
            // While the proxy drains, the application may still call others, but nobody new is let in.
            let wanted = |l: &Listener| l.bind_to_port && !(draining && l.direction != TrafficDirection::Outbound);
            open.retain(|name, (address, task)| {
                let keep = config.ir.listeners.get(name).is_some_and(|l| l.address == *address && wanted(l));
                if !keep {
                    task.abort();
                }
                keep
            });
            let mut failed = false;
            for (name, listener) in config.ir.listeners.iter().filter(|(_, l)| wanted(l)) {
                if open.contains_key(name) {
                    continue;
                }
                match bind(listener.address) {
                    Ok(socket) => {
                        let bound = socket.local_addr().unwrap_or(listener.address);
                        self.state.bound(name, bound);
                        let task = tokio::task::spawn_local(accept_all(Rc::clone(&self), Arc::clone(name), socket));
                        open.insert(Arc::clone(name), (listener.address, task));
                    }
                    Err(e) => {
                        failed = true;
                        tracing::error!("listener {name} cannot listen on {}: {e}; trying again", listener.address);
                    }
                }
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                changed = lifecycle.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RETRY), if failed => {}
            }
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept_all(worker: Rc<Worker>, listener: Str, socket: TcpListener) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) if worker.state.downstream.is_full() => refuse(&worker, &listener, &stream, peer),
            Ok((stream, peer)) => {
                tokio::task::spawn_local(accept::handle(Rc::clone(&worker), Arc::clone(&listener), stream, peer));
            }
            Err(e) => {
                // Out of descriptors, mostly: connections wait in the backlog until some are closed.
                tracing::warn!("listener {listener} cannot accept: {e}");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Resets a connection that is one too many.
fn refuse(worker: &Worker, listener: &str, stream: &TcpStream, peer: SocketAddr) {
    let downstream = &worker.state.downstream;
    downstream.refused.fetch_add(1, Relaxed);
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    if let Some(left_out) = worker.refusals.take(Instant::now()) {
        let most = downstream.most.load(Relaxed);
        tracing::warn!(
            "listener {listener} resets the connection of {peer}: {most} connections are open, and no more fit into the \
             limit of open files; raise that limit, or run more replicas ({left_out} such lines were left out)"
        );
    }
}
