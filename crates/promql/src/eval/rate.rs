//! How fast counters and gauges change: `rate`, `increase`, `delta`, `irate`, `idelta`. Between the outermost samples of a range and
//! its ends, the change is extrapolated as Prometheus does: to the end if a sample could have been expected so near, else by half the
//! usual distance, and a counter not below zero.

use super::Cell;
use super::range::{Context, Window, started_anew};
use super::rate_histogram as histograms;
use crate::ast::Extension;
use crate::error::Error;
use crate::histogram::{Histogram, ResetHint};
use crate::storage::FloatSample;

pub(crate) fn rate(window: &Window<'_>, context: &Context<'_>) -> Result<Option<Cell>, Error> {
    Ok(change(window, context, true, true))
}

pub(crate) fn increase(window: &Window<'_>, context: &Context<'_>) -> Result<Option<Cell>, Error> {
    Ok(change(window, context, true, false))
}

pub(crate) fn delta(window: &Window<'_>, context: &Context<'_>) -> Result<Option<Cell>, Error> {
    Ok(change(window, context, false, false))
}

pub(crate) fn irate(window: &Window<'_>, context: &Context<'_>) -> Result<Option<Cell>, Error> {
    Ok(instant_change(window, context, true))
}

pub(crate) fn idelta(window: &Window<'_>, context: &Context<'_>) -> Result<Option<Cell>, Error> {
    Ok(instant_change(window, context, false))
}

/// What a change is made of before it is extrapolated.
enum Raw {
    Float(f64),
    Histogram(Histogram),
}

fn change(window: &Window<'_>, context: &Context<'_>, counter: bool, per_second: bool) -> Option<Cell> {
    if !window.floats.is_empty() && !window.histograms.is_empty() {
        context.annotate(|annotations, at, metric| annotations.mixed_samples(at, metric));
        return None;
    }
    if let Some(extension) = context.extension {
        let smoothed = extension == Extension::Smoothed;
        return if window.floats.is_empty() {
            histograms::extended(window, context, counter, per_second, smoothed)
        } else {
            extended(window, context, counter, per_second, smoothed)
        };
    }
    if window.floats.is_empty() {
        let (first, last) = (window.histograms.first()?, window.histograms.last()?);
        let raw = if window.histograms.len() > 1 {
            Some(Raw::Histogram(histograms::raw_change(window, context, counter)?))
        } else {
            None
        };
        let ends = Ends {
            first: (first.start, first.time),
            last: last.time,
            samples: window.histograms.len(),
            first_count: first.histogram.count,
        };
        let add_first = |raw: Option<Raw>| match raw {
            Some(Raw::Histogram(mut sum)) => {
                histograms::add(&mut sum, &first.histogram, context)?;
                Some(Raw::Histogram(sum))
            }
            _ => Some(Raw::Histogram((*first.histogram).clone())),
        };
        return extrapolate(raw, &ends, add_first, window, context, counter, per_second);
    }
    let (first, last) = (window.floats.first()?, window.floats.last()?);
    let mut value = last.value - first.value;
    if counter {
        value += reset_correction(window, context);
    }
    let raw = (window.floats.len() > 1).then_some(Raw::Float(value));
    let ends = Ends {
        first: (first.start, first.time),
        last: last.time,
        samples: window.floats.len(),
        first_count: first.value,
    };
    let add_first = |raw: Option<Raw>| match raw {
        Some(Raw::Float(value)) => Some(Raw::Float(value + first.value)),
        _ => Some(Raw::Float(first.value)),
    };
    extrapolate(raw, &ends, add_first, window, context, counter, per_second)
}

/// What resets within the window took from a counter.
fn reset_correction(window: &Window<'_>, context: &Context<'_>) -> f64 {
    let within = |places: &[usize]| {
        let from = places.partition_point(|place| *place <= window.first);
        let to = places.partition_point(|place| *place < window.first + window.floats.len());
        from..to
    };
    if !window.overlaps.is_empty() && !within(window.overlaps).is_empty() {
        context.annotate(|annotations, at, metric| annotations.start_time_overlap(at, metric));
    }
    if window.resets.is_empty() {
        return 0.0;
    }
    let resets = window.resets.get(within(window.resets)).unwrap_or_default();
    let before = |place: &usize| window.floats.get(place - window.first - 1).map_or(0.0, |sample| sample.value);
    resets.iter().map(before).sum()
}

/// The outermost samples of a window.
struct Ends {
    /// Start and time.
    first: (i64, i64),
    last: i64,
    samples: usize,
    /// How far a counter was from zero.
    first_count: f64,
}

fn extrapolate(
    raw: Option<Raw>,
    ends: &Ends,
    add_first: impl FnOnce(Option<Raw>) -> Option<Raw>,
    window: &Window<'_>,
    context: &Context<'_>,
    counter: bool,
    per_second: bool,
) -> Option<Cell> {
    let seconds = |from: i64, to: i64| (to - from) as f64 / 1000.0;
    let (start, first) = ends.first;
    let mut to_start = seconds(window.start, first);
    let mut to_end = seconds(ends.last, window.end);
    let mut sampled = seconds(first, ends.last);
    let average = if ends.samples > 1 { sampled / (ends.samples - 1) as f64 } else { 0.0 };
    let threshold = average * 1.1;
    let raw = if counter && start != 0 && start > window.start && start < first {
        // It is known when the counter was zero: nothing has to be guessed on this side.
        to_start = 0.0;
        sampled = seconds(start, ends.last);
        add_first(raw)?
    } else {
        let raw = raw?;
        if to_start >= threshold {
            to_start = average / 2.0;
        }
        let total = match &raw {
            Raw::Float(value) => *value,
            Raw::Histogram(histogram) => histogram.count,
        };
        if counter && total > 0.0 && ends.first_count >= 0.0 {
            to_start = to_start.min(sampled * (ends.first_count / total));
        }
        raw
    };
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    let mut factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
    if per_second {
        factor /= context.seconds;
    }
    Some(match raw {
        Raw::Float(value) => Cell::Float(value * factor),
        Raw::Histogram(mut histogram) => {
            histogram.multiply(factor);
            histogram.into()
        }
    })
}

/// A float or a histogram sample.
enum Sample<'a> {
    Float(&'a FloatSample),
    Histogram(&'a crate::storage::HistogramSample),
}

impl Sample<'_> {
    fn start_and_time(&self) -> (i64, i64) {
        match self {
            Sample::Float(sample) => (sample.start, sample.time),
            Sample::Histogram(sample) => (sample.start, sample.time),
        }
    }
}

/// The change between the last two samples.
fn instant_change(window: &Window<'_>, context: &Context<'_>, rate: bool) -> Option<Cell> {
    let mut last: Vec<Sample<'_>> = window.floats.iter().rev().take(2).map(Sample::Float).collect();
    last.extend(window.histograms.iter().rev().take(2).map(Sample::Histogram));
    last.sort_by_key(|sample| std::cmp::Reverse(sample.start_and_time().1));
    let [now, before, ..] = last.as_slice() else { return None };
    let (ends, begins) = (now.start_and_time(), before.start_and_time());
    let interval = ends.1 - begins.1;
    if interval == 0 {
        return None;
    }
    let seconds = interval as f64 / 1000.0;
    let anew = started_anew(begins, ends);
    match (before, now) {
        (Sample::Float(before), Sample::Float(now)) => {
            let reset = rate && (now.value < before.value || anew);
            let value = if reset { now.value } else { now.value - before.value };
            Some(Cell::Float(if rate { value / seconds } else { value }))
        }
        (Sample::Histogram(before), Sample::Histogram(now)) => {
            let (before, now) = (&before.histogram, &now.histogram);
            let gauges = [before, now].map(|histogram| histogram.hint == ResetHint::Gauge);
            if rate && gauges != [false, false] {
                context.annotate(|annotations, at, metric| annotations.not_a_counter(at, metric));
            }
            if !rate && gauges != [true, true] {
                context.annotate(|annotations, at, metric| annotations.not_a_gauge(at, metric));
            }
            let mut value = (**now).clone();
            if !rate || !(anew || now.is_reset_after(before)) {
                histograms::subtract(&mut value, before, context)?;
            }
            value.hint = ResetHint::Gauge;
            value.compact();
            if rate {
                value.divide(seconds);
            }
            Some(value.into())
        }
        _ => {
            context.annotate(|annotations, at, metric| annotations.mixed_samples(at, metric));
            None
        }
    }
}

/// The value between two samples at a time. A counter that was reset between them started from zero.
fn interpolate(before: &FloatSample, after: &FloatSample, time: i64, counter: bool) -> f64 {
    let from = if counter && after.value < before.value { 0.0 } else { before.value };
    from + (after.value - from) * (time - before.time) as f64 / (after.time - before.time) as f64
}

/// The first and last sample that a range with its extension takes: the last one up to its start, and its last or the first one
/// behind it.
pub(super) fn outermost<T>(
    samples: &[T],
    time: impl Fn(&T) -> i64,
    (start, end): (i64, i64),
    smoothed: bool,
) -> Option<(usize, usize)> {
    let last = samples.len().checked_sub(1)?;
    let searched = samples.get(..last)?;
    let first = searched.partition_point(|sample| time(sample) <= start).saturating_sub(1);
    let last = if smoothed { searched.partition_point(|sample| time(sample) < end) } else { last };
    let reaches = samples.get(last).is_some_and(|sample| time(sample) > start);
    let begins = !smoothed || samples.get(first).is_some_and(|sample| time(sample) <= end);
    (reaches && begins).then_some((first, last))
}

/// The values at both ends of a range.
fn ends(
    floats: &[FloatSample],
    (first, last): (usize, usize),
    (start, end): (i64, i64),
    smoothed: bool,
    counter: bool,
) -> Option<(f64, f64)> {
    let (left, right) = (floats.get(first)?, floats.get(last)?);
    let left = match floats.get(first + 1) {
        Some(next) if smoothed && left.time < start => interpolate(left, next, start, counter),
        _ => left.value,
    };
    let right = match last.checked_sub(1).and_then(|before| floats.get(before)) {
        Some(before) if smoothed && right.time > end => interpolate(before, right, end, counter),
        _ => right.value,
    };
    Some((left, right))
}

fn extended(
    window: &Window<'_>,
    context: &Context<'_>,
    counter: bool,
    per_second: bool,
    smoothed: bool,
) -> Option<Cell> {
    let range = (window.start, window.end);
    let (first, last) = outermost(window.floats, |sample| sample.time, range, smoothed)?;
    let (left, right) = ends(window.floats, (first, last), range, smoothed, counter)?;
    let mut value = right - left;
    if counter {
        let inner = window.floats.get(first..=last)?.iter();
        // What the ends stand for is not counted twice.
        let inner = inner.filter(|sample| sample.time > window.start && sample.time < window.end);
        let mut before = left;
        for now in inner.map(|sample| sample.value).chain([right]) {
            if now < before {
                value += before;
            }
            before = now;
        }
    }
    Some(Cell::Float(if per_second { value / context.seconds } else { value }))
}

/// The samples of a range with values at both of its ends.
pub(super) fn extend_floats(floats: &[FloatSample], start: i64, end: i64, smoothed: bool) -> Vec<FloatSample> {
    let Some(last) = floats.len().checked_sub(1) else { return Vec::new() };
    let searched = floats.get(..last).unwrap_or_default();
    let first = searched.partition_point(|sample| sample.time <= start).saturating_sub(1);
    let last = if smoothed { searched.partition_point(|sample| sample.time < end) } else { last };
    if floats.get(last).is_none_or(|sample| sample.time <= start) {
        return Vec::new();
    }
    let Some((left, right)) = ends(floats, (first, last), (start, end), smoothed, false) else { return Vec::new() };
    let inner = floats.get(first..=last).unwrap_or_default().iter();
    let inner = inner.filter(|sample| sample.time > start && sample.time < end).copied();
    let end_at = |time: i64, value: f64| FloatSample { time, start: 0, value };
    std::iter::once(end_at(start, left)).chain(inner).chain([end_at(end, right)]).collect()
}
