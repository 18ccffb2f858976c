//! What is written but says nothing: nulls in lists and maps, lists that must not be empty.
//!
//! A null member counts as absent, as on every API server. A null element or a null entry of a map does not: someone meant something
//! there, and a rule without it would mean another thing.

use serde_json::Value;

use super::Validation;
use crate::RawObject;

/// Maps whose keys are names that people choose, with the member that they are in; empty: any.
const MAPS: &[(&str, &str)] = &[
    ("match", "headers"),
    ("match", "withoutHeaders"),
    ("match", "queryParams"),
    ("match", "sourceLabels"),
    ("", "matchLabels"),
    ("", "portLevelMtls"),
    ("", "customTags"),
    ("", "tagOverrides"),
];

/// Members whose form is not ours.
const OPAQUE: &[&str] = &["pluginConfig", "value"];

/// Nulls in lists and maps of `spec`.
pub(super) fn nulls(object: &RawObject, v: &mut Validation) {
    if let Some(spec) = object.value.get("spec") {
        walk(v, "spec", "", "spec", spec);
    }
}

fn walk(v: &mut Validation, path: &str, parent: &str, name: &str, value: &Value) {
    match value {
        Value::Array(list) => {
            for (i, item) in list.iter().enumerate() {
                let path = format!("{path}[{i}]");
                if item.is_null() {
                    v.error_with_fix(path, "the element is null", "Write the element, or leave it out of the list");
                } else {
                    walk(v, &path, parent, name, item);
                }
            }
        }
        Value::Object(map) => {
            let named = MAPS.iter().any(|(of, map)| *map == name && (of.is_empty() || *of == parent));
            for (key, item) in map.iter().filter(|(key, _)| !OPAQUE.contains(&key.as_str())) {
                let path = format!("{path}.{key}");
                if item.is_null() && named {
                    v.error_with_fix(path, "the entry is null", "Give it a value, or leave it out");
                } else {
                    walk(v, &path, name, key, item);
                }
            }
        }
        _ => {}
    }
}

/// `from: []` and `to: []` of an AuthorizationPolicy read like "nobody" and "nothing", and would mean everybody and everything.
pub(super) fn rules(object: &RawObject, v: &mut Validation) {
    let rules = object.value.pointer("/spec/rules").and_then(Value::as_array);
    for (i, rule) in rules.into_iter().flatten().enumerate() {
        for (field, all) in [("from", "whoever asks"), ("to", "whatever is asked")] {
            if rule.get(field).and_then(Value::as_array).is_some_and(Vec::is_empty) {
                v.error_with_fix(
                    format!("spec.rules[{i}].{field}"),
                    "the list is empty",
                    format!("Leave `{field}` out where the rule is for {all}, or name at least one"),
                );
            }
        }
    }
}
