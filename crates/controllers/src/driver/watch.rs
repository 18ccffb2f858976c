//! One watch for each kind that can be watched, those of CustomResourceDefinitions as they come and go.

use crate::state::{Change, State};
use crate::{Error, resources};
use futures_util::StreamExt;
use kube::core::discovery::{ApiResource, Scope, verbs};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Discovery};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::mpsc::Sender;
use tokio::task::{AbortHandle, JoinSet};

/// What a watch tells.
pub(super) enum Message {
    Applied(Arc<ApiResource>, Box<DynamicObject>),
    Deleted(Arc<ApiResource>, Box<DynamicObject>),
    /// A list is complete; it held the objects with these uids.
    Listed(Arc<ApiResource>, BTreeSet<String>),
}

/// The watches that run; dropped, they end.
pub(super) struct Watches {
    client: Client,
    sender: Sender<Message>,
    tasks: JoinSet<()>,
    by_kind: BTreeMap<(String, String), AbortHandle>,
}

impl Watches {
    pub(super) fn new(client: Client, sender: Sender<Message>) -> Self {
        Self { client, sender, tasks: JoinSet::new(), by_kind: BTreeMap::new() }
    }

    /// Learns which kinds there are and watches them.
    pub(super) async fn start(&mut self, state: &mut State) -> Result<(), Error> {
        let discovery = match Discovery::new(self.client.clone()).run_aggregated().await {
            Ok(discovery) => discovery,
            // An older server has only the other form.
            Err(_) => {
                let plain = Discovery::new(self.client.clone()).run().await;
                plain.map_err(|error| Error::Discovery(Box::new(error)))?
            }
        };
        for (resource, capabilities) in discovery.groups().flat_map(|group| group.recommended_resources()) {
            let namespaced = capabilities.scope == Scope::Namespaced;
            let watched = capabilities.supports_operation(verbs::LIST) && capabilities.supports_operation(verbs::WATCH);
            // Many, short-lived, owned by nobody and owners of nobody.
            if resource.kind == "Event" {
                if resource.group.is_empty() {
                    state.unwatched.push(resource);
                }
            } else if watched {
                self.watch(resource, namespaced, state);
            }
        }
        // Whatever discovery says, these are needed; a watch that cannot begin says so in the log.
        let cluster = |resource: &ApiResource| resource.kind == "Namespace";
        for resource in resources::required() {
            let namespaced = !cluster(&resource);
            self.watch(resource, namespaced, state);
        }
        self.watch(resources::custom_resource_definitions(), false, state);
        Ok(())
    }

    fn watch(&mut self, resource: ApiResource, namespaced: bool, state: &mut State) {
        let kind = (resource.group.clone(), resource.kind.clone());
        if self.by_kind.contains_key(&kind) {
            return;
        }
        state.add_kind(resource.clone(), namespaced);
        let (client, sender) = (self.client.clone(), self.sender.clone());
        self.by_kind.insert(kind, self.tasks.spawn(follow(client, Arc::new(resource), sender)));
    }

    /// Watches the kind that a definition brings.
    pub(super) fn follow(&mut self, definition: &DynamicObject, state: &mut State) {
        if let Some((resource, namespaced)) = defined(definition) {
            self.watch(resource, namespaced, state);
        }
    }

    /// Forgets the kind whose definition is gone, and its objects with it.
    pub(super) fn drop_kind(&mut self, definition: &DynamicObject, state: &mut State) -> Vec<Change> {
        let Some((resource, _)) = defined(definition) else { return Vec::new() };
        let kind = (resource.group.clone(), resource.kind.clone());
        if let Some(task) = self.by_kind.remove(&kind) {
            task.abort();
        }
        let changes = state.retain(&resource, &BTreeSet::new());
        state.kinds.remove(&kind);
        changes
    }
}

/// The kind that a CustomResourceDefinition defines, in a version that it serves.
fn defined(definition: &DynamicObject) -> Option<(ApiResource, bool)> {
    let spec = definition.data.get("spec")?;
    let text = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str);
    let versions = spec.get("versions")?.as_array()?;
    let is = |version: &Value, what: &str| version.get(what).and_then(Value::as_bool) == Some(true);
    let mut served = versions.iter().filter(|version| is(version, "served"));
    let version = served.clone().find(|version| is(version, "storage")).or_else(|| served.next())?;
    let version = version.get("name").and_then(Value::as_str)?;
    let kind = GroupVersionKind::gvk(text("/group")?, version, text("/names/kind")?);
    let resource = ApiResource::from_gvk_with_plural(&kind, text("/names/plural")?);
    Some((resource, text("/scope")? == "Namespaced"))
}

async fn follow(client: Client, resource: Arc<ApiResource>, sender: Sender<Message>) {
    let api: Api<DynamicObject> = Api::all_with(client, &*resource);
    let mut events = std::pin::pin!(watcher::watcher(api, watcher::Config::default()).default_backoff());
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        let message = match event {
            Ok(Event::Apply(object)) => Message::Applied(Arc::clone(&resource), Box::new(object)),
            Ok(Event::Delete(object)) => Message::Deleted(Arc::clone(&resource), Box::new(object)),
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                listed.extend(object.metadata.uid.clone());
                Message::Applied(Arc::clone(&resource), Box::new(object))
            }
            Ok(Event::InitDone) => Message::Listed(Arc::clone(&resource), std::mem::take(&mut listed)),
            Err(error) => {
                tracing::warn!(kind = %resource.kind, %error, "a watch was interrupted; changes of this kind are acted upon once it is back");
                continue;
            }
        };
        if sender.send(message).await.is_err() {
            return;
        }
    }
}
