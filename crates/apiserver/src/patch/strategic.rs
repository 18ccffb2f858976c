//! Strategic merge patch: a merge patch that knows the lists of Kubernetes' types.
//!
//! A list with a merge key merges element by element, a list without replaces. Directives: `$patch: delete|replace` in a map,
//! `$setElementOrder/LIST`, `$deleteFromPrimitiveList/LIST`, `$retainKeys`.
//! <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md>

use serde_json::{Map, Value};

use crate::schema::{StructId, Type, Types};

mod create;
mod order;

pub use create::{three_way, two_way};

pub(super) const DIRECTIVE: &str = "$patch";
pub(super) const RETAIN_KEYS: &str = "$retainKeys";
pub(super) const SET_ORDER: &str = "$setElementOrder/";
pub(super) const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Why a patch cannot be applied or made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrategicError {
    /// A directive that does not exist.
    #[error("unknown patch type found: {0}")]
    UnknownDirective(String),
    /// `$retainKeys` that does not list a key of the patch.
    #[error(
        "$retainKeys doesn't match the patch: it must be a list of names that holds every key of the patch beside it"
    )]
    RetainKeys,
    /// `$setElementOrder` that does not agree with the list beside it.
    #[error("the order in patch list doesn't match $setElementOrder list of {0}")]
    Order(String),
    /// An element without the merge key of its list.
    #[error("map does not contain declared merge key: {0}")]
    MissingKey(String),
    /// A directive in a list without merge key, or lists of maps that cannot be told apart.
    #[error("cannot merge lists without merge key: {0}")]
    NoKey(String),
    /// A list that holds maps and scalars, or lists.
    #[error("list element types are not identical: {0}")]
    MixedList(String),
    /// A field that the type does not have.
    #[error("unable to find api field \"{field}\" in type {ty}")]
    UnknownField {
        /// The field.
        field: String,
        /// The type.
        ty: String,
    },
    /// Two patches disagree.
    #[error("patch conflicts with changes made by others: {0}")]
    Conflict(String),
}

/// What is known of the fields at one place.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    pub(super) types: &'a Types,
    pub(super) ty: Option<&'a Type>,
    /// Two patches are joined, rather than one applied: nulls and directives stay.
    pub(super) joining: bool,
}

/// What is known of one field.
pub(super) struct Lookup<'a> {
    pub(super) shape: Shape<'a>,
    /// The list's elements, or the map itself.
    pub(super) element: Shape<'a>,
    pub(super) merges: bool,
    pub(super) replaces: bool,
    pub(super) key: &'a str,
    pub(super) retain_keys: bool,
}

impl<'a> Shape<'a> {
    pub(super) fn field(self, name: &str) -> Result<Lookup<'a>, StrategicError> {
        let plain = |ty: Option<&'a Type>| {
            let shape = Shape { ty, ..self };
            Lookup { shape, element: element_of(shape), merges: false, replaces: false, key: "", retain_keys: false }
        };
        match self.ty {
            Some(Type::Struct(id)) => {
                let item = self.types.get(*id);
                match item.field(name) {
                    Some(field) => {
                        let shape = Shape { ty: Some(&field.ty), ..self };
                        Ok(Lookup {
                            shape,
                            element: element_of(shape),
                            merges: field.merge_key.is_some(),
                            replaces: field.replaces,
                            key: field.merge_key.as_deref().unwrap_or_default(),
                            retain_keys: field.retain_keys,
                        })
                    }
                    None if item.type_meta && matches!(name, "apiVersion" | "kind") => Ok(plain(None)),
                    None if item.rest.is_some() => Ok(plain(item.rest.as_ref())),
                    None => Err(StrategicError::UnknownField { field: name.to_owned(), ty: item.name.clone() }),
                }
            }
            Some(Type::Map(value, _)) => Ok(plain(Some(value))),
            _ => Ok(plain(None)),
        }
    }
}

fn element_of(shape: Shape<'_>) -> Shape<'_> {
    match shape.ty {
        Some(Type::List(element, _)) => Shape { ty: Some(element), ..shape },
        _ => shape,
    }
}

/// Applies a patch to an object of the struct `root`.
pub fn apply(types: &Types, root: StructId, original: &Value, patch: &Value) -> Result<Value, StrategicError> {
    let ty = Type::Struct(root);
    let shape = Shape { types, ty: Some(&ty), joining: false };
    match (original, patch) {
        (Value::Object(original), Value::Object(patch)) => {
            merge_map(original.clone(), patch.clone(), shape).map(Value::Object)
        }
        (_, Value::Object(patch)) => merge_map(Map::new(), patch.clone(), shape).map(Value::Object),
        _ => Ok(original.clone()),
    }
}

fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    shape: Shape<'_>,
) -> Result<Map<String, Value>, StrategicError> {
    if let Some(directive) = patch.shift_remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Map::new()),
            _ => Err(StrategicError::UnknownDirective(directive.to_string())),
        };
    }
    retain_keys(&mut original, &mut patch, shape.joining)?;
    order::set_element_order(&mut original, &mut patch, shape)?;
    for (name, change) in patch {
        let (name, deleting) = match name.strip_prefix(DELETE_FROM) {
            Some(_) if shape.joining => {
                original.insert(name, change);
                continue;
            }
            Some(list) => (list.to_owned(), true),
            None => (name, false),
        };
        if change.is_null() {
            original.shift_remove(&name);
            if shape.joining {
                original.insert(name, Value::Null);
            }
            continue;
        }
        let Some(current) = original.get_mut(&name) else {
            if !deleting && let Some(value) = shape.fresh(change) {
                original.insert(name, value);
            }
            continue;
        };
        match (current.take(), change) {
            (Value::Object(old), Value::Object(new)) => {
                let lookup = shape.field(&name)?;
                *current = Value::Object(if lookup.replaces { new } else { merge_map(old, new, lookup.shape)? });
            }
            (Value::Array(old), Value::Array(new)) => {
                let lookup = shape.field(&name)?;
                *current = Value::Array(merge_list(&name, old, new, &lookup, deleting)?);
            }
            (old, _) if deleting => *current = old,
            (_, new) => *current = shape.fresh(new).unwrap_or_default(),
        }
    }
    Ok(original)
}

/// Removes what `$retainKeys` does not list.
fn retain_keys(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    joining: bool,
) -> Result<(), StrategicError> {
    let Some(list) = patch.shift_remove(RETAIN_KEYS) else { return Ok(()) };
    if joining {
        let same = original.insert(RETAIN_KEYS.to_owned(), list.clone()).is_none_or(|before| before == list);
        return if same { Ok(()) } else { Err(StrategicError::RetainKeys) };
    }
    let keep: Vec<&str> = list.as_array().ok_or(StrategicError::RetainKeys)?.iter().filter_map(Value::as_str).collect();
    let listed = |name: &str| {
        let name = name.strip_prefix(SET_ORDER).or_else(|| name.strip_prefix(DELETE_FROM)).unwrap_or(name);
        keep.contains(&name)
    };
    if !patch.iter().all(|(name, value)| value.is_null() || listed(name)) {
        return Err(StrategicError::RetainKeys);
    }
    original.retain(|name, _| keep.contains(&name.as_str()));
    Ok(())
}

impl Shape<'_> {
    /// A value that is new here.
    fn fresh(self, value: Value) -> Option<Value> {
        if self.joining { Some(value) } else { without_directives(value) }
    }
}

/// A value that is new, free of directives and nulls. `None` if its directive deletes it.
pub(super) fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) => {
            if map.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
                return None;
            }
            let clean = map
                .into_iter()
                .filter(|(name, value)| !name.starts_with('$') || !is_directive(name, value))
                .filter(|(_, value)| !value.is_null())
                .filter_map(|(name, value)| Some((name, without_directives(value)?)));
            Some(Value::Object(clean.collect()))
        }
        Value::Array(list) => Some(Value::Array(list.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

fn is_directive(name: &str, value: &Value) -> bool {
    match name {
        DIRECTIVE => value.is_string(),
        RETAIN_KEYS => value.is_array(),
        _ => name.starts_with(SET_ORDER) || name.starts_with(DELETE_FROM),
    }
}

fn merge_list(
    name: &str,
    old: Vec<Value>,
    new: Vec<Value>,
    lookup: &Lookup<'_>,
    deleting: bool,
) -> Result<Vec<Value>, StrategicError> {
    if !lookup.merges && !deleting {
        return Ok(new.into_iter().filter_map(|v| lookup.shape.fresh(v)).collect());
    }
    if old.is_empty() && new.is_empty() {
        return Ok(old);
    }
    let maps = order::holds_maps(name, &old, &new)?;
    let key = if maps { lookup.key } else { "" };
    let merged = if !maps && deleting {
        return Ok(old.into_iter().filter(|v| !new.contains(v)).collect());
    } else if !maps {
        let mut merged: Vec<Value> = Vec::with_capacity(old.len() + new.len());
        for value in old.iter().chain(&new) {
            if !merged.contains(value) {
                merged.push(value.clone());
            }
        }
        merged
    } else if key.is_empty() {
        return Err(StrategicError::NoKey(name.to_owned()));
    } else {
        merge_elements(&old, &new, key, lookup.element)?
    };
    let (patched, others) = order::partition(merged, &new, key);
    Ok(order::normalise(patched, others, &new, &order::survivors(&old, &new, key), key))
}

/// Merges elements that are maps, after the directives in the patch's elements.
fn merge_elements(old: &[Value], new: &[Value], key: &str, shape: Shape<'_>) -> Result<Vec<Value>, StrategicError> {
    let mut merged = old.to_vec();
    let mut plain = Vec::new();
    let mut replace = false;
    for element in new {
        match element.get(DIRECTIVE).map(|d| d.as_str().unwrap_or_default()) {
            None => plain.push(element.clone()),
            Some("replace") => replace = true,
            Some("delete") => {
                let wanted = element.get(key).ok_or_else(|| StrategicError::MissingKey(key.to_owned()))?;
                merged.retain(|e| e.get(key).is_none_or(|k| !order::same(k, wanted)));
            }
            Some(other) => return Err(StrategicError::UnknownDirective(other.to_owned())),
        }
    }
    if replace {
        return Ok(plain);
    }
    for element in plain {
        let wanted = element.get(key).cloned().ok_or_else(|| StrategicError::MissingKey(key.to_owned()))?;
        let found = merged.iter_mut().find(|e| e.get(key).is_some_and(|k| order::same(k, &wanted)));
        match (found, element) {
            (Some(slot), Value::Object(change)) => {
                let Value::Object(before) = slot.take() else { continue };
                *slot = Value::Object(merge_map(before, change, shape)?);
            }
            (_, element) => merged.extend(shape.fresh(element)),
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests;
