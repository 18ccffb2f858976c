//! What is wrong with an object, or will surprise: what the control plane says of it when it comes, with lines.

pub(super) mod references;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use varka_api::validate::{FieldError, validate};
use varka_api::{Problem, RawObject};
use varka_pilot::{Severity, not_implemented};

use super::{Refused, Shared};
use crate::world::World;
use references::Known;

/// A text is at most so long.
const LARGEST: usize = 1 << 20;

#[derive(Debug, Deserialize)]
pub(super) struct Text {
    yaml: String,
}

pub(super) async fn check(State(source): Shared, Json(text): Json<Text>) -> Result<Json<Value>, Refused> {
    if text.yaml.len() > LARGEST {
        return Err(Refused::bad(format!("the text is larger than {LARGEST} bytes")));
    }
    Ok(Json(json!({"findings": of_text_in(&text.yaml, &source.world, &source.domain)})))
}

/// Findings of every document of a text.
pub(super) fn of_text(text: &str) -> Vec<Value> {
    let (objects, problems) = varka_api::read("", text);
    of_read(&objects, &problems)
}

fn of_read(objects: &[RawObject], problems: &[Problem]) -> Vec<Value> {
    let unreadable = problems.iter().map(|problem| finding("error", "yaml", &problem.message, "", "", problem.line));
    unreadable.chain(objects.iter().flat_map(of_object)).collect()
}

/// The same, and what the objects name that is not there.
pub(super) fn of_text_in(text: &str, world: &World, domain: &str) -> Vec<Value> {
    let (objects, problems) = varka_api::read("", text);
    let known = Known::of(world, domain).with(&objects);
    let missing = objects.iter().flat_map(|object| known.missing(object));
    of_read(&objects, &problems).into_iter().chain(missing).collect()
}

/// How many errors and warnings an object of the API has.
pub(super) fn count(object: &Value, known: &Known) -> Value {
    let of = |raw: RawObject| -> Vec<Value> { of_object(&raw).into_iter().chain(known.missing(&raw)).collect() };
    let found = RawObject::from_value(object.clone()).map(of).unwrap_or_default();
    let of = |severity: &str| found.iter().filter(|finding| finding["severity"] == severity).count();
    json!({"errors": of("error"), "warnings": of("warning")})
}

fn of_object(object: &RawObject) -> Vec<Value> {
    let line = |path: &str| object.position.line_of(path);
    let validation = validate(object);
    let said = |severity: &'static str| {
        move |error: &FieldError| {
            let fix = error.fix.as_deref().unwrap_or_default();
            finding(severity, "invalid", &error.message, fix, &error.path, line(&error.path))
        }
    };
    let errors = validation.errors.iter().map(said("error"));
    let warnings = validation.warnings.iter().map(said("warning"));
    let unsupported = not_implemented(object);
    let unsupported = unsupported.iter().map(|d| {
        let severity = match d.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        finding(severity, d.code, &d.message, &d.effect, &d.path, line(&d.path))
    });
    errors.chain(warnings).chain(unsupported).collect()
}

pub(super) fn finding(severity: &str, code: &str, message: &str, hint: &str, field: &str, line: u32) -> Value {
    json!({
        "severity": severity, "code": code, "message": message, "hint": hint, "field": field, "line": line,
        "column": u32::from(line > 0),
    })
}
