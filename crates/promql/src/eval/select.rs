//! Selectors: which sample of each series counts at each step.

use std::ops::ControlFlow;

use super::values::{RangeRow, Row, Steps, Values};
use super::{Cell, Evaluator, Reference, Totals};
use crate::ast::{Extension, Range, Selector};
use crate::error::Error;
use crate::histogram::{Histogram, ResetHint};
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::storage::{FloatSample, HistogramSample, Samples, Selection, is_stale};

/// The latest sample at a time.
pub(super) enum Latest<'a> {
    Float(&'a FloatSample),
    Histogram(&'a HistogramSample),
}

impl Latest<'_> {
    pub(super) fn time(&self) -> i64 {
        match self {
            Self::Float(sample) => sample.time,
            Self::Histogram(sample) => sample.time,
        }
    }

    fn start(&self) -> i64 {
        match self {
            Self::Float(sample) => sample.start,
            Self::Histogram(sample) => sample.start,
        }
    }

    fn cell(&self) -> Cell {
        match self {
            Self::Float(sample) => Cell::Float(sample.value),
            Self::Histogram(sample) => Cell::Histogram(sample.histogram.clone()),
        }
    }
}

/// Walks through the samples of a series, forward only.
pub(super) struct Cursor<'a> {
    floats: std::iter::Peekable<std::slice::Iter<'a, FloatSample>>,
    histograms: std::iter::Peekable<std::slice::Iter<'a, HistogramSample>>,
    float: Option<&'a FloatSample>,
    histogram: Option<&'a HistogramSample>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(samples: &'a Samples) -> Self {
        let (floats, histograms) = (samples.floats.iter().peekable(), samples.histograms.iter().peekable());
        Self { floats, histograms, float: None, histogram: None }
    }

    /// The latest sample up to a time, unless it is too old or ends the series.
    pub(super) fn latest(&mut self, time: i64, lookback: i64) -> Option<Latest<'a>> {
        while let Some(sample) = self.floats.next_if(|sample| sample.time <= time) {
            self.float = Some(sample);
        }
        while let Some(sample) = self.histograms.next_if(|sample| sample.time <= time) {
            self.histogram = Some(sample);
        }
        let latest = match (self.float, self.histogram) {
            (None, None) => return None,
            (Some(float), Some(histogram)) if histogram.time > float.time => Latest::Histogram(histogram),
            (None, Some(histogram)) => Latest::Histogram(histogram),
            (Some(float), _) => Latest::Float(float),
        };
        let stale = match &latest {
            Latest::Float(sample) => is_stale(sample.value),
            Latest::Histogram(sample) => is_stale(sample.histogram.sum),
        };
        (!stale && latest.time() > time.saturating_sub(lookback)).then_some(latest)
    }
}

/// What is wanted of the sample that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Value,
    /// Its time, in seconds.
    Time,
    /// Its start, in seconds.
    Start,
}

impl Evaluator<'_> {
    /// Takes each series of a selector, with its samples from `first` to `last`.
    pub(super) fn each_series(
        &self,
        matchers: &[Matcher],
        (first, last): (i64, i64),
        mut take: impl FnMut(&Labels, &Samples) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut failed = Ok(());
        let mut found = 0;
        let selection = Selection { matchers, start: first, end: last };
        let read = self.storage.select(&selection, &mut |labels, samples| {
            found += 1;
            failed = self.budget.series(found).and_then(|()| self.budget.work(samples.len())).and_then(|()| match self
                .totals
                .get()
            {
                Totals::Only if !samples.histograms.is_empty() => take(labels, &hinted(samples)),
                _ => take(labels, samples),
            });
            if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        failed?;
        read.map_err(Error::Storage)
    }

    pub(super) fn select(&self, selector: &Selector, at: usize, steps: &Steps) -> Result<Vec<Row>, Error> {
        let reference = self.reference(&selector.when)?;
        let matchers = selector.all_matchers();
        if selector.extension == Some(Extension::Smoothed) {
            return self.smoothed(&matchers, reference, at, steps);
        }
        self.select_at(&matchers, reference, steps, Wanted::Value)
    }

    /// What is wanted of the sample that counts at each step.
    pub(super) fn select_at(
        &self,
        matchers: &[Matcher],
        reference: Reference,
        steps: &Steps,
        wanted: Wanted,
    ) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        if steps.count == 0 {
            return Ok(rows);
        }
        let first = reference.time(steps.start).saturating_sub(self.lookback - 1);
        self.each_series(matchers, (first, reference.time(steps.end())), |labels, samples| {
            let mut cursor = Cursor::new(samples);
            let mut values = Values::none(steps.count);
            for (step, time) in steps.times().enumerate() {
                let Some(latest) = cursor.latest(reference.time(time), self.lookback) else { continue };
                let cell = match wanted {
                    Wanted::Value => latest.cell(),
                    Wanted::Time => Cell::Float(latest.time() as f64 / 1000.0),
                    Wanted::Start => Cell::Float(latest.start() as f64 / 1000.0),
                };
                values.set(step, cell);
            }
            if !values.is_empty() {
                self.budget.hold(values.size())?;
                rows.push(Row { labels: labels.clone(), drop_name: wanted != Wanted::Value, values });
            }
            Ok(())
        })?;
        Ok(rows)
    }

    /// A range selector that is the whole query.
    pub(super) fn select_range(&self, range: &Range, steps: &Steps) -> Result<Vec<RangeRow>, Error> {
        let reference = self.reference(&range.selector.when)?;
        let end = reference.time(steps.start);
        let start = end.saturating_sub(self.milliseconds(&range.range, false)?);
        let (first, last) = self.extended(range.selector.extension, start, end);
        let mut rows = Vec::new();
        self.each_series(&range.selector.all_matchers(), (first + 1, last), |labels, samples| {
            let mut own = Samples::default();
            let within = |time: i64| time > first && time <= last;
            own.floats.extend(samples.floats.iter().filter(|s| within(s.time) && !is_stale(s.value)));
            let histograms = samples.histograms.iter().filter(|s| within(s.time) && !is_stale(s.histogram.sum));
            own.histograms.extend(histograms.cloned());
            if let Some(extension) = range.selector.extension {
                if !own.histograms.is_empty() {
                    let word = if extension == Extension::Anchored { "anchored" } else { "smoothed" };
                    return Err(Error::evaluation(format!("{word} modifier is not supported with histograms")));
                }
                own.floats = super::rate::extend_floats(&own.floats, start, end, extension == Extension::Smoothed);
            }
            self.budget.hold(own.len())?;
            if !own.is_empty() {
                rows.push(RangeRow { labels: labels.clone(), drop_name: false, samples: own });
            }
            Ok(())
        })?;
        Ok(rows)
    }

    /// The time that is looked at for a range, the start not included.
    pub(super) fn extended(&self, extension: Option<Extension>, start: i64, end: i64) -> (i64, i64) {
        match extension {
            None => (start, end),
            Some(Extension::Anchored) => (start.saturating_sub(self.lookback), end),
            Some(Extension::Smoothed) => (start.saturating_sub(self.lookback), end.saturating_add(self.lookback)),
        }
    }
}

/// Histograms of which is known whether each continues the one before it.
fn hinted(samples: &Samples) -> Samples {
    let mut hinted = samples.clone();
    for (sample, pair) in hinted.histograms.iter_mut().skip(1).zip(samples.histograms.windows(2)) {
        if let [before, now] = pair
            && now.histogram.hint == ResetHint::Unknown
        {
            let reset = now.histogram.is_reset_after(&before.histogram);
            std::sync::Arc::make_mut(&mut sample.histogram).hint =
                if reset { ResetHint::Reset } else { ResetHint::NotReset };
        }
    }
    hinted
}

/// A histogram of which is not known whether it continues the one before it.
pub(super) fn unhinted(histogram: &std::sync::Arc<Histogram>) -> std::sync::Arc<Histogram> {
    match histogram.hint {
        ResetHint::Reset | ResetHint::NotReset => {
            std::sync::Arc::new(Histogram { hint: ResetHint::Unknown, ..(**histogram).clone() })
        }
        ResetHint::Unknown | ResetHint::Gauge => histogram.clone(),
    }
}
