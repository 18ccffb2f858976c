//! Binary operations: between numbers, between series and a number, and between series that match each other.

mod element;
mod matching;

pub(super) use element::scalar;

use super::values::{Row, Steps, Value};
use super::{Cell, Evaluator, mistyped};
use crate::ast::Binary;
use crate::error::Error;
use element::Outcome;

impl Evaluator<'_> {
    pub(super) fn binary(&self, binary: &Binary, at: usize, steps: &Steps) -> Result<Value, Error> {
        let left = self.eval(&binary.left, steps)?;
        let right = self.eval(&binary.right, steps)?;
        match (left, right) {
            (Value::Scalar(left), Value::Scalar(right)) => {
                let values = left.into_iter().zip(right).map(|(left, right)| scalar(binary.op, left, right));
                Ok(Value::Scalar(values.collect()))
            }
            (Value::Vector(rows), Value::Scalar(scalars)) => {
                self.with_scalar(binary, rows, &scalars, false, at).map(Value::Vector)
            }
            (Value::Scalar(scalars), Value::Vector(rows)) => {
                self.with_scalar(binary, rows, &scalars, true, at).map(Value::Vector)
            }
            (Value::Vector(left), Value::Vector(right)) => {
                self.budget.work(left.len().saturating_add(right.len()).saturating_mul(steps.count))?;
                if binary.op.is_set() {
                    matching::set(binary, left, right, steps).map(Value::Vector)
                } else {
                    self.matched(binary, &left, &right, at, steps).map(Value::Vector)
                }
            }
            _ => Err(mistyped()),
        }
    }

    /// Each series with a number; `swapped`: the number stands on the left.
    fn with_scalar(
        &self,
        binary: &Binary,
        mut rows: Vec<Row>,
        scalars: &[f64],
        swapped: bool,
        at: usize,
    ) -> Result<Vec<Row>, Error> {
        self.budget.work(rows.len().saturating_mul(scalars.len()))?;
        let op = binary.op;
        let drops = op.changes_metric() || binary.returns_bool;
        for row in &mut rows {
            for (step, number) in scalars.iter().enumerate() {
                let Some(cell) = row.values.get(step) else { continue };
                let outcome = if swapped {
                    element::apply(op, &Cell::Float(*number), &cell)
                } else {
                    element::apply(op, &cell, &Cell::Float(*number))
                };
                let result = match outcome {
                    Outcome::Mistyped(left, right) => {
                        self.annotate(|annotations| annotations.incompatible_types(at, left, op.symbol(), right));
                        None
                    }
                    Outcome::Value { keep, .. } if binary.returns_bool => {
                        Some(Cell::Float(if keep { 1.0 } else { 0.0 }))
                    }
                    // Of a comparison, the series' value is what stays.
                    Outcome::Value { keep: true, .. } if op.is_comparison() => continue,
                    Outcome::Value { keep: true, cell, .. } => Some(cell),
                    Outcome::Value { .. } | Outcome::Incompatible => None,
                };
                row.values.clear(step);
                if let Some(cell) = result {
                    row.values.set(step, cell);
                }
            }
            row.drop_name |= drops;
        }
        rows.retain(|row| !row.values.is_empty());
        Ok(rows)
    }
}
