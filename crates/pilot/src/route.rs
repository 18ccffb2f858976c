//! Routes: from VirtualServices and services to virtual hosts.

mod actions;
mod asked;
mod defaults;
mod domains;
mod headers;
mod matches;
mod retry;
mod sidecar;
mod translate;

use varka_api::istio::Destination;
use varka_engine::ir::Str;

use crate::context::s;
use crate::registry::Service;

pub(crate) use actions::parts_per_million;
pub(crate) use defaults::{catch_all_virtual_host, default_inbound_route, default_outbound_route, plain_route};
pub(crate) use domains::alternative_names;
pub(crate) use matches::is_catch_all;
pub(crate) use retry::default_policy;
pub(crate) use sidecar::{build, names, virtual_host};
pub(crate) use translate::{Target, check, routes};

/// `outbound|PORT|SUBSET|HOST` of a destination. Without a port the service's only one, else the one that was addressed.
pub(crate) fn destination_cluster(destination: &Destination, service: Option<&Service>, listen_port: u16) -> Str {
    let host = service.and_then(|v| v.alias_of.as_deref()).unwrap_or(&destination.host);
    let port = match (&destination.port, service.map(|v| v.ports.as_slice())) {
        (Some(port), _) => port.number,
        (None, Some([only])) => u32::from(only.number),
        (None, _) => u32::from(listen_port),
    };
    s(format!("outbound|{port}|{}|{host}", destination.subset))
}
