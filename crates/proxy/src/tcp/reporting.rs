//! When an open connection is counted.
//!
//! What moves is counted soon after it moved. A connection on which nothing moves is never woken for it, however many of them there are.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Counts what moves on a connection while it is open.
#[derive(Debug)]
pub(super) struct Reporting {
    schedule: Schedule,
    timer: Pin<Box<Sleep>>,
}

impl Reporting {
    /// Of a connection that begins now; what moves is counted so long afterwards.
    pub(super) fn new(every: Duration) -> Self {
        let due = Instant::now() + every;
        let schedule = Schedule { every, due: Some(due), counted: None };
        Self { schedule, timer: Box::pin(tokio::time::sleep_until(due)) }
    }

    /// To be called whenever the connection is awake: calls `count` if it is time. So many bytes have moved. If `count` says `false`, it
    /// could not count them yet, and is asked again later.
    pub(super) fn poll(&mut self, moved: u64, cx: &mut Context<'_>, mut count: impl FnMut() -> bool) {
        while let Some(due) = self.schedule.due(moved, Instant::now) {
            if self.timer.deadline() != due {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return;
            }
            self.schedule.tried(moved, count());
        }
    }
}

/// When it is time.
#[derive(Debug)]
struct Schedule {
    every: Duration,
    /// `None`: all that has moved is counted.
    due: Option<Instant>,
    /// Bytes that were counted the last time; `None`: a new connection, which counts even if nothing moves.
    counted: Option<u64>,
}

impl Schedule {
    /// When what has moved by now is to be counted; `None`: it is.
    fn due(&mut self, moved: u64, now: impl FnOnce() -> Instant) -> Option<Instant> {
        if self.due.is_none() && self.counted != Some(moved) {
            self.due = Some(now() + self.every);
        }
        self.due
    }

    /// It was time. `is_counted`: what has moved is counted.
    fn tried(&mut self, moved: u64, is_counted: bool) {
        self.due = None;
        if is_counted {
            self.counted = Some(moved);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_is_counted_and_silence_wakes_nobody() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut schedule = Schedule { every: Duration::from_secs(1), due: Some(at(1)), counted: None };
        assert_eq!(schedule.due(0, || at(0)), Some(at(1)), "a new connection counts even if nothing moves");
        assert_eq!(schedule.due(10, || at(0)), Some(at(1)), "what moves meanwhile is counted with it");
        schedule.tried(10, true);
        assert_eq!(schedule.due(10, || at(50)), None, "nothing has moved since");
        assert_eq!(schedule.due(20, || at(50)), Some(at(51)));
        assert_eq!(schedule.due(30, || at(50)), Some(at(51)), "it is not put off by more that moves");
        schedule.tried(30, false);
        assert_eq!(schedule.due(30, || at(51)), Some(at(52)), "what could not be counted is tried again");
        schedule.tried(30, true);
        assert_eq!(schedule.due(30, || at(52)), None);
    }

    #[tokio::test]
    async fn a_connection_counts_and_then_rests() {
        let mut reporting = Reporting::new(Duration::from_millis(1));
        let mut counts = Vec::new();
        let moved = [0, 5, 5, 9];
        for so_far in moved {
            let before = counts.len();
            std::future::poll_fn(|cx| {
                reporting.poll(so_far, cx, || {
                    counts.push(so_far);
                    true
                });
                let is_done = reporting.schedule.due.is_none();
                if is_done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
            assert!(counts.len() <= before + 1);
        }
        assert_eq!(counts, [0, 5, 9]);
    }
}
