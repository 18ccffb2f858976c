//! Numbers and texts in the forms that Prometheus prints: labels, annotations and JSON are compared by text elsewhere.

use std::fmt::Write as _;

/// Decimal without an exponent, as in `count_values`' labels.
pub(crate) fn plain(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        value.to_string()
    }
}

/// The shortest form, with an exponent from 1e+21 on and below 1e-06: sample values in JSON.
pub(crate) fn json(value: f64) -> String {
    let size = value.abs();
    if value.is_finite() && size != 0.0 && !(1e-6..1e21).contains(&size) { scientific(value) } else { plain(value) }
}

/// The shortest form, with an exponent from 1e+06 on and below 1e-04: histograms and annotations.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    if value.is_finite() && size != 0.0 && !(1e-4..1e6).contains(&size) { scientific(value) } else { plain(value) }
}

/// With two significant digits at most.
pub(crate) fn two_digits(value: f64) -> String {
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    if rounded != 0.0 && rounded.is_finite() && !(1e-4..100.0).contains(&rounded.abs()) {
        scientific(rounded)
    } else {
        plain(rounded)
    }
}

/// OpenMetrics' form, which always shows that it is a float: the values of `histogram_quantiles`' labels.
pub(crate) fn open_metrics(value: f64) -> String {
    let mut text = short(value);
    if value.is_finite() && !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}

fn scientific(value: f64) -> String {
    let text = format!("{value:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// In double quotes, with Go's escapes; what is not UTF-8 byte by byte.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            quote_char(c, &mut text);
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.push('"');
    text
}

fn quote_char(c: char, text: &mut String) {
    match c {
        '"' => text.push_str("\\\""),
        '\\' => text.push_str("\\\\"),
        '\u{7}' => text.push_str("\\a"),
        '\u{8}' => text.push_str("\\b"),
        '\u{c}' => text.push_str("\\f"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        '\u{b}' => text.push_str("\\v"),
        c if c.is_ascii_control() => {
            let _ = write!(text, "\\x{:02x}", u32::from(c));
        }
        c if c.is_control() => {
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        }
        c => text.push(c),
    }
}

/// Whether a label name needs no quotes.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A label name, in quotes where it needs them.
pub(crate) fn name(name: &str) -> String {
    if is_plain_name(name) { name.to_owned() } else { quote(name.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_like_those_of_prometheus() {
        assert_eq!(plain(1e21), "1000000000000000000000");
        assert_eq!([json(1e21), json(1e-7), json(0.0), json(f64::NEG_INFINITY)], ["1e+21", "1e-07", "0", "-Inf"]);
        assert_eq!(
            [short(1e6), short(123_456.0), short(0.00001), short(-0.001)],
            ["1e+06", "123456", "1e-05", "-0.001"]
        );
        assert_eq!([open_metrics(1.0), open_metrics(0.25), open_metrics(f64::NAN)], ["1.0", "0.25", "NaN"]);
        assert_eq!([two_digits(0.123), two_digits(1234.0)], ["0.12", "1.2e+03"]);
    }

    #[test]
    fn texts_are_quoted_with_go_escapes() {
        assert_eq!(quote(b"a\xc5z\n\"\\"), r#""a\xc5z\n\"\\""#);
        assert_eq!(name("a.b"), r#""a.b""#);
    }
}
