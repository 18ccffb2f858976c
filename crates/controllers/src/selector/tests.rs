use super::{matches, selects};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn labels(value: Value) -> BTreeMap<String, String> {
    serde_json::from_value(value).unwrap()
}

fn check(selector: Value, on: Value) -> bool {
    matches(&serde_json::from_value(selector).unwrap(), Some(&labels(on)))
}

#[test]
fn every_requirement_has_to_hold() {
    let selector = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "DoesNotExist"},
        {"key": "zone", "operator": "NotIn", "values": ["x"]},
    ]});
    assert!(check(selector.clone(), json!({"app": "web", "tier": "a"})));
    assert!(!check(selector.clone(), json!({"app": "web", "tier": "c"})));
    assert!(!check(selector.clone(), json!({"app": "web", "tier": "a", "old": ""})));
    assert!(!check(selector.clone(), json!({"app": "web", "tier": "a", "zone": "x"})));
    assert!(!check(selector, json!({"tier": "a"})));
    assert!(!check(json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}), json!({"a": "2"})));
}

#[test]
fn an_empty_label_selector_takes_all_but_an_empty_service_selector_none() {
    assert!(check(json!({}), json!({"a": "b"})));
    assert!(!selects(Some(&labels(json!({}))), Some(&labels(json!({"a": "b"})))));
    assert!(!selects(None, Some(&labels(json!({"a": "b"})))));
    assert!(selects(Some(&labels(json!({"a": "b"}))), Some(&labels(json!({"a": "b", "c": "d"})))));
}
