//! Who counts what in one proxy: the statistics of every cluster, connection manager, TCP proxy and listener by name.
//!
//! Each is looked up once, when a connection or a configuration begins, and kept by the caller; counting then takes no lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use varka_engine::ir::Str;

use super::database::DatabaseMetrics;
use super::envoy::{ClusterStats, HttpStats, ListenerCounters, ServerFacts, TcpCounters};
use super::istio::{ExchangeCounters, IstioMetrics};
use super::{Counter, Sample, Scope, Value};

type ByName<T> = Mutex<BTreeMap<Str, Arc<T>>>;

/// What became of spans.
#[derive(Debug, Default)]
pub struct TracerCounters {
    /// Taken over by a collector.
    pub spans_sent: Counter,
    /// Given up: too many were waiting, or no collector took them.
    pub spans_dropped: Counter,
    /// Traces that did not begin: there were too many.
    pub traces_left_out: Counter,
    /// Reports that a collector took.
    pub reports_sent: Counter,
    /// Reports that none took.
    pub reports_failed: Counter,
}

impl TracerCounters {
    fn samples(&self, tracer: &str, out: &mut Vec<Sample>) {
        let family = format!("envoy_tracing_{tracer}_").into();
        let scope = Scope { stat: format!("tracing.{tracer}."), family, labels: Vec::new() };
        for (name, counter) in [
            ("spans_sent", &self.spans_sent),
            ("spans_dropped", &self.spans_dropped),
            ("traces_left_out", &self.traces_left_out),
            ("reports_sent", &self.reports_sent),
            ("reports_failed", &self.reports_failed),
        ] {
            out.push(scope.sample(name, Value::Counter(counter.get())));
        }
    }
}

/// All statistics of one proxy.
#[derive(Debug, Default)]
pub struct Registry {
    clusters: ByName<ClusterStats>,
    http: ByName<HttpStats>,
    tcp: ByName<TcpCounters>,
    listeners: ByName<ListenerCounters>,
    /// Istio's standard metrics.
    pub istio: IstioMetrics,
    /// What databases were asked.
    pub databases: DatabaseMetrics,
    /// Exchanges of metadata over TCP.
    pub exchange: ExchangeCounters,
    /// Spans that were sent to collectors of OpenTelemetry's kind.
    pub opentelemetry: TracerCounters,
    /// Spans that were sent to collectors of Zipkin's kind.
    pub zipkin: TracerCounters,
}

impl Registry {
    /// Statistics of a cluster.
    pub fn cluster(&self, name: &Str) -> Arc<ClusterStats> {
        find(&self.clusters, name)
    }

    /// Statistics of the connection managers of a prefix.
    pub fn http(&self, prefix: &Str) -> Arc<HttpStats> {
        find(&self.http, prefix)
    }

    /// Statistics of the TCP proxies of a prefix.
    pub fn tcp(&self, prefix: &Str) -> Arc<TcpCounters> {
        find(&self.tcp, prefix)
    }

    /// Statistics of the listener at an address (`0.0.0.0_15006`).
    pub fn listener(&self, address: &Str) -> Arc<ListenerCounters> {
        find(&self.listeners, address)
    }

    /// Forgets clusters that are no longer configured.
    pub fn keep_clusters(&self, mut is_configured: impl FnMut(&str) -> bool) {
        lock(&self.clusters).retain(|name, _| is_configured(name));
    }

    /// Everything that is counted, at this moment.
    pub fn samples(&self, server: &ServerFacts, build_tag: &str) -> Vec<Sample> {
        let mut out = Vec::new();
        all(&self.clusters).iter().for_each(|(name, stats)| stats.samples(name, &mut out));
        all(&self.http).iter().for_each(|(prefix, stats)| stats.samples(prefix, &mut out));
        all(&self.tcp).iter().for_each(|(prefix, stats)| stats.samples(prefix, &mut out));
        all(&self.listeners).iter().for_each(|(address, stats)| stats.samples(address, &mut out));
        server.samples(&mut out);
        self.istio.samples(build_tag, &mut out);
        self.databases.samples(&mut out);
        self.exchange.samples(&mut out);
        self.opentelemetry.samples("opentelemetry", &mut out);
        self.zipkin.samples("zipkin", &mut out);
        out
    }
}

fn lock<T>(map: &ByName<T>) -> std::sync::MutexGuard<'_, BTreeMap<Str, Arc<T>>> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find<T: Default>(map: &ByName<T>, name: &Str) -> Arc<T> {
    Arc::clone(lock(map).entry(Arc::clone(name)).or_default())
}

/// A copy, so that nobody waits while it is rendered.
fn all<T>(map: &ByName<T>) -> Vec<(Str, Arc<T>)> {
    lock(map).iter().map(|(name, stats)| (Arc::clone(name), Arc::clone(stats))).collect()
}
