//! Server-side apply: fields have owners, kept in `metadata.managedFields`.
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/>
//!
//! Owners are recorded from the creation on if the client names itself as a field manager, as kubectl does, else from the first apply on:
//! what controllers create has no owners to keep. The first apply to an object without owners gives what is there to a manager
//! `before-first-apply`, as in Kubernetes. [`updater`] is pure and knows nothing of Kubernetes' metadata; this module and
//! [`managed`] are the part that does.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::object::{self, list_at, str_at};
use crate::registry::Resource;
use crate::schema::{StructId, Type, Types, convert};
use crate::status::Status;
use crate::verbs::Call;

mod combine;
mod managed;
pub mod set;
pub mod typed;
pub mod updater;

use managed::{describe, key};
use set::{Set, Step};
use updater::{ApplyError, Kind, Managers, Versioned};

const BEFORE: &str = "before-first-apply";
/// More than structs that are always there are nested.
const DEEPEST: usize = 8;
/// The manager of `kubectl apply --server-side`.
const KUBECTL: &str = "kubectl";
/// Where `kubectl apply` without `--server-side` keeps what it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Metadata that the server itself keeps; nobody owns it.
const SERVER_FIELDS: &[&str] = &[
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// A kind of the server. Its versions share one schema.
struct ServedKind {
    custom: Option<(Types, StructId)>,
    builtin: Option<StructId>,
    ignored: Set,
}

impl ServedKind {
    fn new(resource: &Resource, subresource: &str) -> Self {
        let field = |name: &str| Step::Field(name.to_owned());
        let mut ignored = Set::default();
        ignored.insert(&[field("apiVersion")]);
        ignored.insert(&[field("kind")]);
        for name in SERVER_FIELDS {
            ignored.insert(&[field("metadata"), field(name)]);
        }
        if subresource == "status" {
            ignored.insert(&[field("spec")]);
        } else if resource.stored_version().is_some_and(|v| v.status) {
            ignored.insert(&[field("status")]);
        }
        let schema = resource.stored_version().and_then(|v| v.schema.clone());
        let custom = resource.is_custom().then(|| convert::from_schema(schema.as_deref().unwrap_or(&Value::Null)));
        Self { custom, builtin: resource.fields, ignored }
    }

    /// An object with nothing in it. The structs that a built-in kind always has are there, so that nobody owns them for having named what is
    /// in them; of custom kinds it is the metadata alone.
    fn nothing(&self) -> Value {
        fn structs(types: &Types, id: StructId, depth: usize) -> Value {
            let inner = types.get(id).fields.iter().filter_map(|field| match field.ty {
                Type::Struct(id) if !field.pointer && !types.get(id).atomic && depth > 0 => {
                    Some((field.name.clone(), structs(types, id, depth - 1)))
                }
                _ => None,
            });
            Value::Object(inner.collect())
        }
        match self.builtin {
            Some(id) => structs(Types::builtin(), id, DEEPEST),
            None => json!({"metadata": {}}),
        }
    }
}

impl Kind for ServedKind {
    fn types(&self) -> &Types {
        match &self.custom {
            Some((types, _)) => types,
            None => Types::builtin(),
        }
    }

    fn root(&self, _: &str) -> Type {
        self.custom.as_ref().map(|(_, id)| *id).or(self.builtin).map_or(Type::Any, Type::Struct)
    }

    fn convert(&self, object: &Versioned, version: &str) -> Option<Versioned> {
        Some(Versioned { value: object.value.clone(), version: version.to_owned() })
    }

    fn ignored(&self, _: &str) -> Set {
        self.ignored.clone()
    }
}

/// What one apply request has in common over its tries.
pub(crate) struct Context<'a> {
    call: &'a Call,
    kind: ServedKind,
    force: bool,
}

impl<'a> Context<'a> {
    pub(crate) fn new(call: &'a Call) -> Self {
        Self { call, kind: ServedKind::new(&call.resource, &call.path.subresource), force: call.query.flag("force") }
    }

    /// The object that an apply creates.
    pub(crate) fn created(&self, config: &Value) -> Result<Value, Status> {
        self.run(&json!({}), config, Managers::new())
    }

    /// The object that an apply makes of the stored one.
    pub(crate) fn applied(&self, old: &Value, config: &Value) -> Result<Value, Status> {
        let mut managers = managed::read(old);
        if managers.is_empty() {
            let version = self.call.api_version();
            let before = key(BEFORE, false, &version, "");
            let nothing = Versioned { value: self.kind.nothing(), version: version.clone() };
            let live = Versioned { value: old.clone(), version };
            managers = updater::update(&self.kind, &nothing, &live, managers, &before);
        }
        self.run(old, config, managers)
    }

    fn run(&self, old: &Value, config: &Value, managers: Managers) -> Result<Value, Status> {
        let version = self.call.api_version();
        let mut config = config.clone();
        if self.call.path.subresource != "status" && self.call.resource.stored_version().is_some_and(|v| v.status) {
            object::remove(&mut config, "status");
        }
        let live = Versioned { value: old.clone(), version: version.clone() };
        let config = Versioned { value: config, version: version.clone() };
        let manager = key(&self.call.manager(), true, &version, &self.call.path.subresource);
        let apply = |force| updater::apply(&self.kind, &live, &config, managers.clone(), &manager, force);
        let applied = match apply(self.force) {
            Err(ApplyError::Conflicts(conflicts)) if self.was_applied_by_client(old, &conflicts) => apply(true),
            other => other,
        };
        let (object, managers) = applied.map_err(|error| self.refused(&error))?;
        let mut value = object.value;
        managed::write(&mut value, &[old], &managers);
        Ok(value)
    }

    /// Whether the conflicts are only with what kubectl's user applied without `--server-side` and nobody has changed since: that user goes
    /// over to server-side apply and need not force it.
    fn was_applied_by_client(&self, live: &Value, conflicts: &BTreeMap<String, Set>) -> bool {
        let text = str_at(live, &["metadata", "annotations", LAST_APPLIED]);
        let Ok(last) = serde_json::from_str::<Value>(text) else { return false };
        let version = self.call.api_version();
        if self.call.manager() != KUBECTL || str_at(&last, &["apiVersion"]) != version {
            return false;
        }
        let (types, root) = (self.kind.types(), self.kind.root(&version));
        let since = typed::compare(types, &root, &last, live);
        let unchanged = typed::field_set(types, &root, &last)
            .difference(&since.modified)
            .difference(&since.added)
            .difference(&since.removed);
        conflicts.values().all(|set| set.difference(&unchanged).is_empty())
    }

    fn refused(&self, error: &ApplyError) -> Status {
        let ApplyError::Conflicts(conflicts) = error else {
            return Status::new(500, "InternalError", format!("failed to create typed patch object: {error}"));
        };
        let mut causes = Vec::new();
        let mut parts = Vec::new();
        for (manager, set) in conflicts {
            let who = describe(manager);
            let paths: Vec<String> =
                set.paths().iter().map(|path| path.iter().map(Step::to_string).collect()).collect();
            for path in &paths {
                causes.push(
                    json!({"reason": "FieldManagerConflict", "message": format!("conflict with {who}"), "field": path}),
                );
            }
            match paths.as_slice() {
                [one] => parts.push(format!("conflict with {who}: {one}")),
                many => parts.push(format!("conflicts with {who}:\n- {}", many.join("\n- "))),
            }
        }
        let count = causes.len();
        let noun = if count == 1 { "conflict" } else { "conflicts" };
        let mut status =
            Status::new(409, "Conflict", format!("Apply failed with {count} {noun}: {}", parts.join("\n")));
        status.details = json!({"causes": causes});
        status
    }
}

/// Makes the client the owner of an object that it creates, if it names itself as a field manager. `sent` is the object with its defaults.
pub(crate) fn own(call: &Call, sent: &Value, new: &mut Value) {
    if call.query.get("fieldManager").is_empty() {
        return;
    }
    let nothing = ServedKind::new(&call.resource, &call.path.subresource).nothing();
    let managers = updated(call, &nothing, sent, Managers::new());
    managed::write(new, &[], &managers);
}

/// Records what an update changed, once an object has owners.
pub(crate) fn track(call: &Call, old: &Value, new: &mut Value) {
    let is_apply = crate::request::media_type(&call.headers).starts_with("application/apply-patch");
    if is_apply && call.method == http::Method::PATCH {
        return;
    }
    if managed::is_given_up(list_at(new, &["metadata", "managedFields"])) {
        object::set_metadata(new, "managedFields", None);
        return;
    }
    // A client may edit the owners, as kubectl does for its user who goes over to server-side apply; not by way of a subresource.
    let sent = if call.path.subresource.is_empty() { managed::read(new) } else { Managers::new() };
    let managers = if sent.is_empty() { managed::read(old) } else { sent };
    if managers.is_empty() {
        object::set_metadata(new, "managedFields", None);
        return;
    }
    let managers = updated(call, old, new, managers);
    let sent = new.clone();
    managed::write(new, &[&sent, old], &managers);
}

/// The owners after the call's update.
fn updated(call: &Call, old: &Value, new: &Value, managers: Managers) -> Managers {
    let version = call.api_version();
    let kind = ServedKind::new(&call.resource, &call.path.subresource);
    let live = Versioned { value: old.clone(), version: version.clone() };
    let object = Versioned { value: new.clone(), version: version.clone() };
    let mine = key(&call.manager(), false, &version, &call.path.subresource);
    updater::update(&kind, &live, &object, managers, &mine)
}

#[cfg(test)]
mod tests;
