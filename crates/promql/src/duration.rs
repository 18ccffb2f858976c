//! Prometheus' durations (`1h30m`, `500ms`), in milliseconds.

/// Units from the largest to the smallest, with their milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];
/// What Prometheus can count, which counts in nanoseconds.
pub(crate) const MAX_SECONDS: f64 = 9_223_372_036.854_775;

/// Reads a duration: numbers with units, each unit once, from the largest to the smallest. `None`: it is none, or too long.
#[must_use]
pub fn parse_duration(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let (_, size) = units.find(|(name, _)| *name == unit)?;
        total = number.parse::<u64>().ok()?.checked_mul(*size)?.checked_add(total)?;
        rest = after;
    }
    let bounded = !text.is_empty() && total as f64 / 1000.0 <= MAX_SECONDS;
    bounded.then(|| i64::try_from(total).ok())?
}

/// Writes a duration so that reading it gives the same.
#[must_use]
pub(crate) fn print(milliseconds: u64) -> String {
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    let mut rest = milliseconds;
    let mut text = String::new();
    for (unit, size) in UNITS {
        // Years, weeks and days are written only where nothing remains: 366d and 25h, not 1y1d and 1d1h.
        let whole = !matches!(unit, "y" | "w" | "d") || rest.is_multiple_of(size);
        if whole && rest >= size {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_order() {
        assert_eq!(parse_duration("1h30m"), Some(5_400_000));
        assert_eq!(parse_duration("10s53ms"), Some(10_053));
        assert_eq!(parse_duration("1y2w3d"), Some((365 + 14 + 3) * 86_400_000));
        for wrong in ["", "5", "m", "5m1h", "5m5m", "1.5h", "5mm", "-5m", "99999999999999999999s", "400y"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["1y", "366d", "2w", "15d", "25h", "1h30m", "10s53ms", "0s", "1ms"] {
            assert_eq!(print(parse_duration(text).unwrap().unsigned_abs()), text);
        }
    }
}
