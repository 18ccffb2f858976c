//! Those who wait for names, and how many names may be waited for.
//!
//! Names come from whoever opens a connection or sends a request, so there is no end to them: the number of those without an
//! answer is limited, and so is how fast new ones are let through.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use varka_engine::ir::{ResourceType, Str};

use super::Answer;

/// Names that wait for an answer at the same time.
pub(super) const MAX_NAMES: usize = 1024;
/// New names in one go, before their rate counts.
const BURST: u32 = 1024;
/// New names in a second.
const PER_SECOND: u32 = 256;

/// Those who wait, by name.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    by_name: HashMap<(ResourceType, Str), Vec<oneshot::Sender<Answer>>>,
}

impl Waiting {
    pub(super) fn add(&mut self, kind: ResourceType, name: Str, answer: oneshot::Sender<Answer>) {
        self.by_name.entry((kind, name)).or_default().push(answer);
    }

    pub(super) fn is_full(&self) -> bool {
        self.by_name.len() >= MAX_NAMES
    }

    pub(super) fn is_awaited(&self, kind: ResourceType, name: &Str) -> bool {
        self.by_name.contains_key(&(kind, Str::clone(name)))
    }

    /// Answers everybody whose name has an answer by now.
    pub(super) fn answer(&mut self, known: impl Fn(ResourceType, &Str) -> Option<Answer>) {
        self.by_name.retain(|(kind, name), waiting| {
            let Some(answer) = known(*kind, name) else { return true };
            for one in waiting.drain(..) {
                // Who has stopped waiting does not mind.
                let _ = one.send(answer);
            }
            false
        });
    }

    /// Forgets those who have stopped waiting; returns the names that nobody waits for any more.
    pub(super) fn give_up(&mut self) -> Vec<(ResourceType, Str)> {
        let mut given_up = Vec::new();
        self.by_name.retain(|key, waiting| {
            waiting.retain(|one| !one.is_closed());
            if waiting.is_empty() {
                given_up.push(key.clone());
            }
            !waiting.is_empty()
        });
        given_up
    }
}

/// How fast new names are let through.
#[derive(Debug)]
pub(super) struct Rate {
    /// Names that may be asked for now.
    left: u32,
    /// Up to when `left` has been counted.
    counted: Option<Instant>,
}

impl Default for Rate {
    fn default() -> Self {
        Self { left: BURST, counted: None }
    }
}

impl Rate {
    /// Whether another name may be asked for.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let each = Duration::from_secs(1) / PER_SECOND;
        let since = *self.counted.get_or_insert(now);
        let earned = now.saturating_duration_since(since).as_nanos() / each.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(BURST);
            self.counted = Some(since.checked_add(each.saturating_mul(earned)).unwrap_or(now));
        }
        self.left.checked_sub(1).map(|left| self.left = left).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_let_through_at_a_rate() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        let mut taken = |at: Instant| (0..10_000).take_while(|_| rate.take(at)).count();
        assert_eq!(taken(start), 1024);
        assert_eq!(taken(start), 0);
        assert_eq!(taken(start + Duration::from_secs(1)), 256);
        assert_eq!(taken(start + Duration::from_millis(1500)), 128);
        assert_eq!(taken(start + Duration::from_secs(1000)), 1024);
    }
}
