//! Functions of ranges: for each series and each step, the window of samples that the range covers. Windows slide forward over the
//! samples of a series, which are read once.

use std::cell::RefCell;

use super::select::unhinted;
use super::values::{RangeRow, Row, Steps, Value, Values};
use super::{Cell, Evaluator, Reference, Totals};
use crate::annotations::Annotations;
use crate::ast::{Expr, Extension, Kind, Subquery};
use crate::error::Error;
use crate::functions::Function;
use crate::labels::Labels;
use crate::limits::{ANNOTATION, Budget};
use crate::storage::{FloatSample, HistogramSample, Samples, is_stale};

/// What a function of a range makes of a window; nothing where it has no result.
pub(crate) type RangeFunction = fn(&Window<'_>, &Context<'_>) -> Result<Option<Cell>, Error>;

/// The samples of one series that a range covers at one step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    pub(crate) floats: &'a [FloatSample],
    pub(crate) histograms: &'a [HistogramSample],
    /// Float samples before which a counter was reset, and those whose start lies before the sample before them: as places among
    /// all samples of the series, of which the window's begin at `first`.
    pub(crate) resets: &'a [usize],
    pub(crate) overlaps: &'a [usize],
    pub(crate) first: usize,
    /// The range, without its start.
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// The step's time.
    pub(crate) time: i64,
}

/// What a function knows besides the window.
pub(crate) struct Context<'a> {
    annotations: &'a RefCell<Annotations>,
    budget: &'a Budget,
    pub(crate) labels: &'a Labels,
    /// Where the first argument stands in the query.
    at: usize,
    /// The length of the range in seconds.
    pub(crate) seconds: f64,
    pub(crate) extension: Option<Extension>,
    /// The other arguments at this step.
    pub(crate) args: &'a [f64],
}

impl Context<'_> {
    pub(crate) fn annotate(&self, add: impl FnOnce(&mut Annotations, usize, &str)) {
        self.budget.charge(ANNOTATION);
        add(&mut self.annotations.borrow_mut(), self.at, self.labels.metric_name());
    }

    pub(crate) fn arg(&self, index: usize) -> f64 {
        self.args.get(index).copied().unwrap_or(f64::NAN)
    }
}

/// A call of a function of a range.
struct Call<'a> {
    function: &'static Function,
    body: RangeFunction,
    /// The other arguments, at each step.
    args: Vec<Vec<f64>>,
    /// Where the first argument stands in the query.
    at: usize,
    range: i64,
    reference: Reference,
    extension: Option<Extension>,
    steps: &'a Steps,
}

/// Functions whose windows need not be walked through: what they cost does not grow with the range.
const CONSTANT: [&str; 10] = [
    "count_over_time",
    "first_over_time",
    "idelta",
    "increase",
    "irate",
    "last_over_time",
    "present_over_time",
    "rate",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
];
const COUNTERS: [&str; 2] = ["rate", "increase"];

impl Evaluator<'_> {
    pub(super) fn range_call(
        &self,
        function: &'static Function,
        body: RangeFunction,
        args: &[Expr],
        steps: &Steps,
    ) -> Result<Vec<Row>, Error> {
        let is_range = |arg: &&Expr| matches!(arg.bare().kind, Kind::Range(_) | Kind::Subquery(_));
        let Some(arg) = args.iter().find(is_range).map(Expr::bare) else { return Err(super::mistyped()) };
        let others = args.iter().filter(|arg| !is_range(arg));
        let others = others.map(|arg| self.scalar(arg, steps)).collect::<Result<Vec<_>, _>>()?;
        let (range, when, extension) = match &arg.kind {
            Kind::Range(range) => (&range.range, &range.selector.when, range.selector.extension),
            Kind::Subquery(subquery) => (&subquery.range, &subquery.when, None),
            _ => return Err(super::mistyped()),
        };
        check_extension(function, extension)?;
        let call = Call {
            function,
            body,
            args: others,
            at: args.first().map_or(arg, Expr::bare).span.start,
            range: self.milliseconds(range, false)?,
            reference: self.reference(when)?,
            extension,
            steps,
        };
        let mut rows = Vec::new();
        match &arg.kind {
            Kind::Range(range) => {
                if steps.count == 0 {
                    return Ok(rows);
                }
                let end = call.reference.time(steps.end());
                let (first, _) = self.extended(extension, call.reference.time(steps.start) - call.range, end);
                let (_, last) = self.extended(extension, first, end);
                self.each_series(&range.selector.all_matchers(), (first + 1, last), |labels, samples| {
                    self.series_call(&call, labels, false, samples, &mut rows)
                })?;
            }
            Kind::Subquery(subquery) => {
                for series in self.subquery(subquery, steps)? {
                    self.series_call(&call, &series.labels, series.drop_name, &series.samples, &mut rows)?;
                }
            }
            _ => {}
        }
        Ok(rows)
    }

    /// Calls the function for one series, at each step.
    fn series_call(
        &self,
        call: &Call<'_>,
        labels: &Labels,
        drop_name: bool,
        samples: &Samples,
        rows: &mut Vec<Row>,
    ) -> Result<(), Error> {
        let mut fresh = Samples::default();
        let samples = without_stale(samples, &mut fresh);
        let counter = COUNTERS.contains(&call.function.name);
        let (resets, overlaps) = if counter { resets(&samples.floats) } else { Default::default() };
        let constant = CONSTANT.contains(&call.function.name);
        let mut values = Values::none(call.steps.count);
        let mut args: Vec<f64> = Vec::with_capacity(call.args.len());
        let (mut floats, mut histograms) = (Slide::default(), Slide::default());
        for (step, time) in call.steps.times().enumerate() {
            let end = call.reference.time(time);
            let start = end.saturating_sub(call.range);
            let (first, last) = self.extended(call.extension, start, end);
            floats.slide(&samples.floats, |sample| sample.time, first, last);
            histograms.slide(&samples.histograms, |sample| sample.time, first, last);
            let window = Window {
                floats: samples.floats.get(floats.from..floats.to).unwrap_or_default(),
                histograms: samples.histograms.get(histograms.from..histograms.to).unwrap_or_default(),
                resets: &resets,
                overlaps: &overlaps,
                first: floats.from,
                start,
                end,
                time,
            };
            let size = window.floats.len() + window.histograms.len();
            if size == 0 {
                continue;
            }
            self.budget.work(if constant && window.histograms.is_empty() { 1 } else { size })?;
            args.clear();
            args.extend(call.args.iter().map(|values| values.get(step).copied().unwrap_or(f64::NAN)));
            let context = Context {
                annotations: &self.annotations,
                budget: &self.budget,
                labels,
                at: call.at,
                seconds: call.range as f64 / 1000.0,
                extension: call.extension,
                args: &args,
            };
            if let Some(cell) = (call.body)(&window, &context)? {
                values.set(step, cell);
            }
        }
        if values.is_empty() {
            return Ok(());
        }
        if counter && !values.has_only_histograms() && !looks_like_a_counter(labels.metric_name()) {
            self.annotate(|annotations| annotations.maybe_not_a_counter(call.at, labels.metric_name()));
        }
        self.budget.hold(values.size())?;
        let keeps_name = matches!(call.function.name, "last_over_time" | "first_over_time");
        rows.push(Row { labels: labels.clone(), drop_name: drop_name || !keeps_name, values });
        Ok(())
    }

    /// Evaluates a subquery's expression at all times that any step looks at.
    pub(super) fn subquery(&self, subquery: &Subquery, steps: &Steps) -> Result<Vec<RangeRow>, Error> {
        let range = self.milliseconds(&subquery.range, false)?;
        let reference = self.reference(&subquery.when)?;
        let step = subquery.step.as_ref().map(|step| self.milliseconds(step, false)).transpose()?;
        let interval = step.unwrap_or(self.subquery_step).max(1);
        let end = reference.time(steps.end());
        let earliest = reference.time(steps.start).saturating_sub(range);
        // At multiples of the interval, whatever the query's own steps are.
        let mut start = interval.saturating_mul(earliest / interval);
        if start <= earliest {
            start = start.saturating_add(interval);
        }
        if end < start || steps.count == 0 {
            return Ok(Vec::new());
        }
        let count = usize::try_from((end - start) / interval).unwrap_or(usize::MAX).saturating_add(1);
        let inner = Steps { start, interval, count };
        self.budget.check(count)?;
        let rows = match self.asking(Totals::Never, || self.eval(&subquery.expr, &inner))? {
            Value::Vector(rows) => rows,
            _ => return Err(super::mistyped()),
        };
        self.budget.hold(rows.len().saturating_mul(count))?;
        Ok(rows.into_iter().map(|row| as_range(row, &inner)).collect())
    }
}

fn as_range(row: Row, steps: &Steps) -> RangeRow {
    let mut samples = Samples::default();
    for (step, time) in steps.times().enumerate() {
        match row.values.get(step) {
            Some(Cell::Float(value)) => samples.floats.push(FloatSample { time, start: 0, value }),
            // What one sample says of the one before it does not hold for those that the steps take.
            Some(Cell::Histogram(histogram)) => {
                let histogram = unhinted(&histogram);
                samples.histograms.push(HistogramSample { time, start: 0, histogram });
            }
            None => {}
        }
    }
    RangeRow { labels: row.labels, drop_name: row.drop_name, samples }
}

fn check_extension(function: &Function, extension: Option<Extension>) -> Result<(), Error> {
    let (word, safe): (&str, &[&str]) = match extension {
        None => return Ok(()),
        Some(Extension::Anchored) => ("anchored", &["changes", "delta", "increase", "rate", "resets"]),
        Some(Extension::Smoothed) => ("smoothed", &["delta", "increase", "rate"]),
    };
    if safe.contains(&function.name) {
        return Ok(());
    }
    let (safe, name) = (safe.join(", "), function.name);
    Err(Error::evaluation(format!("{word} modifier can only be used with: {safe} - not with {name}")))
}

fn looks_like_a_counter(name: &str) -> bool {
    name.is_empty() || ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix))
}

/// The samples without marks of ended series; copied only where there are such marks.
fn without_stale<'a>(samples: &'a Samples, fresh: &'a mut Samples) -> &'a Samples {
    let stale = samples.floats.iter().any(|sample| is_stale(sample.value))
        || samples.histograms.iter().any(|sample| is_stale(sample.histogram.sum));
    if !stale {
        return samples;
    }
    fresh.floats.extend(samples.floats.iter().filter(|sample| !is_stale(sample.value)));
    fresh.histograms.extend(samples.histograms.iter().filter(|sample| !is_stale(sample.histogram.sum)).cloned());
    fresh
}

/// Where a counter was reset, and where starts overlap.
fn resets(floats: &[FloatSample]) -> (Vec<usize>, Vec<usize>) {
    let (mut resets, mut overlaps) = (Vec::new(), Vec::new());
    for (index, pair) in floats.windows(2).enumerate() {
        let [before, now] = pair else { continue };
        if now.value < before.value || started_anew((before.start, before.time), (now.start, now.time)) {
            resets.push(index + 1);
        }
        if now.start != 0 && now.start < before.time && now.start != before.start {
            overlaps.push(index + 1);
        }
    }
    (resets, overlaps)
}

/// Whether the starts of two samples, each with its time, say that the counter began anew between them.
pub(super) fn started_anew((before_start, before): (i64, i64), (start, time): (i64, i64)) -> bool {
    if start == 0 || start >= time || start < before {
        return false;
    }
    // A start at the sample before: of a delta, unless that sample's own start is not known.
    start > before || (before_start != 0 && before_start < before)
}

/// A window's place in a series.
#[derive(Debug, Default)]
struct Slide {
    from: usize,
    to: usize,
}

impl Slide {
    fn slide<T>(&mut self, samples: &[T], time: impl Fn(&T) -> i64, first: i64, last: i64) {
        while samples.get(self.to).is_some_and(|sample| time(sample) <= last) {
            self.to += 1;
        }
        while self.from < self.to && samples.get(self.from).is_some_and(|sample| time(sample) <= first) {
            self.from += 1;
        }
    }
}
