//! Custom kinds: what their CRD's structural schema prunes, defaults and refuses.
//!
//! A structural schema says at every place which fields exist, so unknown ones can be dropped; see
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>.
//! CEL rules (`x-kubernetes-validations`) are not evaluated: the kinds that need such rules are validated by the product itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};

use crate::object::{list_at, str_at};
use crate::status::{Fault, FieldError};

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

/// Removes fields that the schema does not know, and reports their paths.
pub fn prune(schema: &Value, object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    prune_at(schema, object, "", true, &mut unknown);
    unknown
}

fn is_true(schema: &Value, name: &str) -> bool {
    schema.get(name) == Some(&Value::Bool(true))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn prune_at(schema: &Value, value: &mut Value, path: &str, root: bool, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let additional = schema.get("additionalProperties").filter(|a| a.is_object());
            let open = is_true(schema, PRESERVE) || schema.get("additionalProperties") == Some(&Value::Bool(true));
            let embedded = root || is_true(schema, "x-kubernetes-embedded-resource");
            map.retain(|name, child| {
                if embedded && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                    return true;
                }
                let at = join(path, name);
                match properties.and_then(|p| p.get(name)).or(additional) {
                    Some(inner) => prune_at(inner, child, &at, false, unknown),
                    None if open => {}
                    None => {
                        unknown.push(at);
                        return false;
                    }
                }
                true
            });
        }
        Value::Array(list) => {
            let Some(items) = schema.get("items") else { return };
            for (index, child) in list.iter_mut().enumerate() {
                prune_at(items, child, &format!("{path}[{index}]"), false, unknown);
            }
        }
        _ => {}
    }
}

/// Fills in defaults where a field is absent, and drops nulls that stand in their way.
pub fn fill_defaults(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
                fill_properties(properties, map);
            }
            if let Some(additional) = schema.get("additionalProperties").filter(|a| a.is_object()) {
                let known = schema.get("properties");
                let others = map.iter_mut().filter(|(name, _)| known.and_then(|k| k.get(name.as_str())).is_none());
                others.for_each(|(_, child)| fill_defaults(additional, child));
            }
        }
        Value::Array(list) => {
            if let Some(items) = schema.get("items") {
                list.iter_mut().for_each(|child| fill_defaults(items, child));
            }
        }
        _ => {}
    }
}

fn fill_properties(properties: &Map<String, Value>, map: &mut Map<String, Value>) {
    for (name, inner) in properties {
        let nullable = is_true(inner, "nullable");
        if !nullable
            && map.get(name).is_some_and(Value::is_null)
            && (inner.get("default").is_some() || inner.get("type").is_some())
        {
            map.shift_remove(name);
        }
        if let (None, Some(default)) = (map.get(name), inner.get("default")) {
            map.insert(name.clone(), default.clone());
        }
        if let Some(child) = map.get_mut(name) {
            fill_defaults(inner, child);
        }
    }
}

/// The faults of an object.
pub fn validate(schema: &Value, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    validate_at(schema, object, "", &mut errors);
    errors
}

fn validate_at(schema: &Value, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if value.is_null() && is_true(schema, "nullable") {
        return;
    }
    if !has_type(schema, value) {
        let wanted = str_at(schema, &["type"]);
        let detail = format!("{} in body must be of type {wanted}: \"{}\"", or_body(path), type_name(value));
        errors.push(FieldError { field: or_body(path).to_owned(), fault: Fault::Type(value.clone()), detail });
        return;
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let names: Vec<String> = allowed.iter().map(Value::to_string).collect();
        let detail = format!("supported values: {}", names.join(", "));
        errors.push(FieldError { field: path.to_owned(), fault: Fault::NotSupported(value.clone()), detail });
    }
    match value {
        Value::Object(map) => validate_object(schema, map, path, errors),
        Value::Array(list) => validate_array(schema, list, path, errors),
        Value::String(text) => validate_string(schema, text, path, errors),
        Value::Number(number) => validate_number(schema, number.as_f64().unwrap_or(0.0), value, path, errors),
        Value::Null | Value::Bool(_) => {}
    }
    validate_combined(schema, value, path, errors);
}

fn or_body(path: &str) -> &str {
    if path.is_empty() { "<root>" } else { path }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn has_type(schema: &Value, value: &Value) -> bool {
    if is_true(schema, "x-kubernetes-int-or-string") {
        return value.is_string() || value.is_i64() || value.is_u64();
    }
    match str_at(schema, &["type"]) {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|f| f.fract() == 0.0),
        "number" => value.is_number(),
        _ => true,
    }
}

fn validate_object(schema: &Value, map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    for name in list_at(schema, &["required"]).iter().filter_map(Value::as_str) {
        if !map.contains_key(name) {
            errors.push(FieldError::required(join(path, name), ""));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let additional = schema.get("additionalProperties").filter(|a| a.is_object());
    for (name, child) in map {
        if let Some(inner) = properties.and_then(|p| p.get(name)).or(additional) {
            validate_at(inner, child, &join(path, name), errors);
        }
    }
    limit(schema, "maxProperties", map.len(), |max, len| len > max, path, "must have at most {} properties", errors);
    limit(schema, "minProperties", map.len(), |min, len| len < min, path, "must have at least {} properties", errors);
}

fn validate_array(schema: &Value, list: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    if let Some(items) = schema.get("items") {
        for (index, child) in list.iter().enumerate() {
            validate_at(items, child, &format!("{path}[{index}]"), errors);
        }
    }
    limit(schema, "maxItems", list.len(), |max, len| len > max, path, "must have at most {} items", errors);
    limit(schema, "minItems", list.len(), |min, len| len < min, path, "should have at least {} items", errors);
    let keys: Vec<&str> = list_at(schema, &["x-kubernetes-list-map-keys"]).iter().filter_map(Value::as_str).collect();
    let identity = |item: &Value| -> Value {
        if keys.is_empty() {
            item.clone()
        } else {
            keys.iter().map(|k| item.get(*k).cloned().unwrap_or_default()).collect()
        }
    };
    if !matches!(str_at(schema, &["x-kubernetes-list-type"]), "map" | "set") && !is_true(schema, "uniqueItems") {
        return;
    }
    let mut seen = std::collections::HashSet::new();
    for (index, item) in list.iter().enumerate() {
        if !seen.insert(identity(item).to_string()) {
            let fault = Fault::Duplicate(identity(item));
            errors.push(FieldError { field: format!("{path}[{index}]"), fault, detail: String::new() });
        }
    }
}

fn limit(
    schema: &Value,
    name: &str,
    len: usize,
    broken: fn(u64, u64) -> bool,
    path: &str,
    text: &str,
    errors: &mut Vec<FieldError>,
) {
    let Some(bound) = schema.get(name).and_then(Value::as_u64) else { return };
    let len = u64::try_from(len).unwrap_or(u64::MAX);
    if broken(bound, len) {
        errors.push(FieldError::invalid(path, len, text.replace("{}", &bound.to_string())));
    }
}

fn validate_string(schema: &Value, text: &str, path: &str, errors: &mut Vec<FieldError>) {
    let length = text.chars().count();
    limit(schema, "maxLength", length, |max, len| len > max, path, "may not be longer than {}", errors);
    limit(schema, "minLength", length, |min, len| len < min, path, "should be at least {} chars long", errors);
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && !matches(pattern, text)
    {
        errors.push(FieldError::invalid(path, text, format!("{path} in body should match '{pattern}'")));
    }
    if str_at(schema, &["format"]) == "date-time" && text.parse::<jiff::Timestamp>().is_err() {
        errors.push(FieldError::invalid(path, text, format!("{path} in body must be of type date-time")));
    }
}

/// Whether a text matches a pattern of a schema. A pattern that the engine does not know matches all.
fn matches(pattern: &str, text: &str) -> bool {
    static COMPILED: Mutex<Option<HashMap<String, Option<regex::Regex>>>> = Mutex::new(None);
    const MOST: usize = 1024;
    let mut guard = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let compiled = guard.get_or_insert_default();
    if compiled.len() >= MOST {
        compiled.clear();
    }
    let regex = compiled.entry(pattern.to_owned()).or_insert_with(|| regex::Regex::new(pattern).ok());
    regex.as_ref().is_none_or(|r| r.is_match(text))
}

fn validate_number(schema: &Value, number: f64, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    if let Some(max) = bound("maximum")
        && (number > max || (is_true(schema, "exclusiveMaximum") && number >= max))
    {
        errors.push(FieldError::invalid(
            path,
            value.clone(),
            format!("{path} in body should be less than or equal to {max}"),
        ));
    }
    if let Some(min) = bound("minimum")
        && (number < min || (is_true(schema, "exclusiveMinimum") && number <= min))
    {
        errors.push(FieldError::invalid(
            path,
            value.clone(),
            format!("{path} in body should be greater than or equal to {min}"),
        ));
    }
    if let Some(step) = bound("multipleOf")
        && step != 0.0
        && (number / step).fract() != 0.0
    {
        errors.push(FieldError::invalid(path, value.clone(), format!("{path} in body should be a multiple of {step}")));
    }
}

fn validate_combined(schema: &Value, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let holds = |inner: &Value| validate_at_quietly(inner, value, path);
    for inner in list_at(schema, &["allOf"]) {
        validate_at(inner, value, path, errors);
    }
    let any = list_at(schema, &["anyOf"]);
    if !any.is_empty() && !any.iter().any(holds) {
        errors.push(FieldError::invalid(
            path,
            Value::Null,
            format!("{} in body must validate at least one schema (anyOf)", or_body(path)),
        ));
    }
    let one = list_at(schema, &["oneOf"]);
    if !one.is_empty() && one.iter().filter(|s| holds(s)).count() != 1 {
        errors.push(FieldError::invalid(
            path,
            Value::Null,
            format!("{} in body must validate one and only one schema (oneOf)", or_body(path)),
        ));
    }
    if schema.get("not").is_some_and(holds) {
        errors.push(FieldError::invalid(
            path,
            Value::Null,
            format!("{} in body must not validate the schema (not)", or_body(path)),
        ));
    }
}

fn validate_at_quietly(schema: &Value, value: &Value, path: &str) -> bool {
    let mut errors = Vec::new();
    validate_at(schema, value, path, &mut errors);
    errors.is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["host"], "properties": {
            "host": {"type": "string", "minLength": 1},
            "mode": {"type": "string", "enum": ["A", "B"], "default": "A"},
            "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        }}}})
    }

    #[test]
    fn unknown_fields_are_dropped_and_named() {
        let mut object = json!({"apiVersion": "a/v1", "metadata": {"x": 1}, "spec": {"host": "a", "hots": 1, "free": {"y": 1}, "parts": [{"nam": 1}]}});
        assert_eq!(prune(&schema(), &mut object), ["spec.hots", "spec.parts[0].nam"]);
        assert_eq!(object["spec"], json!({"host": "a", "free": {"y": 1}, "parts": [{}]}));
    }

    #[test]
    fn defaults_and_faults() {
        let mut object = json!({"spec": {"mode": null, "port": 3, "parts": [{"name": "a"}, {"name": "a"}]}});
        fill_defaults(&schema(), &mut object);
        assert_eq!(object["spec"]["mode"], "A");
        let fields: Vec<String> = validate(&schema(), &object).into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["spec.host", "spec.parts[1]"]);
        let wrong = json!({"spec": {"host": "a", "mode": "C", "port": true}});
        assert_eq!(validate(&schema(), &wrong).len(), 2);
    }
}
