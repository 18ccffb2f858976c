//! Evaluation: a query's tree and a storage become a value.
//!
//! Each part of a query is evaluated once, for all steps of a range query together, so that each selector is read once and each
//! series walked through once. Parts that are the same at every step are evaluated for one step.

mod absent;
mod aggregate;
mod answer;
mod binary;
mod call;
mod classic;
mod info;
mod labels;
pub(crate) mod over_time;
mod range;
pub(crate) mod rate;
mod rate_histogram;
mod select;
mod smooth;
pub(crate) mod trend;
mod values;

pub(crate) use range::RangeFunction;
pub(crate) use values::Cell;

use std::cell::RefCell;

use crate::annotations::Annotations;
use crate::answer::{Answer, InstantSample, QueryValue, Series};
use crate::ast::{At, Duration, Expr, Kind, Op, Type, When};
use crate::duration::MAX_SECONDS;
use crate::error::{Error, Limit, Place, QueryError};
use crate::functions::{Body, Special};
use crate::limits::{ANNOTATION, Budget, Limits, MAX_STEPS};
use crate::storage::Storage;
use values::{Row, Steps, Value, merge_same};

/// The time, or times, that a query is evaluated for. Milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Once.
    Instant(i64),
    /// From `start` to `end`, every `step`.
    Range {
        /// The first time.
        start: i64,
        /// No time is later.
        end: i64,
        /// Positive.
        step: i64,
    },
}

/// How a query is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// What it may cost.
    pub limits: Limits,
    /// How long a sample counts, in milliseconds.
    pub lookback: i64,
    /// The step of a subquery that names none, in milliseconds.
    pub subquery_step: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self { limits: Limits::default(), lookback: 5 * 60_000, subquery_step: 60_000 }
    }
}

/// Answers a query.
///
/// # Errors
/// When the query cannot be understood, asks for too much, or means nothing for the data that it meets.
pub fn query(text: &str, times: Times, storage: &dyn Storage, options: &Options) -> Result<Answer, Error> {
    evaluate(&crate::parser::parse(text)?, times, storage, options)
}

/// Evaluates a query that has been read before.
///
/// # Errors
/// As [`query`].
pub fn evaluate(expr: &Expr, times: Times, storage: &dyn Storage, options: &Options) -> Result<Answer, Error> {
    let steps = steps(times)?;
    if matches!(times, Times::Range { .. }) && !matches!(expr.result_type(), Type::Scalar | Type::Vector) {
        let problem = format!(
            "invalid expression type {:?} for range query, must be Scalar or instant Vector",
            expr.result_type().name()
        );
        return Err(query_error(problem));
    }
    let bounds = match times {
        Times::Instant(time) => (time, time, 0),
        Times::Range { start, end, step } => (start, end, step),
    };
    let evaluator = Evaluator {
        storage,
        budget: Budget::new(options.limits),
        annotations: RefCell::default(),
        totals: std::cell::Cell::new(Totals::No),
        lookback: options.lookback.max(1),
        subquery_step: options.subquery_step.max(1),
        bounds,
        is_range: matches!(times, Times::Range { .. }),
    };
    let value = evaluator.eval(expr, &steps)?;
    let value = evaluator.finish(value, &steps)?;
    Ok(Answer { value, annotations: evaluator.annotations.into_inner() })
}

/// What is wrong with a query as a whole.
fn query_error(problem: String) -> Error {
    QueryError { place: Place { line: 1, column: 1 }, problem }.into()
}

/// As far from 1970 as times may be, so that offsets and ranges can be taken from them.
const MAX_TIME: i64 = 9_000_000_000_000_000;

fn steps(times: Times) -> Result<Steps, Error> {
    let within = |time: i64| time.unsigned_abs() <= MAX_TIME.unsigned_abs();
    match times {
        Times::Instant(time) if within(time) => Ok(Steps { start: time, interval: 1, count: 1 }),
        Times::Range { start, end, step } if within(start) && within(end) => {
            if step <= 0 {
                let problem = "zero or negative query resolution step widths are not accepted. Try a positive integer";
                return Err(query_error(problem.to_owned()));
            }
            if end < start {
                return Err(query_error("end timestamp must not be before start time".to_owned()));
            }
            let count = usize::try_from((end - start) / step).unwrap_or(usize::MAX).saturating_add(1);
            if count > MAX_STEPS { Err(Limit::Steps.into()) } else { Ok(Steps { start, interval: step, count }) }
        }
        _ => Err(query_error("the time is out of range".to_owned())),
    }
}

/// Whether no more of histograms is asked for than their totals. Then, as in Prometheus, it is found out when samples are read whether
/// each continues the one before it; so that a sum of those that do and those that do not is warned of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Totals {
    No,
    Only,
    /// Something around asks for more.
    Never,
}

pub(crate) struct Evaluator<'q> {
    storage: &'q dyn Storage,
    budget: Budget,
    annotations: RefCell<Annotations>,
    lookback: i64,
    subquery_step: i64,
    totals: std::cell::Cell<Totals>,
    /// The query's start, end and step.
    bounds: (i64, i64, i64),
    is_range: bool,
}

impl Evaluator<'_> {
    fn annotate(&self, add: impl FnOnce(&mut Annotations)) {
        self.budget.charge(ANNOTATION);
        add(&mut self.annotations.borrow_mut());
    }

    /// Evaluates a part of the query.
    fn eval(&self, expr: &Expr, steps: &Steps) -> Result<Value, Error> {
        let held = self.budget.held();
        let value = if steps.count > 1 && is_invariant(expr) {
            self.broadcast(expr, steps)?
        } else {
            self.eval_kind(expr, steps)?
        };
        // What was held on the way is let go of, and the result is held instead.
        self.budget.reset(held);
        self.budget.hold(value.size())?;
        Ok(value)
    }

    fn broadcast(&self, expr: &Expr, steps: &Steps) -> Result<Value, Error> {
        let once = self.eval_kind(expr, &steps.first())?;
        Ok(match once {
            Value::Scalar(values) => {
                self.budget.hold(steps.count)?;
                Value::Scalar(values.first().map(|value| vec![*value; steps.count]).unwrap_or_default())
            }
            Value::Vector(rows) => {
                self.budget.hold(rows.len().saturating_mul(steps.count))?;
                let repeat = |row: Row| Row { values: row.values.repeat(steps.count), ..row };
                Value::Vector(rows.into_iter().map(repeat).collect())
            }
            other => other,
        })
    }

    fn eval_kind(&self, expr: &Expr, steps: &Steps) -> Result<Value, Error> {
        match &expr.kind {
            Kind::Number(number) => {
                self.budget.hold(steps.count)?;
                Ok(Value::Scalar(vec![*number; steps.count]))
            }
            Kind::Text(text) => Ok(Value::Text(text.clone())),
            Kind::Paren(inner) => self.eval_kind(inner, steps),
            Kind::Selector(selector) => self.select(selector, expr.span.start, steps).map(Value::Vector),
            Kind::Range(range) => self.select_range(range, steps).map(Value::Matrix),
            Kind::Subquery(subquery) => self.subquery(subquery, steps).map(Value::Matrix),
            Kind::Unary(negative, inner) => self.unary(*negative, inner, steps),
            Kind::Binary(binary) if matches!(binary.op, Op::TrimUpper | Op::TrimLower) => {
                self.asking(Totals::Never, || self.binary(binary, expr.span.start, steps))
            }
            Kind::Binary(binary) => self.binary(binary, expr.span.start, steps),
            Kind::Aggregate(aggregate) => self.aggregate(aggregate, expr.span.start, steps).map(Value::Vector),
            Kind::Call(function, args) => self.call(function, args, expr.span.start, steps),
        }
    }

    /// Evaluates something of which totals only, or more than that, is asked for.
    fn asking<T>(&self, totals: Totals, evaluate: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let before = self.totals.get();
        if before != Totals::Never {
            self.totals.set(totals);
        }
        let result = evaluate();
        self.totals.set(before);
        result
    }

    /// The values of a part that is a scalar.
    fn scalar(&self, expr: &Expr, steps: &Steps) -> Result<Vec<f64>, Error> {
        match self.eval(expr, steps)? {
            Value::Scalar(values) => Ok(values),
            _ => Err(mistyped()),
        }
    }

    /// The series of a part that is an instant vector.
    fn vector(&self, expr: &Expr, steps: &Steps) -> Result<Vec<Row>, Error> {
        match self.eval(expr, steps)? {
            Value::Vector(rows) => Ok(rows),
            _ => Err(mistyped()),
        }
    }

    fn unary(&self, negative: bool, inner: &Expr, steps: &Steps) -> Result<Value, Error> {
        let value = self.eval(inner, steps)?;
        if !negative {
            return Ok(value);
        }
        Ok(match value {
            Value::Scalar(values) => Value::Scalar(values.into_iter().map(|value| -value).collect()),
            Value::Vector(mut rows) => {
                for row in &mut rows {
                    row.drop_name = true;
                    row.values.map(|value| -value, |histogram| histogram.multiply(-1.0));
                }
                Value::Vector(rows)
            }
            other => other,
        })
    }

    /// A duration in milliseconds.
    fn milliseconds(&self, duration: &Duration, may_be_negative: bool) -> Result<i64, Error> {
        let seconds = self.seconds(duration)?;
        if !seconds.is_finite() || seconds.abs() > MAX_SECONDS {
            return Err(query_error(format!("the duration {duration} is out of range")));
        }
        if seconds <= 0.0 && !may_be_negative {
            return Err(query_error(format!("duration must be greater than 0, and {duration} is not")));
        }
        // To nanoseconds first: 1.001 seconds are 1001 milliseconds, although the product is a little less.
        Ok(((seconds * 1e9).round() / 1e6) as i64)
    }

    fn seconds(&self, duration: &Duration) -> Result<f64, Error> {
        let (start, end, step) = self.bounds;
        Ok(match duration {
            Duration::Number(seconds) => *seconds,
            Duration::Step => step as f64 / 1000.0,
            Duration::Range => (end - start) as f64 / 1000.0,
            Duration::Negative(inner) => -self.seconds(inner)?,
            Duration::Paren(inner) => self.seconds(inner)?,
            Duration::Min(left, right) => lesser(self.seconds(left)?, self.seconds(right)?),
            Duration::Max(left, right) => greater(self.seconds(left)?, self.seconds(right)?),
            Duration::Binary(op, left, right) => {
                let right = self.seconds(right)?;
                if right == 0.0 && matches!(op, Op::Div | Op::Mod) {
                    return Err(query_error(format!("division by zero in the duration {duration}")));
                }
                binary::scalar(*op, self.seconds(left)?, right)
            }
        })
    }

    /// The time that a selector or subquery looks from, at a step.
    fn reference(&self, when: &When) -> Result<Reference, Error> {
        let (start, end, _) = self.bounds;
        let at = when.at.map(|at| match at {
            At::Time(time) => time,
            At::Start => start,
            At::End => end,
        });
        let offset = when.offset.as_ref().map_or(Ok(0), |offset| self.milliseconds(offset, true))?;
        Ok(Reference { at, offset })
    }

    /// Drops the names that no longer say what the series are, and orders them.
    fn finish(&self, value: Value, steps: &Steps) -> Result<QueryValue, Error> {
        let time = steps.start;
        Ok(match value {
            Value::Text(text) => QueryValue::Text { time, text: String::from_utf8_lossy(&text).into_owned() },
            Value::Scalar(values) if self.is_range => {
                let samples =
                    steps.times().zip(values).map(|(time, value)| (time, Cell::Float(value).into())).collect();
                QueryValue::Matrix(vec![Series { labels: crate::Labels::default(), samples }])
            }
            Value::Scalar(values) => QueryValue::Scalar { time, value: values.first().copied().unwrap_or(f64::NAN) },
            Value::Vector(rows) => {
                let rows = merge_same(rows.into_iter().map(without_dropped_name).collect())?;
                if self.is_range {
                    let mut series: Vec<Series> = rows.iter().map(|row| answer::series(row, steps)).collect();
                    series.sort_by(|a, b| a.labels.cmp(&b.labels));
                    QueryValue::Matrix(series)
                } else {
                    let sample = |row: &Row| {
                        let value = row.values.get(0)?.into();
                        Some(InstantSample { labels: row.labels.clone(), time, value })
                    };
                    QueryValue::Vector(rows.iter().filter_map(sample).collect())
                }
            }
            Value::Matrix(rows) => {
                let mut series: Vec<Series> = rows.into_iter().map(answer::range_series).collect();
                series.sort_by(|a, b| a.labels.cmp(&b.labels));
                if series.windows(2).any(|pair| matches!(pair, [a, b] if a.labels == b.labels)) {
                    return Err(values::duplicates());
                }
                QueryValue::Matrix(series)
            }
        })
    }
}

/// A fixed time or the step's, and how much earlier to look.
#[derive(Debug, Clone, Copy)]
struct Reference {
    at: Option<i64>,
    offset: i64,
}

impl Reference {
    fn time(&self, step: i64) -> i64 {
        self.at.unwrap_or(step).saturating_sub(self.offset)
    }
}

fn without_dropped_name(mut row: Row) -> Row {
    if row.drop_name {
        row.labels = row.labels.without_metadata();
    }
    row
}

/// The parser refuses what this would be said of.
fn mistyped() -> Error {
    Error::evaluation("an expression is of another type than the query's text allows")
}

/// The lesser, or NaN where one is NaN.
fn lesser(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// The greater, or NaN where one is NaN.
fn greater(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// Whether a part is the same at every step.
fn is_invariant(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Number(_) | Kind::Text(_) => true,
        Kind::Selector(selector) => selector.when.at.is_some(),
        Kind::Range(range) => range.selector.when.at.is_some(),
        Kind::Subquery(subquery) => subquery.when.at.is_some(),
        // The labels that info() names are no selection of their own.
        Kind::Call(function, args) if function.body_is(Special::Info) => args.first().is_some_and(is_invariant),
        Kind::Call(function, args) => {
            let of_sample = function.body_is(Special::Timestamp) || function.body_is(Special::StartTimestamp);
            let selects = matches!(args.first().map(|arg| &arg.bare().kind), Some(Kind::Selector(_)));
            let date_now = matches!(function.body, Body::Date(_)) && args.is_empty();
            let depends = function.depends_on_time() && !(of_sample && selects) || date_now;
            !depends && args.iter().all(is_invariant)
        }
        _ => expr.children().into_iter().all(is_invariant),
    }
}

#[cfg(test)]
mod tests;
