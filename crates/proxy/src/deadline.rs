//! The limits of time of one request. A timer exists only for a limit that is set.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};
use varka_engine::outcome::Flag;
use varka_engine::route::Timeouts;

/// Which limit ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    /// The whole request's.
    Route,
    /// The attempt's.
    PerTry,
    /// Nothing moved for too long. `complete`: the client had sent the whole request.
    Idle {
        /// Whether it is the endpoint that everybody waited for.
        complete: bool,
    },
    /// The client took too long to send its request.
    Receiving,
}

impl Expired {
    /// Its response flag.
    pub(crate) fn flag(self) -> Flag {
        match self {
            Self::Route | Self::PerTry => Flag::UpstreamRequestTimeout,
            Self::Idle { .. } | Self::Receiving => Flag::StreamIdleTimeout,
        }
    }
}

/// Timers of one request.
#[derive(Debug)]
pub(crate) struct Deadlines {
    limits: Timeouts,
    idle_limit: Option<Duration>,
    route: Option<Pin<Box<Sleep>>>,
    per_try: Option<Pin<Box<Sleep>>>,
    idle: Option<Pin<Box<Sleep>>>,
    receiving: Option<Pin<Box<Sleep>>>,
    moved: u64,
    complete: Option<Instant>,
    attempt_complete: Option<Instant>,
}

impl Deadlines {
    /// `stream_idle`: the connection manager's limit, for routes that have none of their own; `None`: 5 min, zero: off.
    /// `receiving`: the manager's limit for the whole request's arrival.
    pub(crate) fn new(limits: Timeouts, stream_idle: Option<Duration>, receiving: Option<Duration>) -> Self {
        let idle = limits.idle.or(stream_idle).unwrap_or(Duration::from_secs(300));
        Self {
            limits,
            idle_limit: Some(idle).filter(|t| !t.is_zero()),
            route: None,
            per_try: None,
            idle: None,
            receiving: receiving.filter(|t| !t.is_zero()).map(|t| Box::pin(tokio::time::sleep(t))),
            moved: 0,
            complete: None,
            attempt_complete: None,
        }
    }

    /// An attempt begins. `complete`: the client has sent the whole request.
    pub(crate) fn begin_attempt(&mut self, complete: bool) {
        self.per_try = None;
        self.attempt_complete = None;
        self.idle = self.idle_limit.map(|t| Box::pin(tokio::time::sleep(t)));
        if complete {
            self.request_complete();
        }
    }

    /// The attempt is given up: its limit must not end the pause before the next one.
    pub(crate) fn end_attempt(&mut self) {
        self.per_try = None;
    }

    /// The whole request has been sent: the clocks run from here.
    pub(crate) fn request_complete(&mut self) {
        if self.attempt_complete.is_some() {
            return;
        }
        let now = Instant::now();
        self.receiving = None;
        self.attempt_complete = Some(now);
        self.per_try = self.limits.per_try.map(|t| Box::pin(tokio::time::sleep_until(now + t)));
        if self.complete.is_none() {
            self.complete = Some(now);
            self.route = self.limits.global.map(|t| Box::pin(tokio::time::sleep_until(now + t)));
        }
    }

    /// When the request was complete.
    pub(crate) fn completed(&self) -> Option<Instant> {
        self.complete
    }

    /// Time since the request was complete.
    pub(crate) fn since_complete(&self) -> Option<Duration> {
        self.attempt_complete.map(|at| at.elapsed())
    }

    /// Ready when a limit has run out.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        let complete = self.complete.is_some();
        let timers = [
            (&mut self.route, Expired::Route),
            (&mut self.per_try, Expired::PerTry),
            (&mut self.idle, Expired::Idle { complete }),
            (&mut self.receiving, Expired::Receiving),
        ];
        for (timer, which) in timers {
            if timer.as_mut().is_some_and(|t| t.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(which);
            }
        }
        Poll::Pending
    }

    /// The same while a response streams: the attempt's limit is off, and every byte moved puts the idle limit off.
    pub(crate) fn poll_response(&mut self, cx: &mut Context<'_>, moved: u64) -> Poll<Expired> {
        self.per_try = None;
        self.poll_moving(cx, moved)
    }

    /// The same while a body streams: every byte moved puts the idle limit off.
    pub(crate) fn poll_moving(&mut self, cx: &mut Context<'_>, moved: u64) -> Poll<Expired> {
        if self.moved != moved {
            self.moved = moved;
            if let (Some(idle), Some(limit)) = (&mut self.idle, self.idle_limit) {
                idle.as_mut().reset(Instant::now() + limit);
            }
        }
        self.poll(cx)
    }
}

#[cfg(test)]
mod tests;
