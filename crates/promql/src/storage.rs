//! Where samples come from. The evaluator asks once for each selector, for the whole time that the query looks at, and takes one
//! series after the other: whoever stores samples decodes a series into one buffer and hands it over, again and again.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::histogram::Histogram;
use crate::labels::Labels;
use crate::matcher::Matcher;

/// The value of a float sample that says that its series has ended: one particular NaN, told by its bits.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether a value says that its series has ended.
#[must_use]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE.to_bits()
}

/// A sample that is a number. Times are milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FloatSample {
    /// When.
    pub time: i64,
    /// When the counter started that this is a sample of; 0 when that is not known.
    pub start: i64,
    /// What; [`STALE`] ends the series, whatever its samples are.
    pub value: f64,
}

/// A sample that is a native histogram.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSample {
    /// When.
    pub time: i64,
    /// When the counters started that this is a sample of; 0 when that is not known.
    pub start: i64,
    /// What.
    pub histogram: Arc<Histogram>,
}

/// The samples of one series, each kind in the order of times, which all differ.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    /// Those that are numbers.
    pub floats: Vec<FloatSample>,
    /// Those that are native histograms.
    pub histograms: Vec<HistogramSample>,
}

impl Samples {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.floats.len() + self.histograms.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }

    /// Empties it for the next series.
    pub fn clear(&mut self) {
        self.floats.clear();
        self.histograms.clear();
    }
}

/// What a selector wants.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// Series that all of these match.
    pub matchers: &'a [Matcher],
    /// Samples from this time on.
    pub start: i64,
    /// Samples up to and with this time.
    pub end: i64,
}

/// Why samples could not be read.
pub type StorageError = Box<dyn std::error::Error + Send + Sync>;

/// Takes a series and its samples of the wanted time; `Break` when no more are wanted.
pub type Found<'a> = dyn FnMut(&Labels, &Samples) -> ControlFlow<()> + 'a;

/// Samples of many series.
pub trait Storage {
    /// Hands over each wanted series that has samples in the wanted time, in the order of labels. A sample before or behind that
    /// time does no harm.
    ///
    /// # Errors
    /// When samples cannot be read. Series that were handed over before are not used then.
    fn select(&self, selection: &Selection<'_>, found: &mut Found<'_>) -> Result<(), StorageError>;
}

/// Samples in memory, for what is small.
#[derive(Debug, Clone, Default)]
pub struct Memory(BTreeMap<Labels, Samples>);

impl Memory {
    /// Adds samples to a series. Of those at the same time, the first one stays.
    pub fn append(&mut self, labels: Labels, samples: Samples) {
        let series = self.0.entry(labels).or_default();
        series.floats.extend(samples.floats);
        series.floats.sort_by_key(|sample| sample.time);
        series.floats.dedup_by_key(|sample| sample.time);
        series.histograms.extend(samples.histograms);
        series.histograms.sort_by_key(|sample| sample.time);
        series.histograms.dedup_by_key(|sample| sample.time);
    }

    /// Every series, in the order of labels.
    pub fn series_mut(&mut self) -> impl Iterator<Item = (&Labels, &mut Samples)> {
        self.0.iter_mut()
    }
}

impl Storage for Memory {
    fn select(&self, selection: &Selection<'_>, found: &mut Found<'_>) -> Result<(), StorageError> {
        let mut buffer = Samples::default();
        for (labels, samples) in &self.0 {
            if !Matcher::all_match(selection.matchers, labels) {
                continue;
            }
            buffer.clear();
            let start = samples.floats.partition_point(|sample| sample.time < selection.start);
            let end = samples.floats.partition_point(|sample| sample.time <= selection.end);
            buffer.floats.extend_from_slice(samples.floats.get(start..end).unwrap_or_default());
            let start = samples.histograms.partition_point(|sample| sample.time < selection.start);
            let end = samples.histograms.partition_point(|sample| sample.time <= selection.end);
            buffer.histograms.extend_from_slice(samples.histograms.get(start..end).unwrap_or_default());
            if !buffer.is_empty() && found(labels, &buffer).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}
