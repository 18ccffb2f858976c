//! Order and meaning of header operations, after what a real Envoy sent on.

use http::Version;

use super::*;
use crate::facts::{Connection, Metadata};

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    map
}

fn op(action: HeaderAppend, name: &str, value: &str) -> HeaderMutation {
    HeaderMutation::Append { name: name.parse().unwrap(), value: value.parse().unwrap(), action }
}

fn lines(map: &HeaderMap, name: &str) -> Vec<String> {
    map.get_all(name).iter().map(|v| v.to_str().unwrap().to_owned()).collect()
}

fn with_values<T>(map: &HeaderMap, f: impl FnOnce(&RequestValues<'_>) -> T) -> T {
    let connection = Connection::plain("10.96.0.10:8080".parse().unwrap(), "10.77.0.11:4".parse().unwrap());
    let request = Request {
        method: "GET",
        scheme: "http",
        authority: "was-service",
        path: "/fmt",
        headers: map,
        connection: &connection,
        remote_address: "10.77.0.11:4".parse().unwrap(),
        metadata: Metadata::EMPTY,
        version: Version::HTTP_11,
    };
    f(&RequestValues { request: &request, route_name: "fmt", cluster: "c" })
}

#[test]
fn remove_then_overwrite_then_add() {
    let mut map = headers(&[("x-set", "orig"), ("x-add", "orig"), ("x-remove", "gone"), ("x-remove", "gone")]);
    let before = map.clone();
    let level = [
        op(HeaderAppend::Append, "x-add", "a1"),
        op(HeaderAppend::Overwrite, "x-set", "s1"),
        HeaderMutation::Remove("x-remove".parse().unwrap()),
        op(HeaderAppend::Append, "x-copy", "%REQ(user-agent)%"),
        op(HeaderAppend::IfAbsent, "x-set", "never"),
        op(HeaderAppend::IfAbsent, "x-new", "n"),
    ];
    let authority = with_values(&before, |values| apply(&level, &mut map, values));
    assert_eq!(authority, None);
    assert_eq!(lines(&map, "x-set"), ["s1"]);
    assert_eq!(lines(&map, "x-add"), ["orig", "a1"]);
    assert_eq!(lines(&map, "x-new"), ["n"]);
    assert!(!map.contains_key("x-remove") && !map.contains_key("x-copy"));
}

#[test]
fn operators_in_values() {
    let before = HeaderMap::new();
    let mut map = HeaderMap::new();
    let level = [
        op(HeaderAppend::Overwrite, "x-pct", "100%%"),
        op(HeaderAppend::Overwrite, "x-peer", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
        op(HeaderAppend::Overwrite, "x-proto", "%PROTOCOL%"),
        op(HeaderAppend::Overwrite, "x-missing", "%REQ(nope)%"),
    ];
    with_values(&before, |values| apply(&level, &mut map, values));
    assert_eq!(lines(&map, "x-pct"), ["100%"]);
    assert_eq!(lines(&map, "x-peer"), ["10.77.0.11"]);
    assert_eq!(lines(&map, "x-proto"), ["HTTP/1.1"]);
    assert!(!map.contains_key("x-missing"));
}

#[test]
fn host_is_the_authority_and_cannot_be_removed() {
    let before = HeaderMap::new();
    let mut map = HeaderMap::new();
    let level = [HeaderMutation::Remove(http::header::HOST), op(HeaderAppend::Overwrite, "host", "set.example.com")];
    let authority = with_values(&before, |values| apply(&level, &mut map, values));
    assert_eq!(authority.unwrap(), "set.example.com");
    assert!(map.is_empty());
}

#[test]
fn clients_do_not_steer_the_proxy() {
    let mut map = headers(&[
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
        ("x-envoy-internal", "true"),
        ("x-envoy-original-path", "/x"),
        ("x-kept", "1"),
    ]);
    sanitize_request(&mut map, false);
    assert_eq!(map.len(), 2);
    sanitize_request(&mut map, true);
    assert_eq!(map.len(), 1);
}
