//! Results of parts of a query: a value, or none, at each step.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::Error;
use crate::histogram::Histogram;
use crate::labels::Labels;
use crate::limits::Budget;
use crate::storage::{STALE, Samples, is_stale};

/// The times at which something is evaluated, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) start: i64,
    pub(crate) interval: i64,
    pub(crate) count: usize,
}

impl Steps {
    pub(crate) fn time(&self, step: usize) -> i64 {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        self.start.saturating_add(self.interval.saturating_mul(step))
    }

    pub(crate) fn end(&self) -> i64 {
        self.time(self.count.saturating_sub(1))
    }

    pub(crate) fn times(self) -> impl Iterator<Item = i64> {
        (0..self.count).map(move |step| self.time(step))
    }

    /// The first one only.
    pub(crate) fn first(&self) -> Self {
        Self { count: self.count.min(1), ..*self }
    }
}

/// One value.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<Histogram> for Cell {
    fn from(histogram: Histogram) -> Self {
        Self::Histogram(Arc::new(histogram))
    }
}

/// A value, or none, at each step. That there is none is told by the mark of an ended series, which no result has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values {
    floats: Vec<f64>,
    /// Empty as long as there is none.
    histograms: Vec<Option<Arc<Histogram>>>,
}

impl Values {
    /// No value at so many steps.
    pub(crate) fn none(steps: usize) -> Self {
        Self { floats: vec![STALE; steps], histograms: Vec::new() }
    }

    pub(crate) fn of_floats(floats: Vec<f64>) -> Self {
        Self { floats, histograms: Vec::new() }
    }

    pub(crate) fn float(&self, step: usize) -> Option<f64> {
        self.floats.get(step).copied().filter(|value| !is_stale(*value))
    }

    pub(crate) fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        self.histograms.get(step).and_then(Option::as_ref)
    }

    pub(crate) fn get(&self, step: usize) -> Option<Cell> {
        self.float(step).map(Cell::Float).or_else(|| self.histogram(step).cloned().map(Cell::Histogram))
    }

    pub(crate) fn has(&self, step: usize) -> bool {
        self.float(step).is_some() || self.histogram(step).is_some()
    }

    pub(crate) fn set(&mut self, step: usize, cell: Cell) {
        match cell {
            Cell::Float(value) => {
                if let Some(place) = self.floats.get_mut(step) {
                    *place = value;
                }
            }
            Cell::Histogram(histogram) => {
                if self.histograms.is_empty() {
                    self.histograms.resize(self.floats.len(), None);
                }
                if let Some(place) = self.histograms.get_mut(step) {
                    *place = Some(histogram);
                }
            }
        }
    }

    pub(crate) fn clear(&mut self, step: usize) {
        if let Some(place) = self.floats.get_mut(step) {
            *place = STALE;
        }
        if let Some(place) = self.histograms.get_mut(step) {
            *place = None;
        }
    }

    /// Each step's float, with the mark where there is none.
    pub(crate) fn raw_floats(&self) -> &[f64] {
        &self.floats
    }

    pub(crate) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// Floats only, each changed.
    pub(crate) fn map_floats(mut self, change: impl Fn(usize, f64) -> f64) -> Self {
        for (step, value) in self.floats.iter_mut().enumerate().filter(|(_, value)| !is_stale(**value)) {
            *value = change(step, *value);
        }
        self.histograms = Vec::new();
        self
    }

    /// Each value changed.
    pub(crate) fn map(&mut self, float: impl Fn(f64) -> f64, histogram: impl Fn(&mut Histogram)) {
        for value in self.floats.iter_mut().filter(|value| !is_stale(**value)) {
            *value = float(*value);
        }
        for place in self.histograms.iter_mut().flatten() {
            histogram(Arc::make_mut(place));
        }
    }

    pub(crate) fn has_only_histograms(&self) -> bool {
        self.floats.iter().all(|value| is_stale(*value))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.floats.iter().all(|value| is_stale(*value)) && self.histograms.iter().all(Option::is_none)
    }

    /// How much is held.
    pub(crate) fn size(&self) -> usize {
        let histograms = self.histograms.iter().flatten().map(|histogram| histogram.size());
        self.floats.len() + histograms.sum::<usize>()
    }

    /// The same value at more steps.
    pub(crate) fn repeat(self, steps: usize) -> Self {
        let floats = self.floats.first().map(|value| vec![*value; steps]).unwrap_or_default();
        let histograms = self.histograms.first().map(|place| vec![place.clone(); steps]).unwrap_or_default();
        Self { floats, histograms }
    }

    /// Takes over the values of another; `false` when both have one at the same step.
    fn join(&mut self, other: &Self) -> bool {
        (0..self.floats.len()).all(|step| match other.get(step) {
            Some(_) if self.has(step) => false,
            Some(cell) => {
                self.set(step, cell);
                true
            }
            None => true,
        })
    }
}

/// A series of a result.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) labels: Labels,
    /// Whether the metric's name no longer says what this is. It stays until the end, so that labels can still be made of it.
    pub(crate) drop_name: bool,
    pub(crate) values: Values,
}

/// A series over a range.
#[derive(Debug, Clone)]
pub(crate) struct RangeRow {
    pub(crate) labels: Labels,
    pub(crate) drop_name: bool,
    pub(crate) samples: Samples,
}

/// The result of a part of a query.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar(Vec<f64>),
    Text(Vec<u8>),
    Vector(Vec<Row>),
    Matrix(Vec<RangeRow>),
}

impl Value {
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Scalar(values) => values.len(),
            Self::Text(_) => 0,
            Self::Vector(rows) => rows.iter().map(|row| row.values.size()).sum(),
            Self::Matrix(rows) => rows.iter().map(|row| row.samples.len()).sum(),
        }
    }
}

/// What Prometheus says when two series of a result are the same.
pub(crate) fn duplicates() -> Error {
    Error::evaluation("vector cannot contain metrics with the same labelset")
}

/// Makes one of rows with the same labels.
pub(crate) fn merge_same(rows: Vec<Row>) -> Result<Vec<Row>, Error> {
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(rows.len());
    let mut merged: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        let next = merged.len();
        let place = *places.entry(row.labels.clone()).or_insert(next);
        match merged.get_mut(place) {
            Some(same) => {
                if !same.values.join(&row.values) {
                    return Err(duplicates());
                }
            }
            None => merged.push(row),
        }
    }
    Ok(merged)
}

/// Rows of results, found by their labels.
pub(crate) struct Collector<'b> {
    places: HashMap<Labels, usize>,
    rows: Vec<Row>,
    steps: usize,
    budget: &'b Budget,
}

impl<'b> Collector<'b> {
    pub(crate) fn new(steps: usize, budget: &'b Budget) -> Self {
        Self { places: HashMap::new(), rows: Vec::new(), steps, budget }
    }

    /// The row with such labels, made if there is none.
    ///
    /// # Errors
    /// When that would be too much.
    pub(crate) fn place(&mut self, labels: &Labels, drop_name: bool) -> Result<usize, Error> {
        if let Some(place) = self.places.get(labels) {
            return Ok(*place);
        }
        self.budget.hold(self.steps)?;
        let place = self.rows.len();
        self.places.insert(labels.clone(), place);
        self.rows.push(Row { labels: labels.clone(), drop_name, values: Values::none(self.steps) });
        Ok(place)
    }

    /// Sets a value.
    ///
    /// # Errors
    /// When there is one already.
    pub(crate) fn set(&mut self, place: usize, step: usize, cell: Cell) -> Result<(), Error> {
        let Some(row) = self.rows.get_mut(place) else { return Ok(()) };
        if row.values.has(step) {
            return Err(duplicates());
        }
        row.values.set(step, cell);
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Vec<Row> {
        self.rows.retain(|row| !row.values.is_empty());
        self.rows
    }
}
