//! A pod's network: a namespace of its own behind the bridge, with one address, and sockets inside it for probes and port forwarding.
//!
//! A pod's address is a single one whose only way leads through the node, so that all traffic between pods passes the node's service rules.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use varka_sys::{NetlinkError, link, ns};

use crate::sandbox::{BRIDGE, GATEWAY};

/// Why a pod has no network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error("every address of the pod network is in use")]
    Exhausted,
    #[error("{0}")]
    Netlink(#[from] NetlinkError),
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
}

/// Addresses of pods: each is used again as late as possible, so that what still remembers an old pod does not meet a new one.
#[derive(Debug)]
pub(crate) struct Addresses {
    network: Ipv4Addr,
    hosts: u32,
    state: Mutex<(u32, HashSet<u32>)>,
}

impl Addresses {
    /// All addresses of the network but the first (the network), the second (the node) and the last (broadcast).
    pub(crate) fn new(network: Ipv4Addr, prefix: u8) -> Self {
        let hosts = 1u32.checked_shl(32 - u32::from(prefix.min(30))).unwrap_or(4) - 1;
        Self { network, hosts, state: Mutex::new((1, HashSet::new())) }
    }

    pub(crate) fn take(&self) -> Result<Ipv4Addr, NetworkError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, used) = &mut *state;
        for _ in 2..self.hosts {
            *last = if *last + 1 >= self.hosts { 2 } else { *last + 1 };
            if used.insert(*last) {
                return Ok(Ipv4Addr::from(u32::from(self.network) + *last));
            }
        }
        Err(NetworkError::Exhausted)
    }

    pub(crate) fn give_back(&self, address: Ipv4Addr) {
        let number = u32::from(address).wrapping_sub(u32::from(self.network));
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&number);
    }
}

/// The namespaces that a pod's containers share; they live as long as a descriptor or a process holds them.
#[derive(Debug)]
pub(crate) struct PodNamespaces {
    pub(crate) network: OwnedFd,
    pub(crate) hostname: OwnedFd,
    pub(crate) messages: OwnedFd,
    pub(crate) address: Ipv4Addr,
}

/// Makes a pod's namespaces. Blocks for a few milliseconds.
pub(crate) fn create(hostname: &str, address: Ipv4Addr) -> Result<PodNamespaces, NetworkError> {
    let [_, _, high, low] = address.octets();
    let name = format!("veth{high:02x}{low:02x}");
    let hostname = hostname.to_owned();
    // A thread of its own, because it stays in the new namespaces.
    let thread = std::thread::spawn(move || {
        let io = |what: &'static str| move |source: io::Error| NetworkError::Io { what, source };
        let outside = link::Links::open()?;
        let bridge = link::index_of(BRIDGE)?;
        ns::unshare(ns::NET | ns::UTS | ns::IPC).map_err(io("making a pod's namespaces"))?;
        nix::unistd::sethostname(&hostname).map_err(|e| io("setting the host name")(e.into()))?;
        let open = |kind| ns::of_this_thread(kind).map_err(io("opening a pod's namespace"));
        let pod = PodNamespaces { network: open("net")?, hostname: open("uts")?, messages: open("ipc")?, address };
        outside.add_veth(&name, bridge, "eth0", &pod.network)?;
        let inside = link::Links::open()?;
        inside.up(link::index_of("lo")?)?;
        let eth0 = link::index_of("eth0")?;
        inside.add_address(eth0, address, 32)?;
        inside.up(eth0)?;
        inside.add_route(eth0, Ipv4Addr::UNSPECIFIED, 0, link::Via::Gateway(GATEWAY))?;
        // As Docker and containerd set it: a port below 1024 needs no privilege in a pod of its own.
        fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").map_err(io("allowing low ports"))?;
        Ok(pod)
    });
    thread
        .join()
        .unwrap_or(Err(NetworkError::Io { what: "making a pod's namespaces", source: io::ErrorKind::Other.into() }))
}

/// The namespaces of a pod with `hostNetwork`: the base's network, where the node's own address is the pod's.
pub(crate) fn of_the_node() -> Result<PodNamespaces, NetworkError> {
    let open = |kind| {
        ns::of_this_thread(kind).map_err(|source| NetworkError::Io { what: "opening the node's namespaces", source })
    };
    Ok(PodNamespaces { network: open("net")?, hostname: open("uts")?, messages: open("ipc")?, address: GATEWAY })
}

/// Connects from inside a network namespace.
pub(crate) async fn connect_inside(
    network: &OwnedFd,
    port: u16,
    timeout: Duration,
) -> io::Result<tokio::net::TcpStream> {
    let network = network.try_clone()?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let connect = || -> io::Result<std::net::TcpStream> {
            ns::enter(&network, ns::NET)?;
            let address = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
            let stream = std::net::TcpStream::connect_timeout(&address, timeout)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        // Nobody waits any more.
        drop(sender.send(connect()));
    });
    let stream = receiver.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))??;
    tokio::net::TcpStream::from_std(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_late_and_run_out() {
        let addresses = Addresses::new(Ipv4Addr::new(10, 0, 0, 0), 29);
        let all: Vec<Ipv4Addr> = std::iter::from_fn(|| addresses.take().ok()).collect();
        assert_eq!(all, (2..7).map(|n| Ipv4Addr::new(10, 0, 0, n)).collect::<Vec<_>>());
        addresses.give_back(all[1]);
        assert_eq!(addresses.take().unwrap(), all[1]);
        addresses.give_back(all[0]);
        addresses.give_back(all[4]);
        assert_eq!(addresses.take().unwrap(), all[4], "the one after the last, not the lowest");
    }
}
