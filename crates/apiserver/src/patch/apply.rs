//! Server-side apply: fields have owners, kept in `metadata.managedFields`.
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/>
//!
//! Owners are recorded from the first apply on. An object that was never applied has none; the first apply gives what is there to a manager
//! `before-first-apply`, as Kubernetes does for objects older than server-side apply. [`updater`] is pure and knows nothing of
//! Kubernetes' metadata; this module is the part that does.

use serde_json::{Value, json};

use crate::object::{self, at, list_at, str_at};
use crate::registry::Resource;
use crate::schema::{StructId, Type, Types, convert};
use crate::status::Status;
use crate::verbs::Call;

mod combine;
pub mod set;
pub mod typed;
pub mod updater;

use set::{Set, Step};
use updater::{ApplyError, Kind, Managers, Owned, Versioned};

const BEFORE: &str = "before-first-apply";

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
        let mut managers = read(old);
        if managers.is_empty() {
            let version = str_at(old, &["apiVersion"]).to_owned();
            let set = typed::field_set(self.kind.types(), &self.kind.root(""), old).without_trees(&self.kind.ignored);
            managers.insert(key(BEFORE, false, &version, ""), Owned { version, applied: false, set });
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
        let applied = updater::apply(&self.kind, &live, &config, managers, &manager, self.force);
        let (object, managers) = applied.map_err(|error| self.refused(&error))?;
        let mut value = object.value;
        write(&mut value, old, &managers);
        Ok(value)
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

/// Records what an update changed, once an object has owners.
pub(crate) fn track(call: &Call, old: &Value, new: &mut Value) {
    let is_apply = crate::request::media_type(&call.headers).starts_with("application/apply-patch");
    let managers = read(old);
    if is_apply && call.method == http::Method::PATCH {
        return;
    }
    if managers.is_empty() || list_at(new, &["metadata", "managedFields"]).is_empty() {
        // A client that sends an empty list gives up ownership.
        object::set_metadata(new, "managedFields", None);
        return;
    }
    let version = call.api_version();
    let kind = ServedKind::new(&call.resource, &call.path.subresource);
    let live = Versioned { value: old.clone(), version: version.clone() };
    let object = Versioned { value: new.clone(), version: version.clone() };
    let mine = key(&call.manager(), false, &version, &call.path.subresource);
    let managers = updater::update(&kind, &live, &object, managers, &mine);
    write(new, old, &managers);
}

/// The text that names a manager among others: name, operation, version, subresource.
fn key(name: &str, applied: bool, version: &str, subresource: &str) -> String {
    let (operation, version) = if applied { ("Apply", "") } else { ("Update", version) };
    json!([name, operation, version, subresource]).to_string()
}

fn parts(key: &str) -> [String; 4] {
    serde_json::from_str(key).unwrap_or_default()
}

fn describe(key: &str) -> String {
    let [name, operation, version, subresource] = parts(key);
    let mut out = json!(name).to_string();
    if !subresource.is_empty() {
        out.push_str(&format!(" with subresource {}", json!(subresource)));
    }
    if operation == "Update" {
        out.push_str(&format!(" using {version}"));
    }
    out
}

/// The owners that an object records.
fn read(object: &Value) -> Managers {
    let entries = list_at(object, &["metadata", "managedFields"]).iter();
    let owned = entries.map(|entry| {
        let applied = str_at(entry, &["operation"]) == "Apply";
        let version = str_at(entry, &["apiVersion"]).to_owned();
        let name = key(str_at(entry, &["manager"]), applied, &version, str_at(entry, &["subresource"]));
        let set = Set::from_fields(entry.get("fieldsV1").unwrap_or(&Value::Null));
        (name, Owned { version, applied, set })
    });
    owned.collect()
}

/// Records owners; an entry that did not change keeps its time.
fn write(object: &mut Value, old: &Value, managers: &Managers) {
    let before = read(old);
    let now = object::now();
    let time = |key: &str| -> String {
        let [name, operation, ..] = parts(key);
        let same = before.get(key) == managers.get(key);
        let entry = list_at(old, &["metadata", "managedFields"])
            .iter()
            .find(|e| str_at(e, &["manager"]) == name && str_at(e, &["operation"]) == operation);
        entry.filter(|_| same).map(|e| str_at(e, &["time"]).to_owned()).unwrap_or_else(|| now.clone())
    };
    let entries: Vec<Value> = managers
        .iter()
        .map(|(key, owned)| {
            let [name, operation, _, subresource] = parts(key);
            let mut entry = json!({
                "manager": name, "operation": operation, "apiVersion": owned.version, "time": time(key), "fieldsType": "FieldsV1",
                "fieldsV1": owned.set.to_fields(),
            });
            if !subresource.is_empty() {
                object::set(&mut entry, "subresource", json!(subresource));
            }
            entry
        })
        .collect();
    object::set_metadata(object, "managedFields", Some(json!(entries)));
    if at(object, &["metadata", "managedFields"]).is_some_and(|m| m.as_array().is_some_and(Vec::is_empty)) {
        object::set_metadata(object, "managedFields", None);
    }
}

#[cfg(test)]
mod tests;
