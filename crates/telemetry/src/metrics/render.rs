//! Prometheus' text format, and Envoy's `/stats` as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use regex::Regex;
use serde_json::{Value as Json, json};

use super::{HistogramSnapshot, Sample, Value};

/// Which samples are shown (`/stats?filter=...&usedonly&type=Counters`).
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Asked of the dotted name, anywhere in it.
    pub filter: Option<Regex>,
    /// Only what was ever touched.
    pub used_only: bool,
    /// Only this kind.
    pub kind: Option<Kind>,
}

/// Kinds of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `Counters`.
    Counter,
    /// `Gauges`.
    Gauge,
    /// `Histograms`.
    Histogram,
}

impl Kind {
    /// The kind that `/stats?type=` names; `None` for `All` and what is no kind.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "Counters" => Some(Self::Counter),
            "Gauges" => Some(Self::Gauge),
            "Histograms" => Some(Self::Histogram),
            _ => None,
        }
    }
}

impl Value {
    fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
        }
    }
}

impl Selection {
    /// As a query of `/stats` says: `filter`, `usedonly`, `type`.
    ///
    /// # Errors
    /// The filter is no regular expression.
    pub fn new(filter: Option<&str>, used_only: bool, kind: Option<Kind>) -> Result<Self, regex::Error> {
        Ok(Self { filter: filter.map(Regex::new).transpose()?, used_only, kind })
    }

    fn includes(&self, sample: &Sample) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.is_match(&sample.stat))
            && (!self.used_only || sample.value.is_used())
            && self.kind.is_none_or(|kind| kind == sample.value.kind())
    }
}

/// Prometheus' text format as Envoy writes it: counters, gauges, histograms; `# TYPE` and no `# HELP`; families by name.
pub fn prometheus(samples: &[Sample], selection: &Selection) -> String {
    let mut families: BTreeMap<(Kind, &str), Vec<&Sample>> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| selection.includes(sample)) {
        families.entry((sample.value.kind(), &sample.family)).or_default().push(sample);
    }
    let mut out = String::with_capacity(samples.len() * 128);
    for ((kind, family), members) in families {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(out, "# TYPE {family} {kind}");
        for sample in members {
            write_family_member(family, sample, &mut out);
        }
    }
    out
}

fn write_family_member(family: &str, sample: &Sample, out: &mut String) {
    let labels = label_text(sample);
    match &sample.value {
        Value::Counter(n) | Value::Gauge(n) => {
            let _ = writeln!(out, "{family}{{{labels}}} {n}");
        }
        Value::Histogram(histogram) => {
            let comma = if labels.is_empty() { "" } else { "," };
            for (bound, count) in histogram.cumulative() {
                let _ = writeln!(out, "{family}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
            }
            let _ = writeln!(out, "{family}_sum{{{labels}}} {}", histogram.sum);
            let _ = writeln!(out, "{family}_count{{{labels}}} {}", histogram.count());
        }
    }
}

fn label_text(sample: &Sample) -> String {
    let mut text = String::new();
    for (i, (name, value)) in sample.labels.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text
}

fn sorted<'a>(samples: &'a [Sample], selection: &Selection) -> Vec<&'a Sample> {
    let mut shown: Vec<&Sample> = samples.iter().filter(|sample| selection.includes(sample)).collect();
    shown.sort_by(|a, b| {
        let is_histogram = |s: &Sample| s.value.kind() == Kind::Histogram;
        is_histogram(a).cmp(&is_histogram(b)).then_with(|| a.stat.cmp(&b.stat))
    });
    shown
}

/// Quantiles that Envoy shows, percent.
const QUANTILES: [f64; 11] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 100.0];

/// `/stats`: one `NAME: VALUE` a line by name, histograms last with their quantiles.
pub fn text(samples: &[Sample], selection: &Selection) -> String {
    let mut out = String::new();
    for sample in sorted(samples, selection) {
        match &sample.value {
            Value::Counter(n) | Value::Gauge(n) => {
                let _ = writeln!(out, "{}: {n}", sample.stat);
            }
            Value::Histogram(histogram) => {
                let _ = writeln!(out, "{}: {}", sample.stat, quantile_text(histogram));
            }
        }
    }
    out
}

/// `P0(nan,1) P25(nan,1.025) ...`: of the last interval, which is not kept, and of all time.
fn quantile_text(histogram: &HistogramSnapshot) -> String {
    if histogram.count() == 0 {
        return "No recorded values".to_owned();
    }
    let quantile = |p: f64| format!("P{p}(nan,{})", rounded(histogram.quantile(p / 100.0)));
    QUANTILES.map(quantile).join(" ")
}

fn rounded(value: Option<f64>) -> f64 {
    (value.unwrap_or(0.0) * 1000.0).round() / 1000.0
}

/// `/stats?format=json`.
pub fn json(samples: &[Sample], selection: &Selection) -> String {
    let shown = sorted(samples, selection);
    let mut stats: Vec<Json> = Vec::with_capacity(shown.len());
    let mut computed: Vec<Json> = Vec::new();
    for sample in shown {
        match &sample.value {
            Value::Counter(n) | Value::Gauge(n) => stats.push(json!({"name": sample.stat, "value": n})),
            Value::Histogram(histogram) => {
                let cumulative = |p: f64| match histogram.quantile(p / 100.0) {
                    None => json!({"interval": null, "cumulative": null}),
                    some => json!({"interval": null, "cumulative": rounded(some)}),
                };
                computed.push(json!({"name": sample.stat, "values": QUANTILES.map(cumulative)}));
            }
        }
    }
    if !computed.is_empty() {
        stats.push(json!({"histograms": {"supported_quantiles": QUANTILES, "computed_quantiles": computed}}));
    }
    json!({ "stats": stats }).to_string()
}
