//! Cluster DNS: names of Services and pods answered from what the cluster has, everything else by the host's resolver.
//!
//! It speaks UDP and TCP on the cluster's DNS address. It does not recurse itself and keeps no cache: inside names are always current, and outside
//! names are cached by the host.

pub(crate) mod message;
pub(crate) mod names;

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use crate::node::Node;
use message::Turn;
use names::View;

/// Queries under way at one time.
const CONCURRENCY: usize = 512;
/// A resolver that keeps a TCP connection open without asking is let go.
const IDLE: Duration = Duration::from_secs(10);

/// The sockets of the server.
#[derive(Debug)]
pub(crate) struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

/// Opens the sockets on an address of the base namespace.
pub(crate) async fn listen(address: Ipv4Addr) -> io::Result<Sockets> {
    Ok(Sockets { udp: UdpSocket::bind((address, 53)).await?, tcp: TcpListener::bind((address, 53)).await? })
}

/// Serves until the runtime stops.
pub(crate) async fn run(node: Arc<Node>, sockets: Sockets) {
    let slots = Arc::new(Semaphore::new(CONCURRENCY));
    tokio::join!(
        datagrams(Arc::clone(&node), Arc::new(sockets.udp), Arc::clone(&slots)),
        connections(node, sockets.tcp, slots)
    );
}

async fn datagrams(node: Arc<Node>, socket: Arc<UdpSocket>, slots: Arc<Semaphore>) {
    let mut buffer = [0u8; 4096];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An answer that found nobody comes back as an error of the socket; the next query is another matter.
                tracing::debug!(%error, "a DNS query is not received");
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let query = buffer.get(..length).unwrap_or_default().to_vec();
        let (node, socket) = (Arc::clone(&node), Arc::clone(&socket));
        tokio::spawn(async move {
            if let Some(answer) = respond(&node, &query, true).await {
                // Who asks again gets another answer.
                drop(socket.send_to(&answer, from).await);
            }
            drop(slot);
        });
    }
}

async fn connections(node: Arc<Node>, listener: TcpListener, slots: Arc<Semaphore>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let node = Arc::clone(&node);
        tokio::spawn(async move {
            // However it ends, the connection is closed.
            drop(tokio::time::timeout(Duration::from_secs(60), connection(&node, stream)).await);
            drop(slot);
        });
    }
}

async fn connection(node: &Node, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let length = tokio::time::timeout(IDLE, stream.read_u16()).await??;
        let mut query = vec![0u8; usize::from(length)];
        stream.read_exact(&mut query).await?;
        let Some(answer) = respond(node, &query, false).await else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_u16(length).await?;
        stream.write_all(&answer).await?;
    }
}

/// Answers one message; `None` for what is no query.
async fn respond(node: &Node, bytes: &[u8], datagram: bool) -> Option<Vec<u8>> {
    let turn = {
        let (services, slices) = (node.cluster.services.state(), node.cluster.endpoints.state());
        let view = View { services: &services, slices: &slices, host: node.config.host_ip() };
        message::begin(&view, bytes, datagram)?
    };
    match turn {
        Turn::Done(answer) => Some(answer),
        Turn::Resolve(pending) => {
            let resolved = node.config.agent.resolve(pending.name()).await;
            if let Err(error) = &resolved {
                tracing::debug!(name = pending.name(), %error, "the host does not resolve a name");
            }
            pending.finish(resolved.ok())
        }
    }
}
