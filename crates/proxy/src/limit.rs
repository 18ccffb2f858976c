//! A limit on lines of a kind in the log, so that whoever is refused cannot fill the disk.
//!
//! One worker's, and so without a lock. What is left out is counted and told with the next line.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Under which name such lines are written, so that they can be had without everything else.
pub(crate) const TARGET: &str = "policy";

/// Lines in one period.
const LINES: u32 = 10;
/// A period.
const PERIOD: Duration = Duration::from_secs(1);

/// How many lines may still be written.
#[derive(Debug, Default)]
pub(crate) struct Limit {
    began: Cell<Option<Instant>>,
    written: Cell<u32>,
    left_out: Cell<u64>,
}

impl Limit {
    /// `Some`: write it, with how many were left out before; `None`: leave it out.
    pub(crate) fn take(&self, now: Instant) -> Option<u64> {
        let current = self.began.get().filter(|began| now.saturating_duration_since(*began) < PERIOD);
        if current.is_none() {
            self.began.set(Some(now));
            self.written.set(0);
        }
        if self.written.get() < LINES {
            self.written.set(self.written.get() + 1);
            return Some(self.left_out.take());
        }
        self.left_out.set(self.left_out.get() + 1);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_in_a_period_and_the_rest_is_counted() {
        let (limit, start) = (Limit::default(), Instant::now());
        let written = (0..25).filter(|_| limit.take(start) == Some(0)).count();
        assert_eq!(written, 10);
        assert_eq!(limit.take(start + PERIOD / 2), None);
        assert_eq!(limit.take(start + PERIOD), Some(16));
        assert_eq!(limit.take(start + PERIOD), Some(0));
    }
}
