//! Server-side apply: a live object, managers, and operations on them in order.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use varka_apiserver::patch::apply::set::{Set, Step};
use varka_apiserver::patch::apply::updater::{self, ApplyError, Kind, Managers, Versioned};
use varka_apiserver::schema::{ListKind, Type, Types};

use super::super::{Report, cases, text};
use super::same;

mod kind;

use kind::TableKind;

/// Cases of the library that Kubernetes uses, with their schemas and converters.
pub(crate) fn server_side_apply(table: &Value, _: &std::path::Path, report: &mut Report) {
    let schemas = table.get("schemas").cloned().unwrap_or_default();
    for case in cases(table) {
        let outcome = State::new(&schemas, case).and_then(|state| state.run());
        report.count(text(case, "id"), outcome);
    }
}

/// A step of a path as the table writes it.
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
    Step::Value(element.get("value").cloned().unwrap_or_default().to_string())
}

fn path(path: &Value) -> Vec<Step> {
    path.as_array().into_iter().flatten().map(step).collect()
}

fn set_of(paths: &Value) -> Set {
    let mut set = Set::default();
    paths.as_array().into_iter().flatten().for_each(|p| set.insert(&path(p)));
    set
}

struct State<'a> {
    schemas: &'a Value,
    case: &'a Value,
    kind: TableKind,
    live: Versioned,
    managers: Managers,
}

/// Why an operation did not do what it should: the apply failed, or the case is not met.
enum Stop {
    Failed(String),
    Unmet(String),
}

impl<'a> State<'a> {
    fn new(schemas: &'a Value, case: &'a Value) -> Result<Self, String> {
        let kind = TableKind::new(schemas, case, text(case, "schema"))?;
        let first = ops(case).iter().map(|op| text(op, "apiVersion")).find(|v| !v.is_empty()).unwrap_or("v1");
        let live = Versioned { value: json!({}), version: first.to_owned() };
        Ok(Self { schemas, case, kind, live, managers: Managers::new() })
    }

    fn run(mut self) -> Result<(), String> {
        let may_fail = self.case.get("expectError") == Some(&Value::Bool(true));
        for (index, op) in ops(self.case).iter().enumerate() {
            match self.operate(op) {
                Ok(()) => {}
                Err(Stop::Failed(_)) if may_fail => return Ok(()),
                Err(Stop::Failed(why) | Stop::Unmet(why)) => return Err(format!("operation {index}: {why}")),
            }
        }
        if may_fail {
            return Err("no operation failed".to_owned());
        }
        self.compare_live()?;
        self.compare_managers()
    }

    fn operate(&mut self, op: &Value) -> Result<(), Stop> {
        let version = text(op, "apiVersion").to_owned();
        let config = Versioned { value: op.get("object").cloned().unwrap_or_default(), version };
        match text(op, "op") {
            "changeSchema" => {
                self.kind = TableKind::new(self.schemas, self.case, text(op, "schema")).map_err(Stop::Unmet)?;
                Ok(())
            }
            "setAcceptedVersions" => {
                self.kind.accept(op.get("versions").unwrap_or(&Value::Null));
                Ok(())
            }
            "update" => self.update(op, config),
            "extractApply" => {
                let config = self.extracted(text(op, "manager"), config)?;
                self.apply(op, &config, true)
            }
            "apply" => self.apply(op, &config, false),
            "forceApply" => self.apply(op, &config, true),
            other => Err(Stop::Unmet(format!("unknown operation {other}"))),
        }
    }

    fn live_in(&self, version: &str) -> Result<Versioned, Stop> {
        let live = self.kind.convert(&self.live, version);
        live.ok_or_else(|| Stop::Failed(format!("the live object does not convert to {version}")))
    }

    fn update(&mut self, op: &Value, config: Versioned) -> Result<(), Stop> {
        let live = self.live_in(&config.version)?;
        let managers = std::mem::take(&mut self.managers);
        self.managers = updater::update(&self.kind, &live, &config, managers, text(op, "manager"));
        self.live = config;
        Ok(())
    }

    fn apply(&mut self, op: &Value, config: &Versioned, force: bool) -> Result<(), Stop> {
        let live = self.live_in(&config.version)?;
        let applied = updater::apply(&self.kind, &live, config, self.managers.clone(), text(op, "manager"), force);
        match (applied, op.get("conflicts")) {
            (Ok((live, managers)), None) => {
                (self.live, self.managers) = (live, managers);
                Ok(())
            }
            (Err(ApplyError::Conflicts(got)), Some(wanted)) => conflicts(&got, wanted).map_err(Stop::Unmet),
            (Err(why), None) => Err(Stop::Failed(format!("{why:?}"))),
            (result, Some(wanted)) => Err(Stop::Unmet(format!("{result:?} instead of conflicts {wanted}"))),
        }
    }

    /// What a client that extracts sends: the leaves that it owns already, and its configuration over them.
    fn extracted(&self, manager: &str, config: Versioned) -> Result<Versioned, Stop> {
        let Some(owned) = self.managers.get(manager) else { return Ok(config) };
        let live = self.live_in(&config.version)?;
        let owned = Versioned {
            value: extract(self.kind.types(), &self.kind.root(&config.version), &live.value, &owned.set),
            version: config.version.clone(),
        };
        let merged = updater::apply(&self.kind, &owned, &config, Managers::new(), manager, true);
        merged.map(|(merged, _)| merged).map_err(|e| Stop::Failed(e.to_string()))
    }

    fn compare_live(&self) -> Result<(), String> {
        let Some(want) = self.case.get("expectedLive") else { return Ok(()) };
        let version = match text(self.case, "expectedLiveVersion") {
            "" => "v1",
            version => version,
        };
        let got = self.kind.convert(&self.live, version).ok_or("the live object does not convert")?;
        same(want, &got.value).map_err(|e| format!("live object: {e}"))
    }

    fn compare_managers(&self) -> Result<(), String> {
        if let Some((name, _)) = self.managers.iter().find(|(_, owned)| owned.set.is_empty()) {
            return Err(format!("{name} owns nothing and is kept"));
        }
        let Some(want) = self.case.get("expectedManaged").and_then(Value::as_object) else { return Ok(()) };
        let fields = |(version, set): (&str, &Set)| (version.to_owned(), set.to_fields());
        let got: BTreeMap<&str, (String, Value)> =
            self.managers.iter().map(|(name, o)| (name.as_str(), fields((&o.version, &o.set)))).collect();
        let want: BTreeMap<&str, (String, Value)> = want
            .iter()
            .map(|(name, w)| {
                let set = set_of(w.get("paths").unwrap_or(&Value::Null));
                (name.as_str(), fields((text(w, "apiVersion"), &set)))
            })
            .collect();
        if got == want { Ok(()) } else { Err(format!("managers {got:?} instead of {want:?}")) }
    }
}

fn ops(case: &Value) -> &[Value] {
    case.get("ops").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn conflicts(got: &BTreeMap<String, Set>, wanted: &Value) -> Result<(), String> {
    let got: BTreeSet<(&str, Vec<Step>)> =
        got.iter().flat_map(|(name, set)| set.paths().into_iter().map(move |p| (name.as_str(), p))).collect();
    let wanted: BTreeSet<(&str, Vec<Step>)> = wanted
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| (text(c, "manager"), path(c.get("path").unwrap_or(&Value::Null))))
        .collect();
    if got == wanted { Ok(()) } else { Err(format!("conflicts {got:?} instead of {wanted:?}")) }
}

/// The part of a value that the leaves of a set name. Lists are sets of scalars, as in the tables that extract.
fn extract(types: &Types, ty: &Type, value: &Value, set: &Set) -> Value {
    let below = |step: &Step| set.below(step).filter(|below| !below.is_empty());
    match value {
        Value::Object(map) => {
            let part = map.iter().filter_map(|(name, child)| {
                let step = Step::Field(name.clone());
                let inner = field(types, ty, name);
                let kept = match below(&step) {
                    Some(below) => extract(types, &inner, child, below),
                    None if !set.has(&step) => return None,
                    None if is_one_value(types, &inner, child) => child.clone(),
                    // Owned as a list or map alone, without what is in it.
                    None => Value::Null,
                };
                Some((name.clone(), kept))
            });
            Value::Object(part.collect())
        }
        Value::Array(list) => list.iter().filter(|v| set.has(&Step::Value(v.to_string()))).cloned().collect(),
        other => other.clone(),
    }
}

fn field(types: &Types, ty: &Type, name: &str) -> Type {
    match ty {
        Type::Struct(id) => types.get(*id).field(name).map_or(Type::Any, |f| f.ty.clone()),
        Type::Map(value, _) => (**value).clone(),
        _ => Type::Any,
    }
}

fn is_one_value(types: &Types, ty: &Type, value: &Value) -> bool {
    match ty {
        Type::List(_, kind) => *kind == ListKind::Atomic,
        Type::Map(_, atomic) => *atomic,
        Type::Struct(id) => types.get(*id).atomic,
        _ => !value.is_object(),
    }
}
