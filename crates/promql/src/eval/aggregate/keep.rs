//! Aggregations that keep some series of each group: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use super::super::Evaluator;
use super::super::labels::by_value;
use super::super::values::{Row, Steps};
use super::{Groups, groups};
use crate::ast::{Aggregate, Aggregator};
use crate::error::Error;

impl Evaluator<'_> {
    /// Keeps some; `at`: where the aggregation and its parameter stand.
    pub(super) fn keep(
        &self,
        aggregate: &Aggregate,
        mut rows: Vec<Row>,
        parameters: &[f64],
        (at, parameter_at): (usize, usize),
        steps: &Steps,
    ) -> Result<Vec<Row>, Error> {
        let op = aggregate.op;
        self.check_parameters(op, parameters, parameter_at)?;
        let groups = groups(aggregate, &rows);
        let mut order = Vec::new();
        for step in 0..steps.count {
            let parameter = parameters.get(step).copied().unwrap_or_default();
            let kept = match op {
                Aggregator::LimitRatio => in_ratio(&rows, parameter),
                Aggregator::Limitk => first(&rows, &groups, parameter, step),
                _ => self.best(op, &rows, &groups, parameter, step, at),
            };
            let mut is_kept = vec![false; rows.len()];
            for row in &kept {
                if let Some(is_kept) = is_kept.get_mut(*row) {
                    *is_kept = true;
                }
            }
            for (row, _) in rows.iter_mut().zip(&is_kept).filter(|(_, kept)| !**kept) {
                row.values.clear(step);
            }
            order = kept;
        }
        // An instant query's result is in the order of values.
        if steps.count == 1 {
            let mut sorted: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
            rows = order.into_iter().filter_map(|row| sorted.get_mut(row)?.take()).collect();
        }
        rows.retain(|row| !row.values.is_empty());
        Ok(rows)
    }

    fn check_parameters(&self, op: Aggregator, parameters: &[f64], at: usize) -> Result<(), Error> {
        let highest = parameters.iter().copied().fold(f64::MIN, f64::max);
        let lowest = parameters.iter().copied().fold(f64::MAX, f64::min);
        let nan = parameters.iter().any(|parameter| parameter.is_nan());
        if op == Aggregator::LimitRatio {
            if nan {
                return Err(Error::evaluation("Ratio value is NaN"));
            }
            for (value, cap) in [(highest, 1.0), (lowest, -1.0)] {
                if value * cap > 1.0 {
                    self.annotate(|annotations| annotations.invalid_ratio(at, value, cap));
                }
            }
            return Ok(());
        }
        if nan {
            return Err(Error::evaluation("Parameter value is NaN"));
        }
        if highest >= 1.0 {
            if lowest <= i64::MIN as f64 {
                return Err(Error::evaluation(format!("Scalar value {lowest} underflows int64")));
            }
            if highest >= i64::MAX as f64 {
                return Err(Error::evaluation(format!("Scalar value {highest} overflows int64")));
            }
        }
        Ok(())
    }

    /// The highest or lowest of each group.
    fn best(
        &self,
        op: Aggregator,
        rows: &[Row],
        groups: &Groups,
        parameter: f64,
        step: usize,
        at: usize,
    ) -> Vec<usize> {
        let mut members: Vec<Vec<(f64, usize)>> = vec![Vec::new(); groups.labels.len()];
        let limit = parameter.max(0.0) as usize;
        for (index, (row, group)) in rows.iter().zip(&groups.of_rows).enumerate() {
            if row.values.histogram(step).is_some() && limit > 0 {
                self.annotate(|annotations| annotations.ignored_in_aggregation(at, op.name()));
            }
            if let (Some(value), Some(members)) = (row.values.float(step), members.get_mut(*group)) {
                members.push((value, index));
            }
        }
        for members in &mut members {
            // Of equal values, the first ones.
            let order = |a: &(f64, usize), b: &(f64, usize)| {
                by_value(Some(a.0), Some(b.0), op == Aggregator::Topk).then(a.1.cmp(&b.1))
            };
            if limit > 0 && limit < members.len() {
                members.select_nth_unstable_by(limit - 1, order);
            }
            members.truncate(limit);
            members.sort_by(order);
        }
        members.into_iter().flatten().map(|(_, row)| row).collect()
    }
}

/// The first of each group.
fn first(rows: &[Row], groups: &Groups, parameter: f64, step: usize) -> Vec<usize> {
    let limit = parameter.max(0.0) as usize;
    let mut taken = vec![0; groups.labels.len()];
    let mut kept = Vec::new();
    for (index, (row, group)) in rows.iter().zip(&groups.of_rows).enumerate() {
        if let Some(taken) = taken.get_mut(*group).filter(|taken| **taken < limit && row.values.has(step)) {
            *taken += 1;
            kept.push(index);
        }
    }
    kept
}

/// Those whose hash falls into the ratio; with a negative one, into the rest.
fn in_ratio(rows: &[Row], ratio: f64) -> Vec<usize> {
    let ratio = ratio.clamp(-1.0, 1.0);
    let is_in = |row: &Row| {
        let place = row.labels.hash64() as f64 / u64::MAX as f64;
        if ratio >= 0.0 { place < ratio } else { place >= 1.0 + ratio }
    };
    rows.iter().enumerate().filter(|(_, row)| ratio != 0.0 && is_in(row)).map(|(index, _)| index).collect()
}
