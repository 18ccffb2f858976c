//! Objects in the form that the client asked for.

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use crate::object;
use crate::registry::Resource;
use crate::request::{self, Form};
use crate::respond::{self, Body};
use crate::status::Status;
use crate::store::Object;
use crate::table;

use super::{Call, decode};

/// How a client wants objects: version, form, and for tables how much of the object.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) api_version: String,
    pub(crate) version: String,
    pub(crate) form: Form,
    include: String,
}

impl View {
    pub(crate) fn of(call: &Call) -> Self {
        Self {
            api_version: call.api_version(),
            version: call.path.version.clone(),
            form: request::accepted(&call.headers),
            include: call.query.get("includeObject").to_owned(),
        }
    }

    /// A stored object as JSON in the client's version.
    pub(crate) fn json(&self, resource: &Resource, object: &Object) -> Bytes {
        if resource.renamed_event {
            return decode::event_to_new(object.value.clone()).to_string().into();
        }
        object.json_as(&self.api_version)
    }

    /// An object that was not stored, in the client's version.
    pub(crate) fn value(&self, resource: &Resource, mut value: Value) -> Value {
        if resource.renamed_event {
            return decode::event_to_new(value);
        }
        object::set(&mut value, "apiVersion", json!(self.api_version));
        value
    }

    /// What goes beside the cells of a row.
    pub(crate) fn row_object(&self, resource: &Resource, object: &Value) -> Option<Value> {
        match self.include.as_str() {
            "None" => None,
            "Object" => Some(self.value(resource, object.clone())),
            _ => Some(partial(object)),
        }
    }
}

/// `metadata` alone.
pub(crate) fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.get("metadata")})
}

/// One object.
pub(crate) fn one(call: &Call, code: u16, object: &Object) -> Response<Body> {
    let view = View::of(call);
    match view.form {
        Form::Json => respond::json_text(code, view.json(&call.resource, object)),
        Form::Metadata => respond::json(code, &partial(&object.value)),
        Form::Table => {
            respond::json(code, &table::table(&call.resource, &view, &[&object.value], object.version, true))
        }
    }
}

/// One object that was not stored: the result of a dry run.
pub(crate) fn unstored(call: &Call, code: u16, value: Value) -> Response<Body> {
    let view = View::of(call);
    match view.form {
        Form::Table => respond::json(code, &table::table(&call.resource, &view, &[&value], 0, true)),
        Form::Metadata => respond::json(code, &partial(&value)),
        Form::Json => respond::json(code, &view.value(&call.resource, value)),
    }
}

/// The `Status` that tells of a deletion.
pub(crate) fn deleted(resource: &Resource, name: &str, uid: &str) -> Response<Body> {
    let details = json!({"name": name, "group": resource.group, "kind": resource.plural, "uid": uid});
    respond::json(
        200,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}),
    )
}

/// A status that is a success, as a response of its own.
pub(crate) fn success() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}

/// Fails unless `value` is an object.
pub(crate) fn must_be_object(value: &Value) -> Result<(), Status> {
    if value.is_object() { Ok(()) } else { Err(Status::bad_request("the body of the request is not an object")) }
}
