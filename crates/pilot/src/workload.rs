//! Whose an address is: the pod or WorkloadEntry behind it, with what telemetry says of one.
//!
//! An answer is given only where it cannot be wrong. An address that several have (pods on their node's network, entries of one
//! machine) is nobody's, and so is one that every machine has. Inline endpoints of a ServiceEntry are where something is
//! reached, not who somebody is, and do not count.

use std::net::IpAddr;
use std::sync::Arc;

use varka_api::istio::{Labels, WorkloadEntry};
use varka_api::kube::Pod;
use varka_api::{Object, ObjectMeta};
use varka_engine::ir::{Str, Workload, WorkloadType};

use crate::context::{Ctx, s};
use crate::key::contains;
use crate::reads::ReadKey;
use crate::snapshot::Kind;

const APP: [&str; 2] = ["app", "app.kubernetes.io/name"];
const VERSION: [&str; 2] = ["version", "app.kubernetes.io/version"];

/// The workload that `NETWORK/ADDRESS` belongs to; `None`: nobody's that is known for sure.
pub(crate) fn build(ctx: &Ctx<'_>, name: &str) -> Option<Arc<Workload>> {
    let (network, address) = Workload::address_of(name)?;
    if *network != *ctx.proxy.network || !can_belong(address) {
        return None;
    }
    ctx.read(ReadKey::Owners(address));
    let claims = ctx.snapshot.claims(address).iter();
    let claimants: Vec<Claimant<'_>> = claims.filter_map(|(kind, ns, n)| claimant(ctx, *kind, ns, n)).collect();
    let [only] = claimants.as_slice() else { return None };
    match only {
        Claimant::Pod(pod) => of_pod(ctx, pod),
        Claimant::Entry(entry) => Some(of_entry(ctx, entry, address)),
    }
    .map(Arc::new)
}

/// An address that belongs to one machine at most.
fn can_belong(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || is_link_local)
}

/// Somebody who says that an address is its own.
enum Claimant<'a> {
    Pod(&'a Object<Pod>),
    Entry(&'a Object<WorkloadEntry>),
}

fn claimant<'a>(ctx: &Ctx<'a>, kind: Kind, namespace: &str, name: &str) -> Option<Claimant<'a>> {
    let stores = &ctx.snapshot.stores;
    match kind {
        Kind::WorkloadEntry => {
            let entry = ctx.object(kind, &stores.workload_entries, namespace, name)?;
            let here = entry.spec.network.is_empty() || *entry.spec.network == *ctx.proxy.network;
            here.then_some(Claimant::Entry(entry))
        }
        _ => {
            let pod = ctx.object(Kind::Pod, &stores.pods, namespace, name)?;
            // A pod that has ended may have left its address to another.
            let ended = matches!(pod.spec.status.phase.as_str(), "Succeeded" | "Failed");
            (!ended).then_some(Claimant::Pod(pod))
        }
    }
}

fn of_pod(ctx: &Ctx<'_>, pod: &Object<Pod>) -> Option<Workload> {
    let (spec, meta) = (&pod.spec.spec, &pod.metadata);
    if spec.host_network {
        // The address is the node's, which also the node's own processes have.
        return None;
    }
    let (workload_name, workload_type) = owner(meta);
    let account = if spec.service_account_name.is_empty() { "default" } else { spec.service_account_name.as_str() };
    Some(Workload {
        uid: s(format!("{}//Pod/{}/{}", ctx.proxy.cluster_id, meta.namespace, meta.name)),
        addresses: addresses_of_pod(&pod.spec),
        node: s(&spec.node_name),
        service_account: s(account),
        workload_type,
        ..common(ctx, meta, workload_name, &meta.labels)
    })
}

fn of_entry(ctx: &Ctx<'_>, entry: &Object<WorkloadEntry>, address: IpAddr) -> Workload {
    let meta = &entry.metadata;
    let mut labels = meta.labels.clone();
    labels.extend(entry.spec.labels.clone());
    let cluster = &ctx.proxy.cluster_id;
    Workload {
        uid: s(format!("{cluster}/networking.istio.io/WorkloadEntry/{}/{}", meta.namespace, meta.name)),
        addresses: vec![address],
        service_account: s(&entry.spec.service_account),
        workload_type: WorkloadType::Pod,
        ..common(ctx, meta, &meta.name, &labels)
    }
}

/// What is said of both in the same way.
fn common(ctx: &Ctx<'_>, meta: &ObjectMeta, workload_name: &str, labels: &Labels) -> Workload {
    let (canonical_name, canonical_revision) = canonical(labels, workload_name);
    Workload {
        name: s(&meta.name),
        namespace: s(&meta.namespace),
        network: ctx.proxy.network.clone(),
        trust_domain: s(ctx.trust_domain()),
        canonical_name: s(canonical_name),
        canonical_revision: s(canonical_revision),
        workload_name: s(workload_name),
        cluster_id: ctx.proxy.cluster_id.clone(),
        services: services(ctx, &meta.namespace, labels),
        app: s(first(labels, &APP).unwrap_or_default()),
        version: s(first(labels, &VERSION).unwrap_or_default()),
        ..Workload::default()
    }
}

/// Services of its namespace that select it.
fn services(ctx: &Ctx<'_>, namespace: &str, labels: &Labels) -> Vec<Str> {
    let stores = &ctx.snapshot.stores;
    let selects = |selector: &Labels| !selector.is_empty() && contains(labels, selector);
    let services = ctx.namespace(Kind::Service, &stores.services, namespace).filter(|o| selects(&o.spec.selector));
    let mut found: Vec<Str> = services
        .map(|o| s(format!("{namespace}/{}.{namespace}.svc.{}", o.metadata.name, ctx.snapshot.domain())))
        .collect();
    for entry in ctx.namespace(Kind::ServiceEntry, &stores.service_entries, namespace) {
        if entry.spec.workload_selector.as_ref().is_some_and(|w| selects(&w.labels)) {
            found.extend(entry.spec.hosts.iter().map(|host| s(format!("{namespace}/{host}"))));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// All addresses of a pod, the first one first.
pub(crate) fn addresses_of_pod(pod: &Pod) -> Vec<IpAddr> {
    let others = pod.status.pod_ips.iter().map(|ip| &ip.ip);
    let mut found: Vec<IpAddr> = Vec::new();
    for address in std::iter::once(&pod.status.pod_ip).chain(others).filter_map(|text| text.parse().ok()) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

fn first<'a>(labels: &'a Labels, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| labels.get(*name)).map(String::as_str)
}

/// Canonical service and revision.
pub(crate) fn canonical<'a>(labels: &'a Labels, workload_name: &'a str) -> (&'a str, &'a str) {
    let name = first(labels, &["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]);
    let revision = first(labels, &["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"]);
    (name.unwrap_or(workload_name), revision.unwrap_or("latest"))
}

/// What people know a pod by, and of which kind that is: the Deployment behind a ReplicaSet, the CronJob behind a Job, else the
/// controller, else the pod.
pub(crate) fn owner(meta: &ObjectMeta) -> (&str, WorkloadType) {
    let controller = meta.owner_references.iter().find(|o| o.controller == Some(true));
    let Some(controller) = controller else { return (&meta.name, WorkloadType::Pod) };
    let name = controller.name.as_str();
    let without = |label: &str| name.strip_suffix(meta.labels.get(label)?.as_str())?.strip_suffix('-');
    match controller.kind.as_str() {
        "ReplicaSet" => match (without("rollouts-pod-template-hash"), without("pod-template-hash")) {
            (Some(rollout), _) => (rollout, WorkloadType::Pod),
            (None, Some(deployment)) => (deployment, WorkloadType::Deployment),
            (None, None) => (name, WorkloadType::Pod),
        },
        "Job" => {
            // A CronJob names its Jobs after itself and the minute, in seconds or minutes since 1970.
            let scheduled = name.rsplit_once('-').filter(|(name, minute)| {
                !name.is_empty() && (8..=10).contains(&minute.len()) && minute.bytes().all(|b| b.is_ascii_digit())
            });
            scheduled.map_or((name, WorkloadType::Job), |(cron_job, _)| (cron_job, WorkloadType::CronJob))
        }
        _ => (name, WorkloadType::Pod),
    }
}

#[cfg(test)]
mod tests;
