//! Making strategic merge patches from documents: what kubectl does for `apply` and `edit`.

use serde_json::{Map, Value, json};

use crate::schema::{StructId, Type, Types};

use super::order::{holds_maps, same};
use super::{DELETE_FROM, DIRECTIVE, Lookup, RETAIN_KEYS, SET_ORDER, Shape, StrategicError, merge_map};

/// What a difference may hold.
#[derive(Clone, Copy)]
struct Kinds {
    additions: bool,
    deletions: bool,
    order: bool,
    retain_keys: bool,
}

/// The patch that makes `modified` of `original`.
pub fn two_way(types: &Types, root: StructId, original: &Value, modified: &Value) -> Result<Value, StrategicError> {
    let ty = Type::Struct(root);
    let kinds = Kinds { additions: true, deletions: true, order: true, retain_keys: false };
    difference(Shape { types, ty: Some(&ty), joining: true }, members(original), members(modified), kinds)
        .map(Value::Object)
}

/// The patch that brings to `current` what changed from `original` to `modified`. Fails if `current` changed the same fields to something
/// else, unless `overwrite`.
pub fn three_way(
    types: &Types,
    root: StructId,
    original: &Value,
    modified: &Value,
    current: &Value,
    overwrite: bool,
) -> Result<Value, StrategicError> {
    let ty = Type::Struct(root);
    let shape = Shape { types, ty: Some(&ty), joining: true };
    let (original, modified, current) = (members(original), members(modified), members(current));
    let delta = difference(
        shape,
        current,
        modified,
        Kinds { additions: true, deletions: false, order: true, retain_keys: false },
    )?;
    let gone = difference(
        shape,
        original,
        modified,
        Kinds { additions: false, deletions: true, order: true, retain_keys: false },
    )?;
    let patch = merge_map(gone, delta, shape)?;
    if !overwrite {
        let theirs = difference(
            shape,
            original,
            current,
            Kinds { additions: true, deletions: true, order: false, retain_keys: false },
        )?;
        if let Some(field) = conflict(shape, &patch, &theirs)? {
            return Err(StrategicError::Conflict(field));
        }
    }
    Ok(Value::Object(patch))
}

fn members(value: &Value) -> &Map<String, Value> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&NONE)
}

fn difference(
    shape: Shape<'_>,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    kinds: Kinds,
) -> Result<Map<String, Value>, StrategicError> {
    let mut patch = Map::new();
    for (name, after) in new {
        match (old.get(name), after) {
            (Some(Value::Object(before)), Value::Object(after)) => maps(shape, name, before, after, kinds, &mut patch)?,
            (Some(Value::Array(before)), Value::Array(after)) => lists(shape, name, before, after, kinds, &mut patch)?,
            (Some(before), after) if before == after => {}
            _ if kinds.additions => drop(patch.insert(name.clone(), after.clone())),
            _ => {}
        }
    }
    if kinds.deletions {
        for name in old.keys().filter(|n| !new.contains_key(*n)) {
            patch.insert(name.clone(), Value::Null);
        }
    }
    let mut retained: Vec<&String> = new.iter().filter(|(_, v)| !v.is_null()).map(|(n, _)| n).collect();
    let additional = || old.iter().any(|(name, value)| !value.is_null() && !new.contains_key(name));
    if kinds.retain_keys && !retained.is_empty() && (!patch.is_empty() || additional()) {
        retained.sort();
        patch.insert(RETAIN_KEYS.to_owned(), json!(retained));
    }
    Ok(patch)
}

/// What is known of a field; what is not known matters only if there is a difference.
fn lookup<'a, T: PartialEq + ?Sized>(
    shape: Shape<'a>,
    name: &str,
    old: &T,
    new: &T,
) -> Result<Option<Lookup<'a>>, StrategicError> {
    match shape.field(name) {
        Ok(lookup) => Ok(Some(lookup)),
        Err(_) if old == new => Ok(None),
        Err(error) => Err(error),
    }
}

fn maps(
    shape: Shape<'_>,
    name: &str,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    kinds: Kinds,
    patch: &mut Map<String, Value>,
) -> Result<(), StrategicError> {
    let Some(field) = lookup(shape, name, old, new)? else { return Ok(()) };
    if field.replaces {
        if kinds.additions {
            patch.insert(name.to_owned(), Value::Object(new.clone()));
        }
        return Ok(());
    }
    let inner = difference(field.shape, old, new, Kinds { retain_keys: field.retain_keys, ..kinds })?;
    if !inner.is_empty() {
        patch.insert(name.to_owned(), Value::Object(inner));
    }
    Ok(())
}

fn lists(
    shape: Shape<'_>,
    name: &str,
    old: &[Value],
    new: &[Value],
    kinds: Kinds,
    patch: &mut Map<String, Value>,
) -> Result<(), StrategicError> {
    let Some(field) = lookup(shape, name, old, new)? else { return Ok(()) };
    if !field.merges {
        if kinds.additions && old != new {
            patch.insert(name.to_owned(), json!(new));
        }
        return Ok(());
    }
    if old.is_empty() {
        if kinds.additions && !new.is_empty() {
            patch.insert(name.to_owned(), json!(new));
        }
        return Ok(());
    }
    let (changed, deleted, order) = if holds_maps(name, old, new)? {
        elements(&field, old, new, Kinds { retain_keys: field.retain_keys, ..kinds })?
    } else {
        scalars(old, new, kinds)
    };
    for (prefix, list) in [("", changed), (DELETE_FROM, deleted), (SET_ORDER, order)] {
        if !list.is_empty() {
            patch.insert(format!("{prefix}{name}"), Value::Array(list));
        }
    }
    Ok(())
}

type Lists = (Vec<Value>, Vec<Value>, Vec<Value>);

/// Changed elements with the deletions at their end, nothing, and the order.
fn elements(field: &Lookup<'_>, old: &[Value], new: &[Value], kinds: Kinds) -> Result<Lists, StrategicError> {
    let key = field.key;
    let missing = || StrategicError::MissingKey(key.to_owned());
    if key.is_empty() || old.iter().chain(new).any(|e| e.get(key).is_none()) {
        return Err(missing());
    }
    let id = |e: &Value| e.get(key).cloned().unwrap_or_default();
    // Elements of one key stand for each other in their order.
    let alike = |list: &[Value], i: &Value| list.iter().filter(|e| same(&id(e), i)).count();
    let mut changed = Vec::new();
    for (index, after) in new.iter().enumerate() {
        let nth = alike(new.get(..index).unwrap_or_default(), &id(after));
        match old.iter().filter(|before| same(&id(before), &id(after))).nth(nth) {
            Some(before) => {
                let mut inner = difference(field.element, members(before), members(after), kinds)?;
                if !inner.is_empty() {
                    inner.insert(key.to_owned(), id(after));
                    changed.push(Value::Object(inner));
                }
            }
            None if kinds.additions => changed.push(after.clone()),
            None => {}
        }
    }
    changed.sort_by_key(|e| new.iter().position(|n| same(&id(n), &id(e))));
    let gone = old.iter().enumerate().map(|(index, e)| (index, id(e)));
    let gone = gone.filter(|(index, i)| alike(old.get(..*index).unwrap_or_default(), i) >= alike(new, i));
    let mut gone: Vec<Value> = gone.map(|(_, i)| i).collect();
    gone.sort_by_key(|i| i.as_str().map_or_else(|| i.to_string(), str::to_owned));
    if kinds.deletions {
        changed.extend(gone.into_iter().map(|i| json!({DIRECTIVE: "delete", key: i})));
    }
    let same_order = old.len() == new.len() && old.iter().zip(new).all(|(a, b)| same(&id(a), &id(b)));
    let ordered = kinds.order
        && ((kinds.additions && (!changed.is_empty() || !same_order)) || (kinds.deletions && !changed.is_empty()));
    let order = if ordered { new.iter().map(|e| json!({key: id(e)})).collect() } else { Vec::new() };
    Ok((changed, Vec::new(), order))
}

fn scalars(old: &[Value], new: &[Value], kinds: Kinds) -> Lists {
    let count = |list: &[Value], value: &Value| list.iter().filter(|v| *v == value).count();
    // What occurs more often here than there, as often as that.
    let more = |list: &[Value], other: &[Value]| -> Vec<Value> {
        let nth = |index: usize, value: &Value| count(list.get(..index).unwrap_or_default(), value);
        let more = list.iter().enumerate().filter(|(index, v)| nth(*index, v) >= count(other, v));
        more.map(|(_, v)| v.clone()).collect()
    };
    let added = if kinds.additions { more(new, old) } else { Vec::new() };
    let mut deleted = if kinds.deletions { more(old, new) } else { Vec::new() };
    deleted.sort_by_key(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
    deleted.dedup();
    let ordered = kinds.order && ((kinds.deletions && !deleted.is_empty()) || (kinds.additions && old != new));
    (added, deleted, if ordered { new.to_vec() } else { Vec::new() })
}

/// The first field that two patches change to different values.
fn conflict(
    shape: Shape<'_>,
    left: &Map<String, Value>,
    right: &Map<String, Value>,
) -> Result<Option<String>, StrategicError> {
    for (name, ours) in left.iter().filter(|(name, _)| *name != DIRECTIVE && *name != RETAIN_KEYS) {
        let Some(theirs) = right.get(name) else { continue };
        let differs = match (ours, theirs) {
            (Value::Object(a), Value::Object(b)) => {
                let field = shape.field(name)?;
                a.get(DIRECTIVE) != b.get(DIRECTIVE) || (!field.replaces && conflict(field.shape, a, b)?.is_some())
            }
            (Value::Array(a), Value::Array(b)) => lists_conflict(name, &shape.field(name)?, a, b)?,
            (a, b) => a != b,
        };
        if differs {
            return Ok(Some(name.clone()));
        }
    }
    Ok(None)
}

fn lists_conflict(name: &str, field: &Lookup<'_>, left: &[Value], right: &[Value]) -> Result<bool, StrategicError> {
    let maps = holds_maps(name, left, right)?;
    if field.merges {
        // Merging lists of scalars cannot conflict.
        if !maps {
            return Ok(false);
        }
        for ours in left {
            let same_key =
                |e: &&Value| matches!((e.get(field.key), ours.get(field.key)), (Some(a), Some(b)) if same(a, b));
            if let Some(theirs) = right.iter().find(same_key)
                && element_conflict(field.element, ours, theirs)?
            {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    if left.len() != right.len() {
        return Ok(true);
    }
    if !maps {
        let sorted = |list: &[Value]| {
            let mut texts: Vec<String> = list.iter().map(Value::to_string).collect();
            texts.sort();
            texts
        };
        return Ok(sorted(left) != sorted(right));
    }
    for (ours, theirs) in left.iter().zip(right) {
        if element_conflict(field.element, ours, theirs)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn element_conflict(shape: Shape<'_>, ours: &Value, theirs: &Value) -> Result<bool, StrategicError> {
    if ours.get(DIRECTIVE) != theirs.get(DIRECTIVE) {
        return Ok(true);
    }
    Ok(conflict(shape, members(ours), members(theirs))?.is_some())
}
