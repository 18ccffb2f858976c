//! Whether exactly one request is being served by the application, and where in a trace it is.
//!
//! A statement that begins and ends while one inbound request, and no other, is in flight can only be that request's. To know that
//! without a lock, every request that begins or ends turns a number; who finds it as it was has seen nobody come or go.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

use varka_telemetry::trace::Context;

/// Requests in flight to one application.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    count: AtomicI64,
    /// Changes that have begun,
    begun: AtomicU64,
    /// and those that are done: in between the rest means nothing.
    done: AtomicU64,
    /// Of the request that began when there was none: its trace, and its span with the decision to record it in a word of its own.
    trace: [AtomicU64; 2],
    span: AtomicU64,
    sampled: AtomicU64,
    /// Whether they are those of the only one; once there were two, which of them stays is not known.
    known: AtomicU64,
}

/// A request that is in flight as long as this is there.
#[derive(Debug)]
pub(crate) struct Guard(std::sync::Arc<crate::state::State>);

/// The only request in flight, at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Only {
    number: u64,
    /// Its trace and span.
    pub trace: u128,
    pub span: u64,
    /// Whether it is recorded.
    pub sampled: bool,
}

impl InFlight {
    /// A request begins.
    pub(crate) fn begin(state: &std::sync::Arc<crate::state::State>, context: &Context) -> Guard {
        state.in_flight.enter(context);
        Guard(std::sync::Arc::clone(state))
    }

    fn enter(&self, context: &Context) {
        self.begun.fetch_add(1, SeqCst);
        if self.count.fetch_add(1, SeqCst) == 0 {
            #[expect(clippy::cast_possible_truncation, reason = "each half is meant")]
            let halves = [(context.trace.0 >> 64) as u64, context.trace.0 as u64];
            for (to, half) in self.trace.iter().zip(halves) {
                to.store(half, SeqCst);
            }
            self.span.store(context.span.0, SeqCst);
            self.sampled.store(u64::from(context.sampled == Some(true)), SeqCst);
            self.known.store(1, SeqCst);
        } else {
            self.known.store(0, SeqCst);
        }
        self.done.fetch_add(1, SeqCst);
    }

    fn leave(&self) {
        self.begun.fetch_add(1, SeqCst);
        self.count.fetch_sub(1, SeqCst);
        self.done.fetch_add(1, SeqCst);
    }

    /// The only request in flight now; `None`: there is none, or several, or it is just changing.
    pub(crate) fn only(&self) -> Option<Only> {
        let number = self.done.load(SeqCst);
        let one = self.count.load(SeqCst) == 1 && self.known.load(SeqCst) == 1;
        if self.begun.load(SeqCst) != number || !one {
            return None;
        }
        let [high, low] = [0, 1].map(|half| self.trace.get(half).map_or(0, |half: &AtomicU64| half.load(SeqCst)));
        let only = Only {
            number,
            trace: u128::from(high) << 64 | u128::from(low),
            span: self.span.load(SeqCst),
            sampled: self.sampled.load(SeqCst) == 1,
        };
        // Somebody who came meanwhile may have written half of it.
        self.stayed(&only).then_some(only)
    }

    /// Whether nobody has come or gone since.
    pub(crate) fn stayed(&self, only: &Only) -> bool {
        self.begun.load(SeqCst) == only.number
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.in_flight.leave();
    }
}

#[cfg(test)]
mod tests {
    use varka_telemetry::trace::{Context, Forms};

    use super::InFlight;

    fn context(trace: u128, sampled: bool) -> Context {
        Context::root(trace, 7, sampled, Forms { w3c: true, b3_single: false, b3_multi: false })
    }

    #[test]
    fn the_only_request_is_known_until_somebody_comes_or_goes() {
        let requests = InFlight::default();
        assert_eq!(requests.only(), None);
        requests.enter(&context(1 << 100 | 5, true));
        let only = requests.only().unwrap();
        assert_eq!((only.trace, only.span, only.sampled), (1 << 100 | 5, 7, true));
        assert!(requests.stayed(&only));
        requests.enter(&context(9, false));
        assert!(requests.only().is_none() && !requests.stayed(&only));
        requests.leave();
        assert!(!requests.stayed(&only), "another was there meanwhile");
        assert_eq!(requests.only(), None, "which of the two has stayed is not known");
        requests.leave();
        requests.enter(&context(11, false));
        assert_eq!(requests.only().map(|only| (only.trace, only.sampled)), Some((11, false)));
    }
}
