use serde_json::{Value, json};

use super::*;
use crate::schema::{Field, ListKind};

/// A struct with a list of itself that merges by `name`.
fn types() -> (Types, StructId) {
    let mut types = Types::new();
    let item = types.declare("Item");
    let list = |element: Type| Type::List(Box::new(element), ListKind::Atomic);
    let fields = vec![
        Field::new("name", Type::String),
        Field::new("value", Type::String),
        Field { merge_key: Some("name".to_owned()), ..Field::new("items", list(Type::Struct(item))) },
    ];
    types.define(item, fields, None, false);
    (types, item)
}

fn items(names: &[&str]) -> Value {
    json!({"items": names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>()})
}

#[test]
fn what_a_patch_adds_takes_the_places_of_what_it_deletes() {
    let (types, root) = types();
    let patch = json!({
        "$setElementOrder/items": [{"name": "b"}, {"name": "c"}],
        "items": [{"name": "b"}, {"name": "c"}, {"name": "a", "$patch": "delete"}],
    });
    assert_eq!(apply(&types, root, &items(&["a", "d"]), &patch).unwrap(), items(&["d", "b", "c"]));
}

#[test]
fn elements_of_one_key_stand_for_each_other_in_their_order() {
    let (types, root) = types();
    let twice = json!({"items": [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]});
    assert_eq!(two_way(&types, root, &twice, &twice).unwrap(), json!({}));
    let once = json!({"items": [{"name": "a", "value": "1"}]});
    let patch = two_way(&types, root, &twice, &once).unwrap();
    assert_eq!(patch, json!({"$setElementOrder/items": [{"name": "a"}], "items": [{"name": "a", "$patch": "delete"}]}));
}
