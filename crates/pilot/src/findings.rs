//! What compiling has to say of an object, told when the object comes: a proxy that asks for what it needs may never ask for
//! what the object is compiled into.
//!
//! Every object is looked at by the functions that compile it, on behalf of a proxy that stands for all, so that nothing is
//! judged in two ways. What depends on the proxy (policies, telemetry, its secrets) is not told here: that is part of what
//! every proxy is given without asking, and found when that is compiled.
//!
//! The cost follows the change, not the mesh. An object is looked at once for each change of its own: a VirtualService also
//! for a change of a delegate that it names, a WorkloadEntry without an address also for a change of a Service that selects
//! it. No service is looked up on the way, so that no view of the mesh is made; finding the changed VirtualServices is one
//! pass over their list, which a change of any of them has just made anew. What is kept is what was found.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use varka_api::Object;
use varka_api::istio::{DestinationRule, WorkloadEntry};
use varka_engine::ir::Str;

use crate::context::Ctx;
use crate::diagnostic::Diagnostic;
use crate::reads::ChangeKey;
use crate::snapshot::{Kind, Prepared, Snapshot};
use crate::{ProxyKey, ProxyKind, cluster, endpoints, route};

/// An object by kind, namespace and name.
pub(crate) type Subject = (Kind, Str, Str);

/// Everything that changed and is looked at here, with what there is to say of it now; nothing where it is gone or good.
pub(crate) fn of_changed(snapshot: &Snapshot, changed: &[ChangeKey]) -> BTreeMap<Subject, Vec<Diagnostic>> {
    let mut found = BTreeMap::new();
    virtual_services(snapshot, &of_kind(changed, Kind::VirtualService), &mut found);
    for (namespace, name) in of_kind(changed, Kind::DestinationRule) {
        let said = snapshot.destination_rule(namespace, name).map(|o| destination_rule(snapshot, o));
        found.insert(subject(Kind::DestinationRule, namespace, name), said.unwrap_or_default());
    }
    let mut entries = of_kind(changed, Kind::WorkloadEntry);
    for (namespace, _) in of_kind(changed, Kind::Service) {
        let all = snapshot.stores.workload_entries.namespace(namespace);
        let lost = all.filter(|e| !endpoints::has_address(&e.spec));
        entries.extend(lost.map(|e| (namespace, e.metadata.name.as_str())));
    }
    for (namespace, name) in entries {
        let said = snapshot.stores.workload_entries.get(namespace, name).map(|o| workload_entry(snapshot, o));
        found.insert(subject(Kind::WorkloadEntry, namespace, name), said.unwrap_or_default());
    }
    found
}

type Names<'a> = BTreeSet<(&'a str, &'a str)>;

fn of_kind(changed: &[ChangeKey], kind: Kind) -> Names<'_> {
    changed.iter().filter(|c| c.kind == kind).map(|c| (&*c.namespace, &*c.name)).collect()
}

fn subject(kind: Kind, namespace: &str, name: &str) -> Subject {
    (kind, namespace.into(), name.into())
}

fn virtual_services(snapshot: &Snapshot, changed: &Names<'_>, found: &mut BTreeMap<Subject, Vec<Diagnostic>>) {
    if changed.is_empty() {
        return;
    }
    for (namespace, name) in changed {
        found.insert(subject(Kind::VirtualService, namespace, name), Vec::new());
    }
    for vs in snapshot.virtual_services() {
        let delegates = || vs.object.spec.http.iter().filter_map(|http| http.delegate.as_ref());
        let named = |d: &varka_api::istio::Delegate| {
            let namespace = if d.namespace.is_empty() { vs.namespace() } else { &d.namespace };
            changed.contains(&(namespace, &d.name))
        };
        if changed.contains(&(vs.namespace(), vs.name())) || delegates().any(named) {
            let said = virtual_service(snapshot, vs);
            found.insert(subject(Kind::VirtualService, vs.namespace(), vs.name()), said);
        }
    }
}

/// Its rules as sidecars get them, as gateways do, or both.
fn virtual_service(snapshot: &Snapshot, vs: &Prepared) -> Vec<Diagnostic> {
    let (mesh, edge): (Vec<String>, Vec<String>) = match vs.spec.gateways.as_slice() {
        [] => (vec!["mesh".to_owned()], Vec::new()),
        some => some.iter().cloned().partition(|g| g == "mesh"),
    };
    let mut said = Vec::new();
    for (kind, gateways) in [(ProxyKind::Sidecar, mesh), (ProxyKind::Router, edge)] {
        if !gateways.is_empty() {
            said.extend(look(snapshot, kind, vs.namespace(), |ctx| route::check(ctx, vs, &gateways)));
        }
    }
    said.sort();
    said.dedup();
    said
}

fn destination_rule(snapshot: &Snapshot, object: &Arc<Object<DestinationRule>>) -> Vec<Diagnostic> {
    look(snapshot, ProxyKind::Sidecar, &object.metadata.namespace, |ctx| cluster::check_subsets(ctx, object))
}

fn workload_entry(snapshot: &Snapshot, object: &Arc<Object<WorkloadEntry>>) -> Vec<Diagnostic> {
    look(snapshot, ProxyKind::Sidecar, &object.metadata.namespace, |ctx| endpoints::check_entry(ctx, object))
}

/// What `check` reports, with a proxy of `namespace` that stands for all.
fn look(snapshot: &Snapshot, kind: ProxyKind, namespace: &str, check: impl FnOnce(&Ctx<'_>)) -> Vec<Diagnostic> {
    let proxy = ProxyKey::new(kind, "", namespace, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let ctx = Ctx::apart(snapshot, &proxy);
    check(&ctx);
    ctx.finish().1
}

#[cfg(test)]
mod tests;
