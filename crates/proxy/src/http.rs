//! HTTP: codecs of both versions, and the path of one request.
//!
//! [`request`] is where to begin reading: it calls the phases of a request in their order. [`connection`] is what calls it,
//! [`forward`] the part between here and an endpoint.

mod body;
mod call;
pub(crate) mod connection;
mod date;
mod downstream;
mod exchange;
mod ext_authz;
mod filters;
mod forward;
pub(crate) mod grpc;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod message;
mod mirror;
mod reply;
mod request;

pub(crate) use exchange::{Exchange, Halt};
pub use message::{Ascii, Framing, RequestHead, ResponseHead};
