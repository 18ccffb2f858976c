//! JSON merge patches (RFC 7386): what is different between two objects, and the other way.
//!
//! A member that is null is one that is not there, so that objects with such members are not told apart from those without.

use serde_json::{Map, Value};

/// What makes `after` of `before`.
pub(super) fn difference(before: &Value, after: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (before, after) else { return after.clone() };
    let mut patch = Map::new();
    for (name, value) in new {
        match old.get(name) {
            Some(same) if same == value => {}
            Some(other) => drop(patch.insert(name.clone(), difference(other, value))),
            None => drop(patch.insert(name.clone(), value.clone())),
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    Value::Object(patch)
}

/// Makes of a value what a patch says.
pub(super) fn apply(to: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *to = patch;
        return;
    };
    if !to.is_object() {
        *to = Value::Object(Map::new());
    }
    let Some(members) = to.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            members.shift_remove(&name);
        } else {
            apply(members.entry(name).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Without nulls.
    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), (0..4).prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::hash_map("[a-d]", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_difference_makes_the_one_of_the_other(before in values(), after in values()) {
            let mut made = before.clone();
            apply(&mut made, difference(&before, &after));
            prop_assert_eq!(made, after);
        }
    }

    #[test]
    fn what_is_the_same_is_not_said() {
        let of = |ready| serde_json::json!({"metadata": {"name": "a"}, "status": {"ready": ready, "ip": "10.0.0.1"}});
        assert_eq!(difference(&of(false), &of(true)).to_string(), r#"{"status":{"ready":true}}"#);
    }
}
