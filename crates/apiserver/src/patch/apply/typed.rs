//! Objects seen through their types: the paths they hold, how two differ, how one merges over another, and what is left without some paths.
//!
//! Structs and maps are granular unless atomic; lists are atomic, sets of scalars, or maps by key. What has no type is granular if
//! it is a map and atomic if it is a list.

use serde_json::{Map, Value};

use crate::schema::{Field, ListKey, ListKind, Type, Types};

use super::set::{Set, Step};

/// A list that is a map or set holds two elements of one identity, or one without.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypedError {
    /// Two elements with the same key.
    #[error("{path}: duplicate entries for key {step}")]
    Duplicate {
        /// The list.
        path: String,
        /// The element.
        step: String,
    },
    /// An element that has none of its list's keys.
    #[error("{path}: element {index}: associative list with keys has an element that omits key field \"{key}\"")]
    NoKey {
        /// The list.
        path: String,
        /// The element's position.
        index: usize,
        /// The missing key.
        key: String,
    },
}

/// What differs between two objects.
#[derive(Clone, Debug, Default)]
pub(super) struct Comparison {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
}

/// How a value is walked.
enum Shape<'a> {
    /// One value.
    Leaf,
    /// Fields and the type of each.
    Map,
    /// Elements with identities.
    List(&'a Type, &'a ListKind),
}

/// The shape that values have at one place; the first value that is there decides what an untyped place is.
fn shape<'a>(types: &Types, ty: &'a Type, values: [Option<&Value>; 2]) -> Shape<'a> {
    match ty {
        Type::Struct(id) if types.get(*id).atomic => Shape::Leaf,
        Type::Struct(_) | Type::Map(_, false) => Shape::Map,
        Type::List(_, ListKind::Atomic) => Shape::Leaf,
        Type::List(element, kind) => Shape::List(element, kind),
        Type::Any if values.iter().flatten().any(|v| v.is_object()) => Shape::Map,
        _ => Shape::Leaf,
    }
}

/// The type below a step.
pub(super) fn below(types: &Types, ty: &Type, step: &Step) -> Type {
    match (ty, step) {
        (Type::Struct(id), Step::Field(name)) => {
            let item = types.get(*id);
            match item.field(name) {
                Some(field) => field_type(field),
                None => item.rest.clone().unwrap_or(Type::Any),
            }
        }
        (Type::Map(value, _), _) => (**value).clone(),
        (Type::List(element, _), _) => (**element).clone(),
        _ => Type::Any,
    }
}

/// A field's type, as one value if the field says so.
fn field_type(field: &Field) -> Type {
    if !field.atomic {
        return field.ty.clone();
    }
    match &field.ty {
        Type::List(element, _) => Type::List(element.clone(), ListKind::Atomic),
        Type::Map(value, _) => Type::Map(value.clone(), true),
        _ => Type::Map(Box::new(Type::Any), true),
    }
}

fn is_named(types: &Types, ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Struct(id) if types.get(*id).field(name).is_some())
}

/// Whether the values are one value here, whatever is in them.
pub(super) fn is_atomic(types: &Types, ty: &Type, a: &Value, b: &Value) -> bool {
    match shape(types, ty, [Some(a), Some(b)]) {
        Shape::Leaf => true,
        Shape::Map | Shape::List(..) => is_hollow(Some(a)) && is_hollow(Some(b)),
    }
}

/// The identity of an element of a list; the missing key if it has none.
fn identity(element: &Value, kind: &ListKind) -> Result<Step, String> {
    let ListKind::Map(keys) = kind else { return Ok(Step::Value(element.to_string())) };
    let value = |key: &ListKey| element.get(&key.name).or(key.default.as_ref()).map(Value::to_string);
    let mut found: Vec<(String, String)> =
        keys.iter().filter_map(|key| Some((key.name.clone(), value(key)?))).collect();
    if found.is_empty() {
        return Err(keys.first().map(|k| k.name.clone()).unwrap_or_default());
    }
    found.sort();
    Ok(Step::Key(found))
}

/// Identities of all elements, in order. Duplicates are kept.
fn identities(list: &[Value], kind: &ListKind, path: &[Step]) -> Result<Vec<Step>, TypedError> {
    let name = || path.iter().map(Step::to_string).collect::<String>();
    list.iter()
        .enumerate()
        .map(|(index, e)| identity(e, kind).map_err(|key| TypedError::NoKey { path: name(), index, key }))
        .collect()
}

/// Elements with their identities; one without is known by its position.
pub(super) fn elements<'a>(list: &'a [Value], kind: &ListKind) -> Vec<(Step, &'a Value)> {
    let step = |(index, e): (usize, &'a Value)| {
        let position = Step::Index(i64::try_from(index).unwrap_or(i64::MAX));
        (identity(e, kind).unwrap_or(position), e)
    };
    list.iter().enumerate().map(step).collect()
}

/// Refuses duplicates: what is applied must say which element it means.
pub(super) fn check(types: &Types, ty: &Type, value: &Value, path: &mut Vec<Step>) -> Result<(), TypedError> {
    match (shape(types, ty, [Some(value), None]), value) {
        (Shape::Map, Value::Object(map)) => {
            for (name, child) in map {
                let step = Step::Field(name.clone());
                let inner = below(types, ty, &step);
                path.push(step);
                check(types, &inner, child, path)?;
                path.pop();
            }
        }
        (Shape::List(element, kind), Value::Array(list)) => {
            let steps = identities(list, kind, path)?;
            for (index, (step, child)) in steps.iter().zip(list).enumerate() {
                if steps.get(..index).is_some_and(|before| before.contains(step)) {
                    return Err(TypedError::Duplicate {
                        path: path.iter().map(Step::to_string).collect(),
                        step: step.to_string(),
                    });
                }
                path.push(step.clone());
                check(types, element, child, path)?;
                path.pop();
            }
        }
        _ => {}
    }
    Ok(())
}

/// The paths that an object holds.
pub fn field_set(types: &Types, ty: &Type, value: &Value) -> Set {
    let mut set = Set::default();
    collect(types, ty, value, &mut Vec::new(), &mut set);
    set
}

fn collect(types: &Types, ty: &Type, value: &Value, path: &mut Vec<Step>, set: &mut Set) {
    match (shape(types, ty, [Some(value), None]), value) {
        (Shape::Map, Value::Object(map)) => {
            for (name, child) in map {
                let step = Step::Field(name.clone());
                let inner = below(types, ty, &step);
                path.push(step);
                collect(types, &inner, child, path, set);
                if child.is_null() || child.as_object().is_some_and(Map::is_empty) || !is_named(types, ty, name) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        (Shape::List(element, kind), Value::Array(list)) => {
            let steps = identities(list, kind, path).unwrap_or_default();
            for (step, child) in steps.iter().zip(list) {
                path.push(step.clone());
                // Elements that occur more than once are owned as one, by their identity alone.
                if steps.iter().filter(|s| *s == step).count() == 1 {
                    collect(types, element, child, path, set);
                }
                set.insert(path);
                path.pop();
            }
        }
        (Shape::Leaf, _) => set.insert(path),
        _ => {}
    }
}

/// What changed from one object to another.
pub(super) fn compare(types: &Types, ty: &Type, old: &Value, new: &Value) -> Comparison {
    let mut out = Comparison::default();
    differ(types, ty, Some(old), Some(new), &mut Vec::new(), &mut out);
    out
}

pub(super) fn is_hollow(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    }
}

fn differ(
    types: &Types,
    ty: &Type,
    old: Option<&Value>,
    new: Option<&Value>,
    path: &mut Vec<Step>,
    out: &mut Comparison,
) {
    let leaf = match shape(types, ty, [old, new]) {
        Shape::Leaf => true,
        Shape::Map | Shape::List(..) => is_hollow(old) && is_hollow(new),
    };
    match (old, new) {
        (None, None) => return,
        (None, Some(_)) => out.added.insert(path),
        (Some(_), None) => out.removed.insert(path),
        (Some(old), Some(new)) if (leaf || changes_form(old, new)) && !super::super::json::equal(old, new) => {
            out.modified.insert(path);
        }
        _ => {}
    }
    if leaf {
        return;
    }
    match shape(types, ty, [old, new]) {
        Shape::Leaf => {}
        Shape::Map => {
            let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            let mut names: Vec<&String> = old.into_iter().chain(new).flat_map(Map::keys).collect();
            names.sort();
            names.dedup();
            for name in names {
                let step = Step::Field(name.clone());
                let inner = below(types, ty, &step);
                path.push(step);
                differ(types, &inner, old.and_then(|m| m.get(name)), new.and_then(|m| m.get(name)), path, out);
                path.pop();
            }
        }
        Shape::List(element, kind) => differ_lists(types, element, kind, [list(old), list(new)], path, out),
    }
}

/// Whether a map becomes a value of another form, or the reverse. Null is of every form.
fn changes_form(old: &Value, new: &Value) -> bool {
    old.is_object() != new.is_object() && !old.is_null() && !new.is_null()
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn differ_lists(
    types: &Types,
    element: &Type,
    kind: &ListKind,
    lists: [&[Value]; 2],
    path: &mut Vec<Step>,
    out: &mut Comparison,
) {
    let [old, new] = lists;
    let old_steps = identities(old, kind, path).unwrap_or_default();
    let new_steps = identities(new, kind, path).unwrap_or_default();
    let all = |steps: &[Step], values: &[Value], step: &Step| -> Vec<Value> {
        steps.iter().zip(values).filter(|(s, _)| *s == step).map(|(_, v)| v.clone()).collect()
    };
    let mut steps: Vec<&Step> = old_steps.iter().chain(&new_steps).collect();
    steps.sort();
    steps.dedup();
    for step in steps {
        let (before, after) = (all(&old_steps, old, step), all(&new_steps, new, step));
        path.push(step.clone());
        match (before.len(), after.len()) {
            (0 | 1, 0 | 1) => differ(types, element, before.first(), after.first(), path, out),
            // Elements that occur more than once are owned as one, by their identity alone.
            (2.., 2..) => {
                let equal = before.len() == after.len()
                    && before.iter().zip(&after).all(|(a, b)| super::super::json::equal(a, b));
                if !equal {
                    out.modified.insert(path);
                }
            }
            (2.., _) => {
                differ(types, element, None, after.first(), path, out);
                out.removed.insert(path);
            }
            _ => {
                differ(types, element, before.first(), None, path, out);
                out.added.insert(path);
            }
        }
        path.pop();
    }
}

/// A set of owned paths as the types have it now: what lies below an atomic value becomes the value itself.
pub(super) fn reconcile(types: &Types, ty: &Type, value: &Value, set: &Set) -> Set {
    let mut out = Set::default();
    bring_in_line(types, ty, Some(value), set, &mut Vec::new(), &mut out);
    out
}

fn bring_in_line(types: &Types, ty: &Type, value: Option<&Value>, set: &Set, path: &mut Vec<Step>, out: &mut Set) {
    for step in set.steps() {
        let inner = below(types, ty, step);
        let child = value.and_then(|v| child_of(ty, v, step));
        path.push(step.clone());
        let granular = matches!(shape(types, &inner, [child, None]), Shape::Map | Shape::List(..));
        match set.below(step).filter(|b| !b.is_empty()) {
            Some(_) if !granular && !matches!(inner, Type::Any) => out.insert(path),
            Some(deeper) => {
                if set.has(step) {
                    out.insert(path);
                }
                bring_in_line(types, &inner, child, deeper, path, out);
            }
            // What was atomic and is granular now is owned as before, without its parts.
            None => out.insert(path),
        }
        path.pop();
    }
}

fn child_of<'a>(ty: &Type, value: &'a Value, step: &Step) -> Option<&'a Value> {
    match (step, ty) {
        (Step::Field(name), _) => value.get(name),
        (_, Type::List(_, kind)) => {
            elements(value.as_array()?, kind).into_iter().find(|(s, _)| s == step).map(|(_, v)| v)
        }
        _ => None,
    }
}
