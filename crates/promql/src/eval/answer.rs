//! Results of parts as results of the whole.

use super::Cell;
use super::values::{RangeRow, Row, Steps};
use crate::answer::{SampleValue, Series};

impl From<Cell> for SampleValue {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Float(value) => Self::Float(value),
            Cell::Histogram(histogram) => Self::Histogram(histogram),
        }
    }
}

pub(super) fn series(row: &Row, steps: &Steps) -> Series {
    let samples = steps.times().enumerate().filter_map(|(step, time)| Some((time, row.values.get(step)?.into())));
    Series { labels: row.labels.clone(), samples: samples.collect() }
}

pub(super) fn range_series(row: RangeRow) -> Series {
    let labels = if row.drop_name { row.labels.without_metadata() } else { row.labels };
    let floats = row.samples.floats.iter().map(|sample| (sample.time, SampleValue::Float(sample.value)));
    let histograms = row.samples.histograms.into_iter();
    let histograms = histograms.map(|sample| (sample.time, SampleValue::Histogram(sample.histogram)));
    let mut samples: Vec<_> = floats.chain(histograms).collect();
    samples.sort_by_key(|(time, _)| *time);
    Series { labels, samples }
}
