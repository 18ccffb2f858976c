use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::schema::{Field, ListKey, ListKind};

/// A kind whose struct has a scalar, a set, a map of scalars, and a list of itself by `name`.
struct Item(Types);

impl Item {
    fn new() -> Self {
        let mut types = Types::new();
        let id = types.declare("Item");
        let by_name = ListKind::Map(vec![ListKey { name: "name".to_owned(), default: None }]);
        let fields = vec![
            Field::new("name", Type::String),
            Field::new("value", Type::String),
            Field::new("set", Type::List(Box::new(Type::String), ListKind::Set)),
            Field::new("map", Type::Map(Box::new(Type::String), false)),
            Field::new("items", Type::List(Box::new(Type::Struct(id)), by_name)),
        ];
        types.define(id, fields, None, false);
        Self(types)
    }
}

impl Kind for Item {
    fn types(&self) -> &Types {
        &self.0
    }

    fn root(&self, _: &str) -> Type {
        self.0.find("Item").map_or(Type::Any, Type::Struct)
    }

    fn convert(&self, object: &Versioned, version: &str) -> Option<Versioned> {
        Some(Versioned { value: object.value.clone(), version: version.to_owned() })
    }

    fn ignored(&self, _: &str) -> Set {
        Set::default()
    }
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = (
        proptest::option::of(0..3u8),
        proptest::option::of(proptest::collection::btree_set(0..4u8, 0..4)),
        proptest::option::of(proptest::collection::btree_map(0..4u8, 0..3u8, 0..4)),
    )
        .prop_map(|(value, set, map)| {
            let mut out = Map::new();
            value.map(|v| out.insert("value".to_owned(), json!(format!("v{v}"))));
            set.map(|s| out.insert("set".to_owned(), s.iter().map(|i| json!(format!("s{i}"))).collect()));
            map.map(|m| {
                let members = m.iter().map(|(k, v)| (format!("k{k}"), json!(format!("v{v}"))));
                out.insert("map".to_owned(), Value::Object(members.collect()))
            });
            Value::Object(out)
        });
    leaf.prop_recursive(3, 24, 4, |inner| {
        (inner.clone(), proptest::collection::btree_map(0..4u8, inner, 0..4)).prop_map(|(mut own, items)| {
            let items = items.into_iter().map(|(name, mut item)| {
                item.as_object_mut().unwrap().insert("name".to_owned(), json!(format!("n{name}")));
                item
            });
            own.as_object_mut().unwrap().insert("items".to_owned(), items.collect());
            own
        })
    })
}

/// A document without what is empty, and with its members and lists in order. Nothing at all is an empty document.
fn essence(value: &Value) -> Value {
    fn inner(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let members =
                    map.iter().map(|(name, v)| (name.clone(), inner(v))).filter(|(_, v)| !typed::is_hollow(Some(v)));
                Value::Object(members.collect::<BTreeMap<_, _>>().into_iter().collect())
            }
            Value::Array(list) => {
                let mut list: Vec<Value> = list.iter().map(inner).collect();
                list.sort_by_key(Value::to_string);
                Value::Array(list)
            }
            other => other.clone(),
        }
    }
    if value.is_null() { json!({}) } else { inner(value) }
}

struct State {
    kind: Item,
    live: Versioned,
    managers: Managers,
}

impl State {
    fn new() -> Self {
        Self { kind: Item::new(), live: at(json!({})), managers: Managers::new() }
    }

    fn apply(&mut self, manager: &str, config: &Value, force: bool) -> Result<(), ApplyError> {
        let config = at(config.clone());
        let applied = apply(&self.kind, &self.live, &config, self.managers.clone(), manager, force)?;
        (self.live, self.managers) = applied;
        Ok(())
    }
}

fn at(value: Value) -> Versioned {
    Versioned { value, version: "v1".to_owned() }
}

proptest! {
    /// What one manager applies is what there is, whatever it applied before.
    #[test]
    fn the_last_that_the_only_manager_applied_is_what_there_is(first in document(), second in document()) {
        let mut state = State::new();
        state.apply("a", &first, false).unwrap();
        prop_assert_eq!(essence(&state.live.value), essence(&first));
        state.apply("a", &second, false).unwrap();
        prop_assert_eq!(essence(&state.live.value), essence(&second));
        let owned = typed::field_set(state.kind.types(), &state.kind.root("v1"), &second);
        prop_assert_eq!(state.managers.get("a").map(|o| o.set.clone()).unwrap_or_default(), owned);
    }

    /// When both of two managers have let go, nothing is left, and a forced apply leaves no field to the other that it changed.
    #[test]
    fn what_nobody_applies_any_more_is_gone(first in document(), second in document()) {
        let mut state = State::new();
        state.apply("a", &first, false).unwrap();
        if let Err(error) = state.apply("b", &second, false) {
            prop_assert!(matches!(error, ApplyError::Conflicts(_)), "{}", error);
            state.apply("b", &second, true).unwrap();
        }
        state.apply("b", &second, false).unwrap();
        state.apply("a", &json!({}), false).unwrap();
        prop_assert_eq!(essence(&state.live.value), essence(&second));
        state.apply("b", &json!({}), false).unwrap();
        prop_assert_eq!(essence(&state.live.value), json!({}));
    }

    /// An update owns what it changed, and takes it from whoever applied it.
    #[test]
    fn an_update_takes_what_it_changes(first in document(), second in document()) {
        let (first, second) = (essence(&first), essence(&second));
        let mut state = State::new();
        state.apply("a", &first, false).unwrap();
        let new = at(second.clone());
        let managers = update(&state.kind, &state.live, &new, state.managers.clone(), "u");
        let there = typed::field_set(state.kind.types(), &state.kind.root("v1"), &second);
        for (name, owned) in &managers {
            let gone = owned.set.difference(&there);
            // What holds something is owned with it, though it is no field of its own.
            let gone: Vec<_> = gone.paths().into_iter().filter(|p| !holds_more(&there, p)).collect();
            prop_assert!(gone.is_empty(), "{} owns what is not there: {:?}", name, gone);
        }
    }
}

/// Whether a set has paths below a path.
fn holds_more(set: &Set, path: &[super::super::set::Step]) -> bool {
    path.iter().try_fold(set, |set, step| set.below(step)).is_some()
}
