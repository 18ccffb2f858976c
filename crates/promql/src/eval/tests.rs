use std::ops::ControlFlow;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::annotations::Severity;
use crate::answer::SampleValue;
use crate::histogram::Histogram;
use crate::labels::{Labels, METRIC_NAME};
use crate::storage::{FloatSample, Found, HistogramSample, Memory, STALE, Samples, Selection, StorageError};

const MINUTE: i64 = 60_000;

fn labels(name: &str, pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().chain([(METRIC_NAME, name)]).collect()
}

/// A sample every minute from 0 on.
fn floats(values: &[f64]) -> Samples {
    let sample = |(index, value): (usize, &f64)| FloatSample { time: index as i64 * MINUTE, start: 0, value: *value };
    Samples { floats: values.iter().enumerate().map(sample).collect(), histograms: Vec::new() }
}

/// Requests to two services on two hosts, their latencies, a gauge that ends, and a native histogram.
fn shop() -> Memory {
    let mut memory = Memory::default();
    for (job, instance, rate) in [("web", "a", 1.0), ("web", "b", 2.0), ("was", "a", 3.0), ("was", "b", 4.0)] {
        let values: Vec<f64> = (0..30).map(|minute| f64::from(minute) * 60.0 * rate).collect();
        memory.append(labels("requests_total", &[("job", job), ("instance", instance)]), floats(&values));
    }
    for (le, share) in [("0.1", 5.0), ("0.5", 9.0), ("+Inf", 10.0)] {
        let values: Vec<f64> = (0..30).map(|minute| f64::from(minute) * share).collect();
        memory.append(labels("latency_bucket", &[("job", "web"), ("le", le)]), floats(&values));
    }
    memory.append(labels("temperature", &[("room", "a")]), floats(&[20.0, 21.0, 19.0, STALE]));
    memory.append(labels("temperature", &[("room", "b")]), floats(&[18.0, 18.0, f64::NAN, 17.0]));
    memory.append(labels("target_info", &[("job", "web"), ("instance", "a"), ("version", "7")]), floats(&[1.0; 30]));
    let native = |time: i64| {
        let count = (time + 1) as f64;
        let histogram = Histogram {
            count: count * 4.0,
            sum: count * 6.0,
            positive: vec![(0, count), (1, count * 3.0)],
            ..Histogram::default()
        };
        HistogramSample { time: time * MINUTE, start: 0, histogram: Arc::new(histogram) }
    };
    let native = Samples { floats: Vec::new(), histograms: (0..30).map(native).collect() };
    memory.append(labels("duration_seconds", &[("job", "web")]), native);
    memory
}

fn ask(query: &str, times: Times) -> Result<Answer, Error> {
    super::query(query, times, &shop(), &Options::default())
}

/// Each sample of a result as a line.
fn lines(query: &str, times: Times) -> Vec<String> {
    let answer = ask(query, times).unwrap_or_else(|error| panic!("{query}: {error}"));
    let value = |value: &SampleValue| match value {
        SampleValue::Float(value) => ((value * 1e6).round() / 1e6).to_string(),
        SampleValue::Histogram(histogram) => histogram.to_string(),
    };
    match answer.value {
        QueryValue::Scalar { value, .. } => vec![value.to_string()],
        QueryValue::Text { text, .. } => vec![text],
        QueryValue::Vector(samples) => samples.iter().map(|s| format!("{} {}", s.labels, value(&s.value))).collect(),
        QueryValue::Matrix(series) => series
            .iter()
            .map(|series| {
                let samples: Vec<String> =
                    series.samples.iter().map(|(time, v)| format!("{}@{}", value(v), time / 1000)).collect();
                format!("{} {}", series.labels, samples.join(" "))
            })
            .collect(),
    }
}

#[test]
fn instant_queries() {
    let queries: &[(&str, &[&str])] = &[
        ("sum by (job) (rate(requests_total[5m]))", &["{job=\"was\"} 7", "{job=\"web\"} 3"]),
        ("sum(requests_total) without (instance) > 5000", &["{job=\"was\"} 8400"]),
        (
            "increase(requests_total{job=\"web\"}[2m] offset 10m)",
            &["{instance=\"a\", job=\"web\"} 120", "{instance=\"b\", job=\"web\"} 240"],
        ),
        ("topk(1, requests_total)", &["{__name__=\"requests_total\", instance=\"b\", job=\"was\"} 4800"]),
        ("quantile(0.5, requests_total)", &["{} 3000"]),
        ("count_values(\"value\", temperature @ 60)", &["{value=\"21\"} 1", "{value=\"18\"} 1"]),
        ("histogram_quantile(0.7, rate(latency_bucket[5m]))", &["{job=\"web\"} 0.3"]),
        ("histogram_quantile(0.5, duration_seconds)", &["{job=\"web\"} 1.259921"]),
        ("histogram_count(rate(duration_seconds[5m]))", &["{job=\"web\"} 0.066667"]),
        (
            "temperature @ 120",
            &["{__name__=\"temperature\", room=\"a\"} 19", "{__name__=\"temperature\", room=\"b\"} NaN"],
        ),
        ("temperature @ 180", &["{__name__=\"temperature\", room=\"b\"} 17"]),
        ("max_over_time(temperature[10m] @ 180)", &["{room=\"a\"} 21", "{room=\"b\"} 18"]),
        (
            "requests_total{instance=\"a\"} / on (instance, job) group_left (version) target_info",
            &["{instance=\"a\", job=\"web\", version=\"7\"} 1200"],
        ),
        (
            "info(requests_total{job=\"web\", instance=\"a\"})",
            &["{__name__=\"requests_total\", instance=\"a\", job=\"web\", version=\"7\"} 1200"],
        ),
        (
            "label_replace(sum by (job) (up_or_not or requests_total), \"tier\", \"$1\", \"job\", \"w(.*)\")",
            &["{job=\"was\", tier=\"as\"} 8400", "{job=\"web\", tier=\"eb\"} 3600"],
        ),
        ("absent(missing{job=\"x\", zone=~\".*\"})", &["{job=\"x\"} 1"]),
        ("scalar(sum(requests_total)) + time()", &["13200"]),
        (
            "(temperature @ 60) + on (room) fill_right(0.5) (temperature{room=\"b\"} @ 60)",
            &["{room=\"a\"} 21.5", "{room=\"b\"} 36"],
        ),
        ("sum_over_time(sum(requests_total{instance=\"a\"})[3m:1m])", &["{} 13680"]),
        ("day_of_week(vector(1136239445))", &["{} 1"]),
        ("\"text\"", &["text"]),
        ("sort_desc(sum by (instance) (requests_total))", &["{instance=\"b\"} 7200", "{instance=\"a\"} 4800"]),
        (
            "requests_total{job=\"web\"} unless on (instance) requests_total{instance=\"a\"}",
            &["{__name__=\"requests_total\", instance=\"b\", job=\"web\"} 2400"],
        ),
    ];
    for (query, expected) in queries {
        assert_eq!(lines(query, Times::Instant(20 * MINUTE)), *expected, "{query}");
    }
}

#[test]
fn functions_and_modifiers() {
    let queries: &[(&str, &[&str])] = &[
        (
            "increase(requests_total{job=\"web\", instance=\"a\"}[150s] anchored)",
            &["{instance=\"a\", job=\"web\"} 180"],
        ),
        (
            "increase(requests_total{job=\"web\", instance=\"a\"}[150s] smoothed)",
            &["{instance=\"a\", job=\"web\"} 150"],
        ),
        ("sum(requests_total{job=\"web\"} smoothed @ 90)", &["{} 270"]),
        ("histogram_fraction(0, 0.1, latency_bucket)", &["{job=\"web\"} 0.5"]),
        (
            "histogram_quantiles(latency_bucket, \"q\", 0.5, 0.7)",
            &["{job=\"web\", q=\"0.5\"} 0.1", "{job=\"web\", q=\"0.7\"} 0.3"],
        ),
        ("histogram_count(duration_seconds </ 1)", &["{job=\"web\"} 21"]),
        (
            "target_info * on (instance, job) group_right (version) requests_total",
            &["{instance=\"a\", job=\"web\", version=\"7\"} 1200"],
        ),
        ("count(limit_ratio(0.5, requests_total) or limit_ratio(-0.5, requests_total))", &["{} 4"]),
        ("count(limit_ratio(0.5, requests_total) and limit_ratio(-0.5, requests_total))", &[]),
        (
            "predict_linear(requests_total{job=\"web\", instance=\"a\"}[10m], 60)",
            &["{instance=\"a\", job=\"web\"} 1260"],
        ),
        ("sum(deriv(requests_total[10m]))", &["{} 10"]),
        ("avg_over_time(requests_total{job=\"web\", instance=\"b\"}[5m])", &["{instance=\"b\", job=\"web\"} 2160"]),
        ("idelta(temperature{room=\"a\"}[5m] @ 120)", &["{room=\"a\"} -2"]),
        ("changes(temperature{room=\"b\"}[10m] @ 180)", &["{room=\"b\"} 2"]),
        ("stddev(requests_total{instance=\"a\"})", &["{} 1200"]),
        ("ts_of_max_over_time(temperature{room=\"a\"}[10m] @ 180)", &["{room=\"a\"} 60"]),
        (
            "label_join(sum by (job, instance) (requests_total{job=\"web\"}), \"both\", \"-\", \"job\", \"instance\")",
            &[
                "{both=\"web-a\", instance=\"a\", job=\"web\"} 1200",
                "{both=\"web-b\", instance=\"b\", job=\"web\"} 2400",
            ],
        ),
        ("clamp(temperature @ 0, 19, 100)", &["{room=\"a\"} 20", "{room=\"b\"} 19"]),
        (
            "sort_by_label_desc(sum by (instance) (requests_total), \"instance\")",
            &["{instance=\"b\"} 7200", "{instance=\"a\"} 4800"],
        ),
        ("sum_over_time(duration_seconds[2m])", &["{job=\"web\"} {count:164, sum:246, (0.5,1]:41, (1,2]:123}"]),
    ];
    for (query, expected) in queries {
        assert_eq!(lines(query, Times::Instant(20 * MINUTE)), *expected, "{query}");
    }
}

#[test]
fn where_a_start_is_known_the_counter_was_zero_then() {
    let mut memory = Memory::default();
    let sample = |minute: i64, value: f64| FloatSample { time: minute * MINUTE, start: MINUTE / 2, value };
    let samples = Samples { floats: vec![sample(1, 30.0), sample(2, 90.0)], histograms: Vec::new() };
    memory.append(labels("x_total", &[]), samples);
    let value = |query: &str| match super::query(query, Times::Instant(2 * MINUTE), &memory, &Options::default()) {
        Ok(Answer { value: QueryValue::Vector(samples), .. }) => samples.into_iter().map(|s| s.value).next(),
        other => panic!("{other:?}"),
    };
    // One per second, for the one and a half minutes since the start, and not extrapolated before it.
    assert_eq!(value("increase(x_total[2m])"), Some(SampleValue::Float(90.0)));
    assert_eq!(value("start_timestamp(x_total)"), Some(SampleValue::Float(30.0)));
}

#[test]
fn range_queries() {
    let times = Times::Range { start: 0, end: 4 * MINUTE, step: 2 * MINUTE };
    let queries: &[(&str, &[&str])] = &[
        (
            "temperature",
            &[
                "{__name__=\"temperature\", room=\"a\"} 20@0 19@120",
                "{__name__=\"temperature\", room=\"b\"} 18@0 NaN@120 17@240",
            ],
        ),
        ("sum(rate(requests_total[2m]))", &["{} 10@120 10@240"]),
        ("1 + 1", &["{} 2@0 2@120 2@240"]),
        ("vector(step()) * 2 + range()", &["{} 480@0 480@120 480@240"]),
        ("count(temperature) or vector(0)", &["{} 2@0 2@120 1@240"]),
        ("absent(temperature{room=\"a\"})", &["{room=\"a\"} 1@240"]),
        ("timestamp(temperature @ 61)", &["{room=\"a\"} 60@0 60@120 60@240", "{room=\"b\"} 60@0 60@120 60@240"]),
        ("count_over_time(temperature{room=\"a\"}[1m])", &["{room=\"a\"} 1@0 1@120"]),
        (
            "bottomk(1, temperature)",
            &["{__name__=\"temperature\", room=\"a\"} 19@120", "{__name__=\"temperature\", room=\"b\"} 18@0 17@240"],
        ),
        ("max_over_time(vector(time())[4m:1m])", &["{} 0@0 120@120 240@240"]),
    ];
    for (query, expected) in queries {
        assert_eq!(lines(query, times), *expected, "{query}");
    }
}

#[test]
fn annotations_say_where_they_came_about() {
    let texts =
        |query: &str, severity| ask(query, Times::Instant(20 * MINUTE)).unwrap().annotations.texts(severity, query);
    assert_eq!(
        texts("sum(\n  quantile(7, requests_total))", Severity::Warning),
        ["PromQL warning: quantile value should be between 0 and 1, got 7 (2:12)"]
    );
    assert_eq!(
        texts("duration_seconds > 1", Severity::Info),
        ["PromQL info: incompatible sample types encountered for binary operator \">\": histogram > float (1:1)"]
    );
    assert!(texts("rate(requests_total[5m])", Severity::Info).is_empty());
    assert!(texts("rate(temperature[5m] @ 60)", Severity::Info)[0].contains("might not be a counter"));
}

#[test]
fn what_means_nothing_for_the_data_is_an_error() {
    let problems = [
        ("requests_total * on (job) requests_total", "found duplicate series for the match group"),
        ("requests_total * on (instance) target_info", "many-to-one matching must be explicit"),
        (
            "label_replace(requests_total, \"instance\", \"x\", \"\", \"\")",
            "vector cannot contain metrics with the same labelset",
        ),
        ("topk(NaN, requests_total)", "Parameter value is NaN"),
        ("double_exponential_smoothing(requests_total[5m], 2, 0.5)", "invalid smoothing factor"),
        ("sum_over_time(requests_total[range()])", "duration must be greater than 0"),
    ];
    for (query, expected) in problems {
        let error = ask(query, Times::Instant(20 * MINUTE)).expect_err(query).to_string();
        assert!(error.contains(expected), "{query}: {error}");
    }
    let range = |start, end, step| ask("up", Times::Range { start, end, step }).unwrap_err().to_string();
    assert!(range(0, 10, 0).contains("zero or negative"));
    assert!(range(10, 0, 1).contains("must not be before"));
    assert!(range(0, 11_000, 1).contains("exceeded maximum resolution of 11000 points"));
    assert!(
        ask("up[5m]", Times::Range { start: 0, end: 1, step: 1 })
            .unwrap_err()
            .to_string()
            .contains("invalid expression type")
    );
}

#[test]
fn limits_hold() {
    let limited = |query: &str, limits: Limits| {
        let options = Options { limits, ..Options::default() };
        let times = Times::Range { start: 0, end: 29 * MINUTE, step: MINUTE };
        super::query(query, times, &shop(), &options).unwrap_err().to_string()
    };
    let most = Limits::default();
    assert!(
        limited("requests_total", Limits { series: 3, ..most })
            .contains("finds more than 3 series; add label matchers")
    );
    assert!(
        limited("requests_total", Limits { samples: 100, ..most })
            .contains("too many samples into memory: more than 100")
    );
    assert!(
        limited("sum_over_time(requests_total[20m])", Limits { work: 1000, ..most })
            .contains("looked at more than 1000 samples")
    );
    assert!(limited("max_over_time(vector(1)[10y:1ms])", most).contains("too many samples"));
    let mut growing = "temperature".to_owned();
    for _ in 0..20 {
        growing = format!("label_replace({growing}, \"room\", \"$1$1$1$1\", \"room\", \"(.*)\")");
    }
    assert!(limited(&growing, most).contains("longer than 65536 bytes"));
}

/// A storage that cannot be read.
struct Broken;

impl Storage for Broken {
    fn select(&self, _: &Selection<'_>, found: &mut Found<'_>) -> Result<(), StorageError> {
        assert_eq!(found(&Labels::default(), &floats(&[1.0])), ControlFlow::Continue(()));
        Err("the disk is gone".into())
    }
}

#[test]
fn a_storage_that_fails_is_told_of() {
    let error = super::query("up", Times::Instant(0), &Broken, &Options::default()).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.kind()),
        ("the samples cannot be read: the disk is gone", "internal")
    );
}

#[test]
fn the_deepest_query_is_evaluated() {
    for query in [
        format!("{}1{}", "(".repeat(98), ")".repeat(98)),
        "-".repeat(45) + "temperature",
        format!("1{}", "+1".repeat(98)),
    ] {
        assert!(ask(&query, Times::Instant(0)).is_ok(), "{query}");
    }
}

fn selectors() -> impl Strategy<Value = &'static str> + Clone {
    prop_oneof![
        Just("requests_total"),
        Just("temperature"),
        Just("latency_bucket"),
        Just("duration_seconds"),
        Just("requests_total{job=\"web\"}"),
        Just("temperature offset 1m"),
        Just("temperature @ 60"),
        Just("{job=~\".+\"}"),
    ]
}

fn functions_of_ranges() -> impl Strategy<Value = &'static str> + Clone {
    prop_oneof![
        Just("rate"),
        Just("increase"),
        Just("delta"),
        Just("irate"),
        Just("sum_over_time"),
        Just("avg_over_time"),
        Just("max_over_time"),
        Just("last_over_time"),
        Just("stddev_over_time"),
        Just("changes"),
        Just("resets"),
        Just("deriv"),
        Just("count_over_time"),
        Just("absent_over_time"),
        Just("mad_over_time"),
        Just("ts_of_max_over_time"),
    ]
}

/// Queries over the shop.
fn queries() -> impl Strategy<Value = String> {
    let (selector, of_range) = (selectors(), functions_of_ranges());
    let leaf = prop_oneof![
        selector.clone().prop_map(str::to_owned),
        (of_range.clone(), selector.clone(), 1..6).prop_map(|(function, selector, minutes)| {
            match selector.split_once(' ') {
                Some((selector, when)) => format!("{function}({selector}[{minutes}m] {when})"),
                None => format!("{function}({selector}[{minutes}m])"),
            }
        }),
        Just("vector(time())".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 2, move |inner| {
        prop_oneof![
            (
                prop_oneof![Just("sum"), Just("avg"), Just("count"), Just("max"), Just("stddev"), Just("group")],
                inner.clone()
            )
                .prop_map(|(op, inner)| format!("{op} by (job) ({inner})")),
            (
                prop_oneof![
                    Just("abs"),
                    Just("ceil"),
                    Just("sqrt"),
                    Just("absent"),
                    Just("timestamp"),
                    Just("hour"),
                    Just("histogram_sum"),
                    Just("sgn"),
                    Just("-")
                ],
                inner.clone()
            )
                .prop_map(|(function, inner)| format!("{function}({inner})")),
            (
                prop_oneof![Just("topk(2, "), Just("limitk(1, "), Just("quantile(0.5, "), Just("bottomk(1, ")],
                inner.clone()
            )
                .prop_map(|(op, inner)| format!("{op}{inner})")),
            (inner.clone(), prop_oneof![Just("+ 1"), Just("> 18"), Just("== bool 18"), Just("* 0"), Just("^ 2")])
                .prop_map(|(inner, operation)| format!("({inner}) {operation}")),
            (
                inner.clone(),
                prop_oneof![
                    Just("and"),
                    Just("or"),
                    Just("unless"),
                    Just("+ on (job, instance, room, le)"),
                    Just("/ ignoring (x)"),
                    Just("> bool on (job) group_left")
                ],
                inner.clone()
            )
                .prop_map(|(left, op, right)| format!("({left}) {op} ({right})")),
            (of_range.clone(), inner, 1..4)
                .prop_map(|(function, inner, minutes)| format!("{function}(({inner})[{minutes}m:30s])")),
        ]
    })
}

/// Words that may make a query, of which the numbers and times are extreme.
fn words() -> impl Strategy<Value = String> {
    let words = proptest::collection::vec(
        prop_oneof![
            Just("sum("),
            Just("rate("),
            Just("topk(3,"),
            Just("info("),
            Just("histogram_quantile(0.5,"),
            Just("clamp("),
            Just(")"),
            Just(")"),
            Just("x"),
            Just("requests_total"),
            Just("duration_seconds"),
            Just("temperature"),
            Just("[5m]"),
            Just("[1h:7s]"),
            Just("[1ms]"),
            Just("by (job)"),
            Just("on (job)"),
            Just("group_left (x)"),
            Just("offset -9000000000"),
            Just("@ -9e12"),
            Just("@ 60"),
            Just(","),
            Just("+"),
            Just("-"),
            Just("^"),
            Just("< bool"),
            Just("/"),
            Just("</"),
            Just("1"),
            Just("NaN"),
            Just("-Inf"),
            Just("1e300"),
            Just("fill(1)"),
            Just("or"),
            Just("unless"),
            Just("smoothed"),
            Just("anchored"),
            Just("day_of_year("),
            Just("quantile_over_time(2,"),
            Just("label_join("),
            Just("\"a\""),
            Just("count_values(\"v\",")
        ],
        1..12,
    );
    words.prop_map(|words| words.join(" "))
}

/// A result's samples at one time, in the order of labels.
fn samples_at(value: &QueryValue, time: i64) -> Vec<(String, String)> {
    let mut samples: Vec<(String, String)> = match value {
        QueryValue::Vector(samples) => {
            samples.iter().map(|s| (s.labels.to_string(), format!("{:?}", s.value))).collect()
        }
        QueryValue::Matrix(series) => series
            .iter()
            .filter_map(|series| {
                let (_, value) = series.samples.iter().find(|(at, _)| *at == time)?;
                Some((series.labels.to_string(), format!("{value:?}")))
            })
            .collect(),
        other => panic!("{other:?}"),
    };
    samples.sort();
    samples
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_range_query_is_an_instant_query_at_each_step(query in queries(), start in -2i64..4, step in 1i64..4) {
        let (start, step) = (start * 45_000, step * 20_000);
        let end = start + 7 * step;
        // Two series that are one after their names are dropped are an error for some steps only.
        let Ok(answer) = ask(&query, Times::Range { start, end, step }) else { return Ok(()) };
        for time in (0..8).map(|index| start + index * step) {
            let instant = ask(&query, Times::Instant(time));
            prop_assert!(instant.is_ok(), "{} at {}: {}", query, time, instant.unwrap_err());
            prop_assert_eq!(samples_at(&instant.unwrap().value, time), samples_at(&answer.value, time), "{} at {}", query, time);
        }
    }

    #[test]
    fn no_query_makes_it_panic(
        query in prop_oneof![words(), queries()],
        time in prop_oneof![Just(0i64), Just(600_000), Just(-9_000_000_000_000_000), Just(i64::MAX), any::<i64>()],
    ) {
        let limits = Limits { samples: 100_000, work: 1_000_000, series: 100 };
        let options = Options { limits, ..Options::default() };
        let _ = super::query(&query, Times::Instant(time), &shop(), &options);
        let times = Times::Range { start: time, end: time.saturating_add(3 * MINUTE), step: MINUTE };
        let _ = super::query(&query, times, &shop(), &options);
    }

    #[test]
    fn a_sum_is_the_sum_of_its_series(values in proptest::collection::vec(-1e6..1e6f64, 1..12), groups in 1usize..4) {
        let mut memory = Memory::default();
        for (index, value) in values.iter().enumerate() {
            let (own, group) = (index.to_string(), (index % groups).to_string());
            memory.append(labels("x", &[("i", &own), ("g", &group)]), floats(&[*value]));
        }
        let ask = |query: &str| match super::query(query, Times::Instant(0), &memory, &Options::default()).unwrap().value {
            QueryValue::Vector(samples) => samples.iter().map(|s| match s.value {
                SampleValue::Float(value) => value,
                SampleValue::Histogram(_) => f64::NAN,
            }).collect::<Vec<f64>>(),
            other => panic!("{other:?}"),
        };
        let total: f64 = values.iter().sum();
        prop_assert!((ask("sum(x)")[0] - total).abs() < 1e-6);
        prop_assert!((ask("sum(sum by (g) (x))")[0] - total).abs() < 1e-6);
        prop_assert!((ask("avg(x) * count(x)")[0] - total).abs() < 1e-6);
        prop_assert_eq!(ask("sum by (g) (x)").len(), groups.min(values.len()));
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        prop_assert_eq!(ask("sort(x)"), sorted.clone());
        prop_assert_eq!(ask("max(x)"), vec![sorted[sorted.len() - 1]]);
    }

    /// The extrapolation in closed form, for samples that reach both ends of the range.
    #[test]
    fn increase_counts_resets(steps in proptest::collection::vec(0u32..100, 2..20), reset in 1usize..19) {
        let mut value = 0.0;
        let mut grown = 0.0;
        let values: Vec<f64> = steps.iter().enumerate().map(|(index, step)| {
            if index == reset {
                value = 0.0;
            }
            value += f64::from(*step);
            if index > 0 {
                grown += f64::from(*step);
            }
            value
        }).collect();
        let mut memory = Memory::default();
        memory.append(labels("x_total", &[]), floats(&values));
        let end = (values.len() as i64 - 1) * MINUTE;
        let query = format!("increase(x_total[{}ms])", end + 1);
        let answer = super::query(&query, Times::Instant(end), &memory, &Options::default()).unwrap();
        let QueryValue::Vector(samples) = answer.value else { panic!() };
        let SampleValue::Float(found) = samples[0].value else { panic!() };
        // What a counter that falls without reaching zero lost is taken as counted before.
        let fell = reset < values.len() && values[reset] < values[reset - 1];
        let expected = if reset < values.len() && !fell { values[values.len() - 1] - values[0] } else { grown };
        prop_assert!((found - expected).abs() <= expected.abs() * 1e-4 + 1e-6, "{} instead of {}", found, expected);
    }
}
