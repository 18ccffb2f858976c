//! Ownership of fields: what an apply and an update do to the object and to who owns what.
//!
//! An apply owns what it names. It fails where it would change what another manager owns, and removes what it named before, no longer names, and
//! nobody else owns. An update owns what it changed.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::schema::{Type, Types};

use super::combine::{merge, remove};
use super::set::Set;
use super::typed::{self, TypedError};

/// What a manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The version of the API whose fields these are.
    pub version: String,
    /// By apply, not update.
    pub applied: bool,
    /// The paths.
    pub set: Set,
}

/// Who owns what.
pub type Managers = BTreeMap<String, Owned>;

/// An object in a version of its API.
#[derive(Clone, Debug)]
pub struct Versioned {
    /// The object.
    pub value: Value,
    /// The version.
    pub version: String,
}

/// The kind that objects are of.
pub trait Kind {
    /// The types that [`root`](Self::root) refers to.
    fn types(&self) -> &Types;
    /// The type of an object in a version.
    fn root(&self, version: &str) -> Type;
    /// The object in another version; `None` if that version no longer exists.
    fn convert(&self, object: &Versioned, version: &str) -> Option<Versioned>;
    /// Paths of a version that nobody can own.
    fn ignored(&self, version: &str) -> Set;
}

/// Why an object cannot be applied.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// Others own fields that the apply would change.
    #[error("{} other managers own fields that would change", .0.len())]
    Conflicts(BTreeMap<String, Set>),
    /// A list whose elements cannot be told apart.
    #[error(transparent)]
    Typed(#[from] TypedError),
    /// The version applied does not exist.
    #[error("no version {0}")]
    NoVersion(String),
}

/// Applies `config` as `manager` to the live object. Answers the new object and owners.
pub fn apply(
    kind: &impl Kind,
    live: &Versioned,
    config: &Versioned,
    mut managers: Managers,
    manager: &str,
    force: bool,
) -> Result<(Versioned, Managers), ApplyError> {
    let (types, root) = (kind.types(), kind.root(&config.version));
    typed::check(types, &root, &config.value, &mut Vec::new())?;
    reconcile(kind, live, &mut managers);
    let merged = Versioned { value: merge(types, &root, &live.value, &config.value), version: config.version.clone() };
    let last = managers.get(manager).cloned();
    let set = typed::field_set(types, &root, &config.value).without_trees(&kind.ignored(&config.version));
    managers.insert(manager.to_owned(), Owned { version: config.version.clone(), applied: true, set });
    let pruned =
        prune(kind, merged, &managers, last.as_ref()).ok_or_else(|| ApplyError::NoVersion(config.version.clone()))?;
    let (managers, _) = settle(kind, live, &pruned, managers, manager, force)?;
    Ok((pruned, managers))
}

/// Replaces the live object by `new` as `manager`. Answers the new owners.
pub fn update(kind: &impl Kind, live: &Versioned, new: &Versioned, mut managers: Managers, manager: &str) -> Managers {
    reconcile(kind, live, &mut managers);
    let before = managers.get(manager).map(|o| o.set.clone()).unwrap_or_default();
    let Ok((mut managers, compared)) = settle(kind, live, new, managers.clone(), manager, true) else {
        return managers;
    };
    let set = before
        .difference(&compared.removed)
        .union(&compared.modified)
        .union(&compared.added)
        .without_trees(&kind.ignored(&new.version));
    managers.remove(manager);
    if !set.is_empty() {
        managers.insert(manager.to_owned(), Owned { version: new.version.clone(), applied: false, set });
    }
    managers
}

/// Takes changed and removed fields from the other managers, or finds the conflicts.
fn settle(
    kind: &impl Kind,
    old: &Versioned,
    new: &Versioned,
    mut managers: Managers,
    workflow: &str,
    force: bool,
) -> Result<(Managers, typed::Comparison), ApplyError> {
    let compare = |version: &str| -> Option<typed::Comparison> {
        let converted = |object: &Versioned| {
            if object.version == version { Some(object.clone()) } else { kind.convert(object, version) }
        };
        let (old, new) = (converted(old)?, converted(new)?);
        let ignored = kind.ignored(version);
        let mut compared = typed::compare(kind.types(), &kind.root(version), &old.value, &new.value);
        for set in [&mut compared.added, &mut compared.modified, &mut compared.removed] {
            *set = set.without_trees(&ignored);
        }
        Some(compared)
    };
    let mut conflicts = BTreeMap::new();
    let mut losses = BTreeMap::new();
    let mut vanished = Vec::new();
    for (name, owned) in managers.iter().filter(|(name, _)| *name != workflow) {
        let Some(compared) = compare(&owned.version) else {
            vanished.push(name.clone());
            continue;
        };
        let taken = owned.set.intersection(&compared.modified.union(&compared.added));
        losses.insert(name.clone(), taken.union(&compared.removed));
        if !taken.is_empty() {
            conflicts.insert(name.clone(), taken);
        }
    }
    if !force && !conflicts.is_empty() {
        return Err(ApplyError::Conflicts(conflicts));
    }
    vanished.iter().for_each(|name| drop(managers.remove(name)));
    for (name, lost) in losses {
        if let Some(owned) = managers.get_mut(&name) {
            owned.set = owned.set.difference(&lost);
        }
    }
    managers.retain(|_, owned| !owned.set.is_empty());
    let compared = compare(&new.version).unwrap_or_default();
    Ok((managers, compared))
}

/// Removes what the manager named last time, no longer names, and nobody else owns.
fn prune(kind: &impl Kind, merged: Versioned, managers: &Managers, last: Option<&Owned>) -> Option<Versioned> {
    let Some(last) = last.filter(|l| !l.set.is_empty()) else { return Some(merged) };
    // With the version gone that the manager applied last, what it owned cannot be told any more.
    let Some(at_last) = kind.convert(&merged, &last.version) else { return Some(merged) };
    let (types, root) = (kind.types(), kind.root(&last.version));
    let last_set = last.set.with_named_fields(types, &root);
    let pruned = Versioned {
        value: remove(types, &root, &at_last.value, &last_set).unwrap_or_default(),
        version: last.version.clone(),
    };
    let pruned = add_back_owned(kind, &at_last, pruned, managers)?;
    let (merged_set, pruned_set) = (holds(kind, &at_last), holds(kind, &pruned));
    let gone = merged_set.difference(&pruned_set).intersection(&last_set);
    let value = remove(types, &root, &at_last.value, &gone).unwrap_or_default();
    kind.convert(&Versioned { value, version: last.version.clone() }, &merged.version)
}

fn holds(kind: &impl Kind, object: &Versioned) -> Set {
    let root = kind.root(&object.version);
    typed::field_set(kind.types(), &root, &object.value).with_named_fields(kind.types(), &root)
}

fn add_back_owned(
    kind: &impl Kind,
    merged: &Versioned,
    mut pruned: Versioned,
    managers: &Managers,
) -> Option<Versioned> {
    let mut owned: BTreeMap<&str, Set> = BTreeMap::new();
    for manager in managers.values() {
        let all = owned.entry(&manager.version).or_default();
        *all = all.union(&manager.set);
    }
    let back = merged.version.clone();
    let mut merged = merged.clone();
    // The version at hand first: what was removed may be needed to convert to the others.
    let at_hand = owned.remove_entry(back.as_str());
    for (version, set) in at_hand.into_iter().chain(owned) {
        let (Some(at_merged), Some(at_pruned)) = (kind.convert(&merged, version), kind.convert(&pruned, version))
        else {
            continue;
        };
        let (types, root) = (kind.types(), kind.root(version));
        let keep = holds(kind, &at_pruned).union(&set.with_named_fields(types, &root));
        let gone = holds(kind, &at_merged).difference(&keep);
        let value = remove(types, &root, &at_merged.value, &gone).unwrap_or_default();
        pruned = Versioned { value, version: version.to_owned() };
        merged = at_merged;
    }
    kind.convert(&pruned, &back)
}

/// Brings owned paths in line with the schema: what has become atomic is owned whole.
fn reconcile(kind: &impl Kind, live: &Versioned, managers: &mut Managers) {
    for owned in managers.values_mut() {
        let Some(live) = kind.convert(live, &owned.version) else { continue };
        let root = kind.root(&owned.version);
        owned.set = typed::reconcile(kind.types(), &root, &live.value, &owned.set);
    }
}

#[cfg(test)]
mod tests;
