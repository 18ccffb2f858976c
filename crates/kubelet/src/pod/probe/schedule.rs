//! When to ask and what the answers mean. Pure: time comes in as a value.
//!
//! Until the first success it is asked quickly, so that Ready follows the application at once; failures still count once per period, so that the
//! thresholds mean what they mean on Kubernetes.

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;

/// The pauses before the first success; the last one goes on.
const QUICK: [Duration; 6] = [
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
];

/// What the answers so far amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Enough successes in a row.
    Success,
    /// Enough counted failures in a row.
    Failure,
    /// A counted failure, but not enough of them.
    Failing,
    /// Nothing to report.
    Undecided,
}

/// The state of one probe.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    period: Duration,
    initial: Duration,
    success_threshold: u32,
    failure_threshold: u32,
    /// Probes that run a program are asked less eagerly.
    quick: bool,
    succeeded: bool,
    attempts: usize,
    successes: u32,
    failures: u32,
    /// When the last failure was counted, since the container's start.
    counted: Option<Duration>,
}

impl Schedule {
    pub(crate) fn new(probe: &Probe, quick: bool) -> Self {
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(value.and_then(|v| u64::try_from(v).ok()).unwrap_or(default))
        };
        let count = |value: Option<i32>, default: u32| {
            value.and_then(|v| u32::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default)
        };
        Self {
            period: seconds(probe.period_seconds, 10).max(Duration::from_secs(1)),
            initial: seconds(probe.initial_delay_seconds, 0),
            success_threshold: count(probe.success_threshold, 1),
            failure_threshold: count(probe.failure_threshold, 3),
            quick,
            succeeded: false,
            attempts: 0,
            successes: 0,
            failures: 0,
            counted: None,
        }
    }

    /// How long to wait before asking (again).
    pub(crate) fn pause(&self) -> Duration {
        match self.attempts {
            0 => self.initial,
            _ if self.succeeded || !self.quick => self.period,
            n => QUICK.get(n - 1).or(QUICK.last()).copied().unwrap_or(self.period).min(self.period),
        }
    }

    /// Takes an answer that came `now` after the container's start.
    pub(crate) fn answer(&mut self, success: bool, now: Duration) -> Verdict {
        self.attempts = self.attempts.saturating_add(1);
        if success {
            self.succeeded = true;
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            return if self.successes >= self.success_threshold { Verdict::Success } else { Verdict::Undecided };
        }
        self.successes = 0;
        // Before the first success a failure counts once per period, the first one at the end of its period.
        let since = self.counted.unwrap_or(self.initial);
        if self.quick && !self.succeeded && now.saturating_sub(since) < self.period {
            return Verdict::Undecided;
        }
        self.counted = Some(now);
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.failure_threshold { Verdict::Failure } else { Verdict::Failing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(period: i32, failures: i32, successes: i32) -> Probe {
        Probe {
            period_seconds: Some(period),
            failure_threshold: Some(failures),
            success_threshold: Some(successes),
            ..Probe::default()
        }
    }

    #[test]
    fn it_asks_at_once_then_quickly_then_by_period() {
        let mut schedule = Schedule::new(&probe(5, 3, 1), true);
        assert_eq!(schedule.pause(), Duration::ZERO);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            schedule.answer(false, Duration::ZERO);
            pauses.push(schedule.pause().as_millis());
        }
        assert_eq!(pauses, [10, 20, 50, 50, 100, 200, 200, 200]);
        assert_eq!(schedule.answer(true, Duration::from_millis(700)), Verdict::Success);
        assert_eq!(schedule.pause(), Duration::from_secs(5));
    }

    #[test]
    fn quick_failures_count_once_per_period() {
        let mut schedule = Schedule::new(&probe(1, 2, 1), true);
        let verdicts: Vec<Verdict> = (0..=20).map(|n| schedule.answer(false, Duration::from_millis(n * 100))).collect();
        assert_eq!(verdicts.iter().filter(|v| **v == Verdict::Failing).count(), 1);
        assert_eq!((verdicts[10], verdicts[20]), (Verdict::Failing, Verdict::Failure));
    }

    #[test]
    fn after_a_success_every_failure_counts() {
        let mut schedule = Schedule::new(&probe(10, 2, 2), true);
        let at = Duration::from_secs;
        assert_eq!(schedule.answer(true, at(1)), Verdict::Undecided);
        assert_eq!(schedule.answer(true, at(11)), Verdict::Success);
        assert_eq!(schedule.answer(false, at(21)), Verdict::Failing);
        assert_eq!(schedule.answer(true, at(31)), Verdict::Undecided, "a success ends the row of failures");
        assert_eq!(schedule.answer(false, at(41)), Verdict::Failing);
        assert_eq!(schedule.answer(false, at(51)), Verdict::Failure);
    }
}
