//! `discoverySelectors`: which namespaces belong to the mesh. Objects of the others are kept aside, so that a label brings them in.

use std::collections::BTreeSet;

use varka_engine::ir::Str;

use super::{Kind, Snapshot, Stale};
use crate::reads::ChangeKey;

impl Snapshot {
    /// Whether a namespace does not belong to the mesh. What has no namespace always does, and so does every namespace where
    /// nothing is selected.
    pub(super) fn is_hidden(&self, namespace: &str) -> bool {
        let selectors = &self.mesh.discovery_selectors;
        if selectors.is_empty() || namespace.is_empty() {
            return false;
        }
        let known = self.stores.namespaces.get("", namespace);
        !known.is_some_and(|n| selectors.iter().any(|s| s.matches(&n.metadata.labels)))
    }

    /// Looks at a namespace again after its own object changed.
    pub(super) fn discover_after(&mut self, kind: Kind, name: &str, stale: &mut Stale) -> Vec<ChangeKey> {
        if kind != Kind::Namespace || self.mesh.discovery_selectors.is_empty() {
            return Vec::new();
        }
        self.discover(&name.into(), stale)
    }

    /// Looks at every namespace again.
    pub(super) fn discover_all(&mut self, stale: &mut Stale) -> Vec<ChangeKey> {
        let mut namespaces: BTreeSet<Str> = self.hidden.namespaces();
        if !self.mesh.discovery_selectors.is_empty() {
            namespaces.extend(self.stores.namespaces());
        }
        namespaces.iter().flat_map(|namespace| self.discover(namespace, stale)).collect()
    }

    /// Puts the objects of a namespace where they belong; those that came or went.
    fn discover(&mut self, namespace: &Str, stale: &mut Stale) -> Vec<ChangeKey> {
        if namespace.is_empty() {
            return Vec::new();
        }
        let hide = self.is_hidden(namespace);
        // A slice is known under its Service only as long as it is there.
        let slices: Vec<Str> =
            self.stores.endpoint_slices.namespace(namespace).map(|s| s.metadata.name.as_str().into()).collect();
        let mut before: Vec<_> =
            slices.iter().map(|name| (name.clone(), self.index_keys(Kind::EndpointSlice, namespace, name))).collect();
        let moved = if hide {
            self.stores.move_namespace(namespace, &mut self.hidden)
        } else {
            self.hidden.move_namespace(namespace, &mut self.stores)
        };
        if moved.iter().any(|(kind, _)| matches!(kind, Kind::Pod | Kind::WorkloadEntry)) {
            self.index_all_addresses();
        }
        let mut keys = Vec::new();
        for (kind, name) in moved {
            stale.mark(kind);
            let mut also = self.index_keys(kind, namespace, &name);
            if kind == Kind::EndpointSlice {
                if let Some((_, keys)) = before.iter_mut().find(|(known, _)| *known == name) {
                    also.append(keys);
                }
                self.index_slice(namespace, &name, &also);
            }
            keys.push(ChangeKey { kind, namespace: namespace.clone(), name, also });
        }
        keys
    }
}
