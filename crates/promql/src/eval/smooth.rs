//! `smoothed` instant selectors: a value between the samples before and after the step.

use super::rate_histogram::interpolate;
use super::values::{Row, Steps, Values};
use super::{Cell, Evaluator, Reference};
use crate::annotations::Operation;
use crate::error::Error;
use crate::histogram::{IncompatibleSchemas, Outcome, ResetHint};
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::storage::{FloatSample, HistogramSample, Samples, is_stale};

impl Evaluator<'_> {
    pub(super) fn smoothed(
        &self,
        matchers: &[Matcher],
        reference: Reference,
        at: usize,
        steps: &Steps,
    ) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        if steps.count == 0 {
            return Ok(rows);
        }
        let first = reference.time(steps.start).saturating_sub(self.lookback);
        let last = reference.time(steps.end()).saturating_add(self.lookback);
        self.each_series(matchers, (first + 1, last), |labels, samples| {
            let mut values = Values::none(steps.count);
            for (step, time) in steps.times().enumerate() {
                if let Some(cell) = self.smooth(labels, samples, reference.time(time), at) {
                    values.set(step, cell);
                }
            }
            if !values.is_empty() {
                self.budget.hold(values.size())?;
                rows.push(Row { labels: labels.clone(), drop_name: false, values });
            }
            Ok(())
        })?;
        Ok(rows)
    }

    fn smooth(&self, labels: &Labels, samples: &Samples, time: i64, at: usize) -> Option<Cell> {
        let (first, last) = (time.saturating_sub(self.lookback), time.saturating_add(self.lookback));
        let floats = around(&samples.floats, |sample| sample.time, |s| is_stale(s.value), first, time, last);
        let stale = |s: &HistogramSample| is_stale(s.histogram.sum);
        let histograms = around(&samples.histograms, |sample| sample.time, stale, first, time, last);
        let metric = labels.metric_name();
        match (floats, histograms) {
            (None, None) => None,
            (Some(_), Some(_)) => {
                self.annotate(|annotations| annotations.mixed_samples(at, metric));
                None
            }
            (Some((before, after)), None) => between_floats(before, after, time).map(Cell::Float),
            (None, Some((before, after))) => self.between_histograms(metric, before, after, time, at),
        }
    }

    fn between_histograms(
        &self,
        metric: &str,
        before: Option<&HistogramSample>,
        after: Option<&HistogramSample>,
        time: i64,
        at: usize,
    ) -> Option<Cell> {
        if let Some(exact) = after.filter(|sample| sample.time == time) {
            return Some(Cell::Histogram(exact.histogram.clone()));
        }
        let before = before?;
        let Some(after) = after else {
            let mut last = (*before.histogram).clone();
            last.hint = ResetHint::Unknown;
            return Some(last.into());
        };
        let noted = |result: Result<Outcome, IncompatibleSchemas>, operation: Operation| {
            match result {
                Ok(outcome) if outcome.bounds_reconciled => {
                    self.annotate(|annotations| annotations.reconciled_bounds(at, operation));
                }
                Ok(_) => {}
                Err(IncompatibleSchemas) => self.annotate(|annotations| annotations.mixed_schemas(at, metric)),
            }
            result.ok().map(|_| ())
        };
        let gauges = [before, after].map(|sample| sample.histogram.hint == ResetHint::Gauge);
        if before.histogram.is_custom() != after.histogram.is_custom() {
            return noted(Err(IncompatibleSchemas), Operation::Subtraction).and(None);
        }
        interpolate(before, after, time, gauges != [true, true], &noted).map(Cell::from)
    }
}

/// The last sample before a time and the first one at or behind it, of those in the time that counts; nothing if there is no sample.
type Around<'a, T> = Option<(Option<&'a T>, Option<&'a T>)>;

fn around<'a, T>(
    samples: &'a [T],
    time: impl Fn(&T) -> i64,
    stale: impl Fn(&T) -> bool,
    first: i64,
    at: i64,
    last: i64,
) -> Around<'a, T> {
    let split = samples.partition_point(|sample| time(sample) < at);
    let counts = |sample: &&T| !stale(sample) && time(sample) > first && time(sample) <= last;
    let before = samples.get(..split)?.iter().rev().take_while(|sample| time(sample) > first).find(counts);
    let after = samples.get(split..)?.iter().take_while(|sample| time(sample) <= last).find(counts);
    (before.is_some() || after.is_some()).then_some((before, after))
}

fn between_floats(before: Option<&FloatSample>, after: Option<&FloatSample>, time: i64) -> Option<f64> {
    match (before, after) {
        (_, Some(after)) if after.time == time => Some(after.value),
        (Some(before), Some(after)) => {
            let part = (time - before.time) as f64 / (after.time - before.time) as f64;
            Some(before.value + (after.value - before.value) * part)
        }
        (Some(before), None) => Some(before.value),
        _ => None,
    }
}
