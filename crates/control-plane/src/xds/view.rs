//! What one proxy is told: each resource compiled once, and again only when something that was read for it has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use varka_engine::ir::{Resource, ResourceType, Str};
use varka_pilot::{Common, Compiled, Diagnostic, ProxyKey, ReadSet, ResourceName, compile_one_of, names};

use super::development::{Development, PREFIX};
use crate::watch::Published;
use bytes::Bytes;
use varka_xds::codec::{self, Reader};

/// Passes over all resources in use that an entry survives without being asked for.
const UNUSED_PASSES: u64 = 2;

/// One resource as this proxy has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    /// `None`: there is no such thing for this proxy.
    resource: Option<Resource>,
    /// `resource` in its wire form.
    pub(crate) body: Option<Bytes>,
    /// Differs exactly when the resource does; the same after a restart of the control plane.
    pub(crate) version: Str,
    reads: ReadSet,
    /// When it must be made again though nothing was changed: a certificate's renewal.
    renew_at: Option<SystemTime>,
    /// Pass in which it was last asked for.
    used: u64,
}

/// The resources of one proxy that it has asked for.
pub(crate) struct View {
    key: ProxyKey,
    reader: Reader,
    current: Arc<Published>,
    development: Arc<Development>,
    entries: BTreeMap<ResourceName, Entry>,
    /// All names that the proxy is given, once somebody has asked.
    names: Option<(BTreeSet<ResourceName>, ReadSet)>,
    /// Counts changes after which everything in use is asked for again.
    pass: u64,
    diagnostics: Vec<Diagnostic>,
    compiled: u64,
    /// What the resources that are being made have in common; empty between answers and changes.
    common: Common,
}

impl View {
    /// A view of `current` for a proxy. Its labels are the API server's word where that knows the pod, else its own.
    pub(crate) fn new(
        mut key: ProxyKey,
        reader: Reader,
        current: Arc<Published>,
        development: Arc<Development>,
    ) -> Self {
        if let Some(labels) = current.labels(&key.namespace, &key.name) {
            key.labels.clone_from(labels);
        }
        Self {
            key,
            reader,
            current,
            development,
            entries: BTreeMap::new(),
            names: None,
            pass: 0,
            diagnostics: Vec::new(),
            compiled: 0,
            common: Common::default(),
        }
    }

    /// The proxy.
    pub(crate) fn key(&self) -> &ProxyKey {
        &self.key
    }

    /// Number of the snapshot that it stands on.
    pub(crate) fn number(&self) -> u64 {
        self.current.number
    }

    /// Every name that the proxy is given.
    pub(crate) fn names(&mut self) -> &BTreeSet<ResourceName> {
        let (snapshot, key) = (&self.current.snapshot, &self.key);
        let (names, _) = self.names.get_or_insert_with(|| {
            let named = names(snapshot, key);
            self.diagnostics.extend(named.diagnostics);
            (named.names.into_iter().collect(), named.reads)
        });
        names
    }

    /// One resource, compiled now if it has not been asked for before.
    pub(crate) fn entry(&mut self, name: &ResourceName, now: SystemTime) -> &Entry {
        if !self.entries.contains_key(name) {
            let made = self.make(name, now);
            self.entries.insert(name.clone(), made);
        }
        let entry = self.entries.entry(name.clone()).or_default();
        entry.used = self.pass;
        entry
    }

    /// Resources in use of which `message` speaks, with their versions; all of a type have a message that names none.
    pub(crate) fn named_in(&self, kind: ResourceType, message: &str) -> Vec<(ResourceName, Str)> {
        let of_kind = self.entries.iter().filter(|(name, entry)| name.kind == kind && entry.resource.is_some());
        let named = of_kind.filter(|(name, _)| message.contains(&*name.name));
        let named: Vec<_> = named.map(|(name, entry)| (name.clone(), Str::clone(&entry.version))).collect();
        if named.is_empty() {
            return vec![(ResourceName { kind, name: "*".into() }, Str::default())];
        }
        // `80` is in `inbound|80||`: of names within names the longest is meant.
        let within =
            |name: &str| named.iter().any(|(other, _)| other.name.len() > name.len() && other.name.contains(name));
        named.iter().filter(|(name, _)| !within(&name.name)).cloned().collect()
    }

    /// Moves on to `next`; whether anything in use is otherwise now. If so, the caller asks for everything in use again.
    pub(crate) fn advance(&mut self, next: Arc<Published>, now: SystemTime) -> bool {
        let before = std::mem::replace(&mut self.current, next).number;
        self.rest();
        let relabelled = self.relabel();
        let mut changed = false;
        if self.names.as_ref().is_some_and(|(_, reads)| relabelled || self.current.touches(reads, before)) {
            let old = self.names.take();
            changed = old.is_some_and(|(old, _)| old != *self.names());
        }
        let due = |entry: &Entry| entry.renew_at.is_some_and(|at| at <= now);
        let stale: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| relabelled || due(entry) || self.current.touches(&entry.reads, before))
            .map(|(name, _)| name.clone())
            .collect();
        for name in stale {
            let mut made = self.make(&name, now);
            if let Some(entry) = self.entries.get(&name) {
                changed |= entry.resource != made.resource;
                made.used = entry.used;
            }
            self.entries.insert(name, made);
        }
        self.rest();
        if changed {
            self.pass += 1;
            let oldest = self.pass.saturating_sub(UNUSED_PASSES);
            self.entries.retain(|_, entry| entry.used >= oldest);
        }
        changed
    }

    /// Nothing more is asked for just now: what is needed only for making resources is given up.
    pub(crate) fn rest(&mut self) {
        self.common = Common::default();
    }

    fn compile(&self, name: &ResourceName) -> Compiled {
        compile_one_of(&self.common, &self.current.snapshot, &self.key, name)
    }

    /// Findings since the last call, and how many resources were compiled.
    pub(crate) fn take_findings(&mut self) -> (Vec<Diagnostic>, u64) {
        (std::mem::take(&mut self.diagnostics), std::mem::take(&mut self.compiled))
    }

    /// Takes over the pod's labels; whether they are otherwise than before.
    fn relabel(&mut self) -> bool {
        let Some(labels) = self.current.labels(&self.key.namespace, &self.key.name) else { return false };
        let differs = *labels != self.key.labels;
        if differs {
            self.key.labels.clone_from(labels);
        }
        differs
    }

    fn make(&mut self, name: &ResourceName, now: SystemTime) -> Entry {
        self.compiled += 1;
        let (compiled, renew_at) = match name.kind {
            ResourceType::Secret => self.make_secret(name, now),
            _ => (self.compile(name), None),
        };
        let Compiled { resource, reads, diagnostics } = compiled;
        self.diagnostics.extend(diagnostics);
        Entry {
            body: resource.as_ref().map(|resource| codec::encode_bytes(resource, self.reader)),
            version: resource.as_ref().map(codec::version).unwrap_or_default(),
            resource,
            reads,
            renew_at,
            used: self.pass,
        }
    }

    /// Secrets are given by name only to whom the configuration gives them: guessing another's name yields nothing.
    fn make_secret(&mut self, name: &ResourceName, now: SystemTime) -> (Compiled, Option<SystemTime>) {
        let given = self.names().contains(name);
        let reads = self.names.as_ref().map(|(_, reads)| reads.clone()).unwrap_or_default();
        if !given {
            return (Compiled { reads, ..Compiled::default() }, None);
        }
        if name.name.starts_with(PREFIX) {
            let (secret, renew_at) = self.development.secret(&name.name, now).unzip();
            return (Compiled { resource: secret.map(Resource::Secret), reads, ..Compiled::default() }, renew_at);
        }
        let mut compiled = self.compile(name);
        compiled.reads.merge(&reads);
        (compiled, None)
    }
}

#[cfg(test)]
mod tests;
