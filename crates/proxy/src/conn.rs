//! What is known of one client connection once its filter chain is chosen.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use varka_engine::facts::{Connection, DetectedHttp, PeerIdentity};
use varka_engine::ir::{
    ClientCertForwarding, Codec, HttpConnectionManager, NetworkFilter, PathNormalization, RouteSource, SlashesAction,
    Str, TrafficDirection, TransportProtocol,
};
use varka_engine::listener::choose_chain;
use varka_engine::rbac::{self, Subject};
use varka_engine::trace::Trace;

use varka_telemetry::metrics::envoy::HttpStats;

use crate::config::ChainRef;
use crate::inspect::ClientHello;
use crate::metrics::Last;
use crate::state::Lifecycle;
use crate::worker::Worker;

/// A client connection.
#[derive(Debug, Clone)]
pub(crate) struct Conn {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// What handles it.
    pub chain: ChainRef,
    /// Addresses and first bytes.
    pub seen: Rc<Seen>,
    /// Who the client is, after a TLS handshake.
    pub peer_identity: Option<PeerIdentity>,
    /// Who we were in that handshake.
    pub local_identity: Option<Str>,
    /// Both sides agreed to say who they are before anything else.
    pub exchange: bool,
    /// Statistics of its connection manager, if it has one.
    pub http_stats: Option<Arc<HttpStats>>,
    /// Where its last request was counted.
    pub last: Last,
}

/// What a change of the configuration means for a connection that is kept open.
#[derive(Debug)]
pub(crate) enum Renewal {
    /// Its chain stands as it was.
    Same,
    /// What is decided for each request is otherwise from now on.
    Renewed(Rc<Conn>),
    /// It serves what is on its way and ends: how it is to be spoken is otherwise now, or its listener is gone.
    Ends,
    /// A connection like it would be refused now.
    Refused,
}

/// What a connection shows before any chain is chosen.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Where the client meant to go.
    pub original_dst: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// Its end.
    pub peer: SocketAddr,
    /// ClientHello, if it begins with one.
    pub hello: Option<ClientHello>,
    /// HTTP in plain text.
    pub http: Option<DetectedHttp>,
}

impl Seen {
    /// As facts for the engine.
    pub(crate) fn facts(&self) -> Connection<'_> {
        let tls = self.hello.is_some();
        Connection {
            original_dst: self.original_dst,
            local: self.local,
            peer: self.peer,
            transport: if tls { TransportProtocol::Tls } else { TransportProtocol::RawBuffer },
            sni: self.hello.as_ref().and_then(|h| h.sni.as_deref()),
            alpn: self.hello.as_ref().map_or(&[], |h| &h.alpn),
            detected_http: self.http,
            peer_identity: None,
            local_identity: None,
        }
    }
}

impl Conn {
    /// As facts for the engine.
    pub(crate) fn facts(&self) -> Connection<'_> {
        Connection {
            peer_identity: self.peer_identity.as_ref(),
            local_identity: self.local_identity.as_deref(),
            ..self.seen.facts()
        }
    }

    /// What the configuration of now means for this connection, whose client and bytes so far are what they were. A policy must
    /// hold for the next request, not only for the next connection.
    pub(crate) fn renewal(&self) -> Renewal {
        let config = self.worker.state.config();
        if self.chain.is_current(&config) {
            return Renewal::Same;
        }
        let Some(listener) = config.ir.listeners.get(self.chain.listener()) else { return Renewal::Ends };
        let facts = self.seen.facts();
        let Some(chain) = choose_chain(listener, &facts, &mut Trace::off()) else { return Renewal::Refused };
        let (Some(now), Some(mine)) = (config.chain(listener, chain), self.chain.chain()) else { return Renewal::Ends };
        if chain.tls.is_some() != mine.tls.is_some() {
            return Renewal::Refused;
        }
        let same_wire = chain.tls == mine.tls && now.http().is_some_and(|m| m.codec == self.manager().codec);
        if !same_wire {
            return Renewal::Ends;
        }
        let http_stats = now.http().map(|m| self.worker.state.metrics.http(&m.stat_prefix));
        let renewed = Self { http_stats, chain: now, ..self.clone() };
        if renewed.denied().is_some() { Renewal::Refused } else { Renewal::Renewed(Rc::new(renewed)) }
    }

    /// Whether it is to take no more requests.
    pub(crate) fn should_close(&self) -> bool {
        self.worker.state.lifecycle() >= Lifecycle::Draining
            || matches!(self.renewal(), Renewal::Ends | Renewal::Refused)
    }

    /// What a network RBAC filter of its chain denies it with.
    pub(crate) fn denied(&self) -> Option<String> {
        let facts = self.facts();
        self.chain.chain()?.filters.iter().find_map(|filter| match filter {
            NetworkFilter::Rbac(rules) => {
                let decision = rbac::evaluate(rules, &Subject::connection(&facts));
                (!decision.allowed).then(|| decision.details().into_owned())
            }
            NetworkFilter::MetadataExchange | NetworkFilter::Stats(_) | NetworkFilter::SniDynamicForwardProxy(_) => {
                None
            }
        })
    }

    /// Whether the mesh's anchors vouch for the client.
    pub(crate) fn is_mesh(&self) -> bool {
        let tls = self.chain.chain().and_then(|c| c.tls.as_ref());
        self.peer_identity.is_some() && tls.is_some_and(|tls| tls.validation.as_deref() == Some(crate::tls::MESH_ROOTS))
    }

    /// The connection manager. Connections of chains without one never get where this is asked.
    pub(crate) fn manager(&self) -> &HttpConnectionManager {
        static NONE: std::sync::LazyLock<HttpConnectionManager> = std::sync::LazyLock::new(no_manager);
        self.chain.http().unwrap_or(&NONE)
    }
}

/// Serves nothing: no route is found with it.
fn no_manager() -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: "".into(),
        codec: Codec::Auto,
        routes: RouteSource::Rds("".into()),
        filters: Vec::new(),
        server_name: "".into(),
        use_remote_address: false,
        xff_trusted_hops: 0,
        skip_xff_append: false,
        client_cert: ClientCertForwarding::Sanitize,
        generate_request_id: true,
        preserve_external_request_id: false,
        path: PathNormalization { normalize: true, merge_slashes: false, escaped_slashes: SlashesAction::Keep },
        stream_idle_timeout: None,
        request_timeout: None,
        request_headers_timeout: None,
        idle_timeout: None,
        max_connection_duration: None,
        max_request_headers_kb: None,
        max_headers: None,
        accept_http_10: false,
        max_concurrent_streams: None,
        upgrades: Vec::new(),
        strip_trailing_host_dot: false,
        local_replies: Vec::new(),
        tracing: None,
        access_log: Vec::new(),
    }
}

/// Counts a connection while it is open.
#[derive(Debug)]
pub(crate) struct Open {
    worker: Rc<Worker>,
    inbound: bool,
}

impl Open {
    /// From now until it is dropped.
    pub(crate) fn count(worker: &Rc<Worker>, direction: TrafficDirection) -> Self {
        let inbound = direction == TrafficDirection::Inbound;
        let downstream = &worker.state.downstream;
        downstream.total.fetch_add(1, Relaxed);
        if inbound { &downstream.inbound } else { &downstream.outbound }.fetch_add(1, Relaxed);
        Self { worker: Rc::clone(worker), inbound }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let downstream = &self.worker.state.downstream;
        if self.inbound { &downstream.inbound } else { &downstream.outbound }.fetch_sub(1, Relaxed);
    }
}
