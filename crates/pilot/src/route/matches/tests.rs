//! Names of headers that stand for something else.

use super::*;

#[test]
fn claims_are_named_with_dots_or_brackets() {
    let path = |name: &str| claim(name).map(|p| p.join("/"));
    for (name, expected) in [
        ("@request.auth.claims.admin", Some("payload/admin")),
        ("@request.auth.claims.group.id", Some("payload/group/id")),
        ("@request.auth.claims[group][a.b]", Some("payload/group/a.b")),
        ("@Request.Auth.Claims.Admin", Some("payload/Admin")),
        ("@request.auth.claims", None),
        ("@request.auth.claims.", None),
        ("@request.auth.claims[]", None),
        ("@request.auth.claimsx", None),
        ("x-header", None),
    ] {
        assert_eq!(path(name).as_deref(), expected, "{name}");
    }
}

#[test]
fn a_claim_that_must_not_be_there_is_an_inverted_match() {
    let exact = ApiMatch { exact: Some("admin".into()), ..ApiMatch::default() };
    let m = HttpMatch {
        headers: [("@request.auth.claims[groups]".to_owned(), exact.clone()), ("x-a".to_owned(), exact.clone())].into(),
        without_headers: [("@request.auth.claims.banned".to_owned(), ApiMatch::default())].into(),
        ..HttpMatch::default()
    };
    let made = route_match(Some(&m), false).unwrap();
    assert_eq!(made.headers.len(), 1);
    let [groups, banned] = made.metadata.as_slice() else { panic!("{made:?}") };
    assert_eq!((groups.invert, banned.invert), (false, true));
    assert_eq!(groups.value, StringMatch::Exact { value: "admin".into(), ignore_case: false });
    assert!(matches!(&banned.value, StringMatch::Regex(r) if r.source() == ".+"), "{banned:?}");
    assert!(!is_catch_all(&made));
}
