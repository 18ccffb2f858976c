//! How fast Istio's counters grew in a window, and when they last did.
//!
//! What is counted is what was counted: the growth between the last sample before the window and the last one in it, across
//! restarts of the counter. Nothing is extrapolated, so that the number of requests is the number of requests.

use std::collections::HashMap;
use std::sync::Arc;

use varka_telemetry::graph::{Labels as GraphLabels, Metrics, Series as Rate};

use crate::facts::Seen;
use crate::store::metrics::{Labels, STALE, Sample, Series};
use crate::store::{Error, Millis, Store};

/// Where the last sample before the window may lie.
const BEFORE: Millis = 300_000;

/// Growth from `start` (exclusive) to `end` (inclusive), of samples in order. The first sample, where there is none before the
/// window, is where it grows from.
pub fn growth(samples: &[Sample], start: Millis) -> f64 {
    let mut last: Option<f64> = None;
    let mut sum = 0.0;
    for sample in samples.iter().filter(|sample| sample.value.to_bits() != STALE.to_bits()) {
        if let Some(last) = last.filter(|_| sample.at > start) {
            // A counter that is smaller than before began anew from zero.
            sum += if sample.value >= last { sample.value - last } else { sample.value };
        }
        last = Some(sample.value);
    }
    sum
}

/// Growth of every series of Istio's, in the form that graphs are made from.
#[derive(Debug)]
pub struct Rates(Vec<(&'static str, Labels, f64)>);

/// Names of the counters that graphs are made from.
const COUNTERS: [&str; 10] = [
    "istio_requests_total",
    "istio_request_messages_total",
    "istio_response_messages_total",
    "istio_tcp_sent_bytes_total",
    "istio_tcp_received_bytes_total",
    "istio_request_duration_milliseconds_bucket",
    "istio_request_duration_milliseconds_sum",
    "istio_request_duration_milliseconds_count",
    "istio_request_bytes_sum",
    "istio_response_bytes_sum",
];

impl Rates {
    /// Reads the store. `idle`: also what did not grow.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn read(store: &Store, end: Millis, window: Millis, idle: bool) -> Result<Self, Error> {
        let start = end.saturating_sub(window);
        let mut found = Vec::new();
        for name in COUNTERS {
            for series in store.metrics().select(&[("__name__", name)], |_| true) {
                let samples = store.metrics().samples(&series, start.saturating_sub(BEFORE), end)?;
                let grown = growth(&samples, start);
                if grown > 0.0 || idle && !samples.is_empty() {
                    found.push((name, series.labels().clone(), grown / seconds(window)));
                }
            }
        }
        Ok(Self(found))
    }

    /// As graphs are made from them. `aggregate` is the label that requests are told apart by.
    pub fn metrics(&self, aggregate: &str) -> Metrics<'_> {
        let mut metrics = Metrics::default();
        for (name, labels, rate) in &self.0 {
            let of = match *name {
                "istio_requests_total" => &mut metrics.requests,
                "istio_request_messages_total" => &mut metrics.request_messages,
                "istio_response_messages_total" => &mut metrics.response_messages,
                "istio_tcp_sent_bytes_total" => &mut metrics.tcp_sent_bytes,
                "istio_tcp_received_bytes_total" => &mut metrics.tcp_received_bytes,
                "istio_request_duration_milliseconds_bucket" => &mut metrics.duration_buckets,
                "istio_request_duration_milliseconds_sum" => &mut metrics.duration_sums,
                "istio_request_duration_milliseconds_count" => &mut metrics.duration_counts,
                "istio_request_bytes_sum" => &mut metrics.request_bytes,
                _ => &mut metrics.response_bytes,
            };
            // Of the labels that the scrape added, none means anything to a graph; `app` would be taken for ztunnel's.
            let kept = labels.iter().filter(|label| &*label.name != "app");
            let pairs = kept.map(|label| (&*label.name, &*label.value));
            of.push(Rate { labels: GraphLabels::from_pairs(pairs, aggregate), rate: *rate });
        }
        metrics
    }
}

#[expect(clippy::cast_precision_loss, reason = "windows are far shorter")]
fn seconds(window: Millis) -> f64 {
    window.max(1) as f64 / 1000.0
}

/// When workloads and services last had traffic.
#[derive(Debug, Default)]
pub struct LastSeen {
    workloads: HashMap<(Arc<str>, Arc<str>), i64>,
    services: HashMap<(Arc<str>, Arc<str>), i64>,
}

impl LastSeen {
    /// Reads the index of the store.
    pub fn read(store: &Store) -> Self {
        let mut seen = Self::default();
        for name in ["istio_requests_total", "istio_tcp_connections_opened_total", "istio_tcp_sent_bytes_total"] {
            for series in store.metrics().select(&[("__name__", name)], |_| true) {
                seen.note(&series);
            }
        }
        seen
    }

    fn note(&mut self, series: &Series) {
        let Some(at) = series.changed().map(|at| at.div_euclid(1000)) else { return };
        let labels = series.labels();
        let note = |map: &mut HashMap<_, i64>, namespace: &str, name: &str| {
            let last = map.entry((labels.get(namespace).into(), labels.get(name).into())).or_insert(at);
            *last = at.max(*last);
        };
        note(&mut self.workloads, "source_workload_namespace", "source_workload");
        note(&mut self.workloads, "destination_workload_namespace", "destination_workload");
        note(&mut self.services, "destination_service_namespace", "destination_service_name");
    }
}

impl Seen for LastSeen {
    fn workload(&self, namespace: &str, name: &str) -> Option<i64> {
        self.workloads.get(&(namespace.into(), name.into())).copied()
    }

    fn service(&self, namespace: &str, name: &str) -> Option<i64> {
        self.services.get(&(namespace.into(), name.into())).copied()
    }
}

#[cfg(test)]
mod tests;
