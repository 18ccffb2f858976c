//! What a compilation looked at, and whether a change touches it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use varka_engine::ir::Str;

use crate::Kind;

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReadKey {
    /// Every object of a kind.
    Kind(Kind),
    /// Every object of a kind in a namespace.
    Namespace(Kind, Str),
    /// One object, present or absent.
    Object(Kind, Str, Str),
    /// The EndpointSlices of a Service.
    Endpoints(Str, Str),
    /// Which EndpointSlices name an address, and with which ports.
    Address(IpAddr),
    /// Which pods and WorkloadEntries say that an address is their own.
    Owners(IpAddr),
}

/// The set of what was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadSet(BTreeSet<ReadKey>);

/// A change, under every key that a reader may know it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeKey {
    /// Kind.
    pub kind: Kind,
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: Str,
    /// Name.
    pub name: Str,
    /// Index keys that it appears under, before or after.
    pub also: Vec<ReadKey>,
}

impl ReadSet {
    /// Adds `key`.
    pub fn insert(&mut self, key: ReadKey) {
        self.0.insert(key);
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    /// Whether `key` was looked at.
    pub fn contains(&self, key: &ReadKey) -> bool {
        self.0.contains(key)
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &ReadKey> {
        self.0.iter()
    }

    fn sees(&self, change: &ChangeKey) -> bool {
        self.0.contains(&ReadKey::Kind(change.kind))
            || self.0.contains(&ReadKey::Namespace(change.kind, change.namespace.clone()))
            || self.0.contains(&ReadKey::Object(change.kind, change.namespace.clone(), change.name.clone()))
            || change.also.iter().any(|key| self.0.contains(key))
    }
}

/// Whether any of `changes` may alter what was made of `reads`.
pub fn touched(reads: &ReadSet, changes: &[ChangeKey]) -> bool {
    changes.iter().any(|change| reads.sees(change))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: Kind, namespace: &str, name: &str) -> ChangeKey {
        ChangeKey { kind, namespace: namespace.into(), name: name.into(), also: Vec::new() }
    }

    #[test]
    fn a_change_touches_readers_of_any_of_its_keys() {
        let changes = [change(Kind::VirtualService, "a", "x")];
        for (key, seen) in [
            (ReadKey::Kind(Kind::VirtualService), true),
            (ReadKey::Namespace(Kind::VirtualService, "a".into()), true),
            (ReadKey::Object(Kind::VirtualService, "a".into(), "x".into()), true),
            (ReadKey::Kind(Kind::Service), false),
            (ReadKey::Namespace(Kind::VirtualService, "b".into()), false),
            (ReadKey::Object(Kind::VirtualService, "a".into(), "y".into()), false),
        ] {
            let mut reads = ReadSet::default();
            reads.insert(key.clone());
            assert_eq!(touched(&reads, &changes), seen, "{key:?}");
        }
    }
}
