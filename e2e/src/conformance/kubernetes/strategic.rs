//! Strategic merge patches: applied, and made from two and from three documents.

use serde_json::{Value, json};
use varka_apiserver::patch::{self, strategic};
use varka_apiserver::schema::{Field, ListKind, StructId, Type, Types};

use super::super::{Report, cases, text};
use super::same;

/// Cases of Kubernetes' own tests, with their schemas.
pub(crate) fn strategic_merge(table: &Value, _: &std::path::Path, report: &mut Report) {
    let types = types(table.get("schemas").unwrap_or(&Value::Null));
    for case in cases(table) {
        let id = text(case, "id");
        if text(case, "operation") == "sortMergeListsByName" {
            report.skip(id, "sorting lists by merge key, which only those tests do, to compare without order");
            continue;
        }
        let operations = case.get("operation").and_then(Value::as_array).into_iter().flatten();
        let mut operations = operations.filter_map(Value::as_str).peekable();
        let outcome = match (types.find(text(case, "schema")), operations.peek()) {
            (Some(root), Some(_)) => {
                let case = Case { types: &types, root, case };
                operations.try_for_each(|operation| case.run(operation))
            }
            _ => Err("has no operation, or a schema that the table lacks".to_owned()),
        };
        report.count(id, outcome);
    }
}

/// The types of the table.
fn types(schemas: &Value) -> Types {
    let mut types = Types::new();
    let schemas: Vec<(&String, &Value)> = schemas.as_object().into_iter().flatten().collect();
    for (name, _) in &schemas {
        types.declare(name);
    }
    for (name, schema) in schemas {
        let fields = schema.get("fields").and_then(Value::as_object).into_iter().flatten();
        let fields = fields.map(|(name, schema)| field(&mut types, name, schema)).collect();
        let id = types.declare(name);
        types.define(id, fields, None, false);
    }
    types
}

fn field(types: &mut Types, name: &str, schema: &Value) -> Field {
    let mut field = Field::new(name, ty(types, schema));
    let strategies: Vec<&str> = schema
        .get("patchStrategy")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    if strategies.contains(&"merge") {
        field.merge_key = Some(text(schema, "patchMergeKey").to_owned());
    }
    field.retain_keys = strategies.contains(&"retainKeys");
    field.replaces = strategies.contains(&"replace");
    field
}

fn ty(types: &mut Types, schema: &Value) -> Type {
    let inner = |types: &mut Types, key: &str| Box::new(schema.get(key).map_or(Type::Any, |s| ty(types, s)));
    match text(schema, "kind") {
        "list" => Type::List(inner(types, "element"), ListKind::Atomic),
        "map" => Type::Map(inner(types, "values"), false),
        "ref" => Type::Struct(types.declare(text(schema, "ref"))),
        _ => Type::Any,
    }
}

struct Case<'a> {
    types: &'a Types,
    root: StructId,
    case: &'a Value,
}

impl Case<'_> {
    fn run(&self, operation: &str) -> Result<(), String> {
        match operation {
            "apply" => self.expect(self.given_texts(), "modified", "expectedErrorContains"),
            "two-way" => self.two_way(),
            "three-way" => self.three_way(),
            other => Err(format!("unknown operation {other}")),
        }
    }

    /// A document; one that is not given is empty.
    fn doc(&self, name: &str) -> Value {
        self.case.get(name).cloned().unwrap_or_else(|| json!({}))
    }

    fn apply(&self, original: &Value, patch: &Value) -> Result<Value, String> {
        strategic::apply(self.types, self.root, original, patch).map_err(|e| e.to_string())
    }

    /// Applies what the case gives, as text where it does so.
    fn given_texts(&self) -> Result<Value, String> {
        let given = |as_text: &str, name: &str| match self.case.get(as_text).and_then(Value::as_str) {
            Some(text) => patch::read(text.as_bytes()).map_err(|e| e.to_string()),
            None => Ok(self.doc(name)),
        };
        self.apply(&given("originalText", "original")?, &given("patchText", "twoWay")?)
    }

    /// The result is the document of that name, or the error holds the text of that name.
    fn expect(&self, result: Result<Value, String>, want: &str, error: &str) -> Result<(), String> {
        match (result, self.case.get(error).and_then(Value::as_str)) {
            (Err(got), Some(wanted)) if got.contains(wanted) => Ok(()),
            (Ok(got), None) => same(&self.doc(want), &got),
            // The schema's source decides in the original; both are right.
            (Ok(got), Some(_)) if self.case.get("errorOrResult").is_some() => same(&self.doc(want), &got),
            (result, wanted) => Err(format!("{result:?}, wanted error {wanted:?}")),
        }
    }

    fn two_way(&self) -> Result<(), String> {
        let made = strategic::two_way(self.types, self.root, &self.doc("original"), &self.doc("modified"));
        self.expect(made.map_err(|e| e.to_string()), "twoWay", "twoWayErrorContains")
            .map_err(|e| format!("two-way: {e}"))?;
        if self.case.get("twoWay").is_none() {
            return Ok(());
        }
        let want = if self.case.get("twoWayResult").is_some() { "twoWayResult" } else { "modified" };
        let applied = self.apply(&self.doc("original"), &self.doc("twoWay"));
        applied.and_then(|got| same(&self.doc(want), &got)).map_err(|e| format!("two-way, applied: {e}"))
    }

    fn three_way(&self) -> Result<(), String> {
        let made = |overwrite| {
            let (original, modified, current) = (self.doc("original"), self.doc("modified"), self.doc("current"));
            strategic::three_way(self.types, self.root, &original, &modified, &current, overwrite)
        };
        let conflict = self.case.get("conflict") == Some(&Value::Bool(true));
        let careful = made(false);
        if conflict != matches!(careful, Err(strategic::StrategicError::Conflict(_))) {
            return Err(format!("three-way: conflict wanted: {conflict}; {careful:?}"));
        }
        let result = if conflict { made(true) } else { careful };
        self.expect(result.map_err(|e| e.to_string()), "threeWay", "threeWayErrorContains")
            .map_err(|e| format!("three-way: {e}"))?;
        if self.case.get("threeWay").is_none() {
            return Ok(());
        }
        let applied = self.apply(&self.doc("current"), &self.doc("threeWay"));
        applied.and_then(|got| same(&self.doc("result"), &got)).map_err(|e| format!("three-way, applied: {e}"))
    }
}
