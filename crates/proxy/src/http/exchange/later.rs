//! A request that is over and is counted later, when it is known with whom it was.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use varka_engine::ir::Str;
use varka_engine::outcome::Outcome;

use super::{Exchange, RequestHead};
use crate::accesslog::UpstreamRecord;
use crate::config::Config;
use crate::conn::Conn;
use crate::peer::Peer;
use crate::workloads::{Slot, when_known};

/// What is counted of it. It is counted when this is dropped: once, whatever becomes of whoever waits.
struct Later {
    conn: Conn,
    config: Arc<Config>,
    head: RequestHead,
    response: HeaderMap,
    trailers: Option<Box<HeaderMap>>,
    upstream: UpstreamRecord,
    route: Option<Str>,
    peer: Option<Peer>,
    bytes: [u64; 2],
    messages: [u64; 2],
    outcome: Outcome,
    duration: Duration,
}

impl Exchange<'_> {
    /// Counts the request when its slot has an answer. What is counted is taken out: nothing must need it any more.
    pub(super) fn count_later(&mut self, slot: Arc<Slot>, outcome: &Outcome, duration: Duration) {
        let later = Later {
            conn: self.conn.clone(),
            config: Arc::clone(&self.config),
            head: std::mem::take(&mut self.head),
            response: std::mem::take(&mut self.response),
            trailers: self.trailers.take(),
            upstream: std::mem::take(&mut self.upstream),
            route: self.route.take(),
            peer: self.peer.take(),
            bytes: [self.bytes_received, self.bytes_sent],
            messages: self.messages,
            outcome: outcome.clone(),
            duration,
        };
        when_known(&self.conn.worker, slot, later);
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        let head = std::mem::take(&mut self.head);
        let mut x = Exchange::with(&self.conn, Arc::clone(&self.config), head);
        // There is nothing else left to be recorded.
        x.recorded = true;
        x.response = std::mem::take(&mut self.response);
        x.trailers = self.trailers.take();
        x.upstream = std::mem::take(&mut self.upstream);
        x.route = self.route.take();
        x.peer = self.peer.take();
        [x.bytes_received, x.bytes_sent] = self.bytes;
        x.messages = self.messages;
        // Without an answer by now it is counted as it is.
        let cluster = x.cluster().map(Arc::clone);
        let _ = x.identify_peer(cluster.as_ref());
        x.count(cluster.as_ref(), &self.outcome, self.duration);
    }
}
