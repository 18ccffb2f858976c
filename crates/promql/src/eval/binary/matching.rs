//! Which series of two sides belong together. The labels that are compared are looked at once for each series, not at each step.

use std::collections::{HashMap, HashSet};

use super::super::values::{Collector, Row, Steps, merge_same};
use super::super::{Cell, Evaluator};
use super::element::{self, Outcome};
use crate::ast::{Binary, Cardinality, Matching, Op};
use crate::error::Error;
use crate::labels::Labels;

/// Rows that match each other.
#[derive(Default)]
struct Group {
    left: Vec<usize>,
    right: Vec<usize>,
}

/// The groups that rows fall into. All that is decided is decided within a group, so that evaluation goes through one group after
/// the other, and through the steps of each.
fn groups(matching: &Matching, left: &[Row], right: &[Row]) -> Vec<Group> {
    let mut known: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (is_left, rows) in [(true, left), (false, right)] {
        for (index, row) in rows.iter().enumerate() {
            let place = *known.entry(row.labels.matching(matching.on, &matching.labels)).or_insert_with(|| {
                groups.push(Group::default());
                groups.len() - 1
            });
            if let Some(group) = groups.get_mut(place) {
                if is_left { group.left.push(index) } else { group.right.push(index) }
            }
        }
    }
    groups
}

/// `and`, `or`, `unless`
pub(super) fn set(binary: &Binary, mut left: Vec<Row>, mut right: Vec<Row>, steps: &Steps) -> Result<Vec<Row>, Error> {
    let is_or = binary.op == Op::Or;
    for group in groups(&binary.matching, &left, &right) {
        let (deciding, members) = if is_or { (&left, &group.left) } else { (&right, &group.right) };
        let deciding: Vec<&Row> = members.iter().filter_map(|row| deciding.get(*row)).collect();
        let present: Vec<bool> = (0..steps.count).map(|step| deciding.iter().any(|row| row.values.has(step))).collect();
        let (decided, members) = if is_or { (&mut right, &group.right) } else { (&mut left, &group.left) };
        for row in members {
            let Some(row) = decided.get_mut(*row) else { continue };
            for (step, _) in present.iter().enumerate().filter(|(_, is)| **is != (binary.op == Op::And)) {
                row.values.clear(step);
            }
        }
    }
    if is_or {
        left.append(&mut right);
    }
    left.retain(|row| !row.values.is_empty());
    if is_or { merge_same(left) } else { Ok(left) }
}

/// One operation between matching series.
struct Operation<'a> {
    binary: &'a Binary,
    /// Where it stands.
    at: usize,
    collector: Collector<'a>,
    /// Where the results of a group are collected, by the rows that they are made of.
    places: HashMap<(usize, usize), usize>,
    /// Whether the group has a result at this step, and where many belong to one, which.
    matched: bool,
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
        let swapped = binary.matching.cardinality == Cardinality::OneToMany;
        let collector = Collector::new(steps.count, &self.budget);
        let (places, seen) = (HashMap::new(), HashSet::new());
        let mut operation = Operation { binary, at, collector, places, matched: false, seen };
        for group in groups(&binary.matching, left, right) {
            let left: Vec<(usize, &Row)> = group.left.iter().filter_map(|row| Some((*row, left.get(*row)?))).collect();
            let right: Vec<(usize, &Row)> =
                group.right.iter().filter_map(|row| Some((*row, right.get(*row)?))).collect();
            // From here on, the one side is the second.
            let (many, one) = if swapped { (right, left) } else { (left, right) };
            operation.places.clear();
            for step in 0..steps.count {
                self.step(&mut operation, step, &many, &one)?;
            }
        }
        Ok(operation.collector.finish())
    }

    /// One group at one step.
    fn step(
        &self,
        operation: &mut Operation<'_>,
        step: usize,
        many: &[(usize, &Row)],
        one: &[(usize, &Row)],
    ) -> Result<(), Error> {
        let matching = &operation.binary.matching;
        operation.matched = false;
        operation.seen.clear();
        let mut present = one.iter().filter_map(|(index, row)| Some((*index, *row, row.values.get(step)?)));
        let partner = present.next();
        if let (Some((_, a, _)), Some((_, b, _))) = (&partner, present.next()) {
            return Err(ambiguous(matching, &a.labels, &b.labels));
        }
        for (index, row) in many {
            let Some(cell) = row.values.get(step) else { continue };
            // As in Prometheus, `fill_right` stands for the one side even where that is the left one.
            match (&partner, matching.fill_right) {
                (Some((place, partner, other)), _) => {
                    let labels = (&row.labels, &partner.labels);
                    self.element(operation, step, (*index, *place), labels, (&cell, other))?;
                }
                (None, Some(fill)) => {
                    let labels = row.labels.matching(matching.on, &matching.labels);
                    let cells = (&cell, &Cell::Float(fill));
                    self.element(operation, step, (*index, FILLED), (&row.labels, &labels), cells)?;
                }
                (None, None) => {}
            }
        }
        if let (Some((place, row, cell)), Some(fill), false) = (&partner, matching.fill_left, operation.matched) {
            let labels = row.labels.matching(matching.on, &matching.labels);
            let cells = (&Cell::Float(fill), cell);
            self.element(operation, step, (FILLED, *place), (&labels, &row.labels), cells)?;
        }
        Ok(())
    }

    /// The operation on two values, of which the first is of the many side.
    fn element(
        &self,
        operation: &mut Operation<'_>,
        step: usize,
        pair: (usize, usize),
        labels: (&Labels, &Labels),
        (many, one): (&Cell, &Cell),
    ) -> Result<(), Error> {
        let (binary, at) = (operation.binary, operation.at);
        let swapped = binary.matching.cardinality == Cardinality::OneToMany;
        let (left, right) = if swapped { (one, many) } else { (many, one) };
        let (cell, keep) = match element::apply(binary.op, left, right) {
            Outcome::Value { cell, keep, collision, reconciled } => {
                if let Some(done) = collision {
                    self.annotate(|annotations| annotations.reset_collision(at, done));
                } else if let Some(done) = reconciled {
                    self.annotate(|annotations| annotations.reconciled_bounds(at, done));
                }
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
                let place = operation.collector.place(&labels, binary.returns_bool)?;
                operation.places.insert(pair, place);
                place
            }
        };
        let matched = std::mem::replace(&mut operation.matched, true);
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
fn ambiguous(matching: &Matching, first: &Labels, second: &Labels) -> Error {
    let side = if matching.cardinality == Cardinality::OneToMany { "left" } else { "right" };
    let group = first.matching(matching.on, &matching.labels);
    let mut series = [first.to_string(), second.to_string()];
    series.sort();
    let [a, b] = series;
    Error::evaluation(format!(
        "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{a}, {b}];\
         many-to-many matching not allowed: matching labels must be unique on one side"
    ))
}
