//! A client that opens HTTP/2 streams only to reset them costs us and our endpoints a request each, and itself nothing
//! (CVE-2023-44487). Streams that are reset before they are accepted are counted by h2; here the accepted ones are.
//!
//! The rule and its numbers are Envoy's.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::conn::Conn;
use crate::limit::TARGET;

/// From so many streams on, the share of those that were reset counts; before, so many as would be half of this.
const STREAMS: u32 = 500;
/// A stream that lasted longer was not opened to be reset: somebody waited for it.
const LIFETIME: Duration = Duration::from_secs(1);

/// How the streams of one connection ended.
#[derive(Debug, Default)]
pub(super) struct Resets {
    ended: Cell<u32>,
    premature: Cell<u32>,
    many: Notify,
}

impl Resets {
    /// A stream has ended. `given_up`: by the client, before any answer.
    pub(super) fn ended(&self, given_up: bool, lasted: Duration) {
        self.ended.set(self.ended.get().saturating_add(1));
        if given_up && lasted <= LIFETIME {
            self.premature.set(self.premature.get().saturating_add(1));
            if is_abuse(self.ended.get(), self.premature.get()) {
                self.many.notify_one();
            }
        }
    }

    /// Ready when the connection is to be cut off.
    pub(super) async fn too_many(&self) {
        self.many.notified().await;
    }
}

/// Half of the streams were reset, or so many that half of [`STREAMS`] will have been whatever comes.
fn is_abuse(ended: u32, premature: u32) -> bool {
    premature.saturating_mul(2) >= ended.max(STREAMS)
}

/// Says that a connection is cut off, in the log and in the manager's statistics.
pub(super) fn tell(conn: &Conn) {
    if let Some(stats) = &conn.http_stats {
        stats.counters.downstream_rq_too_many_premature_resets.inc();
    }
    if let Some(left_out) = conn.worker.refusals.take(Instant::now()) {
        let (peer, original_dst) = (conn.seen.peer, conn.seen.original_dst);
        tracing::info!(target: TARGET, %peer, %original_dst, left_out, "connection closed: its client opens streams and resets them");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_many_is_abuse_and_now_and_then_is_not() {
        assert!(!is_abuse(249, 249));
        assert!(is_abuse(250, 250));
        assert!(is_abuse(499, 250));
        assert!(!is_abuse(1000, 499));
        assert!(is_abuse(1000, 500));
        assert!(!is_abuse(1_000_000, 300_000));
    }
}
