//! A configuration made ready for use: indexed, with its TLS contexts and clusters. Immutable once made.
//!
//! A change makes a new [`Config`] that shares with the old one whatever did not change, and is swapped in with one atomic
//! store; requests in flight keep the one they began with.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;
use varka_engine::cel::Expression;
use varka_engine::host::{Answer, Answers, RouteIndex};
use varka_engine::ir::{
    self, FilterChain, HttpConnectionManager, HttpFilter, Listener, NetworkFilter, ResourceType, RouteSource, Stats,
    Str, Terminal, TrafficDirection,
};
use varka_engine::listener::ListenerIndex;
use varka_engine::recency::{LastUse, Steps};

use varka_telemetry::metrics::Registry;
use varka_telemetry::metrics::istio::Customization;

use crate::accesslog::Log;
use crate::cluster::{ClusterState, Clusters};
use crate::tls::{SecretStore, ServerTls, TlsError};

/// What of a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// A TLS context cannot be made.
    #[error("{0}; connections to its filter chain are refused until it is corrected")]
    Tls(#[from] TlsError),
    /// An access log cannot be written.
    #[error("listener {listener}: {source}; nothing is written to this log until it is corrected")]
    AccessLog {
        /// The listener.
        listener: Str,
        /// What is wrong with its format.
        source: varka_telemetry::accesslog::Error,
    },
}

/// A configuration in use.
#[derive(Debug, Default)]
pub struct Config {
    /// What was configured.
    pub ir: Arc<ir::Proxy>,
    /// Counts the changes since the start.
    pub version: u64,
    listeners: ListenerIndex,
    routes: ByName<Arc<RouteIndex>>,
    prepared: ByName<Arc<PreparedListener>>,
    clusters: ByName<Arc<ClusterState>>,
    uses: Uses,
}

/// What is looked up by its name for every request.
pub(crate) type ByName<T> = HashMap<Str, T, RandomState>;

/// When names were used last that were asked for, and of which there can be any number: those that do not exist, and virtual
/// hosts by authority.
#[derive(Debug, Default)]
struct Uses {
    steps: Steps,
    by_name: HashMap<(ResourceType, Str), LastUse>,
}

impl Uses {
    /// The same for the next configuration.
    fn next(&self, ir: &ir::Proxy) -> Self {
        let hosts = ir.virtual_hosts.keys().map(|name| (ResourceType::VirtualHost, Arc::clone(name)));
        let names = ir.absent.iter().cloned().chain(hosts);
        let by_name = names.map(|name| {
            let last_use = self.by_name.get(&name).cloned().unwrap_or_else(|| self.steps.name());
            (name, last_use)
        });
        Self { steps: self.steps.clone(), by_name: by_name.collect() }
    }

    fn of(&self, name: &(ResourceType, Str)) -> LastUse {
        self.by_name.get(name).cloned().unwrap_or_default()
    }
}

/// What a listener's chains need besides their configuration.
#[derive(Debug)]
struct PreparedListener {
    listener: Arc<Listener>,
    chains: Vec<PreparedChain>,
    logs: Box<[Log]>,
}

/// TLS context, route table and access logs of a chain.
#[derive(Debug)]
struct PreparedChain {
    logs: Box<[Log]>,
    tls: Option<ServerTls>,
    inline_routes: Option<Arc<RouteIndex>>,
    stats: Option<PreparedStats>,
}

/// What a chain counts under Istio's names.
#[derive(Debug)]
pub(crate) struct PreparedStats {
    /// As configured.
    pub config: Stats,
    /// How it differs from the standard.
    pub custom: Option<Arc<Customization>>,
    /// Expressions of its labels; `None`: one that cannot be used, so the label is `unknown`.
    pub expressions: Vec<Option<Expression>>,
}

impl PreparedStats {
    /// `None`: the chain has no such filter, and nothing is counted.
    fn of(chain: &FilterChain) -> Option<Self> {
        let config = match &chain.terminal {
            Terminal::Http(manager) => manager.filters.iter().find_map(|f| match f {
                HttpFilter::Stats(stats) => Some(stats),
                _ => None,
            }),
            Terminal::Tcp(_) => chain.filters.iter().find_map(|f| match f {
                NetworkFilter::Stats(stats) => Some(stats),
                _ => None,
            }),
        };
        config.map(|config| {
            let custom = Customization::new(config);
            let dimensions = custom.iter().flat_map(|c| c.dimensions());
            let expressions = dimensions.map(|d| Expression::parse(&d.expression).ok()).collect();
            Self { config: config.clone(), custom, expressions }
        })
    }
}

/// Whether peers say who they are before the first byte of a connection.
fn exchanges(chain: &FilterChain) -> bool {
    matches!(chain.terminal, Terminal::Tcp(_)) && chain.filters.contains(&NetworkFilter::MetadataExchange)
}

/// One filter chain of a listener, kept alive by whoever holds it.
#[derive(Debug, Clone)]
pub(crate) struct ChainRef {
    prepared: Arc<PreparedListener>,
    /// `None`: the default chain.
    index: Option<usize>,
}

impl ChainRef {
    /// The chain.
    pub(crate) fn chain(&self) -> Option<&FilterChain> {
        match self.index {
            Some(i) => self.prepared.listener.filter_chains.get(i),
            None => self.prepared.listener.default_filter_chain.as_ref(),
        }
    }

    /// The name of its listener.
    pub(crate) fn listener(&self) -> &Str {
        &self.prepared.listener.name
    }

    /// For whose traffic it stands.
    pub(crate) fn direction(&self) -> TrafficDirection {
        self.prepared.listener.direction
    }

    /// The connection manager, if the chain has one.
    pub(crate) fn http(&self) -> Option<&HttpConnectionManager> {
        match &self.chain()?.terminal {
            Terminal::Http(manager) => Some(manager),
            Terminal::Tcp(_) => None,
        }
    }

    fn prepared_chain(&self) -> Option<&PreparedChain> {
        self.prepared.chains.get(self.index.unwrap_or(self.prepared.listener.filter_chains.len()))
    }

    /// Access logs of its connection manager or TCP proxy.
    pub(crate) fn logs(&self) -> &[Log] {
        self.prepared_chain().map_or(&[], |c| &c.logs)
    }

    /// What it counts under Istio's names.
    pub(crate) fn stats(&self) -> Option<&PreparedStats> {
        self.prepared_chain()?.stats.as_ref()
    }

    /// TLS context.
    pub(crate) fn tls(&self) -> Option<&ServerTls> {
        self.prepared_chain()?.tls.as_ref()
    }

    /// Whether the configuration still has this very chain: its connections need not end.
    pub(crate) fn is_current(&self, config: &Config) -> bool {
        let Some(now) = config.prepared.get(&self.prepared.listener.name) else { return false };
        if Arc::ptr_eq(now, &self.prepared) {
            return true;
        }
        let mine = self.chain();
        match self.index {
            Some(_) => now.listener.filter_chains.iter().any(|c| Some(c) == mine),
            None => now.listener.default_filter_chain.as_ref() == mine,
        }
    }
}

impl Config {
    /// Makes the successor of `old`, and says what of it cannot be used.
    pub(crate) fn next(
        old: &Self,
        ir: Arc<ir::Proxy>,
        secrets: &Arc<SecretStore>,
        clusters: &Clusters,
        metrics: &Registry,
    ) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let uses = old.uses.next(&ir);
        let mut answers = answers(&ir, &uses);
        let routes = ir.routes.iter().map(|(name, config)| {
            let answers = if config.on_demand { answers.remove(&**name).unwrap_or_default() } else { Answers::new() };
            (Arc::clone(name), old.route_index(name, config, answers))
        });
        let routes = routes.collect();
        let prepared = ir
            .listeners
            .iter()
            .map(|(name, listener)| {
                let prepared = match old.prepared.get(name) {
                    Some(p) if Arc::ptr_eq(&p.listener, listener) || p.listener == *listener => Arc::clone(p),
                    _ => Arc::new(prepare(listener, secrets, &mut problems)),
                };
                (Arc::clone(name), prepared)
            })
            .collect();
        let clusters = clusters.update(&old.clusters, &ir, metrics);
        let listeners = ListenerIndex::noting(&ir, |name| uses.of(name));
        (Self { listeners, routes, prepared, clusters, uses, version: old.version + 1, ir }, problems)
    }

    fn route_index(&self, name: &Str, config: &Arc<ir::RouteConfiguration>, answers: Answers) -> Arc<RouteIndex> {
        match self.routes.get(name) {
            Some(index)
                if (Arc::ptr_eq(index.config(), config) || index.config() == config)
                    && is_same(index.answers(), &answers) =>
            {
                Arc::clone(index)
            }
            _ => Arc::new(RouteIndex::with_answers(Arc::clone(config), answers)),
        }
    }

    /// Listeners by address.
    pub(crate) fn listeners(&self) -> &ListenerIndex {
        &self.listeners
    }

    /// Access logs of a listener itself.
    pub(crate) fn logs(&self, listener: &Listener) -> &[Log] {
        self.prepared.get(&listener.name).map_or(&[], |p| &p.logs)
    }

    /// The chain that the engine chose, in a form that can be kept.
    pub(crate) fn chain(&self, listener: &Arc<Listener>, chain: &FilterChain) -> Option<ChainRef> {
        let prepared = self.prepared.get(&listener.name)?;
        let index = listener.filter_chains.iter().position(|c| std::ptr::eq(c, chain));
        Some(ChainRef { prepared: Arc::clone(prepared), index })
    }

    /// The route table of a connection manager, as it is now.
    pub(crate) fn routes(&self, chain: &ChainRef) -> Option<Arc<RouteIndex>> {
        match &chain.http()?.routes {
            RouteSource::Rds(name) => self.routes.get(name).cloned(),
            RouteSource::Inline(_) => chain.prepared_chain()?.inline_routes.clone(),
        }
    }

    /// Whether the control plane has said that there is no such thing; that is a use of its name.
    pub(crate) fn is_absent(&self, kind: ResourceType, name: &Str) -> bool {
        let key = (kind, Arc::clone(name));
        let absent = self.ir.absent.contains(&key);
        if absent && let Some(last_use) = self.uses.by_name.get(&key) {
            last_use.note();
        }
        absent
    }

    /// When a name was used last.
    pub(crate) fn last_use(&self, kind: ResourceType, name: &Str) -> u64 {
        self.uses.by_name.get(&(kind, Arc::clone(name))).map_or(0, LastUse::at)
    }

    /// A cluster by name.
    pub fn cluster(&self, name: &str) -> Option<&Arc<ClusterState>> {
        self.clusters.get(name)
    }

    /// All clusters.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<ClusterState>> {
        self.clusters.values()
    }
}

/// What was said about authorities, by route table.
fn answers<'a>(ir: &'a ir::Proxy, uses: &Uses) -> HashMap<&'a str, Answers> {
    let found = ir.virtual_hosts.iter().map(|(name, host)| (name, Some(Arc::clone(host))));
    let absent = ir.absent.iter().filter(|(kind, _)| *kind == ResourceType::VirtualHost).map(|(_, name)| (name, None));
    let mut tables: HashMap<&str, Answers> = HashMap::new();
    for (name, host) in absent.chain(found) {
        if let Some((table, authority)) = name.split_once('/') {
            let last_use = uses.of(&(ResourceType::VirtualHost, Arc::clone(name)));
            tables.entry(table).or_default().insert(authority.into(), Answer { host, last_use });
        }
    }
    tables
}

/// Whether nothing new was said.
fn is_same(old: &Answers, new: &Answers) -> bool {
    let same = |authority: &Str, new: &Answer| match (old.get(authority).map(|a| &a.host), &new.host) {
        (Some(Some(old)), Some(new)) => Arc::ptr_eq(old, new),
        (Some(None), None) => true,
        _ => false,
    };
    old.len() == new.len() && new.iter().all(|(authority, answer)| same(authority, answer))
}

fn prepare(listener: &Arc<Listener>, secrets: &Arc<SecretStore>, problems: &mut Vec<Problem>) -> PreparedListener {
    let mut bad_formats = Vec::new();
    let logs = Log::prepare(&listener.access_log, &mut bad_formats);
    let mut chain = |chain: &FilterChain| PreparedChain {
        logs: match &chain.terminal {
            Terminal::Http(manager) => Log::prepare(&manager.access_log, &mut bad_formats),
            Terminal::Tcp(proxy) => Log::prepare(&proxy.access_log, &mut bad_formats),
        },
        tls: chain
            .tls
            .as_ref()
            .and_then(|tls| ServerTls::new(tls, exchanges(chain), secrets).map_err(|e| problems.push(e.into())).ok()),
        stats: PreparedStats::of(chain),
        inline_routes: match &chain.terminal {
            Terminal::Http(manager) => match &manager.routes {
                RouteSource::Inline(config) => Some(Arc::new(RouteIndex::new(Arc::clone(config)))),
                RouteSource::Rds(_) => None,
            },
            Terminal::Tcp(_) => None,
        },
    };
    let mut chains: Vec<PreparedChain> = listener.filter_chains.iter().map(&mut chain).collect();
    chains.extend(listener.default_filter_chain.as_ref().map(&mut chain));
    let named = |source| Problem::AccessLog { listener: Arc::clone(&listener.name), source };
    problems.extend(bad_formats.into_iter().map(named));
    PreparedListener { listener: Arc::clone(listener), chains, logs }
}
