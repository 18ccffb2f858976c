//! Which policies are for a proxy: by labels, or by the Gateway API's Gateway that it stands for.
//!
//! As in Istio, a proxy that stands for no such Gateway takes no policy that names a target, and one that does takes those that name
//! it, and those by labels. Policies attached to Services are for waypoints, which there are none of.

use varka_api::istio::{AuthorizationPolicy, PolicySelector, RequestAuthentication, TargetRef, Telemetry};

use crate::ProxyKey;
use crate::key::contains;

/// Label of the proxies of a Gateway of the Gateway API.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// A policy that says whom it is for.
pub(crate) trait Targeted {
    /// Labels; absent: all.
    fn selector(&self) -> Option<&PolicySelector>;
    /// The older form, where it alone is given, or the list.
    fn targets(&self) -> &[TargetRef];
}

macro_rules! targeted {
    ($($ty:ty),*) => {$(
        impl Targeted for $ty {
            fn selector(&self) -> Option<&PolicySelector> {
                self.selector.as_ref()
            }

            fn targets(&self) -> &[TargetRef] {
                if self.target_refs.is_empty() {
                    self.target_ref.as_ref().map(std::slice::from_ref).unwrap_or_default()
                } else {
                    &self.target_refs
                }
            }
        }
    )*};
}

targeted!(AuthorizationPolicy, RequestAuthentication, Telemetry);

/// Whether a policy is for the whole of its namespace.
pub(crate) fn is_of_namespace(policy: &impl Targeted) -> bool {
    policy.targets().is_empty() && policy.selector().is_none_or(|s| s.match_labels.is_empty())
}

/// Whether a policy of `namespace` is for `proxy`.
pub(crate) fn is_for(proxy: &ProxyKey, namespace: &str, policy: &impl Targeted) -> bool {
    let targets = policy.targets();
    if targets.is_empty() {
        return policy.selector().is_none_or(|s| contains(&proxy.labels, &s.match_labels));
    }
    let Some(gateway) = proxy.labels.get(GATEWAY_NAME) else { return false };
    *proxy.namespace == *namespace
        && targets.iter().any(|t| {
            t.group == GATEWAY_API
                && t.kind == "Gateway"
                && t.name == *gateway
                && (t.namespace.is_empty() || t.namespace == namespace)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProxyKind;

    fn target(group: &str, kind: &str, name: &str) -> AuthorizationPolicy {
        let target = TargetRef { group: group.into(), kind: kind.into(), name: name.into(), ..TargetRef::default() };
        AuthorizationPolicy { target_refs: vec![target], ..AuthorizationPolicy::default() }
    }

    #[test]
    fn a_target_is_a_gateway_of_the_same_namespace() {
        let mut edge = ProxyKey::new(ProxyKind::Router, "edge", "a", [10, 0, 0, 1].into());
        let policy = target(GATEWAY_API, "Gateway", "edge");
        assert!(!is_for(&edge, "a", &policy), "it stands for no Gateway");
        edge.labels.insert(GATEWAY_NAME.into(), "edge".into());
        assert!(is_for(&edge, "a", &policy));
        assert!(!is_for(&edge, "b", &policy), "a policy of another namespace");
        assert!(!is_for(&edge, "a", &target(GATEWAY_API, "Gateway", "other")));
        assert!(!is_for(&edge, "a", &target("", "Service", "edge")));
        assert!(!is_for(&edge, "a", &target("networking.istio.io", "Gateway", "edge")));
        assert!(is_for(&edge, "a", &AuthorizationPolicy::default()));
        let older =
            AuthorizationPolicy { target_ref: policy.target_refs.first().cloned(), ..AuthorizationPolicy::default() };
        assert!(is_for(&edge, "a", &older) && !is_of_namespace(&older));
    }
}
