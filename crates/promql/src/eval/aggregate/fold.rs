//! Aggregations that make one value of each group at each step.

use super::super::over_time::{HistogramSum, Mean, quantile_of};
use super::super::values::{Row, Steps, Values};
use super::super::{Cell, Evaluator};
use super::groups;
use crate::annotations::Operation;
use crate::ast::{Aggregate, Aggregator};
use crate::error::Error;
use crate::histogram::Histogram;
use crate::kahan;

/// What has been seen of a group at one step.
enum State {
    Nothing,
    /// A sum and what rounding took from it.
    Sum(f64, f64),
    Mean(Mean),
    /// The highest, the lowest, how many.
    Value(f64),
    /// Count, mean, and the sum of squared differences from it.
    Variance(f64, f64, f64),
    /// All of them.
    All(Vec<f64>),
    Histograms(Box<HistogramSum>),
    /// Floats and histograms, or histograms that do not meet: there is no result.
    Mixed,
    Incompatible,
}

/// The group's place among all, and where the aggregated expression stands.
struct Spot<'a> {
    aggregate: &'a Aggregate,
    at: usize,
}

impl Evaluator<'_> {
    pub(super) fn fold(
        &self,
        aggregate: &Aggregate,
        rows: &[Row],
        parameters: &[f64],
        steps: &Steps,
    ) -> Result<Vec<Row>, Error> {
        let groups = groups(aggregate, rows);
        // What is kept of a group at a step takes about as much as four values.
        self.budget.hold(groups.labels.len().saturating_mul(steps.count).saturating_mul(4))?;
        let spot = Spot { aggregate, at: aggregate.expr.bare().span.start };
        let mut states: Vec<Vec<State>> =
            groups.labels.iter().map(|_| (0..steps.count).map(|_| State::Nothing).collect()).collect();
        let mut drops = vec![false; groups.labels.len()];
        for (row, group) in rows.iter().zip(&groups.of_rows) {
            let (Some(states), Some(drop_name)) = (states.get_mut(*group), drops.get_mut(*group)) else { continue };
            *drop_name |= row.drop_name;
            self.add_row(&spot, row, states);
        }
        let mut folded = Vec::with_capacity(states.len());
        for ((labels, states), drop_name) in groups.labels.into_iter().zip(states).zip(drops) {
            let mut values = Values::none(steps.count);
            for (step, state) in states.into_iter().enumerate() {
                let parameter = parameters.get(step).copied().unwrap_or(f64::NAN);
                if let Some(cell) = self.result(&spot, state, parameter) {
                    values.set(step, cell);
                }
            }
            if !values.is_empty() {
                folded.push(Row { labels, drop_name, values });
            }
        }
        Ok(folded)
    }

    fn add_row(&self, spot: &Spot<'_>, row: &Row, states: &mut [State]) {
        let op = spot.aggregate.op;
        if op == Aggregator::Sum && !row.values.has_histograms() {
            // By far the most frequent one.
            for (state, value) in states.iter_mut().zip(row.values.raw_floats()) {
                if !crate::storage::is_stale(*value) {
                    match state {
                        State::Sum(sum, compensation) => {
                            (*sum, *compensation) = kahan::add(*value, *sum, *compensation);
                        }
                        state => add_float(op, state, *value),
                    }
                }
            }
            return;
        }
        for (step, state) in states.iter_mut().enumerate() {
            match row.values.get(step) {
                None => {}
                Some(Cell::Float(value)) => add_float(op, state, value),
                Some(Cell::Histogram(histogram)) => {
                    self.add_histogram(spot, state, &histogram, row.labels.metric_name());
                }
            }
        }
    }

    fn add_histogram(&self, spot: &Spot<'_>, state: &mut State, histogram: &Histogram, metric: &str) {
        let op = spot.aggregate.op;
        match op {
            Aggregator::Count | Aggregator::Group => add_float(op, state, 1.0),
            Aggregator::Sum | Aggregator::Avg => match state {
                State::Nothing => *state = State::Histograms(Box::new(HistogramSum::new(histogram))),
                State::Histograms(sum) => {
                    let added = if op == Aggregator::Sum { sum.add(histogram) } else { sum.add_to_mean(histogram) };
                    if added.is_err() {
                        self.annotate(|annotations| annotations.mixed_schemas(spot.at, metric));
                        *state = State::Incompatible;
                    }
                }
                State::Incompatible => {}
                _ => *state = State::Mixed,
            },
            _ => self.annotate(|annotations| annotations.ignored_in_aggregation(spot.at, op.name())),
        }
    }

    fn result(&self, spot: &Spot<'_>, state: State, parameter: f64) -> Option<Cell> {
        let op = spot.aggregate.op;
        let value = match state {
            State::Nothing | State::Incompatible => return None,
            State::Mixed => {
                self.annotate(|annotations| annotations.mixed_samples_in_aggregation(spot.at));
                return None;
            }
            State::Sum(sum, compensation) => sum + compensation,
            State::Mean(mean) => mean.value(),
            State::Value(value) => value,
            State::Variance(count, _, squares) if op == Aggregator::Stddev => (squares / count).sqrt(),
            State::Variance(count, _, squares) => squares / count,
            State::All(mut values) => quantile_of(parameter, &mut values),
            State::Histograms(sum) => {
                if sum.collides() {
                    self.annotate(|annotations| annotations.reset_collision(spot.at, Operation::Aggregation));
                }
                if sum.reconciled {
                    self.annotate(|annotations| annotations.reconciled_bounds(spot.at, Operation::Aggregation));
                }
                let mut histogram = if op == Aggregator::Sum { sum.sum() } else { sum.mean() };
                histogram.compact();
                return Some(histogram.into());
            }
        };
        Some(Cell::Float(value))
    }
}

fn add_float(op: Aggregator, state: &mut State, value: f64) {
    match state {
        State::Nothing => {
            *state = match op {
                Aggregator::Sum => State::Sum(value, 0.0),
                Aggregator::Avg => State::Mean(Mean::new(value)),
                Aggregator::Count | Aggregator::Group => State::Value(1.0),
                // Of one value alone, the variance is 0; of what is no finite number, none.
                Aggregator::Stddev | Aggregator::Stdvar => {
                    State::Variance(1.0, value, if value.is_finite() { 0.0 } else { f64::NAN })
                }
                Aggregator::Quantile => State::All(vec![value]),
                _ => State::Value(value),
            };
        }
        State::Sum(sum, compensation) => (*sum, *compensation) = kahan::add(value, *sum, *compensation),
        State::Mean(mean) => mean.add(value),
        State::Value(found) => match op {
            Aggregator::Count => *found += 1.0,
            Aggregator::Max if *found < value || found.is_nan() => *found = value,
            Aggregator::Min if *found > value || found.is_nan() => *found = value,
            _ => {}
        },
        State::Variance(count, mean, squares) => {
            *count += 1.0;
            let difference = value - *mean;
            *mean += difference / *count;
            *squares += difference * (value - *mean);
        }
        State::All(values) => values.push(value),
        State::Histograms(_) => *state = State::Mixed,
        State::Mixed | State::Incompatible => {}
    }
}
