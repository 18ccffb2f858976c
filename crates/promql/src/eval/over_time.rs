//! What is said of all samples of a range: `avg_over_time` and its like.

use super::Cell;
use super::range::{Context, Window};
use crate::annotations::Operation;
use crate::error::Error;
use crate::histogram::{Compensation, Histogram, IncompatibleSchemas, Outcome, ResetHint};
use crate::kahan;
use crate::storage::{FloatSample, HistogramSample};

type Answer = Result<Option<Cell>, Error>;

fn float(value: f64) -> Answer {
    Ok(Some(Cell::Float(value)))
}

/// The floats of a window, if there are any; that histograms beside them do not count is said.
fn floats_only<'a>(window: &Window<'a>, context: &Context<'_>) -> Option<&'a [FloatSample]> {
    if window.floats.is_empty() {
        return None;
    }
    if !window.histograms.is_empty() {
        context.annotate(|annotations, at, metric| annotations.ignored_in_range(at, metric));
    }
    Some(window.floats)
}

/// Whether floats and histograms are mixed, which is said.
fn mixed(window: &Window<'_>, context: &Context<'_>) -> bool {
    let mixed = !window.floats.is_empty() && !window.histograms.is_empty();
    if mixed {
        context.annotate(|annotations, at, metric| annotations.mixed_samples(at, metric));
    }
    mixed
}

/// The mean of floats: of their sum as long as that is finite, else step by step.
pub(super) struct Mean {
    count: f64,
    sum: f64,
    compensation: f64,
    incremental: bool,
}

impl Mean {
    pub(super) fn new(first: f64) -> Self {
        Self { count: 1.0, sum: first, compensation: 0.0, incremental: false }
    }

    pub(super) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.incremental {
            let (sum, compensation) = kahan::add(value, self.sum, self.compensation);
            if !sum.is_infinite() {
                (self.sum, self.compensation) = (sum, compensation);
                return;
            }
            self.incremental = true;
            self.sum /= self.count - 1.0;
            self.compensation /= self.count - 1.0;
        }
        let kept = (self.count - 1.0) / self.count;
        (self.sum, self.compensation) = kahan::add(value / self.count, kept * self.sum, kept * self.compensation);
    }

    pub(super) fn value(&self) -> f64 {
        if self.incremental {
            self.sum + self.compensation
        } else {
            self.sum / self.count + self.compensation / self.count
        }
    }
}

/// The sum or mean of histograms.
pub(super) struct HistogramSum {
    sum: Histogram,
    compensation: Option<Compensation>,
    count: f64,
    incremental: bool,
    reset: bool,
    not_reset: bool,
    pub(super) reconciled: bool,
}

impl HistogramSum {
    pub(super) fn new(first: &Histogram) -> Self {
        let mut sum = Self {
            sum: first.clone(),
            compensation: None,
            count: 1.0,
            incremental: false,
            reset: false,
            not_reset: false,
            reconciled: false,
        };
        sum.note_hint(first);
        sum
    }

    fn note_hint(&mut self, histogram: &Histogram) {
        self.reset |= histogram.hint == ResetHint::Reset;
        self.not_reset |= histogram.hint == ResetHint::NotReset;
    }

    fn compensated(
        sum: &mut Histogram,
        compensation: &mut Option<Compensation>,
        other: &Histogram,
    ) -> Result<Outcome, IncompatibleSchemas> {
        let mut own = compensation.take().unwrap_or_else(|| Compensation::of(sum));
        let outcome = sum.add_compensated(other, &mut own);
        *compensation = Some(own);
        outcome
    }

    /// Adds to a sum.
    pub(super) fn add(&mut self, histogram: &Histogram) -> Result<(), IncompatibleSchemas> {
        self.note_hint(histogram);
        self.count += 1.0;
        let outcome = Self::compensated(&mut self.sum, &mut self.compensation, histogram)?;
        self.reconciled |= outcome.bounds_reconciled;
        Ok(())
    }

    /// Adds to a mean.
    pub(super) fn add_to_mean(&mut self, histogram: &Histogram) -> Result<(), IncompatibleSchemas> {
        self.note_hint(histogram);
        self.count += 1.0;
        if !self.incremental {
            let (mut sum, mut compensation) = (self.sum.clone(), self.compensation.clone());
            let outcome = Self::compensated(&mut sum, &mut compensation, histogram)?;
            self.reconciled |= outcome.bounds_reconciled;
            if !sum.has_overflow() {
                (self.sum, self.compensation) = (sum, compensation);
                return Ok(());
            }
            self.incremental = true;
            let before = self.count - 1.0;
            self.scale(|value| value / before);
        }
        let kept = (self.count - 1.0) / self.count;
        self.scale(|value| value * kept);
        let mut part = histogram.clone();
        part.divide(self.count);
        let outcome = Self::compensated(&mut self.sum, &mut self.compensation, &part)?;
        self.reconciled |= outcome.bounds_reconciled;
        Ok(())
    }

    fn scale(&mut self, by: impl Fn(f64) -> f64 + Copy) {
        self.sum.scale(by);
        if let Some(compensation) = &mut self.compensation {
            compensation.scale(by);
        }
    }

    /// Whether some of them say that they start anew, and others that they continue.
    pub(super) fn collides(&self) -> bool {
        self.reset && self.not_reset
    }

    pub(super) fn sum(mut self) -> Histogram {
        if let Some(compensation) = &self.compensation {
            self.sum.settle(compensation);
        }
        self.sum
    }

    pub(super) fn mean(mut self) -> Histogram {
        if !self.incremental {
            let count = self.count;
            self.scale(|value| value / count);
        }
        self.sum()
    }
}

fn of_histograms(samples: &[HistogramSample], context: &Context<'_>, mean: bool) -> Option<Cell> {
    let (first, rest) = samples.split_first()?;
    let mut sum = HistogramSum::new(&first.histogram);
    for sample in rest {
        let added = if mean { sum.add_to_mean(&sample.histogram) } else { sum.add(&sample.histogram) };
        if added.is_err() {
            context.annotate(|annotations, at, metric| annotations.mixed_schemas(at, metric));
            return None;
        }
    }
    if sum.collides() {
        context.annotate(|annotations, at, _| annotations.reset_collision(at, Operation::Aggregation));
    }
    if sum.reconciled {
        context.annotate(|annotations, at, _| annotations.reconciled_bounds(at, Operation::Aggregation));
    }
    Some(if mean { sum.mean() } else { sum.sum() }.into())
}

pub(crate) fn avg(window: &Window<'_>, context: &Context<'_>) -> Answer {
    if mixed(window, context) {
        return Ok(None);
    }
    let Some((first, rest)) = window.floats.split_first() else {
        return Ok(of_histograms(window.histograms, context, true));
    };
    let mut mean = Mean::new(first.value);
    rest.iter().for_each(|sample| mean.add(sample.value));
    float(mean.value())
}

pub(crate) fn sum(window: &Window<'_>, context: &Context<'_>) -> Answer {
    if mixed(window, context) {
        return Ok(None);
    }
    if window.floats.is_empty() {
        return Ok(of_histograms(window.histograms, context, false));
    }
    let add = |(sum, compensation), sample: &FloatSample| kahan::add(sample.value, sum, compensation);
    let (sum, compensation) = window.floats.iter().fold((0.0, 0.0), add);
    float(if sum.is_infinite() { sum } else { sum + compensation })
}

pub(crate) fn count(window: &Window<'_>, _: &Context<'_>) -> Answer {
    float((window.floats.len() + window.histograms.len()) as f64)
}

pub(crate) fn present(_: &Window<'_>, _: &Context<'_>) -> Answer {
    float(1.0)
}

pub(crate) fn first(window: &Window<'_>, _: &Context<'_>) -> Answer {
    Ok(match (window.floats.first(), window.histograms.first()) {
        (Some(float), Some(histogram)) if float.time >= histogram.time => {
            Some(Cell::Histogram(histogram.histogram.clone()))
        }
        (Some(float), _) => Some(Cell::Float(float.value)),
        (None, histogram) => histogram.map(|sample| Cell::Histogram(sample.histogram.clone())),
    })
}

pub(crate) fn last(window: &Window<'_>, _: &Context<'_>) -> Answer {
    Ok(match (window.floats.last(), window.histograms.last()) {
        (Some(float), Some(histogram)) if float.time <= histogram.time => {
            Some(Cell::Histogram(histogram.histogram.clone()))
        }
        (Some(float), _) => Some(Cell::Float(float.value)),
        (None, histogram) => histogram.map(|sample| Cell::Histogram(sample.histogram.clone())),
    })
}

pub(crate) fn time_of_first(window: &Window<'_>, _: &Context<'_>) -> Answer {
    let times = [window.floats.first().map(|s| s.time), window.histograms.first().map(|s| s.time)];
    Ok(times.into_iter().flatten().min().map(|time| Cell::Float(time as f64 / 1000.0)))
}

pub(crate) fn time_of_last(window: &Window<'_>, _: &Context<'_>) -> Answer {
    let times = [window.floats.last().map(|s| s.time), window.histograms.last().map(|s| s.time)];
    Ok(times.into_iter().flatten().max().map(|time| Cell::Float(time as f64 / 1000.0)))
}

/// The sample that no later one beats. A number beats one that is none.
fn best(window: &Window<'_>, context: &Context<'_>, beats: impl Fn(f64, f64) -> bool) -> Option<FloatSample> {
    let (first, rest) = floats_only(window, context)?.split_first()?;
    let better = |best: FloatSample, sample: &FloatSample| {
        if beats(sample.value, best.value) || best.value.is_nan() { *sample } else { best }
    };
    Some(rest.iter().fold(*first, better))
}

pub(crate) fn max(window: &Window<'_>, context: &Context<'_>) -> Answer {
    Ok(best(window, context, |new, old| new > old).map(|sample| Cell::Float(sample.value)))
}

pub(crate) fn min(window: &Window<'_>, context: &Context<'_>) -> Answer {
    Ok(best(window, context, |new, old| new < old).map(|sample| Cell::Float(sample.value)))
}

pub(crate) fn time_of_max(window: &Window<'_>, context: &Context<'_>) -> Answer {
    Ok(best(window, context, |new, old| new >= old).map(|sample| Cell::Float(sample.time as f64 / 1000.0)))
}

pub(crate) fn time_of_min(window: &Window<'_>, context: &Context<'_>) -> Answer {
    Ok(best(window, context, |new, old| new <= old).map(|sample| Cell::Float(sample.time as f64 / 1000.0)))
}

/// A quantile of values, which are put in order. What is no number counts as the least.
pub(super) fn quantile_of(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor();
    let weight = rank - lower;
    let at = |index: usize| values.get(index.min(values.len() - 1)).copied().unwrap_or(f64::NAN);
    at(lower as usize) * (1.0 - weight) + at(lower as usize + 1) * weight
}

pub(crate) fn quantile(window: &Window<'_>, context: &Context<'_>) -> Answer {
    let q = context.arg(0);
    let Some(floats) = floats_only(window, context) else { return Ok(None) };
    if q.is_nan() || !(0.0..=1.0).contains(&q) {
        context.annotate(|annotations, at, _| annotations.invalid_quantile(at, q));
    }
    let mut values: Vec<f64> = floats.iter().map(|sample| sample.value).collect();
    float(quantile_of(q, &mut values))
}

pub(crate) fn mad(window: &Window<'_>, context: &Context<'_>) -> Answer {
    let Some(floats) = floats_only(window, context) else { return Ok(None) };
    let mut values: Vec<f64> = floats.iter().map(|sample| sample.value).collect();
    if values.iter().any(|value| value.is_nan()) {
        return float(f64::NAN);
    }
    let median = quantile_of(0.5, &mut values);
    values.iter_mut().for_each(|value| *value = (*value - median).abs());
    float(quantile_of(0.5, &mut values))
}

fn variance(window: &Window<'_>, context: &Context<'_>) -> Option<f64> {
    let floats = floats_only(window, context)?;
    let (mut mean, mut mean_c, mut sum, mut sum_c, mut count) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for sample in floats {
        count += 1.0;
        let delta = sample.value - (mean + mean_c);
        (mean, mean_c) = kahan::add(delta / count, mean, mean_c);
        (sum, sum_c) = kahan::add(delta * (sample.value - (mean + mean_c)), sum, sum_c);
    }
    Some((sum + sum_c) / count)
}

pub(crate) fn stddev(window: &Window<'_>, context: &Context<'_>) -> Answer {
    Ok(variance(window, context).map(|variance| Cell::Float(variance.sqrt())))
}

pub(crate) fn stdvar(window: &Window<'_>, context: &Context<'_>) -> Answer {
    Ok(variance(window, context).map(Cell::Float))
}
