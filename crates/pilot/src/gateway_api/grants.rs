//! ReferenceGrants: references into another namespace need its consent.

use varka_api::kube::GATEWAY_API;

use crate::snapshot::Stores;

/// Kinds that may be referred to, and those that refer.
const TARGETS: [(&str, &str); 3] = [("", "Service"), ("", "Secret"), ("", "ConfigMap")];
const SOURCES: [&str; 5] = ["Gateway", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute"];

/// What a reference leads to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) group: &'a str,
    pub(super) kind: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

/// Whether an object of `kind` in `namespace` may refer to `target`. Within a namespace everything may.
pub(super) fn allows(stores: &Stores, kind: &str, namespace: &str, target: Target<'_>) -> bool {
    if namespace == target.namespace {
        return true;
    }
    if !TARGETS.contains(&(target.group, target.kind)) || !SOURCES.contains(&kind) {
        return false;
    }
    stores.reference_grants.namespace(target.namespace).any(|grant| {
        let from = grant.spec.from.iter().any(|f| f.group == GATEWAY_API && f.kind == kind && f.namespace == namespace);
        let to = grant.spec.to.iter().any(|t| {
            let named = t.name.as_deref().filter(|n| !n.is_empty()).is_none_or(|n| n == target.name);
            t.group == target.group && t.kind == target.kind && named
        });
        from && to
    })
}
