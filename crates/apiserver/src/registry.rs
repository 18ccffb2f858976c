//! The kinds that the server serves, one row each. Built-in kinds come from [`builtin`], custom kinds from the
//! CustomResourceDefinition objects in the store; a row looks the same either way, and the verbs ask nothing but the row.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::schema::StructId;

pub(crate) mod builtin;
pub(crate) mod crd;
pub(crate) mod custom;

/// One kind.
#[derive(Debug)]
pub(crate) struct Resource {
    /// Empty for the core group.
    pub(crate) group: String,
    /// Versions in order of preference.
    pub(crate) versions: Vec<Version>,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) namespaced: bool,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    /// Where its objects are kept: `pods`, `deployments.apps`.
    pub(crate) key: Arc<str>,
    /// The `apiVersion` that its objects are stored under.
    pub(crate) stored_as: String,
    /// Fields, for built-in kinds.
    pub(crate) fields: Option<StructId>,
    /// Whether `metadata.generation` counts changes.
    pub(crate) generation: bool,
    /// Subresources besides `status` and `scale`.
    pub(crate) extra: &'static [Subresource],
    /// Stored, but nothing on this machine acts upon it.
    pub(crate) inert: bool,
    /// Objects are stored as core/v1 Events under other field names.
    pub(crate) renamed_event: bool,
}

/// One served version of a kind.
#[derive(Debug, Default)]
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) served: bool,
    pub(crate) deprecation: Option<String>,
    /// Has the `status` subresource.
    pub(crate) status: bool,
    /// Has the `scale` subresource.
    pub(crate) scale: Option<Scale>,
    /// Schema of a custom kind.
    pub(crate) schema: Option<Arc<Value>>,
    /// Whether the schema has CEL rules.
    pub(crate) rules: bool,
    /// Printer columns of a custom kind.
    pub(crate) columns: Vec<PrinterColumn>,
}

/// Where a scalable kind keeps its numbers.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub(crate) spec: Vec<String>,
    pub(crate) status: Vec<String>,
    /// A label selector as text, or a `LabelSelector` object.
    pub(crate) selector: Option<Vec<String>>,
}

/// A subresource that is not `status` or `scale`, as discovery tells of it.
#[derive(Debug)]
pub(crate) struct Subresource {
    pub(crate) name: &'static str,
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) verbs: &'static [&'static str],
}

/// A column of `kubectl get`.
#[derive(Clone, Debug)]
pub(crate) struct PrinterColumn {
    pub(crate) name: String,
    pub(crate) ty: String,
    pub(crate) path: String,
    pub(crate) priority: i64,
}

impl Resource {
    /// `pods`, `deployments.apps`.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The served version of that name.
    pub(crate) fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|v| v.served && v.name == name)
    }

    /// The version that objects are stored in.
    pub(crate) fn stored_version(&self) -> Option<&Version> {
        let name = self.stored_as.rsplit('/').next().unwrap_or_default();
        self.versions.iter().find(|v| v.name == name)
    }

    /// `v1`, `apps/v1`.
    pub(crate) fn api_version(&self, version: &str) -> String {
        group_version(&self.group, version)
    }

    /// Whether its definition has rules that nothing here evaluates. Those of Istio's kinds are part of the product.
    pub(crate) fn has_unevaluated_rules(&self, version: &str) -> bool {
        self.version(version).is_some_and(|v| v.rules) && !self.group.ends_with(".istio.io")
    }

    /// A kind made by a CustomResourceDefinition.
    pub(crate) fn is_custom(&self) -> bool {
        self.fields.is_none()
    }
}

/// `v1`, `apps/v1`.
pub(crate) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// All rows at one moment.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// By group, then plural.
    groups: BTreeMap<String, BTreeMap<String, Arc<Resource>>>,
}

impl Registry {
    /// The built-in kinds and those of the definitions given.
    pub(crate) fn new<'a>(definitions: impl Iterator<Item = &'a Value>) -> Self {
        let mut registry = Self::default();
        builtin::resources().into_iter().for_each(|r| registry.add(r));
        definitions.filter_map(crd::resource).for_each(|r| registry.add(r));
        registry
    }

    fn add(&mut self, resource: Resource) {
        let group = self.groups.entry(resource.group.clone()).or_default();
        group.entry(resource.plural.clone()).or_insert_with(|| Arc::new(resource));
    }

    /// The kind served at `/apis/GROUP/VERSION/PLURAL`.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.groups.get(group)?.get(plural).filter(|r| r.version(version).is_some())
    }

    /// Groups in order of name, each with its kinds in order of plural.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&str, Vec<&Arc<Resource>>)> {
        self.groups.iter().map(|(name, rows)| (name.as_str(), rows.values().collect()))
    }

    /// The kinds of one group.
    pub(crate) fn group(&self, name: &str) -> Option<Vec<&Arc<Resource>>> {
        self.groups.get(name).map(|rows| rows.values().collect())
    }

    /// The versions of a group that some kind serves, the preferred one first.
    pub(crate) fn versions(rows: &[&Arc<Resource>]) -> Vec<String> {
        let mut versions: Vec<String> = Vec::new();
        for version in rows.iter().flat_map(|r| &r.versions).filter(|v| v.served) {
            if !versions.contains(&version.name) {
                versions.push(version.name.clone());
            }
        }
        versions.sort_by_key(|v| std::cmp::Reverse(crd::priority(v)));
        versions
    }
}
