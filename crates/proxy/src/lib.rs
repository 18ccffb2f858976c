//! The data plane: a sidecar beside an application, or a router at the edge.
//!
//! It accepts connections, asks [`varka_engine`] what to do with them and does it. Everything that is decided is decided
//! there; everything here is IO.
//!
//! A reader follows a connection through [`worker`] (the socket), [`accept`] (original destination, first bytes, filter chain,
//! TLS) to [`tcp`] or [`http`], and a request through `http/request.rs`, whose phases stand in their order, and
//! `http/forward.rs`, which takes it to an endpoint of a [`cluster`] over a connection of a [`pool`].
#![forbid(unsafe_code)]

mod accept;
mod accesslog;
pub mod admin;
mod admin_server;
mod bootstrap;
mod cluster;
mod config;
mod conn;
mod connect;
mod control;
mod deadline;
mod dimensions;
mod envoy;
mod error;
mod http;
mod in_flight;
mod inspect;
mod limit;
mod metrics;
mod names;
mod net;
mod on_demand;
mod overload;
mod own_server;
mod peer;
mod pool;
mod pump;
mod readers;
mod run;
mod spans;
mod state;
mod status;
mod tcp;
mod tls;
pub mod wire;
mod worker;
mod workloads;

pub use bootstrap::{
    AppMetrics, Args, Bootstrap, Engine, GrpcProbe, HttpGet, HttpHeader, OriginalDst, Ports, Prober, Role,
    TcpSocketProbe,
};
pub use cluster::{ClusterState, HostState, Totals, Usage};
pub use config::Config;
pub use error::Error;
pub use run::{Proxy, run};
pub use state::{Downstream, Lifecycle, State, SyncStatus};
pub use tls::{CertificateView, SecretStore, TlsError};
