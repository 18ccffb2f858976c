//! Outlier detection: endpoints that fail too often in a row are left out for a while.
//!
//! Counting happens on the request path and is lock-free ([`Monitor`]); ejecting is rare and needs the whole cluster
//! ([`Ejections`], which the caller keeps under its own lock). Time is passed in as the time since any fixed start.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::ir::{OutlierDetection, Str};

#[cfg(test)]
mod tests;

/// What became of one attempt at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It answered with this status.
    Response(u16),
    /// No connection, or the stream was reset before an answer.
    ConnectFailed,
    /// No answer in time.
    Timeout,
    /// A connection came about.
    Connected,
}

/// Which count ran full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// `consecutive_5xx`.
    Consecutive5xx,
    /// `consecutive_gateway_failure`.
    ConsecutiveGateway,
    /// `consecutive_local_origin_failure`.
    ConsecutiveLocal,
}

/// Failures in a row of one endpoint.
#[derive(Debug, Default)]
pub struct Monitor {
    server_errors: AtomicU32,
    gateway_errors: AtomicU32,
    local_errors: AtomicU32,
}

impl Monitor {
    /// Counts an event; `Some` when a count ran full, which begins at zero again.
    pub fn record(&self, config: &OutlierDetection, event: Event) -> Option<Reason> {
        if config.split_local_origin {
            return match event {
                Event::Response(status) => self.response(config, status),
                Event::Connected => reset(&self.local_errors),
                Event::ConnectFailed | Event::Timeout => {
                    count(&self.local_errors, config.consecutive_local).then_some(Reason::ConsecutiveLocal)
                }
            };
        }
        match event {
            Event::Response(status) => self.response(config, status),
            Event::ConnectFailed => self.response(config, 503),
            Event::Timeout => self.response(config, 504),
            Event::Connected => None,
        }
    }

    fn response(&self, config: &OutlierDetection, status: u16) -> Option<Reason> {
        if !(500..600).contains(&status) {
            reset(&self.gateway_errors);
            return reset(&self.server_errors);
        }
        let gateway = if matches!(status, 502..=504) {
            count(&self.gateway_errors, config.consecutive_gateway)
        } else {
            reset(&self.gateway_errors);
            false
        };
        let server = count(&self.server_errors, config.consecutive_5xx);
        match (gateway, server) {
            (true, _) => Some(Reason::ConsecutiveGateway),
            (false, true) => Some(Reason::Consecutive5xx),
            (false, false) => None,
        }
    }

    /// Begins anew, as after an ejection.
    pub fn clear(&self) {
        for counter in [&self.server_errors, &self.gateway_errors, &self.local_errors] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// Writes only where there is something to change, so that endpoints that do well share their cache line.
fn reset(counter: &AtomicU32) -> Option<Reason> {
    if counter.load(Ordering::Relaxed) != 0 {
        counter.store(0, Ordering::Relaxed);
    }
    None
}

/// Adds one; true when `threshold` (0: never) is reached, and then the count begins at zero again.
fn count(counter: &AtomicU32, threshold: u32) -> bool {
    let reached = counter.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= threshold && threshold > 0;
    if reached {
        counter.store(0, Ordering::Relaxed);
    }
    reached
}

/// One endpoint that was ejected lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ejection {
    /// Since when; `None`: it is back, and only its history counts.
    since: Option<Duration>,
    /// How often in a row; each time is longer.
    times: u32,
}

/// The endpoints of one cluster that are left out.
#[derive(Debug, Default)]
pub struct Ejections {
    hosts: HashMap<Str, Ejection>,
}

impl Ejections {
    /// Ejects an endpoint of a cluster of `total`, unless it is out already or too many are; says for how long.
    pub fn eject(&mut self, config: &OutlierDetection, host: &Str, total: usize, now: Duration) -> Option<Duration> {
        if self.is_ejected(host) {
            return None;
        }
        let share = (self.active() + 1).checked_mul(100)?;
        let allowed = total.checked_mul(usize::try_from(config.max_ejection_percent).ok()?)?;
        if share > allowed {
            return None;
        }
        let entry = self.hosts.entry(host.clone()).or_insert(Ejection { since: None, times: 0 });
        entry.since = Some(now);
        entry.times = entry.times.saturating_add(1);
        Some(length(config, entry.times))
    }

    /// Run once an interval: the endpoints whose time is over are back. Those that have been back for an interval are forgiven
    /// one ejection.
    pub fn sweep(&mut self, config: &OutlierDetection, now: Duration) -> Vec<Str> {
        let mut back = Vec::new();
        self.hosts.retain(|host, ejection| {
            match ejection.since {
                Some(since) if now.saturating_sub(since) >= length(config, ejection.times) => {
                    ejection.since = None;
                    back.push(host.clone());
                }
                Some(_) => {}
                None => ejection.times = ejection.times.saturating_sub(1),
            }
            ejection.since.is_some() || ejection.times > 0
        });
        back
    }

    /// Whether an endpoint is left out.
    pub fn is_ejected(&self, host: &str) -> bool {
        self.hosts.get(host).is_some_and(|ejection| ejection.since.is_some())
    }

    /// How many are left out.
    pub fn active(&self) -> usize {
        self.hosts.values().filter(|ejection| ejection.since.is_some()).count()
    }

    /// Forgets endpoints that are no longer part of the cluster.
    pub fn keep(&mut self, mut is_member: impl FnMut(&str) -> bool) {
        self.hosts.retain(|host, _| is_member(host));
    }
}

/// Each ejection in a row is longer by the base time, up to the longest.
fn length(config: &OutlierDetection, times: u32) -> Duration {
    let longest = config.max_ejection.max(config.base_ejection);
    config.base_ejection.checked_mul(times).map_or(longest, |length| length.min(longest))
}

/// When a change of health reaches the balancers: at once, unless another did within the window; then at the window's end, and
/// all together (Envoy's `update_merge_window`, 1 s).
#[derive(Debug, Clone)]
pub struct MergeWindow {
    window: Duration,
    last: Option<Duration>,
    pending: bool,
}

impl MergeWindow {
    /// A window of this length.
    pub fn new(window: Duration) -> Self {
        Self { window, last: None, pending: false }
    }

    /// Notes a change; returns when it is to be applied: now, or later.
    pub fn change(&mut self, now: Duration) -> Duration {
        match self.last {
            Some(last) if now.saturating_sub(last) < self.window => {
                self.pending = true;
                last + self.window
            }
            _ => {
                self.last = Some(now);
                self.pending = false;
                now
            }
        }
    }

    /// Whether a change is due that was put off; it is taken as applied now.
    pub fn take_due(&mut self, now: Duration) -> bool {
        let due = self.pending && self.last.is_none_or(|last| now.saturating_sub(last) >= self.window);
        if due {
            self.pending = false;
            self.last = Some(now);
        }
        due
    }
}
