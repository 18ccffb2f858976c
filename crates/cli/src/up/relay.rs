//! Carries connections from the host's loopback to the ready pods of the ingress.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client};
use tokio::net::{TcpListener, TcpStream};

/// Namespace and Service of the ingress.
pub(super) const INGRESS: (&str, &str) = ("ingress-nginx", "ingress-nginx-controller");

/// Knows the ready endpoints of the ingress.
#[derive(Clone)]
pub(super) struct Relay {
    slices: reflector::Store<EndpointSlice>,
    turn: Arc<AtomicUsize>,
}

impl Relay {
    /// Starts to watch.
    pub(super) async fn start(client: Client) -> Self {
        let (slices, writer) = reflector::store();
        let api: Api<EndpointSlice> = Api::namespaced(client, INGRESS.0);
        let config = watcher::Config::default().labels(&format!("kubernetes.io/service-name={}", INGRESS.1));
        let stream = reflector(writer, watcher(api, config)).default_backoff();
        tokio::spawn(stream.for_each(|_| std::future::ready(())));
        Self { slices, turn: Arc::default() }
    }

    /// Accepts for ever; each connection goes to the next ready pod's port of this name.
    pub(super) async fn serve(self, listener: TcpListener, port: &'static str) {
        loop {
            let Ok((client, _)) = listener.accept().await else {
                // Out of descriptors, most likely: let others finish.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            };
            let relay = self.clone();
            tokio::spawn(async move { relay.carry(client, port).await });
        }
    }

    async fn carry(&self, mut client: TcpStream, port: &str) {
        let targets = self.targets(port);
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        for offset in 0..targets.len() {
            let Some(target) = targets.get((first + offset) % targets.len()) else { return };
            if let Ok(mut upstream) = TcpStream::connect(target).await {
                let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
                // Either side may end it at any time; there is nobody to tell.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
                return;
            }
        }
    }

    fn targets(&self, port: &str) -> Vec<SocketAddr> {
        let of_slice = |slice: &Arc<EndpointSlice>| {
            let number = slice.ports.iter().flatten().find(|p| p.name.as_deref() == Some(port)).and_then(|p| p.port);
            let number = number.and_then(|n| u16::try_from(n).ok());
            let ready = slice.endpoints.iter().filter(|e| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true));
            let addresses = ready.flat_map(|e| e.addresses.iter()).filter_map(|a| a.parse::<IpAddr>().ok());
            number.map_or_else(Vec::new, |n| addresses.map(|a| SocketAddr::new(a, n)).collect())
        };
        self.slices.state().iter().flat_map(of_slice).collect()
    }
}
