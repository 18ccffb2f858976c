//! The configuration: what the control plane sends becomes the proxy's, resource by resource.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tokio::sync::watch;
use varka_engine::ir::{FilterChain, Listener, Locality, Proxy, Resource, ResourceType, Str};
use varka_xds::Node;
use varka_xds::client::{Client, Connection, Connector, Rejected, Sink, Update};

use super::{WorkloadIdentity, channel, token};
use crate::Error;
use crate::state::{State, SyncStatus};
use crate::tls::ServerTls;

/// What must have been answered before the proxy serves.
const NEEDED: [ResourceType; 4] =
    [ResourceType::Cluster, ResourceType::Endpoints, ResourceType::Listener, ResourceType::Route];

/// Follows the control plane for as long as the proxy runs.
pub(super) async fn follow(state: &Arc<State>, identity: watch::Receiver<Option<Arc<WorkloadIdentity>>>) {
    let b = &state.bootstrap;
    let node = Node {
        id: b.node_id(),
        cluster: format!("{}.{}", b.pod_name, b.namespace),
        metadata: serde_json::Value::Object(b.metadata.clone()),
        locality: Locality::default(),
    };
    let status = SyncStatus { source: b.discovery_address.clone(), ..SyncStatus::default() };
    state.sync.store(Arc::new(status.clone()));
    let connector = ToControlPlane { state: Arc::clone(state), identity };
    let sink = Applied {
        state: Arc::clone(state),
        proxy: Proxy::default(),
        synced: HashSet::new(),
        status,
        refused: BTreeMap::new(),
    };
    let (client, lookups) = Client::new(connector, node, sink).lookups();
    state.workloads.ask_by(lookups);
    if !b.on_demand() {
        return client.run(std::future::pending()).await;
    }
    let (client, names) = client.on_demand();
    state.ask_by(names);
    client.run(std::future::pending()).await;
}

/// Makes connections to the control plane.
struct ToControlPlane {
    state: Arc<State>,
    identity: watch::Receiver<Option<Arc<WorkloadIdentity>>>,
}

impl Connector for ToControlPlane {
    type Error = Error;

    async fn connect(&mut self) -> Result<Connection, Error> {
        let address = self.state.bootstrap.discovery_address.clone();
        let problem = |problem: String| Error::ControlPlane { address: address.clone(), problem };
        // Without an identity there is nothing that configuration could be used for.
        let identity = match self.identity.wait_for(Option::is_some).await {
            Ok(identity) => identity.clone(),
            Err(_) => return Err(problem("the proxy is ending".to_owned())),
        };
        let channel = channel(&self.state, &address, identity.as_deref()).await?;
        Connection::new(channel)
            .bearer(&token(&self.state)?)
            .map_err(|_| problem("the token has bytes that cannot be sent".to_owned()))
    }
}

/// Puts resources into use.
struct Applied {
    state: Arc<State>,
    proxy: Proxy,
    synced: HashSet<ResourceType>,
    status: SyncStatus,
    refused: BTreeMap<(ResourceType, Str), String>,
}

impl Applied {
    /// Takes over one resource.
    fn put(&mut self, resource: Resource) -> Result<(), String> {
        match resource {
            Resource::Listener(l) => {
                self.check(&l)?;
                self.proxy.listeners.insert(Arc::clone(&l.name), l);
            }
            Resource::Route(r) => drop(self.proxy.routes.insert(Arc::clone(&r.name), r)),
            Resource::Cluster(c) => drop(self.proxy.clusters.insert(Arc::clone(&c.name), c)),
            Resource::Endpoints(e) => drop(self.proxy.endpoints.insert(Arc::clone(&e.cluster_name), e)),
            Resource::Secret(s) => {
                self.state.secrets.put(&s).map_err(|e| e.to_string())?;
                self.proxy.secrets.insert(Arc::clone(&s.name), s);
            }
            Resource::VirtualHost(name, host) => drop(self.proxy.virtual_hosts.insert(name, host)),
            // No configuration.
            Resource::Workload(..) => {}
        }
        Ok(())
    }

    /// A listener whose TLS settings cannot work is refused as a whole: half of it would refuse traffic.
    fn check(&self, listener: &Listener) -> Result<(), String> {
        let chains: Vec<&FilterChain> = listener.filter_chains.iter().chain(&listener.default_filter_chain).collect();
        for chain in chains {
            if let Some(tls) = &chain.tls {
                ServerTls::new(tls, false, &self.state.secrets)
                    .map_err(|e| format!("filter chain {}: {e}", chain.name))?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, kind: ResourceType, name: &str) {
        match kind {
            ResourceType::Listener => drop(self.proxy.listeners.remove(name)),
            ResourceType::Route => drop(self.proxy.routes.remove(name)),
            ResourceType::Cluster => drop(self.proxy.clusters.remove(name)),
            ResourceType::Endpoints => drop(self.proxy.endpoints.remove(name)),
            ResourceType::Secret => drop(self.proxy.secrets.remove(name)),
            ResourceType::VirtualHost => drop(self.proxy.virtual_hosts.remove(name)),
            ResourceType::Workload => {}
        }
    }

    fn publish(&mut self) {
        let refused = self.refused.iter().map(|((kind, name), why)| (format!("{kind:?} {name}"), why.clone()));
        self.status.refused = refused.collect();
        self.state.sync.store(Arc::new(self.status.clone()));
    }
}

impl Sink for Applied {
    fn apply(&mut self, update: Update) -> Vec<Rejected> {
        if update.kind == ResourceType::Workload {
            // Nothing that is configured depends on it.
            self.state.workloads.told(update);
            return Vec::new();
        }
        let mut rejected = Vec::new();
        for resource in update.upserts {
            let name = Arc::clone(resource.name());
            match self.put(resource) {
                Ok(()) => {
                    let key = (update.kind, name);
                    self.proxy.absent.remove(&key);
                    self.refused.remove(&key);
                }
                Err(reason) => rejected.push(Rejected { name, reason }),
            }
        }
        for name in &update.removed {
            self.remove(update.kind, name);
            let key = (update.kind, Arc::clone(name));
            self.proxy.absent.remove(&key);
            self.refused.remove(&key);
        }
        self.proxy.absent.extend(update.absent.into_iter().map(|name| (update.kind, name)));
        self.state.apply(Arc::new(self.proxy.clone()));
        if !update.version.is_empty() {
            let kind = format!("{:?}", update.kind);
            self.status.versions.retain(|(k, _)| *k != kind);
            self.status.versions.push((kind, update.version.to_string()));
        }
        self.publish();
        rejected
    }

    fn connected(&mut self, connected: bool) {
        self.status.connected = connected;
        self.publish();
    }

    fn synced(&mut self, kind: ResourceType) {
        self.synced.insert(kind);
        if NEEDED.iter().all(|k| self.synced.contains(k)) {
            self.state.set_synced();
        }
    }

    fn last_use(&self, kind: ResourceType, name: &Str) -> u64 {
        self.state.config().last_use(kind, name)
    }

    fn rejected(&mut self, kind: ResourceType, rejected: &[Rejected]) {
        for r in rejected {
            self.refused.insert((kind, Arc::clone(&r.name)), r.reason.clone());
        }
        self.publish();
    }
}
