//! What a user may do. Masters may do everything; service accounts have one fixed role; [`super::rbac`] gives more.
//!
//! The fixed role: read everything but Secrets of other namespaces; write ConfigMaps, Leases and Events of its own namespace; ask for
//! reviews of itself. Accounts of the root namespace `istio-system` run the control plane and ingress: they may read Secrets (certificates
//! of hosts), keep ConfigMaps in every namespace, fill in status, register webhooks, review tokens, and manage what an
//! operator of Istio manages. The control plane also deploys the proxies of Gateways: Deployments, Services, ServiceAccounts.

use super::{User, rbac};
use crate::store::Store;

/// Namespaces whose accounts run the system.
const SYSTEM: &[&str] = &["istio-system", "kube-system", "ingress-nginx"];

/// What is being done to what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Action<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    /// Of one object; empty: of any.
    pub(crate) name: &'a str,
}

/// Whether the user may do that.
pub(crate) fn allows(store: &Store, user: &User, action: Action<'_>) -> bool {
    always(user, action) || rbac::grants(store, user, action)
}

/// Whether it needs no role.
fn always(user: &User, action: Action<'_>) -> bool {
    if user.is_master() {
        return true;
    }
    if is_review(action) {
        return true;
    }
    let Some((namespace, _)) = &user.account else { return false };
    let own = action.namespace == namespace;
    let system = SYSTEM.contains(&namespace.as_str());
    if matches!(action.verb, "get" | "list" | "watch") {
        return match (action.group, action.resource, action.subresource) {
            ("", "secrets", _) => own || system,
            ("", "pods", "exec" | "attach" | "portforward") => false,
            _ => true,
        };
    }
    match (action.group, action.resource, action.subresource) {
        ("", "events", "") | ("events.k8s.io", "events", "") => own || system,
        ("", "configmaps", "") | ("coordination.k8s.io", "leases", "") => {
            own || (system && action.resource == "configmaps")
        }
        ("authentication.k8s.io", "tokenreviews", _) | ("authorization.k8s.io", "subjectaccessreviews", _) => system,
        ("admissionregistration.k8s.io", _, _) => system,
        ("", "secrets", "") => system && own,
        ("", "serviceaccounts", "token") => system,
        (_, _, "status") => system,
        // What is deployed for Gateways.
        ("apps", "deployments", "") | ("", "services" | "serviceaccounts", "") => namespace == "istio-system",
        (group, _, _) if group.ends_with(".istio.io") || group == "gateway.networking.k8s.io" => system,
        _ => false,
    }
}

/// Reviews that concern only the one who asks.
fn is_review(action: Action<'_>) -> bool {
    action.verb == "create"
        && matches!(
            (action.group, action.resource),
            ("authorization.k8s.io", "selfsubjectaccessreviews" | "selfsubjectrulesreviews")
                | ("authentication.k8s.io", "selfsubjectreviews")
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(namespace: &str, verb: &str, group: &str, path: &str, target: &str) -> bool {
        let (resource, subresource) = path.split_once('/').unwrap_or((path, ""));
        let user = User::service_account(namespace, "a", "");
        always(&user, Action { verb, group, resource, subresource, namespace: target, name: "" })
    }

    #[test]
    fn accounts_have_their_fixed_role() {
        assert!(may("shop", "list", "", "pods", "other"));
        assert!(may("shop", "create", "", "configmaps", "shop"));
        assert!(!may("shop", "create", "", "configmaps", "other"));
        assert!(!may("shop", "get", "", "secrets", "other"));
        assert!(!may("shop", "delete", "", "pods", "shop"));
        assert!(!may("istio-system", "get", "", "pods/exec", "shop"));
        assert!(may("istio-system", "update", "", "configmaps", "shop"));
        assert!(may("istio-system", "patch", "networking.istio.io", "virtualservices/status", "shop"));
        assert!(may("istio-system", "create", "authentication.k8s.io", "tokenreviews", ""));
        assert!(!may("shop", "create", "authentication.k8s.io", "tokenreviews", ""));
        assert!(may("istio-system", "patch", "apps", "deployments", "shop"));
        assert!(!may("ingress-nginx", "patch", "apps", "deployments", "shop"));
        assert!(!may("istio-system", "create", "batch", "jobs", "shop"));
    }
}
