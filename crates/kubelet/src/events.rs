//! Events of pods, as `kubectl describe` and `kubectl get events` show them.
//!
//! An event that repeats is counted on the object that is there instead of making another. Events are written in the background and in order; what
//! cannot be written is lost, as events are everywhere.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;

/// Whether an event is the ordinary course or something to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Normal,
    Warning,
}

#[derive(Debug)]
struct Note {
    object: ObjectReference,
    kind: Kind,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

/// The way to write events. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Recorder(mpsc::Sender<Note>);

/// More that wait than this are dropped: the API server is not keeping up, and events must not hold pods back.
const BACKLOG: usize = 1024;
/// Remembered for counting; the oldest are forgotten together.
const REMEMBERED: usize = 4096;

impl Recorder {
    pub(crate) fn start(client: Client, node: String) -> Self {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        tokio::spawn(write(client, node, receiver));
        Self(sender)
    }

    /// Writes an event about a pod, or about one of its containers.
    pub(crate) fn pod(
        &self,
        pod: &Pod,
        container: Option<(&str, bool)>,
        kind: Kind,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let field_path = container.map(|(name, init)| {
            let list = if init { "initContainers" } else { "containers" };
            format!("spec.{list}{{{name}}}")
        });
        let object = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            resource_version: pod.metadata.resource_version.clone(),
            field_path,
        };
        self.object(object, kind, reason, message.into());
    }

    /// Writes an event about any object.
    pub(crate) fn object(&self, object: ObjectReference, kind: Kind, reason: &'static str, message: String) {
        let note = Note { object, kind, reason, message, at: Timestamp::now() };
        if self.0.try_send(note).is_err() {
            tracing::debug!(reason, "an event is dropped");
        }
    }
}

type Key = (Option<String>, Option<String>, &'static str, String);

async fn write(client: Client, node: String, mut notes: mpsc::Receiver<Note>) {
    let mut known: HashMap<Key, (String, i32)> = HashMap::new();
    while let Some(note) = notes.recv().await {
        if known.len() > REMEMBERED {
            known.clear();
        }
        let namespace = note.object.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let key = (note.object.uid.clone(), note.object.field_path.clone(), note.reason, note.message.clone());
        if let Some((name, count)) = known.get_mut(&key) {
            *count = count.saturating_add(1);
            let patch = serde_json::json!({"count": *count, "lastTimestamp": Time(note.at)});
            if api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.is_ok() {
                continue;
            }
        }
        match api.create(&PostParams::default(), &event(&node, &namespace, &note)).await {
            Ok(made) => drop(known.insert(key, (made.name_any(), 1))),
            // A namespace that is going away takes no events.
            Err(error) => tracing::debug!(%error, reason = note.reason, "an event is not written"),
        }
    }
}

fn event(node: &str, namespace: &str, note: &Note) -> Event {
    let mut event = Event {
        involved_object: note.object.clone(),
        type_: Some(format!("{:?}", note.kind)),
        reason: Some(note.reason.to_owned()),
        message: Some(note.message.clone()),
        source: Some(EventSource { component: Some("kubelet".to_owned()), host: Some(node.to_owned()) }),
        reporting_component: Some("kubelet".to_owned()),
        reporting_instance: Some(node.to_owned()),
        first_timestamp: Some(Time(note.at)),
        last_timestamp: Some(Time(note.at)),
        count: Some(1),
        ..Event::default()
    };
    let name = note.object.name.as_deref().unwrap_or("object");
    event.metadata.name = Some(format!("{name}.{:x}", note.at.as_nanosecond()));
    event.metadata.namespace = Some(namespace.to_owned());
    event
}
