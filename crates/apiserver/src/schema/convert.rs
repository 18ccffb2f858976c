//! From a custom kind's schema to [`Types`], so that server-side apply knows its lists and maps.

use serde_json::Value;

use crate::object::{list_at, str_at};

use super::{Field, ListKey, ListKind, StructId, Type, Types};

/// The types of a custom kind, and its root.
pub(crate) fn from_schema(schema: &Value) -> (Types, StructId) {
    let mut types = Types::over_builtin();
    let root = types.declare("root");
    let metadata = types.find("meta.v1.ObjectMeta").map_or(Type::Any, Type::Struct);
    let mut fields = vec![
        Field::new("apiVersion", Type::String),
        Field::new("kind", Type::String),
        Field::new("metadata", metadata),
    ];
    for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            fields.push(Field::new(name, convert(&mut types, inner, name)));
        }
    }
    let open = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
        || schema.get("properties").is_none();
    types.define(root, fields, open.then_some(Type::Any), false);
    (types, root)
}

fn convert(types: &mut Types, schema: &Value, path: &str) -> Type {
    match str_at(schema, &["type"]) {
        "object" => object(types, schema, path),
        "array" => {
            let element = schema.get("items").map_or(Type::Any, |items| convert(types, items, &format!("{path}[]")));
            let kind = match str_at(schema, &["x-kubernetes-list-type"]) {
                "set" => ListKind::Set,
                "map" => ListKind::Map(keys(schema)),
                _ => ListKind::Atomic,
            };
            Type::List(Box::new(element), kind)
        }
        "string" => Type::String,
        "integer" => Type::Int,
        "number" => Type::Float,
        "boolean" => Type::Bool,
        _ if schema.get("x-kubernetes-int-or-string").is_some() => Type::IntOrString,
        _ => Type::Any,
    }
}

fn keys(schema: &Value) -> Vec<ListKey> {
    let default = |name: &str| schema.get("items")?.get("properties")?.get(name)?.get("default").cloned();
    let names = list_at(schema, &["x-kubernetes-list-map-keys"]).iter().filter_map(Value::as_str);
    names.map(|name| ListKey { name: name.to_owned(), default: default(name) }).collect()
}

fn object(types: &mut Types, schema: &Value, path: &str) -> Type {
    let atomic = str_at(schema, &["x-kubernetes-map-type"]) == "atomic";
    let additional = schema.get("additionalProperties").filter(|a| a.is_object()).cloned();
    let open = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    match (schema.get("properties").and_then(Value::as_object), additional) {
        (Some(properties), additional) => {
            let id = types.declare(path);
            let fields = properties
                .iter()
                .map(|(name, inner)| Field::new(name, convert(types, inner, &format!("{path}.{name}"))))
                .collect();
            let rest = additional.map(|a| convert(types, &a, &format!("{path}.*"))).or(open.then_some(Type::Any));
            types.define(id, fields, rest, atomic);
            Type::Struct(id)
        }
        (None, Some(additional)) => Type::Map(Box::new(convert(types, &additional, &format!("{path}.*"))), atomic),
        (None, None) if atomic => Type::Map(Box::new(Type::Any), true),
        (None, None) => Type::Any,
    }
}
