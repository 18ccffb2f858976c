//! Log lines of containers, by pod and time.

mod news;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use redb::{ReadableTable as _, WriteTransaction};

use super::disk::{self, Disk, LINES, SOURCES};
use super::{Error, Millis};
pub use news::{News, Place};

/// So many lines wait to be written; more are dropped.
const QUEUE: usize = 65_536;
/// A line is cut here.
const LONGEST: usize = 16 << 10;
const MAX_SOURCES: usize = 20_000;
const KIND: &str = "lines";
const OVERHEAD: i64 = 24;

/// Time of a line in microseconds, and its number among the lines of that time: grows with every line of a container.
type Key = (u64, u32);

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// Of the pod.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Of the container.
    pub container: String,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Microseconds since 1970.
    pub at: u64,
    /// Whose.
    pub source: Source,
    /// Without its end.
    pub text: String,
}

#[derive(Debug, Clone)]
struct Waiting {
    source: u32,
    at: u64,
    number: u32,
    text: String,
}

/// A container, and which of its lines are wanted.
#[derive(Debug)]
struct Wanted {
    source: Source,
    keys: RangeInclusive<Key>,
}

#[derive(Debug, Default)]
struct Sources {
    by_name: HashMap<Source, u32>,
    /// Of the newest line of each.
    last: HashMap<u32, Key>,
    new: Vec<(u32, Source)>,
    next: u32,
}

/// Every line.
#[derive(Debug)]
pub struct Logs {
    disk: Arc<Disk>,
    sources: RwLock<Sources>,
    waiting: Mutex<Vec<Waiting>>,
    in_flight: Mutex<Vec<Waiting>>,
    taken: AtomicU64,
    dropped: AtomicU64,
    expired: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Logs {
    pub(super) fn open(disk: Arc<Disk>) -> Result<Self, Error> {
        let sources = disk.read(|read| {
            let (table, lines) = (read.open_table(SOURCES)?, read.open_table(LINES)?);
            let mut sources = Sources::default();
            for row in table.iter()? {
                let (number, name) = row?;
                let number = number.value();
                let mut parts = name.value().splitn(3, '\0').map(str::to_owned);
                if let (Some(namespace), Some(pod), Some(container)) = (parts.next(), parts.next(), parts.next()) {
                    sources.by_name.insert(Source { namespace, pod, container }, number);
                    sources.next = sources.next.max(number + 1);
                }
                if let Some(row) = lines.range((number, 0, 0)..=(number, u64::MAX, u32::MAX))?.next_back() {
                    let (_, at, index) = row?.0.value();
                    sources.last.insert(number, (at, index));
                }
            }
            Ok(sources)
        })?;
        Ok(Self {
            disk,
            sources: RwLock::new(sources),
            waiting: Mutex::default(),
            in_flight: Mutex::default(),
            taken: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            expired: AtomicU64::new(0),
        })
    }

    /// Takes a line; `false`: it was dropped.
    pub fn append(&self, line: Line) -> bool {
        let taken = self.take(line);
        let counter = if taken { &self.taken } else { &self.dropped };
        counter.fetch_add(1, Relaxed);
        taken
    }

    fn take(&self, Line { at, source, mut text }: Line) -> bool {
        if text.len() > LONGEST {
            text.truncate(text.floor_char_boundary(LONGEST));
        }
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        let Some(source) = sources.number(source) else { return false };
        let last = sources.last.entry(source).or_insert((at, 0));
        *last = if at > last.0 { (at, 0) } else { (last.0, last.1 + 1) };
        let (at, number) = *last;
        drop(sources);
        let mut waiting = lock(&self.waiting);
        let room = waiting.len() < QUEUE;
        if room {
            waiting.push(Waiting { source, at, number, text });
        }
        room
    }

    /// When the newest line of a container was written, in microseconds.
    pub fn newest(&self, source: &Source) -> Option<u64> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        let number = sources.by_name.get(source)?;
        sources.last.get(number).map(|(at, _)| *at)
    }

    /// The containers of which there are lines.
    pub fn sources(&self) -> Vec<Source> {
        self.sources.read().unwrap_or_else(PoisonError::into_inner).by_name.keys().cloned().collect()
    }

    /// The newest `limit` lines from `start` to `end` (microseconds, both inclusive) of every container that `wanted` wants,
    /// by time.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn lines(
        &self,
        wanted: impl Fn(&Source) -> bool,
        start: u64,
        end: u64,
        limit: usize,
    ) -> Result<Vec<Line>, Error> {
        let range = || (start, 0)..=(end, u32::MAX);
        let wanted: HashMap<u32, Wanted> = {
            let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
            let wanted = sources.by_name.iter().filter(|(source, _)| wanted(source));
            wanted.map(|(source, number)| (*number, Wanted { source: source.clone(), keys: range() })).collect()
        };
        let (found, _) = self.find(&wanted, limit, 0)?;
        Ok(newest(found, limit, &wanted).collect())
    }

    /// What is wanted, by time: the newest `limit` and, of what is not written yet, all. Then how many more there are; so many of them
    /// are counted at most.
    fn find(
        &self,
        wanted: &HashMap<u32, Wanted>,
        limit: usize,
        counted: usize,
    ) -> Result<(Vec<((u32, Key), String)>, usize), Error> {
        let mut found: HashMap<(u32, Key), String> = HashMap::new();
        let unwritten: Vec<Waiting> = {
            let waiting = lock(&self.waiting).clone();
            waiting.into_iter().chain(lock(&self.in_flight).iter().cloned()).collect()
        };
        for line in unwritten {
            if wanted.get(&line.source).is_some_and(|of| of.keys.contains(&(line.at, line.number))) {
                found.insert((line.source, (line.at, line.number)), line.text);
            }
        }
        let mut more = 0;
        self.disk.read(|read| {
            let lines = read.open_table(LINES)?;
            for (number, of) in wanted {
                let ((at, first), (end, last)) = (*of.keys.start(), *of.keys.end());
                let rows = lines.range((*number, at, first)..=(*number, end, last))?.rev();
                for (nth, row) in rows.take(limit.saturating_add(counted - more)).enumerate() {
                    let (key, text) = row?;
                    let (_, at, index) = key.value();
                    let key = (*number, (at, index));
                    if nth < limit {
                        found.insert(key, text.value().to_owned());
                    } else if !found.contains_key(&key) {
                        more += 1;
                    }
                }
            }
            Ok(())
        })?;
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_by_key(|((source, (at, number)), _)| (*at, *source, *number));
        Ok((found, more))
    }

    /// Writes what waits; [`settle`](Self::settle) follows.
    pub(super) fn flush(&self, write: &WriteTransaction) -> Result<(), redb::Error> {
        let batch = {
            let mut in_flight = lock(&self.in_flight);
            let mut waiting = lock(&self.waiting);
            in_flight.append(&mut waiting);
            in_flight.clone()
        };
        let mut table = write.open_table(SOURCES)?;
        for (number, source) in &self.sources.read().unwrap_or_else(PoisonError::into_inner).new {
            let Source { namespace, pod, container } = source;
            table.insert(number, format!("{namespace}\0{pod}\0{container}").as_str())?;
        }
        drop(table);
        let mut lines = write.open_table(LINES)?;
        let mut change = 0;
        for line in &batch {
            lines.insert((line.source, line.at, line.number), line.text.as_str())?;
            change += length(&line.text);
        }
        drop(lines);
        disk::resize(write, KIND, change)
    }

    /// What [`flush`](Self::flush) wrote is in the file, or is not and is lost when the queue is full.
    pub(super) fn settle(&self, written: bool) {
        let mut in_flight = lock(&self.in_flight);
        if written {
            in_flight.clear();
            self.sources.write().unwrap_or_else(PoisonError::into_inner).new.clear();
        } else if in_flight.len() > QUEUE {
            self.dropped.fetch_add(u64::try_from(in_flight.len()).unwrap_or(u64::MAX), Relaxed);
            in_flight.clear();
        }
    }

    /// Throws away lines older than `before`, and containers without any.
    pub(super) fn expire(&self, write: &WriteTransaction, before: Millis) -> Result<(), redb::Error> {
        let before = before.max(0).cast_unsigned().saturating_mul(1000);
        let mut lines = write.open_table(LINES)?;
        let mut names = write.open_table(SOURCES)?;
        let (mut change, mut count) = (0, 0);
        let all: Vec<(Source, u32)> = {
            let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
            sources.by_name.iter().map(|(source, number)| (source.clone(), *number)).collect()
        };
        for (source, number) in all {
            for row in lines.extract_from_if((number, 0, 0)..(number, before, 0), |_, _| true)? {
                change -= length(row?.1.value());
                count += 1;
            }
            let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
            if sources.last.get(&number).is_none_or(|(at, _)| *at < before) {
                names.remove(number)?;
                sources.by_name.remove(&source);
                sources.last.remove(&number);
            }
        }
        drop((lines, names));
        self.expired.fetch_add(count, Relaxed);
        disk::resize(write, KIND, change)
    }

    /// Bytes in the file, and when the oldest line was written.
    pub(super) fn extent(&self) -> Result<(u64, Option<Millis>), Error> {
        let numbers: Vec<u32> =
            self.sources.read().unwrap_or_else(PoisonError::into_inner).by_name.values().copied().collect();
        self.disk.read(|read| {
            let lines = read.open_table(LINES)?;
            let mut oldest: Option<u64> = None;
            for number in numbers {
                if let Some(row) = lines.range((number, 0, 0)..=(number, u64::MAX, u32::MAX))?.next() {
                    let at = row?.0.value().1 / 1000;
                    oldest = Some(oldest.map_or(at, |oldest| oldest.min(at)));
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

impl Sources {
    fn number(&mut self, source: Source) -> Option<u32> {
        if let Some(number) = self.by_name.get(&source) {
            return Some(*number);
        }
        if self.by_name.len() >= MAX_SOURCES {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.new.push((number, source.clone()));
        self.by_name.insert(source, number);
        Some(number)
    }
}

/// The newest `limit` of what was found.
fn newest(
    mut found: Vec<((u32, Key), String)>,
    limit: usize,
    wanted: &HashMap<u32, Wanted>,
) -> impl Iterator<Item = Line> {
    let lines = found.split_off(found.len().saturating_sub(limit));
    lines.into_iter().filter_map(|((of, (at, _)), text)| {
        let source = wanted.get(&of)?.source.clone();
        Some(Line { at, source, text })
    })
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX / 2) + OVERHEAD
}

#[cfg(test)]
mod tests;
