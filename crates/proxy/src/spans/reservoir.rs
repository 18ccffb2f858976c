//! How many traces a proxy begins of its own accord.
//!
//! Where every request is worth a trace, a load test would leave nothing but spans: so many traces begin in a second, with as many at once
//! as in ten quiet ones; the requests beyond are not traced, here or further on, and counted. What a caller or a client has
//! decided is not limited. Without the setting nothing is: `randomSamplingPercentage` alone says what is traced, as in Istio.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Seconds whose traces may all begin at once.
const BURST: u64 = 10;

/// Traces that may still begin.
#[derive(Debug)]
pub(crate) struct Reservoir {
    /// Between two traces; `None`: there is no limit.
    apart: Option<u64>,
    start: Instant,
    /// Nanoseconds after the start at which it would be full again: the "theoretical arrival time" of the generic cell rate algorithm.
    full: AtomicU64,
}

impl Reservoir {
    /// `rate`: traces a second; `None`: as many as there are.
    pub(crate) fn new(rate: Option<u32>, start: Instant) -> Self {
        let apart = rate.map(|rate| 1_000_000_000 / u64::from(rate.max(1)));
        Self { apart, start, full: AtomicU64::new(0) }
    }

    /// Takes one trace; `false`: there is none left now.
    pub(crate) fn take(&self, now: Instant) -> bool {
        let Some(apart) = self.apart else { return true };
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        let now = nanos(now.saturating_duration_since(self.start));
        let burst = nanos(Duration::from_secs(BURST));
        self.full
            .fetch_update(Relaxed, Relaxed, |full| {
                let next = full.max(now).saturating_add(apart);
                (next - now <= burst).then_some(next)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_traces_begin_and_no_more() {
        let start = Instant::now();
        let reservoir = Reservoir::new(Some(100), start);
        let taken = |at: Instant| (0..5000).filter(|_| reservoir.take(at)).count();
        assert_eq!(taken(start), 1000, "ten seconds' worth at once");
        assert_eq!(taken(start + Duration::from_millis(9)), 0);
        assert_eq!(taken(start + Duration::from_secs(1)), 100);
        assert_eq!(taken(start + Duration::from_hours(1)), 1000, "more than that is not saved");
        let endless = Reservoir::new(None, start);
        assert!((0..5000).all(|_| endless.take(start)));
    }
}
