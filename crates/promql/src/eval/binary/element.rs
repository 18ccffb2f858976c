//! A binary operation on two values.

use std::sync::Arc;

use super::super::Cell;
use crate::annotations::Operation;
use crate::ast::Op;
use crate::histogram::{Histogram, IncompatibleSchemas, ResetHint};

/// What comes of two values.
pub(super) enum Outcome {
    /// A value; whether a comparison keeps it.
    Value {
        cell: Cell,
        keep: bool,
        /// What is to be known: one histogram starts anew and the other continues; bounds were reconciled.
        collision: Option<Operation>,
        reconciled: Option<Operation>,
    },
    /// The operator does nothing with values of these kinds.
    Mistyped(&'static str, &'static str),
    /// The histograms' buckets do not meet.
    Incompatible,
}

fn value(cell: impl Into<Cell>) -> Outcome {
    Outcome::Value { cell: cell.into(), keep: true, collision: None, reconciled: None }
}

fn compared(cell: Cell, keep: bool) -> Outcome {
    Outcome::Value { cell, keep, collision: None, reconciled: None }
}

/// Of two numbers; comparisons give 0 or 1.
pub(in crate::eval) fn scalar(op: Op, left: f64, right: f64) -> f64 {
    let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
    match op {
        Op::Add => left + right,
        Op::Sub => left - right,
        Op::Mul => left * right,
        Op::Div => left / right,
        Op::Mod => left % right,
        Op::Pow => left.powf(right),
        Op::Atan2 => left.atan2(right),
        Op::Eq => truth(left == right),
        Op::Ne => truth(left != right),
        Op::Lt => truth(left < right),
        Op::Le => truth(left <= right),
        Op::Gt => truth(left > right),
        Op::Ge => truth(left >= right),
        // Refused by the parser between numbers.
        Op::TrimUpper | Op::TrimLower | Op::And | Op::Or | Op::Unless => f64::NAN,
    }
}

/// Of two values.
pub(super) fn apply(op: Op, left: &Cell, right: &Cell) -> Outcome {
    match (left, right) {
        (Cell::Float(a), Cell::Float(b)) => match op {
            Op::TrimUpper | Op::TrimLower => Outcome::Mistyped("float", "float"),
            _ if op.is_comparison() => compared(Cell::Float(*a), scalar(op, *a, *b) == 1.0),
            _ => value(scalar(op, *a, *b)),
        },
        (Cell::Float(a), Cell::Histogram(b)) => match op {
            Op::Mul => value(changed(b, |histogram| histogram.multiply(*a))),
            _ => Outcome::Mistyped("float", "histogram"),
        },
        (Cell::Histogram(a), Cell::Float(b)) => match op {
            Op::Mul => value(changed(a, |histogram| histogram.multiply(*b))),
            Op::Div => value(changed(a, |histogram| histogram.divide(*b))),
            Op::TrimUpper | Op::TrimLower => {
                let mut histogram = (**a).clone();
                histogram.trim(*b, op == Op::TrimUpper);
                value(histogram)
            }
            _ => Outcome::Mistyped("histogram", "float"),
        },
        (Cell::Histogram(a), Cell::Histogram(b)) => of_histograms(op, a, b),
    }
}

fn changed(histogram: &Histogram, change: impl Fn(&mut Histogram)) -> Histogram {
    let mut histogram = histogram.clone();
    change(&mut histogram);
    histogram.compact();
    histogram
}

fn of_histograms(op: Op, left: &Arc<Histogram>, right: &Arc<Histogram>) -> Outcome {
    let mut histogram = (**left).clone();
    let (outcome, operation) = match op {
        Op::Eq => return compared(Cell::Histogram(left.clone()), left.is_same(right)),
        Op::Ne => return compared(Cell::Histogram(left.clone()), !left.is_same(right)),
        Op::Add => (histogram.add(right), Operation::Addition),
        Op::Sub => (histogram.subtract(right), Operation::Subtraction),
        _ => return Outcome::Mistyped("histogram", "histogram"),
    };
    match outcome {
        Err(IncompatibleSchemas) => Outcome::Incompatible,
        Ok(outcome) => {
            if op == Op::Sub {
                histogram.hint = ResetHint::Gauge;
            }
            histogram.compact();
            Outcome::Value {
                cell: histogram.into(),
                keep: true,
                collision: outcome.reset_collision.then_some(operation),
                reconciled: outcome.bounds_reconciled.then_some(operation),
            }
        }
    }
}
