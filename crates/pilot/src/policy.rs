//! Who may connect and who may ask, and what is written down about it.

mod attach;
mod authorization;
mod custom;
mod generate;
mod jwt;
mod metrics;
mod peer;
mod telemetry;
mod tracing;

pub(crate) use authorization::{Layer, http_filters, network_filters};
pub use authorization::{Rules, authorization_rules};
pub(crate) use jwt::PAYLOAD;
pub(crate) use metrics::metrics;
pub use peer::{Mode, peer_mode, peer_reason};
pub(crate) use telemetry::{Side, access_logs, listener_access_logs};
pub(crate) use tracing::tracing;
