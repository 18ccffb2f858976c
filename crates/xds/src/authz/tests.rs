//! A check as a service reads it, and answers as services give them.

use std::net::SocketAddr;

use varka_engine::facts::{Connection, Metadata, PeerIdentity};
use varka_engine::ir::{AuthzGrpc, AuthzService};
use varka_proto::envoy::types::HttpStatus;
use varka_proto::protobuf::BoolValue;
use varka_proto::rpc;

use super::*;

fn filter(allowed: &[&str]) -> ExtAuthz {
    let exact = |value: &&str| StringMatch::Exact { value: (*value).into(), ignore_case: true };
    ExtAuthz {
        service: AuthzService::Grpc(AuthzGrpc {
            cluster: "c".into(),
            authority: "a".into(),
            timeout: Duration::from_secs(1),
        }),
        allowed_headers: allowed.iter().map(exact).collect(),
        failure_mode_allow: false,
        status_on_error: 403,
        with_request_body: None,
        enabled_metadata: None,
    }
}

fn check(filter: &ExtAuthz, about: &About<'_>) -> pb::AttributeContext {
    let peer = PeerIdentity::of_uri("spiffe://cluster.local/ns/a/sa/b");
    let plain = Connection::plain("10.0.0.1:8080".parse().unwrap(), "10.0.0.2:4".parse::<SocketAddr>().unwrap());
    let connection = Connection { peer_identity: Some(&peer), ..plain };
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", HeaderValue::from_static("id"));
    headers.append("x-a", HeaderValue::from_static("1"));
    headers.append("x-a", HeaderValue::from_static("2"));
    let request = Request {
        method: "POST",
        scheme: "http",
        authority: "was",
        path: "/p?q",
        headers: &headers,
        connection: &connection,
        remote_address: "203.0.113.9:0".parse().unwrap(),
        metadata: Metadata::EMPTY,
        version: Version::HTTP_11,
    };
    pb::CheckRequest::decode(&*check_request(filter, &request, about)).unwrap().attributes.unwrap()
}

const NOTHING: About<'static> = About { time: Duration::from_millis(1500), body: None, as_bytes: false };

#[test]
fn a_check_tells_of_the_request_and_of_both_ends() {
    let told = check(&filter(&[]), &NOTHING);
    assert_eq!(told.source.unwrap().principal, "spiffe://cluster.local/ns/a/sa/b");
    let request = told.request.unwrap();
    assert_eq!(request.time, Some(protobuf::Timestamp { seconds: 1, nanos: 500_000_000 }));
    let http = request.http.unwrap();
    assert_eq!((&*http.id, &*http.method, &*http.path, &*http.host), ("id", "POST", "/p?q", "was"));
    assert_eq!((&*http.protocol, http.size), ("HTTP/1.1", -1));
    assert_eq!((&*http.headers["x-a"], &*http.headers[":path"]), ("1,2", "/p?q"));
    let few = check(&filter(&["X-A"]), &NOTHING).request.unwrap().http.unwrap();
    assert_eq!(few.headers.keys().collect::<Vec<_>>(), ["x-a"]);
    for (as_bytes, text, raw) in [(false, "ab", &b""[..]), (true, "", b"ab")] {
        let about = About { body: Some((b"ab", true)), as_bytes, ..NOTHING };
        let http = check(&filter(&[]), &about).request.unwrap().http.unwrap();
        assert_eq!((&*http.body, &*http.raw_body), (text, raw));
        assert_eq!(http.headers["x-envoy-auth-partial-body"], "true");
    }
}

#[expect(deprecated, reason = "as services write it")]
fn option(name: &str, value: &str, append: Option<bool>) -> core::HeaderValueOption {
    core::HeaderValueOption {
        header: Some(core::HeaderValue { key: name.into(), value: value.into(), ..Default::default() }),
        append: append.map(|value| BoolValue { value }),
        ..Default::default()
    }
}

fn answer(code: i32, http_response: Option<HttpResponse>) -> Option<Verdict> {
    let status = Some(rpc::Status { code, ..Default::default() });
    verdict(&pb::CheckResponse { status, http_response, ..Default::default() }.encode_to_vec())
}

#[test]
fn answers_allow_or_deny() {
    let ok = pb::OkHttpResponse {
        headers: vec![option("X-User", "alice", None), option("x-more", "b", Some(true)), option("a b", "", None)],
        headers_to_remove: vec!["x-secret".into(), ":path".into()],
        response_headers_to_add: vec![option("x-out", "1", None), option("x-all", "2", Some(true))],
        ..Default::default()
    };
    let Some(Verdict::Allow(allowed)) = answer(0, Some(HttpResponse::OkResponse(ok))) else { panic!() };
    let pair = |name: &'static str, value: &'static str| {
        vec![(HeaderName::from_static(name), HeaderValue::from_static(value))]
    };
    assert_eq!((allowed.set, allowed.append), (pair("x-user", "alice"), pair("x-more", "b")));
    assert_eq!((allowed.response_set, allowed.response_add), (pair("x-out", "1"), pair("x-all", "2")));
    assert_eq!(allowed.remove, [HeaderName::from_static("x-secret")]);
    assert_eq!(answer(0, None), Some(Verdict::Allow(Box::default())));

    let denied = pb::DeniedHttpResponse {
        status: Some(HttpStatus { code: 401 }),
        headers: vec![option("x-why", "1", None), option("x-why", "2", Some(true))],
        body: "no".into(),
    };
    let Some(Verdict::Deny { status, headers, body }) = answer(7, Some(HttpResponse::DeniedResponse(denied))) else {
        panic!()
    };
    assert_eq!((status, &body[..]), (401, &b"no"[..]));
    assert_eq!(headers.get_all("x-why").iter().collect::<Vec<_>>(), ["1", "2"]);
    let Some(Verdict::Deny { status: 403, .. }) = answer(16, None) else { panic!() };
    let Some(Verdict::Deny { status: 403, .. }) = answer(7, Some(HttpResponse::OkResponse(Default::default()))) else {
        panic!()
    };
    assert_eq!(verdict(&[0xff, 0xff]), None);
}
