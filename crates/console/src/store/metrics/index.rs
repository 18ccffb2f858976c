//! Which series there are, and which have a label.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use varka_promql::labels::METRIC_NAME;
use varka_promql::{Label, Labels};

use super::{Part, Series, Tells};

/// As they are written in the file: each name and value behind its length.
pub(super) fn to_bytes(labels: &Labels) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in labels.iter().flat_map(|label| [&label.name, &label.value]) {
        bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

/// `None`: these bytes are no labels.
pub(super) fn from_bytes(mut bytes: &[u8]) -> Option<Labels> {
    let mut take = || -> Option<Arc<str>> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length).try_into().ok()?)?;
        bytes = rest;
        std::str::from_utf8(text).ok().map(Arc::from)
    };
    let mut pairs = Vec::new();
    while let Some(name) = take() {
        pairs.push((name, take()?));
    }
    bytes.is_empty().then(|| pairs.into_iter().collect())
}

/// The series that have a label, by its value.
type Values = BTreeMap<Arc<str>, Vec<Arc<Series>>>;

/// Series by their labels.
#[derive(Debug, Default)]
pub(super) struct Index {
    all: HashMap<Labels, Arc<Series>>,
    by_label: HashMap<Arc<str>, Values>,
    /// Numbers of histograms, with how many series each has.
    histograms: HashMap<Labels, (usize, usize)>,
    next_histogram: usize,
    /// Not in the file yet.
    new: Vec<Arc<Series>>,
    next: u64,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// A number that no series has or had.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn get(&self, labels: &Labels) -> Option<&Arc<Series>> {
        self.all.get(labels)
    }

    /// A series; `read`: it is in the file.
    pub(super) fn insert(&mut self, id: u64, labels: Labels, read: bool) -> Arc<Series> {
        let labels = self.share(labels);
        let histogram = part(&labels).map(|(key, tells)| {
            let next = self.next_histogram;
            let (of, count) = self.histograms.entry(key).or_insert((next, 0));
            *count += 1;
            self.next_histogram = next.max(*of + 1);
            Part { of: *of, tells }
        });
        let series = Arc::new(Series { id, labels, histogram, read, recent: Mutex::default() });
        for Label { name, value } in series.labels.iter() {
            let values = self.by_label.entry(Arc::clone(name)).or_default();
            values.entry(Arc::clone(value)).or_default().push(Arc::clone(&series));
        }
        self.next = self.next.max(series.id + 1);
        if !read {
            self.new.push(Arc::clone(&series));
        }
        self.all.insert(series.labels.clone(), Arc::clone(&series));
        series
    }

    /// The same labels, with names and values that others have already.
    fn share(&self, labels: Labels) -> Labels {
        let shared = labels.iter().map(|label| {
            let known = self.by_label.get_key_value(&label.name);
            let value = known.and_then(|(_, values)| values.get_key_value(&label.value));
            Label {
                name: Arc::clone(known.map_or(&label.name, |(name, _)| name)),
                value: Arc::clone(value.map_or(&label.value, |(value, _)| value)),
            }
        });
        Labels::from_labels(shared.collect())
    }

    /// The series that are not in the file.
    pub(super) fn unwritten(&self) -> &[Arc<Series>] {
        &self.new
    }

    /// The first so many of them are now.
    pub(super) fn written(&mut self, count: usize) {
        self.new.drain(..count.min(self.new.len()));
    }

    pub(super) fn remove(&mut self, gone: &[Arc<Series>]) {
        let ids: HashSet<u64> = gone.iter().map(|series| series.id).collect();
        for series in gone {
            self.all.remove(&series.labels);
            if let Some((key, _)) = part(&series.labels)
                && let Some((_, count)) = self.histograms.get_mut(&key)
            {
                *count -= 1;
                if *count == 0 {
                    self.histograms.remove(&key);
                }
            }
        }
        // Many series share their labels: each list is gone through once.
        let labels: HashSet<&Label> = gone.iter().flat_map(|series| series.labels.iter()).collect();
        for Label { name, value } in labels {
            let Some(values) = self.by_label.get_mut(name) else { continue };
            if let Some(list) = values.get_mut(value) {
                list.retain(|series| !ids.contains(&series.id));
                if list.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.by_label.remove(name);
            }
        }
    }

    /// The series that have all these labels.
    pub(super) fn candidates<'a>(
        &'a self,
        equal: &'a [(&'a str, &'a str)],
    ) -> Box<dyn Iterator<Item = &'a Arc<Series>> + 'a> {
        let lists = equal.iter().map(|(name, value)| self.by_label.get(*name).and_then(|values| values.get(*value)));
        // The shortest list is gone through; a label that nobody has ends it.
        match lists.collect::<Option<Vec<_>>>() {
            None => Box::new(std::iter::empty()),
            Some(lists) => match lists.into_iter().min_by_key(|list| list.len()) {
                None => Box::new(self.all.values()),
                Some(shortest) => Box::new(
                    shortest
                        .iter()
                        .filter(|series| equal.iter().all(|(name, value)| series.labels.get(name) == *value)),
                ),
            },
        }
    }

    /// Every name of a label, or every value of one, sorted.
    pub(super) fn values(&self, name: Option<&str>) -> Vec<Arc<str>> {
        match name {
            Some(name) => self.by_label.get(name).into_iter().flat_map(BTreeMap::keys).cloned().collect(),
            None => {
                let mut names: Vec<_> = self.by_label.keys().cloned().collect();
                names.sort();
                names
            }
        }
    }
}

/// Which part of a histogram these labels are, as far as names tell, and what all of its series have.
fn part(labels: &Labels) -> Option<(Labels, Tells)> {
    let name = labels.metric_name();
    let (base, tells) = if let Some(base) = name.strip_suffix("_bucket") {
        (base, Tells::Bucket(labels.get("le").parse().ok()?))
    } else if let Some(base) = name.strip_suffix("_sum") {
        (base, Tells::Sum)
    } else {
        (name.strip_suffix("_count")?, Tells::Count)
    };
    let shared = labels.iter().filter(|label| ![METRIC_NAME, "le"].contains(&&*label.name)).cloned();
    let named = Label { name: METRIC_NAME.into(), value: base.into() };
    Some((Labels::from_labels(shared.chain([named]).collect()), tells))
}
