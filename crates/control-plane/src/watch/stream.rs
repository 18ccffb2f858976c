//! One watch, for ever: what it tells is what changed, whatever happens to the connection.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::{StreamExt, pin_mut};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Error, Event};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::{debug, warn};
use varka_api::RawObject;

use super::kinds::Kind;
use super::{ObjectKey, Update};

/// How often a kind that the server does not have is looked for.
const ABSENT: Duration = Duration::from_secs(5);
/// First and longest wait after a failure.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What of a kind is watched.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// Only this namespace; `None`: all.
    pub(super) namespace: Option<String>,
    /// Only objects of this name.
    pub(super) name: Option<String>,
}

/// Why one watch ended.
enum End {
    /// The server has no such kind in this version.
    Absent,
    /// Nobody listens any more.
    Closed,
}

/// Tells of every change of `kind` within `scope`, and once, as watch `number`, that the first listing is complete.
pub(super) async fn follow(client: Client, kind: Kind, scope: Scope, number: usize, into: mpsc::Sender<Update>) {
    let mut known = Known { kind, names: HashSet::new(), number: Some(number), into };
    loop {
        for version in kind.versions {
            if let End::Closed = known.watch(&client, version, &scope).await {
                return;
            }
        }
        // Whatever was known of a kind that is gone is gone with it.
        if known.replace(HashSet::new()).await.is_none() || known.synced().await.is_none() {
            return;
        }
        tokio::time::sleep(ABSENT).await;
    }
}

struct Known {
    kind: Kind,
    /// Namespace and name of all objects that were told of.
    names: HashSet<(String, String)>,
    /// The watch's number, until it has been synced once.
    number: Option<usize>,
    into: mpsc::Sender<Update>,
}

impl Known {
    async fn watch(&mut self, client: &Client, version: &str, scope: &Scope) -> End {
        let Kind { group, kind, plural, .. } = self.kind;
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: api_version.clone(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        };
        let api: Api<DynamicObject> = match &scope.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let mut config = watcher::Config::default();
        if let Some(name) = &scope.name {
            config = config.fields(&format!("metadata.name={name}"));
        }
        let events = kube::runtime::watcher(api, config);
        pin_mut!(events);
        let mut wait = BACK_OFF.0;
        let mut listed = HashSet::new();
        while let Some(event) = events.next().await {
            let told = match event {
                Ok(Event::Init) => {
                    listed.clear();
                    Some(())
                }
                Ok(Event::InitApply(object)) => {
                    listed.insert(name_of(&object));
                    self.apply(object, &api_version).await
                }
                Ok(Event::InitDone) => {
                    wait = BACK_OFF.0;
                    match self.replace(std::mem::take(&mut listed)).await {
                        Some(()) => self.synced().await,
                        None => None,
                    }
                }
                Ok(Event::Apply(object)) => {
                    wait = BACK_OFF.0;
                    self.apply(object, &api_version).await
                }
                Ok(Event::Delete(object)) => self.delete(name_of(&object)).await,
                Err(error) if is_absent(&error) => {
                    debug!(kind, api_version, "the API server does not have this kind");
                    return End::Absent;
                }
                Err(error) => {
                    warn!(kind, %error, "watch interrupted; the last configuration stays in force");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(BACK_OFF.1);
                    Some(())
                }
            };
            if told.is_none() {
                return End::Closed;
            }
        }
        End::Closed
    }

    async fn send(&self, update: Update) -> Option<()> {
        self.into.send(update).await.ok()
    }

    async fn apply(&mut self, object: DynamicObject, api_version: &str) -> Option<()> {
        let name = name_of(&object);
        let Some(object) = raw(object, api_version, self.kind.kind) else {
            warn!(kind = self.kind.kind, namespace = name.0, name = name.1, "object with malformed metadata left out");
            return Some(());
        };
        self.names.insert(name);
        self.send(Update::Apply(Box::new(object))).await
    }

    async fn delete(&mut self, name: (String, String)) -> Option<()> {
        if !self.names.remove(&name) {
            return Some(());
        }
        let Kind { group, kind, .. } = self.kind;
        self.send(Update::Delete(ObjectKey { group, kind, namespace: name.0, name: name.1 })).await
    }

    /// A new listing is complete: what it does not name is gone.
    async fn replace(&mut self, listed: HashSet<(String, String)>) -> Option<()> {
        let gone: Vec<_> = self.names.difference(&listed).cloned().collect();
        for name in gone {
            self.delete(name).await?;
        }
        Some(())
    }

    async fn synced(&mut self) -> Option<()> {
        match self.number.take() {
            Some(number) => self.send(Update::Synced(number)).await,
            None => Some(()),
        }
    }
}

fn name_of(object: &DynamicObject) -> (String, String) {
    (object.metadata.namespace.clone().unwrap_or_default(), object.metadata.name.clone().unwrap_or_default())
}

/// Listings leave the type out of their items, and nobody reads who manages which field.
fn raw(mut object: DynamicObject, api_version: &str, kind: &str) -> Option<RawObject> {
    object.types = None;
    object.metadata.managed_fields = None;
    let mut value = serde_json::to_value(object).ok()?;
    if let Value::Object(members) = &mut value {
        members.insert("apiVersion".to_owned(), json!(api_version));
        members.insert("kind".to_owned(), json!(kind));
    }
    RawObject::from_value(value)
}

fn is_absent(error: &Error) -> bool {
    match error {
        Error::InitialListFailed(kube::Error::Api(status)) | Error::WatchStartFailed(kube::Error::Api(status)) => {
            status.code == 404
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
