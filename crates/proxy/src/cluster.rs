//! Clusters while they are in use: endpoints, circuit breakers, counters. Shared by all workers, read without a lock.

mod clusters;
mod hosts;

use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use varka_engine::ir::{Cluster, ClusterLoadAssignment, Discovery};
use varka_telemetry::metrics::envoy::ClusterStats;

pub(crate) use clusters::{Clusters, resolve};
pub use hosts::HostState;
pub(crate) use hosts::{Picked, Want};

use hosts::{Health, Hosts};

/// A cluster in use.
#[derive(Debug)]
pub struct ClusterState {
    /// What was configured.
    pub config: Arc<Cluster>,
    /// What is in use of its limits.
    pub usage: Arc<Usage>,
    /// Counters since the cluster came.
    pub totals: Arc<Totals>,
    /// Envoy's statistics; they outlive a change of the cluster.
    pub(crate) stats: Arc<ClusterStats>,
    hosts: ArcSwap<Hosts>,
    /// Its endpoints have been said, or looked up, at least once.
    warm: AtomicBool,
    /// Tells when that has happened.
    warmed: tokio::sync::Notify,
    /// Counts picks, for taking turns across workers.
    turn: AtomicU64,
    health: Mutex<Health>,
    /// Wakes whoever takes ejected endpoints back.
    maintenance: Arc<tokio::sync::Notify>,
}

/// What is in use of a cluster's limits.
#[derive(Debug, Default)]
pub struct Usage {
    /// Upstream connections.
    pub connections: AtomicU32,
    /// Requests that wait for a connection.
    pub pending: AtomicU32,
    /// Requests in flight.
    pub requests: AtomicU32,
    /// Retries in flight.
    pub retries: AtomicU32,
}

/// Counters of a cluster, under Envoy's names.
#[derive(Debug, Default)]
pub struct Totals {
    /// `upstream_cx_total`.
    pub connections: AtomicU64,
    /// `upstream_cx_connect_fail`.
    pub connect_fails: AtomicU64,
    /// `upstream_rq_total`.
    pub requests: AtomicU64,
    /// `upstream_rq_retry`.
    pub retries: AtomicU64,
    /// `upstream_cx_overflow`, `upstream_rq_pending_overflow`.
    pub overflows: AtomicU64,
}

impl Totals {
    /// A connection could not be made.
    pub(crate) fn connect_fail(&self) {
        self.connect_fails.fetch_add(1, Relaxed);
    }
}

macro_rules! permit {
    ($name:ident, $field:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug)]
        pub(crate) struct $name(Arc<Usage>);

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.$field.fetch_sub(1, Relaxed);
            }
        }
    };
}

permit!(ConnectionPermit, connections, "An open connection.");
permit!(PendingPermit, pending, "A request that waits for a connection.");
permit!(RequestPermit, requests, "A request in flight.");
permit!(RetryPermit, retries, "A retry in flight.");

/// Takes one of `limit`; `false`: none is left.
fn take(counter: &AtomicU32, limit: u32) -> bool {
    counter.fetch_update(Relaxed, Relaxed, |n| (n < limit).then(|| n + 1)).is_ok()
}

impl ClusterState {
    /// A cluster that has just come.
    pub(crate) fn new(
        config: Arc<Cluster>,
        assignment: Option<&ClusterLoadAssignment>,
        stats: Arc<ClusterStats>,
        maintenance: Arc<tokio::sync::Notify>,
    ) -> Self {
        let is_warm = assignment.is_some() || matches!(config.discovery, Discovery::OriginalDst { .. });
        let hosts = Hosts::new(&config, assignment.cloned().unwrap_or_default(), &Hosts::empty(), &|_| false);
        Self {
            config,
            usage: Arc::default(),
            totals: Arc::default(),
            stats,
            hosts: ArcSwap::from_pointee(hosts),
            warm: AtomicBool::new(is_warm),
            warmed: tokio::sync::Notify::new(),
            turn: AtomicU64::new(0),
            health: Mutex::default(),
            maintenance,
        }
    }

    /// Whether it is known which endpoints it has; that may be none.
    pub(crate) fn is_warm(&self) -> bool {
        self.warm.load(Acquire)
    }

    /// It is known now.
    pub(crate) fn warm_up(&self) {
        if !self.warm.swap(true, Release) {
            self.warmed.notify_waiters();
        }
    }

    /// Ready when it is known.
    pub(crate) async fn warmed(&self) {
        loop {
            let warmed = self.warmed.notified();
            if self.is_warm() {
                return;
            }
            warmed.await;
        }
    }

    /// A connection may be opened. `first`: the endpoint has none, which is always allowed.
    pub(crate) fn connection(&self, first: bool) -> Option<ConnectionPermit> {
        if !take(&self.usage.connections, self.config.circuit_breakers.max_connections) {
            if !first {
                return None;
            }
            self.usage.connections.fetch_add(1, Relaxed);
        }
        self.totals.connections.fetch_add(1, Relaxed);
        Some(ConnectionPermit(Arc::clone(&self.usage)))
    }

    /// A request may wait for a connection.
    pub(crate) fn pending(&self) -> Option<PendingPermit> {
        if take(&self.usage.pending, self.config.circuit_breakers.max_pending_requests) {
            return Some(PendingPermit(Arc::clone(&self.usage)));
        }
        self.totals.overflows.fetch_add(1, Relaxed);
        None
    }

    /// A request may be sent.
    pub(crate) fn request(&self) -> Option<RequestPermit> {
        if take(&self.usage.requests, self.config.circuit_breakers.max_requests) {
            self.totals.requests.fetch_add(1, Relaxed);
            return Some(RequestPermit(Arc::clone(&self.usage)));
        }
        self.totals.overflows.fetch_add(1, Relaxed);
        None
    }

    /// A retry may be made: within the retry budget where there is one, else within the limit.
    pub(crate) fn retry(&self) -> Option<RetryPermit> {
        let limit = match self.config.retry_budget {
            Some((millionths, least)) => {
                let active = u64::from(self.usage.requests.load(Relaxed)) + u64::from(self.usage.pending.load(Relaxed));
                u32::try_from(active * u64::from(millionths) / 1_000_000).unwrap_or(u32::MAX).max(least)
            }
            None => self.config.circuit_breakers.max_retries,
        };
        take(&self.usage.retries, limit).then(|| {
            self.totals.retries.fetch_add(1, Relaxed);
            RetryPermit(Arc::clone(&self.usage))
        })
    }
}
