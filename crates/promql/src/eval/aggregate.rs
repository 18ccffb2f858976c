//! Aggregations: groups of series become one series each, or some series of each group are kept.

mod fold;
mod keep;

use std::collections::HashMap;

use super::values::{Collector, Row, Steps};
use super::{Cell, Evaluator, mistyped};
use crate::ast::{Aggregate, Aggregator, Expr, Kind};
use crate::error::Error;
use crate::format;
use crate::labels::{Labels, METRIC_NAME};

/// The groups that rows fall into.
struct Groups {
    /// Of each row.
    of_rows: Vec<usize>,
    labels: Vec<Labels>,
}

fn group_labels(aggregate: &Aggregate, labels: &Labels) -> Labels {
    if aggregate.without {
        labels.without(&aggregate.grouping).without(&[METRIC_NAME])
    } else {
        labels.only(&aggregate.grouping)
    }
}

fn groups(aggregate: &Aggregate, rows: &[Row]) -> Groups {
    let mut known: HashMap<Labels, usize> = HashMap::new();
    let mut labels = Vec::new();
    let of_rows = rows.iter().map(|row| {
        let own = group_labels(aggregate, &row.labels);
        *known.entry(own).or_insert_with_key(|own| {
            labels.push(own.clone());
            labels.len() - 1
        })
    });
    Groups { of_rows: of_rows.collect(), labels }
}

impl Evaluator<'_> {
    pub(super) fn aggregate(&self, aggregate: &Aggregate, at: usize, steps: &Steps) -> Result<Vec<Row>, Error> {
        let parameter = aggregate.parameter.as_ref().map(Expr::bare);
        if aggregate.op == Aggregator::CountValues {
            return self.count_values(aggregate, steps);
        }
        let parameters = match parameter {
            Some(parameter) => self.scalar(parameter, steps)?,
            None => Vec::new(),
        };
        let parameter_at = parameter.map_or(at, |parameter| parameter.span.start);
        let rows = self.vector(aggregate.expr.bare(), steps)?;
        self.budget.work(rows.len().saturating_mul(steps.count))?;
        match aggregate.op {
            Aggregator::Topk | Aggregator::Bottomk | Aggregator::Limitk | Aggregator::LimitRatio => {
                self.keep(aggregate, rows, &parameters, (at, parameter_at), steps)
            }
            _ => {
                if aggregate.op == Aggregator::Quantile {
                    let wrong = parameters.iter().filter(|q| q.is_nan() || !(0.0..=1.0).contains(*q));
                    for q in wrong {
                        self.annotate(|annotations| annotations.invalid_quantile(parameter_at, *q));
                    }
                }
                self.fold(aggregate, &rows, &parameters, steps)
            }
        }
    }

    /// How often each value is there.
    fn count_values(&self, aggregate: &Aggregate, steps: &Steps) -> Result<Vec<Row>, Error> {
        let text = match aggregate.parameter.as_ref().map(|parameter| &parameter.bare().kind) {
            Some(Kind::Text(text)) => text,
            _ => return Err(mistyped()),
        };
        let label = std::str::from_utf8(text).ok().filter(|label| !label.is_empty());
        let label = label.ok_or_else(|| Error::evaluation(format!("invalid label name {}", format::quote(text))))?;
        let rows = self.vector(aggregate.expr.bare(), steps)?;
        let mut grouping = aggregate.clone();
        if !aggregate.without {
            grouping.grouping.push(label.to_owned());
        }
        let mut collector = Collector::new(steps.count, &self.budget);
        let mut counts: HashMap<usize, f64> = HashMap::new();
        for step in 0..steps.count {
            self.budget.work(rows.len())?;
            counts.clear();
            let mut order = Vec::new();
            for row in &rows {
                let value = match row.values.get(step) {
                    None => continue,
                    Some(Cell::Float(value)) => format::plain(value),
                    Some(Cell::Histogram(histogram)) => histogram.to_string(),
                };
                let place = collector.place(&group_labels(&grouping, &row.labels.with(label, &value)), false)?;
                let count = counts.entry(place).or_insert_with(|| {
                    order.push(place);
                    0.0
                });
                *count += 1.0;
            }
            for place in order {
                let count = counts.get(&place).copied().unwrap_or_default();
                collector.set(place, step, Cell::Float(count))?;
            }
        }
        Ok(collector.finish())
    }
}
