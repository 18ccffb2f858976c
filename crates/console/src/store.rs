//! Metrics, spans, log lines and the objects of the past in one file, bounded by age and size.
//!
//! What is taken in is in memory at once, answers queries at once, and is written a few times a second by one thread, which is
//! alone in writing. A crash loses at most the last seconds; an orderly end loses nothing. Whoever brings something is never
//! held up: what finds its queue full is dropped and counted.

mod disk;
mod keeper;
pub mod logs;
pub mod metrics;
pub mod observed;
pub mod revisions;
pub mod spans;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use disk::Disk;
use keeper::Keeper;
pub use keeper::{Count, Counts, Limits};
use logs::Logs;
use metrics::Metrics;
use observed::Observed;
use revisions::Revisions;
use spans::Spans;

/// Why the store cannot be used, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be made, opened or read; the text names it.
    #[error("the telemetry store {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: Arc<redb::Error>,
    },
    /// A span or a name in the file is none; the rest is not concerned.
    #[error("the telemetry store holds a record that cannot be read: {0}")]
    Record(String),
    /// A store that lies elsewhere does not answer, or not what is needed; the text names it.
    #[error("{0}")]
    Elsewhere(String),
}

impl From<crate::client::Error> for Error {
    fn from(problem: crate::client::Error) -> Self {
        Self::Elsewhere(problem.to_string())
    }
}

/// The store; cheap to clone. The last one that goes writes what is not written.
#[derive(Debug, Clone)]
pub struct Store {
    parts: Arc<Parts>,
    _keeper: Arc<Keeper>,
    limits: Limits,
    identity: u64,
}

#[derive(Debug)]
struct Parts {
    metrics: Metrics,
    spans: Spans,
    logs: Logs,
    revisions: Revisions,
    observed: Observed,
}

impl Store {
    /// Opens the file `telemetry.redb` of a directory, or makes it, readable by its owner alone.
    ///
    /// # Errors
    /// The directory or the file cannot be used, or another process uses it.
    pub fn open(directory: &Path, limits: Limits) -> Result<Self, Error> {
        let disk = Arc::new(Disk::open(&directory.join("telemetry.redb"))?);
        let identity = disk.identity;
        let parts = Arc::new(Parts {
            metrics: Metrics::open(Arc::clone(&disk))?,
            spans: Spans::open(Arc::clone(&disk))?,
            logs: Logs::open(Arc::clone(&disk))?,
            revisions: Revisions::open(Arc::clone(&disk))?,
            observed: Observed::open(Arc::clone(&disk), limits.observed)?,
        });
        let keeper = Arc::new(Keeper::start(disk, Arc::clone(&parts), limits));
        Ok(Self { parts, _keeper: keeper, limits, identity })
    }

    /// What no other store has: the same after a restart, another one where the file is new.
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// Samples.
    pub fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    /// Spans.
    pub fn spans(&self) -> &Spans {
        &self.parts.spans
    }

    /// Lines.
    pub fn logs(&self) -> &Logs {
        &self.parts.logs
    }

    /// Objects of the past.
    pub fn revisions(&self) -> &Revisions {
        &self.parts.revisions
    }

    /// Pods and their like of the past.
    pub fn observed(&self) -> &Observed {
        &self.parts.observed
    }

    /// When the oldest of what is kept began; `None`: nothing is, or it cannot be read.
    pub fn oldest(&self) -> Option<Millis> {
        let extents = [self.parts.spans.extent(), self.parts.logs.extent(), self.parts.metrics.extent()];
        extents.into_iter().filter_map(|extent| extent.ok()?.1).min()
    }

    /// How much is kept.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Bytes that are kept, and how many may be.
    pub fn size(&self) -> (u64, u64) {
        let extents = [self.parts.spans.extent(), self.parts.logs.extent(), self.parts.metrics.extent()];
        let bytes: u64 = extents.into_iter().filter_map(|extent| Some(extent.ok()?.0)).sum();
        let Limits { metrics, spans, logs, observed, .. } = self.limits;
        (bytes + self.parts.observed.size(), metrics + spans + logs + observed)
    }

    /// What was taken in, dropped and thrown away since the start.
    pub fn counts(&self) -> Counts {
        self.parts.counts()
    }
}

impl Parts {
    fn counts(&self) -> Counts {
        Counts {
            metrics: self.metrics.counts(),
            spans: self.spans.counts(),
            logs: self.logs.counts(),
            observed: self.observed.counts(),
        }
    }
}

/// Milliseconds since 1970.
pub type Millis = i64;

/// How long after it was taken in something is in the file.
pub const WRITTEN_AFTER: Duration = Duration::from_millis(250);

#[cfg(test)]
pub(crate) mod tests;
