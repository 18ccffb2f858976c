//! Numbers as Kiali writes them.

use serde::{Serialize, Serializer};

/// Digits behind the point of a rate, at the least.
const DIGITS: usize = 2;
/// And at the most, so that a small rate is not written as none.
const MOST_DIGITS: usize = 5;

/// With so many digits behind the point.
pub(super) fn fixed(value: f64, digits: usize) -> String {
    format!("{value:.digits$}")
}

/// With two digits, or as many as it takes to see one that is not zero.
pub(super) fn rate(value: f64) -> String {
    let mut digits = 0;
    let mut scaled = value;
    while scaled > 0.0 && scaled < 1.0 && digits < MOST_DIGITS {
        scaled *= 10.0;
        digits += 1;
    }
    fixed(value, digits.max(DIGITS))
}

/// A number that is written without a point where it is whole.
pub(super) fn bare<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    #[expect(clippy::cast_possible_truncation, reason = "whole, and not larger than 2^53")]
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return (*value as i64).serialize(serializer);
    }
    value.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::{fixed, rate};

    #[test]
    fn small_rates_are_seen() {
        for (value, want) in [
            (170.0, "170.00"),
            (0.5, "0.50"),
            (0.05, "0.05"),
            (0.004, "0.004"),
            (0.000_04, "0.00004"),
            (0.000_000_4, "0.00000"),
            (0.0, "0.00"),
        ] {
            assert_eq!(rate(value), want);
        }
        // Halves go to the even digit, as the bits say.
        assert_eq!((fixed(0.5, 0), fixed(1.5, 0), fixed(33.333, 1)), ("0".into(), "2".into(), "33.3".into()));
    }
}
