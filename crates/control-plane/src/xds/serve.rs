//! The aggregated discovery service: who may connect, and what one proxy has and should have.
//!
//! The protocol is `varka_xds::server`'s; a [`View`] knows what the proxy should have. This is the little between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::Status;
use tracing::{info, warn};
use varka_engine::ir::{ResourceType, Str};
use varka_pilot::{Diagnostic, ProxyEngine, ResourceName};
use varka_proto::envoy::ads;
use varka_xds::Node;
use varka_xds::codec::Reader;
use varka_xds::server::{self, Names, Service, Source, Versioned};

use super::connected::{Connected, Registration};
use super::development::Development;
use super::node;
use super::view::View;
use crate::authn::Authenticator;
use crate::listen;
use crate::metrics::Metrics;
use crate::watch::Published;

/// A stream ends after so long, so that its proxy proves again who it is; up to half as much again, to spread them.
const STREAM_LIFE: Duration = Duration::from_secs(60 * 60);

/// What all streams share.
pub(crate) struct Discovery {
    pub(crate) published: watch::Receiver<Arc<Published>>,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) development: Arc<Development>,
    pub(crate) connected: Arc<Connected>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) findings: mpsc::Sender<Diagnostic>,
}

/// The gRPC service.
pub(crate) fn server(discovery: Discovery) -> ads::Server<Service<Discovery>> {
    server::service(discovery)
}

impl Source for Discovery {
    type Session = Session;

    async fn connect(&self, node: Node, peer: server::Peer) -> Result<Session, Status> {
        let connection = peer.extensions.get::<listen::Peer>();
        let token = peer.token.as_ref().map(server::Token::expose);
        let address = connection.map(|connection| connection.address);
        let caller = self.authenticator.caller(token, connection).await.map_err(|error| {
            warn!(node = node.id, ?address, %error, "refused a proxy");
            Status::from(error)
        })?;
        let key = node::proxy(&node, &caller).map_err(|error| {
            warn!(%caller, ?address, %error, "refused a proxy");
            Status::permission_denied(error.to_string())
        })?;
        let mut published = self.published.clone();
        let current = published.wait_for(|published| published.number > 0).await;
        let current = Arc::clone(&*current.map_err(|_| shutting_down())?);
        info!(proxy = node.id, %caller, "proxy connected");
        let reader = match key.engine {
            ProxyEngine::Varka => Reader::Istio,
            ProxyEngine::Envoy => Reader::StockEnvoy,
        };
        let view = View::new(key, reader, current, Arc::clone(&self.development));
        let registration = self.connected.register(&node.id, view.key());
        let spread = STREAM_LIFE.mul_f64(f64::from(u8::try_from(registration.number() % 64).unwrap_or(0)) / 128.0);
        Ok(Session {
            id: node.id,
            view,
            published,
            registration,
            metrics: Arc::clone(&self.metrics),
            findings: self.findings.clone(),
            ends: Instant::now() + STREAM_LIFE + spread,
            unanswered: 0,
            asked: BTreeSet::new(),
            unlooked: BTreeSet::new(),
            refused: BTreeMap::new(),
            converging: None,
        })
    }
}

fn shutting_down() -> Status {
    Status::unavailable("the control plane is shutting down")
}

/// One proxy's stream.
pub(crate) struct Session {
    id: String,
    view: View,
    published: watch::Receiver<Arc<Published>>,
    registration: Registration,
    metrics: Arc<Metrics>,
    findings: mpsc::Sender<Diagnostic>,
    ends: Instant,
    /// Responses that the proxy has not answered.
    unanswered: usize,
    /// Types that the proxy has ever asked for.
    asked: BTreeSet<ResourceType>,
    /// Those of them that were not looked at since the last change.
    unlooked: BTreeSet<ResourceType>,
    /// What the proxy refused, in which version.
    refused: BTreeMap<ResourceName, Str>,
    /// When the change was seen that the proxy is taking.
    converging: Option<Instant>,
}

impl Session {
    /// Moves on to `next`; whether anything is otherwise for this proxy.
    fn advance(&mut self, next: Arc<Published>) -> bool {
        let since = next.since;
        let changed = self.view.advance(next, SystemTime::now());
        self.tell_findings();
        if changed {
            self.converging.get_or_insert(since);
            self.unlooked.clone_from(&self.asked);
        }
        self.tell_progress();
        changed
    }

    fn tell_findings(&mut self) {
        let (findings, compiled) = self.view.take_findings();
        self.metrics.compiled.add(compiled);
        for finding in findings {
            // A full queue drops: the next compilation finds it again.
            let _ = self.findings.try_send(finding);
        }
    }

    fn tell_progress(&mut self) {
        let synced = self.unanswered == 0 && self.unlooked.is_empty() && !self.asked.is_empty();
        if synced && let Some(since) = self.converging.take() {
            self.metrics.convergence.observe(since.elapsed());
        }
        self.registration.progress(self.view.number(), synced);
    }

    fn answered(&mut self, kind: ResourceType) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if let Some(pushes) = self.metrics.pushes.get(metric(kind)) {
            pushes.add(1);
        }
    }
}

impl server::Session for Session {
    async fn changed(&mut self) -> Result<(), Status> {
        // The stream waits for changes when it has sent all that it can. With no answer due, that was everything: a change that
        // altered nothing for this proxy ends here, without a response.
        if self.unanswered == 0 {
            self.unlooked.clear();
            self.tell_progress();
        }
        loop {
            tokio::select! {
                changed = self.published.changed() => changed.map_err(|_| shutting_down())?,
                () = tokio::time::sleep_until(self.ends) => {
                    return Err(Status::unavailable("connect again, to prove again who you are"));
                }
            }
            let next = Arc::clone(&*self.published.borrow_and_update());
            if self.advance(next) {
                return Ok(());
            }
        }
    }

    fn version(&mut self) -> Str {
        // Asked for once for each response.
        self.unanswered += 1;
        self.tell_progress();
        self.view.number().to_string().into()
    }

    fn resources(&mut self, kind: ResourceType, names: Names<'_>) -> Vec<Versioned> {
        self.asked.insert(kind);
        self.unlooked.remove(&kind);
        let names: Vec<ResourceName> = match names {
            Names::Wildcard => self.view.names().iter().filter(|name| name.kind == kind).cloned().collect(),
            Names::Only(names) => names.iter().map(|name| ResourceName { kind, name: Str::clone(name) }).collect(),
        };
        let now = SystemTime::now();
        let found = names.into_iter().filter_map(|name| {
            let entry = self.view.entry(&name, now);
            let body = entry.body.clone()?;
            Some(Versioned { name: name.name, version: Str::clone(&entry.version), body })
        });
        let found = found.collect();
        self.view.rest();
        self.tell_findings();
        found
    }

    fn is_on_demand(&self) -> bool {
        self.view.key().on_demand
    }

    fn acked(&mut self, kind: ResourceType, _: &str) {
        self.answered(kind);
        // A refused resource is mended once another version of it, or its end, was taken.
        let now = SystemTime::now();
        let view = &mut self.view;
        let mended: Vec<_> = self
            .refused
            .iter()
            .filter(|(name, version)| name.kind == kind && view.entry(name, now).version != **version)
            .map(|(name, _)| name.clone())
            .collect();
        for name in mended {
            self.refused.remove(&name);
            self.registration.accepted(&name);
        }
        self.tell_progress();
    }

    fn nacked(&mut self, kind: ResourceType, _: &str, message: &str) {
        self.answered(kind);
        if let Some(rejects) = self.metrics.rejects.get(metric(kind)) {
            rejects.add(1);
        }
        warn!(proxy = self.id, ?kind, message, "a proxy refused configuration and keeps what it had of it");
        for (name, version) in self.view.named_in(kind, message) {
            self.registration.rejected(&name, message);
            self.refused.insert(name, version);
        }
        self.tell_progress();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        info!(proxy = self.id, "proxy disconnected");
    }
}

/// Index of a type in the metrics.
fn metric(kind: ResourceType) -> usize {
    match kind {
        ResourceType::Listener => 0,
        ResourceType::Route => 1,
        ResourceType::Cluster => 2,
        ResourceType::Endpoints => 3,
        ResourceType::Secret => 4,
        ResourceType::VirtualHost => 5,
        ResourceType::Workload => 6,
    }
}
