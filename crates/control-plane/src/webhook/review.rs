//! `admission.k8s.io/v1 AdmissionReview`: what the API server asks, and the answers.
//!
//! Pure: bytes in, bytes out, so that every shape of a review can be tested without a server.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use varka_api::RawObject;
use varka_api::validate::{FieldError, validate};
use varka_pilot::not_implemented;

use crate::inject::{Injection, Options, inject};
use crate::metrics::Metrics;

/// The API server shows at most so much of a warning.
const MAX_WARNING: usize = 250;
/// More warnings than this help nobody.
const MAX_WARNINGS: usize = 20;

/// A body that is not a review.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an admission.k8s.io/v1 AdmissionReview with a request: {0}")]
pub(crate) struct NotAReview(&'static str);

/// Answers `/inject`.
pub(crate) fn mutate(body: &[u8], options: &Options, metrics: &Metrics) -> Result<Vec<u8>, NotAReview> {
    let request = request(body)?;
    let pod = request.get("object").ok_or(NotAReview("it has no object"))?;
    let namespace = text(&request, "namespace");
    let response = match inject(pod, namespace, options) {
        Ok(Injection::Patch { patch, warnings }) => {
            metrics.injected.add(1);
            match serde_json::to_vec(&patch) {
                Ok(patch) => json!({
                    "allowed": true,
                    "patchType": "JSONPatch",
                    "patch": BASE64_STANDARD.encode(patch),
                    "warnings": short(warnings),
                }),
                Err(_) => return Err(NotAReview("its object cannot be patched")),
            }
        }
        Ok(Injection::Skip(skip)) => {
            metrics.injection_skipped.add(1);
            tracing::debug!(namespace, pod = text(pod, "name"), ?skip, "pod left alone");
            json!({"allowed": true})
        }
        Err(refusal) => {
            metrics.injection_failed.add(1);
            denied(422, "Invalid", &format!("the sidecar cannot be injected: {refusal}"))
        }
    };
    Ok(answer(&request, response))
}

/// Answers `/validate`.
pub(crate) fn check(body: &[u8], metrics: &Metrics) -> Result<Vec<u8>, NotAReview> {
    let request = request(body)?;
    // What is deleted was stored before; only what comes in is looked at.
    let object = request.get("object").filter(|object| !object.is_null());
    let Some(object) = object.cloned().and_then(RawObject::from_value) else {
        return Ok(answer(&request, json!({"allowed": true})));
    };
    let validation = validate(&object);
    let mut warnings: Vec<_> = validation.warnings.iter().map(FieldError::to_string).collect();
    warnings.extend(not_implemented(&object).iter().map(|d| format!("{}: {}: {}", d.path, d.message, d.effect)));
    let warnings = short(warnings);
    let response = if validation.is_ok() {
        metrics.validation_passed.add(1);
        json!({"allowed": true, "warnings": warnings})
    } else {
        metrics.validation_failed.add(1);
        let errors: Vec<_> = validation.errors.iter().map(FieldError::to_string).collect();
        let group = object.group();
        let name = &object.metadata.name;
        let message = format!("{}.{group} \"{name}\" is invalid: {}", object.kind, list(&errors));
        let mut response = denied(422, "Invalid", &message);
        if let Some(response) = response.as_object_mut() {
            response.insert("warnings".to_owned(), warnings);
        }
        response
    };
    Ok(answer(&request, response))
}

fn list(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

fn request(body: &[u8]) -> Result<Value, NotAReview> {
    let mut review: Value = serde_json::from_slice(body).map_err(|_| NotAReview("it is not JSON"))?;
    if text(&review, "apiVersion") != "admission.k8s.io/v1" || text(&review, "kind") != "AdmissionReview" {
        return Err(NotAReview("apiVersion or kind differ"));
    }
    let request = review.get_mut("request").map(Value::take).filter(Value::is_object);
    let request = request.ok_or(NotAReview("it has no request"))?;
    if text(&request, "uid").is_empty() {
        return Err(NotAReview("its request has no uid"));
    }
    Ok(request)
}

fn answer(request: &Value, mut response: Value) -> Vec<u8> {
    if let (Some(response), Some(uid)) = (response.as_object_mut(), request.get("uid")) {
        response.insert("uid".to_owned(), uid.clone());
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
        .to_string()
        .into_bytes()
}

fn denied(code: u16, reason: &str, message: &str) -> Value {
    json!({"allowed": false, "status": {"status": "Failure", "code": code, "reason": reason, "message": message}})
}

fn short(warnings: Vec<String>) -> Value {
    let cut = |warning: String| match warning.char_indices().nth(MAX_WARNING) {
        Some((end, _)) => format!("{}…", warning.get(..end).unwrap_or_default()),
        None => warning,
    };
    Value::Array(warnings.into_iter().take(MAX_WARNINGS).map(cut).map(Value::String).collect())
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
