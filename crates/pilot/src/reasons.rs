//! Which object decided, for whoever asks why: looked up with the functions that compile, outside a compilation.
//!
//! What is compiled does not say everything that it was made of (a cluster does not name its DestinationRule), since the wire
//! carries none of it. Nothing here is asked on the way of a change or of a request.

use std::net::IpAddr;
use std::sync::Arc;

use varka_api::istio::Labels;

use crate::context::Ctx;
use crate::registry::Service;
use crate::scope::destination_rule;
use crate::{ProxyKey, Snapshot};

/// A place in an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// `Kind namespace/name`.
    pub object: String,
    /// Field path; empty: the object.
    pub path: String,
}

/// What a client's DestinationRule says of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficRule {
    /// The rule whose traffic policy applies.
    pub rule: Placed,
    /// The subset, with the labels of its pods; none: none was asked for, or there is none of the name.
    pub subset: Option<(Placed, Labels)>,
    /// Names of all subsets.
    pub subsets: Vec<String>,
}

/// The DestinationRule that `proxy` applies to a host, and what it says of a subset (empty: none).
pub fn destination_rule_of(snapshot: &Snapshot, proxy: &ProxyKey, host: &str, subset: &str) -> Option<TrafficRule> {
    let ctx = Ctx::new(snapshot, proxy);
    let service = ctx.service(host)?.clone();
    let rule = destination_rule(&ctx, &service, true)?;
    let namespace = &rule.object.metadata.namespace;
    // Rules of one namespace are merged, so a subset may be another's than the policy.
    let all = snapshot.destination_rules().of_host(namespace, &service.host, |_| true);
    let objects = std::iter::once(&rule.object).chain(all.iter().map(|other| &other.object));
    let placed = |object: &varka_api::Object<varka_api::istio::DestinationRule>, path: String| Placed {
        object: crate::gateway_api::written_as(&object.metadata).unwrap_or_else(|| object.label()),
        path,
    };
    let found = objects.filter(|_| !subset.is_empty()).find_map(|object| {
        let at = object.spec.subsets.iter().position(|s| s.name == subset)?;
        let labels = object.spec.subsets.get(at)?.labels.clone();
        Some((placed(object, format!("spec.subsets[{at}]")), labels))
    });
    let path = if rule.policy.is_some() { "spec.trafficPolicy" } else { "spec.host" };
    Some(TrafficRule {
        rule: placed(&rule.object, path.to_owned()),
        subset: found,
        subsets: rule.subsets.iter().map(|s| s.name.clone()).collect(),
    })
}

/// The service of a host, as `proxy` sees it.
pub fn service_of(snapshot: &Snapshot, proxy: &ProxyKey, host: &str) -> Option<Arc<Service>> {
    Ctx::new(snapshot, proxy).service(host).cloned()
}

/// Addresses under which a service is dialled; of one that has none, those of its endpoints.
pub fn addresses_of(snapshot: &Snapshot, proxy: &ProxyKey, service: &Service, port: u16) -> Vec<IpAddr> {
    let own: Vec<IpAddr> = service.addresses.iter().filter_map(|address| address.parse().ok()).collect();
    if !own.is_empty() {
        return own;
    }
    let Some(port) = service.port(port) else { return Vec::new() };
    let ctx = Ctx::new(snapshot, proxy);
    crate::endpoints::instances(&ctx, service, port).iter().filter_map(|found| found.address).collect()
}
