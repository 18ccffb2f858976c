use super::*;

#[test]
fn one_part_is_left_out_wherever_it_is() {
    let rules = json!([{"name": "a", "match": [{"uri": 1}, {"uri": 2}]}, {"name": "b"}]);
    let smaller = without_a_part(&rules);
    for expected in [
        json!([{"name": "b"}]),
        json!([{"name": "a", "match": [{"uri": 1}, {"uri": 2}]}]),
        json!([{"name": "a"}, {"name": "b"}]),
        json!([{"name": "a", "match": [{"uri": 2}]}, {"name": "b"}]),
        json!([{"name": "a", "match": [{}, {"uri": 2}]}, {"name": "b"}]),
    ] {
        assert!(smaller.contains(&expected), "{expected}");
    }
    assert!(without_a_part(&json!([{"name": "a"}])).is_empty());
}
