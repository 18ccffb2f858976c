//! The file: one redb database with a table for each kind of thing.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
};

use super::Error;

/// Number of a series to its labels, as `name NUL value NUL ...`.
pub(super) const SERIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("series");
/// Number of a series and time of the first sample, to the chunk.
pub(super) const CHUNKS: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("chunks");
/// Trace, span and kind to the span as OTLP's `ResourceSpans` with nothing but it.
pub(super) const SPANS: TableDefinition<'_, (u128, u64, u8), &[u8]> = TableDefinition::new("spans");
/// Number of a service, start in microseconds, trace and span, to the duration in microseconds.
pub(super) const BY_SERVICE: TableDefinition<'_, (u32, u64, u128, u64), u64> = TableDefinition::new("spans-by-service");
/// Start in microseconds, trace, span and kind, to the number of the service.
pub(super) const BY_TIME: TableDefinition<'_, (u64, u128, u64, u8), u32> = TableDefinition::new("spans-by-time");
/// Number of a service to its name.
pub(super) const SERVICES: TableDefinition<'_, u32, &str> = TableDefinition::new("services");
/// Number of a service, operation and kind, to the newest start in microseconds.
pub(super) const OPERATIONS: TableDefinition<'_, (u32, &str, u8), u64> = TableDefinition::new("operations");
/// Number of a source, time in microseconds and a number within it, to the line.
pub(super) const LINES: TableDefinition<'_, (u32, u64, u32), &str> = TableDefinition::new("lines");
/// Number of a source to `namespace NUL pod NUL container`.
pub(super) const SOURCES: TableDefinition<'_, u32, &str> = TableDefinition::new("sources");
/// Number of a revision, in the order in which they came, to the revision as JSON.
pub(super) const REVISIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("revisions");
/// Number of a segment and place in it, to a row of what objects that change by themselves were ([`super::observed`]).
pub(super) const OBSERVED: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("observed");
/// Of the file itself: who it is (`identity`), and how often it was opened (`runs`).
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
/// Bytes that the records of a kind take, by the kind's name.
pub(super) const SIZES: TableDefinition<'_, &str, u64> = TableDefinition::new("sizes");

/// Memory that redb may use for pages.
const CACHE: usize = 16 << 20;

/// The open file.
pub(super) struct Disk {
    database: Database,
    path: String,
    /// No other file has it.
    pub(super) identity: u64,
    /// How often it was opened, this time included.
    pub(super) run: u64,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Disk {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let path_text = path.display().to_string();
        let make = || -> Result<Self, redb::Error> {
            let mut options = std::fs::OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
            let backend = redb::backends::FileBackend::new(file)?;
            let database = redb::Builder::new().set_cache_size(CACHE).create_with_backend(backend)?;
            let setup = database.begin_write()?;
            setup.open_table(SERIES)?;
            setup.open_table(CHUNKS)?;
            setup.open_table(SPANS)?;
            setup.open_table(BY_SERVICE)?;
            setup.open_table(BY_TIME)?;
            setup.open_table(SERVICES)?;
            setup.open_table(OPERATIONS)?;
            setup.open_table(LINES)?;
            setup.open_table(SOURCES)?;
            setup.open_table(REVISIONS)?;
            setup.open_table(OBSERVED)?;
            setup.open_table(SIZES)?;
            let (identity, run) = about(&setup)?;
            setup.commit()?;
            Ok(Self { database, path: path_text.clone(), identity, run })
        };
        make().map_err(|source| Error::File { path: path_text.clone(), source: Arc::new(source) })
    }

    /// Reads the file as it is now.
    pub(super) fn read<T>(&self, reading: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, Error> {
        let read = || reading(&self.database.begin_read()?);
        read().map_err(|source| self.error(source))
    }

    /// Writes all that `writing` writes, or nothing. `durably`: it is on the disk when this returns.
    pub(super) fn write(
        &self,
        durably: bool,
        writing: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), Error> {
        let write = || {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(if durably { Durability::Immediate } else { Durability::None })?;
            writing(&transaction)?;
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|source| self.error(source))
    }

    fn error(&self, source: redb::Error) -> Error {
        Error::File { path: self.path.clone(), source: Arc::new(source) }
    }
}

/// Who the file is, which is made up when it is new, and how often it was opened with this time.
fn about(setup: &WriteTransaction) -> Result<(u64, u64), redb::Error> {
    let mut about = setup.open_table(ABOUT)?;
    let identity = about.get("identity")?.map_or_else(rand::random, |found| found.value());
    about.insert("identity", identity)?;
    let run = about.get("runs")?.map_or(0, |found| found.value()) + 1;
    about.insert("runs", run)?;
    Ok((identity, run))
}

/// Notes that the records of a kind take more (or less).
pub(super) fn resize(write: &WriteTransaction, kind: &str, change: i64) -> Result<(), redb::Error> {
    if change == 0 {
        return Ok(());
    }
    let mut sizes = write.open_table(SIZES)?;
    let before = sizes.get(kind)?.map_or(0, |size| size.value());
    sizes.insert(kind, before.saturating_add_signed(change))?;
    Ok(())
}

/// Bytes that the records of a kind take.
pub(super) fn size(read: &ReadTransaction, kind: &str) -> Result<u64, redb::Error> {
    Ok(read.open_table(SIZES)?.get(kind)?.map_or(0, |size| size.value()))
}
