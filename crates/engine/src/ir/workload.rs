//! Workloads by the addresses that they have, for whoever was not told who the other side of a connection is.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Str;

/// `istio.workload.Workload`: whose an address is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Unique in the mesh: `CLUSTER/GROUP/KIND/NAMESPACE/NAME`.
    pub uid: Str,
    /// Name of the pod or WorkloadEntry.
    pub name: Str,
    /// Its namespace.
    pub namespace: Str,
    /// All its addresses.
    pub addresses: Vec<IpAddr>,
    /// Network that they are in; empty: the default one.
    pub network: Str,
    /// Node that it runs on; empty: none that is known.
    pub node: Str,
    /// Trust domain of its identity.
    pub trust_domain: Str,
    /// Service account of its identity; empty: it has none.
    pub service_account: Str,
    /// Canonical service.
    pub canonical_name: Str,
    /// Canonical revision.
    pub canonical_revision: Str,
    /// Kind of what it is known by.
    pub workload_type: WorkloadType,
    /// Name of what it is known by: the Deployment or the like.
    pub workload_name: Str,
    /// Cluster (of Kubernetes) that it runs in.
    pub cluster_id: Str,
    /// Services that it is an endpoint of: `NAMESPACE/HOST`, in order.
    pub services: Vec<Str>,
    /// Label `app`.
    pub app: Str,
    /// Label `version`.
    pub version: Str,
}

/// `istio.workload.WorkloadType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WorkloadType {
    /// A Deployment.
    #[default]
    Deployment,
    /// A CronJob.
    CronJob,
    /// A pod that nothing of these owns, or what stands for one outside Kubernetes.
    Pod,
    /// A Job.
    Job,
}

impl Workload {
    /// The identity that it shows where it uses TLS; `None`: it has none.
    pub fn principal(&self) -> Option<String> {
        let Self { trust_domain, namespace, service_account, .. } = self;
        (!service_account.is_empty()).then(|| format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"))
    }

    /// The name that a workload is asked for by.
    pub fn name_of(network: &str, address: IpAddr) -> Str {
        format!("{network}/{address}").into()
    }

    /// Network and address of such a name; `None`: it is none.
    pub fn address_of(name: &str) -> Option<(&str, IpAddr)> {
        let (network, address) = name.rsplit_once('/')?;
        Some((network, address.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_networks_and_addresses() {
        for (network, address) in [("", "10.0.0.1"), ("net-1", "10.0.0.1"), ("", "fd00::1")] {
            let address: IpAddr = address.parse().unwrap();
            let name = Workload::name_of(network, address);
            assert_eq!(Workload::address_of(&name), Some((network, address)));
        }
        for name in ["", "/", "10.0.0.1", "/10.0.0", "/web", "Kubernetes//Pod/blog-system/web-1"] {
            assert_eq!(Workload::address_of(name), None, "{name}");
        }
    }

    #[test]
    fn an_identity_needs_an_account() {
        let mut workload =
            Workload { trust_domain: "cluster.local".into(), namespace: "shop".into(), ..Workload::default() };
        assert_eq!(workload.principal(), None);
        workload.service_account = "web".into();
        assert_eq!(workload.principal().unwrap(), "spiffe://cluster.local/ns/shop/sa/web");
    }
}
