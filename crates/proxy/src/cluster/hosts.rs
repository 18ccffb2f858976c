//! Endpoints of a cluster, and which of them takes a request.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use varka_engine::balance::{self, Balancer, Pick};
use varka_engine::ir::{Cluster, ClusterLoadAssignment, Discovery, Str};
use varka_engine::outcome::ResetReason;
use varka_engine::outlier::{Ejections, Event, MergeWindow, Monitor};
use varka_telemetry::metrics::istio::Workload;

use super::ClusterState;
use crate::http::RequestHead;
use crate::peer::Peer;

/// Health changes reach the balancer together within this time, as in Envoy.
const MERGE_WINDOW: Duration = Duration::from_secs(1);

/// An endpoint in use.
#[derive(Debug)]
pub struct HostState {
    /// Where it is.
    pub address: SocketAddr,
    /// The same as text.
    pub key: Str,
    /// Its DNS name, where the cluster is found by DNS.
    pub name: Option<Str>,
    /// `istio`: it has a sidecar.
    pub tls_mode: Option<Str>,
    /// `name;namespace;canonical-service;canonical-revision;cluster`.
    pub workload: Option<Str>,
    /// The same, taken apart.
    pub(crate) peer: Option<Peer>,
    /// Requests in flight.
    pub active: AtomicU32,
    /// Requests since it came.
    pub requests: AtomicU64,
    /// Of these, failed ones.
    pub failures: AtomicU64,
    joined: Instant,
    monitor: Monitor,
}

/// Endpoints in the balancer's order.
#[derive(Debug)]
pub(super) struct Hosts {
    pub(super) assignment: ClusterLoadAssignment,
    pub(super) members: Vec<Arc<HostState>>,
    balancer: Balancer,
}

/// What outlier detection remembers of a cluster.
#[derive(Debug)]
pub(super) struct Health {
    ejections: Ejections,
    window: MergeWindow,
    swept: Option<Instant>,
    epoch: Instant,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            ejections: Ejections::default(),
            window: MergeWindow::new(MERGE_WINDOW),
            swept: None,
            epoch: Instant::now(),
        }
    }
}

impl Hosts {
    pub(super) fn empty() -> Self {
        Self {
            assignment: ClusterLoadAssignment::default(),
            members: Vec::new(),
            balancer: Balancer::new(varka_engine::ir::LbPolicy::RoundRobin, 0, false, &[]),
        }
    }

    /// Arranges the endpoints of an assignment; those that were there before keep their state.
    pub(super) fn new(
        cluster: &Cluster,
        mut assignment: ClusterLoadAssignment,
        old: &Self,
        ejected: &dyn Fn(&str) -> bool,
    ) -> Self {
        for locality in &mut assignment.localities {
            locality.endpoints.retain(|e| e.address.is_some());
        }
        let known: HashMap<SocketAddr, &Arc<HostState>> = old.members.iter().map(|h| (h.address, h)).collect();
        let endpoints = assignment.localities.iter().flat_map(|l| &l.endpoints);
        let members: Vec<Arc<HostState>> = endpoints
            .filter_map(|e| {
                let address = e.address?;
                let name = e.host.as_ref().map(|(name, _)| Arc::clone(name));
                let same =
                    |h: &&&Arc<HostState>| h.tls_mode == e.tls_mode && h.workload == e.workload && h.name == name;
                Some(match known.get(&address).filter(same) {
                    Some(host) => Arc::clone(host),
                    None => Arc::new(HostState {
                        address,
                        key: address.to_string().into(),
                        name,
                        tls_mode: e.tls_mode.clone(),
                        workload: e.workload.clone(),
                        peer: e.workload.as_deref().and_then(Workload::from_endpoint).map(Arc::new),
                        active: AtomicU32::new(0),
                        requests: AtomicU64::new(0),
                        failures: AtomicU64::new(0),
                        joined: Instant::now(),
                        monitor: Monitor::default(),
                    }),
                })
            })
            .collect();
        let mut hosts = balance::hosts(&assignment, ejected);
        if let Some(ramp) = &cluster.slow_start {
            for (host, member) in hosts.iter_mut().zip(&members) {
                host.weight *= balance::slow_start_factor(ramp, member.joined.elapsed());
            }
        }
        let balancer = Balancer::new(cluster.lb, cluster.panic_threshold, cluster.locality_weighted, &hosts);
        Self { assignment, members, balancer }
    }
}

/// An endpoint that was picked; counts the request while it is held.
#[derive(Debug)]
pub(crate) struct Picked {
    /// Where to.
    pub address: SocketAddr,
    /// Its DNS name.
    pub name: Option<Str>,
    /// `istio`: it has a sidecar.
    pub tls_mode: Option<Str>,
    /// Whose it is.
    pub peer: Option<Peer>,
    host: Option<(Arc<ClusterState>, Arc<HostState>)>,
}

impl Picked {
    /// An endpoint that is no member of the cluster.
    pub(crate) fn address(address: SocketAddr) -> Self {
        Self { address, name: None, tls_mode: None, peer: None, host: None }
    }

    /// Tells outlier detection what came of the attempt: a status, or no response.
    pub(crate) fn report(&self, result: Result<u16, ResetReason>) {
        let Some((cluster, host)) = &self.host else { return };
        if !matches!(result, Ok(status) if status < 500) {
            host.failures.fetch_add(1, Relaxed);
        }
        let event = match result {
            Ok(status) => Event::Response(status),
            Err(ResetReason::Overflow) => return,
            Err(_) => Event::ConnectFailed,
        };
        cluster.observe(host, event);
    }

    /// No answer came in time.
    pub(crate) fn report_timeout(&self) {
        if let Some((cluster, host)) = &self.host {
            host.failures.fetch_add(1, Relaxed);
            cluster.observe(host, Event::Timeout);
        }
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        if let Some((_, host)) = &self.host {
            host.active.fetch_sub(1, Relaxed);
        }
    }
}

/// What a pick may depend on.
#[derive(Debug)]
pub(crate) struct Want<'a> {
    /// Key of consistent hashing.
    pub hash: Option<u64>,
    /// Endpoints that were tried.
    pub tried: &'a [SocketAddr],
    /// How often to pick again in order to avoid them.
    pub reselections: u32,
    /// Endpoints of priorities that were tried are avoided as well (`retryRemoteLocalities`).
    pub leave_priorities: bool,
    /// Where the client meant to go.
    pub original_dst: SocketAddr,
    /// The request, if it is one.
    pub request: Option<&'a RequestHead>,
    /// Address of the host that is asked for, where the cluster wants it resolved.
    pub resolved: Option<SocketAddr>,
}

impl ClusterState {
    /// Picks an endpoint.
    pub(crate) fn pick(self: &Arc<Self>, want: &Want<'_>) -> Option<Picked> {
        if let Discovery::OriginalDst { use_http_header, port } = &self.config.discovery {
            let said = want
                .request
                .filter(|_| *use_http_header)
                .and_then(|r| r.headers.get("x-envoy-original-dst-host")?.to_str().ok()?.parse().ok());
            let mut address = said.unwrap_or(want.original_dst);
            if let Some(port) = port {
                address.set_port(*port);
            }
            return Some(Picked::address(address));
        }
        if let Discovery::DynamicForwardProxy = self.config.discovery {
            return want.resolved.map(Picked::address);
        }
        let hosts = self.hosts.load();
        let tried: Vec<usize> = if want.tried.is_empty() {
            Vec::new()
        } else {
            let tried = |(_, h): &(usize, &Arc<HostState>)| want.tried.contains(&h.address);
            hosts.members.iter().enumerate().filter(tried).map(|(i, _)| i).collect()
        };
        let left: Vec<u32> = if want.leave_priorities {
            tried.iter().filter_map(|host| hosts.balancer.priority_of(*host)).collect()
        } else {
            Vec::new()
        };
        let chosen = hosts.balancer.pick(&mut Pick {
            hash: want.hash,
            counter: self.turn.fetch_add(1, Relaxed),
            random: &mut rand::random,
            active: &|i| hosts.members.get(i).map_or(0, |h| h.active.load(Relaxed)),
            avoid: if want.reselections > 0 { &tried } else { &[] },
            reselections: want.reselections,
            avoid_priorities: &left,
        })?;
        let host = hosts.members.get(chosen)?;
        host.active.fetch_add(1, Relaxed);
        host.requests.fetch_add(1, Relaxed);
        Some(Picked {
            address: host.address,
            name: host.name.clone(),
            tls_mode: host.tls_mode.clone(),
            peer: host.peer.clone(),
            host: Some((Arc::clone(self), Arc::clone(host))),
        })
    }

    /// Its endpoints, and whether each is left out by outlier detection.
    pub fn endpoints(&self) -> Vec<(Arc<HostState>, bool)> {
        let hosts = self.hosts.load();
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.members.iter().map(|h| (Arc::clone(h), health.ejections.is_ejected(&h.key))).collect()
    }

    /// Addresses of its endpoints; `None`: any address may be one.
    pub(crate) fn addresses(&self) -> Option<HashSet<SocketAddr>> {
        match self.config.discovery {
            Discovery::OriginalDst { .. } | Discovery::DynamicForwardProxy => None,
            _ => Some(self.hosts.load().members.iter().map(|h| h.address).collect()),
        }
    }

    /// Replaces the endpoints, if they are others.
    pub(crate) fn set_endpoints(&self, assignment: &ClusterLoadAssignment) {
        if self.hosts.load().assignment != *assignment {
            self.rebuild(Some(assignment));
        }
        self.warm_up();
    }

    fn rebuild(&self, assignment: Option<&ClusterLoadAssignment>) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.hosts.load();
        let assignment = assignment.unwrap_or(&old.assignment).clone();
        let hosts = Hosts::new(&self.config, assignment, &old, &|key| health.ejections.is_ejected(key));
        health.ejections.keep(|key| hosts.members.iter().any(|h| &*h.key == key));
        self.hosts.store(Arc::new(hosts));
    }

    fn observe(&self, host: &Arc<HostState>, event: Event) {
        let Some(config) = &self.config.outlier else { return };
        let Some(reason) = host.monitor.record(config, event) else { return };
        let total = self.hosts.load().members.len();
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let now = health.epoch.elapsed();
        let Some(length) = health.ejections.eject(config, &host.key, total, now) else { return };
        tracing::info!(cluster = %self.config.name, endpoint = %host.key, ?reason, "ejected for {length:?}");
        let due = health.window.change(now);
        drop(health);
        if due <= now {
            self.rebuild(None);
        }
        self.maintenance.notify_one();
    }

    /// Takes endpoints back whose time is over. `true`: it has to be called again before long.
    pub(super) fn maintain(&self) -> bool {
        let ramping = self
            .config
            .slow_start
            .as_ref()
            .is_some_and(|ramp| self.hosts.load().members.iter().any(|h| h.joined.elapsed() < ramp.window));
        let mut rebuild = ramping;
        let mut again = ramping;
        if let Some(config) = &self.config.outlier {
            let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
            let now = health.epoch.elapsed();
            rebuild |= health.window.take_due(now);
            if health.swept.is_none_or(|at| at.elapsed() >= config.interval) {
                health.swept = Some(Instant::now());
                let back = health.ejections.sweep(config, now);
                for key in &back {
                    tracing::info!(cluster = %self.config.name, endpoint = %key, "no longer ejected");
                }
                rebuild |= !back.is_empty();
            }
            again |= health.ejections.active() > 0;
        }
        if rebuild {
            self.rebuild(None);
        }
        again
    }
}
