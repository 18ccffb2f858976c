//! `load`: fills the storage, as Prometheus' own storage would hold it.

use std::collections::BTreeMap;
use std::sync::Arc;

use varka_promql::Labels;
use varka_promql::duration::parse_duration;
use varka_promql::histogram::{CUSTOM_SCHEMA, Histogram, ResetHint};
use varka_promql::labels::METRIC_NAME;
use varka_promql::storage::{FloatSample, HistogramSample, Memory, Samples};

use super::series::{self, Item};

/// Series to be loaded.
pub(super) struct Load {
    series: Vec<(Labels, Samples)>,
    /// Classic histograms are loaded as native ones too.
    converts: bool,
}

impl Load {
    pub(super) fn read(line: &str, block: &[&str]) -> Result<Self, String> {
        let (word, step) = line.split_once(char::is_whitespace).ok_or("load needs a step")?;
        let step = parse_duration(step.trim()).ok_or_else(|| format!("{step:?} is no duration"))?;
        let mut starts: Option<Vec<Option<i64>>> = None;
        let mut loaded: Vec<(Labels, Samples)> = Vec::new();
        for line in block {
            let (metric, values) = series::split(line);
            if let Some(metric) = metric.strip_suffix("@st") {
                series::labels(metric)?;
                starts = Some(offsets(values)?);
                continue;
            }
            let (labels, items) = series::series(line)?;
            // Of the same series twice, the second one counts.
            loaded.retain(|(other, _)| *other != labels);
            loaded.push((labels, samples(items, step, starts.take().as_deref())));
        }
        Ok(Self { series: loaded, converts: word == "load_with_nhcb" })
    }

    pub(super) fn apply(self, storage: &mut Memory) -> Result<(), String> {
        let converted = if self.converts { converted(&self.series)? } else { Vec::new() };
        for (labels, samples) in self.series.into_iter().chain(converted) {
            storage.append(labels, samples);
        }
        for (_, samples) in storage.series_mut() {
            hint(samples);
        }
        Ok(())
    }
}

fn samples(items: Vec<Item>, step: i64, starts: Option<&[Option<i64>]>) -> Samples {
    let mut samples = Samples::default();
    for (index, item) in items.into_iter().enumerate() {
        let time = i64::try_from(index).unwrap_or_default() * step;
        let offset = starts.and_then(|starts| starts.get(index).copied().flatten());
        let start = offset.map_or(0, |offset| time + offset);
        match item {
            Item::Nothing => {}
            Item::Float(value) => samples.floats.push(FloatSample { time, start, value }),
            Item::Histogram(histogram, _) => {
                samples.histograms.push(HistogramSample { time, start, histogram: Arc::new(histogram) });
            }
        }
    }
    samples
}

/// `-1m`, `-30s-1mx4`, `_x2`: how long before each sample its counter started.
fn offsets(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut offsets = Vec::new();
    for word in text.split_whitespace() {
        let (word, count) = word.rsplit_once('x').unwrap_or((word, ""));
        let count: Option<usize> = if count.is_empty() { None } else { count.parse().ok() };
        if word == "_" {
            offsets.extend(std::iter::repeat_n(None, count.unwrap_or(1)));
            continue;
        }
        let split = word.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-')).map_or(word.len(), |(at, _)| at);
        let (first, step) = word.split_at(split);
        let (mut value, step) = (signed(first)?, if step.is_empty() { 0 } else { signed(step)? });
        for _ in 0..=count.unwrap_or(0) {
            offsets.push(Some(value));
            value += step;
        }
    }
    Ok(offsets)
}

fn signed(text: &str) -> Result<i64, String> {
    let duration =
        parse_duration(text.trim_start_matches(['+', '-'])).ok_or_else(|| format!("{text:?} is no duration"))?;
    Ok(if text.starts_with('-') { -duration } else { duration })
}

/// Says of each histogram whether it continues the one before it, as Prometheus' storage does when it is read.
fn hint(samples: &mut Samples) {
    let floats: Vec<i64> = samples.floats.iter().map(|sample| sample.time).collect();
    let mut before: Option<(i64, Arc<Histogram>)> = None;
    for sample in &mut samples.histograms {
        let now = sample.histogram.clone();
        let apart =
            |(time, _): &&(i64, Arc<Histogram>)| floats.iter().any(|float| float > time && *float < sample.time);
        let hint = match before.as_ref().filter(|before| !apart(before)) {
            _ if matches!(now.hint, ResetHint::Gauge | ResetHint::Reset) => now.hint,
            Some((_, before)) if before.hint != ResetHint::Gauge && alike(before, &now) => {
                let unhinted = Histogram { hint: ResetHint::Unknown, ..(*now).clone() };
                // Where a reset is found, a new chunk begins, and nothing is said of its first sample.
                if unhinted.is_reset_after(before) { ResetHint::Unknown } else { ResetHint::NotReset }
            }
            _ => ResetHint::Unknown,
        };
        sample.histogram = Arc::new(Histogram { hint, ..(*now).clone() });
        before = Some((sample.time, sample.histogram.clone()));
    }
}

/// Whether two histograms could stand in one chunk.
fn alike(a: &Histogram, b: &Histogram) -> bool {
    a.schema == b.schema && a.zero_threshold == b.zero_threshold && a.bounds == b.bounds
}

/// What is known of one classic histogram at one time.
#[derive(Default)]
struct Classic {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

impl Classic {
    fn native(mut self) -> Result<Histogram, String> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by(|later, kept| later.0 == kept.0);
        let count = self.count.or(self.buckets.last().map(|bucket| bucket.1)).unwrap_or_default();
        if self.buckets.last().is_none_or(|bucket| bucket.0 != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let bounds = self.buckets.iter().map(|bucket| bucket.0).filter(|bound| *bound != f64::INFINITY).collect();
        let mut below = 0.0;
        let mut positive = Vec::new();
        for (index, (_, upto)) in (0..).zip(&self.buckets) {
            if *upto < below {
                return Err("the buckets of a classic histogram are not cumulative".to_owned());
            }
            positive.push((index, upto - below));
            below = *upto;
        }
        let mut native =
            Histogram { schema: CUSTOM_SCHEMA, count, sum: self.sum, positive, bounds, ..Histogram::default() };
        native.compact();
        Ok(native)
    }
}

/// Classic histograms as native ones with custom bounds.
fn converted(series: &[(Labels, Samples)]) -> Result<Vec<(Labels, Samples)>, String> {
    let mut classics: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
    for (labels, samples) in series {
        let name = labels.metric_name();
        let suffixes = ["_bucket", "_count", "_sum"];
        let Some((suffix, name)) = suffixes.iter().find_map(|suffix| Some((*suffix, name.strip_suffix(suffix)?)))
        else {
            continue;
        };
        let bound: Option<f64> = labels.get("le").parse().ok();
        let own = labels.iter().filter(|label| !["le", METRIC_NAME].contains(&&*label.name));
        let base: Labels = own.map(|label| (&*label.name, &*label.value)).chain([(METRIC_NAME, name)]).collect();
        let times = classics.entry(base).or_default();
        for sample in &samples.floats {
            let classic = times.entry(sample.time).or_default();
            match (suffix, bound) {
                ("_bucket", Some(bound)) => classic.buckets.push((bound, sample.value)),
                ("_count", _) => classic.count = Some(sample.value),
                ("_sum", _) => classic.sum = sample.value,
                _ => {}
            }
        }
    }
    let native = |(labels, times): (Labels, BTreeMap<i64, Classic>)| {
        let histograms = times
            .into_iter()
            .map(|(time, classic)| Ok(HistogramSample { time, start: 0, histogram: Arc::new(classic.native()?) }));
        Ok((labels, Samples { floats: Vec::new(), histograms: histograms.collect::<Result<_, String>>()? }))
    };
    classics.into_iter().map(native).collect()
}
