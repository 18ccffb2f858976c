//! Kubernetes' quantities: `250m`, `1.5Gi`, `2e3`.
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>

/// A quantity in thousandths, rounded up. `None`: it is none, it is negative, or it is too large for any machine.
#[must_use]
pub fn thousandths(text: &str) -> Option<u128> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    // Zeros at the end of a fraction say nothing, and so many of them would not fit.
    let fraction = fraction.trim_end_matches('0');
    let digits = [whole, fraction].concat();
    let mantissa: u128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let places = i32::try_from(fraction.len()).ok()?;
    match suffix {
        "Ki" => scaled(mantissa.checked_mul(1 << 10)?, 3 - places),
        "Mi" => scaled(mantissa.checked_mul(1 << 20)?, 3 - places),
        "Gi" => scaled(mantissa.checked_mul(1 << 30)?, 3 - places),
        "Ti" => scaled(mantissa.checked_mul(1 << 40)?, 3 - places),
        "Pi" => scaled(mantissa.checked_mul(1 << 50)?, 3 - places),
        "Ei" => scaled(mantissa.checked_mul(1 << 60)?, 3 - places),
        _ => scaled(mantissa, (3 + exponent(suffix)?).checked_sub(places)?),
    }
}

/// The power of ten that a decimal suffix stands for.
fn exponent(suffix: &str) -> Option<i32> {
    Some(match suffix {
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "" => 0,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        _ => {
            let digits = suffix.strip_prefix(['e', 'E'])?;
            // What no quantity of anything needs is not calculated with.
            digits.parse().ok().filter(|power: &i32| (-64..=64).contains(power))?
        }
    })
}

/// `mantissa` times ten to the power, rounded up.
fn scaled(mantissa: u128, power: i32) -> Option<u128> {
    let factor = |power: u32| 10_u128.checked_pow(power);
    match u32::try_from(power) {
        Ok(power) if mantissa == 0 => factor(power.min(1)).map(|_| 0),
        Ok(power) => mantissa.checked_mul(factor(power)?),
        // A factor that does not fit is larger than any mantissa.
        Err(_) => {
            Some(factor(power.unsigned_abs()).map_or(u128::from(mantissa > 0), |factor| mantissa.div_ceil(factor)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::thousandths;

    #[test]
    fn every_suffix() {
        for (text, want) in [
            ("0", 0),
            ("1", 1000),
            ("+1.", 1000),
            (".5", 500),
            ("250m", 250),
            ("1n", 1),
            ("1500u", 2),
            ("2.5k", 2_500_000),
            ("1E", 1_000_000_000_000_000_000_000),
            ("1e3", 1_000_000),
            ("1E-3", 1),
            ("0e64", 0),
            ("1.5Gi", 3 * (1 << 29) * 1000),
            ("1Ei", (1 << 60) * 1000),
            ("1.000000000000000000000000000000000000000000", 1000),
        ] {
            assert_eq!(thousandths(text), Some(want), "{text}");
        }
        for text in
            ["", ".", "-1", "1.2.3", "1x", "1ki", "1e", "1e99", "1 ", "340282366920938463463374607431768211455Ki"]
        {
            assert_eq!(thousandths(text), None, "{text}");
        }
    }
}
