//! The store's file: objects, the history of events, and the last version, in one redb database.
//!
//! A commit is one transaction with `fsync`, so that a crash leaves the file as some acknowledged write left it. The file holds secrets: it is
//! made readable by its owner only.

use std::collections::HashMap;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde_json::Value;

use super::{Event, EventKind, HISTORY, Key, Object, State};

/// `resource NUL namespace NUL name` to the object's JSON.
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
/// Version to kind of event, key, object's JSON.
const EVENTS: TableDefinition<'_, u64, (u8, &str, &[u8])> = TableDefinition::new("events");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const VERSION: &str = "version";
const FORGOTTEN: &str = "forgotten";

/// Memory that redb may use for pages: small, since every object is in memory anyway.
const CACHE: usize = 4 << 20;

pub(super) struct Disk {
    database: Database,
    /// Versions of the events in the file, oldest first.
    events: std::collections::VecDeque<u64>,
}

impl Disk {
    /// Opens or creates the file, and loads what it holds.
    pub(super) fn open(path: &Path) -> Result<(Self, State), Arc<redb::Error>> {
        Self::try_open(path).map_err(Arc::new)
    }

    fn try_open(path: &Path) -> Result<(Self, State), redb::Error> {
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let database =
            redb::Builder::new().set_cache_size(CACHE).create_with_backend(redb::backends::FileBackend::new(file)?)?;
        let setup = database.begin_write()?;
        setup.open_table(OBJECTS)?;
        setup.open_table(EVENTS)?;
        setup.open_table(NUMBERS)?;
        setup.commit()?;
        let mut state = State::default();
        let read = database.begin_read()?;
        let numbers = read.open_table(NUMBERS)?;
        state.version = numbers.get(VERSION)?.map_or(0, |v| v.value());
        state.forgotten = numbers.get(FORGOTTEN)?.map_or(0, |v| v.value());
        for row in read.open_table(OBJECTS)?.iter()? {
            let (key, json) = row?;
            if let (Some(key), Some(object)) = (read_key(key.value()), read_object(json.value())) {
                let names = state.objects.entry(Arc::clone(&key.resource)).or_default();
                names.insert((key.namespace, key.name), Arc::new(object));
            }
        }
        let mut last: HashMap<Key, Arc<Object>> = HashMap::new();
        let mut events = std::collections::VecDeque::new();
        for row in read.open_table(EVENTS)?.iter()? {
            let (version, row) = row?;
            events.push_back(version.value());
            let (kind, key, json) = row.value();
            let (Some(key), Some(object)) = (read_key(key), read_object(json)) else { continue };
            let object = Arc::new(object);
            let before = last.insert(key.clone(), Arc::clone(&object));
            let kind = match kind {
                0 => EventKind::Added,
                1 => EventKind::Modified,
                _ => EventKind::Deleted,
            };
            state.remember(Arc::new(Event { kind, key, object, before }));
        }
        drop((numbers, read));
        Ok((Self { database, events }, state))
    }

    /// Writes a batch durably, or nothing of it.
    pub(super) fn commit<'a>(
        &mut self,
        batch: impl Iterator<Item = &'a Event>,
        version: u64,
    ) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        let mut added = Vec::new();
        let mut dropped = 0;
        {
            let mut objects = write.open_table(OBJECTS)?;
            let mut events = write.open_table(EVENTS)?;
            let mut numbers = write.open_table(NUMBERS)?;
            for event in batch {
                let key = format!("{}\0{}\0{}", event.key.resource, event.key.namespace, event.key.name);
                let json: &[u8] = &event.object.json;
                let kind = match event.kind {
                    EventKind::Added => 0,
                    EventKind::Modified => 1,
                    EventKind::Deleted => 2,
                };
                if event.kind == EventKind::Deleted {
                    objects.remove(key.as_str())?;
                } else {
                    objects.insert(key.as_str(), json)?;
                }
                events.insert(event.object.version, (kind, key.as_str(), json))?;
                added.push(event.object.version);
            }
            let excess = (self.events.len() + added.len()).saturating_sub(HISTORY);
            for old in self.events.iter().chain(&added).take(excess) {
                events.remove(old)?;
                numbers.insert(FORGOTTEN, old)?;
                dropped += 1;
            }
            numbers.insert(VERSION, version)?;
        }
        write.commit()?;
        self.events.extend(added);
        self.events.drain(..dropped);
        Ok(())
    }
}

fn read_key(text: &str) -> Option<Key> {
    let mut parts = text.split('\0');
    Some(Key::new(parts.next()?, parts.next()?, parts.next()?))
}

fn read_object(json: &[u8]) -> Option<Object> {
    let value: Value = serde_json::from_slice(json).ok()?;
    let version = crate::object::resource_version(&value)?;
    Some(Object::from_parts(value, Bytes::copy_from_slice(json), version))
}
