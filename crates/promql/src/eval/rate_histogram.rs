//! How fast native histograms change.

use super::Cell;
use super::range::{Context, Window, started_anew};
use super::rate::outermost;
use crate::annotations::Operation;
use crate::histogram::{Histogram, IncompatibleSchemas, Outcome, ResetHint};
use crate::storage::HistogramSample;

fn note(result: Result<Outcome, IncompatibleSchemas>, context: &Context<'_>, operation: Operation) -> Option<()> {
    match result {
        Ok(outcome) => {
            if outcome.bounds_reconciled {
                context.annotate(|annotations, at, _| annotations.reconciled_bounds(at, operation));
            }
            Some(())
        }
        Err(IncompatibleSchemas) => {
            context.annotate(|annotations, at, metric| annotations.mixed_schemas(at, metric));
            None
        }
    }
}

/// Adds, and says what is to be known; nothing when the two do not meet.
pub(super) fn add(sum: &mut Histogram, other: &Histogram, context: &Context<'_>) -> Option<()> {
    note(sum.add(other), context, Operation::Addition)
}

/// Subtracts, and says what is to be known; nothing when the two do not meet.
pub(super) fn subtract(from: &mut Histogram, other: &Histogram, context: &Context<'_>) -> Option<()> {
    note(from.subtract(other), context, Operation::Subtraction)
}

fn warn_of_gauge(context: &Context<'_>) {
    context.annotate(|annotations, at, metric| annotations.not_a_counter(at, metric));
}

fn is_reset(before: &HistogramSample, now: &HistogramSample) -> bool {
    started_anew((before.start, before.time), (now.start, now.time)) || now.histogram.is_reset_after(&before.histogram)
}

/// The change from the first to the last of at least two samples.
pub(super) fn raw_change(window: &Window<'_>, context: &Context<'_>, counter: bool) -> Option<Histogram> {
    let samples = window.histograms;
    let ([first, second, ..], Some(last)) = (samples, samples.last()) else { return None };
    let ends_are_gauges = [first, last].map(|sample| sample.histogram.hint == ResetHint::Gauge);
    if counter && ends_are_gauges != [false, false] {
        warn_of_gauge(context);
    }
    // What was before a reset does not count, so neither does how its buckets were.
    let skip_first = counter && is_reset(first, second);
    let custom = if skip_first { second.histogram.is_custom() } else { first.histogram.is_custom() };
    let mixed = || {
        context.annotate(|annotations, at, metric| annotations.mixed_schemas(at, metric));
        None
    };
    if last.histogram.is_custom() != custom {
        return mixed();
    }
    let inner = samples.get(1..samples.len() - 1).unwrap_or_default();
    if counter {
        if inner.iter().any(|sample| sample.histogram.hint == ResetHint::Gauge) {
            warn_of_gauge(context);
        }
        if inner.iter().any(|sample| sample.histogram.is_custom() != custom) {
            return mixed();
        }
    } else if ends_are_gauges != [true, true] {
        context.annotate(|annotations, at, metric| annotations.not_a_gauge(at, metric));
    }
    let mut change = (*last.histogram).clone();
    if !skip_first {
        subtract(&mut change, &first.histogram, context)?;
    }
    if counter {
        let mut overlaps = false;
        for (index, pair) in samples.windows(2).enumerate() {
            let [before, now] = pair else { continue };
            overlaps |= now.start != 0 && now.start < before.time && now.start != before.start;
            if !(skip_first && index == 0) && is_reset(before, now) {
                add(&mut change, &before.histogram, context)?;
            }
        }
        if overlaps {
            context.annotate(|annotations, at, metric| annotations.start_time_overlap(at, metric));
        }
        // The resolution is that of the coarsest sample, whether or not it was added.
        if let Some(coarsest) = inner.iter().min_by_key(|sample| sample.histogram.schema).filter(|_| !custom) {
            change.coarsen(coarsest.histogram.schema);
        }
    }
    change.hint = ResetHint::Gauge;
    change.compact();
    Some(change)
}

/// The histogram between two samples at a time. A counter that was reset between them started from zero.
pub(super) fn interpolate(
    before: &HistogramSample,
    after: &HistogramSample,
    time: i64,
    counter: bool,
    context: &dyn Fn(Result<Outcome, IncompatibleSchemas>, Operation) -> Option<()>,
) -> Option<Histogram> {
    if time == before.time {
        return Some((*before.histogram).clone());
    }
    let mut between = (*after.histogram).clone();
    if time == after.time {
        return Some(between);
    }
    let part = (time - before.time) as f64 / (after.time - before.time) as f64;
    if counter && after.histogram.is_reset_after(&before.histogram) {
        between.multiply(part);
        return Some(between);
    }
    context(between.subtract(&before.histogram), Operation::Subtraction)?;
    between.multiply(part);
    context(between.add(&before.histogram), Operation::Addition)?;
    Some(between)
}

/// The change over a range with its extension.
pub(super) fn extended(
    window: &Window<'_>,
    context: &Context<'_>,
    counter: bool,
    per_second: bool,
    smoothed: bool,
) -> Option<Cell> {
    let (start, end) = (window.start, window.end);
    let samples = window.histograms;
    let (first, last) = outermost(samples, |sample| sample.time, (start, end), smoothed)?;
    let taken = samples.get(first..=last)?;
    let custom = taken.first()?.histogram.is_custom();
    for sample in taken {
        if sample.histogram.is_custom() != custom {
            context.annotate(|annotations, at, metric| annotations.mixed_schemas(at, metric));
            return None;
        }
        if counter && sample.histogram.hint == ResetHint::Gauge {
            warn_of_gauge(context);
        }
    }
    let noted = |result, operation| note(result, context, operation);
    let (left_sample, right_sample) = (samples.get(first)?, samples.get(last)?);
    let left = match samples.get(first + 1) {
        Some(next) if smoothed && left_sample.time < start => interpolate(left_sample, next, start, counter, &noted)?,
        _ => (*left_sample.histogram).clone(),
    };
    let right = match last.checked_sub(1).and_then(|before| samples.get(before)) {
        Some(before) if smoothed && right_sample.time > end => interpolate(before, right_sample, end, counter, &noted)?,
        _ => (*right_sample.histogram).clone(),
    };
    let gauges = [&left, &right].map(|histogram| histogram.hint == ResetHint::Gauge);
    if !counter && gauges != [true, true] {
        context.annotate(|annotations, at, metric| annotations.not_a_gauge(at, metric));
    }
    let mut change = right.clone();
    subtract(&mut change, &left, context)?;
    if counter {
        correct_resets(
            &mut change,
            samples,
            (first, last),
            (&left, &right),
            smoothed && left_sample.time < start,
            context,
        )?;
    }
    if per_second {
        change.divide(context.seconds);
    }
    change.hint = ResetHint::Gauge;
    change.compact();
    Some(change.into())
}

/// Adds what resets between the two ends took away.
fn correct_resets(
    change: &mut Histogram,
    samples: &[HistogramSample],
    (first, last): (usize, usize),
    (left, right): (&Histogram, &Histogram),
    left_is_between: bool,
    context: &Context<'_>,
) -> Option<()> {
    let mut from = first + 1;
    let mut before = left;
    if left_is_between
        && let (Some(outer), Some(next)) = (samples.get(first), samples.get(from))
        && next.histogram.is_reset_after(&outer.histogram)
    {
        // The left end lies behind that reset already.
        before = &next.histogram;
        from += 1;
    }
    if from > last {
        return Some(());
    }
    for sample in samples.get(from..last)? {
        if sample.histogram.is_reset_after(before) {
            add(change, before, context)?;
        }
        before = &sample.histogram;
    }
    if right.is_reset_after(before) {
        add(change, before, context)?;
    }
    Some(())
}
