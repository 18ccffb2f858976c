//! All clusters of a proxy: made from configuration, kept over changes that do not concern them, maintained.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use varka_engine::ir::{Cluster, ClusterLoadAssignment, Discovery, Proxy};

use varka_telemetry::metrics::Registry;

use super::ClusterState;
use crate::config::ByName;
use crate::state::State;

/// How often ejections and ramps are looked at while there are some.
const TICK: Duration = Duration::from_millis(100);
/// DNS is asked anew after so long where the cluster does not say otherwise.
const DNS_REFRESH: Duration = Duration::from_secs(5);

/// Makes and maintains clusters.
#[derive(Debug, Default)]
pub(crate) struct Clusters {
    maintenance: Arc<Notify>,
}

impl Clusters {
    /// The clusters of a configuration; those that did not change keep their state.
    pub(crate) fn update(
        &self,
        old: &ByName<Arc<ClusterState>>,
        ir: &Proxy,
        metrics: &Registry,
    ) -> ByName<Arc<ClusterState>> {
        let clusters = ir.clusters.iter().map(|(name, config)| {
            let assignment = assignment(config, ir);
            let state = match old.get(name) {
                Some(state) if Arc::ptr_eq(&state.config, config) || state.config == *config => {
                    if let Some(assignment) = assignment {
                        state.set_endpoints(assignment);
                    }
                    Arc::clone(state)
                }
                _ => {
                    let (stats, maintenance) = (metrics.cluster(name), Arc::clone(&self.maintenance));
                    Arc::new(ClusterState::new(Arc::clone(config), assignment, stats, maintenance))
                }
            };
            (Arc::clone(name), state)
        });
        let clusters = clusters.collect();
        self.maintenance.notify_one();
        clusters
    }

    /// Takes ejected endpoints back and moves ramps on, for as long as the proxy runs.
    pub(crate) async fn maintain(&self, state: &State) {
        loop {
            let mut again = false;
            for cluster in state.config().clusters() {
                again |= cluster.maintain();
            }
            if again {
                tokio::time::sleep(TICK).await;
            } else {
                self.maintenance.notified().await;
            }
        }
    }
}

/// Where a cluster's endpoints are written; `None`: nowhere yet, or they have to be looked up.
fn assignment<'a>(cluster: &'a Cluster, ir: &'a Proxy) -> Option<&'a ClusterLoadAssignment> {
    match &cluster.discovery {
        Discovery::Eds { service_name } => ir.endpoints.get(service_name).map(Arc::as_ref),
        Discovery::Static(assignment) => Some(assignment),
        Discovery::Dns { .. } | Discovery::DynamicForwardProxy | Discovery::OriginalDst { .. } => None,
    }
}

/// Resolves the names of DNS clusters, for as long as the proxy runs.
pub(crate) async fn resolve(state: Arc<State>) {
    let mut changes = state.changes();
    loop {
        let mut next = Duration::from_secs(3600);
        for cluster in state.config().clusters() {
            if let Discovery::Dns { assignment, logical } = &cluster.config.discovery {
                next = next.min(cluster.config.dns_refresh.unwrap_or(DNS_REFRESH));
                resolve_cluster(cluster, assignment, *logical).await;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(next) => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

async fn resolve_cluster(cluster: &ClusterState, named: &ClusterLoadAssignment, logical: bool) {
    let mut resolved = named.clone();
    for locality in &mut resolved.localities {
        let mut found = Vec::new();
        for endpoint in locality.endpoints.drain(..) {
            let Some((name, port)) = endpoint.host.clone().filter(|_| endpoint.address.is_none()) else {
                found.push(endpoint);
                continue;
            };
            match tokio::net::lookup_host((&*name, port)).await {
                Ok(addresses) => {
                    let most = if logical { 1 } else { usize::MAX };
                    let mut addresses: Vec<_> = addresses.collect();
                    addresses.sort_unstable();
                    addresses.dedup();
                    found.extend(addresses.into_iter().take(most).map(|address| {
                        let mut one = endpoint.clone();
                        one.address = Some(address);
                        one
                    }));
                }
                Err(e) => {
                    tracing::warn!(cluster = %cluster.config.name, "{name} does not resolve: {e}; its last addresses stay");
                    cluster.warm_up();
                    return;
                }
            }
        }
        locality.endpoints = found;
    }
    cluster.set_endpoints(&resolved);
}
