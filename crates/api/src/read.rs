//! YAML streams with several documents. A document that cannot be read is reported; the others are kept.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use crate::{ObjectMeta, Position, RawObject};

/// Why a document gives no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Name of the file or stream.
    pub source: String,
    /// Line, from 1.
    pub line: u32,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.source, self.line, self.message)
    }
}

/// Reads every object of a YAML (or JSON) stream; `source_name` is what positions are reported by. `List` objects are opened.
pub fn read(source_name: &str, text: &str) -> (Vec<RawObject>, Vec<Problem>) {
    let source: Arc<str> = source_name.into();
    let mut objects = Vec::new();
    let mut problems = Vec::new();
    for (first_line, document) in documents(text) {
        let offset = first_line - 1;
        let problem = |line: u32, message: String| Problem { source: source_name.to_owned(), line, message };
        match serde_saphyr::from_str::<Option<Node>>(document) {
            Ok(None) => {}
            Ok(Some(node)) => match objects_of(&source, offset, &node) {
                Ok(mut found) => objects.append(&mut found),
                Err((line, message)) => problems.push(problem(line.max(first_line), message)),
            },
            Err(error) => {
                let line = error.location().map_or(0, |l| u32::try_from(l.line()).unwrap_or(0));
                let message = format!("not YAML: {}", reason(&error.to_string()));
                problems.push(problem(line.max(1) + offset, message));
            }
        }
    }
    (objects, problems)
}

/// What the parser says, without its place, which counts from the document's first line, and without advice to who calls it.
fn reason(said: &str) -> &str {
    let line = said.lines().next().unwrap_or("syntax error");
    let placed = line.strip_prefix("error: line ").and_then(|rest| rest.split_once(": "));
    let reason = placed.map_or(line, |(_, reason)| reason);
    reason.split_once(", set DuplicateKeyPolicy").map_or(reason, |(reason, _)| reason)
}

/// Cuts a stream at its document markers, which YAML allows nowhere else at the start of a line; with each one's first line.
fn documents(text: &str) -> Vec<(u32, &str)> {
    let mut found = Vec::new();
    let (mut start, mut start_line, mut at, mut line) = (0usize, 1u32, 0usize, 1u32);
    for l in text.split_inclusive('\n') {
        let marker = l.trim_end();
        if marker == "---" || marker == "..." || marker.starts_with("--- ") || marker.starts_with("---\t") {
            found.push((start_line, text.get(start..at).unwrap_or_default()));
            // What follows the marker on its line belongs to the next document.
            start = if marker.len() > 3 { at + 3 } else { at + l.len() };
            start_line = if marker.len() > 3 { line } else { line + 1 };
        }
        at += l.len();
        line += 1;
    }
    found.push((start_line, text.get(start..).unwrap_or_default()));
    found.retain(|(_, d)| d.lines().any(|l| !l.trim().is_empty() && !l.trim_start().starts_with('#')));
    found
}

/// The object of a document, or the items of a list.
fn objects_of(source: &Arc<str>, offset: u32, node: &Node) -> Result<Vec<RawObject>, (u32, String)> {
    let line = node.line + offset;
    if let Tree::Map(members) = &node.tree
        && node.text("kind").is_some_and(|k| k == "List" || k.ends_with("List"))
        && let Some((_, _, items)) = members.iter().find(|(k, _, _)| k == "items")
        && let Tree::List(items) = &items.tree
    {
        let mut all = Vec::new();
        for item in items {
            all.append(&mut objects_of(source, offset, item)?);
        }
        return Ok(all);
    }
    if !matches!(node.tree, Tree::Map(_)) {
        return Err((line, "not an object: expected a mapping with apiVersion, kind and metadata".to_owned()));
    }
    let Some(api_version) = node.text("apiVersion") else {
        return Err((line, "the object has no apiVersion (such as v1 or networking.istio.io/v1)".to_owned()));
    };
    let Some(kind) = node.text("kind") else {
        return Err((line, "the object has no kind (such as Service or VirtualService)".to_owned()));
    };
    let mut lines = BTreeMap::new();
    node.lines("", offset, &mut lines);
    let value = node.value();
    let metadata: ObjectMeta = match value.get("metadata") {
        None => ObjectMeta::default(),
        Some(m) => crate::decode::decode_value("metadata", m.clone())
            .map(|(m, _)| m)
            .map_err(|e| (lines.get("metadata").copied().unwrap_or(line), e.to_string()))?,
    };
    let position = Position::new(source.clone(), line, lines);
    Ok(vec![RawObject { api_version: api_version.to_owned(), kind: kind.to_owned(), metadata, value, position }])
}

/// A YAML node with the line it starts at.
#[derive(Debug)]
struct Node {
    line: u32,
    tree: Tree,
}

/// Contents of a [`Node`]. Mappings keep their order; each key carries its own line.
#[derive(Debug)]
enum Tree {
    Leaf(Value),
    List(Vec<Node>),
    Map(Vec<(String, u32, Node)>),
}

impl Node {
    fn text(&self, key: &str) -> Option<&str> {
        let Tree::Map(members) = &self.tree else { return None };
        members.iter().find_map(|(k, _, v)| match &v.tree {
            Tree::Leaf(Value::String(text)) if k == key => Some(text.as_str()),
            _ => None,
        })
    }

    fn value(&self) -> Value {
        match &self.tree {
            Tree::Leaf(value) => value.clone(),
            Tree::List(items) => Value::Array(items.iter().map(Node::value).collect()),
            Tree::Map(members) => {
                Value::Object(members.iter().map(|(k, _, v)| (k.clone(), v.value())).collect::<Map<_, _>>())
            }
        }
    }

    fn lines(&self, path: &str, offset: u32, out: &mut BTreeMap<String, u32>) {
        match &self.tree {
            Tree::Leaf(_) => {}
            Tree::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    let path = format!("{path}[{i}]");
                    out.insert(path.clone(), item.line + offset);
                    item.lines(&path, offset, out);
                }
            }
            Tree::Map(members) => {
                for (key, line, value) in members {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    out.insert(path.clone(), line + offset);
                    value.lines(&path, offset, out);
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Tree>::deserialize(d)?;
        Ok(Self { line: u32::try_from(spanned.referenced.line()).unwrap_or(0), tree: spanned.value })
    }
}

/// A mapping key: any scalar, as text (`80:` in `portLevelMtls`).
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match Tree::deserialize(d)? {
            Tree::Leaf(Value::String(text)) => Ok(Self(text)),
            Tree::Leaf(Value::Null) => Ok(Self("null".to_owned())),
            Tree::Leaf(other) => Ok(Self(other.to_string())),
            Tree::List(_) | Tree::Map(_) => Err(D::Error::custom("a mapping key must be a scalar")),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Bool(v)))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Number(v.into())))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Number(v.into())))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Number::from_f64(v).map_or_else(|| Value::String(v.to_string()), Value::Number)))
    }

    fn visit_str<E>(self, v: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::String(v.to_owned())))
    }

    fn visit_string<E>(self, v: String) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::String(v)))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Tree, D::Error> {
        Tree::deserialize(d)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Node>()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<Spanned<Key>>()? {
            let line = u32::try_from(key.referenced.line()).unwrap_or(0);
            members.push((key.value.0, line, map.next_value()?));
        }
        Ok(Tree::Map(members))
    }
}

#[cfg(test)]
mod tests;
