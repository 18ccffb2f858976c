//! `/stats` and `/stats/prometheus`.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use varka_telemetry::metrics::Sample;
use varka_telemetry::metrics::envoy::ServerFacts;
use varka_telemetry::metrics::render::{self, Kind, Selection};

use super::{Answer, JSON, Query, server};
use crate::state::State;

pub(super) fn stats(state: &State, query: &Query<'_>) -> Answer {
    let selection = match selection(query) {
        Ok(selection) => selection,
        Err(answer) => return answer,
    };
    let samples = samples(state);
    match query.get("format").as_deref() {
        Some("prometheus") => Answer::text(render::prometheus(&samples, &selection)),
        Some("json") => Answer { content_type: JSON, ..Answer::text(render::json(&samples, &selection)) },
        None | Some("text" | "") => Answer::text(render::text(&samples, &selection)),
        Some(_) => Answer::error(400, "usage: /stats?format=json  or /stats?format=prometheus \n\n"),
    }
}

pub(super) fn prometheus(state: &State, query: &Query<'_>) -> Answer {
    match selection(query) {
        Ok(selection) => Answer::text(render::prometheus(&samples(state), &selection)),
        Err(answer) => answer,
    }
}

fn selection(query: &Query<'_>) -> Result<Selection, Answer> {
    let filter = query.non_empty("filter");
    let kind = query.get("type").and_then(|name| Kind::named(&name));
    Selection::new(filter.as_deref(), query.has("usedonly"), kind)
        .map_err(|e| Answer::error(400, format!("Invalid re2 regex: {e}\n")))
}

/// Everything that is counted. What the data plane keeps as state of its own (endpoints, limits in use) is taken over here.
fn samples(state: &State) -> Vec<Sample> {
    let config = state.config();
    for cluster in config.clusters() {
        let stats = state.metrics.cluster(&cluster.config.name);
        let endpoints = cluster.endpoints();
        let ejected = u64::try_from(endpoints.iter().filter(|(_, ejected)| *ejected).count()).unwrap_or(0);
        let total = u64::try_from(endpoints.len()).unwrap_or(0);
        let (counters, usage, limits) = (&stats.counters, &cluster.usage, &cluster.config.circuit_breakers);
        let totals = &cluster.totals;
        counters.upstream_cx_total.raise_to(totals.connections.load(Relaxed));
        counters.upstream_cx_connect_fail.raise_to(totals.connect_fails.load(Relaxed));
        counters.upstream_rq_total.raise_to(totals.requests.load(Relaxed));
        counters.upstream_rq_retry.raise_to(totals.retries.load(Relaxed));
        counters.upstream_rq_pending_overflow.raise_to(totals.overflows.load(Relaxed));
        counters.membership_total.set(total);
        counters.membership_healthy.set(total.saturating_sub(ejected));
        counters.ejections_active.set(ejected);
        let open = |used: u32, limit: u32| u64::from(used >= limit);
        let (connections, pending) = (usage.connections.load(Relaxed), usage.pending.load(Relaxed));
        let (requests, retries) = (usage.requests.load(Relaxed), usage.retries.load(Relaxed));
        counters.upstream_cx_active.set(u64::from(connections));
        counters.upstream_rq_pending_active.set(u64::from(pending));
        counters.upstream_rq_active.set(u64::from(requests));
        counters.cx_open.set(open(connections, limits.max_connections));
        counters.rq_pending_open.set(open(pending, limits.max_pending_requests));
        counters.rq_open.set(open(requests, limits.max_requests));
        counters.rq_retry_open.set(open(retries, limits.max_retries));
    }
    state.metrics.samples(&facts(state), env!("CARGO_PKG_VERSION"))
}

/// A certificate's name, and the seconds until it ends.
fn left_of(view: &crate::tls::CertificateView) -> Option<(String, u64)> {
    let end = view.chain.first()?.not_after;
    let left = end.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
    Some((view.name.to_string(), left.as_secs()))
}

fn facts(state: &State) -> ServerFacts {
    let config = state.config();
    let name = server::state_name(state);
    let first_end =
        state.secrets.view().iter().filter(|v| !v.is_anchor).filter_map(|v| Some(v.chain.first()?.not_after)).min();
    let certificates = state.secrets.view().iter().filter(|view| !view.is_anchor).filter_map(left_of).collect();
    let left = first_end.and_then(|end| end.duration_since(SystemTime::now()).ok()).unwrap_or(Duration::ZERO);
    let count = |n: usize| u64::try_from(n).unwrap_or(0);
    ServerFacts {
        live: name == "LIVE",
        state: match name {
            "LIVE" => 0,
            "DRAINING" => 1,
            _ => 2,
        },
        uptime: state.started.elapsed().as_secs(),
        concurrency: count(state.bootstrap.concurrency),
        total_connections: state.active_connections(),
        memory_physical_size: server::resident_bytes(),
        days_until_first_cert_expiring: left.as_secs() / 86_400,
        active_clusters: count(config.ir.clusters.len()),
        active_listeners: count(config.ir.listeners.len()),
        control_plane_connected: state.sync.load().connected,
        certificates,
    }
}
