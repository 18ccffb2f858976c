//! The ids of events: what was told when an event had been told, so that whoever comes back is told the rest.
//!
//! An id names the store that its numbers are of. Revisions have numbers that are never given twice and lines have their times, so that an id
//! means the same after the server was started anew; one of another store says nothing here.

use std::fmt;

use crate::store::Store;

/// What was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    store: u64,
    /// Number of the first revision that was not told.
    pub(super) revision: u64,
    /// Time of the newest line that was told, in microseconds.
    pub(super) line: u64,
}

impl Mark {
    /// Everything that there is, to who begins at a time in microseconds.
    pub(super) fn now(store: &Store, time: u64) -> Self {
        Self { store: store.identity(), revision: store.revisions().next(), line: time }
    }

    /// What an id says; `None`: it is not of this store, or of what the store knows no more.
    pub(super) fn read(id: &str, store: &Store) -> Option<Self> {
        let mut parts = id.split('-').map(|part| u64::from_str_radix(part, 16).ok());
        let (Some(of), Some(revision), Some(line), None) = (parts.next()?, parts.next()?, parts.next()?, parts.next())
        else {
            return None;
        };
        (of == store.identity() && revision <= store.revisions().next()).then_some(Self { store: of, revision, line })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, revision, line } = self;
        write!(f, "{store:x}-{revision:x}-{line:x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::forever;

    #[test]
    fn an_id_is_read_by_the_store_that_gave_it_alone() {
        let [own, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let store = Store::open(own.path(), forever()).unwrap();
        let mark = Mark::now(&store, 17);
        assert_eq!(Mark::read(&mark.to_string(), &store), Some(mark));
        let other = Store::open(other.path(), forever()).unwrap();
        assert_eq!(Mark::read(&mark.to_string(), &other), None);
        let later = Mark { revision: mark.revision + 1, ..mark };
        assert_eq!(Mark::read(&later.to_string(), &store), None, "nothing of that number was ever told");
        for foreign in ["", "7", "1-2-3-4", "x-1-1", "ffffffffffffffffff-1-1", "-", "\u{e9}"] {
            assert_eq!(Mark::read(foreign, &store), None, "{foreign:?}");
        }
        drop(store);
        let store = Store::open(own.path(), forever()).unwrap();
        assert_eq!(Mark::read(&mark.to_string(), &store), Some(mark), "after a restart");
    }
}
