//! What a plan can ask for, in terms of the Kubernetes API, and the plan itself.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PropagationPolicy;
use kube::core::discovery::ApiResource;
use serde_json::{Value, json};

/// Where an object stands. `namespace` is empty for cluster-scoped kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) resource: ApiResource,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Target {
    pub(crate) fn new(resource: ApiResource, meta: &ObjectMeta) -> Self {
        Self {
            resource,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

/// One write. Each may be repeated, and may find the world changed: then it fails, and a new plan is made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Creates an object on behalf of another, which gets an Event when that fails and, with `tell`, when it succeeds.
    Create { resource: ApiResource, namespace: String, object: Value, by: Option<Regarding>, tell: bool },
    /// A JSON merge patch, of the object or of one of its subresources.
    Patch { target: Target, subresource: Option<&'static str>, patch: Value },
    /// Deletes the object if it is still the one that was meant.
    Delete { target: Target, uid: String, propagation: PropagationPolicy, announce: Option<Regarding> },
    /// Deletes all objects of a kind in a namespace.
    DeleteAll { resource: ApiResource, namespace: String },
    /// Lets go of a namespace that is empty.
    Finalize { namespace: String, object: Value },
    /// Asks the API server whether the owners that seem gone are really gone, and if so removes the references to them, or
    /// the object where none is left.
    Collect {
        target: Target,
        uid: String,
        resource_version: Option<String>,
        gone: Vec<(OwnerReference, Target)>,
        left: Vec<OwnerReference>,
    },
    /// An Event for people to read.
    Report(Report),
}

/// The object that an Event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Regarding {
    pub(crate) target: Target,
    pub(crate) uid: String,
    /// The controller that speaks, such as `deployment-controller`.
    pub(crate) component: &'static str,
}

impl Regarding {
    pub(crate) fn new(resource: ApiResource, meta: &ObjectMeta, component: &'static str) -> Self {
        Self { target: Target::new(resource, meta), uid: meta.uid.clone().unwrap_or_default(), component }
    }

    pub(crate) fn report(&self, warning: bool, reason: &'static str, message: String) -> Report {
        Report { regarding: self.clone(), warning, reason, message }
    }
}

/// An Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) regarding: Regarding,
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// What to do now, and when to look again although nothing may have changed.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    pub(crate) wake: Option<Timestamp>,
}

impl Plan {
    pub(crate) fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Look again at `time` at the latest.
    pub(crate) fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |earlier| earlier.min(time)));
    }

    pub(crate) fn patch(&mut self, resource: ApiResource, meta: &ObjectMeta, patch: Value) {
        self.push(Action::Patch { target: Target::new(resource, meta), subresource: None, patch });
    }

    pub(crate) fn patch_status(&mut self, resource: ApiResource, meta: &ObjectMeta, status: Value) {
        let patch = json!({ "status": status });
        self.push(Action::Patch { target: Target::new(resource, meta), subresource: Some("status"), patch });
    }

    pub(crate) fn delete(&mut self, resource: ApiResource, meta: &ObjectMeta, announce: Option<Regarding>) {
        let uid = meta.uid.clone().unwrap_or_default();
        let propagation = PropagationPolicy::Background;
        self.push(Action::Delete { target: Target::new(resource, meta), uid, propagation, announce });
    }
}

impl Action {
    /// Whether it only tells people how things stand.
    pub(crate) fn only_tells(&self) -> bool {
        matches!(self, Self::Report(_) | Self::Patch { subresource: Some("status"), .. })
    }
}
