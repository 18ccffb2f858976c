//! A proxy over real sockets on loopback: what a client, an application and the access log see.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail tests"
)]

mod config;
mod control;
mod dynamic;
mod frames;
mod http1;
mod http2;
mod http2_conformance;
mod limits;
mod lookup;
mod metadata;
mod mtls;
mod on_demand;
mod originate;
mod renewal;
mod router;
mod security;
mod smuggling;
mod spans;
mod support;
mod tcp;
mod upstream;
