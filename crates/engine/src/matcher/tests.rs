//! Rows that a real Envoy answered, and agreement with straightforward definitions.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use proptest::prelude::*;

use super::*;
use crate::facts::{Connection, Metadata};
use crate::ir::Regex;

fn with_headers<T>(lines: &[(&str, &str)], f: impl FnOnce(&Request<'_>) -> T) -> T {
    let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
    let connection = Connection::plain(address, address);
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    f(&Request {
        method: "GET",
        scheme: "http",
        authority: "was-service:8080",
        path: "/a?b=c",
        headers: &headers,
        connection: &connection,
        remote_address: address,
        metadata: Metadata::EMPTY,
        version: Version::HTTP_11,
    })
}

fn exact(value: &str) -> StringMatch {
    StringMatch::Exact { value: value.into(), ignore_case: false }
}

fn asks(name: &str, matches: HeaderMatch) -> HeaderMatcher {
    HeaderMatcher { name: name.into(), matches, invert: false, treat_missing_as_empty: false }
}

#[test]
fn each_header_line_is_matched_alone() {
    let matcher = asks("x-user", HeaderMatch::Value(exact("alice")));
    assert!(with_headers(&[("x-user", "alice"), ("x-user", "zed")], |r| header(&matcher, r)));
    assert!(!with_headers(&[("x-user", "alice,zed")], |r| header(&matcher, r)));
    let inverted = HeaderMatcher { invert: true, ..matcher };
    assert!(!with_headers(&[("x-user", "alice"), ("x-user", "zed")], |r| header(&inverted, r)));
    assert!(with_headers(&[("x-user", "zed")], |r| header(&inverted, r)));
}

#[test]
fn a_missing_header_matches_nothing_unless_it_counts_as_empty() {
    let mut matcher = asks("x-block", HeaderMatch::Value(exact("yes")));
    matcher.invert = true;
    assert!(!with_headers(&[], |r| header(&matcher, r)));
    matcher.treat_missing_as_empty = true;
    assert!(with_headers(&[], |r| header(&matcher, r)));
    assert!(!with_headers(&[("x-block", "yes")], |r| header(&matcher, r)));
    let absent = asks("x-block", HeaderMatch::Present(false));
    assert!(with_headers(&[], |r| header(&absent, r)));
    assert!(!with_headers(&[("x-block", "")], |r| header(&absent, r)));
}

#[test]
fn pseudo_headers_are_matched_as_sent() {
    with_headers(&[], |r| {
        assert!(header(&asks(":authority", HeaderMatch::Value(exact("was-service:8080"))), r));
        assert!(header(&asks(":method", HeaderMatch::Value(exact("GET"))), r));
        assert!(header(&asks(":path", HeaderMatch::Value(exact("/a?b=c"))), r));
        assert!(header(&asks(":scheme", HeaderMatch::Value(exact("http"))), r));
    });
}

#[test]
fn ranges_are_half_open() {
    let matcher = asks("x-n", HeaderMatch::Range { start: 1, end: 3 });
    for (value, want) in [("0", false), ("1", true), ("2", true), ("3", false), ("x", false), ("", false)] {
        assert_eq!(with_headers(&[("x-n", value)], |r| header(&matcher, r)), want, "{value}");
    }
}

#[test]
fn query_takes_the_first_value_undecoded() {
    let matcher = QueryMatcher { name: "ver".into(), matches: QueryMatch::Value(exact("2")) };
    for (text, want) in [
        ("ver=2", true),
        ("a=1&ver=2&b", true),
        ("ver=2&ver=9", true),
        ("ver=9&ver=2", false),
        ("ver=%32", false),
        ("VER=2", false),
    ] {
        assert_eq!(query(&matcher, Some(text)), want, "{text}");
    }
    let present = QueryMatcher { name: "dbg".into(), matches: QueryMatch::Present };
    assert!(query(&present, Some("dbg")) && query(&present, Some("dbg=")) && !query(&present, None));
}

#[test]
fn paths() {
    let prefix = PathMatch::Prefix("/pre".into());
    assert!(path(&prefix, "/prefixed?x", true) && !path(&prefix, "/PRE", true) && path(&prefix, "/PRE", false));
    let separated = PathMatch::SeparatedPrefix("/pre".into());
    assert!(path(&separated, "/pre", true) && path(&separated, "/pre/a", true) && path(&separated, "/pre?x", true));
    assert!(!path(&separated, "/prefixed", true));
    let regex = PathMatch::Regex(Regex::new("/r/[0-9]+").unwrap());
    assert!(path(&regex, "/r/12?x=y", true) && !path(&regex, "/r/12/x", true));
}

#[test]
fn templates_as_envoy() {
    for (pattern, text, want) in [
        ("/files/{**}", "/files/", true),
        ("/files/{**}", "/files", false),
        ("/files/{**}", "/files/a/b/c", true),
        ("/users/{*}", "/users/bob", true),
        ("/users/{*}", "/users/", false),
        ("/users/{*}", "/users/bob/", false),
        ("/users/{*}", "/users/a%2fb", true),
        ("/users/{*}", "/users/a/b", false),
        ("/a/{*}/c/{**}", "/a/b/c/", true),
        ("/a/{*}/c/{**}/e", "/a/b/c/d/d/e", true),
        ("/a/{*}/c", "/a//c", false),
        ("/a/{*}", "/a/x*y", false),
    ] {
        assert_eq!(template(pattern, text), want, "{pattern} {text}");
    }
}

proptest! {
    #[test]
    fn string_matches_like_the_standard_library(hay in "[aAbB]{0,6}", needle in "[aAbB]{0,3}", ignore_case: bool) {
        let fold = |s: &str| if ignore_case { s.to_ascii_lowercase() } else { s.to_owned() };
        let (h, n) = (fold(&hay), fold(&needle));
        let value = || needle.as_str().into();
        let check = |m: StringMatch| string(&m, hay.as_bytes());
        prop_assert_eq!(check(StringMatch::Exact { value: value(), ignore_case }), h == n);
        prop_assert_eq!(check(StringMatch::Prefix { value: value(), ignore_case }), h.starts_with(&n));
        prop_assert_eq!(check(StringMatch::Suffix { value: value(), ignore_case }), h.ends_with(&n));
        prop_assert_eq!(check(StringMatch::Contains { value: value(), ignore_case }), h.contains(&n));
    }

    #[test]
    fn templates_match_like_the_regex_of_their_definition(
        parts in prop::collection::vec(prop_oneof![Just("{*}"), Just("a"), Just("b")], 0..4),
        open_end: bool,
        text in "/([ab]{0,2}/){0,3}[ab]{0,2}",
    ) {
        let mut pattern = format!("/{}", parts.join("/"));
        if open_end {
            pattern.push_str("/{**}");
        }
        let class = r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]";
        let naive = pattern.replace("{**}", &format!("({class}|/)*")).replace("{*}", &format!("{class}+"));
        let naive = regex::Regex::new(&format!("^{naive}$")).unwrap();
        prop_assert_eq!(template(&pattern, &text), naive.is_match(&text), "{} {}", pattern, text);
    }
}

#[test]
fn a_wildcard_certificate_stands_for_the_names_of_one_label() {
    let exact = |value: &str| StringMatch::Exact { value: value.into(), ignore_case: false };
    for (want, name, same) in [
        ("api.example.com", "api.example.com", true),
        ("api.example.com", "API.Example.com", true),
        ("api.example.com", "*.example.com", true),
        ("api.example.com", "a*i.example.com", true),
        ("api.example.com", "ap*pi.example.com", false),
        ("a.b.example.com", "*.example.com", false),
        ("example.com", "*.example.com", false),
        ("example.com", "*", false),
        ("api.example.com", "api.*.com", false),
        ("api.example.com", "*.*.com", false),
        ("xn--bcher-kva.example.com", "*.example.com", true),
        ("xn--bcher-kva.example.com", "x*.example.com", false),
        ("api.example.com", "xn--*.example.com", false),
        ("api.example.com", "www.example.com", false),
    ] {
        assert_eq!(certificate_dns_name(&exact(want), name), same, "{want} by {name}");
    }
    let suffix = StringMatch::Suffix { value: ".example.com".into(), ignore_case: false };
    assert!(certificate_dns_name(&suffix, "api.example.com"));
    assert!(!certificate_dns_name(&suffix, "api.example.org"));
}
