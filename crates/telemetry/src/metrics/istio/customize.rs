//! How Telemetry resources change the standard metrics: left out whole, labels removed, labels set by expressions.
//!
//! Labels are changed where a series is shown, not where it is counted. Series whose labels become the same are shown as one.
//! What an expression's value is, who counts says.

use std::collections::BTreeMap;
use std::sync::Arc;

use varka_engine::ir::{MetricOverride, Stats, Str};

use super::key::bounded;
use super::{Labels, Sample};

/// What stands for an expression that has no value.
const UNKNOWN: &str = "unknown";

/// The expression of a label's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dimension {
    /// CEL.
    pub expression: Str,
}

/// Changes of one configuration.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct Customization {
    /// Expressions that have to be evaluated for each series.
    dimensions: Vec<Dimension>,
    /// By metric without `istio_`; empty: all.
    changes: Vec<(Str, Change)>,
}

#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct Change {
    drop: bool,
    remove: Vec<Str>,
    /// Labels, and which expression each is.
    set: Vec<(Str, usize)>,
}

/// Changes, and the values that its expressions had.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Custom {
    by: Arc<Customization>,
    values: Box<[Str]>,
}

impl Customization {
    /// `None`: the metrics are the standard ones.
    pub fn new(stats: &Stats) -> Option<Arc<Self>> {
        if stats.metrics.is_empty() {
            return None;
        }
        let mut out = Self::default();
        for metric in &stats.metrics {
            let change = out.change(metric);
            out.changes.push((Arc::clone(&metric.name), change));
        }
        Some(Arc::new(out))
    }

    fn change(&mut self, metric: &MetricOverride) -> Change {
        let set = metric.dimensions.iter().map(|(label, expression)| {
            let known = self.dimensions.iter().position(|d| d.expression == *expression);
            let index = known.unwrap_or_else(|| {
                self.dimensions.push(Dimension { expression: Arc::clone(expression) });
                self.dimensions.len() - 1
            });
            (Arc::clone(label), index)
        });
        Change { drop: metric.drop, set: set.collect(), remove: metric.tags_to_remove.clone() }
    }

    /// Expressions that have to be evaluated for each series.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// With the values of its expressions; `None`: no value, or one of the wrong kind.
    pub fn with(self: &Arc<Self>, values: impl Iterator<Item = Option<String>>) -> Custom {
        let value = |text: Option<String>| bounded(text.as_deref().filter(|t| !t.is_empty()).unwrap_or(UNKNOWN));
        Custom { by: Arc::clone(self), values: values.map(value).collect() }
    }
}

impl Custom {
    /// The same without values.
    pub(super) fn anonymous(&self) -> Self {
        Self { by: Arc::clone(&self.by), values: self.values.iter().map(|_| UNKNOWN.into()).collect() }
    }

    /// Changes the labels of a sample; `None`: the metric is not counted.
    pub(super) fn apply(&self, family: &str, mut labels: Labels) -> Option<Labels> {
        let metric = family.strip_prefix("istio_").unwrap_or(family);
        for (_, change) in self.by.changes.iter().filter(|(name, _)| name.is_empty() || **name == *metric) {
            if change.drop {
                return None;
            }
            labels.retain(|(name, _)| !change.remove.iter().any(|r| **r == **name));
            for (label, index) in &change.set {
                let value = self.values.get(*index).map_or_else(|| UNKNOWN.to_owned(), |v| v.to_string());
                match labels.iter_mut().find(|(name, _)| **name == **label) {
                    Some((_, old)) => *old = value,
                    None => labels.push((label.to_string().into(), value)),
                }
            }
        }
        Some(labels)
    }
}

/// Adds up samples that have become the same.
pub(super) fn merge(samples: Vec<Sample>) -> Vec<Sample> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut out: Vec<Sample> = Vec::with_capacity(samples.len());
    for sample in samples {
        // The dotted name has all labels in it.
        match places.get(&sample.stat).and_then(|at| out.get_mut(*at)) {
            Some(same) => same.value.add(&sample.value),
            None => {
                places.insert(sample.stat.clone(), out.len());
                out.push(sample);
            }
        }
    }
    out
}
