//! OpenAPI v3 documents, one for each group and version: what kubectl validates, patches and explains by.
//!
//! Each document names its kinds' PATCH operations with the parameter `fieldValidation`, so that kubectl leaves validation to the server. Strategic
//! merge is deliberately missing from the listed patch types: kubectl then computes such patches from its own compiled types, which know
//! the merge keys, and uses JSON merge patches for custom kinds.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Map, Value, json};

use crate::registry::{Registry, Resource, Version, group_version};

use crate::object;

use super::{ListKind, StructId, Type, Types};

/// Title and version of every document.
const INFO: [&str; 2] = ["Kubernetes", "v1.33.0"];

/// `/openapi/v2`: a document without definitions. kubectl asks for it before it sends a file of `kind: List`, and leaves to the server the validation
/// of what the document does not define. Everything is defined in version 3.
pub(crate) fn v2() -> Value {
    let [title, version] = INFO;
    json!({"swagger": "2.0", "info": {"title": title, "version": version}, "paths": {}, "definitions": {}})
}

/// The same as the protobuf message `openapi.v2.Document`: `swagger` is its field 1, `info` (of `title` 1 and `version` 2) its field 2.
pub(crate) fn v2_protobuf() -> Vec<u8> {
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        // Fields delimited by length have wire type 2; all of these are shorter than 128 bytes.
        let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
        [&[number << 3 | 2, length], content].concat()
    }
    let [title, version] = INFO;
    let info = [field(1, title.as_bytes()), field(2, version.as_bytes())].concat();
    [field(1, b"2.0"), field(2, &info)].concat()
}

/// The schema of `spec` for a custom kind that comes with the server.
pub(crate) fn custom_spec(_group: &str, _kind: &str) -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// `/openapi/v3`.
pub(crate) fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for (group, rows) in registry.groups() {
        for version in Registry::versions(&rows) {
            let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
            let hash = fingerprint(&rows, &version);
            paths.insert(path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash:016X}")}));
        }
    }
    json!({"paths": paths})
}

/// Changes whenever the document may have changed: kubectl caches documents by it.
fn fingerprint(rows: &[&std::sync::Arc<Resource>], version: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for row in rows {
        row.plural.hash(&mut hasher);
        if let Some(schema) = row.version(version).and_then(|v| v.schema.as_ref()) {
            schema.to_string().hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// The document of a group and version.
pub(crate) fn document(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let rows = registry.group(group)?;
    let served: Vec<(&Resource, &Version)> =
        rows.into_iter().filter_map(|r| Some((&**r, r.version(version)?))).collect();
    if served.is_empty() {
        return None;
    }
    let mut paths = Map::new();
    let mut schemas = BTreeMap::new();
    for (resource, row) in served {
        let gvk = json!({"group": group, "version": version, "kind": resource.kind});
        let name = match resource.fields {
            Some(id) => builtin_schema(id, &mut schemas),
            None => custom_schema(resource, row, &mut schemas),
        };
        if let Some(schema) = schemas.get_mut(&name) {
            object::set(schema, "x-kubernetes-group-version-kind", json!([gvk]));
        }
        add_paths(resource, version, &gvk, &name, &mut paths);
    }
    let schemas: Map<String, Value> = schemas.into_iter().collect();
    let [title, version] = INFO;
    Some(
        json!({"openapi": "3.0.0", "info": {"title": title, "version": version}, "paths": paths, "components": {"schemas": schemas}}),
    )
}

fn add_paths(resource: &Resource, version: &str, gvk: &Value, schema: &str, paths: &mut Map<String, Value>) {
    let api = group_version(&resource.group, version);
    let root = if resource.group.is_empty() { "api" } else { "apis" };
    let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("/{root}/{api}{scope}/{}", resource.plural);
    let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation"]
        .iter()
        .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}}))
        .collect();
    let reference = json!({"$ref": format!("#/components/schemas/{schema}")});
    let responses = json!({"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}});
    let operation = |action: &str| json!({"x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk, "parameters": parameters, "responses": responses});
    let mut post = operation("post");
    object::set(&mut post, "requestBody", json!({"content": {"application/json": {"schema": reference}}}));
    let mut patch = operation("patch");
    let types = ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];
    let content: Map<String, Value> = types.iter().map(|t| ((*t).to_owned(), json!({"schema": {}}))).collect();
    object::set(&mut patch, "requestBody", json!({"content": content}));
    paths.insert(collection.clone(), json!({"get": operation("list"), "post": post}));
    let one = json!({"get": operation("get"), "put": operation("put"), "patch": patch, "delete": operation("delete")});
    paths.insert(format!("{collection}/{{name}}"), one);
}

/// `io.k8s.api.core.v1.Pod` for `core.v1.Pod`.
fn component_name(name: &str) -> String {
    match name.split_once('.') {
        Some(("meta", rest)) => format!("io.k8s.apimachinery.pkg.apis.meta.{rest}"),
        Some(("apiextensions", rest)) => format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{rest}"),
        _ => format!("io.k8s.api.{name}"),
    }
}

fn builtin_schema(id: StructId, schemas: &mut BTreeMap<String, Value>) -> String {
    let types = Types::builtin();
    let item = types.get(id);
    let name = component_name(&item.name);
    if schemas.contains_key(&name) {
        return name;
    }
    schemas.insert(name.clone(), Value::Null);
    let mut properties = Map::new();
    let mut required = Vec::new();
    if item.type_meta {
        properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
        properties.insert("kind".to_owned(), json!({"type": "string"}));
    }
    for field in &item.fields {
        let mut schema = type_schema(&field.ty, schemas);
        if let Some(key) = &field.merge_key {
            object::set(
                &mut schema,
                "x-kubernetes-patch-strategy",
                json!(if field.retain_keys { "merge,retainKeys" } else { "merge" }),
            );
            if !key.is_empty() {
                object::set(&mut schema, "x-kubernetes-patch-merge-key", json!(key));
            }
        }
        properties.insert(field.name.clone(), schema);
        if field.required {
            required.push(field.name.clone());
        }
    }
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        object::set(&mut schema, "required", json!(required));
    }
    if item.atomic {
        object::set(&mut schema, "x-kubernetes-map-type", json!("atomic"));
    }
    schemas.insert(name.clone(), schema);
    name
}

/// A scalar that has a name of its own, which kubectl explains it by.
fn named(name: &str, schemas: &mut BTreeMap<String, Value>, schema: impl Fn() -> Value) -> Value {
    schemas.entry(name.to_owned()).or_insert_with(schema);
    json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}]})
}

fn type_schema(ty: &Type, schemas: &mut BTreeMap<String, Value>) -> Value {
    match ty {
        Type::String | Type::Duration => json!({"type": "string"}),
        Type::Int => json!({"type": "integer", "format": "int64"}),
        Type::Bool => json!({"type": "boolean"}),
        Type::Float => json!({"type": "number", "format": "double"}),
        Type::Bytes => json!({"type": "string", "format": "byte"}),
        Type::Time | Type::MicroTime => json!({"type": "string", "format": "date-time"}),
        Type::Quantity => named(
            "io.k8s.apimachinery.pkg.api.resource.Quantity",
            schemas,
            || json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        ),
        Type::IntOrString => named(
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
            schemas,
            || json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"}),
        ),
        Type::StringItems => json!({"type": "array", "items": {"type": "string"}}),
        Type::Any => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        Type::Struct(id) => {
            json!({"allOf": [{"$ref": format!("#/components/schemas/{}", builtin_schema(*id, schemas))}]})
        }
        Type::Map(value, atomic) => {
            let mut schema = json!({"type": "object", "additionalProperties": type_schema(value, schemas)});
            if *atomic {
                object::set(&mut schema, "x-kubernetes-map-type", json!("atomic"));
            }
            schema
        }
        Type::List(element, kind) => {
            let mut schema = json!({"type": "array", "items": type_schema(element, schemas)});
            match kind {
                ListKind::Atomic => object::set(&mut schema, "x-kubernetes-list-type", json!("atomic")),
                ListKind::Set => object::set(&mut schema, "x-kubernetes-list-type", json!("set")),
                ListKind::Map(keys) => {
                    object::set(&mut schema, "x-kubernetes-list-type", json!("map"));
                    object::set(
                        &mut schema,
                        "x-kubernetes-list-map-keys",
                        keys.iter().map(|k| k.name.clone()).collect(),
                    );
                }
            }
            schema
        }
    }
}

fn custom_schema(resource: &Resource, version: &Version, schemas: &mut BTreeMap<String, Value>) -> String {
    let mut domain: Vec<&str> = resource.group.split('.').collect();
    domain.reverse();
    let name = format!("{}.{}.{}", domain.join("."), version.name, resource.kind);
    let mut schema = version.schema.as_deref().cloned().unwrap_or_else(|| json!({"type": "object"}));
    if let Some(map) = schema.as_object_mut() {
        let properties = map.entry("properties").or_insert_with(|| json!({}));
        object::set(properties, "apiVersion", json!({"type": "string"}));
        object::set(properties, "kind", json!({"type": "string"}));
        let metadata =
            Types::builtin().find("meta.v1.ObjectMeta").map(|id| builtin_schema(id, schemas)).unwrap_or_default();
        object::set(properties, "metadata", json!({"allOf": [{"$ref": format!("#/components/schemas/{metadata}")}]}));
    }
    schemas.insert(name.clone(), schema);
    name
}
