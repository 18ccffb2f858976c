//! What objects said at which time: every change of what Istio and the workloads were told, with who made it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{ReadableTable as _, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::disk::{self, Disk, REVISIONS};
use super::{Error, Millis};

const KIND: &str = "revisions";
const OVERHEAD: i64 = 24;
/// Numbers of a run begin at its own multiple of this: none is given twice, though a crash may have lost the last ones.
const RUN: u32 = 32;
/// So many of the newest changes are told without reading the file.
const RECENT: usize = 256;
/// An object that is larger is kept without its content.
const LARGEST: usize = 256 << 10;

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reference {
    /// Empty: the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Empty: none.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// What happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// It is new.
    Created,
    /// It says something else.
    Updated,
    /// It is gone.
    Deleted,
}

/// An object from one moment on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    /// From when on.
    pub at: Millis,
    /// What happened.
    pub verb: Verb,
    /// To what.
    pub of: Reference,
    /// Its `metadata.resourceVersion`.
    pub version: String,
    /// Who did it; empty: not known.
    pub by: String,
    /// Without `status` and `managedFields`; of a deletion the last.
    pub object: Arc<serde_json::Value>,
}

/// A revision, and the one of the same object before it.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its number: they are in the order in which they came.
    pub number: u64,
    /// `None`: there was none, or it is kept no more.
    pub before: Option<Revision>,
    /// It.
    pub revision: Revision,
}

#[derive(Debug, Default)]
struct State {
    /// The newest of all, without a gap, as far as they came in this run.
    recent: VecDeque<Change>,
    /// The newest of each object.
    newest: HashMap<Reference, Revision>,
    waiting: Vec<(u64, Arc<Revision>)>,
    in_flight: usize,
    next: u64,
}

/// Every revision.
#[derive(Debug)]
pub struct Revisions {
    disk: Arc<Disk>,
    state: Mutex<State>,
}

impl Revisions {
    pub(super) fn open(disk: Arc<Disk>) -> Result<Self, Error> {
        let mut state = State::default();
        for (number, revision) in read(&disk, 0)? {
            state.next = number + 1;
            state.newest.insert(revision.of.clone(), revision);
        }
        state.next = state.next.max(disk.run << RUN);
        Ok(Self { disk, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest revision of an object.
    pub fn newest(&self, of: &Reference) -> Option<Revision> {
        self.lock().newest.get(of).cloned()
    }

    /// Objects that are there as far as is known.
    pub fn present(&self) -> Vec<Reference> {
        let state = self.lock();
        state
            .newest
            .values()
            .filter(|revision| revision.verb != Verb::Deleted)
            .map(|revision| revision.of.clone())
            .collect()
    }

    /// Takes a revision; `false`: it says what the newest one says.
    pub fn append(&self, mut revision: Revision) -> bool {
        let mut state = self.lock();
        if let Some(newest) = state.newest.get(&revision.of) {
            let same =
                newest.verb != Verb::Deleted && revision.verb != Verb::Deleted && content(newest) == content(&revision);
            let gone = newest.verb == Verb::Deleted && revision.verb == Verb::Deleted;
            if same || gone {
                return false;
            }
            if newest.verb != Verb::Deleted && revision.verb == Verb::Created {
                revision.verb = Verb::Updated;
            }
        } else if revision.verb == Verb::Deleted {
            return false;
        }
        let number = state.next;
        state.next += 1;
        let before = state.newest.insert(revision.of.clone(), revision.clone());
        if state.recent.len() == RECENT {
            state.recent.pop_front();
        }
        state.recent.push_back(Change { number, before, revision: revision.clone() });
        state.waiting.push((number, Arc::new(revision)));
        true
    }

    /// Every revision from `start` to `end`, both inclusive, in the order in which they came.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn between(&self, start: Millis, end: Millis) -> Result<Vec<Revision>, Error> {
        let all = self.since(0)?.into_iter().map(|(_, revision)| revision);
        Ok(all.filter(|r| (start..=end).contains(&r.at)).collect())
    }

    /// The number that the next revision gets; it is greater than any that was given, by whichever run.
    pub fn next(&self) -> u64 {
        self.lock().next
    }

    /// Every revision from a number on that is still kept, with its number, in the order in which they came.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn since(&self, first: u64) -> Result<Vec<(u64, Revision)>, Error> {
        let waiting = self.lock().waiting.clone();
        let mut found = read(&self.disk, first)?;
        let written = found.last().map_or(first, |(number, _)| number + 1);
        let newer = waiting.into_iter().filter(|(number, _)| *number >= written);
        found.extend(newer.map(|(number, revision)| (number, (*revision).clone())));
        Ok(found)
    }

    /// Every change from a number on whose revision is still kept, in the order in which they came.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn changes(&self, first: u64) -> Result<Vec<Change>, Error> {
        {
            let state = self.lock();
            if state.recent.front().is_some_and(|oldest| oldest.number <= first) || first >= state.next {
                return Ok(state.recent.iter().filter(|change| change.number >= first).cloned().collect());
            }
        }
        let mut last: HashMap<Reference, Revision> = HashMap::new();
        let all = self.since(0)?.into_iter().map(|(number, revision)| {
            let before = last.insert(revision.of.clone(), revision.clone());
            Change { number, before, revision }
        });
        Ok(all.filter(|change| change.number >= first).collect())
    }

    /// Every object as it was at a time.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn at(&self, time: Millis) -> Result<Vec<Revision>, Error> {
        let mut found: HashMap<Reference, Revision> = HashMap::new();
        for revision in self.between(Millis::MIN, time)? {
            found.insert(revision.of.clone(), revision);
        }
        Ok(found.into_values().filter(|revision| revision.verb != Verb::Deleted).collect())
    }

    /// Writes what waits; [`settle`](Self::settle) follows.
    pub(super) fn flush(&self, write: &WriteTransaction) -> Result<(), redb::Error> {
        let mut state = self.lock();
        state.in_flight = state.waiting.len();
        let mut table = write.open_table(REVISIONS)?;
        let mut change = 0;
        for (number, revision) in &state.waiting {
            let bytes = encode(revision);
            change += length(&bytes);
            table.insert(number, bytes.as_slice())?;
        }
        drop(table);
        disk::resize(write, KIND, change)
    }

    /// What [`flush`](Self::flush) wrote is in the file, or is not.
    pub(super) fn settle(&self, written: bool) {
        let mut state = self.lock();
        let count = std::mem::take(&mut state.in_flight);
        if written {
            state.waiting.drain(..count);
        }
    }

    /// Throws away revisions that held no more at `before`; what still held then is kept, however old it is.
    pub(super) fn expire(&self, write: &WriteTransaction, before: Millis) -> Result<(), redb::Error> {
        let mut table = write.open_table(REVISIONS)?;
        let mut last: HashMap<Reference, (u64, bool)> = HashMap::new();
        let mut old = Vec::new();
        for row in table.iter()? {
            let (number, bytes) = row?;
            let Some(revision) = decode(bytes.value()).filter(|revision| revision.at < before) else { continue };
            let deleted = revision.verb == Verb::Deleted;
            if let Some((earlier, _)) = last.insert(revision.of, (number.value(), deleted)) {
                old.push(earlier);
            }
        }
        old.extend(last.into_values().filter(|(_, deleted)| *deleted).map(|(number, _)| number));
        let mut change = 0;
        for number in old {
            change -= table.remove(number)?.map_or(0, |bytes| length(bytes.value()));
        }
        drop(table);
        disk::resize(write, KIND, change)
    }
}

fn read(disk: &Disk, first: u64) -> Result<Vec<(u64, Revision)>, Error> {
    disk.read(|read| {
        let mut found = Vec::new();
        for row in read.open_table(REVISIONS)?.range(first..)? {
            let (number, bytes) = row?;
            found.extend(decode(bytes.value()).map(|revision| (number.value(), revision)));
        }
        Ok(found)
    })
}

/// What makes one revision different from another; metadata is mostly about the revision itself.
fn content(revision: &Revision) -> (Vec<(&String, &serde_json::Value)>, [Option<&serde_json::Value>; 2]) {
    let fields = revision.object.as_object().into_iter().flatten().filter(|(name, _)| *name != "metadata");
    let meta = |name: &str| revision.object.get("metadata")?.get(name);
    (fields.collect(), [meta("labels"), meta("annotations")])
}

fn encode(revision: &Revision) -> Vec<u8> {
    let bytes = serde_json::to_vec(revision).unwrap_or_default();
    if bytes.len() <= LARGEST {
        return bytes;
    }
    let without = Revision { object: Arc::new(serde_json::Value::Null), ..revision.clone() };
    serde_json::to_vec(&without).unwrap_or_default()
}

fn decode(bytes: &[u8]) -> Option<Revision> {
    serde_json::from_slice(bytes).ok()
}

fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX / 2) + OVERHEAD
}

#[cfg(test)]
mod tests;
