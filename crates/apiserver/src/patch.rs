//! The four ways to change an object by a patch, as pure functions.

use serde_json::Value;

pub mod apply;
pub mod json;
pub mod merge;
pub mod strategic;

/// Why the body of a request is no merge patch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not JSON.
    #[error("invalid JSON document: {0}")]
    NotJson(String),
    /// JSON, but no object; an object of the API cannot become anything else.
    #[error("invalid JSON document: a patch that merges is an object, and this is {0}")]
    NotObject(&'static str),
}

/// Reads a merge patch or a strategic merge patch.
pub fn read(text: &[u8]) -> Result<Value, BodyError> {
    let kind = match serde_json::from_slice(text).map_err(|e| BodyError::NotJson(e.to_string()))? {
        patch @ Value::Object(_) => return Ok(patch),
        Value::Array(_) => "a list",
        Value::String(_) => "a string",
        Value::Number(_) => "a number",
        Value::Bool(_) => "a boolean",
        Value::Null => "null",
    };
    Err(BodyError::NotObject(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_that_merges_is_an_object() {
        assert_eq!(read(b"{\"a\":null}"), Ok(serde_json::json!({"a": null})));
        for body in ["", "{", "null", "\"a\"", "[]", "1", "true"] {
            let error = read(body.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("invalid JSON document"), "{body}: {error}");
        }
    }
}
