use serde_json::json;

use super::*;

fn deployment() -> Type {
    Types::builtin().find("apps.v1.Deployment").map_or(Type::Any, Type::Struct)
}

fn paths(set: &Set) -> Vec<String> {
    set.paths().iter().map(|path| path.iter().map(Step::to_string).collect()).collect()
}

#[test]
fn elements_that_occur_twice_are_owned_by_their_identity_alone() {
    let env = |value: &str| json!({"name": "A", "value": value});
    let container = json!({"name": "c", "env": [env("1"), env("2")]});
    let object = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    let set = typed::field_set(Types::builtin(), &deployment(), &object);
    let owned = paths(&set);
    assert!(owned.iter().any(|p| p.ends_with(".env[name=\"A\"]")), "{owned:?}");
    assert!(!owned.iter().any(|p| p.ends_with("[name=\"A\"].value")), "{owned:?}");
}

#[test]
fn a_map_that_becomes_a_scalar_is_modified_and_its_members_are_removed() {
    let types = Types::builtin();
    let (map, scalar) = (json!({"a": {"b": 1}}), json!({"a": "text"}));
    let there = typed::compare(types, &Type::Any, &map, &scalar);
    assert_eq!((paths(&there.modified), paths(&there.removed)), (vec![".a".to_owned()], vec![".a.b".to_owned()]));
    let back = typed::compare(types, &Type::Any, &scalar, &map);
    assert_eq!((paths(&back.modified), paths(&back.added)), (vec![".a".to_owned()], vec![".a.b".to_owned()]));
}
