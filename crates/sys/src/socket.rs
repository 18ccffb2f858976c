//! Socket options that a transparent proxy needs and the standard library does not offer.
//!
//! Every function takes any borrowed descriptor, so that tokio's, the standard library's and raw sockets can be passed alike.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use socket2::{SockAddr, SockRef, TcpKeepalive};

/// The address the client meant before nftables redirected the connection (`SO_ORIGINAL_DST`, netfilter conntrack).
///
/// # Errors
/// `NotFound` (ENOENT) when the connection was not redirected; any other error of `getsockopt`.
pub fn original_dst(socket: &impl AsFd) -> io::Result<SocketAddr> {
    let sock = SockRef::from(socket);
    let local = sock.local_addr()?.as_socket();
    let mapped = match local {
        Some(SocketAddr::V6(v6)) if v6.ip().to_ipv4_mapped().is_none() => sock.original_dst_v6()?,
        // A dual-stack listener hands out IPv4 connections under mapped addresses; conntrack knows them as IPv4.
        _ => sock.original_dst_v4()?,
    };
    mapped.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Sets the netfilter mark of every packet of the socket (`SO_MARK`). Needs `CAP_NET_ADMIN` or, since Linux 5.17, `CAP_NET_RAW` in the user
/// namespace that owns the network namespace.
///
/// # Errors
/// `PermissionDenied` without the capability.
pub fn set_mark(socket: &impl AsFd, mark: u32) -> io::Result<()> {
    SockRef::from(socket).set_mark(mark)
}

/// Allows binding to, and accepting on, addresses that are not local (`IP_TRANSPARENT`).
///
/// # Errors
/// `PermissionDenied` without `CAP_NET_ADMIN` or `CAP_NET_RAW`.
pub fn set_transparent(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_ip_transparent_v4(true)
}

/// Binds the socket to a source address with a port chosen at connect time, so that the port range is not exhausted by bound but idle sockets
/// (`IP_BIND_ADDRESS_NO_PORT`).
///
/// # Errors
/// Those of `bind`.
pub fn bind_source(socket: &impl AsFd, source: IpAddr) -> io::Result<()> {
    let sock = SockRef::from(socket);
    if source.is_ipv4() {
        choose_port_at_connect(socket)?;
    }
    sock.bind(&SockAddr::from(SocketAddr::new(source, 0)))
}

fn choose_port_at_connect(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or(4);
    // SAFETY: the descriptor is open for the length of the call, and the option reads one integer of the given length.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            length,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Turns TCP keep-alive on: the first probe after `idle`, then every `interval`, and the connection is given up after `retries` without answer.
///
/// # Errors
/// Those of `setsockopt`.
pub fn set_keepalive(socket: &impl AsFd, idle: Duration, interval: Duration, retries: u32) -> io::Result<()> {
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(retries);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

/// Makes the next close of the socket send a reset instead of an orderly end (`SO_LINGER` of zero).
///
/// # Errors
/// Those of `setsockopt`.
pub fn reset_on_close(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

/// The address from which Istio's sidecar passes inbound connections on to the application when no cluster is known for the port
/// (`InboundPassthroughCluster`); interception exempts it.
pub const INBOUND_PASSTHROUGH_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
