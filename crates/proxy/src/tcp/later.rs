//! With whom a connection is, where the other side says nothing; and how one that is over is counted when that is known.

use std::sync::Arc;

use varka_engine::outcome::ResponseFlags;

use super::Ending;
use crate::accesslog::UpstreamRecord;
use crate::cluster::ClusterState;
use crate::conn::Conn;
use crate::metrics::Who;
use crate::peer::Peer;
use crate::workloads::{Found, Slot, look_up, when_known};

/// What is counted of it. It is counted when this is dropped: once, whatever becomes of whoever waits.
struct Later {
    conn: Conn,
    upstream: UpstreamRecord,
    cluster: Option<Arc<ClusterState>>,
    peer: Option<Peer>,
    flags: ResponseFlags,
    /// From and to the client.
    bytes: [u64; 2],
}

impl Ending<'_> {
    /// Finds out whose the other side is where it did not say so. `Some`: that is still to come.
    pub(super) fn identify_peer(&mut self) -> Option<Arc<Slot>> {
        match look_up(&self.who()) {
            Found::Known(peer) => {
                let inbound = self.who().is_inbound();
                *(if inbound { &mut self.peer } else { &mut self.upstream.peer }) = Some(peer);
                None
            }
            Found::NotYet(slot) => Some(slot),
            Found::Unknown => None,
        }
    }

    /// The last count, once the other side is known.
    pub(super) fn count(&mut self) {
        let bytes = [self.received, self.sent];
        let unknown = if self.counted.is_none() { self.identify_peer() } else { None };
        if let Some(slot) = unknown {
            let (upstream, cluster, peer) = (std::mem::take(&mut self.upstream), self.cluster.take(), self.peer.take());
            let later = Later { conn: self.conn.clone(), upstream, cluster, peer, flags: self.flags, bytes };
            return when_known(&self.conn.worker, slot, later);
        }
        self.report(bytes);
        if let Some((Some(series), _)) = &self.counted {
            series.closed.inc();
        }
    }
}

impl Later {
    fn who(&self) -> Who<'_> {
        Who {
            conn: &self.conn,
            client: self.peer.as_ref(),
            upstream: &self.upstream,
            cluster: self.cluster.as_ref(),
            route: None,
        }
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        // Without an answer by now it is counted as it is.
        if let Found::Known(peer) = look_up(&self.who()) {
            let inbound = self.who().is_inbound();
            *(if inbound { &mut self.peer } else { &mut self.upstream.peer }) = Some(peer);
        }
        let who = self.who();
        let series = self.conn.worker.series.connection(&who, self.flags, |stats| stats.of_connection(&who));
        if let Some(series) = series {
            series.opened.inc();
            series.received_bytes.add(self.bytes[0]);
            series.sent_bytes.add(self.bytes[1]);
            series.closed.inc();
        }
    }
}
