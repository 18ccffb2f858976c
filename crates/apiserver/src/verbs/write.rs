//! `create`, `update` and `patch`: what a client sends becomes what is stored.
//!
//! An update or patch reads the object, computes the new one, and writes it on the condition that the object is still the one that was read. Where the
//! client named no version, a lost race is run again.

use std::sync::Arc;

use http::Response;
use serde_json::{Map, Value, json};

use crate::admission::{self, Operation};
use crate::object::{self, at, str_at};
use crate::patch::{self, apply, json as json_patch, merge, strategic};
use crate::request;
use crate::respond::Body;
use crate::schema::Types;
use crate::status::Status;
use crate::store::{Expect, Object, WriteError};
use crate::wire;

use super::{Call, decode, render};

/// How often a lost race is run again before the client is told.
const TRIES: usize = 20;
/// Letters of generated names: no vowels, so that no words come about; as Kubernetes has it.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Gives a new object what every object has.
pub(crate) fn stamp(value: &mut Value, namespace: &str) {
    let Some(metadata) = object::metadata(value) else { return };
    for name in ["resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
        metadata.shift_remove(name);
    }
    metadata.insert("uid".to_owned(), json!(uuid::Uuid::new_v4().to_string()));
    metadata.insert("creationTimestamp".to_owned(), json!(object::now()));
    if !namespace.is_empty() {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
}

/// Creates an object.
pub(crate) async fn create(call: &Call) -> Result<Response<Body>, Status> {
    let value = decode::object(call)?;
    let generate = str_at(&value, &["metadata", "generateName"]).to_owned();
    let named = !object::name(&value).is_empty();
    let mut tries = 0;
    loop {
        tries += 1;
        let mut value = value.clone();
        if !named && !generate.is_empty() {
            object::set_metadata(&mut value, "name", Some(json!(format!("{generate}{}", suffix()))));
        }
        let mut sent = value.clone();
        admission::complete(call, None, &mut sent);
        apply::own(call, &sent, &mut value);
        match create_object(call, value).await {
            Err(status) if status.reason == "AlreadyExists" && !named && tries < TRIES => {}
            other => return other,
        }
    }
}

fn suffix() -> String {
    let letter = |_| char::from(LETTERS.get(rand::random_range(0..LETTERS.len())).copied().unwrap_or(b'x'));
    (0..5).map(letter).collect()
}

/// Creates an object that has its name, in the form that it is stored in.
pub(crate) async fn create_object(call: &Call, mut value: Value) -> Result<Response<Body>, Status> {
    let resource = &*call.resource;
    let name = object::name(&value).to_owned();
    let namespace = place(call, &value)?;
    stamp(&mut value, &namespace);
    if resource.generation {
        object::set_metadata(&mut value, "generation", Some(json!(1)));
    }
    if resource.stored_version().is_some_and(|v| v.status) {
        object::remove(&mut value, "status");
    }
    if resource.namespaced {
        must_have_namespace(call, &namespace, &name)?;
    }
    let dry = call.dry_run()?;
    let value = admission::admit(call, Operation::Create, None, value).await?;
    if dry {
        admission::undo(call, &value);
        return Ok(render::unstored(call, 201, value));
    }
    let key = crate::store::Key::new(&resource.key, &namespace, &name);
    let undo = value.clone();
    match call.server.store.put(key, Expect::Absent, value).await {
        Ok(object) => {
            admission::stored(call, &object);
            if resource.inert {
                call.warn(format!("{} is stored but not acted upon on this machine", resource.kind));
            }
            Ok(render::one(call, 201, &object))
        }
        Err(error) => {
            admission::undo(call, &undo);
            Err(Status::from_write(&error, resource, &name))
        }
    }
}

/// The namespace of a new object.
fn place(call: &Call, value: &Value) -> Result<String, Status> {
    if !call.resource.namespaced {
        return Ok(String::new());
    }
    let (path, own) = (call.path.namespace.as_str(), object::namespace(value));
    if path.is_empty() {
        return Err(Status::bad_request("an empty namespace may not be set during creation"));
    }
    if !own.is_empty() && own != path {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(path.to_owned())
}

fn must_have_namespace(call: &Call, namespace: &str, name: &str) -> Result<(), Status> {
    let registry = call.server.registry();
    let Some(object) = call.server.store.get(&crate::store::Key::new("namespaces", "", namespace)) else {
        let resource = registry.find("", "v1", "namespaces").ok_or_else(Status::no_route)?;
        return Err(Status::not_found(resource, namespace));
    };
    if object::is_terminating(&object.value) {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        return Err(Status::forbidden(&call.resource, name, &why));
    }
    Ok(())
}

/// Replaces an object. Without `metadata.resourceVersion` whatever is stored is replaced.
pub(crate) async fn update(call: &Call) -> Result<Response<Body>, Status> {
    let sent = decode::object(call)?;
    let name = object::name(&sent);
    if !name.is_empty() && name != call.path.name {
        let message =
            format!("the name of the object ({name}) does not match the name on the URL ({})", call.path.name);
        return Err(Status::bad_request(message));
    }
    change(call, |_| Ok(sent.clone())).await
}

/// Patches an object. A server-side apply creates it where it is absent.
pub(crate) async fn patch(call: &Call) -> Result<Response<Body>, Status> {
    match request::media_type(&call.headers) {
        "application/json-patch+json" => {
            let patch =
                json_patch::parse(&call.body).map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
            let patched = |old: &Value| {
                json_patch::apply(old, &patch)
                    .map_err(|e| Status::new(422, "Invalid", format!("the patch cannot be applied: {e}")))
            };
            change_visible(call, patched).await
        }
        "application/merge-patch+json" => {
            let patch = patch_body(call)?;
            change_visible(call, |old| Ok(merge::apply(old.clone(), &patch))).await
        }
        "application/strategic-merge-patch+json" if decode::is_typed(&call.resource) => {
            let patch = patch_body(call)?;
            let types = Types::builtin();
            let patched = |old: &Value| match call.resource.fields {
                Some(id) => strategic::apply(types, id, old, &patch).map_err(|e| Status::bad_request(e.to_string())),
                None => Ok(old.clone()),
            };
            change_visible(call, patched).await
        }
        "application/apply-patch+yaml" | "application/apply-patch+json" => apply_patch(call).await,
        _ => Err(Status::unsupported_media_type(if decode::is_typed(&call.resource) {
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml, application/strategic-merge-patch+json"
        } else {
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
        })),
    }
}

fn patch_body(call: &Call) -> Result<Value, Status> {
    patch::read(&call.body).map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))
}

/// Changes an object by a function of how the client sees it.
async fn change_visible(
    call: &Call,
    patched: impl Fn(&Value) -> Result<Value, Status>,
) -> Result<Response<Body>, Status> {
    let view = render::View::of(call);
    change(call, |old| {
        let seen = view.value(&call.resource, old.clone());
        decode::to_stored(call, patched(&seen)?)
    })
    .await
}

async fn apply_patch(call: &Call) -> Result<Response<Body>, Status> {
    if call.query.get("fieldManager").is_empty() {
        return Err(Status::new(
            422,
            "Invalid",
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ));
    }
    let mut config = wire::parse("application/yaml", &call.body, &wire::Expected::Any)?;
    render::must_be_object(&config)?;
    if str_at(&config, &["apiVersion"]).is_empty() || str_at(&config, &["kind"]).is_empty() {
        return Err(Status::bad_request("apiVersion and kind must be set in a configuration that is applied"));
    }
    if at(&config, &["metadata", "managedFields"])
        .is_some_and(|m| !m.is_null() && m.as_array().is_none_or(|a| !a.is_empty()))
    {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let name = object::name(&config).to_owned();
    if !name.is_empty() && name != call.path.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.path.name
        )));
    }
    object::set_metadata(&mut config, "name", Some(json!(call.path.name)));
    let config = decode::to_stored(call, config)?;
    let context = apply::Context::new(call);
    for _ in 0..TRIES {
        if call.server.store.get(&call.key()).is_none() {
            if !str_at(&config, &["metadata", "uid"]).is_empty() {
                return Err(Status::conflict(
                    &call.resource,
                    &call.path.name,
                    "uid mismatch: the object does not exist",
                ));
            }
            match create_object(call, context.created(&config)?).await {
                Err(status) if status.reason == "AlreadyExists" => continue,
                other => return other,
            }
        }
        match change(call, |old| context.applied(old, &config)).await {
            Err(status) if status.reason == "NotFound" => {}
            other => return other,
        }
    }
    Err(Status::modified(&call.resource, &call.path.name))
}

/// Writes what `next` makes of the stored object.
pub(crate) async fn change(
    call: &Call,
    next: impl Fn(&Value) -> Result<Value, Status>,
) -> Result<Response<Body>, Status> {
    let (resource, name) = (&*call.resource, call.path.name.as_str());
    for _ in 0..TRIES {
        let old = call.object()?;
        let new = next(&old.value)?;
        let sent = object::resource_version(&new);
        if sent.is_some_and(|v| v != old.version) {
            return Err(Status::modified(resource, name));
        }
        match replace(call, &old, new).await {
            // Lost a race. A client that named its version is told so on the next round, when the versions differ.
            Err(status) if status.details.get("retry").is_some() => {}
            other => return other,
        }
    }
    Err(Status::modified(resource, name))
}

async fn replace(call: &Call, old: &Arc<Object>, mut new: Value) -> Result<Response<Body>, Status> {
    let (resource, name) = (&*call.resource, call.path.name.as_str());
    keep_system_fields(call, &old.value, &mut new)?;
    match call.path.subresource.as_str() {
        "" => keep(&old.value, &mut new, resource.stored_version().is_some_and(|v| v.status).then_some("status")),
        "status" => keep_all_but_status(&old.value, &mut new, resource.is_custom()),
        "finalize" => keep_all_but(&old.value, &mut new, &["spec", "finalizers"]),
        "ephemeralcontainers" => keep_all_but(&old.value, &mut new, &["spec", "ephemeralContainers"]),
        _ => {}
    }
    let dry = call.dry_run()?;
    let new = admission::admit(call, Operation::Update, Some(&old.value), new).await?;
    let mut new = object::in_order(new);
    count_generation(resource.generation, &old.value, &mut new);
    apply::track(call, &old.value, &mut new);
    if dry {
        return Ok(render::unstored(call, 200, new));
    }
    if same(&old.value, &new) {
        return Ok(render::one(call, 200, old));
    }
    let written = if is_finished(call, &new) {
        // The last finalizer is gone: the deletion that was asked for takes place.
        call.server.store.delete(call.key(), old.version).await
    } else {
        call.server.store.put(call.key(), Expect::Version(old.version), new).await
    };
    match written {
        Ok(object) => {
            admission::replaced(call, &old.value, &object);
            if resource.inert && call.path.subresource.is_empty() {
                call.warn(format!("{} is stored but not acted upon on this machine", resource.kind));
            }
            Ok(render::one(call, 200, &object))
        }
        Err(WriteError::Conflict) => {
            let mut status = Status::modified(resource, name);
            object::set(&mut status.details, "retry", json!(true));
            Err(status)
        }
        Err(error) => Err(Status::from_write(&error, resource, name)),
    }
}

/// Whether a terminating object has nothing left to wait for.
fn is_finished(call: &Call, new: &Value) -> bool {
    let waits_for_namespace_contents =
        &*call.resource.key == "namespaces" && !object::list_at(new, &["spec", "finalizers"]).is_empty();
    let grace = at(new, &["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(0);
    object::is_terminating(new)
        && object::finalizers(new).next().is_none()
        && grace == 0
        && !waits_for_namespace_contents
}

/// Restores what a client may not change, and checks what it may only repeat.
fn keep_system_fields(call: &Call, old: &Value, new: &mut Value) -> Result<(), Status> {
    let uid = object::uid(new);
    if !uid.is_empty() && uid != object::uid(old) {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", object::uid(old));
        return Err(Status::conflict(&call.resource, &call.path.name, &why));
    }
    if object::is_terminating(old) {
        let added = object::finalizers(new).find(|f| !object::finalizers(old).any(|o| o == *f)).map(str::to_owned);
        if let Some(finalizer) = added {
            let error = crate::FieldError::forbidden(
                "metadata.finalizers",
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{\"{finalizer}\"}}"
                ),
            );
            return Err(Status::invalid(&call.resource.group, &call.resource.kind, &call.path.name, &[error]));
        }
    }
    for name in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "generateName",
    ] {
        object::set_metadata(new, name, at(old, &["metadata", name]).cloned());
    }
    if at(new, &["metadata", "managedFields"]).is_none() {
        object::set_metadata(new, "managedFields", at(old, &["metadata", "managedFields"]).cloned());
    }
    Ok(())
}

fn keep(old: &Value, new: &mut Value, member: Option<&str>) {
    let Some(member) = member else { return };
    match old.get(member) {
        Some(value) => object::set(new, member, value.clone()),
        None => drop(object::remove(new, member)),
    }
}

/// A status update changes `status`, and for built-in kinds labels and annotations.
fn keep_all_but_status(old: &Value, new: &mut Value, custom: bool) {
    let status = object::remove(new, "status");
    let mut metadata = at(old, &["metadata"]).cloned().unwrap_or_default();
    for name in ["labels", "annotations", "finalizers", "managedFields"] {
        if !custom || name == "managedFields" {
            match at(new, &["metadata", name]) {
                Some(value) => object::set(&mut metadata, name, value.clone()),
                None => drop(object::remove(&mut metadata, name)),
            }
        }
    }
    *new = old.clone();
    object::set(new, "metadata", metadata);
    match status {
        Some(status) => object::set(new, "status", status),
        None => drop(object::remove(new, "status")),
    }
}

fn keep_all_but(old: &Value, new: &mut Value, path: &[&str; 2]) {
    let [parent, member] = path;
    let changed = at(new, path).cloned();
    *new = old.clone();
    let Some(map) = object::map_at(new, &[parent]) else { return };
    match changed {
        Some(value) => drop(map.insert((*member).to_owned(), value)),
        None => drop(map.shift_remove(*member)),
    }
}

/// Counts a change of anything but metadata and status.
fn count_generation(counted: bool, old: &Value, new: &mut Value) {
    if !counted {
        return;
    }
    let before = at(old, &["metadata", "generation"]).and_then(Value::as_i64).unwrap_or(0);
    if specified(old) != specified(new) {
        object::set_metadata(new, "generation", Some(json!(before + 1)));
    }
}

fn specified(value: &Value) -> Map<String, Value> {
    let mut map = value.as_object().cloned().unwrap_or_default();
    for name in ["apiVersion", "kind", "metadata", "status"] {
        map.shift_remove(name);
    }
    map
}

/// Whether nothing but times of field managers differs.
fn same(old: &Value, new: &Value) -> bool {
    let stripped = |value: &Value| {
        let mut value = value.clone();
        let managers =
            object::metadata(&mut value).and_then(|m| m.get_mut("managedFields")).and_then(Value::as_array_mut);
        managers.into_iter().flatten().for_each(|m| drop(object::remove(m, "time")));
        value
    };
    stripped(old) == stripped(new)
}
