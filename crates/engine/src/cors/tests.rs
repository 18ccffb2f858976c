//! What a real Envoy answered.

use http::Version;

use super::*;
use crate::facts::{Connection, Metadata};
use crate::ir::{Regex, StringMatch};

fn full() -> Cors {
    Cors {
        origins: vec![
            StringMatch::Exact { value: "https://a.example.com".into(), ignore_case: false },
            StringMatch::Prefix { value: "https://dev.".into(), ignore_case: false },
            StringMatch::Regex(Regex::new(r"https://.*\.ok\.com").unwrap()),
        ],
        methods: "GET,POST".into(),
        headers: "x-a,content-type".into(),
        expose_headers: "x-exp".into(),
        max_age: "86400".into(),
        credentials: true,
        forward_unmatched_preflights: true,
    }
}

fn ask(policy: &Cors, method: &str, lines: &[(&'static str, &str)]) -> Decision {
    let connection = Connection::plain("10.0.0.1:80".parse().unwrap(), "10.0.0.2:4".parse().unwrap());
    let headers = lines.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect();
    decide(
        policy,
        &Request {
            method,
            scheme: "http",
            authority: "was-service",
            path: "/",
            headers: &headers,
            connection: &connection,
            remote_address: connection.peer,
            metadata: Metadata::EMPTY,
            version: Version::HTTP_11,
        },
    )
}

fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect()
}

fn pairs(want: &[(&str, &str)]) -> Vec<(String, String)> {
    want.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

const A: &str = "https://a.example.com";

#[test]
fn preflights() {
    let Decision::Preflight(headers) =
        ask(&full(), "OPTIONS", &[("origin", A), ("access-control-request-method", "DELETE")])
    else {
        panic!("not answered")
    };
    assert_eq!(
        lines(&headers),
        pairs(&[
            ("access-control-allow-origin", A),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "GET,POST"),
            ("access-control-allow-headers", "x-a,content-type"),
            ("access-control-max-age", "86400"),
            ("access-control-expose-headers", "x-exp"),
        ])
    );
    assert_eq!(ask(&full(), "OPTIONS", &[("origin", A)]), Decision::Annotate(A.parse().unwrap()));
    let evil = [("origin", "https://evil.com"), ("access-control-request-method", "GET")];
    assert_eq!(ask(&full(), "OPTIONS", &evil), Decision::Pass);
    let ignoring = Cors { forward_unmatched_preflights: false, headers: "".into(), max_age: "".into(), ..full() };
    let Decision::Preflight(headers) = ask(&ignoring, "OPTIONS", &evil) else { panic!("not answered") };
    assert_eq!(lines(&headers), pairs(&[("access-control-allow-methods", "GET,POST")]));
}

#[test]
fn other_requests() {
    for origin in [A, "https://dev.foo", "https://x.ok.com"] {
        assert_eq!(ask(&full(), "GET", &[("origin", origin)]), Decision::Annotate(origin.parse().unwrap()));
    }
    assert_eq!(ask(&full(), "GET", &[("origin", "https://evil.com")]), Decision::Pass);
    assert_eq!(ask(&full(), "GET", &[]), Decision::Pass);
    let star = Cors { origins: vec![StringMatch::Exact { value: "*".into(), ignore_case: false }], ..full() };
    assert_eq!(
        ask(&star, "GET", &[("origin", "https://any.com")]),
        Decision::Annotate("https://any.com".parse().unwrap())
    );
    let mut response = HeaderMap::from_iter([(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("https://up"))]);
    apply_response(&full(), &A.parse().unwrap(), &mut response);
    assert_eq!(
        lines(&response),
        pairs(&[
            ("access-control-allow-origin", A),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "x-exp"),
        ])
    );
}
