//! Backends of rules: from references to destinations.

use varka_api::istio::{Destination, PortSelector};
use varka_api::kube::BackendReference;

use super::grants::{self, Target};
use super::{Problem, World};

/// A destination, and what keeps requests from it. An error: the whole rule cannot be made.
pub(super) type Found = Result<(Destination, Option<Problem>), Problem>;

/// Who refers.
#[derive(Debug, Clone, Copy)]
pub(super) struct From<'a> {
    pub(super) kind: &'static str,
    pub(super) namespace: &'a str,
    /// Whether the clients are in the mesh: these may go everywhere anyhow, so that no grant is asked for.
    pub(super) mesh: bool,
}

/// A destination that no cluster has: what is sent there is refused.
pub(super) fn nowhere() -> Destination {
    Destination {
        host: "internal.cluster.local".to_owned(),
        subset: "zero-weight".to_owned(),
        port: Some(PortSelector { number: 65535 }),
    }
}

/// The share of a reference.
pub(super) fn weight(reference: &BackendReference) -> u32 {
    reference.weight.unwrap_or(1)
}

/// Those with a share, with it; a single one has no need of a share.
pub(super) fn weighted(references: &[BackendReference]) -> Vec<(&BackendReference, i32)> {
    let some: Vec<&BackendReference> = references.iter().filter(|r| weight(r) > 0).collect();
    let single = some.len() == 1;
    let share = |r: &BackendReference| if single { 0 } else { i32::try_from(weight(r)).unwrap_or(i32::MAX) };
    some.into_iter().map(|r| (r, share(r))).collect()
}

/// Where a reference leads.
pub(super) fn destination(world: &World<'_>, from: From<'_>, reference: &BackendReference) -> Found {
    let (group, kind) =
        (reference.group.as_deref().unwrap_or_default(), reference.kind.as_deref().unwrap_or("Service"));
    let name = reference.name.as_str();
    let namespace = reference.namespace.as_deref().unwrap_or(from.namespace);
    let place = format!("backendRefs: {kind} {namespace}/{name}");
    let permitted = grants::allows(world.stores, from.kind, from.namespace, Target { group, kind, namespace, name });
    if !from.mesh && !permitted {
        let message = format!(
            "{place} may not be used by a {} in namespace {}: a ReferenceGrant in {namespace} must allow it",
            from.kind, from.namespace
        );
        return Ok((Destination::default(), Some(Problem::new("RefNotPermitted", message))));
    }
    let not_found = || Problem::new("BackendNotFound", format!("{place} is not there"));
    let (host, there) = match (group, kind) {
        ("", "Service") if name.contains('.') => {
            let message = format!("{place}: the name of a Service is wanted, not its host name");
            return Err(Problem::new("InvalidDestination", message));
        }
        // A ServiceImport means the Service of its name: there is one cluster.
        ("", "Service") | ("multicluster.x-k8s.io", "ServiceImport") => {
            (world.fqdn(name, namespace), world.stores.services.get(namespace, name).is_some())
        }
        ("networking.istio.io", "Hostname") if reference.namespace.is_some() => {
            let message = format!("{place}: a Hostname has no namespace");
            return Err(Problem::new("InvalidDestination", message));
        }
        ("networking.istio.io", "Hostname") => (name.to_owned(), world.service(name, namespace).is_some()),
        _ => {
            let message = format!("{place}: backends of group {group:?} and kind {kind:?} are not supported");
            return Ok((Destination::default(), Some(Problem::new("InvalidKind", message))));
        }
    };
    let Some(port) = reference.port else {
        return Err(Problem::new("InvalidDestination", format!("{place}: `port` is missing")));
    };
    let destination = Destination { host, port: Some(PortSelector { number: port }), ..Destination::default() };
    Ok((destination, (!there).then(not_found)))
}
