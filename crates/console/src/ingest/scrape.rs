//! Fetches metrics from every pod that offers them, as Prometheus does.
//!
//! Pods say so by the annotations `prometheus.io/scrape`, `port` and `path`, which injection sets. Labels are those of Istio's own
//! configuration of Prometheus: `job`, `instance`, `namespace`, `pod`, and the pod's labels. Few series are fetched every second, so
//! that a request is seen as soon as it was made; more series are fetched less often. A pod that ends is asked again and again until
//! it is gone, so that its last requests count.

pub(crate) mod fetch;
mod start;
mod target;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::exposition;
use crate::store::metrics::{Labels, STALE, Sample, Series};
use crate::store::{Millis, Store};
use fetch::Connection;
use start::Starts;
use target::Target;

/// A target is asked no more often,
const SHORTEST: Duration = Duration::from_secs(1);
/// and no less.
pub(crate) const LONGEST: Duration = Duration::from_secs(15);
/// Of all targets together so many samples are taken in a second.
const SAMPLES_A_SECOND: usize = 5_000;
/// A target that ends is asked so often.
const ENDING: Duration = Duration::from_millis(200);
/// Series that one target may have.
const MAX_SERIES: usize = 20_000;

/// Follows pods and asks them, until the program ends.
///
/// # Errors
/// Pods cannot be watched for good; for a while is no error.
pub async fn run(client: Client, store: Store) -> Result<(), watcher::Error> {
    let total = Arc::new(AtomicUsize::new(0));
    let mut scrapers = Scrapers { store, total, running: HashMap::new(), tasks: JoinSet::new() };
    let events = watcher(Api::<Pod>::all(client), watcher::Config::default()).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut listed = Vec::new();
    loop {
        match events.try_next().await {
            Ok(Some(Event::Init)) => listed.clear(),
            Ok(Some(Event::InitApply(pod) | Event::Apply(pod))) => {
                listed.extend(scrapers.apply(&pod));
            }
            Ok(Some(Event::InitDone)) => scrapers.running.retain(|uid, _| listed.contains(uid)),
            Ok(Some(Event::Delete(pod))) => {
                if let Some(uid) = &pod.metadata.uid {
                    scrapers.running.remove(uid);
                }
            }
            Ok(None) => return Ok(()),
            Err(problem) => {
                tracing::warn!(%problem, "pods are not watched at the moment; metrics of new ones are missing")
            }
        }
        while scrapers.tasks.try_join_next().is_some() {}
    }
}

struct Scrapers {
    store: Store,
    /// Series of all targets.
    total: Arc<AtomicUsize>,
    /// By the pod's uid; a scraper ends when its sender goes.
    running: HashMap<String, watch::Sender<Target>>,
    tasks: JoinSet<()>,
}

impl Scrapers {
    fn apply(&mut self, pod: &Pod) -> Option<String> {
        let uid = pod.metadata.uid.clone()?;
        let Some(target) = Target::of(pod) else {
            self.running.remove(&uid);
            return None;
        };
        if let Some(known) = self.running.get(&uid) {
            known.send_if_modified(|before| {
                let changed = *before != target;
                if changed {
                    *before = target;
                }
                changed
            });
        } else {
            let (sender, receiver) = watch::channel(target);
            let scraper = Scraper::new(self.store.clone(), Arc::clone(&self.total), now);
            self.tasks.spawn(scraper.run(receiver));
            self.running.insert(uid.clone(), sender);
        }
        Some(uid)
    }
}

/// Asks one target.
struct Scraper {
    store: Store,
    total: Arc<AtomicUsize>,
    /// By the text that names it; with the round in which it was last seen.
    known: HashMap<Box<str>, (Option<Arc<Series>>, u64)>,
    round: u64,
    /// When it last answered.
    answered: Option<Millis>,
    /// When what it counts with began.
    starts: Starts,
    connection: Option<Connection>,
    clock: fn() -> Millis,
}

impl Scraper {
    fn new(store: Store, total: Arc<AtomicUsize>, clock: fn() -> Millis) -> Self {
        Self {
            store,
            total,
            known: HashMap::new(),
            round: 0,
            answered: None,
            starts: Starts::default(),
            connection: None,
            clock,
        }
    }

    async fn run(mut self, mut target: watch::Receiver<Target>) {
        loop {
            let now = target.borrow_and_update().clone();
            let started = Instant::now();
            self.once(&now).await;
            let pause = if now.ending { ENDING } else { self.pause() };
            tokio::select! {
                () = tokio::time::sleep(pause.saturating_sub(started.elapsed())) => {}
                changed = target.changed() => if changed.is_err() {
                    let last = target.borrow().clone();
                    return self.end(&last);
                },
            }
        }
    }

    fn pause(&self) -> Duration {
        let wanted = Duration::from_secs((self.total.load(Relaxed) / SAMPLES_A_SECOND).try_into().unwrap_or(u64::MAX));
        wanted.clamp(SHORTEST, LONGEST)
    }

    async fn once(&mut self, target: &Target) {
        let started = Instant::now();
        let text = fetch::get(&mut self.connection, target.address, &target.path).await;
        let at = (self.clock)();
        let took = started.elapsed().as_secs_f64();
        let (up, count) = match text {
            Ok(text) => (1.0, self.take(target, &text, at)),
            Err(problem) => {
                tracing::debug!(%problem, pod = %target.pod, "metrics are not to be had");
                self.gone(at);
                (0.0, 0)
            }
        };
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        for (name, value) in [("up", up), ("scrape_duration_seconds", took), ("scrape_samples_scraped", count as f64)] {
            let labels = target.labels([("__name__".into(), name.into())]);
            if let Some(series) = self.store.metrics().series(&labels) {
                self.store.metrics().append(&series, Sample { at, value });
            }
        }
    }

    /// Takes what was answered; says how many samples it was.
    fn take(&mut self, target: &Target, text: &str, at: Millis) -> usize {
        self.round += 1;
        let starts = Starts::of(text);
        let before = std::mem::replace(&mut self.starts, starts);
        let (mut wrong, mut count) = (0, 0);
        for line in exposition::lines(text, &mut wrong) {
            count += 1;
            if let Some((series, seen)) = self.known.get_mut(line.series) {
                *seen = self.round;
                if let Some(series) = series {
                    let start = starts.of_series(line.series);
                    if start != before.of_series(line.series) {
                        begin(&self.store, line.series, series, self.answered, start, at);
                    }
                    self.store.metrics().append(series, Sample { at: line.at.unwrap_or(at), value: line.value });
                }
                continue;
            }
            if self.known.len() >= MAX_SERIES {
                continue;
            }
            let labels = exposition::labels(line.series).map(|own| target.labels(own));
            let series = labels.and_then(|labels: Labels| self.store.metrics().series(&labels));
            if let Some(series) = &series {
                let start = starts.of_series(line.series).or(target.started);
                begin(&self.store, line.series, series, self.answered, start, at);
                self.store.metrics().append(series, Sample { at: line.at.unwrap_or(at), value: line.value });
            }
            self.known.insert(line.series.into(), (series, self.round));
            self.total.fetch_add(1, Relaxed);
        }
        if wrong > 0 {
            tracing::debug!(wrong, pod = %target.pod, "lines of its metrics cannot be read");
        }
        let (round, before) = (self.round, self.known.len());
        let store = &self.store;
        self.known.retain(|_, (series, seen)| {
            let stays = *seen == round;
            if let (false, Some(series)) = (stays, series) {
                store.metrics().append(series, Sample { at, value: STALE });
            }
            stays
        });
        self.total.fetch_sub(before - self.known.len(), Relaxed);
        self.answered = Some(at);
        count
    }

    /// Nothing was answered: every series ends until it is seen again.
    fn gone(&mut self, at: Millis) {
        self.total.fetch_sub(self.known.len(), Relaxed);
        for (_, (series, _)) in self.known.drain() {
            if let Some(series) = series {
                self.store.metrics().append(&series, Sample { at, value: STALE });
            }
        }
    }

    fn end(&mut self, target: &Target) {
        let at = (self.clock)();
        self.gone(at);
        for name in ["up", "scrape_duration_seconds", "scrape_samples_scraped"] {
            let labels = target.labels([("__name__".into(), name.into())]);
            if let Some(series) = self.store.metrics().series(&labels) {
                self.store.metrics().append(&series, Sample { at, value: STALE });
            }
        }
    }
}

/// A counter that is new, or that was begun anew, was zero before: without that the requests up to its first sample would never
/// count, nor those after a restart once they are as many as before it. It was zero when its target last `answered`, and when
/// what counts began: then it has no value since.
fn begin(store: &Store, name: &str, series: &Arc<Series>, answered: Option<Millis>, start: Option<Millis>, at: Millis) {
    let family = name.split('{').next().unwrap_or_default();
    let counts = ["_total", "_count", "_sum", "_bucket"].iter().any(|suffix| family.ends_with(suffix));
    let Some(zero) = answered.max(start).filter(|zero| counts && *zero < at) else { return };
    let Ok(since) = store.metrics().samples(series, start.unwrap_or(0), Millis::MAX) else { return };
    // That it had ended may have been seen after it began anew.
    if since.iter().all(|sample| sample.value.to_bits() == STALE.to_bits()) {
        let zero = since.last().map_or(zero, |end| zero.max(end.at + 1));
        store.metrics().append(series, Sample { at: zero, value: 0.0 });
    }
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
