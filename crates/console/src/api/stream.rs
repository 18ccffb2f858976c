//! What is new, as it comes: one stream of server-sent events for whatever topics a page shows.
//!
//! A stream begins with the whole graph and goes on with what is different; whoever comes back after a break is told everything
//! anew. It ends with the page that reads it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::graph::{Asked, Drawn};
use super::logs::{Wanted, line};
use super::{Pairs, Refused, Shared, config, now, parameter};
use crate::graph::Source;
use crate::jaeger::blocking;
use crate::store::Error;
use crate::store::revisions::Revision;

const EVERY: Duration = Duration::from_secs(1);
/// Lines that are told at once at most.
const LINES: usize = 500;

pub(super) async fn stream(State(source): Shared, Query(pairs): Pairs) -> Result<Response, Refused> {
    let topics: Vec<&str> = parameter(&pairs, "topics").unwrap_or_default().split(',').collect();
    let graph = if topics.contains(&"graph") { Some(Asked::read(&source, &pairs)?) } else { None };
    let logs = topics.contains(&"logs").then(|| Wanted::read(&pairs));
    let news = topics.contains(&"changes").then(|| source.world.news());
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let logged = u64::try_from(now()).unwrap_or(0).saturating_mul(1000);
    let teller = Teller { source, ticks, graph, drawn: None, logs, logged, news, number: 0 };
    let body = Body::from_stream(stream::unfold(teller, |mut teller| async {
        let text = teller.next().await;
        Some((Ok::<Bytes, std::convert::Infallible>(text.into()), teller))
    }));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

struct Teller {
    source: Arc<Source>,
    ticks: Interval,
    graph: Option<Asked>,
    /// What the page has.
    drawn: Option<Arc<Drawn>>,
    logs: Option<Wanted>,
    /// Microseconds up to which lines were told.
    logged: u64,
    news: Option<broadcast::Receiver<Arc<Revision>>>,
    number: u64,
}

impl Teller {
    async fn next(&mut self) -> String {
        self.ticks.tick().await;
        // A comment shows that the stream is alive.
        let mut text = if self.number == 0 { "retry: 1000\n\n".to_owned() } else { ": alive\n\n".to_owned() };
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
        while let Some(news) = &mut self.news {
            match news.try_recv() {
                Ok(revision) => {
                    let change = config::change(None, &revision);
                    self.event(&mut text, "changes", &change);
                }
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Closed) => self.news = None,
            }
        }
        self.number += 1;
        text
    }

    async fn lines(&mut self, text: &mut String) -> Result<(), Error> {
        let Some(wanted) = self.logs.clone() else { return Ok(()) };
        let (source, since) = (Arc::clone(&self.source), self.logged.saturating_add(1));
        let found =
            blocking(move || source.store.logs().lines(|of| wanted.takes(&source.world, of), since, u64::MAX, LINES));
        for found in found.await? {
            self.logged = self.logged.max(found.at);
            self.event(text, "logs", &line(&found));
        }
        Ok(())
    }

    fn event(&self, text: &mut String, topic: &str, data: &Value) {
        // Writing to a text does not fail.
        let _ = write!(text, "id: {}\nevent: {topic}\ndata: {data}\n\n", self.number);
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
