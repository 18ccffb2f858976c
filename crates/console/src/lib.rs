//! What the mesh did: a store of metrics, spans and log lines that is bounded and survives restarts, what fills it, and the
//! interfaces through which people and their tools ask it.
//!
//! Nothing here is on the way of a request: proxies answer scrapes and send spans when they have time, and what cannot be
//! taken in is dropped and counted.
#![forbid(unsafe_code)]

pub mod access;
pub mod access_line;
pub mod api;
pub mod client;
pub mod dashboard;
mod dialled;
pub mod explain;
pub mod facts;
pub mod graph;
pub mod ingest;
pub mod input;
pub mod jaeger;
pub mod pages;
pub mod prometheus;
pub mod rates;
pub mod requests;
pub mod serve;
pub mod store;
pub mod world;
