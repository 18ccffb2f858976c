//! JSON Patch, RFC 6902, with what Kubernetes' implementation adds: negative array indexes count from the end, `test` for null passes where
//! an object lacks the member, a scalar cannot become the whole document, and copies have a limit.

use serde::Deserialize;
use serde_json::Value;

use crate::object::{DEEPEST, is_deeper};

/// Most operations of one patch, as kube-apiserver's.
const MAX_OPERATIONS: usize = 10_000;
/// Most bytes, as JSON text, that the `copy` operations of one patch may add, as kube-apiserver's: copies of copies grow without bound.
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// A patch: operations in order.
#[derive(Clone, Debug)]
pub struct Patch(Vec<Operation>);

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Operation {
    Add {
        path: String,
        value: Value,
    },
    Remove {
        path: String,
    },
    Replace {
        path: String,
        value: Value,
    },
    Move {
        from: String,
        path: String,
    },
    Copy {
        from: String,
        path: String,
    },
    Test {
        path: String,
        #[serde(default)]
        value: Value,
    },
}

/// Why a patch cannot be read or applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonPatchError {
    /// Not a patch.
    #[error("not a JSON patch: {0}")]
    Malformed(String),
    /// More operations than are allowed.
    #[error("the patch has {0} operations; at most {MAX_OPERATIONS} are allowed")]
    TooLong(usize),
    /// A path that names nothing.
    #[error("{op} operation does not apply: no value at path \"{path}\"")]
    Missing {
        /// The operation.
        op: &'static str,
        /// Its path.
        path: String,
    },
    /// A `test` that does not hold.
    #[error("testing path \"{0}\": the value is not the one expected")]
    TestFailed(String),
    /// Copies that together are too large.
    #[error("the copies of the patch come to {0} bytes; at most {1} are allowed")]
    CopiesTooLarge(usize, usize),
    /// A document that would be nested too deeply.
    #[error(
        "{op} operation does not apply: at path \"{path}\" the document would be nested deeper than {DEEPEST} levels"
    )]
    TooDeep {
        /// The operation.
        op: &'static str,
        /// Its path.
        path: String,
    },
    /// A scalar in place of the whole document.
    #[error("{0} operation does not apply: only an object or a list can be the whole document")]
    ScalarRoot(&'static str),
}

/// Reads a patch.
pub fn parse(text: &[u8]) -> Result<Patch, JsonPatchError> {
    let raw: Vec<Value> = serde_json::from_slice(text).map_err(|e| JsonPatchError::Malformed(e.to_string()))?;
    if raw.len() > MAX_OPERATIONS {
        return Err(JsonPatchError::TooLong(raw.len()));
    }
    let read = |operation: Value| -> Result<Operation, JsonPatchError> {
        // A member that is null counts as present; serde would take a missing `value` of `add` for null otherwise.
        let missing = matches!(operation.get("op").and_then(Value::as_str), Some("add" | "replace"))
            && operation.get("value").is_none();
        if missing {
            return Err(JsonPatchError::Malformed("operation without value".to_owned()));
        }
        serde_json::from_value(operation).map_err(|e| JsonPatchError::Malformed(e.to_string()))
    };
    raw.into_iter().map(read).collect::<Result<_, _>>().map(Patch)
}

/// Applies a patch to a copy of the document.
pub fn apply(document: &Value, patch: &Patch) -> Result<Value, JsonPatchError> {
    apply_within(document, patch, MAX_COPIED)
}

/// Applies a patch whose copies may add so many bytes.
pub fn apply_within(document: &Value, patch: &Patch, most_copied: usize) -> Result<Value, JsonPatchError> {
    let mut document = document.clone();
    let mut copied = 0;
    for operation in &patch.0 {
        if let Operation::Copy { from, .. } = operation
            && let Some(value) = find_mut(&mut document, from)
        {
            copied += value.to_string().len();
            if copied > most_copied {
                return Err(JsonPatchError::CopiesTooLarge(copied, most_copied));
            }
        }
        run(&mut document, operation)?;
    }
    Ok(document)
}

fn run(document: &mut Value, operation: &Operation) -> Result<(), JsonPatchError> {
    match operation {
        Operation::Add { path, value } => add(document, path, value.clone(), "add"),
        Operation::Remove { path } => take(document, path, "remove").map(drop),
        Operation::Replace { path, value } => match find_mut(document, path) {
            Some(_) if path.is_empty() => add(document, path, value.clone(), "replace"),
            Some(slot) => {
                check_depth(value, path, "replace")?;
                *slot = value.clone();
                Ok(())
            }
            None => Err(missing("replace", path)),
        },
        Operation::Move { from, path } => {
            let inside = path.strip_prefix(from.as_str()).is_some_and(|rest| rest.starts_with('/'));
            if inside {
                return Err(missing("move", path));
            }
            let value = take(document, from, "move")?;
            add(document, path, value, "move")
        }
        Operation::Copy { from, path } => {
            let value = find_mut(document, from).cloned().ok_or_else(|| missing("copy", from))?;
            add(document, path, value, "copy")
        }
        Operation::Test { path, value } => {
            let holds = match find_mut(document, path) {
                Some(found) => equal(found, value),
                None => value.is_null() && matches!(parent(document, path), Some((Value::Object(_), _))),
            };
            if holds { Ok(()) } else { Err(JsonPatchError::TestFailed(path.clone())) }
        }
    }
}

/// Documents that are moved into each other would grow level by level, beyond what can be read back.
fn check_depth(value: &Value, path: &str, op: &'static str) -> Result<(), JsonPatchError> {
    let room = DEEPEST.checked_sub(path.matches('/').count());
    if room.is_none_or(|room| is_deeper(value, room)) {
        return Err(JsonPatchError::TooDeep { op, path: path.to_owned() });
    }
    Ok(())
}

fn missing(op: &'static str, path: &str) -> JsonPatchError {
    JsonPatchError::Missing { op, path: path.to_owned() }
}

/// Whether two documents are equal as JSON: numbers by value, objects without order.
#[must_use]
pub fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || (x.is_f64() || y.is_f64()) && x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| equal(v, w)))
        }
        _ => a == b,
    }
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// The tokens of a pointer; `None` if it does not start with a slash.
fn tokens(path: &str) -> Option<Vec<String>> {
    if path.is_empty() {
        return Some(Vec::new());
    }
    path.strip_prefix('/').map(|rest| rest.split('/').map(unescape).collect())
}

/// The index that a token means in an array of that length; for additions the end counts too.
fn index(token: &str, length: usize, adding: bool) -> Option<usize> {
    let bound = if adding { length + 1 } else { length };
    if token == "-" {
        return adding.then_some(length);
    }
    if token.len() > 1 && token.starts_with('0') {
        return None;
    }
    let number: i64 = token.parse().ok()?;
    let index = match usize::try_from(number) {
        Ok(index) => index,
        Err(_) => bound.checked_sub(usize::try_from(number.checked_neg()?).ok()?)?,
    };
    (index < bound).then_some(index)
}

fn step<'a>(value: &'a mut Value, token: &str) -> Option<&'a mut Value> {
    match value {
        Value::Object(map) => map.get_mut(token),
        Value::Array(list) => {
            let index = index(token, list.len(), false)?;
            list.get_mut(index)
        }
        _ => None,
    }
}

fn find_mut<'a>(document: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    tokens(path)?.iter().try_fold(document, |value, token| step(value, token))
}

fn parent<'a>(document: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let mut tokens = tokens(path)?;
    let last = tokens.pop()?;
    let parent = tokens.iter().try_fold(document, |value, token| step(value, token))?;
    Some((parent, last))
}

fn add(document: &mut Value, path: &str, value: Value, op: &'static str) -> Result<(), JsonPatchError> {
    check_depth(&value, path, op)?;
    if path.is_empty() {
        if !matches!(value, Value::Object(_) | Value::Array(_) | Value::Null) {
            return Err(JsonPatchError::ScalarRoot(op));
        }
        *document = value;
        return Ok(());
    }
    match parent(document, path) {
        Some((Value::Object(map), name)) => {
            map.insert(name, value);
            Ok(())
        }
        Some((Value::Array(list), token)) => {
            let index = index(&token, list.len(), true).ok_or_else(|| missing(op, path))?;
            list.insert(index, value);
            Ok(())
        }
        _ => Err(missing(op, path)),
    }
}

fn take(document: &mut Value, path: &str, op: &'static str) -> Result<Value, JsonPatchError> {
    let taken = match parent(document, path) {
        Some((Value::Object(map), name)) => map.shift_remove(&name),
        Some((Value::Array(list), token)) => index(&token, list.len(), false).map(|i| list.remove(i)),
        _ => None,
    };
    taken.ok_or_else(|| missing(op, path))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(document: Value, patch: Value) -> Result<Value, JsonPatchError> {
        apply(&document, &parse(patch.to_string().as_bytes())?)
    }

    #[test]
    fn operations() {
        let patch = json!([
            {"op": "test", "path": "/a/0", "value": 1},
            {"op": "add", "path": "/a/-", "value": 3},
            {"op": "replace", "path": "/b~1c", "value": null},
            {"op": "move", "from": "/d", "path": "/e"},
            {"op": "copy", "from": "/a/-1", "path": "/f"},
            {"op": "remove", "path": "/a/0"},
        ]);
        let document = json!({"a": [1, 2], "b/c": 1, "d": {}});
        assert_eq!(run(document, patch).unwrap(), json!({"a": [2, 3], "b/c": null, "e": {}, "f": 3}));
    }

    #[test]
    fn copies_of_copies_end_at_the_limit() {
        let double = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        let patch = json!(vec![double; 30]);
        let error = run(json!({"a": ["0123456789"]}), patch).unwrap_err();
        assert!(matches!(error, JsonPatchError::CopiesTooLarge(_, MAX_COPIED)), "{error}");
    }

    #[test]
    fn a_test_for_null_passes_only_where_an_object_lacks_the_member() {
        let test = |path: &str| run(json!({"a": [1], "b": {}}), json!([{"op": "test", "path": path, "value": null}]));
        assert!(test("/x").is_ok());
        assert!(test("/b/x").is_ok());
        for path in ["/a/1", "/a", "/x/y", "/a/0"] {
            assert!(test(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_scalar_cannot_become_the_document() {
        for op in ["add", "replace"] {
            assert!(run(json!({}), json!([{"op": op, "path": "", "value": "a"}])).is_err());
            assert_eq!(run(json!({}), json!([{"op": op, "path": "", "value": {"a": 1}}])).unwrap(), json!({"a": 1}));
        }
        assert!(run(json!({"a": 1}), json!([{"op": "copy", "from": "/a", "path": ""}])).is_err());
    }

    #[test]
    fn moves_do_not_nest_without_end() {
        let mut patch = Vec::new();
        for _ in 0..200 {
            patch.push(json!({"op": "add", "path": "/b", "value": {}}));
            patch.push(json!({"op": "move", "from": "/a", "path": "/b/a"}));
            patch.push(json!({"op": "move", "from": "/b", "path": "/a"}));
        }
        let error = run(json!({"a": {}}), Value::from(patch)).unwrap_err();
        assert!(matches!(error, JsonPatchError::TooDeep { op: "move", .. }), "{error}");
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        for patch in [
            json!([{"op": "remove", "path": "/x"}]),
            json!([{"op": "replace", "path": "/x", "value": 1}]),
            json!([{"op": "add", "path": "/x/y", "value": 1}]),
            json!([{"op": "add", "path": "/a/7", "value": 1}]),
            json!([{"op": "test", "path": "/x", "value": 1}]),
            json!([{"op": "add", "path": "/x"}]),
            json!([{"op": "jump", "path": "/x"}]),
        ] {
            assert!(run(json!({"a": [1]}), patch.clone()).is_err(), "{patch}");
        }
    }
}
