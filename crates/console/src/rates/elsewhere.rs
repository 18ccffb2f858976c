//! The same numbers of a Prometheus that lies elsewhere.
//!
//! Samples are asked for as they are, and grow as those that are kept here do: nothing is extrapolated. Only that a counter
//! that appears was zero before is not known there: what it had counted when it was first asked is not in the numbers.

use std::collections::HashMap;

use futures_util::future::try_join_all;

use super::{BEFORE, COUNTERS, DURATIONS, Durations, LastSeen, Rates, seconds};
use crate::prometheus::elsewhere::{Prometheus, Sampled};
use crate::store::metrics::{Labels, growth};
use crate::store::{Error, Millis};

/// Counters whose growth is traffic.
const TRAFFIC: [&str; 2] = ["istio_requests_total", "istio_tcp_sent_bytes_total"];
/// How far back it is looked for when something last had traffic, and how exactly.
const LOOKED_BACK: [(&str, &str); 2] = [("15d", "1h"), ("1d", "5m")];

impl Rates {
    /// Asks a Prometheus. `idle`: also what did not grow.
    ///
    /// # Errors
    /// It does not answer, or not so much.
    pub async fn fetch(from: &Prometheus, end: Millis, window: Millis, idle: bool) -> Result<Self, Error> {
        let range = format!("{}ms", window.saturating_add(BEFORE));
        let ask = |name: &'static str| {
            let query = format!("{name}[{range}]");
            async move { Ok::<_, Error>((name, from.query(&query, end).await?)) }
        };
        let answers = try_join_all(COUNTERS.into_iter().chain(DURATIONS).map(ask)).await?;
        Ok(Self::of_samples(answers, end.saturating_sub(window), window, idle))
    }

    /// Of the samples of each counter, counts of durations before their sums and buckets.
    fn of_samples(all: Vec<(&'static str, Vec<Sampled>)>, start: Millis, window: Millis, idle: bool) -> Self {
        let mut rates = Self::default();
        let mut places: HashMap<Labels, usize> = HashMap::new();
        for (name, sampled) in all {
            for (labels, samples) in sampled {
                let Some(grown) = growth(samples.into_iter(), start) else { continue };
                let rate = grown / seconds(window);
                if !DURATIONS.contains(&name) {
                    if grown > 0.0 || idle {
                        rates.counters.push((name, labels, rate));
                    }
                    continue;
                }
                let histogram = of_histogram(&labels);
                if name.ends_with("_count") && rate > 0.0 {
                    places.insert(histogram.clone(), rates.durations.len());
                    rates.durations.push(Durations {
                        labels: labels.clone(),
                        sum: 0.0,
                        count: rate,
                        buckets: Vec::new(),
                    });
                }
                // Whose count rests, rests.
                let place = places.get(&histogram).copied();
                let Some(of) = place.and_then(|place| rates.durations.get_mut(place)) else { continue };
                if name.ends_with("_sum") {
                    of.sum += rate;
                } else if let Ok(bound) = labels.get("le").parse() {
                    of.buckets.push((bound, rate));
                }
            }
        }
        rates
    }
}

/// What all series of a histogram have in common.
fn of_histogram(labels: &Labels) -> Labels {
    let own = labels.iter().filter(|label| !["__name__", "le"].contains(&&*label.name));
    Labels::from_labels(own.cloned().collect())
}

impl LastSeen {
    /// Asks a Prometheus.
    ///
    /// # Errors
    /// It does not answer, or not so much.
    pub(crate) async fn fetch(from: &Prometheus, now: Millis) -> Result<Self, Error> {
        let mut seen = Self::default();
        for name in TRAFFIC {
            for (back, step) in LOOKED_BACK {
                // The times at which a counter was another than a step before, or was new.
                let changed = format!("timestamp({name} unless ({name} == ({name} offset {step})))");
                let ends = "source_workload_namespace, source_workload, destination_workload_namespace, destination_workload, \
                            destination_service_namespace, destination_service_name";
                let query = format!("max by ({ends}) (max_over_time(({changed})[{back}:{step}]))");
                for (labels, samples) in from.query(&query, now).await? {
                    #[expect(clippy::cast_possible_truncation, reason = "a time in seconds")]
                    if let Some(at) = samples.last().map(|sample| sample.value as i64) {
                        seen.note_at(&labels, at);
                    }
                }
            }
        }
        Ok(seen)
    }
}
