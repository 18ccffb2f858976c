use super::super::set::Step;
use super::*;

fn owned(field: &str, applied: bool) -> Owned {
    let mut set = Set::default();
    set.insert(&[Step::Field(field.to_owned())]);
    Owned { version: "v1".to_owned(), applied, set }
}

#[test]
fn owners_are_written_and_read() {
    let mut managers = Managers::new();
    managers.insert(key("a", true, "v1", ""), owned("x", true));
    managers.insert(key("a", false, "v1", "status"), owned("y", false));
    let mut object = json!({"metadata": {}});
    write(&mut object, &[], &managers);
    assert_eq!(read(&object), managers);
    assert_eq!(describe(&key("a", false, "v1", "status")), "\"a\" with subresource \"status\" using v1");
}

#[test]
fn what_does_not_change_keeps_its_time() {
    let entry = |name: &str, subresource: &str, time: &str| {
        json!({"manager": name, "operation": "Update", "apiVersion": "v1", "subresource": subresource, "time": time,
            "fieldsType": "FieldsV1", "fieldsV1": {"f:x": {}}})
    };
    let old = json!({"metadata": {"managedFields": [entry("a", "", "2001-01-01T00:00:00Z"), entry("a", "status", "2002-01-01T00:00:00Z")]}});
    let mut managers = read(&old);
    managers.insert(key("b", false, "v1", ""), owned("z", false));
    let mut new = json!({"metadata": {}});
    write(&mut new, &[&old], &managers);
    let times: Vec<&str> = list_at(&new, &["metadata", "managedFields"]).iter().map(|e| str_at(e, &["time"])).collect();
    assert_eq!(times.get(..2), Some(&["2001-01-01T00:00:00Z", "2002-01-01T00:00:00Z"][..]));
}

#[test]
fn the_oldest_of_many_updaters_become_one_and_appliers_stay() {
    let mut managers = Managers::new();
    for i in 0..MAX_UPDATERS + 5 {
        managers.insert(key(&format!("u{i}"), false, "v1", ""), owned(&format!("f{i}"), false));
        managers.insert(key(&format!("a{i}"), true, "v1", ""), owned(&format!("f{i}"), true));
    }
    let mut object = json!({"metadata": {}});
    write(&mut object, &[], &managers);
    let kept = read(&object);
    assert_eq!(kept.values().filter(|o| !o.applied).count(), MAX_UPDATERS);
    assert_eq!(kept.values().filter(|o| o.applied).count(), MAX_UPDATERS + 5);
    let ancient = kept.get(&key(ANCIENT, false, "v1", "")).map(|o| o.set.paths().len());
    assert_eq!(ancient, Some(6));
}
