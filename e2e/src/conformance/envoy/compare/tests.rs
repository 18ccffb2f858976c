use serde_json::json;

use super::*;

#[test]
fn a_header_too_few_and_one_too_many_are_differences() {
    let wanted = json!({"headers": [["a", "1"], ["b", "2"]]});
    assert!(differences(&wanted, &json!({"headers": [["b", "2"], ["a", "1"]]}), &[]).is_empty());
    assert_eq!(differences(&wanted, &json!({"headers": [["a", "1"]]}), &[]).len(), 1);
    let more = json!({"headers": [["a", "1"], ["b", "2"], ["b", "2"]]});
    assert_eq!(differences(&wanted, &more, &[]).len(), 1);
    assert!(differences(&wanted, &more, &[".headers:b,c".to_owned()]).is_empty());
}

#[test]
fn what_is_not_expected_is_compared_only_among_headers() {
    let wanted = json!({"status": 200, "_note": 1, "out": null, "in": ["<unstable>"]});
    assert!(differences(&wanted, &json!({"status": 200, "more": true, "in": ["<unstable>"]}), &[]).is_empty());
    assert_eq!(differences(&wanted, &json!({"status": 404, "out": {}, "in": []}), &[]).len(), 3);
}

#[test]
fn order_counts_only_where_there_is_one() {
    let wanted = json!({"applog": [["v1"], ["v2"]], "in": [{"code": "1"}, {"code": "2"}], "instances": ["a", "b"]});
    let got = json!({"applog": [["v2"], ["v1"]], "in": [{"code": "2"}, {"code": "1"}], "instances": ["b", "a"]});
    assert_eq!(differences(&wanted, &got, &[]), [r#".instances: wanted ["a","b"], got ["b","a"]"#]);
}
