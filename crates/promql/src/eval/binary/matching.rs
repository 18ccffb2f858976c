//! Which series of two sides belong together. The labels that are compared are looked at once for each series, not at each step.

use std::collections::{HashMap, HashSet};

use super::super::values::{Collector, Row, Steps, merge_same};
use super::super::{Cell, Evaluator};
use super::element::{self, Outcome};
use crate::ast::{Binary, Cardinality, Matching, Op};
use crate::error::Error;
use crate::labels::Labels;

/// The group of matching series that each row belongs to.
struct Groups {
    left: Vec<usize>,
    right: Vec<usize>,
    count: usize,
}

fn groups(matching: &Matching, left: &[Row], right: &[Row]) -> Groups {
    let mut known: HashMap<Labels, usize> = HashMap::new();
    let mut group_of = |row: &Row| {
        let next = known.len();
        *known.entry(row.labels.matching(matching.on, &matching.labels)).or_insert(next)
    };
    let left = left.iter().map(&mut group_of).collect();
    let right = right.iter().map(&mut group_of).collect();
    Groups { left, right, count: known.len() }
}

/// `and`, `or`, `unless`
pub(super) fn set(binary: &Binary, mut left: Vec<Row>, mut right: Vec<Row>, steps: &Steps) -> Result<Vec<Row>, Error> {
    let groups = groups(&binary.matching, &left, &right);
    let mut present = vec![false; groups.count];
    for step in 0..steps.count {
        present.fill(false);
        let (rows, members) = if binary.op == Op::Or { (&left, &groups.left) } else { (&right, &groups.right) };
        for (row, group) in rows.iter().zip(members) {
            if row.values.has(step)
                && let Some(present) = present.get_mut(*group)
            {
                *present = true;
            }
        }
        let is_present = |group: &usize| present.get(*group).copied().unwrap_or_default();
        let (rows, members) = if binary.op == Op::Or { (&mut right, &groups.right) } else { (&mut left, &groups.left) };
        for (row, group) in rows.iter_mut().zip(members) {
            if is_present(group) != (binary.op == Op::And) {
                row.values.clear(step);
            }
        }
    }
    if binary.op == Op::Or {
        left.append(&mut right);
    }
    left.retain(|row| !row.values.is_empty());
    if binary.op == Op::Or { merge_same(left) } else { Ok(left) }
}

/// One operation between matching series.
struct Operation<'a> {
    binary: &'a Binary,
    /// Where it stands.
    at: usize,
    /// The labels of results, by the rows that they are made of.
    places: HashMap<(usize, usize), usize>,
    collector: Collector,
    /// Groups that have a result at this step.
    matched: Vec<bool>,
    /// Where many belong to one: the results at this step.
    seen: HashSet<usize>,
}

/// Stands for a row that is filled in.
const FILLED: usize = usize::MAX;

impl Evaluator<'_> {
    /// Operations other than those on sets.
    pub(super) fn matched(
        &self,
        binary: &Binary,
        left: &[Row],
        right: &[Row],
        at: usize,
        steps: &Steps,
    ) -> Result<Vec<Row>, Error> {
        let matching = &binary.matching;
        let groups = groups(matching, left, right);
        let swapped = matching.cardinality == Cardinality::OneToMany;
        // From here on, the one side is the second.
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let (many_groups, one_groups) =
            if swapped { (&groups.right, &groups.left) } else { (&groups.left, &groups.right) };
        // As in Prometheus, `fill_left` stands for the many side even where that is the right one.
        let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
        let mut operation = Operation {
            binary,
            at,
            places: HashMap::new(),
            collector: Collector::new(steps.count),
            matched: vec![false; groups.count],
            seen: HashSet::new(),
        };
        let mut ones: Vec<Option<usize>> = vec![None; groups.count];
        for step in 0..steps.count {
            ones.fill(None);
            operation.matched.fill(false);
            operation.seen.clear();
            for (index, (row, group)) in one.iter().zip(one_groups).enumerate() {
                let Some(place) = ones.get_mut(*group).filter(|_| row.values.has(step)) else { continue };
                if let Some(other) = place.replace(index) {
                    return Err(ambiguous(matching, one, index, other, swapped));
                }
            }
            for (index, (row, group)) in many.iter().zip(many_groups).enumerate() {
                let Some(cell) = row.values.get(step) else { continue };
                let partner = ones.get(*group).copied().flatten();
                let found = partner.and_then(|place| Some((place, one.get(place)?)));
                match (found.and_then(|(place, row)| Some((place, row, row.values.get(step)?))), fill_one) {
                    (Some((place, partner, other)), _) => {
                        let labels = (&row.labels, &partner.labels);
                        self.element(&mut operation, step, *group, (index, place), labels, (&cell, &other))?;
                    }
                    (None, Some(fill)) => {
                        let labels = row.labels.matching(matching.on, &matching.labels);
                        let (pair, cells) = ((index, FILLED), (&cell, &Cell::Float(fill)));
                        self.element(&mut operation, step, *group, pair, (&row.labels, &labels), cells)?;
                    }
                    (None, None) => {}
                }
            }
            let Some(fill) = fill_many else { continue };
            for (index, (row, group)) in one.iter().zip(one_groups).enumerate() {
                let Some(cell) = row.values.get(step) else { continue };
                if operation.matched.get(*group).copied().unwrap_or_default() {
                    continue;
                }
                let labels = row.labels.matching(matching.on, &matching.labels);
                let (pair, cells) = ((FILLED, index), (&Cell::Float(fill), &cell));
                self.element(&mut operation, step, *group, pair, (&labels, &row.labels), cells)?;
            }
        }
        self.budget.hold(operation.collector.len().saturating_mul(steps.count))?;
        Ok(operation.collector.finish())
    }

    /// The operation on two values, of which the first is of the many side.
    fn element(
        &self,
        operation: &mut Operation<'_>,
        step: usize,
        group: usize,
        pair: (usize, usize),
        labels: (&Labels, &Labels),
        (many, one): (&Cell, &Cell),
    ) -> Result<(), Error> {
        let (binary, at) = (operation.binary, operation.at);
        let swapped = binary.matching.cardinality == Cardinality::OneToMany;
        let (left, right) = if swapped { (one, many) } else { (many, one) };
        let (cell, keep) = match element::apply(binary.op, left, right) {
            Outcome::Value { cell, keep, collision, reconciled } => {
                self.annotate(|annotations| {
                    if let Some(done) = collision {
                        annotations.reset_collision(at, done);
                    } else if let Some(done) = reconciled {
                        annotations.reconciled_bounds(at, done);
                    }
                });
                (cell, keep)
            }
            Outcome::Mistyped(left, right) => {
                self.annotate(|annotations| annotations.incompatible_types(at, left, binary.op.symbol(), right));
                return Ok(());
            }
            Outcome::Incompatible => {
                self.annotate(|annotations| annotations.incompatible_buckets(at, binary.op.symbol()));
                return Ok(());
            }
        };
        let place = match operation.places.get(&pair) {
            Some(place) => *place,
            None => {
                let labels = result_labels(binary, labels.0, labels.1);
                let place = operation.collector.place(&labels, binary.returns_bool);
                operation.places.insert(pair, place);
                place
            }
        };
        let matched = operation.matched.get_mut(group).is_some_and(|matched| std::mem::replace(matched, true));
        let problem = if binary.matching.cardinality == Cardinality::OneToOne {
            matched.then_some("many-to-one matching must be explicit (group_left/group_right)")
        } else {
            (!operation.seen.insert(place)).then_some("grouping labels must ensure unique matches")
        };
        if let Some(problem) = problem {
            return Err(Error::evaluation(format!("multiple matches for labels: {problem}")));
        }
        match (binary.returns_bool, keep) {
            (true, keep) => operation.collector.set(place, step, Cell::Float(if keep { 1.0 } else { 0.0 })),
            (false, true) => operation.collector.set(place, step, cell),
            (false, false) => Ok(()),
        }
    }
}

/// The labels of a result.
fn result_labels(binary: &Binary, many: &Labels, one: &Labels) -> Labels {
    let matching = &binary.matching;
    let mut labels = if binary.op.changes_metric() { many.without_metadata() } else { many.clone() };
    if matching.cardinality == Cardinality::OneToOne {
        labels = if matching.on { labels.only(&matching.labels) } else { labels.without(&matching.labels) };
    }
    for name in &matching.include {
        labels = labels.with(name, one.get(name));
    }
    labels
}

/// Two series of the side of which there may be one.
fn ambiguous(matching: &Matching, one: &[Row], first: usize, second: usize, swapped: bool) -> Error {
    let side = if swapped { "left" } else { "right" };
    let labels = |place: usize| one.get(place).map(|row| row.labels.clone()).unwrap_or_default();
    let group = labels(first).matching(matching.on, &matching.labels);
    let mut series = [labels(first).to_string(), labels(second).to_string()];
    series.sort();
    let [a, b] = series;
    Error::evaluation(format!(
        "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{a}, {b}];\
         many-to-many matching not allowed: matching labels must be unique on one side"
    ))
}
