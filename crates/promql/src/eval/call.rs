//! Calls of functions.

use super::select::Wanted;
use super::values::{Row, Steps, Value, Values};
use super::{Evaluator, Totals, greater, lesser, mistyped};
use crate::ast::{Expr, Kind};
use crate::date::Date;
use crate::error::Error;
use crate::functions::{Body, Function, Special};
use crate::histogram::Histogram;
use crate::labels::Labels;

impl Evaluator<'_> {
    pub(super) fn call(
        &self,
        function: &'static Function,
        args: &[Expr],
        at: usize,
        steps: &Steps,
    ) -> Result<Value, Error> {
        match function.body {
            Body::Float(body) => self.map_floats(args, steps, |_, value| body(value)),
            Body::Histogram(body) if matches!(function.name, "histogram_avg" | "histogram_count" | "histogram_sum") => {
                self.asking(Totals::Only, || self.map_histograms(args, steps, body))
            }
            Body::Histogram(body) => self.map_histograms(args, steps, body),
            Body::Date(body) => self.dates(args, steps, body),
            Body::Range(body) => self.range_call(function, body, args, steps).map(Value::Vector),
            Body::Special(special) => self.special(special, function, args, at, steps),
        }
    }

    /// An argument.
    fn arg(args: &[Expr], index: usize) -> Result<&Expr, Error> {
        args.get(index).map(Expr::bare).ok_or_else(mistyped)
    }

    pub(super) fn vector_arg(&self, args: &[Expr], index: usize, steps: &Steps) -> Result<Vec<Row>, Error> {
        self.vector(Self::arg(args, index)?, steps)
    }

    pub(super) fn scalar_arg(&self, args: &[Expr], index: usize, steps: &Steps) -> Result<Vec<f64>, Error> {
        self.scalar(Self::arg(args, index)?, steps)
    }

    /// An argument that is a text.
    pub(super) fn text_arg(args: &[Expr], index: usize) -> Result<&[u8], Error> {
        match &Self::arg(args, index)?.kind {
            Kind::Text(text) => Ok(text),
            _ => Err(mistyped()),
        }
    }

    fn map_floats(&self, args: &[Expr], steps: &Steps, change: impl Fn(usize, f64) -> f64) -> Result<Value, Error> {
        let rows = self.vector_arg(args, 0, steps)?;
        let change = |row: Row| Row { drop_name: true, values: row.values.map_floats(&change), ..row };
        Ok(Value::Vector(rows.into_iter().map(change).filter(|row| !row.values.is_empty()).collect()))
    }

    fn map_histograms(&self, args: &[Expr], steps: &Steps, body: fn(&Histogram) -> f64) -> Result<Value, Error> {
        let rows = self.vector_arg(args, 0, steps)?;
        let change = |row: Row| {
            let mut values = Values::none(steps.count);
            for step in 0..steps.count {
                if let Some(histogram) = row.values.histogram(step) {
                    values.set(step, body(histogram).into());
                }
            }
            Row { drop_name: true, values, ..row }
        };
        let rows = rows.into_iter().filter(|row| row.values.has_histograms());
        Ok(Value::Vector(rows.map(change).collect()))
    }

    fn dates(&self, args: &[Expr], steps: &Steps, body: fn(&Date) -> i64) -> Result<Value, Error> {
        if args.is_empty() {
            let floats = steps.times().map(|time| body(&Date::of(time.div_euclid(1000))) as f64).collect();
            return Ok(unlabelled(floats));
        }
        self.map_floats(args, steps, |_, value| body(&Date::of(value as i64)) as f64)
    }

    fn special(
        &self,
        special: Special,
        function: &'static Function,
        args: &[Expr],
        at: usize,
        steps: &Steps,
    ) -> Result<Value, Error> {
        let (start, end, step) = self.bounds;
        let seconds = |milliseconds: i64| Ok(Value::Scalar(vec![milliseconds as f64 / 1000.0; steps.count]));
        match special {
            Special::Pi => Ok(Value::Scalar(vec![std::f64::consts::PI; steps.count])),
            Special::Start => seconds(start),
            Special::End => seconds(end),
            Special::Step => seconds(if start == end { 0 } else { step }),
            Special::Range => seconds(end - start),
            Special::Time => Ok(Value::Scalar(steps.times().map(|time| time as f64 / 1000.0).collect())),
            Special::MaxOf | Special::MinOf => {
                let pick = if special == Special::MaxOf { greater } else { lesser };
                let (left, right) = (self.scalar_arg(args, 0, steps)?, self.scalar_arg(args, 1, steps)?);
                Ok(Value::Scalar(left.into_iter().zip(right).map(|(left, right)| pick(left, right)).collect()))
            }
            Special::Scalar => self.vector_arg(args, 0, steps).map(|rows| Value::Scalar(only_value(&rows, steps))),
            Special::Vector => Ok(unlabelled(self.scalar_arg(args, 0, steps)?)),
            Special::Clamp | Special::ClampMin | Special::ClampMax => self.clamp(special, args, steps),
            Special::Round => self.round(args, steps),
            Special::Timestamp => self.timestamp(args, steps),
            Special::StartTimestamp => self.start_timestamp(args, steps),
            Special::Absent => self.absent(Self::arg(args, 0)?, steps).map(Value::Vector),
            Special::AbsentOverTime => self.absent_over_time(function, args, steps).map(Value::Vector),
            Special::Sort | Special::SortDesc | Special::SortByLabel | Special::SortByLabelDesc => {
                if steps.count > 1 {
                    self.annotate(|annotations| annotations.useless_sort(at));
                }
                self.sort(special, args, steps).map(Value::Vector)
            }
            Special::LabelReplace => self.label_replace(args, steps).map(Value::Vector),
            Special::LabelJoin => self.label_join(args, steps).map(Value::Vector),
            Special::Info => self.info(args, steps).map(Value::Vector),
            Special::HistogramQuantile => {
                self.asking(Totals::Never, || self.histogram_quantile(args, steps)).map(Value::Vector)
            }
            Special::HistogramQuantiles => {
                self.asking(Totals::Never, || self.histogram_quantiles(args, steps)).map(Value::Vector)
            }
            Special::HistogramFraction => {
                self.asking(Totals::Never, || self.histogram_fraction(args, steps)).map(Value::Vector)
            }
        }
    }

    fn clamp(&self, special: Special, args: &[Expr], steps: &Steps) -> Result<Value, Error> {
        let unbounded = |bound: f64| vec![bound; steps.count];
        let (least, most) = match special {
            Special::Clamp => (self.scalar_arg(args, 1, steps)?, self.scalar_arg(args, 2, steps)?),
            Special::ClampMin => (self.scalar_arg(args, 1, steps)?, unbounded(f64::INFINITY)),
            _ => (unbounded(f64::NEG_INFINITY), self.scalar_arg(args, 1, steps)?),
        };
        let bound = |bounds: &[f64], step: usize| bounds.get(step).copied().unwrap_or(f64::NAN);
        let value = self
            .map_floats(args, steps, |step, value| greater(bound(&least, step), lesser(bound(&most, step), value)))?;
        let Value::Vector(mut rows) = value else { return Err(mistyped()) };
        // Between bounds that leave nothing is nothing.
        for step in (0..steps.count).filter(|step| bound(&most, *step) < bound(&least, *step)) {
            rows.iter_mut().for_each(|row| row.values.clear(step));
        }
        rows.retain(|row| !row.values.is_empty());
        Ok(Value::Vector(rows))
    }

    fn round(&self, args: &[Expr], steps: &Steps) -> Result<Value, Error> {
        let nearest = if args.len() > 1 { self.scalar_arg(args, 1, steps)? } else { vec![1.0; steps.count] };
        self.map_floats(args, steps, |step, value| {
            // The inverse loses less: 0.1 is no binary fraction, 10 is one.
            let inverse = 1.0 / nearest.get(step).copied().unwrap_or(1.0);
            (value * inverse + 0.5).floor() / inverse
        })
    }

    /// The time of the sample that a selector finds; of anything else, the step's.
    fn timestamp(&self, args: &[Expr], steps: &Steps) -> Result<Value, Error> {
        let arg = Self::arg(args, 0)?;
        if let Kind::Selector(selector) = &arg.kind {
            let reference = self.reference(&selector.when)?;
            return self.select_at(&selector.all_matchers(), reference, steps, Wanted::Time).map(Value::Vector);
        }
        let change = |row: Row| {
            let mut values = Values::none(steps.count);
            for (step, time) in steps.times().enumerate().filter(|(step, _)| row.values.has(*step)) {
                values.set(step, (time as f64 / 1000.0).into());
            }
            Row { drop_name: true, values, ..row }
        };
        Ok(Value::Vector(self.vector(arg, steps)?.into_iter().map(change).collect()))
    }

    /// When the counter of a sample started; of what is no selector, nothing is known.
    fn start_timestamp(&self, args: &[Expr], steps: &Steps) -> Result<Value, Error> {
        match &Self::arg(args, 0)?.kind {
            Kind::Selector(selector) => {
                let reference = self.reference(&selector.when)?;
                self.select_at(&selector.all_matchers(), reference, steps, Wanted::Start).map(Value::Vector)
            }
            _ => Ok(Value::Vector(Vec::new())),
        }
    }
}

/// A series without labels.
fn unlabelled(floats: Vec<f64>) -> Value {
    Value::Vector(vec![Row { labels: Labels::default(), drop_name: false, values: Values::of_floats(floats) }])
}

/// The one float at each step, if it is the only one.
fn only_value(rows: &[Row], steps: &Steps) -> Vec<f64> {
    let at = |step: usize| {
        let mut floats = rows.iter().filter_map(|row| row.values.float(step));
        match (floats.next(), floats.next()) {
            (Some(value), None) => value,
            _ => f64::NAN,
        }
    };
    (0..steps.count).map(at).collect()
}
