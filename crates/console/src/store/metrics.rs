//! Samples of series: an index in memory, the newest chunk of each series in memory, older ones in the file.
//!
//! Of samples that repeat a value, the first and the last are kept, and one every [`HEARTBEAT`]: to PromQL it is as if it had been
//! scraped less often in between, and idle series cost next to nothing. Samples of one series come in order; what is older than the last is dropped.

mod chunk;
mod index;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use redb::{ReadableTable as _, WriteTransaction};

use super::disk::{self, CHUNKS, Disk, SERIES};
use super::{Error, Millis};
use chunk::Chunk;
use index::Index;
pub use varka_promql::Labels;

pub use varka_promql::storage::STALE;
/// An unchanged value is kept again after so many milliseconds.
pub const HEARTBEAT: Millis = 15_000;
/// A chunk is closed at so many samples,
const CHUNK_SAMPLES: u32 = 240;
/// or when it is so long.
const CHUNK_SPAN: Millis = 3_600_000;
/// More series than these are not taken in.
const MAX_SERIES: usize = 1_000_000;
const KIND: &str = "metrics";
/// What a record takes besides its value.
const OVERHEAD: i64 = 24;

/// A value at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When.
    pub at: Millis,
    /// [`STALE`]: the series ended.
    pub value: f64,
}

/// One series.
#[derive(Debug)]
pub struct Series {
    id: u64,
    labels: Labels,
    histogram: Option<Part>,
    /// It was in the file when this program began.
    read: bool,
    recent: Mutex<Recent>,
}

/// Which part of a classic histogram a series is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// The same for all series of one histogram, in this run of the program.
    pub of: usize,
    /// What it tells of it.
    pub tells: Tells,
}

/// What a series of a histogram counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tells {
    /// What is not above this bound.
    Bucket(f64),
    /// The sum of all values.
    Sum,
    /// All values.
    Count,
}

/// What is not, or not finally, in the file.
#[derive(Debug, Default)]
struct Recent {
    closed: Vec<Chunk>,
    open: Chunk,
    last: Option<Sample>,
    /// When that was repeated last, without being kept yet.
    repeated: Option<Millis>,
    /// When it took another value than before.
    changed: Option<Millis>,
    dirty: bool,
    /// Chunks are in the file alone.
    left: bool,
}

/// What is being written.
#[derive(Debug, Default)]
struct InFlight {
    /// So many new series.
    new: usize,
    /// So many closed chunks of these.
    closed: Vec<(Arc<Series>, usize)>,
}

/// Samples of every series.
#[derive(Debug)]
pub struct Metrics {
    disk: Arc<Disk>,
    index: RwLock<Index>,
    dirty: Mutex<Vec<Arc<Series>>>,
    in_flight: Mutex<InFlight>,
    taken: AtomicU64,
    dropped: AtomicU64,
    expired: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metrics {
    pub(super) fn open(disk: Arc<Disk>) -> Result<Self, Error> {
        let index = disk.read(|read| {
            let mut index = Index::default();
            for row in read.open_table(SERIES)?.iter()? {
                let (id, labels) = row?;
                if let Some(labels) = index::from_bytes(labels.value()) {
                    index.insert(id.value(), labels, true);
                }
            }
            Ok(index)
        })?;
        Ok(Self {
            disk,
            index: RwLock::new(index),
            dirty: Mutex::default(),
            in_flight: Mutex::default(),
            taken: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            expired: AtomicU64::new(0),
        })
    }

    /// The series with these labels, made where there is none; `None`: there are too many.
    pub fn series(&self, labels: &Labels) -> Option<Arc<Series>> {
        if let Some(found) = self.index.read().unwrap_or_else(PoisonError::into_inner).get(labels) {
            return Some(Arc::clone(found));
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = index.get(labels) {
            return Some(Arc::clone(found));
        }
        if index.len() >= MAX_SERIES {
            self.dropped.fetch_add(1, Relaxed);
            return None;
        }
        let id = index.next();
        Some(index.insert(id, labels.clone(), false))
    }

    /// Takes a sample. What is not newer than the series' last is dropped.
    pub fn append(&self, series: &Arc<Series>, sample: Sample) {
        let mut recent = lock(&series.recent);
        if let Some(last) = recent.last {
            if sample.at <= recent.repeated.unwrap_or(last.at) || sample.at < 0 {
                self.dropped.fetch_add(1, Relaxed);
                return;
            }
            let repeats = sample.value.to_bits() == last.value.to_bits();
            if repeats && sample.at - last.at < HEARTBEAT {
                recent.repeated = Some(sample.at);
                return;
            }
            let until = recent.repeated.take().filter(|_| !repeats);
            if let Some(at) = until {
                recent.push(Sample { at, ..last });
            }
            if !repeats {
                recent.changed = Some(sample.at);
            }
        }
        recent.push(sample);
        if !std::mem::replace(&mut recent.dirty, true) {
            lock(&self.dirty).push(Arc::clone(series));
        }
        self.taken.fetch_add(1, Relaxed);
    }

    /// The series that have all these labels and that `keep` keeps, in no order.
    pub fn select(&self, equal: &[(&str, &str)], keep: impl Fn(&Labels) -> bool) -> Vec<Arc<Series>> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.candidates(equal).filter(|series| keep(&series.labels)).cloned().collect()
    }

    /// A series' samples from `start` to `end`, both inclusive, in order.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn samples(&self, series: &Series, start: Millis, end: Millis) -> Result<Vec<Sample>, Error> {
        // What is in memory first: what is closed meanwhile is then in both, and known by its beginning.
        let (recent, repeated): (Vec<Chunk>, _) = {
            let recent = lock(&series.recent);
            let repeated = recent.repetition();
            let open = Some(&recent.open).filter(|open| open.count() > 0);
            let all = recent.closed.iter().chain(open);
            (all.filter(|chunk| chunk.first() <= end && chunk.last() >= start).cloned().collect(), repeated)
        };
        let in_memory = recent.first().map_or(i64::MAX, Chunk::first);
        let mut packed = Vec::new();
        // What is in memory may be all that is asked for.
        if in_memory > start {
            self.disk.read(|read| {
                let chunks = read.open_table(CHUNKS)?;
                let until = end.min(in_memory.saturating_sub(1));
                for row in chunks.range((series.id, 0)..=(series.id, key(until)))?.rev() {
                    let (found, bytes) = row?;
                    let first = found.value().1.cast_signed();
                    packed.push((first, bytes.value().to_vec()));
                    if first <= start {
                        break;
                    }
                }
                Ok(())
            })?;
        }
        let old = packed.iter().rev().flat_map(|(first, bytes)| chunk::read(*first, bytes));
        let samples = old.chain(recent.iter().flat_map(Chunk::samples)).chain(repeated);
        Ok(samples.filter(|sample| (start..=end).contains(&sample.at)).collect())
    }

    /// How much a counter grew from `start` (exclusive) to `end` (inclusive), across its restarts; `None`: it had no sample since
    /// `from`, which lies before `start`. The first sample, where there is none before `start`, is where it grows from.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn growth(&self, series: &Series, from: Millis, start: Millis, end: Millis) -> Result<Option<f64>, Error> {
        if let Some(known) = lock(&series.recent).growth(!series.read, from, start, end) {
            return Ok(known);
        }
        Ok(growth(self.samples(series, from, end)?.into_iter(), start))
    }

    /// Every name of a label, or every value of one.
    pub fn label_values(&self, name: Option<&str>) -> Vec<Arc<str>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).values(name)
    }

    /// Writes what is not written; [`settle`](Self::settle) follows.
    pub(super) fn flush(&self, write: &WriteTransaction) -> Result<(), redb::Error> {
        let dirty = std::mem::take(&mut *lock(&self.dirty));
        let mut in_flight = lock(&self.in_flight);
        in_flight.closed = dirty.into_iter().map(|series| (series, 0)).collect();
        let new = self.index.read().unwrap_or_else(PoisonError::into_inner).unwritten().to_vec();
        in_flight.new = new.len();
        let mut change = 0;
        let mut names = write.open_table(SERIES)?;
        for series in &new {
            let bytes = index::to_bytes(&series.labels);
            change += length(&bytes);
            names.insert(series.id, bytes.as_slice())?;
        }
        drop(names);
        let mut table = write.open_table(CHUNKS)?;
        for (series, count) in &mut in_flight.closed {
            let mut recent = lock(&series.recent);
            recent.dirty = false;
            *count = recent.closed.len();
            for chunk in recent.closed.iter().chain([&recent.open]).filter(|chunk| chunk.count() > 0) {
                let before = table.insert((series.id, key(chunk.first())), chunk.bytes())?;
                change += length(chunk.bytes()) - before.map_or(0, |bytes| length(bytes.value()));
            }
        }
        drop(table);
        disk::resize(write, KIND, change)
    }

    /// What [`flush`](Self::flush) wrote is in the file, or is not.
    pub(super) fn settle(&self, written: bool) {
        let done = std::mem::take(&mut *lock(&self.in_flight));
        if written {
            self.index.write().unwrap_or_else(PoisonError::into_inner).written(done.new);
            for (series, count) in done.closed {
                let mut recent = lock(&series.recent);
                recent.closed.drain(..count);
                recent.left |= count > 0;
            }
            return;
        }
        for (series, _) in done.closed {
            if !std::mem::replace(&mut lock(&series.recent).dirty, true) {
                lock(&self.dirty).push(series);
            }
        }
    }

    /// Throws away chunks that ended before `before` (where the next began, or [`CHUNK_SPAN`] after their own beginning), and
    /// series without any.
    pub(super) fn expire(&self, write: &WriteTransaction, before: Millis) -> Result<(), redb::Error> {
        let all = self.select(&[], |_| true);
        let mut chunks = write.open_table(CHUNKS)?;
        let mut names = write.open_table(SERIES)?;
        let (mut change, mut count, mut gone) = (0, 0, Vec::new());
        for series in all {
            let mut old: Vec<u64> = Vec::new();
            for row in chunks.range((series.id, 0)..=(series.id, key(before)))? {
                old.push(row?.0.value().1);
            }
            // The last of them may have samples that are newer.
            if old.last().is_some_and(|start| *start > key(before.saturating_sub(CHUNK_SPAN))) {
                old.pop();
            }
            for start in old {
                if let Some(bytes) = chunks.remove((series.id, start))? {
                    change -= length(bytes.value());
                    count += 1;
                }
            }
            // A new one that has no sample yet is about to have one.
            let quiet = lock(&series.recent).last.map_or(series.read, |last| last.at < before);
            if quiet && chunks.range((series.id, 0)..=(series.id, u64::MAX))?.next().is_none() {
                change -= names.remove(series.id)?.map_or(0, |bytes| length(bytes.value()));
                gone.push(series);
            }
        }
        drop((chunks, names));
        if !gone.is_empty() {
            self.index.write().unwrap_or_else(PoisonError::into_inner).remove(&gone);
        }
        self.expired.fetch_add(count, Relaxed);
        disk::resize(write, KIND, change)
    }

    /// Bytes in the file, and when the oldest chunk begins.
    pub(super) fn extent(&self) -> Result<(u64, Option<Millis>), Error> {
        let all = self.select(&[], |_| true);
        self.disk.read(|read| {
            let chunks = read.open_table(CHUNKS)?;
            let mut oldest: Option<u64> = None;
            for series in all {
                if let Some(row) = chunks.range((series.id, 0)..=(series.id, u64::MAX))?.next() {
                    let start = row?.0.value().1;
                    oldest = Some(oldest.map_or(start, |oldest| oldest.min(start)));
                }
            }
            Ok((disk::size(read, KIND)?, oldest.map(u64::cast_signed)))
        })
    }

    pub(super) fn counts(&self) -> super::keeper::Count {
        super::keeper::Count {
            taken: self.taken.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            expired: self.expired.load(Relaxed),
        }
    }
}

impl Recent {
    fn repetition(&self) -> Option<Sample> {
        self.repeated.zip(self.last).map(|(at, last)| Sample { at, ..last })
    }

    fn push(&mut self, sample: Sample) {
        let (count, first) = (self.open.count(), self.open.first());
        if count >= CHUNK_SAMPLES || count > 0 && sample.at - first >= CHUNK_SPAN {
            self.closed.push(std::mem::take(&mut self.open));
        }
        self.open.push(sample);
        self.last = Some(sample);
    }

    /// See [`Metrics::growth`]; `None`: what is in memory does not say.
    fn growth(&self, is_new: bool, from: Millis, start: Millis, end: Millis) -> Option<Option<f64>> {
        let last = self.last?;
        let oldest = self.closed.first().unwrap_or(&self.open).first();
        // Most series rest: the newest value is then the one before the window.
        if last.at <= end && self.changed.unwrap_or(oldest) <= start {
            let seen = last.at >= from || self.repeated.is_some_and(|at| (from..=end).contains(&at));
            return Some(seen.then_some(0.0));
        }
        let open = self
            .open
            .samples()
            .chain(self.repetition())
            .take_while(|sample| sample.at <= end)
            .skip_while(|sample| sample.at < from);
        if self.open.count() > 0 && self.open.first() <= start {
            return Some(growth(open, start));
        }
        // The file has nothing of a series that has always been in memory.
        (is_new && !self.left).then(|| {
            let closed = self.closed.iter().flat_map(Chunk::samples).filter(|s| (from..=end).contains(&s.at));
            growth(closed.chain(open), start)
        })
    }
}

impl Series {
    /// Its name and labels.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Which part of which histogram it is, if it is one.
    pub fn histogram(&self) -> Option<Part> {
        self.histogram
    }

    /// When it last took another value, since the start of this process.
    pub fn changed(&self) -> Option<Millis> {
        lock(&self.recent).changed
    }

    /// Its last sample since the start of this process.
    pub fn last(&self) -> Option<Sample> {
        lock(&self.recent).last
    }
}

/// See [`Metrics::growth`].
pub(crate) fn growth(samples: impl Iterator<Item = Sample>, start: Millis) -> Option<f64> {
    let mut last: Option<f64> = None;
    let mut sum = None;
    for sample in samples {
        sum.get_or_insert(0.0);
        if sample.value.to_bits() == STALE.to_bits() {
            continue;
        }
        if let (Some(sum), Some(last)) = (&mut sum, last.filter(|_| sample.at > start)) {
            // A counter that is smaller than before began anew from zero.
            *sum += if sample.value >= last { sample.value - last } else { sample.value };
        }
        last = Some(sample.value);
    }
    sum
}

fn key(at: Millis) -> u64 {
    at.max(0).cast_unsigned()
}

fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX / 2) + OVERHEAD
}

#[cfg(test)]
mod tests;
