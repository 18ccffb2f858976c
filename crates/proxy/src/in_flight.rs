//! Which request is the only one that the application serves, and where in a trace it is.
//!
//! A statement that is asked while one inbound request, and no other, is in flight can only be that request's: whoever comes later has
//! not asked it. Probes are requests too, though they are in no trace: what one asks alone is recorded nowhere. All of it is known without a lock: every request that begins or
//! ends turns a number, and who finds it as it was has read what belongs together.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

use varka_telemetry::trace::Context;

use crate::state::State;

/// Requests in flight to one application.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    requests: Counted,
    probes: Counted,
    /// Changes that have begun,
    begun: AtomicU64,
    /// and those that are done: in between the rest means nothing.
    done: AtomicU64,
    /// Numbers that were given to requests.
    numbers: AtomicU64,
    /// The trace of the request that began when there was none, and its span with the decision to record it in a word of its own.
    trace: [AtomicU64; 2],
    span: AtomicU64,
    sampled: AtomicU64,
}

/// How many of a kind there are.
#[derive(Debug, Default)]
struct Counted {
    count: AtomicI64,
    /// Number of the one that began when there was none, as long as it is in flight; 0: there is none.
    first: AtomicU64,
}

/// A request that is in flight as long as this is there.
#[derive(Debug)]
pub(crate) struct Guard {
    state: Arc<State>,
    of: Of,
}

#[derive(Debug, Clone, Copy)]
enum Of {
    /// With its number, if it began when there was none.
    Request(u64),
    /// As well.
    Probe(u64),
}

/// The only request or probe in flight, at a moment.
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
    pub(crate) fn begin(state: &Arc<State>, context: Option<&Context>) -> Guard {
        let number = state.in_flight.enter_request(context);
        Guard { state: Arc::clone(state), of: Of::Request(number) }
    }

    /// The application is asked whether it is well.
    pub(crate) fn probe(state: &Arc<State>) -> Guard {
        let in_flight = &state.in_flight;
        let number = in_flight.enter(&in_flight.probes, || ());
        Guard { state: Arc::clone(state), of: Of::Probe(number) }
    }

    /// `context`: its place in a trace; without one it is recorded nowhere.
    fn enter_request(&self, context: Option<&Context>) -> u64 {
        self.enter(&self.requests, || {
            #[expect(clippy::cast_possible_truncation, reason = "each half is meant")]
            let halves = context.map_or([0; 2], |c| [(c.trace.0 >> 64) as u64, c.trace.0 as u64]);
            for (to, half) in self.trace.iter().zip(halves) {
                to.store(half, SeqCst);
            }
            self.span.store(context.map_or(0, |c| c.span.0), SeqCst);
            self.sampled.store(context.is_some_and(|c| c.sampled == Some(true)).into(), SeqCst);
        })
    }

    /// One more; if there was none, what there is to be known of it is written, and it has a number.
    fn enter(&self, of: &Counted, write: impl FnOnce()) -> u64 {
        self.begun.fetch_add(1, SeqCst);
        let mut number = 0;
        if of.count.fetch_add(1, SeqCst) == 0 {
            number = self.numbers.fetch_add(1, SeqCst) + 1;
            write();
            of.first.store(number, SeqCst);
        }
        self.done.fetch_add(1, SeqCst);
        number
    }

    fn leave(&self, of: &Counted, number: u64) {
        self.begun.fetch_add(1, SeqCst);
        of.count.fetch_sub(1, SeqCst);
        if number != 0 {
            // Who began since then may have written its own.
            let _ = of.first.compare_exchange(number, 0, SeqCst, SeqCst);
        }
        self.done.fetch_add(1, SeqCst);
    }

    /// The only request in flight now, or the only probe; `None`: there is none, or several, or which one has stayed is not known, or it is
    /// just changing.
    pub(crate) fn only(&self) -> Option<Only> {
        let turn = self.done.load(SeqCst);
        let only = match (self.requests.count.load(SeqCst), self.probes.count.load(SeqCst)) {
            (1, 0) => self.request(self.requests.first.load(SeqCst)),
            (0, 1) => Only { number: self.probes.first.load(SeqCst), trace: 0, span: 0, sampled: false },
            _ => return None,
        };
        // Somebody who came meanwhile may have written half of it.
        (only.number != 0 && self.begun.load(SeqCst) == turn).then_some(only)
    }

    fn request(&self, number: u64) -> Only {
        let [high, low] = [0, 1].map(|half| self.trace.get(half).map_or(0, |half: &AtomicU64| half.load(SeqCst)));
        let (trace, span) = (u128::from(high) << 64 | u128::from(low), self.span.load(SeqCst));
        Only { number, trace, span, sampled: self.sampled.load(SeqCst) == 1 }
    }

    /// Whether it is still in flight, whoever has come since.
    pub(crate) fn still(&self, only: &Only) -> bool {
        [&self.requests, &self.probes].iter().any(|of| of.first.load(SeqCst) == only.number)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let in_flight = &self.state.in_flight;
        match self.of {
            Of::Request(number) => in_flight.leave(&in_flight.requests, number),
            Of::Probe(number) => in_flight.leave(&in_flight.probes, number),
        }
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
    fn the_only_request_is_known_as_long_as_it_is_in_flight() {
        let in_flight = InFlight::default();
        assert_eq!(in_flight.only(), None);
        let first = in_flight.enter_request(Some(&context(1 << 100 | 5, true)));
        let only = in_flight.only().unwrap();
        assert_eq!((only.trace, only.span, only.sampled), (1 << 100 | 5, 7, true));
        let second = in_flight.enter_request(Some(&context(9, false)));
        assert!(in_flight.only().is_none() && in_flight.still(&only), "what it has asked stays its own");
        in_flight.leave(&in_flight.requests, second);
        assert_eq!(in_flight.only(), Some(only), "the one that came has gone");
        let third = in_flight.enter_request(Some(&context(10, false)));
        in_flight.leave(&in_flight.requests, first);
        assert!(!in_flight.still(&only));
        assert_eq!(in_flight.only(), None, "of those that stay none was ever alone");
        in_flight.leave(&in_flight.requests, third);
        in_flight.enter_request(Some(&context(11, false)));
        assert_eq!(in_flight.only().map(|only| (only.trace, only.sampled)), Some((11, false)));
        in_flight.enter(&in_flight.probes, || ());
        assert_eq!(in_flight.only(), None, "a probe may ask as well");
    }

    #[test]
    fn what_a_probe_asks_alone_is_recorded_nowhere() {
        let in_flight = InFlight::default();
        let probe = in_flight.enter(&in_flight.probes, || ());
        let only = in_flight.only().unwrap();
        assert!(!only.sampled && in_flight.still(&only));
        let request = in_flight.enter_request(Some(&context(5, true)));
        assert!(in_flight.only().is_none() && in_flight.still(&only), "what it has asked stays its own");
        in_flight.leave(&in_flight.probes, probe);
        assert!(!in_flight.still(&only));
        assert_eq!(in_flight.only().map(|only| (only.trace, only.sampled)), Some((5, true)), "the probe has gone");
        in_flight.leave(&in_flight.requests, request);
        let (first, second) = (in_flight.enter(&in_flight.probes, || ()), in_flight.enter(&in_flight.probes, || ()));
        assert_eq!(in_flight.only(), None);
        in_flight.leave(&in_flight.probes, first);
        assert_eq!(in_flight.only(), None, "of those that stay none was ever alone");
        in_flight.leave(&in_flight.probes, second);
    }
}
