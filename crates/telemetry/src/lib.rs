//! What a proxy tells about its traffic: access log lines, metrics under Istio's and Envoy's names, trace context; and the
//! graph of who talks to whom that is made from those metrics.
//!
//! Nothing here performs IO. Whoever serves or writes passes facts in and gets text out; counters are atomics that the
//! caller keeps, so that counting a request takes no lock and allocates nothing.
#![forbid(unsafe_code)]

pub mod accesslog;
pub mod graph;
pub mod metrics;
pub mod text;
pub mod trace;
pub mod wire;
