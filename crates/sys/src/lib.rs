//! What Linux offers beyond the standard library: socket options of transparent proxies, network interfaces and nftables over netlink,
//! namespaces, capabilities, seccomp, descriptor passing and process creation.
//!
//! This is the only crate that may hold `unsafe`: everything it exports is safe to call, and each unsafe block says why it is sound. It decides
//! nothing: which rules, which namespaces and which capabilities are wanted is the caller's business.
#![expect(unsafe_code, reason = "system calls that no safe wrapper offers are gathered here and nowhere else")]

pub mod caps;
pub mod fdpass;
pub mod link;
pub mod mount;
mod netlink;
pub mod nft;
pub mod ns;
pub mod poll;
pub mod process;
pub mod pty;
pub mod seccomp;
pub mod socket;

pub use netlink::NetlinkError;
