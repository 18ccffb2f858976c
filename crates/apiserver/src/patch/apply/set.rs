//! Sets of paths in an object: who owns what, in the form of `metadata.managedFields[].fieldsV1`.
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

use crate::schema::{Type, Types};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A field of a struct or a key of a map.
    Field(String),
    /// An element of a list that is a map: its keys with their values as JSON text, so that steps have an order.
    Key(Vec<(String, String)>),
    /// An element of a set, as JSON text.
    Value(String),
    /// An element by position.
    Index(i64),
}

impl Step {
    /// The step of a `fieldsV1` key such as `f:spec` or `k:{"name":"a"}`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        Some(match kind {
            "f" => Self::Field(rest.to_owned()),
            "v" => Self::Value(serde_json::from_str::<Value>(rest).ok()?.to_string()),
            "i" => Self::Index(rest.parse().ok()?),
            "k" => {
                let keys: Map<String, Value> = serde_json::from_str(rest).ok()?;
                let mut keys: Vec<(String, String)> = keys.into_iter().map(|(k, v)| (k, v.to_string())).collect();
                keys.sort();
                Self::Key(keys)
            }
            _ => return None,
        })
    }

    /// The step as a `fieldsV1` key.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Value(json) => format!("v:{json}"),
            Self::Index(index) => format!("i:{index}"),
            Self::Key(keys) => {
                let members: Vec<String> =
                    keys.iter().map(|(k, v)| format!("{}:{v}", Value::from(k.as_str()))).collect();
                format!("k:{{{}}}", members.join(","))
            }
        }
    }
}

/// The step as messages to people have it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Value(json) => write!(f, "[={json}]"),
            Self::Index(index) => write!(f, "[{index}]"),
            Self::Key(keys) => {
                let members: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, "[{}]", members.join(","))
            }
        }
    }
}

/// A set of paths, as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    members: BTreeSet<Step>,
    children: BTreeMap<Step, Set>,
}

impl Set {
    /// Whether it has no path.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(Self::is_empty)
    }

    /// Adds a path.
    pub fn insert(&mut self, path: &[Step]) {
        match path {
            [] => {}
            [last] => drop(self.members.insert(last.clone())),
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    /// Whether the path of one step is in the set.
    #[must_use]
    pub fn has(&self, step: &Step) -> bool {
        self.members.contains(step)
    }

    /// The first steps of all paths.
    pub(super) fn steps(&self) -> BTreeSet<&Step> {
        self.members.iter().chain(self.children.keys()).collect()
    }

    /// What is below a step.
    #[must_use]
    pub fn below(&self, step: &Step) -> Option<&Self> {
        self.children.get(step)
    }

    /// Paths in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.members.extend(other.members.iter().cloned());
        for (step, child) in &other.children {
            let merged = out.children.get(step).map_or_else(|| child.clone(), |own| own.union(child));
            out.children.insert(step.clone(), merged);
        }
        out
    }

    /// Paths in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let members = self.members.intersection(&other.members).cloned().collect();
        let both = self
            .children
            .iter()
            .filter_map(|(step, child)| Some((step.clone(), child.intersection(other.children.get(step)?))));
        Self { members, children: both.filter(|(_, c)| !c.is_empty()).collect() }
    }

    /// Paths in this and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let members = self.members.difference(&other.members).cloned().collect();
        let rest = self.children.iter().map(|(step, child)| {
            (step.clone(), other.children.get(step).map_or_else(|| child.clone(), |theirs| child.difference(theirs)))
        });
        Self { members, children: rest.filter(|(_, c)| !c.is_empty()).collect() }
    }

    /// Paths in this that are not below or at a path of the other.
    #[must_use]
    pub fn without_trees(&self, other: &Self) -> Self {
        let members = self.members.difference(&other.members).cloned().collect();
        let rest = self.children.iter().filter(|(step, _)| !other.members.contains(step)).map(|(step, child)| {
            (step.clone(), other.children.get(step).map_or_else(|| child.clone(), |theirs| child.without_trees(theirs)))
        });
        Self { members, children: rest.filter(|(_, c)| !c.is_empty()).collect() }
    }

    /// The set with every named field on the way to a path as a path of its own, so that removing paths removes what holds only them.
    pub(super) fn with_named_fields(&self, types: &Types, ty: &Type) -> Self {
        let mut members = self.members.clone();
        let mut children = BTreeMap::new();
        for (step, child) in &self.children {
            if let (Step::Field(name), Type::Struct(id)) = (step, ty)
                && types.get(*id).field(name).is_some()
            {
                members.insert(step.clone());
            }
            children.insert(step.clone(), child.with_named_fields(types, &super::typed::below(types, ty, step)));
        }
        Self { members, children }
    }

    /// All paths.
    #[must_use]
    pub fn paths(&self) -> Vec<Vec<Step>> {
        let mut out: Vec<Vec<Step>> = self.members.iter().map(|m| vec![m.clone()]).collect();
        for (step, child) in &self.children {
            out.extend(child.paths().into_iter().map(|mut path| {
                path.insert(0, step.clone());
                path
            }));
        }
        out
    }

    /// Reads `fieldsV1`.
    #[must_use]
    pub fn from_fields(fields: &Value) -> Self {
        let mut out = Self::default();
        for (name, below) in fields.as_object().into_iter().flatten() {
            let Some(step) = Step::parse(name) else { continue };
            let inner = below.as_object();
            if inner.is_none_or(|m| m.is_empty() || m.contains_key(".")) {
                out.members.insert(step.clone());
            }
            let child = Self::from_fields(below);
            if !child.is_empty() {
                out.children.insert(step, child);
            }
        }
        out
    }

    /// Writes `fieldsV1`.
    #[must_use]
    pub fn to_fields(&self) -> Value {
        let mut out = Map::new();
        for step in self.steps() {
            let mut below = Map::new();
            if let Some(child) = self.children.get(step).filter(|c| !c.is_empty()) {
                if self.members.contains(step) {
                    below.insert(".".to_owned(), Value::Object(Map::new()));
                }
                below.extend(child.to_fields().as_object().cloned().unwrap_or_default());
            } else if !self.members.contains(step) {
                continue;
            }
            out.insert(step.to_text(), Value::Object(below));
        }
        Value::Object(out)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_read_and_written() {
        let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {"f:list": {"k:{\"name\":\"x\"}": {".": {}, "f:v": {}}, "v:1": {}}}});
        let set = Set::from_fields(&fields);
        assert_eq!(set.to_fields(), fields);
        assert_eq!(set.paths().len(), 5);
        assert_eq!(set.difference(&set).to_fields(), json!({}));
        assert_eq!(set.intersection(&set), set);
        assert_eq!(set.union(&Set::default()), set);
    }
}
