//! Keep the keys of token issuers that resources name by address: fetched at once, fetched again as long as they are named.
//!
//! What was fetched stays in force while a later fetch fails, for a week, as in Istio. What was never fetched is told of with the
//! reason, so that tokens are refused with a word about why. Proxies fetch nothing: they get keys with their configuration.

mod fetch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};
use varka_engine::ir::Str;
use varka_pilot::KeySource;

use super::{Published, Update};

/// Keys are fetched again after so long.
const REFRESH: Duration = Duration::from_secs(20 * 60);
/// After a failure sooner, and less and less soon.
const RETRY: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(60 * 60));
/// Keys that could not be fetched again for so long are not trusted any more.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Fetches at the same time.
const AT_ONCE: usize = 8;

/// Keys of one issuer.
struct Entry {
    timeout: Duration,
    /// When they are to be fetched.
    due: Instant,
    fetching: bool,
    keys: Option<Str>,
    /// When they were fetched last.
    fetched: Instant,
    failures: u32,
}

type Fetched = (KeySource, Result<Str, String>);

/// Follows what snapshots ask for, and tells what is found.
pub(super) async fn follow(mut published: watch::Receiver<Arc<Published>>, into: mpsc::Sender<Update>) {
    let mut entries: BTreeMap<KeySource, Entry> = BTreeMap::new();
    let mut fetches: JoinSet<Fetched> = JoinSet::new();
    loop {
        let wanted = published.borrow_and_update().snapshot.wanted_keys();
        for source in entries.keys().filter(|source| !wanted.contains_key(source)) {
            let update = Update::Keys { source: source.clone(), keys: None };
            if into.send(update).await.is_err() {
                return;
            }
        }
        entries.retain(|source, _| wanted.contains_key(source));
        let now = Instant::now();
        for (source, timeout) in wanted {
            entries.entry(source).or_insert_with(|| Entry::new(now)).timeout = timeout;
        }
        let due = start(&mut entries, &mut fetches, now);
        tokio::select! {
            changed = published.changed() => if changed.is_err() { return },
            Some(Ok((source, found))) = fetches.join_next() => {
                let Some(entry) = entries.get_mut(&source) else { continue };
                if let Some(keys) = entry.take(&source, found, Instant::now())
                    && into.send(Update::Keys { source, keys: Some(keys) }).await.is_err()
                {
                    return;
                }
            }
            () = sleep_until(due) => {}
        }
    }
}

/// Starts the fetches that are due; when the next one will be.
fn start(entries: &mut BTreeMap<KeySource, Entry>, fetches: &mut JoinSet<Fetched>, now: Instant) -> Option<Instant> {
    for (source, entry) in entries.iter_mut() {
        if entry.due <= now && !entry.fetching && fetches.len() < AT_ONCE {
            entry.fetching = true;
            let (source, timeout) = (source.clone(), entry.timeout);
            fetches.spawn(async move {
                let found = fetch::keys(&source, timeout).await;
                (source, found)
            });
        }
    }
    entries.values().filter(|entry| !entry.fetching && entry.due > now).map(|entry| entry.due).min()
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Entry {
    fn new(now: Instant) -> Self {
        Self { timeout: Duration::ZERO, due: now, fetching: false, keys: None, fetched: now, failures: 0 }
    }

    /// Takes in what a fetch found. `Some`: proxies are to be told.
    fn take(&mut self, source: &KeySource, found: Result<Str, String>, now: Instant) -> Option<Result<Str, Str>> {
        self.fetching = false;
        match found {
            Ok(keys) => {
                (self.failures, self.fetched, self.due) = (0, now, now + REFRESH);
                let changed = self.keys.as_ref() != Some(&keys);
                if changed {
                    info!("fetched the keys of {source}");
                }
                self.keys = Some(keys.clone());
                changed.then_some(Ok(keys))
            }
            Err(reason) => {
                let wait = RETRY.0.saturating_mul(1 << self.failures.min(16)).min(RETRY.1);
                self.failures = self.failures.saturating_add(1);
                self.due = now + wait;
                let stale = self.keys.is_some() && now.saturating_duration_since(self.fetched) >= LONGEST;
                let in_force = self.keys.is_some() && !stale;
                let effect = if in_force { "those that were fetched before hold" } else { "its tokens are refused" };
                warn!(retry_in = ?wait, "the keys of {source} cannot be fetched: {reason}; {effect}");
                if in_force {
                    return None;
                }
                self.keys = None;
                Some(Err(reason.into()))
            }
        }
    }
}
