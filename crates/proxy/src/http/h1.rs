//! HTTP/1.1 on the wire, both sides: heads, bodies, connections.
//!
//! Written here rather than taken from a library because a proxy must judge each head's exact bytes as Envoy does (what is
//! refused, in which words), must keep the order of header lines, and must not spend on abstractions it has no use for.

pub(crate) mod body;
mod client;
mod conn;
pub(crate) mod encode;
mod parse;
mod server;

pub use body::Decoder;
pub(crate) use client::ClientConn;
pub(crate) use encode::reason;
pub use parse::{HeadError, Limits, Shape, request as parse_request, response as parse_response};
pub(crate) use server::{NoRequest, ServerConn};
