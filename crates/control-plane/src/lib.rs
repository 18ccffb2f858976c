//! The control plane: watches resources, compiles them, and serves configuration, certificates and admission.
//!
//! One immutable snapshot of all resources goes from the watches to every stream ([`mod@watch`] to [`mod@xds`]); each proxy's view
//! compiles what that proxy asked for, and again only what a change touches. Beside it: the certificate authority, the injection
//! and validation webhooks, Events for what compiling finds, the status of Ingresses and of the Gateway API's objects, and the
//! proxies that are deployed for Gateways. What a resource means is decided elsewhere, in `varka-pilot`; nothing here looks into one
//! for more than a name.
//!
//! Every write is idempotent and made only when something differs, so any number of replicas may run beside each other.
#![forbid(unsafe_code)]

mod authn;
mod ca;
mod config;
mod error;
mod events;
mod gateway_deployment;
mod gateway_status;
mod ingress_status;
pub mod inject;
mod listen;
mod metrics;
mod monitor;
mod plane;
mod process;
mod watch;
mod webhook;
mod xds;

pub use config::Config;
pub use error::Error;
pub use ingress_status::IngressGateway;
pub use plane::{Addresses, ControlPlane, run};
pub use xds::node::{NodeError, proxy as proxy_of_node};
