//! Adding, subtracting and scaling histograms, and telling whether a counter started anew.
//!
//! Two histograms of standard schemas meet at the lower resolution and at the wider zero bucket, two of the custom schema at the
//! bounds that both have. A standard and a custom one do not meet.

use std::sync::Arc;

use super::{Histogram, ResetHint, exponential_bound};
use crate::kahan;

/// A standard and a custom schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a histogram of a standard schema and one with custom bounds cannot be added to each other")]
pub struct IncompatibleSchemas;

/// What adding or subtracting met on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// One said that it starts anew, the other that it continues.
    pub reset_collision: bool,
    /// The custom bounds differed, so that only those are left which both have.
    pub bounds_reconciled: bool,
}

/// What rounding took from each part of a running sum (Kahan's compensation), in the order of the histogram's buckets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Compensation {
    count: f64,
    sum: f64,
    zero_count: f64,
    positive: Vec<f64>,
    negative: Vec<f64>,
}

impl Compensation {
    /// For a histogram to which nothing has been added yet.
    pub(crate) fn of(histogram: &Histogram) -> Self {
        let zeros = |buckets: &[(i32, f64)]| vec![0.0; buckets.len()];
        Self { positive: zeros(&histogram.positive), negative: zeros(&histogram.negative), ..Self::default() }
    }

    pub(crate) fn scale(&mut self, by: impl Fn(f64) -> f64) {
        for value in [&mut self.count, &mut self.sum, &mut self.zero_count]
            .into_iter()
            .chain(&mut self.positive)
            .chain(&mut self.negative)
        {
            *value = by(*value);
        }
    }
}

/// A bucket of a running sum: index, count, compensation.
type Running = (i32, f64, f64);

fn running(buckets: &[(i32, f64)], compensation: &[f64]) -> Vec<Running> {
    let compensation = compensation.iter().copied().chain(std::iter::repeat(0.0));
    buckets.iter().zip(compensation).map(|((index, count), c)| (*index, *count, c)).collect()
}

fn split(buckets: Vec<Running>) -> (Vec<(i32, f64)>, Vec<f64>) {
    buckets.into_iter().map(|(index, count, c)| ((index, count), c)).unzip()
}

/// The bucket of a lower resolution that a bucket lies in.
fn coarser(index: i32, from: i32, to: i32) -> i32 {
    let by = u32::try_from(from.saturating_sub(to)).unwrap_or_default().min(31);
    (index.saturating_sub(1) >> by).saturating_add(1)
}

fn reduce(buckets: Vec<Running>, from: i32, to: i32) -> Vec<Running> {
    if from == to {
        return buckets;
    }
    let mut reduced: Vec<Running> = Vec::with_capacity(buckets.len());
    for (index, count, c) in buckets {
        let index = coarser(index, from, to);
        match reduced.last_mut() {
            Some(last) if last.0 == index => {
                (last.1, last.2) = kahan::add(count, last.1, last.2);
                (last.1, last.2) = kahan::add(c, last.1, last.2);
            }
            _ => reduced.push((index, count, c)),
        }
    }
    reduced
}

/// Adds, with or without keeping what rounding takes.
fn add(value: f64, sum: f64, c: f64, compensated: bool) -> (f64, f64) {
    if compensated { kahan::add(value, sum, c) } else { (sum + value, 0.0) }
}

fn merge(left: Vec<Running>, right: Vec<Running>, sign: f64, compensated: bool) -> Vec<Running> {
    let mut merged = Vec::with_capacity(left.len().max(right.len()));
    let mut right = right.into_iter().peekable();
    for (index, count, c) in left {
        while let Some((other, value, _)) = right.next_if(|(other, ..)| *other < index) {
            merged.push((other, sign * value, 0.0));
        }
        let added = right.next_if(|(other, ..)| *other == index);
        let (count, c) = added.map_or((count, c), |(_, value, _)| add(sign * value, count, c, compensated));
        merged.push((index, count, c));
    }
    merged.extend(right.map(|(other, value, _)| (other, sign * value, 0.0)));
    merged
}

/// Brings buckets of custom bounds to those bounds of theirs which are in `to`.
fn rebound(buckets: Vec<Running>, bounds: &[f64], to: &[f64]) -> Vec<Running> {
    let mut moved: Vec<Running> = Vec::with_capacity(buckets.len());
    for (index, count, c) in buckets {
        let upper = usize::try_from(index).ok().and_then(|index| bounds.get(index));
        let target = upper.map_or(to.len(), |upper| to.partition_point(|bound| bound < upper));
        let target = i32::try_from(target).unwrap_or(i32::MAX);
        match moved.last_mut() {
            Some(last) if last.0 == target => {
                (last.1, last.2) = kahan::add(count, last.1, last.2);
                (last.1, last.2) = kahan::add(c, last.1, last.2);
            }
            _ => moved.push((target, count, c)),
        }
    }
    moved
}

fn intersection(a: &[f64], b: &[f64]) -> Arc<[f64]> {
    let mut b = b.iter().peekable();
    let shared = a.iter().filter(|bound| {
        while b.next_if(|other| other < bound).is_some() {}
        b.peek() == Some(bound)
    });
    shared.copied().collect()
}

impl Histogram {
    /// Adds another histogram.
    ///
    /// # Errors
    /// When one has a standard schema and the other custom bounds.
    pub fn add(&mut self, other: &Self) -> Result<Outcome, IncompatibleSchemas> {
        self.combine(other, 1.0, None)
    }

    /// Takes another histogram away.
    ///
    /// # Errors
    /// When one has a standard schema and the other custom bounds.
    pub fn subtract(&mut self, other: &Self) -> Result<Outcome, IncompatibleSchemas> {
        self.combine(other, -1.0, None)
    }

    /// Adds another histogram and keeps what rounding takes.
    pub(crate) fn add_compensated(
        &mut self,
        other: &Self,
        compensation: &mut Compensation,
    ) -> Result<Outcome, IncompatibleSchemas> {
        self.combine(other, 1.0, Some(compensation))
    }

    /// Gives back what rounding took.
    pub(crate) fn settle(&mut self, compensation: &Compensation) {
        self.count += compensation.count;
        self.sum += compensation.sum;
        self.zero_count += compensation.zero_count;
        let sides = [(&mut self.positive, &compensation.positive), (&mut self.negative, &compensation.negative)];
        for (buckets, compensations) in sides {
            for ((_, count), c) in buckets.iter_mut().zip(compensations) {
                *count += c;
            }
        }
    }

    fn combine(
        &mut self,
        other: &Self,
        sign: f64,
        compensation: Option<&mut Compensation>,
    ) -> Result<Outcome, IncompatibleSchemas> {
        if self.is_custom() != other.is_custom() {
            return Err(IncompatibleSchemas);
        }
        let mut outcome = Outcome { reset_collision: self.adopt_hint(other.hint), bounds_reconciled: false };
        let compensated = compensation.is_some();
        let mut nothing = Compensation::default();
        let c = compensation.unwrap_or(&mut nothing);
        if !self.is_custom() {
            let zero = self.reconcile_zero_buckets(other, c);
            (self.zero_count, c.zero_count) = add(sign * zero, self.zero_count, c.zero_count, compensated);
        }
        (self.count, c.count) = add(sign * other.count, self.count, c.count, compensated);
        (self.sum, c.sum) = add(sign * other.sum, self.sum, c.sum, compensated);

        let positive = running(&self.positive, &c.positive);
        let other_positive = running(&other.positive, &[]);
        if self.is_custom() {
            let merged = if self.bounds == other.bounds {
                merge(positive, other_positive, sign, compensated)
            } else {
                outcome.bounds_reconciled = true;
                let shared = intersection(&self.bounds, &other.bounds);
                let (left, right) =
                    (rebound(positive, &self.bounds, &shared), rebound(other_positive, &other.bounds, &shared));
                self.bounds = shared;
                merge(left, right, sign, true)
            };
            (self.positive, c.positive) = split(merged);
            return Ok(outcome);
        }
        let schema = self.schema.min(other.schema);
        // What of the other lies in the zero bucket was counted there.
        let threshold = self.zero_threshold;
        let outside = |buckets: Vec<Running>| {
            let inside = |bucket: &Running| exponential_bound(bucket.0, schema) <= threshold;
            buckets.into_iter().skip_while(inside).collect::<Vec<_>>()
        };
        let negative = running(&self.negative, &c.negative);
        let left = [positive, negative].map(|side| reduce(side, self.schema, schema));
        let right =
            [other_positive, running(&other.negative, &[])].map(|side| outside(reduce(side, other.schema, schema)));
        let [positive, negative] = left;
        let [other_positive, other_negative] = right;
        (self.positive, c.positive) = split(merge(positive, other_positive, sign, compensated));
        (self.negative, c.negative) = split(merge(negative, other_negative, sign, compensated));
        self.schema = schema;
        Ok(outcome)
    }

    /// Takes over what the other says of continuing; whether the two contradict each other.
    fn adopt_hint(&mut self, other: ResetHint) -> bool {
        use ResetHint::{Gauge, Unknown};
        match (self.hint, other) {
            (own, other) if own == other => false,
            (Gauge | Unknown, Gauge) | (Gauge, _) => {
                self.hint = Gauge;
                false
            }
            (_, Gauge) => {
                self.hint = Gauge;
                false
            }
            (Unknown, _) | (_, Unknown) => {
                self.hint = Unknown;
                false
            }
            _ => {
                self.hint = Unknown;
                true
            }
        }
    }

    /// Widens the zero bucket until it ends within no populated bucket of either; what the other's zero count is then.
    fn reconcile_zero_buckets(&mut self, other: &Self, c: &mut Compensation) -> f64 {
        let (mut count, mut threshold) = (other.zero_count, other.zero_threshold);
        // Each turn moves a threshold up to a bound of a bucket, of which there are finitely many.
        while threshold != self.zero_threshold && !threshold.is_nan() && !self.zero_threshold.is_nan() {
            if self.zero_threshold > threshold {
                (count, threshold) = other.zero_count_within(self.zero_threshold);
            }
            if threshold > self.zero_threshold {
                let (own, wider) = self.zero_count_within(threshold);
                self.empty_zero_bucket(wider, c);
                (self.zero_count, self.zero_threshold) = (own, wider);
            }
        }
        count
    }

    /// The zero count with a wider threshold, and that threshold, moved up if it would cut a populated bucket.
    fn zero_count_within(&self, mut threshold: f64) -> (f64, f64) {
        loop {
            let mut count = self.zero_count;
            let mut wider = threshold;
            for (buckets, negative) in [(&self.positive, false), (&self.negative, true)] {
                for bucket in buckets {
                    let lower = exponential_bound(bucket.0.saturating_sub(1), self.schema);
                    let upper = exponential_bound(bucket.0, self.schema);
                    if lower >= wider {
                        break;
                    }
                    count += bucket.1;
                    if upper > wider && bucket.1 != 0.0 {
                        wider = upper;
                        if !negative {
                            break;
                        }
                    }
                }
            }
            if wider == threshold {
                return (count, threshold);
            }
            threshold = wider;
        }
    }

    /// Empties the buckets that a wider zero bucket covers.
    fn empty_zero_bucket(&mut self, threshold: f64, c: &mut Compensation) {
        let schema = self.schema;
        let sides = [(&mut self.positive, &mut c.positive), (&mut self.negative, &mut c.negative)];
        for (buckets, compensation) in sides {
            let covered = buckets
                .iter()
                .take_while(|(index, _)| exponential_bound(index.saturating_sub(1), schema) < threshold)
                .count();
            buckets.drain(..covered);
            compensation.drain(..covered.min(compensation.len()));
        }
    }

    /// Lowers the resolution to a standard schema's, if it is higher.
    pub(crate) fn coarsen(&mut self, schema: i32) {
        if !self.is_custom() && schema < self.schema {
            for side in [&mut self.positive, &mut self.negative] {
                *side = split(reduce(running(side, &[]), self.schema, schema)).0;
            }
            self.schema = schema;
        }
    }

    /// Multiplies everything.
    pub(crate) fn multiply(&mut self, factor: f64) {
        self.scale(|value| value * factor);
        if factor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    /// Divides everything; by zero, no buckets are left.
    pub(crate) fn divide(&mut self, divisor: f64) {
        self.scale(|value| value / divisor);
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        } else if divisor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    pub(crate) fn scale(&mut self, by: impl Fn(f64) -> f64) {
        let buckets = self.positive.iter_mut().chain(&mut self.negative).map(|(_, count)| count);
        for value in [&mut self.count, &mut self.sum, &mut self.zero_count].into_iter().chain(buckets) {
            *value = by(*value);
        }
    }

    pub(crate) fn has_overflow(&self) -> bool {
        let buckets = self.positive.iter().chain(&self.negative).map(|(_, count)| *count);
        [self.count, self.sum, self.zero_count].into_iter().chain(buckets).any(f64::is_infinite)
    }

    /// Whether a counter started anew between the previous sample and this.
    #[must_use]
    pub fn is_reset_after(&self, previous: &Self) -> bool {
        match self.hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.is_custom() || previous.is_custom() {
            if self.is_custom() != previous.is_custom() {
                return true;
            }
            let shared = intersection(&self.bounds, &previous.bounds);
            let now = rebound(running(&self.positive, &[]), &self.bounds, &shared);
            let before = rebound(running(&previous.positive, &[]), &previous.bounds, &shared);
            return has_less(&now, &before);
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero_count, threshold) = previous.zero_count_within(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        let outside = |h: &Self, buckets: &[(i32, f64)]| {
            let reduced = reduce(running(buckets, &[]), h.schema, self.schema);
            let inside = |bucket: &Running| exponential_bound(bucket.0, self.schema) <= self.zero_threshold;
            reduced.into_iter().skip_while(inside).collect::<Vec<_>>()
        };
        has_less(&outside(self, &self.positive), &outside(previous, &previous.positive))
            || has_less(&outside(self, &self.negative), &outside(previous, &previous.negative))
    }
}

/// Whether any bucket has become smaller.
fn has_less(now: &[Running], before: &[Running]) -> bool {
    let mut now = now.iter().peekable();
    before.iter().any(|(index, count, _)| {
        while now.next_if(|bucket| bucket.0 < *index).is_some() {}
        match now.peek() {
            Some(bucket) if bucket.0 == *index => bucket.1 < *count,
            _ => *count != 0.0,
        }
    })
}
