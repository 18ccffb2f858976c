//! nftables without the `nft` program: the sidecar's interception in a pod, and the node's part of Services in the base namespace.
//!
//! Each set of rules is a table of its own, replaced in one transaction: packets see the old rules or the new ones. All functions act on the network
//! namespace of the calling thread and need `CAP_NET_ADMIN` there.

mod encode;
mod service;
mod sidecar;

use std::net::Ipv4Addr;

pub use service::{Backend, Protocol, ServiceRule, ServiceRules, apply_service_rules};
pub use sidecar::{Direction, Packet, SidecarRules, Verdict, apply_sidecar_rules};

pub use crate::netlink::NetlinkError as Error;

/// An IPv4 network: an address and the length of its prefix.
pub type Network = (Ipv4Addr, u8);
