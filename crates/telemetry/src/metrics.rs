//! Counters, gauges and histograms, and how they are shown.
//!
//! The primitives are atomics. Who counts owns them (a cluster its [`envoy::ClusterStats`], a route its [`istio::HttpSeries`]);
//! who serves `/stats` asks each owner for its [`Sample`]s ([`Registry::samples`]) and renders all of them ([`render`]). So there
//! is no look-up by name and no lock while a request is counted.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub mod database;
pub mod envoy;
pub mod istio;
mod registry;
pub mod render;
#[cfg(test)]
mod tests;

pub use registry::{Registry, TracerCounters};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Takes over a count that is kept elsewhere: at least `n` from now on.
    pub fn raise_to(&self, n: u64) {
        self.0.fetch_max(n, Relaxed);
    }

    /// What it is.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down, never below zero.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more.
    pub fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// One less.
    pub fn dec(&self) {
        let _ = self.0.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
    }

    /// Exactly this.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// What it is.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of Envoy's buckets, in the unit of the histogram (milliseconds or bytes), times two so that the first is whole.
const BOUNDS_TIMES_TWO: [u64; 19] = [
    1, 2, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000, 120_000, 600_000, 1_200_000,
    3_600_000, 7_200_000,
];
/// The same as `le` labels.
const BOUND_LABELS: [&str; 19] = [
    "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000", "30000", "60000",
    "300000", "600000", "1800000", "3600000",
];

/// How often values fell into each bucket. Takes its memory at the first value.
#[derive(Debug, Default)]
pub struct Histogram(OnceLock<Box<Buckets>>);

#[derive(Debug, Default)]
struct Buckets {
    counts: [AtomicU64; 20],
    sum: AtomicU64,
}

impl Histogram {
    /// Counts a value.
    pub fn record(&self, value: u64) {
        let buckets = self.0.get_or_init(Box::default);
        let at = BOUNDS_TIMES_TWO.partition_point(|bound| *bound < value.saturating_mul(2));
        if let Some(count) = buckets.counts.get(at) {
            count.fetch_add(1, Relaxed);
        }
        buckets.sum.fetch_add(value, Relaxed);
    }

    /// What it holds.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut snapshot = HistogramSnapshot::default();
        if let Some(buckets) = self.0.get() {
            for (slot, count) in snapshot.counts.iter_mut().zip(&buckets.counts) {
                *slot = count.load(Relaxed);
            }
            snapshot.sum = buckets.sum.load(Relaxed);
        }
        snapshot
    }
}

/// What a histogram holds at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Values in each bucket, not cumulative; the last has no upper bound.
    counts: [u64; 20],
    /// Sum of all values.
    pub sum: u64,
}

impl HistogramSnapshot {
    /// How many values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// `le` labels with cumulative counts, `+Inf` last.
    pub fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = BOUND_LABELS.iter().copied().chain(["+Inf"]);
        labels.zip(&self.counts).scan(0, |total, (label, count)| {
            *total += count;
            Some((label, *total))
        })
    }

    /// The value below which this share (0 to 1) of all values lie, by linear interpolation in its bucket; `None` when empty.
    #[expect(clippy::cast_precision_loss, reason = "an estimate; counts and bounds are far below 2^52")]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = share.clamp(0.0, 1.0) * total as f64;
        let mut below = 0.0;
        let mut lower = 0.0;
        let bounds = BOUNDS_TIMES_TWO.iter().map(|bound| *bound as f64 / 2.0).chain([f64::NAN]);
        for (count, upper) in self.counts.iter().zip(bounds) {
            let in_bucket = *count as f64;
            if *count > 0 && below + in_bucket >= rank {
                // The last bucket has no end: its beginning is the best that can be said.
                let upper = if upper.is_nan() { lower } else { upper };
                return Some(lower + (upper - lower) * ((rank - below) / in_bucket).clamp(0.0, 1.0));
            }
            below += in_bucket;
            lower = if upper.is_nan() { lower } else { upper };
        }
        Some(lower)
    }
}

/// Label names and values, in the order in which they are shown.
pub type Labels = Vec<(Cow<'static, str>, String)>;

/// One number (or histogram) under its two names.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Envoy's dotted name, `cluster.NAME;.upstream_rq_total`.
    pub stat: String,
    /// Prometheus' name, `envoy_cluster_upstream_rq_total`.
    pub family: Cow<'static, str>,
    /// Prometheus' labels.
    pub labels: Labels,
    /// The number.
    pub value: Value,
}

/// What a [`Sample`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Only grows.
    Counter(u64),
    /// Goes up and down.
    Gauge(u64),
    /// Buckets.
    Histogram(Box<HistogramSnapshot>),
}

impl Value {
    /// Takes another of the same kind into it.
    pub(crate) fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Counter(a), Self::Counter(b)) | (Self::Gauge(a), Self::Gauge(b)) => *a = a.saturating_add(*b),
            (Self::Histogram(a), Self::Histogram(b)) => {
                a.counts.iter_mut().zip(b.counts).for_each(|(a, b)| *a = a.saturating_add(b));
                a.sum = a.sum.saturating_add(b.sum);
            }
            _ => {}
        }
    }

    /// Whether it was ever touched, as far as the number shows.
    pub fn is_used(&self) -> bool {
        match self {
            Self::Counter(n) | Self::Gauge(n) => *n > 0,
            Self::Histogram(h) => h.count() > 0,
        }
    }
}

/// What samples of one owner have in common.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Before each dotted name, with its dot.
    pub stat: String,
    /// Before each Prometheus name.
    pub family: Cow<'static, str>,
    /// On each sample.
    pub labels: Labels,
}

impl Scope {
    /// A sample of this scope. In `name`, dots become underscores for Prometheus.
    pub fn sample(&self, name: &str, value: Value) -> Sample {
        Sample {
            stat: format!("{}{name}", self.stat),
            family: Cow::Owned(format!("{}{}", self.family, name.replace('.', "_"))),
            labels: self.labels.clone(),
            value,
        }
    }
}
