//! What is estimated from a histogram: quantiles, fractions, variance. Within a bucket, observations are taken to lie evenly: on a
//! logarithmic scale where the bounds are powers, on a linear one in the zero bucket and between custom bounds.

use super::{Bucket, Histogram};
use crate::kahan;

/// An estimate, and what of it the reader should know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) skew: Option<Skew>,
}

/// What observations that were no number did to an estimate: they are in no bucket, but in the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skew {
    /// The quantile falls among them.
    Nan,
    /// The quantile is too high.
    High,
    /// The fractions leave them out.
    Excluded,
}

impl From<f64> for Estimate {
    fn from(value: f64) -> Self {
        Self { value, skew: None }
    }
}

impl Bucket {
    /// The part of the bucket's width that lies below a value within it.
    pub(super) fn fraction_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let [lower, upper, at] = [self.lower, self.upper, value].map(|v| v.abs().log2());
        if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
    }
}

impl Histogram {
    /// The quantile `q`.
    pub(crate) fn quantile(&self, q: f64) -> Estimate {
        if q < 0.0 {
            return f64::NEG_INFINITY.into();
        }
        if q > 1.0 {
            return f64::INFINITY.into();
        }
        if self.count == 0.0 || q.is_nan() {
            return f64::NAN.into();
        }
        // From the nearer end; but observations that are no number count as higher than all, so then from below.
        let forward = self.sum.is_nan() || q < 0.5;
        let rank = if forward { q * self.count } else { (1.0 - q) * self.count };
        let found = if forward { reach(self.buckets(), rank) } else { reach(self.buckets().rev(), rank) };
        let Reached { mut bucket, count, total } = found;
        if self.is_custom() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return bucket.upper.into();
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return bucket.lower.into();
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            self.narrow_zero_bucket(&mut bucket);
        }
        let count = count.min(self.count);
        if count < rank {
            return if self.sum.is_nan() {
                Estimate { value: f64::NAN, skew: Some(Skew::Nan) }
            } else {
                bucket.upper.into()
            };
        }
        let rank = if forward { rank - (count - bucket.count) } else { count - rank };
        let skew = (self.sum.is_nan() && total < self.count).then_some(Skew::High);
        let fraction = rank / bucket.count;
        let value = if self.is_custom() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
            bucket.lower + (bucket.upper - bucket.lower) * fraction
        } else {
            let [lower, upper] = [bucket.lower, bucket.upper].map(|bound| bound.abs().log2());
            if bucket.lower > 0.0 {
                (lower + (upper - lower) * fraction).exp2()
            } else {
                -(upper + (lower - upper) * (1.0 - fraction)).exp2()
            }
        };
        Estimate { value, skew }
    }

    /// With observations on one side only, the zero bucket reaches to zero.
    fn narrow_zero_bucket(&self, bucket: &mut Bucket) {
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
    }

    /// The part of the observations between two values.
    pub(crate) fn fraction(&self, lower: f64, upper: f64) -> Estimate {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return f64::NAN.into();
        }
        if lower >= upper {
            return 0.0.into();
        }
        let (mut rank, mut low, mut high) = (0.0, None, None);
        let mut total = 0.0;
        for mut bucket in self.buckets() {
            total += bucket.count;
            let zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
            if zero {
                self.narrow_zero_bucket(&mut bucket);
            }
            let at = |value: f64| {
                if (self.is_custom() || zero) && bucket.lower == f64::NEG_INFINITY {
                    // Nothing is known of a bucket without a lower bound: what is asked for begins behind it.
                    bucket.count
                } else {
                    rank + bucket.count * bucket.fraction_below(value, self.is_custom() || zero)
                }
            };
            for (bound, found) in [(lower, &mut low), (upper, &mut high)] {
                if found.is_some() {
                    continue;
                }
                if bucket.lower >= bound {
                    *found = Some(rank);
                } else if bucket.upper > bound {
                    *found = Some(at(bound));
                }
            }
            rank += bucket.count;
        }
        let excluded = self.sum.is_nan() && total < self.count;
        let count = if self.sum.is_nan() { total } else { self.count };
        let [low, high] = [low, high].map(|rank| rank.filter(|rank| *rank <= count).unwrap_or(count));
        Estimate { value: (high - low) / self.count, skew: excluded.then_some(Skew::Excluded) }
    }

    /// The variance of the observations, each taken to lie in the middle of its bucket.
    pub(crate) fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let (mut variance, mut compensation) = (0.0, 0.0);
        for bucket in self.buckets().filter(|bucket| bucket.count != 0.0) {
            let middle = if self.is_custom() {
                f64::midpoint(bucket.upper, bucket.lower)
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                0.0
            } else {
                (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
            };
            let delta = middle - mean;
            (variance, compensation) = kahan::add(bucket.count * delta * delta, variance, compensation);
        }
        (variance + compensation) / self.count
    }
}

struct Reached {
    bucket: Bucket,
    /// Up to and with the bucket.
    count: f64,
    /// Of all buckets.
    total: f64,
}

/// The bucket in which a rank is reached; the last populated one when it is not.
fn reach(buckets: impl Iterator<Item = Bucket>, rank: f64) -> Reached {
    let nothing = Bucket { lower: 0.0, upper: 0.0, lower_inclusive: false, upper_inclusive: false, count: 0.0 };
    let mut reached = Reached { bucket: nothing, count: 0.0, total: 0.0 };
    let mut done = false;
    for bucket in buckets {
        reached.total += bucket.count;
        if done {
            continue;
        }
        reached.bucket = bucket;
        if bucket.count != 0.0 {
            reached.count += bucket.count;
            done = reached.count >= rank;
        }
    }
    reached
}
