//! Native histograms: observations counted in buckets whose bounds are powers of a base (standard schemas) or a given list
//! (custom schema). Buckets are kept sparse, as pairs of index and count in the order of indexes.
//!
//! Arithmetic is in [`arithmetic`], what is read out of a histogram in [`estimate`], cutting one off in [`trim`].

mod arithmetic;
mod estimate;
mod trim;

pub(crate) use arithmetic::Compensation;
pub use arithmetic::{IncompatibleSchemas, Outcome};
pub(crate) use estimate::{Estimate, Skew};

use std::fmt;
use std::sync::Arc;

use crate::format;

/// The schema of histograms whose bounds are a given list.
pub const CUSTOM_SCHEMA: i32 = -53;

/// Whether a histogram continues the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetHint {
    /// To be found out by comparing the two.
    #[default]
    Unknown,
    /// It starts anew.
    Reset,
    /// It continues.
    NotReset,
    /// It is no counter.
    Gauge,
}

/// One sample of a native histogram.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Whether it continues the one before it.
    pub hint: ResetHint,
    /// The resolution: a bucket is `2^(2^-schema)` times as wide as the one before it; [`CUSTOM_SCHEMA`]: see `bounds`.
    pub schema: i32,
    /// Of all observations.
    pub count: f64,
    /// Of all observations.
    pub sum: f64,
    /// Observations up to this size count as zero.
    pub zero_threshold: f64,
    /// How many those were.
    pub zero_count: f64,
    /// Buckets of positive observations (with the custom schema: of all), by index.
    pub positive: Vec<(i32, f64)>,
    /// Buckets of negative observations, by index.
    pub negative: Vec<(i32, f64)>,
    /// With the custom schema: the upper bounds, without the infinite one.
    pub bounds: Arc<[f64]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            hint: ResetHint::Unknown,
            schema: 0,
            count: 0.0,
            sum: 0.0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            positive: Vec::new(),
            negative: Vec::new(),
            bounds: Arc::new([]),
        }
    }
}

/// A bucket with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
    /// Whether an observation at the lower bound is in it.
    pub lower_inclusive: bool,
    /// Whether an observation at the upper bound is in it.
    pub upper_inclusive: bool,
    /// Observations.
    pub count: f64,
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.lower_inclusive { '[' } else { '(' };
        let close = if self.upper_inclusive { ']' } else { ')' };
        let (lower, upper) = (format::short(self.lower), format::short(self.upper));
        write!(f, "{open}{lower},{upper}{close}:{}", format::short(self.count))
    }
}

/// The upper bound of a bucket of a standard schema.
pub(crate) fn exponential_bound(index: i32, schema: i32) -> f64 {
    let exponent = f64::from(index) * (-f64::from(schema)).exp2();
    // The last bucket before the one for infinite observations ends at the largest number.
    if exponent == 1024.0 { f64::MAX } else { exponent.exp2() }
}

impl Histogram {
    /// Whether the bounds are a given list.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// How many values it takes to hold it.
    pub(crate) fn size(&self) -> usize {
        (self.positive.len() + self.negative.len()) * 2 + 10
    }

    fn bound(&self, index: i32) -> f64 {
        if !self.is_custom() {
            return exponential_bound(index, self.schema);
        }
        match usize::try_from(index) {
            Ok(index) => self.bounds.get(index).copied().unwrap_or(f64::INFINITY),
            Err(_) => f64::NEG_INFINITY,
        }
    }

    fn positive_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        let (lower, upper) = (self.bound(index.saturating_sub(1)), self.bound(index));
        if self.is_custom() {
            Bucket { lower, upper, lower_inclusive: index == 0, upper_inclusive: true, count }
        } else {
            Bucket { lower, upper, lower_inclusive: lower < 0.0, upper_inclusive: upper > 0.0, count }
        }
    }

    fn negative_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        let (lower, upper) = (-self.bound(index), -self.bound(index.saturating_sub(1)));
        Bucket { lower, upper, lower_inclusive: lower < 0.0, upper_inclusive: upper > 0.0, count }
    }

    fn zero_bucket(&self) -> Bucket {
        let (lower, upper) = (-self.zero_threshold, self.zero_threshold);
        Bucket { lower, upper, lower_inclusive: true, upper_inclusive: true, count: self.zero_count }
    }

    /// All buckets from the lowest to the highest. Those that overlap with the zero bucket end there.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> {
        let cut = move |mut bucket: Bucket| {
            if bucket.upper < 0.0 && bucket.upper > -self.zero_threshold {
                bucket.upper = -self.zero_threshold;
            } else if bucket.lower > 0.0 && bucket.lower < self.zero_threshold {
                bucket.lower = self.zero_threshold;
            }
            bucket
        };
        let negative = self.negative.iter().rev().map(|bucket| self.negative_bucket(*bucket));
        let zero = (self.zero_count > 0.0).then(|| self.zero_bucket());
        let positive = self.positive.iter().map(|bucket| self.positive_bucket(*bucket));
        negative.map(cut).chain(zero).chain(positive.map(cut))
    }

    /// Takes out buckets in which nothing is.
    pub fn compact(&mut self) {
        self.positive.retain(|(_, count)| *count != 0.0);
        self.negative.retain(|(_, count)| *count != 0.0);
    }

    /// Whether it is the same down to the bits.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let floats = |h: &Self| [h.count, h.sum, h.zero_count].map(f64::to_bits);
        let side = |a: &[(i32, f64)], b: &[(i32, f64)]| {
            a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.0 == y.0 && x.1.to_bits() == y.1.to_bits())
        };
        self.schema == other.schema
            && floats(self) == floats(other)
            && self.zero_threshold == other.zero_threshold
            && (!self.is_custom() || self.bounds == other.bounds)
            && side(&self.positive, &other.positive)
            && side(&self.negative, &other.negative)
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", format::short(self.count), format::short(self.sum))?;
        let negative = self.negative.iter().rev().map(|bucket| self.negative_bucket(*bucket));
        let zero = (self.zero_count != 0.0).then(|| self.zero_bucket());
        let positive = self.positive.iter().map(|bucket| self.positive_bucket(*bucket));
        for bucket in negative.chain(zero).chain(positive).filter(|bucket| bucket.count != 0.0) {
            write!(f, ", {bucket}")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests;
