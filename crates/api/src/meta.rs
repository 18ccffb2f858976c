//! What every object has: names, labels, and where it was written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `metadata` of an object, as far as the mesh reads it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectMeta {
    /// Name, unique in its namespace and kind.
    pub name: String,
    /// Prefix of a name that the server completes.
    pub generate_name: String,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339; decides which of two conflicting objects is older. Empty sorts first.
    pub creation_timestamp: Option<String>,
    /// Set while the object waits for finalizers.
    pub deletion_timestamp: Option<String>,
    /// Version of the stored object.
    pub resource_version: String,
    /// Identity over deletion and re-creation.
    pub uid: String,
    /// Counts changes of the specification.
    pub generation: i64,
    /// Who owns it.
    pub owner_references: Vec<OwnerReference>,
}

/// `metadata.ownerReferences[]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerReference {
    /// API version of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner, in the same namespace.
    pub name: String,
    /// Whether it is the managing controller.
    pub controller: Option<bool>,
}

/// `metav1.LabelSelector`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    /// All must be equal.
    pub match_labels: BTreeMap<String, String>,
    /// All must hold.
    pub match_expressions: Vec<SelectorRequirement>,
}

/// One of `matchExpressions`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SelectorRequirement {
    /// Label key.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Values of `In` and `NotIn`.
    pub values: Vec<String>,
}

impl LabelSelector {
    /// Whether `labels` satisfy it. An unknown operator satisfies nobody.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(k, v)| labels.get(k) == Some(v))
            && self.match_expressions.iter().all(|r| {
                let value = labels.get(&r.key);
                match r.operator.as_str() {
                    "In" => value.is_some_and(|v| r.values.contains(v)),
                    "NotIn" => value.is_none_or(|v| !r.values.contains(v)),
                    "Exists" => value.is_some(),
                    "DoesNotExist" => value.is_none(),
                    _ => false,
                }
            })
    }
}

/// Where an object stands in its source, and where each of its fields does.
#[derive(Clone, Default)]
pub struct Position {
    source: Arc<str>,
    line: u32,
    fields: Arc<BTreeMap<String, u32>>,
}

impl Position {
    /// An object that starts at `line` of `source`, with the lines of its fields by path (`spec.http[0].timeout`).
    pub fn new(source: Arc<str>, line: u32, fields: BTreeMap<String, u32>) -> Self {
        Self { source, line, fields: Arc::new(fields) }
    }

    /// Name of the file or stream; empty for objects that came from the API.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// First line of the object, from 1; 0 when unknown.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Line of `path`, or of its nearest ancestor that is written down.
    pub fn line_of(&self, path: &str) -> u32 {
        let mut path = path;
        loop {
            if let Some(line) = self.fields.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None => return self.line,
            }
        }
    }

    /// `file:line` of `path`; `None` for objects that came from the API.
    pub fn at(&self, path: &str) -> Option<String> {
        (self.line > 0).then(|| format!("{}:{}", self.source, self.line_of(path)))
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.line)
    }
}

/// Positions never make two objects differ.
impl PartialEq for Position {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// An object of any kind, not decoded yet.
#[derive(Debug, Clone, PartialEq)]
pub struct RawObject {
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// The whole object, these members included.
    pub value: Value,
    /// Where it was written.
    pub position: Position,
}

impl RawObject {
    /// From the API's JSON; `None` without `kind`, `apiVersion` or well-formed metadata.
    pub fn from_value(value: Value) -> Option<Self> {
        let api_version = value.get("apiVersion")?.as_str()?.to_owned();
        let kind = value.get("kind")?.as_str()?.to_owned();
        let metadata = match value.get("metadata") {
            Some(m) => serde_json::from_value(crate::decode::without_nulls(m.clone())).ok()?,
            None => ObjectMeta::default(),
        };
        Some(Self { api_version, kind, metadata, value, position: Position::default() })
    }

    /// API group; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// `Kind namespace/name`, for people.
    pub fn label(&self) -> String {
        label(&self.kind, &self.metadata)
    }
}

/// A decoded object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object<T> {
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// `spec`, or the whole object for kinds that have none.
    pub spec: T,
    /// `status` as it came; null when absent or part of `spec`.
    pub status: Value,
    /// Where it was written.
    pub position: Position,
}

impl<T: crate::Resource> Object<T> {
    /// `Kind namespace/name`, for people.
    pub fn label(&self) -> String {
        label(T::KIND, &self.metadata)
    }
}

fn label(kind: &str, metadata: &ObjectMeta) -> String {
    if metadata.namespace.is_empty() {
        format!("{kind} {}", metadata.name)
    } else {
        format!("{kind} {}/{}", metadata.namespace, metadata.name)
    }
}
