//! `watch`: a stream of events from a version on.
//!
//! A watcher holds no queue. It remembers the version that it has seen and asks the store's history for what came after, whenever something was
//! written; a watcher too slow for the history is told that its version expired, and lists again. Objects that enter or leave the
//! selector are told as added or deleted. <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::json;
use tokio::sync::watch as channel;
use tokio::time::{Instant, sleep_until};

use crate::object;
use crate::registry::Resource;
use crate::request::Form;
use crate::respond::{self, Body};
use crate::selector::Selector;
use crate::server::Inner;
use crate::status::Status;
use crate::store::{Event, EventKind, Object};
use crate::table;

use super::render::{self, View};
use super::{Call, read};

/// Life of a watch whose client names none.
const DEFAULT_LIFE: Duration = Duration::from_secs(1800);
/// Longest life of a watch.
const MAX_LIFE: Duration = Duration::from_secs(3600);
/// Time between bookmarks.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

struct Watcher {
    server: Arc<Inner>,
    resource: Arc<Resource>,
    view: View,
    selector: Selector,
    namespace: Option<String>,
    bookmarks: bool,
    /// All events up to this version have been told.
    seen: u64,
    changes: channel::Receiver<u64>,
    stop: channel::Receiver<bool>,
    ends: Instant,
    next_bookmark: Instant,
    /// Lines ready to be sent.
    ready: VecDeque<Bytes>,
    /// Whether column definitions have been sent.
    titled: bool,
    done: bool,
}

/// Why a watcher wakes up.
#[derive(Clone, Copy, PartialEq)]
enum Wake {
    Changed,
    Bookmark,
    End,
}

/// Starts a watch.
pub(crate) fn watch(call: &Call) -> Result<Response<Body>, Status> {
    let selector = read::selector(call)?;
    let life = call.query.number("timeoutSeconds").and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0);
    let life = life.map_or(DEFAULT_LIFE, Duration::from_secs).min(MAX_LIFE);
    let now = Instant::now();
    let mut watcher = Watcher {
        server: Arc::clone(&call.server),
        resource: Arc::clone(&call.resource),
        view: View::of(call),
        selector,
        namespace: read::namespace(call).map(str::to_owned),
        bookmarks: call.query.flag("allowWatchBookmarks"),
        seen: 0,
        changes: call.server.store.changes(),
        stop: call.server.stop.subscribe(),
        ends: now + life,
        next_bookmark: now + BOOKMARK_EVERY,
        ready: VecDeque::new(),
        titled: false,
        done: false,
    };
    watcher.start(
        call.query.get("resourceVersion"),
        call.query.flag("sendInitialEvents"),
        !call.query.get("sendInitialEvents").is_empty(),
    )?;
    let frames = watcher.lines().map(|line| Ok::<_, Infallible>(Frame::data(line)));
    Ok(respond::with_type(200, "application/json", StreamBody::new(frames).boxed_unsync()))
}

impl Watcher {
    /// Prepares the first lines: the present state where the client asks for it, else nothing.
    fn start(&mut self, version: &str, initial: bool, explicit: bool) -> Result<(), Status> {
        let from_now = matches!(version, "" | "0");
        if !from_now {
            self.seen =
                version.parse().map_err(|_| Status::bad_request(format!("invalid resource version \"{version}\"")))?;
        }
        let wanted = initial || (from_now && !explicit);
        if !wanted {
            if from_now {
                self.seen = self.server.store.version();
            }
            return Ok(());
        }
        let (now, objects) = self.server.store.list(&self.resource.key, self.namespace.as_deref());
        for object in &objects {
            if self.selector.matches(&object.value) {
                self.tell(EventKind::Added, object);
            }
        }
        self.seen = now;
        if initial && self.bookmarks {
            self.bookmark(true);
        }
        Ok(())
    }

    fn lines(self) -> impl Stream<Item = Bytes> {
        stream::unfold(self, |mut watcher| async move {
            loop {
                if let Some(line) = watcher.ready.pop_front() {
                    return Some((line, watcher));
                }
                if watcher.done {
                    return None;
                }
                watcher.advance().await;
            }
        })
    }

    /// Waits for something to tell.
    async fn advance(&mut self) {
        self.changes.borrow_and_update();
        match self.server.store.events_after(self.seen, &self.resource.key) {
            Ok((now, events)) => {
                for event in &events {
                    self.consider(event);
                }
                self.seen = now;
            }
            Err(_) => {
                let status = json!({"type": "ERROR", "object": Status::expired().to_value()});
                self.ready.push_back(format!("{status}\n").into());
                self.done = true;
            }
        }
        if !self.ready.is_empty() {
            return;
        }
        let wake = tokio::select! {
            changed = self.changes.changed() => if changed.is_ok() { Wake::Changed } else { Wake::End },
            () = async { drop(self.stop.wait_for(|stop| *stop).await) } => Wake::End,
            () = sleep_until(self.ends) => Wake::End,
            () = sleep_until(self.next_bookmark), if self.bookmarks => Wake::Bookmark,
        };
        self.done = wake == Wake::End;
        if wake != Wake::Changed && self.bookmarks {
            self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
            self.bookmark(false);
        }
    }

    fn consider(&mut self, event: &Event) {
        if self.namespace.as_deref().is_some_and(|ns| ns != &*event.key.namespace) {
            return;
        }
        let now = self.selector.matches(&event.object.value);
        let before = match (&event.before, event.kind) {
            (Some(before), _) => self.selector.matches(&before.value),
            (None, EventKind::Added) => false,
            // After a restart the state before is not known; a deletion of what the client never had does no harm.
            (None, EventKind::Modified | EventKind::Deleted) => true,
        };
        match (event.kind, before, now) {
            (EventKind::Deleted, true, _) | (_, true, false) => self.tell(EventKind::Deleted, &event.object),
            (EventKind::Deleted, false, _) | (_, false, false) => {}
            (_, true, true) => self.tell(EventKind::Modified, &event.object),
            (_, false, true) => self.tell(EventKind::Added, &event.object),
        }
    }

    fn tell(&mut self, kind: EventKind, object: &Object) {
        let kind = match kind {
            EventKind::Added => "ADDED",
            EventKind::Modified => "MODIFIED",
            EventKind::Deleted => "DELETED",
        };
        let body: Bytes = match self.view.form {
            Form::Json => self.view.json(&self.resource, object),
            Form::Metadata => render::partial(&object.value).to_string().into(),
            Form::Table => {
                let titled = std::mem::replace(&mut self.titled, true);
                table::table(&self.resource, &self.view, &[&object.value], object.version, !titled).to_string().into()
            }
        };
        let mut line = Vec::with_capacity(body.len() + 40);
        line.extend_from_slice(br#"{"type":""#);
        line.extend_from_slice(kind.as_bytes());
        line.extend_from_slice(br#"","object":"#);
        line.extend_from_slice(&body);
        line.extend_from_slice(b"}\n");
        self.ready.push_back(line.into());
    }

    fn bookmark(&mut self, initial_end: bool) {
        let mut metadata = json!({"resourceVersion": self.seen.to_string(), "creationTimestamp": null});
        if initial_end {
            object::set(&mut metadata, "annotations", json!({"k8s.io/initial-events-end": "true"}));
        }
        let object = match self.view.form {
            Form::Json => {
                json!({"kind": self.resource.kind, "apiVersion": self.view.api_version, "metadata": metadata})
            }
            Form::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            Form::Table => json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": null,
                "rows": [{"cells": [], "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}}],
            }),
        };
        self.ready.push_back(format!("{}\n", json!({"type": "BOOKMARK", "object": object})).into());
    }
}
