//! The traffic policy in force: mesh below rule below port below subset below the subset's port.

use varka_api::istio::{MeshConfig, PortTrafficPolicy, Subset, TrafficPolicy};

use crate::scope::HostRule;

/// What applies to a port of a host, or of one of its subsets. Settings of a port replace, they do not merge.
pub(crate) fn effective(
    mesh: &MeshConfig,
    rule: Option<&HostRule>,
    port: u16,
    subset: Option<&Subset>,
) -> TrafficPolicy {
    let own = rule.and_then(|r| r.policy.as_ref());
    let mut policy = match own.and_then(|p| of_port(p, port)) {
        Some(level) => from_port(level),
        None => TrafficPolicy { port_level_settings: Vec::new(), ..own.cloned().unwrap_or_default() },
    };
    if let Some(default) = &mesh.default_traffic_policy {
        if policy.connection_pool.is_none() {
            policy.connection_pool.clone_from(&default.connection_pool);
        }
        if policy.outlier_detection.is_none() {
            policy.outlier_detection.clone_from(&default.outlier_detection);
        }
    }
    let Some(over) = subset.and_then(|x| x.traffic_policy.as_ref()) else { return policy };
    macro_rules! override_with {
        ($($field:ident),*) => { $(if over.$field.is_some() { policy.$field.clone_from(&over.$field); })* };
    }
    override_with!(connection_pool, outlier_detection, load_balancer, tls, tunnel, proxy_protocol, retry_budget);
    if let Some(level) = of_port(over, port) {
        let level = from_port(level);
        policy.connection_pool = level.connection_pool;
        policy.outlier_detection = level.outlier_detection;
        policy.load_balancer = level.load_balancer;
        policy.tls = level.tls;
    }
    policy
}

fn of_port(policy: &TrafficPolicy, port: u16) -> Option<&PortTrafficPolicy> {
    policy.port_level_settings.iter().find(|p| p.port.as_ref().is_some_and(|n| n.number == u32::from(port)))
}

fn from_port(level: &PortTrafficPolicy) -> TrafficPolicy {
    TrafficPolicy {
        load_balancer: level.load_balancer.clone(),
        connection_pool: level.connection_pool.clone(),
        outlier_detection: level.outlier_detection.clone(),
        tls: level.tls.clone(),
        ..TrafficPolicy::default()
    }
}
