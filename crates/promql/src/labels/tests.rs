use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| (*name, *value)).collect()
}

#[test]
fn a_set_is_sorted_and_has_each_name_once() {
    let set = labels(&[("b", "1"), ("a", "x"), ("b", "2"), ("c", "")]);
    assert_eq!(set.to_string(), r#"{a="x", b="2"}"#);
    assert_eq!((set.get("b"), set.get("c")), ("2", ""));
    assert_eq!(set, labels(&[("a", "x"), ("b", "2")]));
}

#[test]
fn changing_one_makes_another() {
    let set = labels(&[(METRIC_NAME, "m"), ("job", "a"), ("__unit__", "s")]);
    assert_eq!(set.without_metadata(), labels(&[("job", "a")]));
    assert_eq!(set.with("job", ""), labels(&[(METRIC_NAME, "m"), ("__unit__", "s")]));
    assert_eq!(set.with("zone", "z").get("zone"), "z");
    assert_eq!(set.matching(false, &["job".to_owned()]), labels(&[("__unit__", "s")]));
    assert_eq!(set.matching(true, &["job".to_owned()]), labels(&[("job", "a")]));
    assert_eq!(set.metric_name(), "m");
}

#[test]
fn the_hash_is_that_of_the_encoded_labels() {
    // xxHash64 of nothing, with seed 0.
    assert_eq!(Labels::default().hash64(), 0xef46_db37_51d8_e999);
    assert_ne!(labels(&[("a", "bc")]).hash64(), labels(&[("ab", "c")]).hash64());
}
