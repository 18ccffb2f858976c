use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::schema::{Field, ListKind};

/// A struct with a list of itself that merges by `name`, and a list of scalars that merges.
fn types() -> (Types, StructId) {
    let mut types = Types::new();
    let item = types.declare("Item");
    let list = |element: Type| Type::List(Box::new(element), ListKind::Atomic);
    let fields = vec![
        Field::new("name", Type::String),
        Field::new("value", Type::String),
        Field { merge_key: Some("name".to_owned()), ..Field::new("items", list(Type::Struct(item))) },
        Field { merge_key: Some(String::new()), ..Field::new("words", list(Type::String)) },
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

/// Documents of the test's type: names are unique in a list.
fn document() -> impl Strategy<Value = Value> {
    let leaf = (proptest::option::of(0..3u8), proptest::option::of(proptest::collection::btree_set(0..4u8, 0..4)))
        .prop_map(|(value, words)| {
            let mut map = Map::new();
            value.map(|v| map.insert("value".to_owned(), json!(format!("v{v}"))));
            words.map(|w| map.insert("words".to_owned(), json!(w.iter().map(|i| format!("w{i}")).collect::<Vec<_>>())));
            Value::Object(map)
        });
    leaf.prop_recursive(3, 24, 4, |inner| {
        (inner.clone(), proptest::option::of(proptest::collection::vec((0..5u8, inner), 0..4))).prop_map(
            |(mut own, list)| {
                let Some(list) = list else { return own };
                let mut items: Vec<Value> = Vec::new();
                for (name, mut item) in list {
                    let name = json!(format!("n{name}"));
                    if !items.iter().any(|i| i.get("name") == Some(&name)) {
                        item.as_object_mut().unwrap().insert("name".to_owned(), name);
                        items.push(item);
                    }
                }
                own.as_object_mut().unwrap().insert("items".to_owned(), Value::Array(items));
                own
            },
        )
    })
}

proptest! {
    /// What a patch is made for is what it does, order of lists included.
    #[test]
    fn a_patch_of_two_documents_leads_from_one_to_the_other(old in document(), new in document()) {
        let (types, root) = types();
        let patch = two_way(&types, root, &old, &new).unwrap();
        prop_assert_eq!(apply(&types, root, &old, &patch).unwrap(), new, "{}", patch);
    }

    /// Where nobody else has changed anything, a patch of three documents does the same, and there is no conflict.
    #[test]
    fn a_patch_of_three_documents_leads_to_the_new_one(old in document(), new in document()) {
        let (types, root) = types();
        let patch = three_way(&types, root, &old, &new, &old, false).unwrap();
        prop_assert_eq!(apply(&types, root, &old, &patch).unwrap(), new, "{}", patch);
    }
}
