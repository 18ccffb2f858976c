//! What goes to an authorization service, and what its answers mean.

use std::net::SocketAddr;
use std::time::Duration;

use http::Version;
use serde_json::json;

use super::*;
use crate::facts::{Connection, Metadata};
use crate::ir::{AuthzService, MetadataMatch};

fn exact(value: &str) -> StringMatch {
    StringMatch::Exact { value: value.into(), ignore_case: true }
}

fn service() -> AuthzHttp {
    AuthzHttp {
        uri: "http://ext".into(),
        cluster: "outbound|8000||ext".into(),
        timeout: Duration::from_secs(1),
        path_prefix: "/check".into(),
        headers_to_add: vec![("x-added".into(), "yes".into()), ("x-want".into(), "ours".into())],
        upstream_headers: vec![exact("x-user")],
        client_headers: vec![],
        client_headers_on_success: vec![StringMatch::Prefix { value: "x-out-".into(), ignore_case: true }],
    }
}

fn filter() -> ExtAuthz {
    ExtAuthz {
        service: AuthzService::Http(service()),
        allowed_headers: vec![exact("X-Want"), exact("cookie")],
        failure_mode_allow: false,
        status_on_error: 403,
        with_request_body: None,
        enabled_metadata: None,
    }
}

fn ask<T>(headers: &[(&'static str, &str)], metadata: &Metadata, f: impl FnOnce(&Request<'_>) -> T) -> T {
    let connection =
        Connection::plain("10.77.0.21:8080".parse().unwrap(), "10.77.0.11:4".parse::<SocketAddr>().unwrap());
    f(&Request {
        method: "POST",
        scheme: "http",
        authority: "was-service",
        path: "/a?b",
        headers: &map(headers),
        connection: &connection,
        remote_address: "203.0.113.9:0".parse().unwrap(),
        metadata,
        version: Version::HTTP_11,
    })
}

fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in headers {
        out.append(*name, HeaderValue::from_str(value).unwrap());
    }
    out
}

#[test]
fn a_check_has_the_headers_that_are_asked_for() {
    let sent = [
        ("authorization", "Basic x"),
        ("x-want", "theirs"),
        ("cookie", "a=b"),
        ("x-other", "1"),
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
    ];
    let out = ask(&sent, Metadata::EMPTY, |r| check_headers(&filter(), &service(), r, None));
    let expected = [
        ("content-length", "0"),
        ("authorization", "Basic x"),
        ("x-want", "ours"),
        ("cookie", "a=b"),
        ("x-added", "yes"),
    ];
    assert_eq!(out, map(&expected));
    let out = ask(&[], Metadata::EMPTY, |r| check_headers(&filter(), &service(), r, Some((3, true))));
    assert_eq!(
        (out["content-length"].to_str().unwrap(), out["x-envoy-auth-partial-body"].to_str().unwrap()),
        ("3", "true")
    );
}

#[test]
fn answers_allow_deny_or_say_nothing() {
    let headers = map(&[
        ("x-user", "alice"),
        ("x-out-a", "1"),
        ("x-other", "2"),
        ("x-envoy-auth-headers-to-remove", "x-secret, cookie"),
        ("content-length", "4"),
    ]);
    let Verdict::Allow(allowed) = answer(&service(), 200, &headers, Bytes::new()) else { panic!() };
    let mut request = map(&[("x-user", "forged"), ("x-secret", "s"), ("cookie", "c"), ("x-kept", "k")]);
    allowed.apply(&mut request);
    assert_eq!(request, map(&[("x-user", "alice"), ("x-kept", "k")]));
    let mut response = map(&[("x-out-a", "0")]);
    allowed.apply_response(&mut response);
    assert_eq!(response, map(&[("x-out-a", "0"), ("x-out-a", "1")]));

    let all = map(&[
        ("x-user", "alice"),
        ("x-out-a", "1"),
        ("x-other", "2"),
        ("x-envoy-auth-headers-to-remove", "x-secret, cookie"),
    ]);
    let deny = |status, headers| Verdict::Deny { status, headers, body: Bytes::from_static(b"no") };
    for status in [401, 403, 302, 201, 429] {
        assert_eq!(answer(&service(), status, &headers, Bytes::from_static(b"no")), deny(status, all.clone()));
    }
    let narrow = AuthzHttp { client_headers: vec![exact("x-other")], ..service() };
    let with_challenge = map(&[("x-user", "alice"), ("www-authenticate", "Basic"), ("x-other", "2")]);
    assert_eq!(
        answer(&narrow, 401, &with_challenge, Bytes::from_static(b"no")),
        deny(401, map(&[("www-authenticate", "Basic"), ("x-other", "2")]))
    );
    for status in [500, 503] {
        assert_eq!(answer(&service(), status, &headers, Bytes::new()), Verdict::Error);
    }
}

#[test]
fn only_what_an_earlier_filter_noted_is_asked_about() {
    let filter = ExtAuthz {
        enabled_metadata: Some(MetadataMatch {
            filter: "envoy.filters.http.rbac".into(),
            path: vec!["istio_ext_authz_shadow_effective_policy_id".into()],
            value: StringMatch::Prefix { value: "istio-ext-authz-a-".into(), ignore_case: false },
            invert: false,
        }),
        ..filter()
    };
    let with = |name: &str| {
        let mut metadata = Metadata::default();
        metadata.insert("envoy.filters.http.rbac", "other".to_owned(), json!("x"));
        let key = "istio_ext_authz_shadow_effective_policy_id";
        metadata.insert("envoy.filters.http.rbac", key.to_owned(), json!(name));
        ask(&[], &metadata, |r| is_enabled(&filter, r))
    };
    assert!(with("istio-ext-authz-a-ns[foo]-policy[p]-rule[0]"));
    assert!(!with("istio-ext-authz-b-ns[foo]-policy[p]-rule[0]"));
    assert!(!ask(&[], Metadata::EMPTY, |r| is_enabled(&filter, r)));
}

#[test]
fn how_much_of_a_body_is_enough() {
    let settings = |allow_partial| AuthzBody { max_request_bytes: 4, allow_partial, as_bytes: false };
    let enough = |partial| Collected::Enough { partial };
    for (allow_partial, length, ended, expected) in [
        (false, 3, false, Collected::More),
        (false, 4, false, Collected::More),
        (false, 4, true, enough(false)),
        (false, 5, false, Collected::TooLarge),
        (true, 3, false, Collected::More),
        (true, 4, false, enough(true)),
        (true, 4, true, enough(false)),
        (true, 9, true, enough(true)),
    ] {
        assert_eq!(collected(&settings(allow_partial), length, ended), expected, "{allow_partial} {length} {ended}");
    }
}
