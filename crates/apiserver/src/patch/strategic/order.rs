//! The order of merged lists: the patch's elements in the patch's order, the others where they were.

use serde_json::{Map, Value};

use super::{DIRECTIVE, SET_ORDER, Shape, StrategicError, merge_list};

/// Whether two values of a merge key are the same; numbers and strings compare by their text.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    fn text(value: &Value) -> String {
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    }
    a == b || text(a) == text(b)
}

/// Whether an element stands for the same thing as another: by key for maps, by value for scalars.
fn alike(a: &Value, b: &Value, key: &str) -> bool {
    if key.is_empty() {
        return a == b;
    }
    matches!((a.get(key), b.get(key)), (Some(x), Some(y)) if same(x, y))
}

fn position(list: &[Value], element: &Value, key: &str) -> Option<usize> {
    list.iter().position(|e| alike(e, element, key))
}

/// Whether the lists hold maps. Mixed lists, and lists of lists, do not merge.
pub(super) fn holds_maps(name: &str, old: &[Value], new: &[Value]) -> Result<bool, StrategicError> {
    let mut elements = old.iter().chain(new);
    let maps = elements.clone().next().is_some_and(Value::is_object);
    if elements.any(|e| e.is_object() != maps || e.is_array()) {
        return Err(StrategicError::MixedList(name.to_owned()));
    }
    Ok(maps)
}

/// Splits a list into the elements that `present` has and the others.
pub(super) fn partition(list: Vec<Value>, present: &[Value], key: &str) -> (Vec<Value>, Vec<Value>) {
    list.into_iter().partition(|e| position(present, e, key).is_some())
}

/// Sorts the patched elements by the patch's order, the others by the server's, and merges the two by the server's order.
pub(super) fn normalise(
    mut patched: Vec<Value>,
    mut others: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    key: &str,
) -> Vec<Value> {
    let is_deletion = |e: &Value| e.get(DIRECTIVE).is_some();
    patched.sort_by_key(|e| (is_deletion(e), position(patch_order, e, key)));
    others.sort_by_key(|e| (is_deletion(e), position(server_order, e, key)));
    let mut out = Vec::with_capacity(patched.len() + others.len());
    let (mut left, mut right) = (others.into_iter().peekable(), patched.into_iter().peekable());
    loop {
        let before = match (left.peek(), right.peek()) {
            (None, None) => return out,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(l), Some(r)) => match (position(server_order, l, key), position(server_order, r, key)) {
                (Some(l), Some(r)) => l < r,
                _ => false,
            },
        };
        out.extend(if before { left.next() } else { right.next() });
    }
}

/// Merges the lists for which the patch sets an order, and takes them out of the patch.
pub(super) fn set_element_order(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    shape: Shape<'_>,
) -> Result<(), StrategicError> {
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let name = directive.strip_prefix(SET_ORDER).unwrap_or_default();
        let Some(Value::Array(order)) = patch.shift_remove(&directive) else {
            return Err(StrategicError::Order(name.to_owned()));
        };
        if shape.joining {
            let list = Value::Array(order.clone());
            if original.insert(directive.clone(), list.clone()).is_some_and(|before| before != list) {
                return Err(StrategicError::Order(name.to_owned()));
            }
        }
        let lookup = shape.field(name)?;
        let old = match original.get(name) {
            None => None,
            Some(Value::Array(list)) => Some(list.clone()),
            Some(_) => return Err(StrategicError::MixedList(name.to_owned())),
        };
        let change = match patch.get(name) {
            None => None,
            Some(Value::Array(list)) => Some(list.clone()),
            // A null beside an order removes the list.
            Some(_) => continue,
        };
        patch.shift_remove(name);
        if let Some(change) = &change {
            agree(name, change, &order, lookup.key)?;
        }
        let key = lookup.key;
        let (before, merged) = match (old, change) {
            (None, None) => continue,
            (Some(old), None) => (old.clone(), old),
            (None, Some(new)) => (Vec::new(), new.into_iter().filter_map(|v| shape.fresh(v)).collect()),
            (Some(old), Some(new)) => (refilled(&old, &new, key), merge_list(name, old, new, &lookup, false)?),
        };
        let (patched, others) = partition(merged, &order, key);
        original.insert(name.to_owned(), Value::Array(normalise(patched, others, &order, &before, key)));
    }
    Ok(())
}

/// The server's order of a list: places of elements that the patch deletes go to those that it adds, as in Kubernetes.
fn refilled(old: &[Value], new: &[Value], key: &str) -> Vec<Value> {
    let kept = survivors(old, new, key);
    let added = new.iter().filter(|e| e.get(DIRECTIVE).is_none() && position(&kept, e, key).is_none()).cloned();
    kept.iter().cloned().chain(added).take(old.len()).collect()
}

/// The elements that a patch does not delete.
pub(super) fn survivors(old: &[Value], new: &[Value], key: &str) -> Vec<Value> {
    let deleted: Vec<&Value> =
        new.iter().filter(|e| e.get(DIRECTIVE).is_some_and(|d| d.as_str() == Some("delete"))).collect();
    old.iter().filter(|e| !deleted.iter().any(|d| alike(e, d, key))).cloned().collect()
}

/// Checks that the patch's elements, deletions aside, occur in the order's order.
fn agree(name: &str, change: &[Value], order: &[Value], key: &str) -> Result<(), StrategicError> {
    let mut from = 0;
    for element in change.iter().filter(|e| e.get(DIRECTIVE).is_none()) {
        if !key.is_empty() && element.get(key).is_none() {
            return Err(StrategicError::MissingKey(key.to_owned()));
        }
        match order.get(from..).and_then(|rest| position(rest, element, key)) {
            Some(at) => from += at + 1,
            None => return Err(StrategicError::Order(name.to_owned())),
        }
    }
    Ok(())
}
