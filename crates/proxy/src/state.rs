//! What all threads of a proxy share.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;
use varka_engine::ir;
use varka_telemetry::metrics::Registry;
use varka_xds::client::OnDemand;

use crate::accesslog::AccessLogs;
use crate::bootstrap::Bootstrap;
use crate::cluster::Clusters;
use crate::config::Config;
use crate::in_flight::InFlight;
use crate::readers::Readers;
use crate::spans::Reservoir;
use crate::tls::SecretStore;
use crate::workloads::Workloads;
use crate::{overload, peer};

/// Where a proxy is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lifecycle {
    /// It has no configuration or no certificate yet.
    Starting,
    /// It serves.
    Ready,
    /// It finishes what it has and wants no more.
    Draining,
    /// It ends now.
    Stopped,
}

/// What all threads of a proxy share.
#[derive(Debug)]
pub struct State {
    /// What it was started with.
    pub bootstrap: Bootstrap,
    /// Certificates and trust anchors.
    pub secrets: Arc<SecretStore>,
    /// When it was started.
    pub started: Instant,
    /// The same on the wall clock.
    pub started_at: SystemTime,
    /// Connections from clients.
    pub downstream: Downstream,
    /// State of the configuration stream, for people.
    pub sync: ArcSwap<SyncStatus>,
    /// Why there is no (new) certificate, for people; `None`: there is.
    pub certificate_problem: ArcSwapOption<String>,
    /// Everything that is counted.
    pub metrics: Registry,
    /// Somebody asked that health checks fail (`/healthcheck/fail`).
    pub health_failed: AtomicBool,
    pub(crate) logs: AccessLogs,
    pub(crate) clusters: Clusters,
    /// What is said of ourselves to peers.
    pub(crate) own: peer::Own,
    /// Peers that say nothing, by their addresses.
    pub(crate) workloads: Workloads,
    /// Requests that the application is serving.
    pub(crate) in_flight: InFlight,
    /// Traces that may still begin.
    pub(crate) reservoir: Reservoir,
    /// Who reads what is counted.
    pub(crate) readers: Readers,
    config: ArcSwap<Config>,
    changed: watch::Sender<u64>,
    lifecycle: watch::Sender<Lifecycle>,
    /// Threads of the data plane that may still count something.
    working: watch::Sender<usize>,
    bound: ArcSwap<HashMap<ir::Str, SocketAddr>>,
    synced: watch::Sender<bool>,
    /// Asks the control plane for single resources, where those are not pushed.
    names: OnceLock<OnDemand>,
    mark: Option<u32>,
}

/// Counters of client connections.
#[derive(Debug, Default)]
pub struct Downstream {
    /// Accepted since the start.
    pub total: AtomicU64,
    /// Open now, from elsewhere to the workload.
    pub inbound: AtomicU64,
    /// Open now, from the workload or through the router.
    pub outbound: AtomicU64,
    /// So many may be open.
    pub most: AtomicU64,
    /// Refused since the start, because so many were.
    pub refused: AtomicU64,
}

impl Downstream {
    /// Whether no more connections are taken.
    pub(crate) fn is_full(&self) -> bool {
        self.inbound.load(Relaxed) + self.outbound.load(Relaxed) >= self.most.load(Relaxed)
    }
}

/// How the configuration came.
#[derive(Debug, Clone, Default)]
pub struct SyncStatus {
    /// `HOST:PORT` of the control plane, or the file.
    pub source: String,
    /// Whether the stream is up.
    pub connected: bool,
    /// Last accepted version by type URL.
    pub versions: Vec<(String, String)>,
    /// Resources that were refused, with the reason: they keep their last good state.
    pub refused: Vec<(String, String)>,
}

impl State {
    /// A proxy that has nothing yet.
    pub fn new(bootstrap: Bootstrap) -> Self {
        Self {
            logs: AccessLogs::new(bootstrap.access_log.clone()),
            secrets: Arc::default(),
            started: Instant::now(),
            started_at: SystemTime::now(),
            downstream: Downstream { most: overload::most_connections().into(), ..Downstream::default() },
            sync: ArcSwap::default(),
            certificate_problem: ArcSwapOption::empty(),
            metrics: Registry::default(),
            health_failed: AtomicBool::new(false),
            clusters: Clusters::default(),
            own: peer::Own::new(&bootstrap),
            in_flight: InFlight::default(),
            reservoir: Reservoir::new(bootstrap.traces_per_second, Instant::now()),
            readers: Readers::default(),
            workloads: Workloads::new(bootstrap.network()),
            config: ArcSwap::from_pointee(Config::default()),
            changed: watch::channel(0).0,
            lifecycle: watch::channel(Lifecycle::Starting).0,
            working: watch::channel(0).0,
            bound: ArcSwap::default(),
            synced: watch::channel(false).0,
            names: OnceLock::new(),
            mark: usable_mark(bootstrap.mark),
            bootstrap,
        }
    }

    /// The configuration in use.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Puts a configuration into use. Parts of it that cannot work are logged and refuse traffic; the rest is in use.
    pub fn apply(&self, ir: Arc<ir::Proxy>) {
        let old = self.config.load_full();
        for secret in ir.secrets.values() {
            let known = old.ir.secrets.get(&secret.name).is_some_and(|o| o == secret);
            if !known && let Err(e) = self.secrets.put(secret) {
                tracing::error!("{e}; connections that need it are refused until it is corrected");
            }
        }
        for name in old.ir.secrets.keys().filter(|n| !ir.secrets.contains_key(*n)) {
            self.secrets.remove(name);
        }
        self.secrets.want_revoked(&revocation_files(&ir));
        let (config, problems) = Config::next(&old, ir, &self.secrets, &self.clusters, &self.metrics);
        for problem in problems {
            tracing::error!("{problem}");
        }
        let version = config.version;
        self.metrics.keep_clusters(|name| config.cluster(name).is_some());
        self.config.store(Arc::new(config));
        self.changed.send_replace(version);
    }

    /// Where a listener really listens; `None`: it has no socket.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.bound.load().get(listener).copied()
    }

    pub(crate) fn bound(&self, listener: &ir::Str, address: SocketAddr) {
        self.bound.rcu(|old| {
            let mut new = HashMap::clone(old);
            new.insert(Arc::clone(listener), address);
            new
        });
    }

    /// A counter that moves with every configuration.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Mark of our own sockets, where we may set it.
    pub(crate) fn mark(&self) -> Option<u32> {
        self.mark
    }

    /// Single resources are asked for, by this.
    pub(crate) fn ask_by(&self, names: OnDemand) {
        // There is one client for the life of the proxy.
        let _ = self.names.set(names);
    }

    /// Whom to ask for single resources; `None`: everything is pushed.
    pub(crate) fn names(&self) -> Option<&OnDemand> {
        self.names.get()
    }

    /// Everything that was asked for at first has been answered.
    pub(crate) fn set_synced(&self) {
        self.synced.send_replace(true);
    }

    /// Follows that.
    pub(crate) fn follow_synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    /// Where the proxy is in its life.
    pub fn lifecycle(&self) -> Lifecycle {
        *self.lifecycle.borrow()
    }

    /// Follows it.
    pub fn follow_lifecycle(&self) -> watch::Receiver<Lifecycle> {
        self.lifecycle.subscribe()
    }

    /// Moves on; never back.
    pub fn advance(&self, to: Lifecycle) {
        self.lifecycle.send_if_modified(|now| {
            let forward = *now < to;
            if forward {
                *now = to;
            }
            forward
        });
    }

    /// A thread of the data plane begins; it has ended when what is given is dropped.
    pub(crate) fn begin_work(self: &Arc<Self>) -> Working {
        self.working.send_modify(|threads| *threads += 1);
        Working(Arc::clone(self))
    }

    /// Returns when no thread of the data plane is left, so that nothing is counted any more.
    pub(crate) async fn no_more_work(&self) {
        // The sender is our own, so that it cannot go.
        let _ = self.working.subscribe().wait_for(|threads| *threads == 0).await;
    }

    /// Connections of clients that are open now.
    pub fn active_connections(&self) -> u64 {
        self.downstream.inbound.load(Relaxed) + self.downstream.outbound.load(Relaxed)
    }
}

/// A thread of the data plane is there as long as this is.
#[derive(Debug)]
pub(crate) struct Working(Arc<State>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.send_modify(|threads| *threads = threads.saturating_sub(1));
    }
}

/// Every file of revocation lists that a configuration names.
fn revocation_files(ir: &ir::Proxy) -> BTreeSet<ir::Str> {
    let clusters =
        ir.clusters.values().flat_map(|c| c.transport_matches.iter().filter_map(|m| m.tls.as_ref()).chain(&c.tls));
    let chains = ir.listeners.values().flat_map(|l| l.filter_chains.iter().chain(&l.default_filter_chain));
    let servers = chains.filter_map(|c| c.tls.as_ref()).filter_map(|tls| tls.crl_file.clone());
    clusters.filter_map(|tls| tls.crl_file.clone()).chain(servers).collect()
}

/// A proxy that runs as a user of its own is known to interception by that; one that cannot is known by the mark, which
/// needs a capability.
fn usable_mark(wanted: Option<u32>) -> Option<u32> {
    let mark = wanted?;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).ok()?;
    match varka_sys::socket::set_mark(&socket, mark) {
        Ok(()) => Some(mark),
        Err(e) => {
            tracing::info!("sockets are not marked ({e}): interception must know the proxy by its user");
            None
        }
    }
}
