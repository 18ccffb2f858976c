//! From a request's body to an object in the version that its kind is stored in, free of unknown fields.

use serde_json::{Value, json};

use crate::object::{self, str_at};
use crate::registry::Resource;
use crate::request;
use crate::schema::{Types, strict, structural};
use crate::status::Status;
use crate::wire;

use super::{Call, render};

/// The object in the body of a create or update.
pub(crate) fn object(call: &Call) -> Result<Value, Status> {
    let value = wire::parse(request::media_type(&call.headers), &call.body, &wire::Expected::Kind(&call.resource))?;
    render::must_be_object(&value)?;
    to_stored(call, value)
}

/// Brings an object of the call's version into the form that it is stored in.
pub(crate) fn to_stored(call: &Call, mut value: Value) -> Result<Value, Status> {
    if object::is_deeper(&value, object::DEEPEST) {
        let message = format!("the object would be nested deeper than {} levels", object::DEEPEST);
        return Err(Status::bad_request(message));
    }
    let (wanted, kind) = (call.api_version(), call.resource.kind.as_str());
    let (api_version, got) = (str_at(&value, &["apiVersion"]).to_owned(), str_at(&value, &["kind"]).to_owned());
    if (!api_version.is_empty() && api_version != wanted) || (!got.is_empty() && got != kind) {
        let message =
            format!("the object provided is unrecognized here: expected {wanted} {kind}, got {api_version} {got}");
        return Err(Status::bad_request(message));
    }
    shape(call, &mut value)?;
    if call.resource.renamed_event {
        value = event_to_old(value);
    }
    object::set(&mut value, "apiVersion", json!(call.resource.stored_as));
    object::set(&mut value, "kind", json!(kind));
    Ok(object::in_order(value))
}

/// Refuses what no client could read back, and drops unknown fields as `fieldValidation` says.
fn shape(call: &Call, value: &mut Value) -> Result<(), Status> {
    let resource = &*call.resource;
    let unknown = match resource.fields {
        Some(id) => {
            let types = Types::builtin();
            let findings = strict::check(types, id, value);
            if let Some(first) = findings.mistyped.first() {
                return Err(undecodable(call, first));
            }
            strict::prune(types, id, value);
            object::drop_nulls(value);
            findings.unknown
        }
        None => custom(call, value)?,
    };
    if unknown.is_empty() {
        return Ok(());
    }
    match call.query.get("fieldValidation") {
        "Ignore" => Ok(()),
        "Strict" => {
            let list: Vec<String> = unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
            Err(undecodable(call, &format!("strict decoding error: {}", list.join(", "))))
        }
        _ => {
            unknown.iter().for_each(|path| call.warn(format!("unknown field \"{path}\"")));
            Ok(())
        }
    }
}

fn undecodable(call: &Call, why: &str) -> Status {
    let kind = &call.resource.kind;
    Status::bad_request(format!("{kind} in version \"{}\" cannot be handled as a {kind}: {why}", call.path.version))
}

fn custom(call: &Call, value: &mut Value) -> Result<Vec<String>, Status> {
    let types = Types::builtin();
    let mut unknown = Vec::new();
    if let (Some(id), Some(metadata)) = (types.find("meta.v1.ObjectMeta"), value.get_mut("metadata")) {
        let findings = strict::check(types, id, metadata);
        if let Some(first) = findings.mistyped.first() {
            return Err(undecodable(call, &format!("metadata.{first}")));
        }
        strict::prune(types, id, metadata);
        object::drop_nulls(metadata);
        unknown.extend(findings.unknown.into_iter().map(|path| format!("metadata.{path}")));
    }
    let schema = call.resource.version(&call.path.version).and_then(|v| v.schema.clone());
    if let Some(schema) = schema {
        unknown.extend(structural::prune(&schema, value));
    }
    Ok(unknown)
}

/// Names of an Event's fields in core/v1 and in events.k8s.io/v1.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// An Event of events.k8s.io/v1 as core/v1 has it.
fn event_to_old(value: Value) -> Value {
    rename(value, "v1", |name| EVENT_FIELDS.iter().find(|(_, new)| *new == name).map(|(old, _)| *old))
}

/// An Event of core/v1 as events.k8s.io/v1 has it.
pub(crate) fn event_to_new(value: Value) -> Value {
    rename(value, "events.k8s.io/v1", |name| EVENT_FIELDS.iter().find(|(old, _)| *old == name).map(|(_, new)| *new))
}

fn rename(value: Value, api_version: &str, other: impl Fn(&str) -> Option<&'static str>) -> Value {
    let Value::Object(map) = value else { return value };
    let renamed = map.into_iter().map(|(name, value)| match other(&name) {
        Some(other) => (other.to_owned(), value),
        None => (name, value),
    });
    let mut value = Value::Object(renamed.collect());
    object::set(&mut value, "apiVersion", json!(api_version));
    value
}

/// Whether strategic merge patches make sense for a kind.
pub(crate) fn is_typed(resource: &Resource) -> bool {
    resource.fields.is_some()
}
