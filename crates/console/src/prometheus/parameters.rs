//! What is asked for, as Prometheus' clients write it: in the address, or in a form.

use axum::extract::Query;
use axum::http::{HeaderMap, Uri};
use varka_promql::duration::parse_duration;
use varka_promql::matcher::Matcher;
use varka_promql::parser::parse_selector;

/// Names and values in order.
pub(super) type Pairs = Vec<(String, String)>;

/// A parameter that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid parameter {what:?}: {why}")]
pub(super) struct Invalid {
    what: &'static str,
    why: String,
}

impl Invalid {
    pub(super) fn new(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, why: why.into() }
    }
}

#[derive(Debug)]
pub(super) struct Parameters(Pairs);

impl Parameters {
    /// Of the address, and of the body where it is a form.
    pub(super) fn of(mut pairs: Pairs, headers: &HeaderMap, body: &str) -> Self {
        if super::is_form(headers)
            && let Ok(address) = format!("/?{}", body.trim()).parse::<Uri>()
            && let Ok(Query(more)) = Query::<Pairs>::try_from_uri(&address)
        {
            pairs.extend(more);
        }
        Self(pairs)
    }

    fn get(&self, what: &str) -> Option<&str> {
        self.0.iter().find(|(name, value)| name == what && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(super) fn required(&self, what: &'static str) -> Result<String, Invalid> {
        self.get(what).map(str::to_owned).ok_or_else(|| Invalid::new(what, "it is missing"))
    }

    /// Milliseconds since 1970, of seconds or of RFC 3339.
    pub(super) fn time(&self, what: &'static str) -> Result<Option<i64>, Invalid> {
        let Some(text) = self.get(what) else { return Ok(None) };
        let of_seconds = text.parse::<f64>().ok().and_then(millis);
        let found = of_seconds.or_else(|| text.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond()));
        let wrong = || Invalid::new(what, format!("cannot parse {text:?} to a valid timestamp"));
        found.ok_or_else(wrong).map(Some)
    }

    pub(super) fn required_time(&self, what: &'static str) -> Result<i64, Invalid> {
        self.time(what)?.ok_or_else(|| Invalid::new(what, "it is missing"))
    }

    /// Milliseconds, of seconds or of a duration.
    pub(super) fn step(&self, what: &'static str) -> Result<i64, Invalid> {
        let text = self.required(what)?;
        let found = text.parse::<f64>().ok().and_then(millis).or_else(|| parse_duration(&text));
        let wrong = || Invalid::new(what, format!("{text:?} is no positive duration"));
        found.filter(|step| *step > 0).ok_or_else(wrong)
    }

    pub(super) fn limit(&self) -> Result<usize, Invalid> {
        let Some(text) = self.get("limit") else { return Ok(usize::MAX) };
        let number: usize = text.parse().map_err(|_| Invalid::new("limit", format!("{text:?} is no whole number")))?;
        Ok(if number == 0 { usize::MAX } else { number })
    }

    /// Every `match[]`.
    pub(super) fn matching(&self) -> Result<Vec<Vec<Matcher>>, Invalid> {
        let selectors = self.0.iter().filter(|(name, _)| name == "match[]").map(|(_, value)| value);
        selectors
            .map(|text| {
                parse_selector(text).map(|s| s.all_matchers()).map_err(|e| Invalid::new("match[]", e.to_string()))
            })
            .collect()
    }
}

fn millis(seconds: f64) -> Option<i64> {
    let millis = (seconds * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "checked to be within")]
    (millis.abs() < 1e15).then_some(millis as i64)
}
