//! What is new among the lines, for who reads on.
//!
//! Lines come in the order of their times in each container, but not across containers: who reads on remembers how far each was read.

use std::collections::HashMap;
use std::sync::PoisonError;

use super::{Key, Line, Logs, Source, Wanted, newest};
use crate::store::Error;

/// Lines that are left out are counted up to this number.
const COUNTED: usize = 100_000;

/// How far somebody has read.
#[derive(Debug, Clone)]
pub struct Place {
    /// From this time on, in microseconds, of containers of which nothing was read.
    since: u64,
    /// Of the newest line that was read, by the number of the container.
    read: HashMap<u32, Key>,
}

impl Place {
    /// Before the first line that is newer than a time in microseconds.
    pub fn after(time: u64) -> Self {
        Self { since: time.saturating_add(1), read: HashMap::new() }
    }

    fn rest(&self, of: u32) -> Key {
        match self.read.get(&of) {
            None => (self.since, 0),
            Some(&(at, number)) => number.checked_add(1).map_or((at.saturating_add(1), 0), |number| (at, number)),
        }
    }
}

/// Lines after a place.
#[derive(Debug)]
pub struct News {
    /// The newest, by time.
    pub lines: Vec<Line>,
    /// How many before these are left out; a hundred thousand is that many or more.
    pub left_out: usize,
}

impl Logs {
    /// After the newest line of every container; of a container that comes later, before the first line newer than a time in microseconds.
    pub fn end(&self, time: u64) -> Place {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        Place { read: sources.last.clone(), ..Place::after(time) }
    }

    /// What came after a place, which then is after that: the newest `limit` lines.
    ///
    /// # Errors
    /// The file cannot be read; the place is where it was.
    pub fn news(&self, wanted: impl Fn(&Source) -> bool, place: &mut Place, limit: usize) -> Result<News, Error> {
        let wanted: HashMap<u32, Wanted> = {
            let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
            let grown = |number: &u32| sources.last.get(number).is_some_and(|last| *last >= place.rest(*number));
            let grown = sources.by_name.iter().filter(|(source, number)| grown(number) && wanted(source));
            let all = grown.map(|(source, number)| {
                (*number, Wanted { source: source.clone(), keys: place.rest(*number)..=(u64::MAX, u32::MAX) })
            });
            all.collect()
        };
        if wanted.is_empty() {
            return Ok(News { lines: Vec::new(), left_out: 0 });
        }
        let (found, more) = self.find(&wanted, limit, COUNTED)?;
        for ((of, key), _) in &found {
            let read = place.read.entry(*of).or_insert(*key);
            *read = (*read).max(*key);
        }
        let left_out = (found.len().saturating_sub(limit) + more).min(COUNTED);
        Ok(News { lines: newest(found, limit, &wanted).collect(), left_out })
    }
}

#[cfg(test)]
mod tests;
