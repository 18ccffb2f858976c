//! What the reader of an answer should know about it: warnings (it is most likely not what was meant) and infos (it may not be).
//! The texts are Prometheus', because alerts, dashboards and people know them.

use std::collections::BTreeMap;

use crate::error::Place;
use crate::format;
use crate::limits::MAX_ANNOTATIONS;

/// How grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The answer is most likely not what was meant.
    Warning,
    /// The answer may not be what was meant.
    Info,
}

/// One text, and where in the query it came about.
#[derive(Debug, Clone)]
struct Annotation {
    severity: Severity,
    at: usize,
    forced: Option<Forced>,
}

/// How buckets were forced to grow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forced {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
    pub(crate) difference: f64,
    pub(crate) samples: usize,
}

/// All annotations of an answer; each text once, and not more of them than anybody reads.
#[derive(Debug, Clone, Default)]
pub struct Annotations {
    texts: BTreeMap<String, Annotation>,
    /// How often there was one more than that.
    omitted: usize,
}

/// What was done to histograms.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    Addition,
    Subtraction,
    Aggregation,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

impl Annotations {
    fn add(&mut self, severity: Severity, at: usize, text: String) {
        self.insert(text, Annotation { severity, at, forced: None });
    }

    fn insert(&mut self, text: String, annotation: Annotation) {
        if self.texts.len() < MAX_ANNOTATIONS || self.texts.contains_key(&text) {
            self.texts.insert(text, annotation);
        } else {
            self.omitted += 1;
        }
    }

    fn warn(&mut self, at: usize, text: String) {
        self.add(Severity::Warning, at, text);
    }

    fn info(&mut self, at: usize, text: String) {
        self.add(Severity::Info, at, text);
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The texts of one severity, with their places in the query.
    #[must_use]
    pub fn texts(&self, severity: Severity, query: &str) -> Vec<String> {
        let word = match severity {
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        let print = |(text, annotation): (&String, &Annotation)| {
            let more = annotation.forced.map(|forced| forced.text()).unwrap_or_default();
            format!("PromQL {word}: {text}{more} ({})", Place::of(query, annotation.at))
        };
        let of_severity = self.texts.iter().filter(|(_, annotation)| annotation.severity == severity);
        let omitted = (self.omitted > 0 && severity == Severity::Warning)
            .then(|| format!("more than {MAX_ANNOTATIONS} warnings and infos: the others are omitted"));
        of_severity.map(print).chain(omitted).collect()
    }

    pub(crate) fn invalid_quantile(&mut self, at: usize, quantile: f64) {
        self.warn(at, format!("quantile value should be between 0 and 1, got {}", format::short(quantile)));
    }

    pub(crate) fn invalid_ratio(&mut self, at: usize, ratio: f64, cap: f64) {
        let (ratio, cap) = (format::short(ratio), format::short(cap));
        self.warn(at, format!("ratio value should be between -1 and 1, got {ratio}, capping to {cap}"));
    }

    pub(crate) fn bad_bucket_label(&mut self, at: usize, metric: &str, value: &str) {
        let text = format!("bucket label \"le\" is missing or has a malformed value of {}", quoted(value));
        self.warn(at, with_metric(text, metric));
    }

    pub(crate) fn mixed_samples(&mut self, at: usize, metric: &str) {
        self.warn(at, format!("encountered a mix of histograms and floats for metric name {}", quoted(metric)));
    }

    pub(crate) fn mixed_samples_in_aggregation(&mut self, at: usize) {
        self.warn(at, "encountered a mix of histograms and floats for aggregation".to_owned());
    }

    pub(crate) fn mixed_histograms(&mut self, at: usize, metric: &str) {
        self.warn(at, with_metric("vector contains a mix of classic and native histograms".to_owned(), metric));
    }

    pub(crate) fn mixed_schemas(&mut self, at: usize, metric: &str) {
        let text = "vector contains a mix of histograms with exponential and custom buckets schemas for metric name";
        self.warn(at, format!("{text} {}", quoted(metric)));
    }

    pub(crate) fn not_a_counter(&mut self, at: usize, metric: &str) {
        self.warn(at, format!("this native histogram metric is not a counter: {}", quoted(metric)));
    }

    pub(crate) fn not_a_gauge(&mut self, at: usize, metric: &str) {
        self.warn(at, format!("this native histogram metric is not a gauge: {}", quoted(metric)));
    }

    pub(crate) fn incompatible_buckets(&mut self, at: usize, operator: &str) {
        self.warn(at, format!("incompatible bucket layout encountered for binary operator {operator}"));
    }

    pub(crate) fn useless_sort(&mut self, at: usize) {
        let text = "sort is ineffective for range queries since results are always ordered by labels";
        self.warn(at, text.to_owned());
    }

    pub(crate) fn reset_collision(&mut self, at: usize, operation: Operation) {
        self.warn(at, format!("conflicting counter resets during histogram {}", operation.name()));
    }

    pub(crate) fn start_time_overlap(&mut self, at: usize, metric: &str) {
        let text = "sample has start time that overlaps with previous sample timestamp for metric";
        self.warn(at, format!("{text} {}", quoted(metric)));
    }

    pub(crate) fn maybe_not_a_counter(&mut self, at: usize, metric: &str) {
        let text = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:";
        self.info(at, format!("{text} {}", quoted(metric)));
    }

    pub(crate) fn incompatible_types(&mut self, at: usize, left: &str, operator: &str, right: &str) {
        let text = "incompatible sample types encountered for binary operator";
        self.info(at, format!("{text} {}: {left} {operator} {right}", quoted(operator)));
    }

    pub(crate) fn ignored_in_aggregation(&mut self, at: usize, aggregation: &str) {
        self.info(at, format!("ignored histogram in {aggregation} aggregation"));
    }

    pub(crate) fn ignored_in_range(&mut self, at: usize, metric: &str) {
        let text = "ignored histograms in a range containing both floats and histograms for metric name";
        self.info(at, format!("{text} {}", quoted(metric)));
    }

    pub(crate) fn reconciled_bounds(&mut self, at: usize, operation: Operation) {
        self.info(at, format!("mismatched custom buckets were reconciled during {}", operation.name()));
    }

    pub(crate) fn quantile_is_nan(&mut self, at: usize, metric: &str) {
        let text = "input to histogram_quantile has NaN observations, result is NaN";
        self.info(at, with_metric(text.to_owned(), metric));
    }

    pub(crate) fn quantile_is_skewed(&mut self, at: usize, metric: &str) {
        let text = "input to histogram_quantile has NaN observations, result is skewed higher";
        self.info(at, with_metric(text.to_owned(), metric));
    }

    pub(crate) fn fraction_excludes(&mut self, at: usize, metric: &str) {
        let text = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
        self.info(at, with_metric(text.to_owned(), metric));
    }

    pub(crate) fn forced_monotonicity(&mut self, at: usize, metric: &str, forced: Forced) {
        let text = "input to histogram_quantile needed to be fixed for monotonicity \
                    (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
        let text = with_metric(text.to_owned(), metric);
        let before = self.texts.get(&text).and_then(|annotation| annotation.forced);
        let forced = before.map_or(forced, |before| before.and(&forced));
        self.insert(text, Annotation { severity: Severity::Info, at, forced: Some(forced) });
    }
}

fn quoted(text: &str) -> String {
    format::quote(text.as_bytes())
}

fn with_metric(text: String, metric: &str) -> String {
    if metric.is_empty() { text } else { format!("{text} for metric name {}", quoted(metric)) }
}

impl Forced {
    fn and(&self, other: &Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            lowest: self.lowest.min(other.lowest),
            highest: self.highest.max(other.highest),
            difference: self.difference.max(other.difference),
            samples: self.samples + other.samples,
        }
    }

    fn text(&self) -> String {
        format!(
            ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
            format::short(self.lowest),
            format::short(self.highest),
            format::two_digits(self.difference),
            self.samples,
            crate::date::rfc3339(self.first),
            crate::date::rfc3339(self.last),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_only_the_first_are_told() {
        let mut annotations = Annotations::default();
        for metric in 0..500 {
            annotations.not_a_gauge(0, &metric.to_string());
        }
        let texts = annotations.texts(Severity::Warning, "x");
        assert_eq!((texts.len(), annotations.texts(Severity::Info, "x").len()), (MAX_ANNOTATIONS + 1, 0));
        assert!(texts.last().is_some_and(|text| text.contains("more than 100")));
    }

    #[test]
    fn what_was_forced_is_summed_up() {
        let mut annotations = Annotations::default();
        let forced = |time: i64, bound: f64, difference: f64| Forced {
            first: time,
            last: time,
            lowest: bound,
            highest: bound,
            difference,
            samples: 1,
        };
        annotations.forced_monotonicity(0, "x", forced(0, 0.5, 0.123));
        annotations.forced_monotonicity(0, "x", forced(60_000, 2.0, 0.01));
        let [text] = annotations.texts(Severity::Info, "x").try_into().unwrap();
        let summary = "from buckets 0.5 to 2, with a max diff of 0.12, over 2 samples from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z (1:1)";
        assert!(text.ends_with(summary), "{text}");
    }
}
