//! What one query may cost. A query comes from whoever can reach the console: each bound is constant or given by the caller, and
//! exceeding it is an error that says what was too much and what to do.

use std::cell::Cell;

use crate::error::{Error, Limit};

/// Bytes of a query's text.
pub const MAX_QUERY_BYTES: usize = 64 * 1024;
/// Levels of nesting, of parentheses as of operators: what recursion may use.
pub const MAX_DEPTH: u32 = 100;
/// Steps of a range query, and of a subquery.
pub const MAX_STEPS: usize = 11_000;
/// Bytes that a compiled regular expression may take.
pub const MAX_REGEX_BYTES: usize = 1 << 20;
/// Bytes of a label's value that a query makes: `label_replace` within `label_replace` could make it grow without end.
pub const MAX_LABEL_BYTES: usize = 64 * 1024;

/// Annotations of one answer; of what is more, only the number is told.
pub const MAX_ANNOTATIONS: usize = 100;
/// What an annotation costs, in samples: its text is made each time.
pub(crate) const ANNOTATION: u64 = 100;

/// What the caller decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Samples that are held at once: read from one series, or results of parts of the query.
    pub samples: usize,
    /// Samples that are looked at in all, however often: what evaluation costs, counted instead of timed.
    pub work: u64,
    /// Series that one selector finds.
    pub series: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { samples: 20_000_000, work: 2_000_000_000, series: 200_000 }
    }
}

/// What is left of a query's limits.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    worked: Cell<u64>,
    held: Cell<usize>,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, worked: Cell::new(0), held: Cell::new(0) }
    }

    /// Before looking at so many samples.
    pub(crate) fn work(&self, samples: usize) -> Result<(), Error> {
        let worked = self.worked.get().saturating_add(samples as u64);
        self.worked.set(worked);
        if worked > self.limits.work { Err(Error::Limit(Limit::Work(self.limits.work))) } else { Ok(()) }
    }

    /// For what costs as much as looking at so many samples, and is noticed with the next that are looked at.
    pub(crate) fn charge(&self, samples: u64) {
        self.worked.set(self.worked.get().saturating_add(samples));
    }

    /// Before making a result of so many values.
    pub(crate) fn hold(&self, values: usize) -> Result<(), Error> {
        let held = self.held.get().saturating_add(values);
        self.held.set(held);
        self.check(0)?;
        self.work(values)
    }

    /// Whether a result of so many values could be made.
    pub(crate) fn check(&self, values: usize) -> Result<(), Error> {
        let held = self.held.get().saturating_add(values);
        if held > self.limits.samples { Err(Error::Limit(Limit::Samples(self.limits.samples))) } else { Ok(()) }
    }

    /// What is held now.
    pub(crate) fn held(&self) -> usize {
        self.held.get()
    }

    /// Lets go of everything that was made since so much was held.
    pub(crate) fn reset(&self, held: usize) {
        self.held.set(held);
    }

    /// Whether a selector may find so many series.
    pub(crate) fn series(&self, found: usize) -> Result<(), Error> {
        if found > self.limits.series { Err(Error::Limit(Limit::Series(self.limits.series))) } else { Ok(()) }
    }
}
