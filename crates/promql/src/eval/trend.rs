//! How the samples of a range follow each other: `changes`, `resets`, `deriv`, `predict_linear`, `double_exponential_smoothing`.

use super::Cell;
use super::range::{Context, Window, started_anew};
use crate::ast::Extension;
use crate::error::Error;
use crate::kahan;
use crate::storage::{FloatSample, HistogramSample};

type Answer = Result<Option<Cell>, Error>;

/// A float or a histogram sample.
#[derive(Clone, Copy)]
enum Sample<'a> {
    Float(&'a FloatSample),
    Histogram(&'a HistogramSample),
}

impl Sample<'_> {
    fn time(&self) -> i64 {
        match self {
            Sample::Float(sample) => sample.time,
            Sample::Histogram(sample) => sample.time,
        }
    }
}

/// How often a condition holds between a sample and the next one. Of an anchored range, the last sample before it counts too.
fn count_between(window: &Window<'_>, context: &Context<'_>, holds: impl Fn(Sample<'_>, Sample<'_>) -> bool) -> Answer {
    let mut floats = window.floats.iter().peekable();
    let mut histograms = window.histograms.iter().peekable();
    let mut samples = std::iter::from_fn(|| match (floats.peek(), histograms.peek()) {
        (Some(float), Some(histogram)) if float.time >= histogram.time => histograms.next().map(Sample::Histogram),
        (Some(_), _) => floats.next().map(Sample::Float),
        (None, _) => histograms.next().map(Sample::Histogram),
    })
    .peekable();
    let anchored = context.extension == Some(Extension::Anchored);
    let mut before = None;
    if anchored {
        while let Some(sample) = samples.next_if(|sample| sample.time() <= window.start) {
            before = Some(sample);
        }
        if samples.peek().is_none() {
            return Ok(None);
        }
    }
    let mut count = 0;
    for now in samples {
        count += u32::from(before.is_some_and(|before| holds(before, now)));
        before = Some(now);
    }
    Ok(Some(Cell::Float(f64::from(count))))
}

pub(crate) fn changes(window: &Window<'_>, context: &Context<'_>) -> Answer {
    count_between(window, context, |before, now| match (before, now) {
        (Sample::Float(before), Sample::Float(now)) => {
            before.value != now.value && !(before.value.is_nan() && now.value.is_nan())
        }
        (Sample::Histogram(before), Sample::Histogram(now)) => !now.histogram.is_same(&before.histogram),
        _ => true,
    })
}

pub(crate) fn resets(window: &Window<'_>, context: &Context<'_>) -> Answer {
    count_between(window, context, |before, now| match (before, now) {
        (Sample::Float(before), Sample::Float(now)) => {
            now.value < before.value || started_anew((before.start, before.time), (now.start, now.time))
        }
        (Sample::Histogram(before), Sample::Histogram(now)) => {
            started_anew((before.start, before.time), (now.start, now.time))
                || now.histogram.is_reset_after(&before.histogram)
        }
        _ => true,
    })
}

/// The floats of a window, if there are at least two; that histograms beside them do not count is said.
fn floats<'a>(window: &Window<'a>, context: &Context<'_>) -> Option<&'a [FloatSample]> {
    if !window.floats.is_empty() && !window.histograms.is_empty() {
        context.annotate(|annotations, at, metric| annotations.ignored_in_range(at, metric));
    }
    (window.floats.len() > 1).then_some(window.floats)
}

/// Slope and value at a time of the line that lies nearest to all samples.
fn regression(samples: &[FloatSample], time: i64) -> (f64, f64) {
    let first = samples.first().map_or(f64::NAN, |sample| sample.value);
    if samples.iter().all(|sample| sample.value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let mut sums = [(0.0, 0.0); 4];
    for sample in samples {
        let x = (sample.time - time) as f64 / 1000.0;
        for (sum, value) in sums.iter_mut().zip([x, sample.value, x * sample.value, x * x]) {
            *sum = kahan::add(value, sum.0, sum.1);
        }
    }
    let count = samples.len() as f64;
    let [x, y, xy, xx] = sums.map(|(sum, compensation)| sum + compensation);
    let slope = (xy - x * y / count) / (xx - x * x / count);
    (slope, y / count - slope * x / count)
}

pub(crate) fn deriv(window: &Window<'_>, context: &Context<'_>) -> Answer {
    let Some(samples) = floats(window, context) else { return Ok(None) };
    // From a time near to the samples, so that rounding takes little.
    let near = samples.first().map_or(window.end, |sample| sample.time);
    Ok(Some(Cell::Float(regression(samples, near).0)))
}

pub(crate) fn predict_linear(window: &Window<'_>, context: &Context<'_>) -> Answer {
    let Some(samples) = floats(window, context) else { return Ok(None) };
    let (slope, value) = regression(samples, window.time);
    Ok(Some(Cell::Float(slope * context.arg(0) + value)))
}

pub(crate) fn double_exponential_smoothing(window: &Window<'_>, context: &Context<'_>) -> Answer {
    let (smoothing, trend_factor) = (context.arg(0), context.arg(1));
    for (what, factor, short) in [("smoothing", smoothing, "sf"), ("trend", trend_factor, "tf")] {
        if factor <= 0.0 || factor >= 1.0 {
            return Err(Error::evaluation(format!(
                "invalid {what} factor. Expected: 0 < {short} < 1, got: {factor:.6}"
            )));
        }
    }
    let Some([first, second, ..]) = floats(window, context) else { return Ok(None) };
    let (mut before, mut value, mut trend) = (0.0, first.value, second.value - first.value);
    for (index, sample) in window.floats.iter().skip(1).enumerate() {
        if index > 0 {
            trend = trend_factor * (value - before) + (1.0 - trend_factor) * trend;
        }
        let next = smoothing * sample.value + (1.0 - smoothing) * (value + trend);
        (before, value) = (value, next);
    }
    Ok(Some(Cell::Float(value)))
}
