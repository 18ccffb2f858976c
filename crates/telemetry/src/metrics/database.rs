//! What databases are asked, counted between two workloads: `varka_database_operations_total` and
//! `varka_database_operation_duration_milliseconds`.
//!
//! Labels are those of Istio's TCP metrics and OpenTelemetry's words for databases: `db_system_name`, `db_operation_name`, and
//! `error_type`, the database's code of a refusal (empty: it was none).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::istio::{Protocol, SeriesKey};
use super::{Counter, Histogram, Labels, Sample, Value};
use crate::wire::System;

/// Operations and errors are a client's and a server's words: beyond so many series they are counted as `other`.
const MOST_SERIES: usize = 2_000;
const OTHER: &str = "other";

/// What distinguishes operations.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Between whom.
    pub peers: SeriesKey,
    /// By which protocol.
    pub system: System,
    /// `SELECT`.
    pub operation: String,
    /// Code of a refusal; empty: it was none.
    pub error: String,
}

/// Operations of one kind.
#[derive(Debug, Default)]
pub struct DatabaseSeries {
    count: Counter,
    duration: Histogram,
}

impl DatabaseSeries {
    /// Counts one.
    pub fn count(&self, duration: Duration) {
        self.count.inc();
        self.duration.record(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    }
}

/// All series of a proxy.
#[derive(Debug, Default)]
pub struct DatabaseMetrics(Mutex<HashMap<Key, Arc<DatabaseSeries>>>);

impl DatabaseMetrics {
    /// The series of these labels, to be kept by the caller.
    pub fn series(&self, mut key: Key) -> Arc<DatabaseSeries> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_SERIES && !all.contains_key(&key) {
            key.operation = OTHER.to_owned();
            if !key.error.is_empty() {
                key.error = OTHER.to_owned();
            }
        }
        Arc::clone(all.entry(key).or_default())
    }

    /// Samples of all series.
    pub fn samples(&self, out: &mut Vec<Sample>) {
        let all: Vec<_> = {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().map(|(key, series)| (key.clone(), Arc::clone(series))).collect()
        };
        for (key, series) in all {
            let mut labels: Labels = key.peers.labels();
            labels.extend([
                ("request_protocol".into(), Protocol::Tcp.name().to_owned()),
                ("connection_security_policy".into(), key.peers.security().name().to_owned()),
                ("db_system_name".into(), key.system.name().to_owned()),
                ("db_operation_name".into(), key.operation),
                ("error_type".into(), key.error),
            ]);
            let duration = Value::Histogram(Box::new(series.duration.snapshot()));
            for (family, value) in [
                ("varka_database_operations_total", Value::Counter(series.count.get())),
                ("varka_database_operation_duration_milliseconds", duration),
            ] {
                let stat =
                    labels.iter().fold(family.to_owned(), |stat, (name, value)| format!("{stat}.{name}.{value}"));
                out.push(Sample { stat, family: family.into(), labels: labels.clone(), value });
            }
        }
    }
}
