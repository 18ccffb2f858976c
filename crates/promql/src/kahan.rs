//! Summation that keeps what rounding takes (Kahan's, in Neumaier's form): large values that cancel leave the small ones.

/// Adds a value to a sum; `(sum, compensation)`, to be added together in the end.
pub(crate) fn add(value: f64, sum: f64, compensation: f64) -> (f64, f64) {
    let total = sum + value;
    if total.is_infinite() {
        (total, 0.0)
    } else if sum.abs() >= value.abs() {
        (total, compensation + ((sum - total) + value))
    } else {
        (total, compensation + ((value - total) + sum))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_cancels_leaves_the_rest() {
        let values = [1.0, 1e100, 1.0, -1e100];
        let (sum, compensation) = values.into_iter().fold((0.0, 0.0), |(s, c), v| super::add(v, s, c));
        assert_eq!(sum + compensation, 2.0);
    }
}
