//! The inner side of the host agent: asks the process outside for listeners, connections and names of the host's network.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use varka_sys::fdpass;

/// The most requests that are under way at one time; the process outside has a thread for each.
const CONCURRENCY: usize = 256;
/// The largest message either side sends.
pub(super) const MESSAGE: usize = 16 * 1024;

/// What the agent is asked to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Verb {
    /// Listen on an address of the host.
    Listen(SocketAddr),
    /// Connect to an address as the host would.
    Dial(SocketAddr),
    /// Look a name up in the host's way.
    Resolve(String),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) verb: Verb,
}

/// What the agent answers; a socket comes as a descriptor beside it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) id: u64,
    pub(super) result: Result<Vec<IpAddr>, Refusal>,
}

/// An operating system's error on its way through the socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) errno: Option<i32>,
    pub(super) text: String,
}

/// Why the agent could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The host refused.
    #[error("{0}")]
    Host(#[source] io::Error),
    /// The process outside is gone, or an answer was none.
    #[error("the host agent does not answer")]
    Gone,
}

type Answer = (Result<Vec<IpAddr>, Refusal>, Option<OwnedFd>);

#[derive(Debug)]
struct Shared {
    socket: OwnedFd,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    slots: Semaphore,
}

/// The way to the host's network from inside. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HostAgent(Arc<Shared>);

impl HostAgent {
    /// Takes the inner end of the agent's socket; a thread of its own waits for the answers.
    pub(super) fn new(socket: OwnedFd) -> Self {
        let shared = Arc::new(Shared {
            socket,
            next: AtomicU64::new(1),
            waiting: Mutex::new(HashMap::new()),
            slots: Semaphore::new(CONCURRENCY),
        });
        let receiver = Arc::clone(&shared);
        std::thread::spawn(move || receive(&receiver));
        Self(shared)
    }

    /// Listens on an address of the host.
    ///
    /// # Errors
    /// [`AgentError::Host`] with the host's reason, such as "address in use".
    pub async fn listen(&self, address: SocketAddr) -> Result<TcpListener, AgentError> {
        let socket = self.socket(Verb::Listen(address)).await?;
        let listener = std::net::TcpListener::from(socket);
        listener.set_nonblocking(true).map_err(AgentError::Host)?;
        TcpListener::from_std(listener).map_err(AgentError::Host)
    }

    /// Connects to an address as the host would; loopback is the host's own.
    ///
    /// # Errors
    /// [`AgentError::Host`] with the reason, such as "connection refused".
    pub async fn dial(&self, address: SocketAddr) -> Result<TcpStream, AgentError> {
        let socket = self.socket(Verb::Dial(address)).await?;
        let stream = std::net::TcpStream::from(socket);
        stream.set_nonblocking(true).map_err(AgentError::Host)?;
        TcpStream::from_std(stream).map_err(AgentError::Host)
    }

    /// The addresses of a name in the host's view. A name that is unknown there has none.
    ///
    /// # Errors
    /// [`AgentError::Host`] when the host's resolver failed.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, AgentError> {
        self.ask(Verb::Resolve(name.to_owned())).await.map(|(addresses, _)| addresses)
    }

    async fn socket(&self, verb: Verb) -> Result<OwnedFd, AgentError> {
        self.ask(verb).await?.1.ok_or(AgentError::Gone)
    }

    async fn ask(&self, verb: Verb) -> Result<(Vec<IpAddr>, Option<OwnedFd>), AgentError> {
        let _slot = self.0.slots.acquire().await.map_err(|_| AgentError::Gone)?;
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let message = serde_json::to_vec(&Request { id, verb }).map_err(|e| AgentError::Host(e.into()))?;
        let (sender, answer) = oneshot::channel();
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        if fdpass::send(&self.0.socket, &message, &[]).is_err() {
            self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            return Err(AgentError::Gone);
        }
        let (result, socket) = answer.await.map_err(|_| AgentError::Gone)?;
        match result {
            Ok(addresses) => Ok((addresses, socket)),
            Err(Refusal { errno: Some(errno), .. }) => Err(AgentError::Host(io::Error::from_raw_os_error(errno))),
            Err(Refusal { text, .. }) => Err(AgentError::Host(io::Error::other(text))),
        }
    }
}

fn receive(shared: &Shared) {
    let mut buffer = vec![0u8; MESSAGE];
    loop {
        let (length, mut fds) = match fdpass::receive(&shared.socket, &mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok((0, _)) | Err(_) => break,
            Ok(message) => message,
        };
        let Ok(reply) = serde_json::from_slice::<Reply>(buffer.get(..length).unwrap_or_default()) else { continue };
        let waiting = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&reply.id);
        if let Some(sender) = waiting {
            // Nobody waits any more: the socket closes with the message.
            drop(sender.send((reply.result, fds.pop())));
        }
    }
    // Whoever still waits is told by the end of its channel.
    shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}
