//! How fast Istio's counters grew in a window, and when they last did.
//!
//! What is counted is what was counted: the growth between the last sample before the window and the last one in it, across
//! restarts of the counter. Nothing is extrapolated, so that the number of requests is the number of requests.

mod elsewhere;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use varka_telemetry::graph::{self, Labels as GraphLabels, Metrics, Series as Rate};

use crate::dialled::{Dialled, is_egress};
use crate::facts::Seen;
use crate::store::metrics::{Labels, Series, Tells};
use crate::store::{Error, Millis, Store};

/// Where the last sample before the window may lie.
const BEFORE: Millis = 300_000;

/// Growth of every series of Istio's, in the form that graphs are made from.
#[derive(Debug, Default)]
pub struct Rates {
    counters: Vec<(&'static str, Labels, f64)>,
    durations: Vec<Durations>,
    dialled: Dialled,
}

/// A histogram of durations.
#[derive(Debug)]
struct Durations {
    /// Of one of its series.
    labels: Labels,
    sum: f64,
    count: f64,
    buckets: Vec<(f64, f64)>,
}

/// Names of the counters that graphs are made from, but for those of durations.
const COUNTERS: [&str; 7] = [
    "istio_requests_total",
    "istio_request_messages_total",
    "istio_response_messages_total",
    "istio_tcp_sent_bytes_total",
    "istio_tcp_received_bytes_total",
    "istio_request_bytes_sum",
    "istio_response_bytes_sum",
];

/// The series of histograms of durations.
const DURATIONS: [&str; 3] = [
    "istio_request_duration_milliseconds_count",
    "istio_request_duration_milliseconds_sum",
    "istio_request_duration_milliseconds_bucket",
];

impl Rates {
    /// Reads the store. `idle`: also what did not grow; what is dialled where no service is, is told where it was dialled, whether or not
    /// a byte moved.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn read(store: &Store, end: Millis, window: Millis, idle: bool) -> Result<Self, Error> {
        let start = end.saturating_sub(window);
        let from = start.saturating_sub(BEFORE);
        let metrics = store.metrics();
        let mut rates = Self::default();
        let lost = lost(store, from, start, end)?;
        for name in COUNTERS {
            for series in metrics.select(&[("__name__", name)], |_| true) {
                let Some(grown) = metrics.growth(&series, from, start, end)? else { continue };
                let is_shown = match is_egress(series.labels().get("destination_service_name")) {
                    true => name.starts_with("istio_tcp_") && lost.contains(&ends(series.labels())),
                    false => idle,
                };
                if grown > 0.0 || is_shown {
                    rates.counters.push((name, series.labels().clone(), grown / seconds(window)));
                }
            }
        }
        rates.read_durations(store, end, window)?;
        rates.read_dialled(store, start, end)?;
        Ok(rates)
    }

    /// Only where there is traffic that no service was found for, and nothing tells yet where it went.
    fn read_dialled(&mut self, store: &Store, start: Millis, end: Millis) -> Result<(), Error> {
        let nowhere = self.counters.iter().map(|(_, labels, _)| labels).filter(|labels| {
            is_egress(labels.get("destination_service_name")) && labels.get("destination_address").is_empty()
        });
        let namespaces = nowhere.map(|labels| labels.get("source_workload_namespace")).collect();
        self.dialled = Dialled::read(store, namespaces, start, end)?;
        Ok(())
    }

    /// With the address that was dialled, where that is known.
    fn placed<'l>(&'l self, mut labels: GraphLabels<'l>) -> GraphLabels<'l> {
        if is_egress(labels.destination_service_name) && labels.destination_address.is_empty() {
            let (namespace, workload) = (labels.source_workload_namespace, labels.source_workload);
            if let Some((address, port)) = self.dialled.of(namespace, workload, labels.destination_service) {
                (labels.destination_address, labels.destination_port) = (address, port);
            }
        }
        labels
    }

    /// Only those that grew: others have no durations.
    fn read_durations(&mut self, store: &Store, end: Millis, window: Millis) -> Result<(), Error> {
        let start = end.saturating_sub(window);
        let mut places: HashMap<usize, usize> = HashMap::new();
        for name in DURATIONS {
            for series in store.metrics().select(&[("__name__", name)], |_| true) {
                let Some(part) = series.histogram() else { continue };
                // Whose count rests, rests.
                let place = places.get(&part.of).copied();
                if place.is_none() && part.tells != Tells::Count {
                    continue;
                }
                let grown = store.metrics().growth(&series, start.saturating_sub(BEFORE), start, end)?;
                let rate = grown.unwrap_or(0.0) / seconds(window);
                let place = match place {
                    Some(place) => place,
                    None if rate > 0.0 => {
                        let labels = series.labels().clone();
                        places.insert(part.of, self.durations.len());
                        self.durations.push(Durations { labels, sum: 0.0, count: 0.0, buckets: Vec::new() });
                        self.durations.len() - 1
                    }
                    None => continue,
                };
                let Some(of) = self.durations.get_mut(place) else { continue };
                match part.tells {
                    Tells::Count => of.count += rate,
                    Tells::Sum => of.sum += rate,
                    Tells::Bucket(bound) => of.buckets.push((bound, rate)),
                }
            }
        }
        Ok(())
    }

    /// As graphs are made from them. `aggregate` is the label that requests are told apart by.
    pub fn metrics(&self, aggregate: &str) -> Metrics<'_> {
        let mut metrics = Metrics::default();
        for (name, labels, rate) in &self.counters {
            let of = match *name {
                "istio_requests_total" => &mut metrics.requests,
                "istio_request_messages_total" => &mut metrics.request_messages,
                "istio_response_messages_total" => &mut metrics.response_messages,
                "istio_tcp_sent_bytes_total" => &mut metrics.tcp_sent_bytes,
                "istio_tcp_received_bytes_total" => &mut metrics.tcp_received_bytes,
                "istio_request_bytes_sum" => &mut metrics.request_bytes,
                _ => &mut metrics.response_bytes,
            };
            of.push(Rate { labels: self.placed(sorted(labels, aggregate)), rate: *rate });
        }
        metrics.durations = self
            .durations
            .iter()
            .map(|of| graph::Durations {
                labels: sorted(&of.labels, aggregate),
                sum: of.sum,
                count: of.count,
                buckets: of.buckets.clone(),
            })
            .collect();
        metrics
    }
}

/// From which workload to which cluster of no service.
type Ends = (String, String, String);

fn ends(labels: &Labels) -> Ends {
    let of = |name: &str| labels.get(name).to_owned();
    (of("source_workload_namespace"), of("source_workload"), of("destination_service_name"))
}

/// Who opened connections that no service was found for. One that is refused moves no byte, so that bytes do not tell of it.
fn lost(store: &Store, from: Millis, start: Millis, end: Millis) -> Result<HashSet<Ends>, Error> {
    let mut found = HashSet::new();
    let is_nowhere = |labels: &Labels| is_egress(labels.get("destination_service_name"));
    for series in store.metrics().select(&[("__name__", "istio_tcp_connections_opened_total")], is_nowhere) {
        if store.metrics().growth(&series, from, start, end)?.is_some_and(|grown| grown > 0.0) {
            found.insert(ends(series.labels()));
        }
    }
    Ok(found)
}

/// Of the labels that the scrape added, none means anything to a graph; `app` would be taken for ztunnel's.
fn sorted<'l>(labels: &'l Labels, aggregate: &str) -> GraphLabels<'l> {
    let kept = labels.iter().filter(|label| &*label.name != "app");
    GraphLabels::from_pairs(kept.map(|label| (&*label.name, &*label.value)), aggregate)
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
        if let Some(at) = series.changed() {
            self.note_at(series.labels(), at.div_euclid(1000));
        }
    }

    fn note_at(&mut self, labels: &Labels, at: i64) {
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
