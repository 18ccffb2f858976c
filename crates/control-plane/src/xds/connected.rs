//! Which proxies are connected, what they have, and what they refused: the page `/debug/syncz`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::watch;
use varka_engine::ir::ResourceType;
use varka_pilot::{ProxyKey, ProxyKind, ResourceName};

use crate::metrics::Metrics;

/// Rejections kept for a proxy.
const MAX_NACKS: usize = 64;
/// Longest text of a rejection that is kept.
const MAX_MESSAGE: usize = 2048;

/// A proxy as `/debug/syncz` shows it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Proxy {
    /// Node id.
    proxy: String,
    namespace: String,
    pod: String,
    /// Number of the snapshot that it has acknowledged whatever was in it for it.
    version: String,
    /// Whether it has acknowledged all that there is for it.
    synced: bool,
    nacks: Vec<Nack>,
    /// RFC 3339.
    connected_at: String,
    #[serde(skip)]
    kind: ProxyKind,
    #[serde(skip)]
    labels: BTreeMap<String, String>,
}

/// A resource that a proxy refused; it goes on with the last one that it took.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(crate) struct Nack {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) message: String,
}

/// All connected proxies.
pub(crate) struct Connected {
    proxies: Mutex<BTreeMap<u64, Proxy>>,
    last: AtomicU64,
    metrics: Arc<Metrics>,
    /// Counts arrivals and departures.
    changes: watch::Sender<u64>,
}

/// One connection's entry; dropping it takes the proxy off the list.
pub(crate) struct Registration {
    number: u64,
    connected: Arc<Connected>,
}

impl Connected {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { proxies: Mutex::default(), last: AtomicU64::new(0), metrics, changes: watch::Sender::new(0) }
    }

    /// Puts a proxy on the list.
    pub(crate) fn register(self: &Arc<Self>, id: &str, key: &ProxyKey) -> Registration {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let proxy = Proxy {
            proxy: id.to_owned(),
            namespace: key.namespace.to_string(),
            pod: key.name.to_string(),
            version: String::new(),
            synced: false,
            nacks: Vec::new(),
            connected_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            kind: key.kind,
            labels: key.labels.clone(),
        };
        self.with(|proxies| proxies.insert(number, proxy));
        Registration { number, connected: Arc::clone(self) }
    }

    /// The list as JSON.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::to_vec(&proxies.values().collect::<Vec<_>>()).unwrap_or_default()
    }

    /// Whether a gateway of `namespace` with all of `labels` is connected.
    pub(crate) fn has_router(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        proxies.values().any(|proxy| {
            proxy.kind == ProxyKind::Router
                && proxy.namespace == namespace
                && labels.iter().all(|(name, value)| proxy.labels.get(name) == Some(value))
        })
    }

    /// Told of arrivals and departures.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn with<T>(&self, change: impl FnOnce(&mut BTreeMap<u64, Proxy>) -> T) -> T {
        let mut proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        let before = proxies.len();
        let result = change(&mut proxies);
        let after = proxies.len();
        drop(proxies);
        if after != before {
            self.metrics.connected.set(i64::try_from(after).unwrap_or(i64::MAX));
            self.changes.send_modify(|count| *count += 1);
        }
        result
    }
}

impl Registration {
    /// Notes how far the proxy is.
    pub(crate) fn progress(&self, snapshot: u64, synced: bool) {
        self.change(|proxy| {
            if synced {
                proxy.version = snapshot.to_string();
            }
            proxy.synced = synced;
        });
    }

    /// Notes a rejection, in place of an earlier one of the same resource.
    pub(crate) fn rejected(&self, name: &ResourceName, message: &str) {
        let (kind, message) = (short_kind(name.kind), message.chars().take(MAX_MESSAGE).collect());
        self.change(|proxy| {
            proxy.nacks.retain(|nack| nack.kind != kind || nack.name != *name.name);
            if proxy.nacks.len() < MAX_NACKS {
                proxy.nacks.push(Nack { kind, name: name.name.to_string(), message });
            }
        });
    }

    /// Notes that a resource that was refused is taken, or gone.
    pub(crate) fn accepted(&self, name: &ResourceName) {
        let kind = short_kind(name.kind);
        self.change(|proxy| proxy.nacks.retain(|nack| nack.kind != kind || nack.name != *name.name));
    }

    /// Differs between connections.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    fn change(&self, change: impl FnOnce(&mut Proxy)) {
        self.connected.with(|proxies| proxies.get_mut(&self.number).map(change));
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connected.with(|proxies| proxies.remove(&self.number));
    }
}

/// Name of a type for people.
pub(crate) fn short_kind(kind: ResourceType) -> &'static str {
    match kind {
        ResourceType::Listener => "listener",
        ResourceType::Route => "route",
        ResourceType::Cluster => "cluster",
        ResourceType::Endpoints => "endpoints",
        ResourceType::Secret => "secret",
        ResourceType::VirtualHost => "virtual host",
        ResourceType::Workload => "workload",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_stays_until_the_resource_is_taken() {
        let metrics = Arc::<Metrics>::default();
        let connected = Arc::new(Connected::new(Arc::clone(&metrics)));
        let mut key = ProxyKey::new(ProxyKind::Router, "ingress-1", "ingress-nginx", [10, 0, 0, 1].into());
        key.labels.insert("app".to_owned(), "ingress".to_owned());
        let registration = connected.register("router~10.0.0.1~ingress-1.ingress-nginx~x", &key);
        assert_eq!(metrics.connected.get(), 1);
        assert!(connected.has_router("ingress-nginx", &key.labels));
        assert!(!connected.has_router("ingress-nginx", &[("app".to_owned(), "other".to_owned())].into()));
        let name = ResourceName { kind: ResourceType::Listener, name: "0.0.0.0_443".into() };
        registration.rejected(&name, "not implemented: a");
        registration.rejected(&name, "not implemented: b");
        registration.progress(7, false);
        let page = || serde_json::from_slice::<serde_json::Value>(&connected.to_json()).unwrap()[0].clone();
        assert_eq!(
            page()["nacks"],
            serde_json::json!([{"kind": "listener", "name": "0.0.0.0_443", "message": "not implemented: b"}])
        );
        assert_eq!(page()["synced"], false);
        registration.accepted(&name);
        registration.progress(8, true);
        assert_eq!((page()["version"].clone(), page()["synced"].clone()), ("8".into(), true.into()));
        assert_eq!(page()["nacks"], serde_json::json!([]));
        drop(registration);
        assert_eq!(connected.to_json(), b"[]");
        assert_eq!(metrics.connected.get(), 0);
    }
}
