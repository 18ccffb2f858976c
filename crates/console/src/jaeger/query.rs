//! What is asked for, as Jaeger's clients write it.

use std::time::Duration;

use crate::store::spans::Search;

/// Names and values of a request's query, in order.
pub type Pairs = Vec<(String, String)>;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_500;
/// Where nobody says since when: two days.
const LOOKBACK: Duration = Duration::from_secs(2 * 24 * 3600);
/// Of dependencies: a day.
const DEPENDENCY_LOOKBACK: Duration = Duration::from_secs(24 * 3600);
const MAX_TRACES: usize = 100;

/// A query that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Invalid {
    /// Name of the parameter.
    pub what: &'static str,
    /// For people.
    pub why: String,
}

fn invalid(what: &'static str, why: impl Into<String>) -> Invalid {
    Invalid { what, why: why.into() }
}

/// Which traces are wanted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wanted {
    /// These.
    Traces(Vec<u128>),
    /// What is found.
    Search(Search),
}

fn first<'p>(pairs: &'p Pairs, name: &str) -> Option<&'p str> {
    all(pairs, name).next().filter(|value| !value.is_empty())
}

fn all<'p>(pairs: &'p Pairs, name: &str) -> impl Iterator<Item = &'p str> {
    pairs.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
}

/// `/api/traces`.
pub(crate) fn traces(pairs: &Pairs, now: u64) -> Result<Wanted, Invalid> {
    let ids: Vec<u128> = all(pairs, "traceID").take(MAX_TRACES).map(trace_id).collect::<Result<_, _>>()?;
    if !ids.is_empty() {
        return Ok(Wanted::Traces(ids));
    }
    let service = first(pairs, "service").ok_or_else(|| invalid("service", "parameter 'service' is required"))?;
    let end = first(pairs, "end").map_or(Ok(now), |text| number("end", text))?;
    let lookback = u64::try_from(LOOKBACK.as_micros()).unwrap_or(u64::MAX);
    let start = first(pairs, "start").map_or(Ok(end.saturating_sub(lookback)), |text| number("start", text))?;
    let limit = first(pairs, "limit").map_or(Ok(DEFAULT_LIMIT), |text| number("limit", text))?;
    let mut tags = Vec::new();
    for tag in all(pairs, "tag") {
        let (key, value) = tag.split_once(':').ok_or_else(|| {
            invalid("tag", format!("malformed 'tag' parameter, expecting key:value, received: {tag}"))
        })?;
        tags.push((key.to_owned(), value.to_owned()));
    }
    for text in all(pairs, "tags").filter(|text| !text.is_empty()) {
        tags.extend(tag_object("tags", text)?);
    }
    let micros = |name| first(pairs, name).map(|text| duration(name, text)).transpose();
    let (duration_min, duration_max) = (micros("minDuration")?, micros("maxDuration")?);
    if let (Some(min), Some(max)) = (duration_min, duration_max)
        && max < min
    {
        return Err(invalid("maxDuration", "'maxDuration' should be greater than 'minDuration'"));
    }
    Ok(Wanted::Search(Search {
        service: service.to_owned(),
        operation: first(pairs, "operation").unwrap_or_default().to_owned(),
        tags,
        start,
        end,
        duration_min,
        duration_max,
        limit: limit.clamp(1, MAX_LIMIT),
    }))
}

/// A JSON object of texts.
pub(super) fn tag_object(name: &'static str, text: &str) -> Result<Vec<(String, String)>, Invalid> {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|e| invalid(name, format!("a JSON object of texts is expected: {e}")))?;
    let value = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(object.into_iter().map(|(key, found)| (key, value(found))).collect())
}

/// `/api/operations`: the service, and the kind if one is wanted.
pub(crate) fn operations(pairs: &Pairs) -> Result<(String, Option<String>), Invalid> {
    let service = first(pairs, "service").ok_or_else(|| invalid("service", "parameter 'service' is required"))?;
    Ok((service.to_owned(), first(pairs, "spanKind").map(str::to_owned)))
}

/// `/api/dependencies`: start, end, and the service if one is wanted.
pub(crate) fn dependencies(pairs: &Pairs, now: u64) -> Result<(u64, u64, Option<String>), Invalid> {
    let micros = |name, default| match first(pairs, name) {
        Some(text) => number::<u64>(name, text).map(|millis| millis.saturating_mul(1000)),
        None => Ok(default),
    };
    let end = micros("endTs", now)?;
    let lookback = micros("lookback", u64::try_from(DEPENDENCY_LOOKBACK.as_micros()).unwrap_or(u64::MAX))?;
    Ok((end.saturating_sub(lookback), end, first(pairs, "service").map(str::to_owned)))
}

/// Hexadecimal, with or without leading zeros.
pub(super) fn trace_id(text: &str) -> Result<u128, Invalid> {
    let digits = !text.is_empty() && text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    id.ok_or_else(|| invalid("traceID", format!("{text:?} is no trace id: up to 32 hexadecimal digits are")))
}

fn number<T: std::str::FromStr>(name: &'static str, text: &str) -> Result<T, Invalid> {
    text.parse().map_err(|_| invalid(name, format!("{text:?} is no whole number")))
}

/// Microseconds of `1.5s`, `100us`, `1h2m`.
pub(super) fn duration(name: &'static str, text: &str) -> Result<u64, Invalid> {
    let wrong = || invalid(name, format!("{text:?} is no duration such as 1.5s, 20ms or 100us"));
    let mut rest = text;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (value, after) = rest.split_at(digits);
        let value: f64 = value.parse().map_err(|_| wrong())?;
        let unit_ends = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_ends);
        let micros = match unit {
            "ns" => 0.001,
            "us" | "µs" | "μs" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            "m" => 60e6,
            "h" => 3600e6,
            _ => return Err(wrong()),
        };
        total += value * micros;
        rest = after;
    }
    if text.is_empty() || !(0.0..1e15).contains(&total) {
        return Err(wrong());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within")]
    Ok(total.round() as u64)
}
