//! From the API server to snapshots: one watch per kind, changes gathered for a moment, one immutable snapshot for all readers.
//!
//! Nothing is compiled here. A kind that the server does not have (a CRD that is not installed) counts as empty, and is looked
//! for again every few seconds; a server that is away leaves the last snapshot in force.

mod gather;
mod keys;
mod kinds;
mod secrets;
mod stream;

#[cfg(test)]
pub(crate) use gather::published;
pub(crate) use gather::{MeshSource, Published, run};
pub(crate) use kinds::versions;

use varka_api::RawObject;
use varka_engine::ir::Str;
use varka_pilot::KeySource;

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum Update {
    /// An object was created or changed.
    Apply(Box<RawObject>),
    /// An object is gone.
    Delete(ObjectKey),
    /// Keys of an issuer of tokens were fetched, or cannot be; `None`: nothing names them any more.
    Keys { source: KeySource, keys: Option<Result<Str, Str>> },
    /// The watch of this number has told all that there is.
    Synced(usize),
}

/// An object by its kind and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectKey {
    /// API group; empty for the core group.
    pub(crate) group: &'static str,
    pub(crate) kind: &'static str,
    /// Empty for cluster-scoped kinds.
    pub(crate) namespace: String,
    pub(crate) name: String,
}
