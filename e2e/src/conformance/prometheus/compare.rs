//! Whether a result is the expected one, within what rounding may do.

use varka_promql::answer::{InstantSample, QueryValue, SampleValue, Series};
use varka_promql::histogram::Histogram;
use varka_promql::storage::is_stale;

use super::script::Eval;
use super::series::Item;

/// Relative.
const TOLERANCE: f64 = 1e-6;

fn same(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let total = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || total < f64::MIN_POSITIVE {
        difference < TOLERANCE * f64::MIN_POSITIVE
    } else {
        difference / total.min(f64::MAX) < TOLERANCE
    }
}

fn same_histogram(wanted: &Histogram, found: &Histogram, hinted: bool) -> bool {
    let side = |a: &[(i32, f64)], b: &[(i32, f64)]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
    };
    let (mut wanted, mut found) = (wanted.clone(), found.clone());
    wanted.compact();
    found.compact();
    wanted.schema == found.schema
        && same(wanted.count, found.count)
        && same(wanted.sum, found.sum)
        && wanted.bounds == found.bounds
        && wanted.zero_threshold == found.zero_threshold
        && same(wanted.zero_count, found.zero_count)
        && side(&wanted.positive, &found.positive)
        && side(&wanted.negative, &found.negative)
        && (!hinted || wanted.hint == found.hint)
}

fn same_value(wanted: &Item, found: &SampleValue) -> bool {
    match (wanted, found) {
        (Item::Float(wanted), SampleValue::Float(found)) => same(*wanted, *found),
        (Item::Histogram(wanted, hinted), SampleValue::Histogram(found)) => same_histogram(wanted, found, *hinted),
        _ => false,
    }
}

/// Whether series are in the order of labels.
pub(super) fn is_sorted(series: &[Series]) -> Result<(), String> {
    if series.is_sorted_by(|a, b| a.labels <= b.labels) { Ok(()) } else { Err("the series are not sorted".to_owned()) }
}

/// Compares a result with what an eval expects.
pub(super) fn value(eval: &Eval, value: &QueryValue) -> Result<(), String> {
    match value {
        QueryValue::Scalar { value, .. } => match eval.number {
            Some(wanted) if same(wanted, *value) => Ok(()),
            wanted => Err(format!("{value} instead of {wanted:?}")),
        },
        QueryValue::Text { text, .. } => {
            if eval.text.as_ref() == Some(text) {
                Ok(())
            } else {
                Err(format!("{text:?} instead of {:?}", eval.text))
            }
        }
        _ if eval.number.is_some() => Err(format!("{value:?} instead of a number")),
        QueryValue::Vector(samples) => vector(eval, samples),
        QueryValue::Matrix(series) => matrix(eval, series),
    }
}

fn vector(eval: &Eval, samples: &[InstantSample]) -> Result<(), String> {
    for (place, sample) in samples.iter().enumerate() {
        let wanted = eval.series.iter().rposition(|(labels, _)| *labels == sample.labels);
        let Some((at, wanted)) = wanted.and_then(|at| Some((at, eval.series.get(at)?))) else {
            return Err(format!("unexpected {} {:?}", sample.labels, sample.value));
        };
        if eval.ordered && at != place {
            return Err(format!("{} is at place {place} instead of {at}", sample.labels));
        }
        if !wanted.1.first().is_some_and(|item| same_value(item, &sample.value)) {
            return Err(format!("{}: {:?} instead of {:?}", sample.labels, sample.value, wanted.1));
        }
    }
    missing(eval, |labels| samples.iter().any(|sample| sample.labels == *labels))
}

fn matrix(eval: &Eval, series: &[Series]) -> Result<(), String> {
    if eval.ordered {
        return Err("a matrix has no order".to_owned());
    }
    is_sorted(series)?;
    for found in series {
        let Some((_, items)) = eval.series.iter().rfind(|(labels, _)| *labels == found.labels) else {
            return Err(format!("unexpected {} {:?}", found.labels, found.samples));
        };
        let times = (0..).map(|index| eval.first + index * eval.step);
        let wanted = times.zip(items).filter(|(_, item)| !matches!(item, Item::Nothing));
        let wanted: Vec<(i64, &Item)> = wanted.collect();
        let same = wanted.len() == found.samples.len()
            && wanted.iter().zip(&found.samples).all(|(w, f)| w.0 == f.0 && same_value(w.1, &f.1));
        if !same {
            return Err(format!("{}: {:?} instead of {wanted:?}", found.labels, found.samples));
        }
    }
    missing(eval, |labels| series.iter().any(|series| series.labels == *labels))
}

fn missing(eval: &Eval, is_there: impl Fn(&varka_promql::Labels) -> bool) -> Result<(), String> {
    match eval.series.iter().find(|(labels, _)| !is_there(labels)) {
        Some((labels, items)) => Err(format!("{labels} {items:?} is missing")),
        None => Ok(()),
    }
}
