//! `absent` and `absent_over_time`: 1 where nothing is.

use std::collections::BTreeMap;

use super::Evaluator;
use super::over_time::present;
use super::values::{Row, Steps, Values};
use crate::ast::{Expr, Kind, Selector};
use crate::error::Error;
use crate::functions::Function;
use crate::labels::{Label, Labels, METRIC_NAME};
use crate::matcher::MatchOp;

impl Evaluator<'_> {
    pub(super) fn absent(&self, arg: &Expr, steps: &Steps) -> Result<Vec<Row>, Error> {
        let rows = self.vector(arg, steps)?;
        Ok(nothing(&rows, arg.bare(), steps, false))
    }

    pub(super) fn absent_over_time(
        &self,
        function: &'static Function,
        args: &[Expr],
        steps: &Steps,
    ) -> Result<Vec<Row>, Error> {
        let rows = self.range_call(function, present, args, steps)?;
        Ok(args.first().map(|arg| nothing(&rows, arg.bare(), steps, true)).unwrap_or_default())
    }
}

/// A row of ones where no row has a value.
fn nothing(rows: &[Row], arg: &Expr, steps: &Steps, drop_name: bool) -> Vec<Row> {
    let mut present = vec![false; steps.count];
    for row in rows {
        for (step, present) in present.iter_mut().enumerate() {
            *present |= row.values.has(step);
        }
    }
    if present.iter().all(|present| *present) {
        return Vec::new();
    }
    let mut values = Values::none(steps.count);
    for (step, _) in present.iter().enumerate().filter(|(_, present)| !**present) {
        values.set(step, 1.0.into());
    }
    vec![Row { labels: named(arg), drop_name, values }]
}

/// The labels that a selector says exactly: those of its equalities, unless it says something else of the same label.
fn named(arg: &Expr) -> Labels {
    let selector: &Selector = match &arg.kind {
        Kind::Selector(selector) => selector,
        Kind::Range(range) => &range.selector,
        _ => return Labels::default(),
    };
    let mut named: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for matcher in selector.matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        let first = matcher.op() == MatchOp::Equal && seen.insert(matcher.name());
        named.insert(matcher.name(), first.then_some(matcher.value()));
    }
    let labels = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
    Labels::from_labels(labels.map(|(name, value)| Label { name: name.into(), value: value.into() }).collect())
}
