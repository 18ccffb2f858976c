use proptest::prelude::*;

use super::*;

#[test]
fn the_parts_of_an_identity() {
    let id: SpiffeId = "spiffe://cluster.local/ns/blog-system/sa/web".parse().unwrap();
    assert_eq!(id.trust_domain(), "cluster.local");
    assert_eq!(id.namespace(), "blog-system");
    assert_eq!(id.service_account(), "web");
    assert_eq!(id.principal(), "cluster.local/ns/blog-system/sa/web");
}

#[test]
fn what_is_no_workload_identity() {
    for text in [
        "",
        "cluster.local/ns/a/sa/b",
        "spiffe://",
        "spiffe:///ns/a/sa/b",
        "spiffe://Cluster.local/ns/a/sa/b",
        "spiffe://cluster.local:80/ns/a/sa/b",
        "spiffe://u@cluster.local/ns/a/sa/b",
        "spiffe://cluster.local/ns/a/sa/",
        "spiffe://cluster.local/ns//sa/b",
        "spiffe://cluster.local/ns/../sa/b",
        "spiffe://cluster.local/ns/a/sa/b/",
        "spiffe://cluster.local/ns/a/sa/b?x=1",
        "spiffe://cluster.local/ns/a%2fb/sa/b",
        "spiffe://cluster.local/workload/a",
    ] {
        assert!(text.parse::<SpiffeId>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn printing_and_reading_are_inverse(td in "[a-z0-9][a-z0-9.-]{0,20}", ns in "[a-z0-9][a-z0-9-]{0,20}", sa in "[a-z0-9][a-z0-9.-]{0,20}") {
        let id = SpiffeId::new(&td, &ns, &sa).unwrap();
        prop_assert_eq!(id.to_string().parse::<SpiffeId>().unwrap(), id);
    }

    #[test]
    fn whatever_is_read_prints_the_same(text in "(spiffe://)?[a-z./]{0,12}(/ns/)?[ -~]{0,12}(/sa/)?\\PC{0,12}") {
        if let Ok(id) = text.parse::<SpiffeId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }
}
