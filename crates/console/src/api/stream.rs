//! What is new, as it comes: one stream of server-sent events for whatever topics a page shows.
//!
//! A stream begins with the whole graph and goes on with what is different. Whoever comes back after a break is told the graph anew, and of
//! changes and lines what came in the meantime, as far as it is still kept; what is left out is counted. A stream ends with the page that
//! reads it.

pub(crate) mod count;
mod mark;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::graph::{Asked, Drawn};
use super::health::{self, Health, States};
use super::logs::{Wanted, line};
use super::{Pairs, Shared, config, now, parameter};
use crate::access::Refusal;
use crate::graph::Source;
use crate::jaeger::blocking;
use crate::store::Error;
use crate::store::logs::Place;
use count::{Client, Counted, Streams};
use mark::Mark;

const EVERY: Duration = Duration::from_secs(1);
/// Lines that are told at once at most,
const LINES: usize = 500;
/// and changes.
const CHANGES: usize = 500;

pub(super) async fn stream(
    State(source): Shared,
    lasts: Option<Extension<Lasts>>,
    client: Option<Extension<Client>>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    Extension(common): Extension<Common>,
    headers: HeaderMap,
    Query(pairs): Pairs,
) -> Result<Response, Refusal> {
    let topics: Vec<&str> = parameter(&pairs, "topics").unwrap_or_default().split(',').collect();
    let graph = if topics.contains(&"graph") { Some(Asked::read(&source, &pairs)?) } else { None };
    let client = client.map(|Extension(client)| client).or_else(|| peer.map(|Extension(peer)| Client::at(peer.0)));
    let counted = client.map(|client| common.streams.count(client)).transpose()?;

    let time = u64::try_from(now()).unwrap_or(0).saturating_mul(1000);
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).or(parameter(&pairs, "lastEventId"));
    let known = last.and_then(|id| Mark::read(id, &source.store));
    let place = match known {
        Some(mark) => Place::after(mark.line),
        None => source.store.logs().end(time),
    };
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let teller = Teller {
        ticks,
        graph,
        drawn: None,
        logs: topics.contains(&"logs").then(|| (Wanted::read(&pairs), place)),
        changes: topics.contains(&"changes"),
        mark: known.unwrap_or_else(|| Mark::now(&source.store, time)),
        health: topics.contains(&"health").then_some(common.health),
        states: None,
        left: lasts.map(|Extension(Lasts(seconds))| seconds),
        has_begun: false,
        source,
        _counted: counted,
    };
    let body = Body::from_stream(stream::unfold(teller, |mut teller| async {
        teller.left = match teller.left {
            Some(left) => Some(left.checked_sub(1)?),
            None => None,
        };
        let text = teller.next().await;
        Some((Ok::<Bytes, std::convert::Infallible>(text.into()), teller))
    }));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

/// What is there once for everybody, whatever they see: how things do is looked at once, and streams are counted together.
#[derive(Debug, Clone)]
pub struct Common {
    pub(super) health: Arc<Health>,
    streams: Arc<Streams>,
}

impl Common {
    /// Over everything that there is.
    pub fn new(source: Source) -> Self {
        Self { health: Health::new(source), streams: Arc::default() }
    }
}

/// How many seconds a stream lasts; whoever still may hear it asks for another one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lasts(pub(crate) u64);

struct Teller {
    source: Arc<Source>,
    ticks: Interval,
    graph: Option<Asked>,
    /// What the page has.
    drawn: Option<Arc<Drawn>>,
    /// Whose lines, and how far they were told.
    logs: Option<(Wanted, Place)>,
    changes: bool,
    /// What was told.
    mark: Mark,
    health: Option<Arc<Health>>,
    /// As the page knows them.
    states: Option<Arc<States>>,
    /// Times that it tells something.
    left: Option<u64>,
    has_begun: bool,
    /// However the stream ends, this goes with it.
    _counted: Option<Counted>,
}

impl Teller {
    async fn next(&mut self) -> String {
        self.ticks.tick().await;
        // A comment shows that the stream is alive.
        let mut text = if self.has_begun { ": alive\n\n".to_owned() } else { self.beginning() };
        self.has_begun = true;
        if let Some(asked) = self.graph.clone() {
            match asked.drawn(&self.source).await {
                Ok(drawn) => {
                    let patch = patch(self.drawn.as_deref(), &drawn);
                    self.drawn = Some(drawn);
                    self.event(&mut text, "graph", &patch);
                }
                Err(problem) => tracing::warn!(%problem, "no graph for a page"),
            }
        }
        if let Err(problem) = self.lines(&mut text).await {
            tracing::warn!(%problem, "no lines for a page");
        }
        self.states(&mut text).await;
        if let Err(problem) = self.revisions(&mut text).await {
            tracing::warn!(%problem, "no changes for a page");
        }
        text
    }

    /// With an id, so that whoever is told nothing before a break goes on from here, too.
    fn beginning(&self) -> String {
        format!("retry: 1000\nid: {}\n\n", self.mark)
    }

    async fn states(&mut self, text: &mut String) {
        let Some(health) = self.health.clone() else { return };
        match health.states().await {
            Ok(states) => {
                for event in health::news(self.states.as_deref(), &states, self.source.world.sight()) {
                    self.event(text, "health", &event);
                }
                self.states = Some(states);
            }
            Err(problem) => tracing::warn!(%problem, "how things do is not known"),
        }
    }

    async fn lines(&mut self, text: &mut String) -> Result<(), Error> {
        let Some((wanted, place)) = &self.logs else { return Ok(()) };
        let (source, wanted, mut place) = (Arc::clone(&self.source), wanted.clone(), place.clone());
        let news = blocking(move || {
            let news = source.store.logs().news(|of| wanted.takes(&source.world, of), &mut place, LINES)?;
            Ok((news, place))
        });
        let (news, place) = news.await?;
        if let Some((_, before)) = &mut self.logs {
            *before = place;
        }
        self.gap(text, "logs", news.left_out);
        for found in news.lines {
            self.mark.line = self.mark.line.max(found.at);
            self.event(text, "logs", &line(&found));
        }
        Ok(())
    }

    async fn revisions(&mut self, text: &mut String) -> Result<(), Error> {
        let first = self.mark.revision;
        if !self.changes || self.source.store.revisions().next() == first {
            return Ok(());
        }
        let source = Arc::clone(&self.source);
        let all = blocking(move || source.store.revisions().changes(first)).await?;
        let next = all.last().map_or(first, |change| change.number + 1);
        let seen = all.iter().filter(|change| self.source.world.sees(&change.revision.of));
        let seen: Vec<_> = seen.filter_map(|change| Some((change.number, config::change(change)?))).collect();
        let left_out = seen.len().saturating_sub(CHANGES);
        self.gap(text, "changes", left_out);
        for (number, change) in seen.into_iter().skip(left_out) {
            self.mark.revision = number + 1;
            self.event(text, "changes", &change);
        }
        self.mark.revision = next;
        Ok(())
    }

    /// Tells that something is left out before what follows.
    fn gap(&self, text: &mut String, topic: &str, count: usize) {
        if count > 0 {
            self.event(text, "gap", &json!({"topic": topic, "count": count}));
        }
    }

    fn event(&self, text: &mut String, topic: &str, data: &Value) {
        // Writing to a text does not fail.
        let _ = write!(text, "id: {}\nevent: {topic}\ndata: {data}\n\n", self.mark);
    }
}

fn patch(before: Option<&Drawn>, now: &Drawn) -> Value {
    fn different(before: Option<&BTreeMap<String, Value>>, now: &BTreeMap<String, Value>) -> (Vec<Value>, Vec<String>) {
        let old = |key: &String| before.and_then(|before| before.get(key));
        let new = now.iter().filter(|(key, value)| old(key) != Some(value)).map(|(_, value)| value.clone());
        let gone = before.into_iter().flat_map(BTreeMap::keys).filter(|key| !now.contains_key(*key)).cloned();
        (new.collect(), gone.collect())
    }
    let (nodes, gone_nodes) = different(before.map(|before| &before.nodes), &now.nodes);
    let (edges, gone_edges) = different(before.map(|before| &before.edges), &now.edges);
    json!({
        "whole": before.is_none(), "timestamp": now.timestamp, "duration": now.duration,
        "nodes": nodes, "edges": edges, "goneNodes": gone_nodes, "goneEdges": gone_edges,
    })
}
