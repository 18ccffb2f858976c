//! Merging one object over another, and removing paths from an object.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::schema::{ListKind, Type, Types};

use super::set::{Set, Step};
use super::typed::{below, elements, is_atomic};

/// `new` over `old`: what `new` names wins, what it does not name stays.
pub(super) fn merge(types: &Types, ty: &Type, old: &Value, new: &Value) -> Value {
    if is_atomic(types, ty, old, new) {
        return new.clone();
    }
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let mut out = a.clone();
            for (name, value) in b {
                let inner = below(types, ty, &Step::Field(name.clone()));
                let merged = out.get(name).map_or_else(|| value.clone(), |before| merge(types, &inner, before, value));
                out.insert(name.clone(), merged);
            }
            Value::Object(out)
        }
        (Value::Array(a), Value::Array(b)) => match ty {
            Type::List(element, kind) => Value::Array(merge_lists(types, element, kind, a, b)),
            _ => new.clone(),
        },
        (Value::Object(_) | Value::Array(_), Value::Null) => old.clone(),
        _ => new.clone(),
    }
}

/// Merges elements by identity. Elements of both follow the order of `new`; those only in `old` keep their place between them.
fn merge_lists(types: &Types, element: &Type, kind: &ListKind, old: &[Value], new: &[Value]) -> Vec<Value> {
    let (left, right) = (elements(old, kind), elements(new, kind));
    // Duplicates in what is stored have no identity to merge with.
    let unique = |step: &Step| -> Option<&Value> {
        let mut found = left.iter().filter(|(s, _)| s == step);
        let first = found.next().map(|(_, v)| *v);
        if found.next().is_some() { None } else { first }
    };
    let merged = |step: &Step, value: &Value| {
        unique(step).map_or_else(|| value.clone(), |before| merge(types, element, before, value))
    };
    let in_left: BTreeSet<&Step> = left.iter().map(|(s, _)| s).collect();
    let in_right: BTreeSet<&Step> = right.iter().map(|(s, _)| s).collect();
    let mut shared = right.iter().map(|(s, _)| s).filter(|s| in_left.contains(s)).peekable();
    let mut done: BTreeSet<&Step> = BTreeSet::new();
    let mut out = Vec::with_capacity(old.len().max(new.len()));
    let (mut l, mut r) = (left.iter().peekable(), right.iter().peekable());
    loop {
        if let (Some((a, _)), Some((b, value))) = (l.peek(), r.peek()) {
            if a == b {
                out.push(merged(b, value));
                done.insert(b);
                l.next();
                r.next();
                shared.next();
                continue;
            }
            // An element of both, but not the one whose turn it is.
            if in_right.contains(a) && shared.peek().is_some_and(|s| s != &a) {
                l.next();
                continue;
            }
        }
        if let Some((a, value)) = l.peek() {
            if !in_right.contains(a) {
                out.push((*value).clone());
                l.next();
                continue;
            }
            if done.contains(a) {
                l.next();
            }
        }
        if let Some((b, value)) = r.next() {
            out.push(merged(b, value));
            done.insert(b);
            shared.next_if(|s| *s == b);
        } else if l.peek().is_none() {
            return out;
        }
    }
}

/// The object without the paths of a set. `None` if nothing is left.
pub(super) fn remove(types: &Types, ty: &Type, value: &Value, paths: &Set) -> Option<Value> {
    match value {
        Value::Object(map) if !is_atomic(types, ty, value, value) => {
            let mut out = Map::new();
            for (name, child) in map {
                let step = Step::Field(name.clone());
                if paths.has(&step) {
                    continue;
                }
                let kept = match paths.below(&step) {
                    Some(inner) => remove(types, &below(types, ty, &step), child, inner).unwrap_or_default(),
                    None => child.clone(),
                };
                out.insert(name.clone(), kept);
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
        Value::Array(list) => match ty {
            Type::List(element, kind) if *kind != ListKind::Atomic => {
                let mut out = Vec::new();
                for (step, child) in elements(list, kind) {
                    if paths.has(&step) {
                        continue;
                    }
                    match paths.below(&step) {
                        Some(inner) => out.extend(remove(types, element, child, inner)),
                        None => out.push(child.clone()),
                    }
                }
                (!out.is_empty()).then_some(Value::Array(out))
            }
            _ => Some(value.clone()),
        },
        _ => Some(value.clone()),
    }
}
