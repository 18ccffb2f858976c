//! Reading and changing objects as JSON: metadata, paths, order of members. Nothing here knows a kind.

use serde_json::{Map, Value, json};

/// The string at a path, empty if there is none.
pub(crate) fn str_at<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// The value at a path.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |v, name| v.get(name))
}

/// The list at a path, empty if there is none.
pub(crate) fn list_at<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The object at a path, made where it is absent. `None` if something else stands in the way.
pub(crate) fn map_at<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut here = value;
    for name in path {
        if here.is_null() {
            *here = json!({});
        }
        here = here.as_object_mut()?.entry(*name).or_insert_with(|| json!({}));
    }
    if here.is_null() {
        *here = json!({});
    }
    here.as_object_mut()
}

/// `metadata`, made where it is absent.
pub(crate) fn metadata(value: &mut Value) -> Option<&mut Map<String, Value>> {
    map_at(value, &["metadata"])
}

/// Sets or removes a member of `metadata`.
pub(crate) fn set_metadata(value: &mut Value, name: &str, new: Option<Value>) {
    let Some(metadata) = metadata(value) else { return };
    match new {
        Some(new) => drop(metadata.insert(name.to_owned(), new)),
        None => drop(metadata.shift_remove(name)),
    }
}

/// Removes a member, keeping the order of the others.
pub(crate) fn remove(value: &mut Value, name: &str) -> Option<Value> {
    value.as_object_mut()?.shift_remove(name)
}

/// Sets a member.
pub(crate) fn set(value: &mut Value, name: &str, new: Value) {
    if let Some(map) = value.as_object_mut() {
        map.insert(name.to_owned(), new);
    }
}

/// Sets a member if it is absent or null.
pub(crate) fn default(map: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    match map.get(name) {
        None | Some(Value::Null) => drop(map.insert(name.to_owned(), value.into())),
        Some(_) => {}
    }
}

/// `metadata.name`.
pub(crate) fn name(value: &Value) -> &str {
    str_at(value, &["metadata", "name"])
}

/// `metadata.namespace`.
pub(crate) fn namespace(value: &Value) -> &str {
    str_at(value, &["metadata", "namespace"])
}

/// `metadata.uid`.
pub(crate) fn uid(value: &Value) -> &str {
    str_at(value, &["metadata", "uid"])
}

/// The value of a label.
pub(crate) fn label<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    at(value, &["metadata", "labels"])?.get(name)?.as_str()
}

/// `metadata.resourceVersion` as a number.
pub(crate) fn resource_version(value: &Value) -> Option<u64> {
    str_at(value, &["metadata", "resourceVersion"]).parse().ok()
}

/// Sets `metadata.resourceVersion`.
pub(crate) fn set_resource_version(value: &mut Value, version: u64) {
    set_metadata(value, "resourceVersion", Some(Value::String(version.to_string())));
}

/// Whether deletion has begun.
pub(crate) fn is_terminating(value: &Value) -> bool {
    !str_at(value, &["metadata", "deletionTimestamp"]).is_empty()
}

/// `metadata.finalizers`.
pub(crate) fn finalizers(value: &Value) -> impl Iterator<Item = &str> {
    list_at(value, &["metadata", "finalizers"]).iter().filter_map(Value::as_str)
}

/// Most levels of lists and objects in an object. What is stored is read back by a parser that takes 128, and who owns the fields is
/// written a few levels below the object's own.
pub(crate) const DEEPEST: usize = 100;

/// Whether a value has more than so many levels of lists and objects.
pub(crate) fn is_deeper(value: &Value, levels: usize) -> bool {
    let below = |child: &Value| levels == 0 || is_deeper(child, levels - 1);
    match value {
        Value::Object(map) => levels == 0 || map.values().any(below),
        Value::Array(list) => levels == 0 || list.iter().any(below),
        _ => false,
    }
}

/// Puts `apiVersion`, `kind` and `metadata` first and leaves the order of the rest.
pub(crate) fn in_order(value: Value) -> Value {
    let Value::Object(mut map) = value else { return value };
    let mut out = Map::with_capacity(map.len());
    for name in ["apiVersion", "kind", "metadata"] {
        if let Some(member) = map.shift_remove(name) {
            out.insert(name.to_owned(), member);
        }
    }
    out.extend(map);
    Value::Object(out)
}

/// Removes members that are null, at every depth: what decoding into a typed object does.
pub(crate) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Now, as Kubernetes writes it: RFC 3339 with seconds.
pub(crate) fn now() -> String {
    time(jiff::Timestamp::now())
}

/// A time, as Kubernetes writes it.
pub(crate) fn time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
