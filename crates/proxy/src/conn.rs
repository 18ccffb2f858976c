//! What is known of one client connection once its filter chain is chosen.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use varka_engine::facts::{Connection, DetectedHttp, PeerIdentity};
use varka_engine::ir::{
    ClientCertForwarding, Codec, HttpConnectionManager, PathNormalization, RouteSource, SlashesAction, Str,
    TrafficDirection, TransportProtocol,
};

use varka_telemetry::metrics::envoy::HttpStats;

use crate::config::ChainRef;
use crate::inspect::ClientHello;
use crate::worker::Worker;

/// A client connection.
#[derive(Debug)]
pub(crate) struct Conn {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// What handles it.
    pub chain: ChainRef,
    /// Addresses and first bytes.
    pub seen: Seen,
    /// Who the client is, after a TLS handshake.
    pub peer_identity: Option<PeerIdentity>,
    /// Who we were in that handshake.
    pub local_identity: Option<Str>,
    /// Statistics of its connection manager, if it has one.
    pub http_stats: Option<Arc<HttpStats>>,
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
