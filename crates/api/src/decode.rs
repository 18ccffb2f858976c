//! From a raw object to a typed one: errors carry the field path, members that no type knows are listed.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Object, RawObject};

/// A kind that this crate has a type for.
pub trait Resource: DeserializeOwned {
    /// API group; empty for the core group.
    const GROUP: &'static str;
    /// Kind.
    const KIND: &'static str;
    /// Whether the type describes the whole object rather than its `spec`.
    const WHOLE: bool = false;
    /// Whether objects live outside namespaces.
    const CLUSTER_SCOPED: bool = false;
}

/// An object with what was left unread.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<T> {
    /// The object.
    pub object: Object<T>,
    /// Paths of members that the type does not have (`spec.http[0].tiemout`).
    pub unknown: Vec<String>,
}

/// Why an object could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Another kind was asked for.
    #[error("this is a {found}, not a {wanted}")]
    Kind {
        /// What it is.
        found: String,
        /// What was asked for.
        wanted: &'static str,
    },
    /// A field has a value of the wrong type or form.
    #[error("{path}: {message}")]
    Field {
        /// Path from the object's root.
        path: String,
        /// What is wrong.
        message: String,
    },
}

impl RawObject {
    /// Decodes into `T`. Null members count as absent, as on the API server.
    ///
    /// # Errors
    /// [`DecodeError::Kind`] when it is of another kind, [`DecodeError::Field`] with the path of the first field that does not fit.
    pub fn decode<T: Resource>(&self) -> Result<Decoded<T>, DecodeError> {
        if self.kind != T::KIND || self.group() != T::GROUP {
            return Err(DecodeError::Kind { found: format!("{} {}", self.api_version, self.kind), wanted: T::KIND });
        }
        let (prefix, body) = if T::WHOLE {
            let mut body = self.value.clone();
            if let Some(map) = body.as_object_mut() {
                map.retain(|k, _| !matches!(k.as_str(), "apiVersion" | "kind" | "metadata"));
            }
            ("", body)
        } else {
            ("spec", self.value.get("spec").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new())))
        };
        let (spec, unknown) = decode_value(prefix, body)?;
        let status = if T::WHOLE { Value::Null } else { self.value.get("status").cloned().unwrap_or(Value::Null) };
        let object = Object { metadata: self.metadata.clone(), spec, status, position: self.position.clone() };
        Ok(Decoded { object, unknown })
    }
}

/// Decodes one message; `prefix` is where it stands in its object.
///
/// # Errors
/// [`DecodeError::Field`].
pub(crate) fn decode_value<T: DeserializeOwned>(prefix: &str, body: Value) -> Result<(T, Vec<String>), DecodeError> {
    let body = without_nulls(body);
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let inner = serde_path_to_error::Deserializer::new(&body, &mut track);
    let result = serde_ignored::deserialize(inner, |path: serde_ignored::Path<'_>| {
        unknown.push(join(prefix, &path_text(&path)));
    });
    match result {
        Ok(value) => Ok((value, unknown)),
        Err(error) => Err(DecodeError::Field {
            path: join(prefix, track.path().to_string().trim_start_matches('.')),
            message: error.to_string(),
        }),
    }
}

fn join(prefix: &str, path: &str) -> String {
    match (prefix.is_empty(), path.is_empty() || path == ".") {
        (_, true) => prefix.to_owned(),
        (true, false) => path.to_owned(),
        (false, false) => format!("{prefix}.{path}"),
    }
}

/// `http[0].tiemout` from the chain of path segments; newtypes and options leave no trace.
fn path_text(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", path_text(parent)),
        Path::Map { parent, key } => join(&path_text(parent), key),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => path_text(parent),
    }
}

/// Drops members whose value is null, at every depth: they mean "not given".
pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect())
        }
        // An element that is null is a message without members.
        Value::Array(list) => Value::Array(
            list.into_iter()
                .map(|v| if v.is_null() { Value::Object(serde_json::Map::new()) } else { without_nulls(v) })
                .collect(),
        ),
        other => other,
    }
}
