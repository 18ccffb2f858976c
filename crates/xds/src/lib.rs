//! xDS in both roles: the [`client`] of a proxy, the [`server`] of a control plane, and the [`codec`] between the
//! configuration of a proxy and Envoy's messages.
//!
//! The protocol logic of either side is a state machine without IO (`client::state`, `server::watches`); the streams
//! around them only move messages. What a resource means is no affair of this crate. Beside it [`authz`], the messages of
//! authorization services, which speak Envoy's language too.
#![forbid(unsafe_code)]

pub mod authz;
pub mod client;
pub mod codec;
pub mod node;
pub mod server;

pub use node::Node;

#[cfg(test)]
mod tests;
