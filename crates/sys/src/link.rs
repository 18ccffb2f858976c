//! Network interfaces, addresses and routes, by netlink: what `ip link`, `ip addr` and `ip route` do for pods.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockProtocol;

use crate::netlink::{Attributes, CREATE, EXCLUSIVE, NetlinkError, Socket};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const UP: u32 = 1;

// Attribute numbers of linux/if_link.h, if_addr.h and rtnetlink.h.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const AF_INET: u8 = 2;
/// `RTNH_F_ONLINK`: the gateway is reachable on the link although no route says so.
const ONLINK: u32 = 4;

/// A handle on the network namespace that the calling thread was in when it was opened.
#[derive(Debug)]
pub struct Links(Socket);

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// To a gateway that is a neighbour on the link.
    Gateway(Ipv4Addr),
    /// The destinations are neighbours on the link themselves.
    Link,
}

/// An interface by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index(u32);

/// The interface of this name in the calling thread's network namespace.
///
/// # Errors
/// When there is none.
pub fn index_of(name: &str) -> Result<Index, NetlinkError> {
    if_nametoindex(name).map(Index).map_err(|e| NetlinkError::Socket(e.into()))
}

fn link_header(index: u32, flags: u32) -> Vec<u8> {
    let mut header = vec![0u8; 4];
    header.extend_from_slice(&index.to_ne_bytes());
    header.extend_from_slice(&flags.to_ne_bytes());
    header.extend_from_slice(&flags.to_ne_bytes());
    header
}

impl Links {
    /// Opens a handle on the calling thread's network namespace.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn open() -> Result<Self, NetlinkError> {
        Socket::open(SockProtocol::NetlinkRoute).map(Self)
    }

    /// Takes an interface up.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn up(&self, link: Index) -> Result<(), NetlinkError> {
        self.0.one("taking an interface up", NEW_LINK, 0, &link_header(link.0, UP), &Attributes::new())
    }

    /// Makes a bridge with a fixed hardware address, so that it keeps the address as ports come and go and neighbours need not ask again.
    ///
    /// # Errors
    /// When the kernel refuses, also because the name is taken.
    pub fn add_bridge(&self, name: &str, hardware: [u8; 6]) -> Result<(), NetlinkError> {
        let info = Attributes::new().string(IFLA_INFO_KIND, "bridge");
        let attributes =
            Attributes::new().string(IFLA_IFNAME, name).bytes(IFLA_ADDRESS, &hardware).nest(IFLA_LINKINFO, &info);
        self.0.one("a bridge", NEW_LINK, CREATE | EXCLUSIVE, &link_header(0, UP), &attributes)
    }

    /// Makes a pair of interfaces: `name` here, up and a port of `bridge`, and `peer` in the other network namespace.
    ///
    /// # Errors
    /// When the kernel refuses, also because a name is taken.
    pub fn add_veth(&self, name: &str, bridge: Index, peer: &str, namespace: &impl AsFd) -> Result<(), NetlinkError> {
        let fd = u32::try_from(namespace.as_fd().as_raw_fd()).unwrap_or(u32::MAX);
        let mut other = link_header(0, 0);
        other.extend_from_slice(Attributes::new().string(IFLA_IFNAME, peer).ne32(IFLA_NET_NS_FD, fd).as_slice());
        let data = Attributes::new().bytes(VETH_INFO_PEER, &other);
        let info = Attributes::new().string(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, &data);
        let attributes =
            Attributes::new().string(IFLA_IFNAME, name).ne32(IFLA_MASTER, bridge.0).nest(IFLA_LINKINFO, &info);
        self.0.one("a veth pair", NEW_LINK, CREATE | EXCLUSIVE, &link_header(0, UP), &attributes)
    }

    /// Removes an interface, and with it the peer of a pair.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(&self, link: Index) -> Result<(), NetlinkError> {
        self.0.one("removing an interface", DELETE_LINK, 0, &link_header(link.0, 0), &Attributes::new())
    }

    /// Gives an interface an address with its prefix length.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_address(&self, link: Index, address: Ipv4Addr, prefix: u8) -> Result<(), NetlinkError> {
        let mut header = vec![AF_INET, prefix, 0, 0];
        header.extend_from_slice(&link.0.to_ne_bytes());
        let octets = address.octets();
        let attributes = Attributes::new().bytes(IFA_LOCAL, &octets).bytes(IFA_ADDRESS, &octets);
        self.0.one("an address", NEW_ADDRESS, CREATE | EXCLUSIVE, &header, &attributes)
    }

    /// Adds a route to `destination` with its prefix length; `0.0.0.0` with 0 is the default route.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_route(&self, link: Index, destination: Ipv4Addr, prefix: u8, via: Via) -> Result<(), NetlinkError> {
        const MAIN_TABLE: u8 = 254;
        const BOOT: u8 = 3;
        const UNICAST: u8 = 1;
        let (scope, flags) = match via {
            Via::Gateway(_) => (0, ONLINK),
            Via::Link => (253, 0),
        };
        let mut header = vec![AF_INET, prefix, 0, 0, MAIN_TABLE, BOOT, scope, UNICAST];
        header.extend_from_slice(&flags.to_ne_bytes());
        let mut attributes = Attributes::new().ne32(RTA_OIF, link.0);
        if prefix > 0 {
            attributes = attributes.bytes(RTA_DST, &destination.octets());
        }
        if let Via::Gateway(gateway) = via {
            attributes = attributes.bytes(RTA_GATEWAY, &gateway.octets());
        }
        self.0.one("a route", NEW_ROUTE, CREATE | EXCLUSIVE, &header, &attributes)
    }
}
