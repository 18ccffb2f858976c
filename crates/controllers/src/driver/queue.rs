//! Which keys have to be looked at, when, and how patient to be with those that fail.

use crate::action::Action;
use crate::route::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// The pause after a first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// After so many equal plans in a row, the API server is taken not to keep what is written.
const FRUITLESS: u32 = 4;

#[derive(Debug, Default)]
pub(super) struct Queue {
    dirty: BTreeSet<Key>,
    running: BTreeSet<Key>,
    timers: BTreeMap<Key, Instant>,
    /// Failures in a row of the keys that wait for another attempt.
    failures: BTreeMap<Key, u32>,
    /// Keys that may not be tried before their timer.
    held: BTreeSet<Key>,
    last: BTreeMap<Key, (Vec<Action>, u32)>,
}

impl Queue {
    pub(super) fn mark(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.dirty.extend(keys);
    }

    /// A key that can be planned now.
    pub(super) fn next(&mut self) -> Option<Key> {
        let key = self.dirty.iter().find(|key| !self.running.contains(*key) && !self.held.contains(*key))?.clone();
        self.dirty.remove(&key);
        Some(key)
    }

    pub(super) fn started(&mut self, key: &Key) {
        self.running.insert(key.clone());
    }

    /// Its plan was carried out. The same plan again and again means that it has no effect: then it is slowed down.
    pub(super) fn succeeded(&mut self, key: &Key, actions: Vec<Action>, now: Instant) {
        self.running.remove(key);
        self.failures.remove(key);
        let repeats = match self.last.get(key) {
            Some((last, repeats)) if *last == actions => repeats + 1,
            _ => 0,
        };
        if repeats >= FRUITLESS {
            tracing::warn!(
                ?key,
                "the API server does not keep what a controller writes; it is written more slowly from now on"
            );
            self.pause(key, repeats, now);
        }
        self.last.insert(key.clone(), (actions, repeats));
    }

    /// There is nothing to do for it.
    pub(super) fn settled(&mut self, key: &Key) {
        self.failures.remove(key);
        self.last.remove(key);
    }

    /// Its plan failed; it is tried again after a pause.
    pub(super) fn failed(&mut self, key: &Key, now: Instant) {
        self.running.remove(key);
        let failures = self.failures.entry(key.clone()).or_default();
        *failures += 1;
        let failures = *failures;
        self.pause(key, failures - 1, now);
    }

    fn pause(&mut self, key: &Key, doublings: u32, now: Instant) {
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings.min(16)).min(LONGEST_PAUSE);
        self.held.insert(key.clone());
        self.dirty.insert(key.clone());
        self.timers.insert(key.clone(), now + pause);
    }

    /// Tries every key that waits after a failure now.
    pub(super) fn retry_all(&mut self) {
        for key in std::mem::take(&mut self.held) {
            self.timers.remove(&key);
        }
    }

    /// Looks at the key at that time, if nothing makes it earlier.
    pub(super) fn look_again(&mut self, key: Key, at: Instant) {
        self.timers.entry(key).and_modify(|time| *time = (*time).min(at)).or_insert(at);
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.values().min().copied()
    }

    /// Marks every key whose time has come.
    pub(super) fn fire(&mut self, now: Instant) {
        let due: Vec<Key> = self.timers.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            self.timers.remove(&key);
            self.held.remove(&key);
            self.dirty.insert(key);
        }
    }
}

#[cfg(test)]
mod tests;
