//! A series' labels: a sorted, shared, immutable set. Copying one is counting a reference; changing one makes a new one.

use std::fmt;
use std::hash::Hasher as _;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::format;

/// The label that carries a metric's name.
pub const METRIC_NAME: &str = "__name__";
/// The label that carries a classic bucket's upper bound.
pub(crate) const BUCKET: &str = "le";
/// What describes a metric as a whole, and no longer holds after a calculation.
const METADATA: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// One label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// Any UTF-8 text.
    pub name: Arc<str>,
    /// Never empty: an empty value is the same as no label.
    pub value: Arc<str>,
}

/// A set of labels, ordered by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Arc<[Label]>);

impl Default for Labels {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

impl<N: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self::from_labels(
            pairs.into_iter().map(|(name, value)| Label { name: name.into(), value: value.into() }).collect(),
        )
    }
}

impl Labels {
    /// Of labels in any order; the last of one name counts, and empty values are none.
    #[must_use]
    pub fn from_labels(mut labels: Vec<Label>) -> Self {
        labels.reverse();
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        labels.dedup_by(|later, kept| later.name == kept.name);
        labels.retain(|label| !label.value.is_empty());
        Self(labels.into())
    }

    /// A label's value; empty when there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|label| &*label.name == name).map_or("", |label| &label.value)
    }

    /// The metric's name; empty when there is none.
    #[must_use]
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME)
    }

    /// In the order of names.
    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.0.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn filter(&self, keep: impl Fn(&Label) -> bool) -> Self {
        if self.0.iter().all(&keep) {
            return self.clone();
        }
        Self(self.0.iter().filter(|label| keep(label)).cloned().collect())
    }

    /// Without what describes the metric: its name, type and unit.
    pub(crate) fn without_metadata(&self) -> Self {
        self.filter(|label| !METADATA.contains(&&*label.name))
    }

    pub(crate) fn without(&self, names: &[impl AsRef<str>]) -> Self {
        self.filter(|label| !names.iter().any(|name| name.as_ref() == &*label.name))
    }

    pub(crate) fn only(&self, names: &[impl AsRef<str>]) -> Self {
        self.filter(|label| names.iter().any(|name| name.as_ref() == &*label.name))
    }

    /// With one label set, or taken away when the value is empty.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        if self.get(name) == value {
            return self.clone();
        }
        let rest = self.0.iter().filter(|label| &*label.name != name).cloned();
        Self::from_labels(rest.chain([Label { name: name.into(), value: value.into() }]).collect())
    }

    /// The labels that a vector matching compares.
    pub(crate) fn matching(&self, on: bool, names: &[String]) -> Self {
        if on {
            self.only(names)
        } else {
            self.filter(|label| &*label.name != METRIC_NAME && !names.iter().any(|name| **name == *label.name))
        }
    }

    /// Prometheus' hash of a label set.
    pub(crate) fn hash64(&self) -> u64 {
        let mut hasher = twox_hash::XxHash64::with_seed(0);
        for text in self.0.iter().flat_map(|label| [&label.name, &label.value]) {
            match u8::try_from(text.len()) {
                Ok(length) if length < 255 => hasher.write(&[length]),
                _ => {
                    let [a, b, c, ..] = text.len().to_le_bytes();
                    hasher.write(&[255, a, b, c]);
                }
            }
            hasher.write(text.as_bytes());
        }
        hasher.finish()
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, label) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}={}", format::name(&label.name), format::quote(label.value.as_bytes()))?;
        }
        f.write_str("}")
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|label| (&*label.name, &*label.value)))
    }
}

#[cfg(test)]
mod tests;
