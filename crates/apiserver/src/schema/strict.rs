//! Checks an object against the types of its built-in kind: unknown fields and values of the wrong type.
//!
//! Unknown fields are what `fieldValidation=Strict` refuses and `Warn` warns of; a value of the wrong type is refused always, because no
//! typed client could read the object back. Missing fields and ranges are the business of `validation`.

use serde_json::Value;

use super::{StructId, Type, Types};

/// What was found wrong.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Paths of fields that the kind does not have.
    pub(crate) unknown: Vec<String>,
    /// Sentences about values of the wrong type.
    pub(crate) mistyped: Vec<String>,
}

/// Checks `value`, which should be a struct of that number.
pub(crate) fn check(types: &Types, root: StructId, value: &Value) -> Findings {
    let mut findings = Findings::default();
    walk(types, &Type::Struct(root), value, &mut String::new(), &mut findings);
    findings
}

/// Removes the unknown fields: what a typed server drops when it decodes an object.
pub(crate) fn prune(types: &Types, root: StructId, value: &mut Value) {
    prune_type(types, &Type::Struct(root), value);
}

fn prune_type(types: &Types, ty: &Type, value: &mut Value) {
    match (ty, value) {
        (Type::Struct(id), Value::Object(map)) => {
            let item = types.get(*id);
            map.retain(|name, _| {
                item.field(name).is_some() || item.rest.is_some() || (item.type_meta && is_type_meta(name))
            });
            for (name, child) in map.iter_mut() {
                if let Some(field) = item.field(name) {
                    prune_type(types, &field.ty, child);
                }
            }
        }
        (Type::List(element, _), Value::Array(list)) => list.iter_mut().for_each(|v| prune_type(types, element, v)),
        (Type::Map(element, _), Value::Object(map)) => map.iter_mut().for_each(|(_, v)| prune_type(types, element, v)),
        _ => {}
    }
}

fn is_type_meta(name: &str) -> bool {
    name == "apiVersion" || name == "kind"
}

fn walk(types: &Types, ty: &Type, value: &Value, path: &mut String, findings: &mut Findings) {
    if value.is_null() {
        return;
    }
    let length = path.len();
    match (ty, value) {
        (Type::Struct(id), Value::Object(map)) => {
            let item = types.get(*id);
            for (name, child) in map {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                match (item.field(name), &item.rest) {
                    (Some(field), _) => walk(types, &field.ty, child, path, findings),
                    (None, Some(rest)) => walk(types, rest, child, path, findings),
                    (None, None) if item.type_meta && is_type_meta(name) => {}
                    (None, None) => findings.unknown.push(path.clone()),
                }
                path.truncate(length);
            }
        }
        (Type::List(element, _), Value::Array(list)) => {
            for (index, child) in list.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                walk(types, element, child, path, findings);
                path.truncate(length);
            }
        }
        (Type::Map(element, _), Value::Object(map)) => {
            for (name, child) in map {
                path.push('.');
                path.push_str(name);
                walk(types, element, child, path, findings);
                path.truncate(length);
            }
        }
        _ if fits(ty, value) => {}
        _ => findings.mistyped.push(format!("{}: expected {}, got {}", path, wanted(ty), got(value))),
    }
}

fn fits(ty: &Type, value: &Value) -> bool {
    match ty {
        Type::Any => true,
        Type::String | Type::Duration | Type::Time | Type::MicroTime => value.is_string(),
        Type::Bytes => value.as_str().is_some_and(decodes),
        Type::Int => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0 && f.abs() < 9e15)
        }
        Type::Float => value.is_number(),
        Type::Bool => value.is_boolean(),
        Type::Quantity => value.is_string() || value.is_number(),
        Type::IntOrString => value.is_string() || value.is_i64() || value.is_u64(),
        Type::StringItems => value.is_array(),
        Type::List(..) | Type::Map(..) | Type::Struct(_) => false,
    }
}

fn decodes(text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text.replace(['\n', '\r'], "")).is_ok()
}

fn wanted(ty: &Type) -> &'static str {
    match ty {
        Type::String | Type::Duration => "string",
        Type::Time | Type::MicroTime => "RFC 3339 time",
        Type::Bytes => "base64 string",
        Type::Int => "integer",
        Type::Float => "number",
        Type::Bool => "boolean",
        Type::Quantity => "quantity",
        Type::IntOrString => "integer or string",
        Type::List(..) | Type::StringItems => "list",
        Type::Map(..) | Type::Struct(_) => "object",
        Type::Any => "any",
    }
}

fn got(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_unknown_fields_and_wrong_types_by_path() {
        let types = Types::builtin();
        let pod = types.find("core.v1.Pod").unwrap();
        let findings = check(
            types,
            pod,
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "lables": {}},
                "spec": {"containers": [{"name": "a", "imaje": "x", "ports": [{"containerPort": "80"}]}]}}),
        );
        assert_eq!(findings.unknown, ["metadata.lables", "spec.containers[0].imaje"]);
        assert_eq!(findings.mistyped, ["spec.containers[0].ports[0].containerPort: expected integer, got string"]);
    }
}
