use super::merge_patch;
use serde_json::json;

#[test]
fn only_what_differs_is_in_the_patch() {
    let old = json!({"a": 1, "b": {"c": 1, "d": [1]}, "gone": true});
    let new = json!({"a": 1, "b": {"c": 2, "d": [1]}, "new": "x"});
    assert_eq!(merge_patch(&old, &new), Some(json!({"b": {"c": 2}, "gone": null, "new": "x"})));
    assert_eq!(merge_patch(&new, &new), None);
    assert_eq!(merge_patch(&json!(null), &new), Some(new));
}
