//! The kinds of the table: schemas in structured-merge-diff's form, and how its tests convert between versions.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use varka_apiserver::patch::apply::set::Set;
use varka_apiserver::patch::apply::updater::{Kind, Versioned};
use varka_apiserver::schema::{Field, ListKey, ListKind, StructId, Type, Types};

use super::super::super::text;
use super::set_of;

/// The kind of one case.
pub(super) struct TableKind {
    types: Types,
    /// No schema: every type is deduced from the value.
    deduced: bool,
    /// The root's type; without, it is named as the version is.
    root: Option<String>,
    converter: String,
    accepted: Option<Vec<String>>,
    ignored: BTreeMap<String, Set>,
}

impl TableKind {
    pub(super) fn new(schemas: &Value, case: &Value, name: &str) -> Result<Self, String> {
        let schema = schemas.get(name).ok_or_else(|| format!("the table has no schema {name}"))?;
        let ignored = case.get("ignoreFilter").or(case.get("ignoredFields")).and_then(Value::as_object);
        Ok(Self {
            types: types(schema),
            deduced: schema.get("deduced") == Some(&Value::Bool(true)),
            root: schema.get("rootType").and_then(Value::as_str).map(str::to_owned),
            converter: text(case, "converter").to_owned(),
            accepted: None,
            ignored: ignored.into_iter().flatten().map(|(version, paths)| (version.clone(), set_of(paths))).collect(),
        })
    }

    pub(super) fn accept(&mut self, versions: &Value) {
        let versions = versions.as_array().into_iter().flatten().filter_map(Value::as_str);
        self.accepted = Some(versions.map(str::to_owned).collect());
    }
}

impl Kind for TableKind {
    fn types(&self) -> &Types {
        &self.types
    }

    fn root(&self, version: &str) -> Type {
        let name = self.root.as_deref().unwrap_or(version);
        self.types.find(name).filter(|_| !self.deduced).map_or(Type::Any, Type::Struct)
    }

    fn convert(&self, object: &Versioned, version: &str) -> Option<Versioned> {
        if self.accepted.as_ref().is_some_and(|accepted| !accepted.iter().any(|v| v == version)) {
            return None;
        }
        let value = match self.converter.as_str() {
            "renamingConverter" => rename(&object.value, &format!("_{}", object.version), &format!("_{version}")),
            "repeatingConverter" => repeat(&object.value, version),
            "reliantFieldsConverter" => rely(object, version)?,
            _ => object.value.clone(),
        };
        Some(Versioned { value, version: version.to_owned() })
    }

    fn ignored(&self, version: &str) -> Set {
        self.ignored.get(version).cloned().unwrap_or_default()
    }
}

/// Names that end in the old version's suffix end in the new one's.
fn rename(value: &Value, old: &str, new: &str) -> Value {
    let name = |k: &String| k.strip_suffix(old).map_or_else(|| k.clone(), |stem| format!("{stem}{new}"));
    match value {
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (name(k), rename(v, old, new))).collect()),
        Value::Array(list) => list.iter().map(|v| rename(v, old, new)).collect(),
        other => other.clone(),
    }
}

/// Names below the root become their first letter, as often as the version's number says. Values vanish; of names that become the same,
/// the last in alphabetical order stays.
fn repeat(value: &Value, version: &str) -> Value {
    fn letters(value: &Value, times: usize) -> Value {
        let Value::Object(map) = value else { return Value::Null };
        let mut members: Vec<(&String, &Value)> = map.iter().collect();
        members.sort_by_key(|(name, _)| *name);
        let name = |name: &String| name.chars().next().map(|c| c.to_string().repeat(times)).unwrap_or_default();
        Value::Object(members.into_iter().map(|(k, v)| (name(k), letters(v, times))).collect())
    }
    let times = version.trim_start_matches('v').parse().unwrap_or(1);
    match value {
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), letters(v, times))).collect()),
        other => other.clone(),
    }
}

/// One field that has another name in each version; the first version cannot be without it.
fn rely(object: &Versioned, version: &str) -> Option<Value> {
    const NAMES: [(&str, &str); 2] = [("v1", "field_foo_rely_on_bar"), ("v2", "required_field_bar")];
    let name = |version: &str| NAMES.iter().find(|(v, _)| *v == version).map(|(_, name)| *name);
    if object.version == version {
        return Some(object.value.clone());
    }
    let (old, new) = (name(&object.version)?, name(version)?);
    let mut map: Map<String, Value> = object.value.as_object()?.clone();
    match map.shift_remove(old) {
        Some(value) => drop(map.insert(new.to_owned(), value)),
        None if version == "v1" => return None,
        None => {}
    }
    Some(Value::Object(map))
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The types of a schema.
fn types(schema: &Value) -> Types {
    let mut types = Types::new();
    let named: Map<String, Value> = list(schema.get("schema").unwrap_or(&Value::Null), "types")
        .iter()
        .map(|t| (text(t, "name").to_owned(), t.clone()))
        .collect();
    for (name, item) in &named {
        if let Some(map) = item.get("map") {
            let id = types.declare(name);
            define(&mut types, &named, id, map);
        }
    }
    types
}

/// A type that names another, or holds its own; either may say anew how its elements relate.
fn convert(types: &mut Types, named: &Map<String, Value>, reference: &Value) -> Type {
    let relationship = reference.get("elementRelationship");
    let (name, mut own) = match reference.get("namedType").and_then(Value::as_str) {
        Some(name) => (name.to_owned(), named.get(name).cloned().unwrap_or_default()),
        None => (reference.to_string(), reference.clone()),
    };
    for kind in ["map", "list"] {
        if let (Some(inner), Some(relationship)) = (own.get_mut(kind).and_then(Value::as_object_mut), relationship) {
            inner.insert("elementRelationship".to_owned(), relationship.clone());
        }
    }
    if let Some(inner) = own.get("list") {
        let element = inner.get("elementType").map_or(Type::Any, |e| convert(types, named, e));
        return Type::List(Box::new(element), list_kind(named, inner));
    }
    if let Some(map) = own.get("map") {
        // By name, for maps may hold themselves.
        if reference.get("namedType").is_some() && relationship.is_none() {
            return Type::Struct(types.declare(&name));
        }
        if map.get("fields").is_none() {
            let element = map.get("elementType").map_or(Type::Any, |e| convert(types, named, e));
            return Type::Map(Box::new(element), text(map, "elementRelationship") == "atomic");
        }
        let id = types.declare(&reference.to_string());
        define(types, named, id, map);
        return Type::Struct(id);
    }
    match text(&own, "scalar") {
        "string" => Type::String,
        "numeric" => Type::Float,
        "boolean" => Type::Bool,
        _ => Type::Any,
    }
}

fn list_kind(named: &Map<String, Value>, inner: &Value) -> ListKind {
    if text(inner, "elementRelationship") != "associative" {
        return ListKind::Atomic;
    }
    let element = inner.get("elementType").unwrap_or(&Value::Null);
    let element = named.get(text(element, "namedType")).unwrap_or(element);
    let fields = element.get("map").map(|m| list(m, "fields")).unwrap_or_default();
    let default = |key: &str| fields.iter().find(|f| text(f, "name") == key)?.get("default").cloned();
    let keys: Vec<ListKey> = list(inner, "keys")
        .iter()
        .filter_map(Value::as_str)
        .map(|key| ListKey { name: key.to_owned(), default: default(key) })
        .collect();
    if keys.is_empty() { ListKind::Set } else { ListKind::Map(keys) }
}

fn define(types: &mut Types, named: &Map<String, Value>, id: StructId, map: &Value) {
    let fields = list(map, "fields").iter().map(|f| {
        let ty = f.get("type").map_or(Type::Any, |t| convert(types, named, t));
        Field::new(text(f, "name"), ty)
    });
    let fields: Vec<Field> = fields.collect();
    let rest = map.get("elementType").map(|e| convert(types, named, e));
    types.define(id, fields, rest, text(map, "elementRelationship") == "atomic");
}
