//! `histogram_quantile`, `histogram_quantiles` and `histogram_fraction`: of native histograms, and of classic ones, whose buckets are
//! series of their own with the upper bound in the label `le`.

use std::collections::HashMap;

use super::values::{Collector, Row, Steps};
use super::{Cell, Evaluator};
use crate::annotations::Forced;
use crate::ast::Expr;
use crate::error::Error;
use crate::format;
use crate::histogram::{Estimate, Histogram, Skew};
use crate::labels::{BUCKET, Labels};

/// A bucket of a classic histogram: what lies up to its bound.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// Counts that differ by less than rounding may make them.
const TOLERANCE: f64 = 1e-12;

/// Series that together are histograms.
struct Group {
    /// Without the bound.
    labels: Labels,
    /// Rows of buckets, with their bounds.
    buckets: Vec<(f64, usize)>,
    /// Rows of native histograms with the same labels.
    native: Vec<usize>,
}

/// What one call asks of each histogram at each step.
trait Question {
    fn of_native(&self, step: usize, histogram: &Histogram) -> Estimate;
    /// Nothing is said where there is no bucket.
    fn of_classic(&self, step: usize, buckets: &mut Vec<Bucket>) -> (f64, Option<(f64, f64, f64)>);
    /// What results are told apart by, besides the histogram's own labels.
    fn label(&self, step: usize) -> Option<(&str, f64)>;
}

struct Quantile<'a> {
    values: &'a [f64],
    label: Option<&'a str>,
}

impl Question for Quantile<'_> {
    fn of_native(&self, step: usize, histogram: &Histogram) -> Estimate {
        histogram.quantile(self.values.get(step).copied().unwrap_or(f64::NAN))
    }

    fn of_classic(&self, step: usize, buckets: &mut Vec<Bucket>) -> (f64, Option<(f64, f64, f64)>) {
        quantile(self.values.get(step).copied().unwrap_or(f64::NAN), buckets)
    }

    fn label(&self, step: usize) -> Option<(&str, f64)> {
        Some((self.label?, self.values.get(step).copied().unwrap_or(f64::NAN)))
    }
}

struct Fraction {
    lower: Vec<f64>,
    upper: Vec<f64>,
}

impl Fraction {
    fn bounds(&self, step: usize) -> (f64, f64) {
        let at = |values: &[f64]| values.get(step).copied().unwrap_or(f64::NAN);
        (at(&self.lower), at(&self.upper))
    }
}

impl Question for Fraction {
    fn of_native(&self, step: usize, histogram: &Histogram) -> Estimate {
        let (lower, upper) = self.bounds(step);
        histogram.fraction(lower, upper)
    }

    fn of_classic(&self, step: usize, buckets: &mut Vec<Bucket>) -> (f64, Option<(f64, f64, f64)>) {
        let (lower, upper) = self.bounds(step);
        (fraction(lower, upper, buckets), None)
    }

    fn label(&self, _: usize) -> Option<(&str, f64)> {
        None
    }
}

/// Where the results for a histogram are collected, by the value of the label that tells them apart.
#[derive(Default)]
struct Places(HashMap<Option<u64>, usize>);

impl Places {
    fn of(
        &mut self,
        collector: &mut Collector<'_>,
        labels: &Labels,
        label: Option<(&str, f64)>,
    ) -> Result<usize, Error> {
        let key = label.map(|(_, value)| value.to_bits());
        if let Some(place) = self.0.get(&key) {
            return Ok(*place);
        }
        let place = match label {
            None => collector.place(labels, true)?,
            Some((name, value)) => collector.place(&labels.with(name, &format::open_metrics(value)), true)?,
        };
        self.0.insert(key, place);
        Ok(place)
    }
}

impl Evaluator<'_> {
    pub(super) fn histogram_quantile(&self, args: &[Expr], steps: &Steps) -> Result<Vec<Row>, Error> {
        let values = self.scalar_arg(args, 0, steps)?;
        self.check_quantiles(&values, args.first());
        let rows = self.vector_arg(args, 1, steps)?;
        self.ask(&rows, &[&Quantile { values: &values, label: None }], args.get(1), steps)
    }

    pub(super) fn histogram_quantiles(&self, args: &[Expr], steps: &Steps) -> Result<Vec<Row>, Error> {
        let label = String::from_utf8(Self::text_arg(args, 1)?.to_vec());
        let label = label.ok().filter(|label| !label.is_empty());
        let label = label.ok_or_else(|| Error::evaluation("the label for quantiles is UTF-8 and not empty"))?;
        let rows = self.vector_arg(args, 0, steps)?;
        let mut quantiles = Vec::new();
        for index in 2..args.len() {
            let values = self.scalar_arg(args, index, steps)?;
            self.check_quantiles(&values, args.get(index));
            quantiles.push(values);
        }
        let questions: Vec<Quantile<'_>> =
            quantiles.iter().map(|values| Quantile { values, label: Some(&label) }).collect();
        let questions: Vec<&dyn Question> = questions.iter().map(|question| question as &dyn Question).collect();
        self.ask(&rows, &questions, args.first(), steps)
    }

    pub(super) fn histogram_fraction(&self, args: &[Expr], steps: &Steps) -> Result<Vec<Row>, Error> {
        let (lower, upper) = (self.scalar_arg(args, 0, steps)?, self.scalar_arg(args, 1, steps)?);
        let rows = self.vector_arg(args, 2, steps)?;
        self.ask(&rows, &[&Fraction { lower, upper }], args.get(2), steps)
    }

    fn check_quantiles(&self, values: &[f64], arg: Option<&Expr>) {
        let at = arg.map_or(0, |arg| arg.bare().span.start);
        for value in values.iter().filter(|value| value.is_nan() || !(0.0..=1.0).contains(*value)) {
            self.annotate(|annotations| annotations.invalid_quantile(at, *value));
        }
    }

    /// Asks each histogram at each step.
    fn ask(
        &self,
        rows: &[Row],
        questions: &[&dyn Question],
        arg: Option<&Expr>,
        steps: &Steps,
    ) -> Result<Vec<Row>, Error> {
        let at = arg.map_or(0, |arg| arg.bare().span.start);
        let groups = self.groups(rows, at);
        let mut collector = Collector::new(steps.count, &self.budget);
        let mut buckets = Vec::new();
        for group in &groups {
            let metric = group.labels.metric_name();
            let mut places = Places::default();
            for step in 0..steps.count {
                let classic = group.buckets.iter().filter_map(|(bound, row)| {
                    Some(Bucket { bound: *bound, count: rows.get(*row)?.values.float(step)? })
                });
                buckets.clear();
                buckets.extend(classic);
                self.budget.work((buckets.len() + group.native.len()).saturating_mul(questions.len()))?;
                let histograms = group.native.iter().filter_map(|row| rows.get(*row)?.values.histogram(step));
                let mut histograms = histograms.peekable();
                if histograms.peek().is_some() && !buckets.is_empty() {
                    self.annotate(|annotations| annotations.mixed_histograms(at, metric));
                    continue;
                }
                for histogram in histograms {
                    for question in questions {
                        let estimate = question.of_native(step, histogram);
                        self.note_skew(estimate.skew, at, metric);
                        let place = places.of(&mut collector, &group.labels, question.label(step))?;
                        collector.set(place, step, Cell::Float(estimate.value))?;
                    }
                }
                if buckets.is_empty() {
                    continue;
                }
                for question in questions {
                    let (value, forced) = question.of_classic(step, &mut buckets.clone());
                    if let Some((lowest, highest, difference)) = forced {
                        let time = steps.time(step);
                        let forced = Forced { first: time, last: time, lowest, highest, difference, samples: 1 };
                        self.annotate(|annotations| annotations.forced_monotonicity(at, metric, forced));
                    }
                    let place = places.of(&mut collector, &group.labels, question.label(step))?;
                    collector.set(place, step, Cell::Float(value))?;
                }
            }
        }
        Ok(collector.finish())
    }

    fn note_skew(&self, skew: Option<Skew>, at: usize, metric: &str) {
        let Some(skew) = skew else { return };
        self.annotate(|annotations| match skew {
            Skew::Nan => annotations.quantile_is_nan(at, metric),
            Skew::High => annotations.quantile_is_skewed(at, metric),
            Skew::Excluded => annotations.fraction_excludes(at, metric),
        });
    }

    /// Which rows belong together. A float whose `le` is no number is left out, which is said.
    fn groups(&self, rows: &[Row], at: usize) -> Vec<Group> {
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut group_of = |groups: &mut Vec<Group>, labels: Labels| {
            *places.entry(labels.clone()).or_insert_with(|| {
                groups.push(Group { labels, buckets: Vec::new(), native: Vec::new() });
                groups.len() - 1
            })
        };
        for (index, row) in rows.iter().enumerate() {
            if row.values.has_histograms() {
                // A native histogram's own `le` would be a label like any other.
                let place = group_of(&mut groups, row.labels.clone());
                if let Some(group) = groups.get_mut(place) {
                    group.native.push(index);
                }
            }
            if row.values.has_only_histograms() {
                continue;
            }
            let bound = row.labels.get(BUCKET);
            match bound.parse::<f64>() {
                Ok(bound) => {
                    let place = group_of(&mut groups, row.labels.without(&[BUCKET]));
                    if let Some(group) = groups.get_mut(place) {
                        group.buckets.push((bound, index));
                    }
                }
                Err(_) => {
                    let metric = row.labels.metric_name();
                    self.annotate(|annotations| annotations.bad_bucket_label(at, metric, bound));
                }
            }
        }
        groups
    }
}

/// Orders buckets and makes one of those with the same bound; whether the last one is infinite.
fn complete(buckets: &mut Vec<Bucket>) -> bool {
    buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
    buckets.dedup_by(|later, kept| {
        let same = later.bound == kept.bound;
        if same {
            kept.count += later.count;
        }
        same
    });
    buckets.last().is_some_and(|last| last.bound == f64::INFINITY)
}

/// Lets no bucket have less than the one before it; where, and by how much, one had by more than rounding explains.
fn force_growth(buckets: &mut [Bucket]) -> Option<(f64, f64, f64)> {
    let mut forced: Option<(f64, f64, f64)> = None;
    let mut buckets = buckets.iter_mut();
    let mut before = buckets.next()?.count;
    for bucket in buckets {
        let difference = before - bucket.count;
        if difference == 0.0 {
            continue;
        }
        let total = before.abs() + bucket.count.abs();
        let rounding = difference.abs() / total.min(f64::MAX) < TOLERANCE && before != 0.0 && bucket.count != 0.0;
        if rounding {
            bucket.count = before;
        } else if difference > 0.0 {
            bucket.count = before;
            let (lowest, highest, most) = forced.unwrap_or((f64::INFINITY, f64::NEG_INFINITY, 0.0));
            forced = Some((lowest.min(bucket.bound), highest.max(bucket.bound), most.max(difference)));
        } else {
            before = bucket.count;
        }
    }
    forced
}

/// A quantile of a classic histogram, and how its buckets had to be forced to grow.
fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<(f64, f64, f64)>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !complete(buckets) {
        return (f64::NAN, None);
    }
    let forced = force_growth(buckets);
    (interpolated(q, buckets).unwrap_or(f64::NAN), forced)
}

fn interpolated(q: f64, buckets: &[Bucket]) -> Option<f64> {
    let (last, finite) = buckets.split_last()?;
    let highest = finite.last()?;
    if last.count == 0.0 {
        return None;
    }
    let rank = q * last.count;
    let at = finite.partition_point(|bucket| bucket.count.is_nan() || bucket.count < rank);
    let Some(bucket) = finite.get(at) else { return Some(highest.bound) };
    let (start, below) = match at.checked_sub(1).and_then(|before| finite.get(before)) {
        Some(before) => (before.bound, before.count),
        // Below the lowest bound may be anything; but observations are seldom negative.
        None if bucket.bound <= 0.0 => return Some(bucket.bound),
        None => (0.0, 0.0),
    };
    Some(start + (bucket.bound - start) * ((rank - below) / (bucket.count - below)))
}

/// The part of a classic histogram's observations between two values.
fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !complete(buckets) {
        return f64::NAN;
    }
    let count = buckets.last().map_or(0.0, |bucket| bucket.count);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let positive = buckets.first().is_some_and(|bucket| bucket.bound > 0.0);
    let mut start = if positive { 0.0 } else { f64::NEG_INFINITY };
    let (mut rank, mut low, mut high) = (0.0, None, None);
    for bucket in buckets.iter() {
        for (value, found) in [(lower, &mut low), (upper, &mut high)] {
            if found.is_some() {
                continue;
            }
            if start >= value {
                *found = Some(rank);
            } else if bucket.bound > value {
                *found = Some(if start == f64::NEG_INFINITY {
                    bucket.count
                } else {
                    rank + (bucket.count - rank) * (value - start) / (bucket.bound - start)
                });
            }
        }
        (start, rank) = (bucket.bound, bucket.count);
    }
    let [low, high] = [low, high].map(|rank: Option<f64>| rank.filter(|rank| *rank <= count).unwrap_or(count));
    (high - low) / count
}
