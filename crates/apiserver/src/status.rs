//! Errors as the Kubernetes API tells them: a `Status` with code, reason, message and details. kubectl prints the message as it stands.

use serde_json::{Value, json};

use crate::registry::Resource;
use crate::store::WriteError;

/// What is wrong with one field. See `metav1.StatusCause` and Kubernetes' `field.Error`.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// The path of the field, such as `spec.http[0].route[1].weight`.
    pub field: String,
    /// The kind of fault.
    pub fault: Fault,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// The kind of fault of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The field is missing.
    Required,
    /// The value is not allowed.
    Invalid(Value),
    /// The value is of the wrong type.
    Type(Value),
    /// The value is not one of a fixed set.
    NotSupported(Value),
    /// The value occurs twice.
    Duplicate(Value),
    /// The field may not be set or changed here.
    Forbidden,
}

impl FieldError {
    /// A missing field.
    #[must_use]
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), fault: Fault::Required, detail: detail.into() }
    }

    /// A value that is not allowed.
    #[must_use]
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), fault: Fault::Invalid(value.into()), detail: detail.into() }
    }

    /// A value outside a fixed set.
    #[must_use]
    pub fn not_supported(field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let names: Vec<String> = supported.iter().map(|s| format!("\"{s}\"")).collect();
        Self {
            field: field.into(),
            fault: Fault::NotSupported(value.into()),
            detail: format!("supported values: {}", names.join(", ")),
        }
    }

    /// A field that may not be set or changed.
    #[must_use]
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), fault: Fault::Forbidden, detail: detail.into() }
    }

    fn parts(&self) -> (&'static str, &'static str, Option<&Value>) {
        match &self.fault {
            Fault::Required => ("FieldValueRequired", "Required value", None),
            Fault::Invalid(value) => ("FieldValueInvalid", "Invalid value", Some(value)),
            Fault::Type(value) => ("FieldValueTypeInvalid", "Invalid value", Some(value)),
            Fault::NotSupported(value) => ("FieldValueNotSupported", "Unsupported value", Some(value)),
            Fault::Duplicate(value) => ("FieldValueDuplicate", "Duplicate value", Some(value)),
            Fault::Forbidden => ("FieldValueForbidden", "Forbidden", None),
        }
    }

    /// The message without the field.
    fn body(&self) -> String {
        let (_, words, value) = self.parts();
        let mut out = words.to_owned();
        if let Some(value) = value {
            let text = match value {
                Value::Object(_) | Value::Array(_) => "object".to_owned(),
                other => other.to_string(),
            };
            out.push_str(&format!(": {text}"));
        }
        if !self.detail.is_empty() {
            out.push_str(&format!(": {}", self.detail));
        }
        out
    }
}

/// An answer that is not the thing asked for.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) details: Value,
}

impl Status {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: json!({}) }
    }

    fn about(mut self, resource: &Resource, name: &str) -> Self {
        self.details = json!({"name": name, "group": resource.group, "kind": resource.plural});
        self
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", resource.qualified())).about(resource, name)
    }

    pub(crate) fn no_route() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", resource.qualified()))
            .about(resource, name)
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified());
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// The object has changed since it was read.
    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", resource.qualified());
        Self::new(403, "Forbidden", message).about(resource, name)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub(crate) fn method_not_allowed(method: &http::Method) -> Self {
        Self::new(405, "MethodNotAllowed", format!("the server does not allow {method} on the requested resource"))
    }

    pub(crate) fn unsupported_media_type(accepted: &str) -> Self {
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub(crate) fn expired() -> Self {
        Self::new(410, "Expired", "too old resource version: the history does not reach back that far; list again")
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// The object breaks rules of its kind.
    pub(crate) fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut lines: Vec<String> = errors.iter().map(|e| format!("{}: {}", e.field, e.body())).collect();
        lines.dedup();
        let list = match lines.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let causes: Vec<Value> =
            errors.iter().map(|e| json!({"reason": e.parts().0, "message": e.body(), "field": e.field})).collect();
        let mut status = Self::new(422, "Invalid", format!("{qualified} \"{name}\" is invalid: {list}"));
        status.details = json!({"name": name, "group": group, "kind": kind, "causes": causes});
        status
    }

    pub(crate) fn from_write(error: &WriteError, resource: &Resource, name: &str) -> Self {
        match error {
            WriteError::Exists => Self::already_exists(resource, name),
            WriteError::Missing => Self::not_found(resource, name),
            WriteError::Conflict => Self::modified(resource, name),
            WriteError::Disk(_) => Self::internal(error.to_string()),
            WriteError::Closed => Self::new(503, "ServiceUnavailable", error.to_string()),
        }
    }

    /// The `Status` object.
    pub(crate) fn to_value(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "details": self.details, "code": self.code,
        })
    }
}
