//! The store as PromQL reads it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use varka_promql::matcher::{MatchOp, Matcher};
use varka_promql::storage::{FloatSample, Found, Samples as Buffer, Selection, Storage, StorageError};

use crate::access::sight::Sight;
use crate::store::Store;
use crate::store::metrics::{Labels, Series};

/// Samples of a store.
pub(super) struct Samples(pub(super) Seen);

/// A store, and what is seen of it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) store: Store,
    pub(super) sight: Sight,
}

impl Storage for Samples {
    fn select(&self, selection: &Selection<'_>, found: &mut Found<'_>) -> Result<(), StorageError> {
        let mut buffer = Buffer::default();
        for series in matching(&self.0, selection.matchers) {
            buffer.clear();
            let samples = self.0.store.metrics().samples(&series, selection.start, selection.end)?;
            buffer.floats.extend(samples.iter().map(|s| FloatSample { time: s.at, start: 0, value: s.value }));
            if !buffer.is_empty() && found(series.labels(), &buffer) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

/// In the order of labels.
fn matching(seen: &Seen, matchers: &[Matcher]) -> Vec<Arc<Series>> {
    let equal = matchers.iter().filter(|matcher| matcher.op() == MatchOp::Equal && !matcher.value().is_empty());
    let equal: Vec<(&str, &str)> = equal.map(|matcher| (matcher.name(), matcher.value())).collect();
    let mut found = seen.store.metrics().select(&equal, |labels| {
        Matcher::all_match(matchers, labels) && seen.sight.sees_series(|name| labels.get(name))
    });
    found.sort_by(|a, b| a.labels().cmp(b.labels()));
    found
}

/// Labels of series that one of these selects.
pub(super) fn series(seen: &Seen, any: &[Vec<Matcher>]) -> BTreeSet<Labels> {
    any.iter().flat_map(|matchers| matching(seen, matchers)).map(|series| series.labels().clone()).collect()
}

/// Names of labels of the series that one of these selects; none: of all.
pub(super) fn label_names(seen: &Seen, any: &[Vec<Matcher>]) -> BTreeSet<Arc<str>> {
    if any.is_empty() && seen.sight.is_all() {
        return seen.store.metrics().label_values(None).into_iter().collect();
    }
    let names = |labels: &Labels| labels.iter().map(|label| Arc::clone(&label.name)).collect::<Vec<_>>();
    series(seen, every(any)).iter().flat_map(names).collect()
}

/// Values of a label of the series that one of these selects; none: of all.
pub(super) fn label_values(seen: &Seen, name: &str, any: &[Vec<Matcher>]) -> BTreeSet<Arc<str>> {
    if any.is_empty() && seen.sight.is_all() {
        return seen.store.metrics().label_values(Some(name)).into_iter().collect();
    }
    let value =
        |labels: &Labels| labels.iter().find(|label| &*label.name == name).map(|label| Arc::clone(&label.value));
    series(seen, every(any)).iter().filter_map(value).collect()
}

/// No selection is one of everything.
fn every(any: &[Vec<Matcher>]) -> &[Vec<Matcher>] {
    const ALL: &[Vec<Matcher>] = &[Vec::new()];
    if any.is_empty() { ALL } else { any }
}
