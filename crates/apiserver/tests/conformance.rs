//! Patch semantics as other projects' tests have them. Set `CONFORMANCE_DIR` to a directory with `kubernetes/{json-patch,json-merge-patch,
//! strategic-merge,ssa}.json`; without it the tests say so and pass.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test helpers fail by panicking and report on standard output"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Map, Value, json};
use varka_apiserver::patch::apply::set::{Set, Step};
use varka_apiserver::patch::apply::updater::{self, ApplyError, Kind, Managers, Versioned};
use varka_apiserver::patch::{json as json_patch, merge, strategic};
use varka_apiserver::schema::{Field, ListKey, ListKind, StructId, Type, Types};

/// Of a hundred cases, so many may fail: cases that hold bugs of the originals (array aliasing, `copy` that replaces) count too.
const TOLERATED: usize = 5;

fn table(name: &str) -> Option<Value> {
    let Some(dir) = std::env::var_os("CONFORMANCE_DIR") else {
        println!("kubernetes/{name}: skipped, CONFORMANCE_DIR is not set");
        return None;
    };
    let path = PathBuf::from(dir).join("kubernetes").join(format!("{name}.json"));
    Some(
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
            .unwrap(),
    )
}

/// Runs the cases, prints the count, and fails if more fail than are tolerated.
fn run(name: &str, mut check: impl FnMut(&Value) -> Option<Result<(), String>>) {
    let Some(table) = table(name) else { return };
    let (mut passed, mut skipped, mut failed) = (0, 0, Vec::new());
    for case in table["cases"].as_array().unwrap() {
        match check(case) {
            None => skipped += 1,
            Some(Ok(())) => passed += 1,
            Some(Err(why)) => failed.push(format!("{}: {why}", case["id"].as_str().unwrap())),
        }
    }
    println!("kubernetes/{name}: {passed} passed, {} failed, {skipped} skipped", failed.len());
    failed.iter().for_each(|f| println!("  {f}"));
    assert!(failed.len() * 100 <= TOLERATED * (passed + failed.len()), "too many cases fail");
}

fn same(expected: &Value, got: &Value) -> Result<(), String> {
    if json_patch::equal(expected, got) { Ok(()) } else { Err(format!("expected {expected}, got {got}")) }
}

fn text_or(case: &Value, text: &str, value: &str) -> Value {
    match case.get(text).and_then(Value::as_str) {
        Some(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        None => case.get(value).cloned().unwrap_or_default(),
    }
}

#[test]
fn json_patches() {
    run("json-patch", |case| {
        // Options that Kubernetes does not use, and a limit that the tests set.
        if case.get("options").is_some() || case.get("accumulatedCopySizeLimit").is_some() {
            return None;
        }
        let applied = || -> Result<Value, String> {
            let raw =
                case.get("patchText").and_then(Value::as_str).map_or_else(|| case["patch"].to_string(), str::to_owned);
            let patch = json_patch::parse(raw.as_bytes()).map_err(|e| e.to_string())?;
            json_patch::apply(&text_or(case, "docText", "doc"), &patch).map_err(|e| e.to_string())
        };
        Some(match case["group"].as_str().unwrap() {
            "apply" if case.get("expectedText").and_then(Value::as_str) == Some("") => return None,
            "apply" => applied().and_then(|got| same(&text_or(case, "expectedText", "expected"), &got)),
            "mutates" => applied().and_then(|got| if got == case["doc"] { Err("unchanged".into()) } else { Ok(()) }),
            "error" => applied().map_or(Ok(()), |got| Err(format!("applied: {got}"))),
            "test-op" => {
                if applied().is_ok() == case["passes"].as_bool().unwrap() {
                    Ok(())
                } else {
                    Err(format!("{:?}", applied()))
                }
            }
            "equal" => {
                let parse = |side: &str| serde_json::from_str::<Value>(case[side].as_str().unwrap());
                let equal = matches!((parse("a"), parse("b")), (Ok(a), Ok(b)) if json_patch::equal(&a, &b));
                if equal == case["equal"].as_bool().unwrap() { Ok(()) } else { Err("equality".into()) }
            }
            "key-order" => applied().and_then(|got| {
                let expected = case["expectedText"].as_str().unwrap();
                if format!("{got}") == expected { Ok(()) } else { Err(format!("expected {expected}, got {got}")) }
            }),
            _ => return None,
        })
    });
}

#[test]
fn json_merge_patches() {
    run("json-merge-patch", |case| {
        Some(match case["operation"].as_str().unwrap() {
            "apply" => same(
                &text_or(case, "expectedText", "expected"),
                &merge::apply(text_or(case, "targetText", "target"), &text_or(case, "patchText", "patch")),
            ),
            "create" => same(&case["expected"], &merge::create(&case["original"], &case["modified"])),
            "combine" => same(&case["expected"], &merge::combine(&case["patch1"], &case["patch2"])),
            // Texts that are not JSON never get as far as these functions.
            _ => return None,
        })
    });
}

/// The types of the strategic merge tests.
fn strategic_types(schemas: &Value) -> Types {
    let mut types = Types::new();
    let schemas = schemas.as_object().unwrap();
    for name in schemas.keys() {
        types.declare(name);
    }
    fn ty(types: &mut Types, schema: &Value) -> Type {
        match schema["kind"].as_str().unwrap() {
            "list" => Type::List(Box::new(ty(types, &schema["element"])), ListKind::Atomic),
            "map" => Type::Map(Box::new(ty(types, &schema["values"])), false),
            "ref" => Type::Struct(types.declare(schema["ref"].as_str().unwrap())),
            _ => Type::Any,
        }
    }
    for (name, schema) in schemas {
        let mut fields = Vec::new();
        for (field, schema) in schema["fields"].as_object().unwrap() {
            let mut out = Field::new(field, ty(&mut types, schema));
            let strategies: Vec<&str> =
                schema["patchStrategy"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if strategies.contains(&"merge") {
                out.merge_key = Some(schema["patchMergeKey"].as_str().unwrap_or_default().to_owned());
            }
            out.retain_keys = strategies.contains(&"retainKeys");
            out.replaces = strategies.contains(&"replace");
            fields.push(out);
        }
        let id = types.declare(name);
        types.define(id, fields, None, false);
    }
    types
}

fn strategic_case(types: &Types, case: &Value, operation: &str) -> Result<(), String> {
    let root: StructId = types.find(case["schema"].as_str().unwrap()).unwrap();
    let doc = |name: &str| case.get(name).cloned().unwrap_or_else(|| json!({}));
    let expect = |result: Result<Value, strategic::StrategicError>, expected: &Value, error: &str| match (
        result,
        case.get(error).and_then(Value::as_str),
    ) {
        (Err(e), Some(wanted)) if e.to_string().contains(wanted) => Ok(()),
        (Ok(_), Some(_)) if case.get("errorOrResult").is_some() => Ok(()),
        (Ok(got), None) => same(expected, &got),
        (result, wanted) => Err(format!("{result:?}, expected error {wanted:?}")),
    };
    let apply = |original: &Value, patch: &Value| strategic::apply(types, root, original, patch);
    match operation {
        "apply" => expect(apply(&doc("original"), &doc("twoWay")), &doc("modified"), "expectedErrorContains"),
        "two-way" => {
            expect(
                strategic::two_way(types, root, &doc("original"), &doc("modified")),
                &doc("twoWay"),
                "twoWayErrorContains",
            )?;
            if case.get("twoWayErrorContains").is_some() {
                return Ok(());
            }
            let expected = case.get("twoWayResult").or(case.get("modified")).cloned().unwrap_or_else(|| json!({}));
            same(&expected, &apply(&doc("original"), &doc("twoWay")).map_err(|e| e.to_string())?)
                .map_err(|e| format!("two-way apply: {e}"))
        }
        _ => {
            let three = |overwrite| {
                strategic::three_way(types, root, &doc("original"), &doc("modified"), &doc("current"), overwrite)
            };
            let conflict = case["conflict"] == true;
            if conflict != matches!(three(false), Err(strategic::StrategicError::Conflict(_))) {
                return Err(format!("three-way conflict: expected {conflict}, got {:?}", three(false)));
            }
            expect(three(true), &doc("threeWay"), "threeWayErrorContains").map_err(|e| format!("three-way: {e}"))?;
            if case.get("threeWayErrorContains").is_some() {
                return Ok(());
            }
            same(&doc("result"), &apply(&doc("current"), &doc("threeWay")).map_err(|e| e.to_string())?)
                .map_err(|e| format!("three-way apply: {e}"))
        }
    }
}

#[test]
fn strategic_merge_patches() {
    let Some(all) = table("strategic-merge") else { return };
    let types = strategic_types(&all["schemas"]);
    run("strategic-merge", |case| {
        // Bodies that are not JSON, and a normalisation that the server does not have.
        let raw = ["originalText", "patchText", "text"].iter().any(|t| case.get(*t).is_some());
        let operations: Vec<&str> = case["operation"].as_array()?.iter().filter_map(Value::as_str).collect();
        if raw || case["expectedErrorContains"].as_str().is_some_and(|e| e.contains("invalid JSON")) {
            return None;
        }
        Some(operations.into_iter().try_for_each(|o| strategic_case(&types, case, o)))
    });
}

/// The kind of one server-side apply case.
struct TestKind {
    types: Types,
    deduced: bool,
    root: Option<String>,
    converter: String,
    accepted: Option<Vec<String>>,
    ignored: BTreeMap<String, Set>,
}

fn smd_type(types: &mut Types, schema: &Map<String, Value>, reference: &Value) -> Type {
    if let Some(name) = reference.get("namedType").and_then(Value::as_str) {
        let inner = schema.get(name).cloned().unwrap_or_default();
        let overridden = reference.get("elementRelationship");
        if inner.get("map").is_some() && overridden.is_none() {
            return Type::Struct(types.declare(name));
        }
        let mut inner = inner;
        if let Some(relationship) = overridden {
            for kind in ["map", "list"] {
                if inner.get(kind).is_some() {
                    inner[kind]["elementRelationship"] = relationship.clone();
                }
            }
        }
        return smd_type(types, schema, &inner);
    }
    if let Some(relationship) = reference.get("elementRelationship") {
        let mut inner = reference.clone();
        inner.as_object_mut().unwrap().remove("elementRelationship");
        for kind in ["map", "list"] {
            if inner.get(kind).is_some() {
                inner[kind]["elementRelationship"] = relationship.clone();
            }
        }
        return smd_type(types, schema, &inner);
    }
    if let Some(list) = reference.get("list") {
        let element = smd_type(types, schema, &list["elementType"]);
        let keys: Vec<&str> = list["keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let kind = match (list["elementRelationship"].as_str(), keys.is_empty()) {
            (Some("associative"), true) => ListKind::Set,
            (Some("associative"), false) => ListKind::Map(
                keys.iter()
                    .map(|k| ListKey { name: (*k).to_owned(), default: default_of(schema, &list["elementType"], k) })
                    .collect(),
            ),
            _ => ListKind::Atomic,
        };
        return Type::List(Box::new(element), kind);
    }
    if let Some(map) = reference.get("map") {
        let atomic = map["elementRelationship"] == "atomic";
        if map.get("fields").is_none() {
            let element = map.get("elementType").map_or(Type::Any, |e| smd_type(types, schema, e));
            return Type::Map(Box::new(element), atomic);
        }
        let id = types.declare(&reference.to_string());
        smd_define(types, schema, id, map);
        return Type::Struct(id);
    }
    match reference.get("scalar").and_then(Value::as_str) {
        Some("string") => Type::String,
        Some("numeric") => Type::Float,
        Some("boolean") => Type::Bool,
        _ => Type::Any,
    }
}

fn default_of(schema: &Map<String, Value>, element: &Value, key: &str) -> Option<Value> {
    let element = element.get("namedType").and_then(Value::as_str).and_then(|n| schema.get(n)).unwrap_or(element);
    element["map"]["fields"].as_array()?.iter().find(|f| f["name"] == key)?.get("default").cloned()
}

fn smd_define(types: &mut Types, schema: &Map<String, Value>, id: StructId, map: &Value) {
    let fields: Vec<Field> = map["fields"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|f| Field::new(f["name"].as_str().unwrap(), smd_type(types, schema, &f["type"])))
        .collect();
    let rest = map.get("elementType").map(|e| smd_type(types, schema, e));
    types.define(id, fields, rest, map["elementRelationship"] == "atomic");
}

fn smd_types(schema: &Value) -> Types {
    let mut types = Types::new();
    let named: Map<String, Value> = schema["schema"]["types"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|t| (t["name"].as_str().unwrap().to_owned(), t.clone()))
        .collect();
    let names: Vec<String> = named.keys().cloned().collect();
    for name in &names {
        if let Some(map) = named[name].get("map") {
            let id = types.declare(name);
            smd_define(&mut types, &named, id, map);
        }
    }
    types
}

/// A version's number.
fn number(version: &str) -> usize {
    version.trim_start_matches('v').parse().unwrap_or(1)
}

fn rename(value: &Value, old: &str, new: &str) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(k, v)| {
                    (k.strip_suffix(old).map_or_else(|| k.clone(), |stem| format!("{stem}{new}")), rename(v, old, new))
                })
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.iter().map(|v| rename(v, old, new)).collect()),
        other => other.clone(),
    }
}

fn repeat(value: &Value, times: usize, root: bool) -> Value {
    let Value::Object(map) = value else { return value.clone() };
    let key = |k: &String| {
        if root { k.clone() } else { k.chars().next().map(|c| c.to_string().repeat(times)).unwrap_or_default() }
    };
    Value::Object(
        map.iter()
            .map(|(k, v)| {
                (
                    key(k),
                    if v.is_object() {
                        repeat(v, times, false)
                    } else if root {
                        v.clone()
                    } else {
                        Value::Null
                    },
                )
            })
            .collect(),
    )
}

impl Kind for TestKind {
    fn types(&self) -> &Types {
        &self.types
    }

    fn root(&self, version: &str) -> Type {
        if self.deduced {
            return Type::Any;
        }
        let name = self.root.as_deref().unwrap_or(version);
        self.types.find(name).map_or(Type::Any, Type::Struct)
    }

    fn convert(&self, object: &Versioned, version: &str) -> Option<Versioned> {
        if self.accepted.as_ref().is_some_and(|a| !a.iter().any(|v| v == version)) {
            return None;
        }
        let value = match self.converter.as_str() {
            "renamingConverter" => rename(&object.value, &format!("_{}", object.version), &format!("_{version}")),
            "repeatingConverter" => repeat(&object.value, number(version), true),
            _ => object.value.clone(),
        };
        Some(Versioned { value, version: version.to_owned() })
    }

    fn ignored(&self, version: &str) -> Set {
        self.ignored.get(version).cloned().unwrap_or_default()
    }
}

fn step(element: &Value) -> Step {
    if let Some(name) = element.get("field").and_then(Value::as_str) {
        return Step::Field(name.to_owned());
    }
    if let Some(index) = element.get("index").and_then(Value::as_i64) {
        return Step::Index(index);
    }
    if let Some(keys) = element.get("key").and_then(Value::as_object) {
        let mut keys: Vec<(String, String)> = keys.iter().map(|(k, v)| (k.clone(), v.to_string())).collect();
        keys.sort();
        return Step::Key(keys);
    }
    Step::Value(element["value"].to_string())
}

fn path(path: &Value) -> Vec<Step> {
    path.as_array().unwrap().iter().map(step).collect()
}

fn set_of(paths: &Value) -> Set {
    let mut set = Set::default();
    paths.as_array().unwrap().iter().for_each(|p| set.insert(&path(p)));
    set
}

#[expect(clippy::too_many_lines, reason = "one case from beginning to end")]
fn apply_case(schemas: &Value, case: &Value) -> Option<Result<(), String>> {
    if case["converter"] == "reliantFieldsConverter" {
        return None;
    }
    let load = |name: &str| -> TestKind {
        let schema = &schemas[name];
        let ignored = case.get("ignoreFilter").or(case.get("ignoredFields")).and_then(Value::as_object);
        TestKind {
            types: smd_types(schema),
            deduced: schema["deduced"] == true,
            root: schema["rootType"].as_str().map(str::to_owned),
            converter: case["converter"].as_str().unwrap_or_default().to_owned(),
            accepted: None,
            ignored: ignored.into_iter().flatten().map(|(v, paths)| (v.clone(), set_of(paths))).collect(),
        }
    };
    let mut kind = load(case["schema"].as_str().unwrap());
    let mut live = Versioned {
        value: json!({}),
        version: case["ops"].as_array()?.iter().find_map(|o| o["apiVersion"].as_str()).unwrap_or("v1").to_owned(),
    };
    let mut managers = Managers::new();
    let mut failed = false;
    for (index, op) in case["ops"].as_array()?.iter().enumerate() {
        let fail = |why: String| Some(Err(format!("op {index}: {why}")));
        let manager = op["manager"].as_str().unwrap_or_default();
        let version = op["apiVersion"].as_str().unwrap_or("v1");
        let object = Versioned { value: op["object"].clone(), version: version.to_owned() };
        match op["op"].as_str().unwrap() {
            "changeSchema" => {
                kind = load(op["schema"].as_str().unwrap());
                continue;
            }
            "setAcceptedVersions" => {
                kind.accepted =
                    Some(op["versions"].as_array()?.iter().map(|v| v.as_str().unwrap().to_owned()).collect());
                continue;
            }
            "extractApply" => return None,
            "update" => {
                let Some(at) = kind.convert(&live, version) else { return fail("no version".into()) };
                managers = updater::update(&kind, &at, &object, managers, manager);
                live = object;
            }
            name => {
                let Some(at) = kind.convert(&live, version) else { return fail("no version".into()) };
                match (
                    updater::apply(&kind, &at, &object, managers.clone(), manager, name == "forceApply"),
                    op.get("conflicts"),
                ) {
                    (Ok((new, owners)), None) => (live, managers) = (new, owners),
                    (Err(ApplyError::Conflicts(got)), Some(expected)) => {
                        let got: BTreeSet<(String, Vec<Step>)> = got
                            .iter()
                            .flat_map(|(m, set)| set.paths().into_iter().map(move |p| (m.clone(), p)))
                            .collect();
                        let expected: BTreeSet<(String, Vec<Step>)> = expected
                            .as_array()?
                            .iter()
                            .map(|c| (c["manager"].as_str().unwrap().to_owned(), path(&c["path"])))
                            .collect();
                        if got != expected {
                            return fail(format!("conflicts {got:?}, expected {expected:?}"));
                        }
                    }
                    (Err(_), None) if case["expectError"] == true => failed = true,
                    (result, expected) => return fail(format!("{result:?}, expected conflicts {expected:?}")),
                }
            }
        }
    }
    if case["expectError"] == true {
        return Some(if failed { Ok(()) } else { Err("no operation failed".into()) });
    }
    if let Some(expected) = case.get("expectedLive") {
        let version = case["expectedLiveVersion"].as_str().unwrap_or("v1");
        let got = kind.convert(&live, version).map(|v| v.value).unwrap_or_default();
        if let Err(why) = same(expected, &got) {
            return Some(Err(format!("live: {why}")));
        }
    }
    let Some(expected) = case.get("expectedManaged").and_then(Value::as_object) else { return Some(Ok(())) };
    let got: BTreeMap<String, (String, Value)> =
        managers.iter().map(|(name, o)| (name.clone(), (o.version.clone(), o.set.to_fields()))).collect();
    let expected: BTreeMap<String, (String, Value)> = expected
        .iter()
        .map(|(name, e)| {
            (name.clone(), (e["apiVersion"].as_str().unwrap_or_default().to_owned(), set_of(&e["paths"]).to_fields()))
        })
        .collect();
    Some(if got == expected { Ok(()) } else { Err(format!("managers {got:?}, expected {expected:?}")) })
}

#[test]
fn server_side_apply() {
    let Some(all) = table("ssa") else { return };
    run("ssa", |case| apply_case(&all["schemas"], case));
}
