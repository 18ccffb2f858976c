//! Connections from pods to addresses outside: taken over by a relay in the base namespace, which has the host agent dial in their place.
//!
//! Nothing of the host's network is changed for it, and it works alike as root and as an ordinary user. Only TCP goes out; UDP other than DNS is
//! refused by the kernel, which knows no route. One address inside stands for the host's own loopback.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

use crate::node::Node;
use crate::sandbox::GATEWAY;

/// Where the relay listens in the base namespace.
pub(crate) const PORT: u16 = 15099;

/// Relays connections until the runtime stops.
pub(crate) async fn run(node: Arc<Node>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(relay(Arc::clone(&node), stream))),
            Err(error) => {
                // Out of descriptors: those in use will be given back.
                tracing::warn!(%error, "a connection to the outside is not accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// Opens the relay's listener.
pub(crate) async fn listen() -> io::Result<TcpListener> {
    TcpListener::bind((GATEWAY, PORT)).await
}

async fn relay(node: Arc<Node>, mut inside: TcpStream) {
    let target = match varka_sys::socket::original_dst(&inside) {
        // Somebody speaks to the relay itself.
        Ok(SocketAddr::V4(meant)) if *meant.ip() != GATEWAY => outside(SocketAddr::V4(meant), node.config.host_ip()),
        _ => return,
    };
    match node.config.agent.dial(target).await {
        Ok(mut outside) => {
            drop(inside.set_nodelay(true));
            drop(outside.set_nodelay(true));
            // Either side's error ends both.
            drop(tokio::io::copy_bidirectional_with_sizes(&mut inside, &mut outside, 32 << 10, 32 << 10).await);
        }
        Err(error) => {
            tracing::debug!(%target, %error, "a connection to the outside fails");
            // The caller sees a reset, the nearest there is to a refusal after the connection stands.
            drop(varka_sys::socket::reset_on_close(&inside));
        }
    }
}

fn outside(meant: SocketAddr, host: Ipv4Addr) -> SocketAddr {
    if meant.ip() == IpAddr::V4(host) { SocketAddr::new(Ipv4Addr::LOCALHOST.into(), meant.port()) } else { meant }
}
