//! JSON Merge Patch, RFC 7396.

use serde_json::{Map, Value};

/// Applies a patch: null removes a member, objects merge, everything else replaces.
#[must_use]
pub fn apply(target: Value, patch: &Value) -> Value {
    let Value::Object(members) = patch else { return patch.clone() };
    let mut out = match target {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    for (name, change) in members {
        if change.is_null() {
            out.shift_remove(name);
        } else {
            let old = out.get_mut(name).map(Value::take).unwrap_or_default();
            out.insert(name.clone(), apply(old, change));
        }
    }
    Value::Object(out)
}

/// The patch that makes `modified` of `original`.
#[must_use]
pub fn create(original: &Value, modified: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (original, modified) else { return modified.clone() };
    let mut patch = Map::new();
    for (name, value) in new {
        match old.get(name) {
            Some(before) if super::json::equal(before, value) => {}
            Some(before) if before.is_object() && value.is_object() => {
                drop(patch.insert(name.clone(), create(before, value)))
            }
            _ => drop(patch.insert(name.clone(), value.clone())),
        }
    }
    for name in old.keys().filter(|n| !new.contains_key(*n)) {
        patch.insert(name.clone(), Value::Null);
    }
    Value::Object(patch)
}

/// One patch that does what `first` and then `second` do.
#[must_use]
pub fn combine(first: &Value, second: &Value) -> Value {
    let (Value::Object(a), Value::Object(b)) = (first, second) else { return second.clone() };
    let mut out = a.clone();
    for (name, change) in b {
        let merged = match out.get(name) {
            Some(before) if before.is_object() && change.is_object() => combine(before, change),
            _ => change.clone(),
        };
        out.insert(name.clone(), merged);
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_removes_and_objects_merge() {
        let target = json!({"a": {"b": 1, "c": [1]}, "d": 2});
        let patch = json!({"a": {"b": null, "c": [2], "e": {"f": null}}, "g": null});
        assert_eq!(apply(target, &patch), json!({"a": {"c": [2], "e": {}}, "d": 2}));
        assert_eq!(apply(json!([1]), &json!({"a": 1})), json!({"a": 1}));
    }

    #[test]
    fn a_created_patch_leads_from_one_to_the_other() {
        let (a, b) = (json!({"a": {"b": 1, "c": 2}, "d": [1]}), json!({"a": {"b": 1, "x": {"y": 1}}, "d": [2]}));
        let patch = create(&a, &b);
        assert_eq!(patch, json!({"a": {"x": {"y": 1}, "c": null}, "d": [2]}));
        assert_eq!(apply(a, &patch), b);
    }
}
