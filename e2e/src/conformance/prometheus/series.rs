//! The notation of series: `metric{label="value"} 1 2 _ 3+1x10 {{schema:0 count:1}}`.

use varka_promql::Labels;
use varka_promql::histogram::{CUSTOM_SCHEMA, Histogram, ResetHint};
use varka_promql::labels::METRIC_NAME;
use varka_promql::matcher::MatchOp;
use varka_promql::parser::parse_selector;
use varka_promql::storage::STALE;

/// A value of the sequence.
#[derive(Debug, Clone)]
pub(super) enum Item {
    Nothing,
    Float(f64),
    /// And whether it says that it is, or is not, the continuation of the one before it.
    Histogram(Histogram, bool),
}

/// A series' labels and values.
pub(super) fn series(line: &str) -> Result<(Labels, Vec<Item>), String> {
    let (metric, values) = split(line);
    Ok((labels(metric)?, items(values)?))
}

/// The metric, and what follows it.
pub(super) fn split(line: &str) -> (&str, &str) {
    let (mut depth, mut quote) = (0, None);
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(open), '\\') if open != '`' => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') => depth -= 1,
            (None, c) if c.is_whitespace() && depth == 0 => return line.split_at(at),
            _ => {}
        }
    }
    (line, "")
}

/// The labels of a metric.
pub(super) fn labels(metric: &str) -> Result<Labels, String> {
    if metric == "{}" {
        return Ok(Labels::default());
    }
    let selector = parse_selector(metric).map_err(|error| error.to_string())?;
    if selector.matchers.iter().any(|matcher| matcher.op() != MatchOp::Equal) {
        return Err(format!("{metric:?} names no labels"));
    }
    let named = selector.matchers.iter().map(|matcher| (matcher.name(), matcher.value()));
    Ok(named.chain(selector.name.iter().map(|name| (METRIC_NAME, name.as_str()))).collect())
}

/// A number, or one of the words for what is none.
pub(super) fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

fn items(mut text: &str) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return Ok(items);
        }
        text = if text.starts_with("{{") { histograms(text, &mut items)? } else { floats(text, &mut items)? };
    }
}

/// The number at the beginning of a text, with its sign.
fn leading_number(text: &str) -> Result<(f64, &str), String> {
    let sign = usize::from(text.starts_with(['+', '-']));
    let mut end = sign;
    let mut before = ' ';
    for c in text.chars().skip(sign) {
        let exponent = matches!(before, 'e' | 'E') && matches!(c, '+' | '-');
        if !(c.is_ascii_alphanumeric() || c == '.' || exponent) || c == 'x' {
            break;
        }
        (end, before) = (end + c.len_utf8(), c);
    }
    let (digits, rest) = text.split_at(end);
    let number = digits.parse().map_err(|_| format!("{digits:?} is no number, in {text:?}"))?;
    Ok((number, rest))
}

/// `x10`: how often more.
fn times(text: &str) -> Result<(Option<usize>, &str), String> {
    let Some(rest) = text.strip_prefix('x') else { return Ok((None, text)) };
    let (digits, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    Ok((Some(digits.parse().map_err(|_| format!("{text:?} says no number of times"))?), rest))
}

fn floats<'t>(text: &'t str, items: &mut Vec<Item>) -> Result<&'t str, String> {
    if let Some(rest) = text.strip_prefix('_') {
        let (count, rest) = times(rest)?;
        items.extend(std::iter::repeat_n(Item::Nothing, count.unwrap_or(1)));
        return Ok(rest);
    }
    let (first, rest) = match text.strip_prefix("stale") {
        Some(rest) => (STALE, rest),
        None => leading_number(text)?,
    };
    let (step, rest) = if rest.starts_with(['+', '-']) { leading_number(rest)? } else { (0.0, rest) };
    let (count, rest) = times(rest)?;
    let mut value = first;
    for _ in 0..=count.unwrap_or(0) {
        items.push(Item::Float(value));
        if step != 0.0 {
            value += step;
        }
    }
    Ok(rest)
}

fn histograms<'t>(text: &'t str, items: &mut Vec<Item>) -> Result<&'t str, String> {
    let (first, hinted, mut rest) = histogram(text)?;
    let mut step = None;
    let sign = rest.chars().next().filter(|c| matches!(c, '+' | '-'));
    if sign.is_some() {
        let (other, step_hinted, behind) = histogram(rest.get(1..).unwrap_or_default())?;
        (step, rest) = (Some((other, step_hinted)), behind);
    }
    let (count, rest) = times(rest)?;
    let hinted = step.as_ref().map_or(hinted, |(_, hinted)| *hinted);
    let mut value = first;
    for _ in 0..=count.unwrap_or(0) {
        items.push(Item::Histogram(value.clone(), hinted));
        if let Some((step, _)) = &step {
            let added = if sign == Some('+') { value.add(step) } else { value.subtract(step) };
            added.map_err(|error| error.to_string())?;
        }
    }
    Ok(rest)
}

/// `{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`, and whether it has a hint.
fn histogram(text: &str) -> Result<(Histogram, bool, &str), String> {
    let unreadable = || format!("{text:?} begins with no histogram");
    let (inner, rest) = text.strip_prefix("{{").and_then(|text| text.split_once("}}")).ok_or_else(unreadable)?;
    let mut histogram = Histogram::default();
    let (mut offset, mut negative_offset, mut hinted) = (0, 0, false);
    let mut inner = inner.trim();
    while !inner.is_empty() {
        let (key, after) = inner.split_once(':').ok_or_else(unreadable)?;
        let end = if after.starts_with('[') { after.find(']').map(|at| at + 1) } else { after.find(' ') };
        let (value, after) = after.split_at(end.unwrap_or(after.len()));
        inner = after.trim_start();
        let number = || number(value).ok_or_else(unreadable);
        let list = || {
            let words = value.trim_matches(['[', ']']).split_whitespace();
            words.map(|word| word.parse::<f64>().map_err(|_| unreadable())).collect::<Result<Vec<_>, _>>()
        };
        match key {
            "schema" => histogram.schema = number()? as i32,
            "sum" => histogram.sum = number()?,
            "count" => histogram.count = number()?,
            "z_bucket" => histogram.zero_count = number()?,
            "z_bucket_w" => histogram.zero_threshold = number()?,
            "custom_values" => histogram.bounds = list()?.into(),
            "buckets" => histogram.positive = (0..).zip(list()?).collect(),
            "n_buckets" => histogram.negative = (0..).zip(list()?).collect(),
            "offset" => offset = number()? as i32,
            "n_offset" => negative_offset = number()? as i32,
            "counter_reset_hint" => {
                hinted = true;
                histogram.hint = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => return Err(unreadable()),
                };
            }
            _ => return Err(unreadable()),
        }
    }
    histogram.positive.iter_mut().for_each(|(index, _)| *index += offset);
    histogram.negative.iter_mut().for_each(|(index, _)| *index += negative_offset);
    if histogram.schema == CUSTOM_SCHEMA && !histogram.negative.is_empty() {
        return Err(unreadable());
    }
    Ok((histogram, hinted, rest))
}
