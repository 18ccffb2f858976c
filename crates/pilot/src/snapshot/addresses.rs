//! Who says that an address is its own: pods and WorkloadEntries by address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use varka_engine::ir::Str;

use super::{Kind, Snapshot};
use crate::reads::ReadKey;
use crate::workload::addresses_of_pod;

/// A pod or WorkloadEntry: kind, namespace and name.
type Claim = (Kind, Str, Str);
/// By address, so that a change copies only the lists that it alters.
pub(super) type Addresses = BTreeMap<IpAddr, Arc<[Claim]>>;

impl Snapshot {
    /// Who says that an address is its own.
    pub(crate) fn claims(&self, address: IpAddr) -> &[Claim] {
        self.addresses.get(&address).map_or(&[], |claims| claims)
    }

    /// Addresses that an object of the mesh has.
    pub(super) fn addresses_of(&self, kind: Kind, namespace: &str, name: &str) -> Vec<IpAddr> {
        match kind {
            Kind::Pod => {
                self.stores.pods.get(namespace, name).map(|pod| addresses_of_pod(&pod.spec)).unwrap_or_default()
            }
            Kind::WorkloadEntry => {
                let entry = self.stores.workload_entries.get(namespace, name);
                entry.and_then(|e| e.spec.address.parse().ok()).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Files an object under the addresses that it has now, and no longer under others of `before`.
    pub(super) fn index_addresses(&mut self, kind: Kind, namespace: &Str, name: &Str, before: &[ReadKey]) {
        let now = self.addresses_of(kind, namespace, name);
        let claim = (kind, namespace.clone(), name.clone());
        for key in before {
            let ReadKey::Owners(address) = key else { continue };
            if !now.contains(address) {
                self.claim(*address, |claims| claims.retain(|c| *c != claim));
            }
        }
        for address in now {
            if !self.claims(address).contains(&claim) {
                self.claim(address, |claims| claims.push(claim.clone()));
            }
        }
    }

    /// Files every object anew.
    pub(super) fn index_all_addresses(&mut self) {
        self.addresses = Arc::default();
        let name_of = |meta: &varka_api::ObjectMeta| (Str::from(&*meta.namespace), Str::from(&*meta.name));
        let pods = self.stores.pods.iter().map(|o| (Kind::Pod, name_of(&o.metadata)));
        let entries = self.stores.workload_entries.iter().map(|o| (Kind::WorkloadEntry, name_of(&o.metadata)));
        for (kind, (namespace, name)) in pods.chain(entries).collect::<Vec<_>>() {
            self.index_addresses(kind, &namespace, &name, &[]);
        }
    }

    fn claim(&mut self, address: IpAddr, change: impl FnOnce(&mut Vec<Claim>)) {
        let mut claims = self.claims(address).to_vec();
        change(&mut claims);
        let all = Arc::make_mut(&mut self.addresses);
        if claims.is_empty() {
            all.remove(&address);
        } else {
            all.insert(address, claims.into());
        }
    }
}
