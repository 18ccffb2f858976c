//! Workloads by address.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use varka_engine::ir::{Resource, Str, Workload, WorkloadType};

use super::Gen;

pub(super) fn workload(g: &mut Gen) -> Resource {
    let address = |g: &mut Gen| -> IpAddr {
        let octets: [u8; 16] = std::array::from_fn(|_| g.byte());
        if g.flag() { octets.into() } else { IpAddr::from([octets[0], octets[1], octets[2], octets[3]]) }
    };
    let services: BTreeSet<Str> = g.vec(Gen::text).into_iter().collect();
    let workload = Workload {
        uid: g.any_text(),
        name: g.any_text(),
        namespace: g.any_text(),
        addresses: g.vec1(address),
        network: g.any_text(),
        node: g.any_text(),
        trust_domain: g.any_text(),
        service_account: g.any_text(),
        canonical_name: g.any_text(),
        canonical_revision: g.any_text(),
        workload_type: g.of(&[WorkloadType::Deployment, WorkloadType::CronJob, WorkloadType::Pod, WorkloadType::Job]),
        workload_name: g.any_text(),
        cluster_id: g.any_text(),
        services: services.into_iter().collect(),
        app: g.any_text(),
        version: g.any_text(),
    };
    let name = Workload::name_of(&workload.network, workload.addresses[0]);
    Resource::Workload(name, Arc::new(workload))
}
