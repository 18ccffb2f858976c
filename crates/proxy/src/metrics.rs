//! What a finished request or connection adds to the statistics: Envoy's and Istio's standard metrics.
//!
//! Series are found once and kept by the worker, so that counting a request hashes one small key and takes no lock.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use varka_engine::ir::{Str, TrafficDirection};
use varka_engine::outcome::{Outcome, ResponseFlags};
use varka_telemetry::metrics::istio::{
    HttpSeries, Protocol, Reporter, RequestResult, SecurityPolicy, SeriesKey, TcpSeries, Workload,
};

use crate::accesslog::UpstreamRecord;
use crate::cluster::ClusterState;
use crate::conn::Conn;
use crate::state::State;

/// Series that a worker keeps at hand; beyond that it begins anew.
const MOST: usize = 1024;

/// What distinguishes series on one proxy, cheaper to compare than all their labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Short {
    inbound: bool,
    peer: Option<Str>,
    workload: Option<Str>,
    cluster: Option<Str>,
    authority: Option<Str>,
    protocol: Protocol,
    secure: bool,
    flags: ResponseFlags,
}

/// The series that a worker has used.
#[derive(Debug, Default)]
pub(crate) struct Series {
    http: RefCell<HashMap<Short, Arc<HttpSeries>>>,
    tcp: RefCell<HashMap<Short, Arc<TcpSeries>>>,
}

/// One finished request.
#[derive(Debug)]
pub(crate) struct FinishedRequest<'a> {
    /// Its connection.
    pub conn: &'a Conn,
    /// Its cluster, if it had one that exists.
    pub cluster: Option<&'a Arc<ClusterState>>,
    /// Where it was sent.
    pub upstream: &'a UpstreamRecord,
    /// Host.
    pub authority: &'a str,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// `grpc-status`, of a gRPC request.
    pub grpc: Option<Option<u32>>,
    /// How long it took.
    pub duration: Duration,
    /// Payload from the client.
    pub received: u64,
    /// Payload to the client.
    pub sent: u64,
}

impl Series {
    /// Counts a request.
    pub(crate) fn request(&self, state: &State, r: &FinishedRequest<'_>) {
        if let Some(cluster) = r.cluster {
            cluster.stats.codes.count(r.outcome.status);
            cluster.stats.counters.upstream_rq_time.record(millis(r.duration));
        }
        if let Some(http) = &r.conn.http_stats {
            http.counters.downstream_rq_completed.inc();
            http.counters.downstream_rq_time.record(millis(r.duration));
            http.codes.count(r.outcome.status);
        }
        let protocol = if r.grpc.is_some() { Protocol::Grpc } else { Protocol::Http };
        let short = short(r.conn, r.upstream, r.authority, protocol, ResponseFlags::NONE, r.cluster);
        let mut known = self.http.borrow_mut();
        if known.len() >= MOST {
            known.clear();
        }
        let series =
            known.entry(short).or_insert_with_key(|short| state.metrics.istio.http(key(state, short, r.cluster)));
        let result = RequestResult { status: r.outcome.status, flags: r.outcome.flags, grpc_status: r.grpc.flatten() };
        series.count(result, r.duration, r.received, r.sent);
    }

    /// The series of a TCP connection.
    pub(crate) fn connection(
        &self,
        conn: &Conn,
        upstream: &UpstreamRecord,
        cluster: Option<&Arc<ClusterState>>,
        flags: ResponseFlags,
    ) -> Arc<TcpSeries> {
        let state = &conn.worker.state;
        let short = short(conn, upstream, "", Protocol::Tcp, flags, cluster);
        let mut known = self.tcp.borrow_mut();
        if known.len() >= MOST {
            known.clear();
        }
        let series =
            known.entry(short).or_insert_with_key(|short| state.metrics.istio.tcp(key(state, short, cluster), flags));
        Arc::clone(series)
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

fn short(
    conn: &Conn,
    upstream: &UpstreamRecord,
    authority: &str,
    protocol: Protocol,
    flags: ResponseFlags,
    cluster: Option<&Arc<ClusterState>>,
) -> Short {
    let inbound = conn.chain.direction() == TrafficDirection::Inbound;
    let known_service = cluster.is_some_and(|c| !c.config.services.is_empty());
    Short {
        inbound,
        peer: conn.peer_identity.as_ref().and_then(|p| p.uri_sans.first().cloned()),
        workload: upstream.workload.clone(),
        cluster: upstream.cluster.clone(),
        // Only where no service is known; and never on the server's side, where clients could make up any number of them.
        authority: (!inbound && !known_service && !authority.is_empty()).then(|| authority.into()),
        protocol,
        secure: conn.peer_identity.is_some(),
        flags,
    }
}

/// All labels of a series.
fn key(state: &State, short: &Short, cluster: Option<&Arc<ClusterState>>) -> SeriesKey {
    let service = cluster.and_then(|c| c.config.services.first());
    let (host, name, namespace) = service
        .cloned()
        .unwrap_or_else(|| (short.authority.clone().unwrap_or_default(), Str::default(), Str::default()));
    let own = own_workload(state);
    let (source, destination, reporter, security) = if short.inbound {
        let principal = short.peer.clone().unwrap_or_default();
        let source = Workload { namespace: namespace_of(&principal), principal, ..Workload::default() };
        let security = if short.secure { SecurityPolicy::MutualTls } else { SecurityPolicy::None };
        (source, own, Reporter::Destination, security)
    } else {
        let principal = cluster.and_then(|c| c.only_identity(short.workload.as_ref())).unwrap_or_default();
        let destination = peer_workload(short.workload.as_deref(), principal);
        (own, destination, Reporter::Source, SecurityPolicy::Unknown)
    };
    let (name, namespace) = if name.is_empty() && short.inbound {
        (destination.canonical_service.clone(), destination.namespace.clone())
    } else {
        (name, namespace)
    };
    SeriesKey {
        reporter,
        source,
        destination,
        service: host,
        service_name: name,
        service_namespace: namespace,
        protocol: short.protocol,
        security,
    }
}

/// `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT`.
fn namespace_of(principal: &str) -> Str {
    let mut parts = principal.split('/').skip_while(|p| *p != "ns").skip(1);
    parts.next().unwrap_or_default().into()
}

/// `name;namespace;canonical-service;canonical-revision;cluster`.
fn peer_workload(text: Option<&str>, principal: Str) -> Workload {
    let mut parts = text.unwrap_or_default().split(';');
    let mut next = || Str::from(parts.next().unwrap_or_default());
    let (name, namespace, canonical_service, canonical_revision, cluster) = (next(), next(), next(), next(), next());
    Workload {
        app: canonical_service.clone(),
        version: canonical_revision.clone(),
        name,
        namespace,
        canonical_service,
        canonical_revision,
        cluster,
        principal,
    }
}

/// The workload that this proxy stands for.
fn own_workload(state: &State) -> Workload {
    let b = &state.bootstrap;
    let label = |name: &str| {
        let labels = b.metadata.get("LABELS").and_then(|l| l.get(name)).and_then(serde_json::Value::as_str);
        Str::from(labels.unwrap_or_default())
    };
    let name = b.metadata.get("WORKLOAD_NAME").and_then(serde_json::Value::as_str).unwrap_or(&b.pod_name);
    let or = |first: Str, second: Str| if first.is_empty() { second } else { first };
    let (app, version) = (label("app"), label("version"));
    Workload {
        canonical_service: or(label("service.istio.io/canonical-name"), or(app.clone(), name.into())),
        canonical_revision: or(label("service.istio.io/canonical-revision"), version.clone()),
        name: name.into(),
        namespace: b.namespace.as_str().into(),
        principal: state.secrets.workload_uri().unwrap_or_default(),
        app,
        version,
        cluster: b.cluster_id.as_str().into(),
    }
}
