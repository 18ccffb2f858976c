//! Istio's gateways: servers of all Gateways that select the proxy, merged by port, and the VirtualServices bound to them.

mod chains;
mod merge;
mod routes;

use std::sync::Arc;

use varka_engine::ir::{ConnectionFilters, Listener, Str, TrafficDirection};

use crate::context::Ctx;
use crate::listener::{listener_name, socket};
use crate::policy::{Side, listener_access_logs};

pub(crate) use merge::{Merged, merge};
pub(crate) use routes::{build as route, names as route_names};

/// Names of all listeners that have something to do.
pub(crate) fn listener_names(ctx: &Ctx<'_>) -> Vec<Str> {
    let merged = ctx.gateways();
    merged.ports.keys().map(|(bind, port)| listener_name(*bind, *port)).filter(|n| listener(ctx, n).is_some()).collect()
}

/// One listener; `None` when no chain is left of it.
pub(crate) fn listener(ctx: &Ctx<'_>, name: &str) -> Option<Arc<Listener>> {
    let merged = ctx.gateways();
    let ((bind, port), servers) = merged.ports.iter().find(|((b, p), _)| *listener_name(*b, *p) == *name)?;
    let filter_chains = chains::build(ctx, *bind, *port, servers);
    if filter_chains.is_empty() {
        return None;
    }
    let tls = filter_chains.iter().any(|c| c.tls.is_some() || !c.matches.server_names.is_empty());
    Some(Arc::new(Listener {
        name: name.into(),
        address: socket(*bind, *port),
        bind_to_port: true,
        use_original_dst: false,
        direction: TrafficDirection::Outbound,
        inspect: ConnectionFilters {
            tls,
            // Envoy's own, which keeps slow clients from holding connections.
            timeout: tls.then_some(std::time::Duration::from_secs(15)),
            ..ConnectionFilters::default()
        },
        filter_chains,
        default_filter_chain: None,
        access_log: listener_access_logs(ctx, Side::Client),
    }))
}
