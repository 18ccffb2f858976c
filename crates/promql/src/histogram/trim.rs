//! Cutting a histogram off at a value (`</` and `>/`): what lies on the other side is taken out, and count and sum are estimated anew.

use super::{Bucket, Histogram};

/// What is left of a bucket: observations, and the middle of where they lie.
struct Rest {
    count: f64,
    middle: f64,
}

impl Histogram {
    /// Keeps what is below (`upper`) or above a value.
    pub(crate) fn trim(&mut self, at: f64, upper: bool) {
        let linear = self.is_custom();
        let (mut count, mut sum, mut trimmed) = (0.0, 0.0, false);
        let mut populated = [false, false];
        for (side, populated) in populated.iter_mut().enumerate() {
            let positive = side == 0;
            let buckets = if positive { &self.positive } else { &self.negative };
            let rests: Vec<f64> = buckets
                .iter()
                .map(|entry| {
                    let bucket = if positive { self.positive_bucket(*entry) } else { self.negative_bucket(*entry) };
                    if bucket.count == 0.0 {
                        return 0.0;
                    }
                    *populated = true;
                    let rest = rest(&bucket, at, upper, positive, linear);
                    count += rest.count;
                    sum += rest.middle * rest.count;
                    trimmed |= rest.count != bucket.count;
                    rest.count
                })
                .collect();
            let buckets = if positive { &mut self.positive } else { &mut self.negative };
            for ((_, count), rest) in buckets.iter_mut().zip(rests) {
                *count = rest;
            }
        }
        if self.zero_count > 0.0 {
            let [has_positive, has_negative] = populated;
            let rest = zero_rest(&self.zero_bucket(), at, upper, has_positive, has_negative);
            trimmed |= rest.count != self.zero_count;
            self.zero_count = rest.count;
            count += rest.count;
            sum += rest.middle * rest.count;
        }
        if trimmed {
            (self.count, self.sum) = (count, sum);
            self.compact();
        }
    }
}

fn rest(bucket: &Bucket, at: f64, upper: bool, positive: bool, linear: bool) -> Rest {
    let whole = if upper { bucket.upper <= at } else { bucket.lower >= at };
    let part = if upper { bucket.lower < at } else { bucket.upper > at };
    if whole {
        Rest { count: bucket.count, middle: middle(bucket.lower, bucket.upper, positive, linear) }
    } else if !part {
        Rest { count: 0.0, middle: 0.0 }
    } else if bucket.lower == f64::NEG_INFINITY {
        below_first_bound(bucket, at, upper)
    } else if bucket.upper == f64::INFINITY {
        // How far up the observations lie is not known: above a bound within they are all kept, below it none.
        if !upper && at >= bucket.lower {
            Rest { count: bucket.count, middle: at }
        } else {
            Rest { count: 0.0, middle: 0.0 }
        }
    } else {
        let below = bucket.count * bucket.fraction_below(at, linear);
        if upper {
            Rest { count: below, middle: middle(bucket.lower, at, positive, linear) }
        } else {
            Rest { count: bucket.count - below, middle: middle(at, bucket.upper, positive, linear) }
        }
    }
}

/// A bucket without a lower bound starts at zero when it ends above; otherwise nothing is known of where its observations lie.
fn below_first_bound(bucket: &Bucket, at: f64, upper: bool) -> Rest {
    let bounded = bucket.upper > 0.0 && bucket.upper != f64::INFINITY;
    if upper {
        if at > 0.0 && bounded {
            Rest { count: bucket.count * at / bucket.upper, middle: at / 2.0 }
        } else if bucket.upper <= 0.0 {
            Rest { count: bucket.count, middle: at }
        } else {
            Rest { count: 0.0, middle: 0.0 }
        }
    } else if at >= 0.0 && bounded {
        Rest { count: bucket.count * (1.0 - at / bucket.upper), middle: f64::midpoint(at, bucket.upper) }
    } else {
        Rest { count: 0.0, middle: 0.0 }
    }
}

fn zero_rest(bucket: &Bucket, at: f64, upper: bool, has_positive: bool, has_negative: bool) -> Rest {
    let low = if has_positive && !has_negative { 0.0 } else { bucket.lower };
    let high = if has_negative && !has_positive { 0.0 } else { bucket.upper };
    let all = Rest { count: bucket.count, middle: f64::midpoint(low, high) };
    let none = Rest { count: 0.0, middle: 0.0 };
    match (upper, at <= low, at >= high) {
        (true, true, _) | (false, false, true) => none,
        (true, false, true) | (false, true, _) => all,
        (true, false, false) => {
            Rest { count: bucket.count * ((at - low) / (high - low)), middle: f64::midpoint(low, at) }
        }
        (false, false, false) => {
            Rest { count: bucket.count * ((high - at) / (high - low)), middle: f64::midpoint(at, high) }
        }
    }
}

fn middle(lower: f64, upper: f64, positive: bool, linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) => {
            if upper > 0.0 {
                upper / 2.0
            } else {
                upper
            }
        }
        (false, true) => lower,
        (false, false) if linear => f64::midpoint(lower, upper),
        (false, false) => {
            let middle = (lower * upper).abs().sqrt();
            if positive { middle } else { -middle }
        }
    }
}
