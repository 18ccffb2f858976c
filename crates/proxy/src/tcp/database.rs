//! What goes over a connection to a database: read as it goes by, counted, and told as spans by the client's side.
//!
//! Nothing is altered or held up. A connection on which no database is spoken costs a look at its first bytes.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};
use std::time::{Instant, SystemTime};

use varka_engine::ir::{Terminal, Tracing, TrafficDirection};
use varka_telemetry::metrics::database::{DatabaseSeries, Key};
use varka_telemetry::metrics::istio::Protocol;
use varka_telemetry::trace::{Context, Forms, Span, SpanKind};
use varka_telemetry::wire::{Observer, Operation, Reading, Side};

use super::Ending;
use crate::config::Config;
use crate::in_flight::Only;
use crate::pump::{Broken, Frame, Source};
use crate::spans;
use crate::state::State;
use crate::worker::Worker;

/// Series that a connection keeps at hand.
const MOST: usize = 256;
/// Changes of who is alone that are remembered for statements without an answer.
const MOST_ALONE: usize = 64;
const WHOLE: u32 = 1_000_000;

/// Reads one connection.
pub(super) struct Tap {
    worker: Rc<Worker>,
    /// `None`: there is nothing to be read any more.
    reader: RefCell<Option<Box<Reader>>>,
}

struct Reader {
    observer: Observer,
    ended: Vec<(Operation, Option<Only>)>,
    /// Which request was the only one when the client spoke, where that differs from the time before; oldest first.
    alone: VecDeque<(Instant, Option<Only>)>,
}

impl Tap {
    pub(super) fn new(worker: &Rc<Worker>) -> Self {
        let reader = Reader { observer: Observer::default(), ended: Vec::new(), alone: VecDeque::new() };
        Self { worker: Rc::clone(worker), reader: RefCell::new(Some(Box::new(reader))) }
    }

    /// A source whose bytes are read on their way.
    pub(super) fn on<'t, S>(&'t self, side: Side, inner: &'t mut S) -> Tapped<'t, S> {
        Tapped { inner, side, tap: self }
    }

    fn see(&self, side: Side, bytes: &[u8]) {
        let mut reader = self.reader.borrow_mut();
        let Some(of) = reader.as_deref_mut() else { return };
        let (now, in_flight) = (Instant::now(), &self.worker.state.in_flight);
        let Reader { observer, ended, alone } = of;
        if side == Side::Client {
            let only = in_flight.only();
            if alone.back().is_none_or(|(_, before)| *before != only) {
                if alone.len() == MOST_ALONE {
                    alone.pop_front();
                }
                alone.push_back((now, only));
            }
        }
        observer.observe(side, bytes, now, &mut |operation| {
            // Answers come in order: what was before this one was asked matters no more.
            while alone.get(1).is_some_and(|(since, _)| *since <= operation.started) {
                alone.pop_front();
            }
            // Whoever was alone when it was asked, and waits still, has asked it.
            let owner = alone.front().filter(|(since, _)| *since <= operation.started).and_then(|(_, only)| *only);
            ended.push((operation, owner.filter(|only| in_flight.still(only))));
        });
        if matches!(observer.reading(), Reading::Nothing | Reading::Hidden(_)) && ended.is_empty() {
            *reader = None;
        }
    }

    /// Operations that have ended since the last time.
    pub(super) fn take(&self) -> Vec<(Operation, Option<Only>)> {
        self.reader.borrow_mut().as_mut().map(|reader| std::mem::take(&mut reader.ended)).unwrap_or_default()
    }
}

/// See [`Tap::on`].
pub(super) struct Tapped<'t, S> {
    inner: &'t mut S,
    side: Side,
    tap: &'t Tap,
}

impl<S: Source> Source for Tapped<'_, S> {
    fn poll_recv(&mut self, cx: &mut Task<'_>) -> Poll<Result<Frame, Broken>> {
        let frame = ready!(self.inner.poll_recv(cx))?;
        if let Frame::Data(data) = &frame {
            self.tap.see(self.side, data);
        }
        Poll::Ready(Ok(frame))
    }
}

/// Series by operation and error.
pub(super) type Known = HashMap<(String, String), Arc<DatabaseSeries>>;

impl Ending<'_> {
    /// Counts an operation, and leaves a span of it.
    pub(super) fn operation(&mut self, operation: Operation, only: Option<Only>) {
        let state = &self.conn.worker.state;
        if self.databases.len() >= MOST {
            self.databases.clear();
        }
        let error = operation.error.clone().unwrap_or_default();
        let known = self.databases.get(&(operation.name.clone(), error.clone()));
        let series = known.map_or_else(
            || {
                let peers = self.who().key(state, Protocol::Tcp, "");
                let key =
                    Key { peers, system: operation.system, operation: operation.name.clone(), error: error.clone() };
                state.metrics.databases.series(key)
            },
            Arc::clone,
        );
        series.count(operation.ended.saturating_duration_since(operation.started));
        self.databases.insert((operation.name.clone(), error), series);
        if self.conn.chain.direction() == TrafficDirection::Outbound
            && let Some(tracing) = tracing(&state.config())
            && let Some(span) = self.span(&tracing, operation, only)
        {
            self.conn.worker.spans.push(&self.conn.worker, &tracing.provider, span);
        }
    }

    fn span(&self, tracing: &Tracing, operation: Operation, only: Option<Only>) -> Option<Span<'static>> {
        let sampling = tracing.random_sampling.min(tracing.overall_sampling);
        let (context, inferred) = place(sampling, &operation, only, || {
            spans::room(&self.conn.worker.state, &tracing.provider, Instant::now())
        })?;
        let state: &State = &self.conn.worker.state;
        let mut tags = self.conn.worker.spans.blank();
        tags.add("node_id", state.own.node_id());
        tags.add("component", "proxy");
        tags.add("db.system.name", operation.system.name());
        tags.add("db.operation.name", &operation.name);
        let mut tag = |name, value: Option<&str>| value.into_iter().for_each(|value| tags.add(name, value));
        tag("db.namespace", operation.database.as_deref());
        tag("db.query.text", operation.statement.as_ref().map(|statement| &*statement.text));
        tag("db.response.status_code", operation.error.as_deref());
        tag("upstream_cluster", self.upstream.cluster.as_deref());
        if let Some(host) = self.upstream.host {
            tags.write("upstream_address", |out| out.address(host));
        }
        if inferred {
            tags.add("varka.parent", "inferred");
        }
        if operation.error.is_some() {
            tags.add("error", "true");
        }
        let now = (Instant::now(), SystemTime::now());
        let ago = now.0.saturating_duration_since(operation.started);
        Some(Span {
            context,
            trace_state: "".into(),
            kind: SpanKind::Client,
            name: match operation.database {
                Some(of) => format!("{} {of}", operation.name).into(),
                None => operation.name.into(),
            },
            start: now.1.checked_sub(ago).unwrap_or(now.1),
            duration: operation.ended.saturating_duration_since(operation.started),
            tags,
            error: operation.error.is_some(),
        })
    }
}

/// Where in a trace it is, and whether that is inferred; `None`: it is not to be recorded. `sampling`: of a million that stand alone.
fn place(
    sampling: u32,
    operation: &Operation,
    only: Option<Only>,
    room: impl FnOnce() -> bool,
) -> Option<(Context, bool)> {
    let forms = Forms { w3c: true, b3_single: false, b3_multi: false };
    let said = operation.statement.as_ref().and_then(|statement| statement.trace);
    if let Some(said) = said {
        return (said.sampled == Some(true)).then(|| (said.child(rand::random(), true), false));
    }
    if let Some(only) = only {
        let parent = Context::root(only.trace, only.span, only.sampled, forms);
        return only.sampled.then(|| (parent.child(rand::random(), true), true));
    }
    // A pool asks of each connection again and again whether it lives: that is nobody's request.
    let sampled = operation.name != "PING" && rand::random_range(0..WHOLE) < sampling;
    (sampled && room()).then(|| (Context::root(rand::random(), rand::random(), true, forms), false))
}

/// How the workload's requests are traced: connections of other protocols have no configuration of their own for it.
fn tracing(config: &Config) -> Option<Tracing> {
    let chains = config
        .ir
        .listeners
        .values()
        .flat_map(|listener| listener.filter_chains.iter().chain(&listener.default_filter_chain));
    chains
        .filter_map(|chain| match &chain.terminal {
            Terminal::Http(manager) => manager.tracing.clone(),
            Terminal::Tcp(_) => None,
        })
        .next()
}

#[cfg(test)]
mod tests {
    use varka_telemetry::wire::{Statement, System};

    use super::*;

    fn operation(name: &str, sql: Option<&str>) -> Operation {
        let (now, statement) = (Instant::now(), sql.map(Statement::of));
        let (database, error) = (None, None);
        Operation { system: System::MySql, name: name.to_owned(), statement, database, started: now, ended: now, error }
    }

    #[test]
    fn what_stands_alone_is_recorded_as_requests_are_and_a_ping_is_not() {
        let of = |sampling: u32, name: &str, room: bool| place(sampling, &operation(name, None), None, || room);
        assert!(of(WHOLE, "SELECT", true).is_some_and(|(_, inferred)| !inferred));
        assert!(of(WHOLE, "SELECT", false).is_none() && of(0, "SELECT", true).is_none());
        assert!(of(WHOLE, "PING", true).is_none());
    }

    #[test]
    fn what_says_whose_it_is_is_in_that_trace_whatever_is_sampled_here() {
        let sql = |flags: &str| {
            format!("SELECT 1 /*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}'*/")
        };
        let of = |flags: &str| place(0, &operation("SELECT", Some(&sql(flags))), None, || false);
        assert!(of("01").is_some_and(
            |(context, inferred)| !inferred && context.trace.0 == 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c
        ));
        assert!(of("00").is_none());
    }
}
