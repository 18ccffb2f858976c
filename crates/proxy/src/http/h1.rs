//! HTTP/1.1 on the wire, both sides: heads, bodies, connections.
//!
//! Written here rather than taken from a library because a proxy must judge each head's exact bytes as Envoy does (what is
//! refused, in which words), must keep the order of header lines, and must not spend on abstractions it has no use for.

mod body;
mod client;
mod conn;
mod encode;
mod parse;
mod server;

pub(crate) use client::ClientConn;
pub(crate) use encode::reason;
pub(crate) use parse::{HeadError, Limits};
pub(crate) use server::{NoRequest, ServerConn};
